"""Every drafted token is accepted: the accounting that the figures of the PAPI paper are consistent with."""

from __future__ import annotations

from typing import Literal

from papisim.acceptance.base import AcceptanceOptions, Outcome, Proposal, Tree
from papisim.errors import InputError
from papisim.kinds import Example


class Options(AcceptanceOptions):
    """Nothing to choose: a draft that is always right is the target itself, so its signals are constant too."""

    kind: Literal["always"]
    signals: None = None

    @property
    def shown(self) -> frozenset[str]:
        """The signals of a draft that is the target itself."""
        return frozenset({"confidence", "entropy", "kld"})


EXAMPLE = Example()


class Acceptance:
    """All sequences are the same."""

    def __init__(self, options: Options, seed: int) -> None:
        del options, seed

    def start(self, request_id: int) -> _Sequence:
        """Return a request's sequence."""
        del request_id
        return _Sequence()


class _Sequence:
    """Accepts whatever is drafted; the draft is certain (entropy 0, confidence 1) and agrees (KLD 0)."""

    def proposal(self, max_drafted: int, exit_layer: int | None = None) -> Proposal:
        del exit_layer
        return Proposal((1.0,) * max_drafted, (0.0,) * max_drafted)

    def round(self, drafted: int, exit_layer: int | None = None) -> Outcome:
        del exit_layer
        if drafted < 0:
            raise InputError(f"found {drafted} drafted tokens, expected 0 or more")
        nothing = (0.0,) * drafted
        return Outcome(drafted, drafted, nothing, (1.0,) * drafted, nothing)

    def round_tree(self, tree: Tree) -> Outcome:
        return self.round(max((len(path) for path in tree), default=0))
