"""The contract of an acceptance process: how many drafted tokens the target model accepts.

A process from outside is one class that has ``Options`` and ``EXAMPLE`` inside; a process of papisim's own is one module with
``Options``, ``EXAMPLE`` and the class, called ``Acceptance`` (see :mod:`papisim.kinds`). It is built from its options and a
seed, and starts one sequence per request; a sequence is asked once per round how many of the drafted tokens the target
accepts. What a round would yield for ever longer drafts is settled before the draft's length is known, so

- ``accepted`` of a draft of s tokens is ``min(accepted of a long draft, s)``, unless the options say that it depends on the draft's
  length (``depends_on_length``: drafters that predict a block at once);
- a policy may look at the proposal's signals, cut the draft, and change nothing but the cut;
- with the same seed and request, rounds are the same whatever was drafted in earlier ones.

All draws are from streams named by the request (:mod:`papisim.acceptance.draws`): a process must not draw from a generator
that requests share, nor let the order of requests matter.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from papisim.acceptance.signals import SignalOptions
from papisim.catalog import Shelf
from papisim.config.base import KindOptions
from papisim.kinds.family import Family

#: a static draft tree: each node as the ranks on its path from the root, ``(0,)`` the draft's first choice, ``(0, 1)`` the
#: second choice after it; a node's parent is in the tree too
Tree = tuple[tuple[int, ...], ...]


class AcceptanceOptions(KindOptions):
    """What every acceptance file says.

    Attributes:
        signals: how the signals are drawn; without them a sequence has none (its tuples are empty).
    """

    signals: SignalOptions | None = None

    @property
    def shown(self) -> frozenset[str]:
        """Signals that a policy sees, by their names in :attr:`papisim.policies.speculation.base.SpeculationOptions.signals`."""
        return frozenset({"confidence", "entropy", "kld"}) if self.signals else frozenset()

    @property
    def known_positions(self) -> int | None:
        """Positions of a draft that were observed; of those beyond, acceptance is extrapolated. None where a law gives all."""
        return None

    @property
    def depends_on_length(self) -> bool:
        """Whether a draft may yield something else than the beginning of a longer draft, cut to its length."""
        return False

    @property
    def model_layers(self) -> int | None:
        """Layers of the model that the process was observed on; None where it holds for any."""
        return None


@dataclass(frozen=True, slots=True)
class LayerAgreement:
    """What every exit layer would have drafted, where the process knows layers.

    Attributes:
        agrees: whether the token of exit layer ``l + 1`` is the target's, by position and layer ``[position, l]``; one
            position more than was drafted, since verification computes the token after the last one too.
        confidence: top-1 probability at the same places.
    """

    agrees: NDArray[np.bool_]
    confidence: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Proposal:
    """What the draft model shows of its tokens before they are verified; empty where the process has no signals.

    Attributes:
        confidence: top-1 probability of the draft, by position.
        entropy: of the draft's distribution, in nats, by position.
    """

    confidence: tuple[float, ...]
    entropy: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What verification of one round yields for one sequence.

    The signals cover every proposed position, also those after the first rejection; they are empty where the process has
    none.

    Attributes:
        drafted: tokens (or, for a tree, levels) verified.
        accepted: tokens accepted, 0 … ``drafted``; the target's own token comes on top.
        kld: KL(target‖draft) of the soft distributions, in nats, by position.
        confidence: top-1 probability of the draft, by position.
        entropy: of the draft's distribution, in nats, by position.
        layers: agreement of every exit layer, for self-speculation.
        prompt: the same at the last positions of the prompt, which a request's first round tells.
    """

    drafted: int
    accepted: int
    kld: tuple[float, ...] = ()
    confidence: tuple[float, ...] = ()
    entropy: tuple[float, ...] = ()
    layers: LayerAgreement | None = None
    prompt: LayerAgreement | None = None


class Sequence(Protocol):
    """Acceptance along one request's answer."""

    def proposal(self, max_drafted: int, exit_layer: int | None = None) -> Proposal:
        """Show the coming round's draft up to a length; changes nothing.

        Args:
            max_drafted: positions to show.
            exit_layer: layer that drafts, for self-speculation.
        """

    def round(self, drafted: int, exit_layer: int | None = None) -> Outcome:
        """Verify the coming round's first ``drafted`` tokens and move on to the next round.

        Args:
            drafted: tokens in the chain; 0 is a round without speculation.
            exit_layer: layer that drafts, for self-speculation.
        """

    def round_tree(self, tree: Tree) -> Outcome:
        """Verify a static tree and move on to the next round; accepted is the depth of the longest right path."""


class AcceptanceProcess(Protocol):
    """Starts the sequences of a run."""

    def start(self, request_id: int) -> Sequence:
        """Return a request's sequence, from its first round."""


ACCEPTANCE: Family[AcceptanceOptions, AcceptanceProcess] = Family(
    name="acceptance",
    noun="acceptance process",
    plural="acceptance kinds",
    package="papisim.acceptance",
    thing="Acceptance",
    base=AcceptanceOptions,
    contract=AcceptanceProcess,
    arguments=("options", "seed"),
    shelf=Shelf.ACCEPTANCE,
    schema="papisim/acceptance/1",
)
