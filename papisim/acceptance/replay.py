"""Logged steps, replayed: each request takes a whole logged turn, from its start.

A draft of s tokens has ``min(logged, s)`` accepted, which is exact up to the logged draft length. Of a longer draft the log
does not say whether the tokens beyond would have been right: they count as wrong where all logged ones were accepted
(``longer: cap``, the default, so yields are a lower bound; ``capped_rounds`` counts them), or the round is an error
(``longer: refuse``). A request that outlives its turn goes on at the start of another one.

The last step of a turn, which the end of the answer may have cut, is not replayed (a turn of one step keeps it).

Where the log has the draft model's confidence (see :mod:`papisim.acceptance.banks`), policies see it, up to the logged draft's length.
Histograms have no order and are refused.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import Field

from papisim.acceptance.base import Outcome, Proposal
from papisim.acceptance.chain import ChainOptions, ChainSequence
from papisim.acceptance.log import Turn, read_log
from papisim.config.base import Count, Name
from papisim.errors import InputError, did_you_mean
from papisim.kinds import Example
from papisim.streams import stream


class Options(ChainOptions):
    """Which turns are replayed.

    Attributes:
        log: file of logged steps (see :func:`papisim.acceptance.log.read_log`).
        source: the source in it.
        task: one task of the source; all, if None.
        max_steps: steps of a turn that count, for answers that run on past their end.
        order: ``listed`` gives request i the i-th turn, ``shuffled`` a turn by the seed; both use every turn once before
            any twice.
        longer: what to do with a draft longer than the logged one whose logged tokens were all accepted.
    """

    kind: Literal["replay"]
    log: Name
    source: Name
    task: str | None = None
    max_steps: Annotated[Count, Field(strict=True)] | None = None
    order: Literal["listed", "shuffled"] = "shuffled"
    longer: Literal["cap", "refuse"] = "cap"

    @property
    def shown(self) -> frozenset[str]:
        """Signals that are drawn, or else the confidence that the log has."""
        logged = {"confidence"} if all(turn.confidence for turn in _select(read_log(Path(self.log)), self)) else set()
        return super().shown or frozenset(logged)

    @property
    def known_positions(self) -> int | None:
        """Positions of the longest logged draft; None where a log has drafts without a length."""
        return _longest_logged(self)


EXAMPLE = Example(
    {"log": "log.jsonl", "source": "chat", "branches": [0.3]},
    files={
        "log.jsonl": '{"source": "chat", "draft_len": 12, "accepted": [3, 0, 7, 2, 12, 1, 4, 0]}\n'
        '{"source": "chat", "draft_len": 12, "accepted": [0, 0, 1, 5]}\n'
        '{"source": "chat", "draft_len": [12, 8, 12], "accepted": [9, 8, 2]}\n'
    },
)


class Step(NamedTuple):
    """One logged step: tokens drafted, -1 where unknown, tokens accepted, and the confidence in those drafted, if logged."""

    drafted: int
    accepted: int
    confidence: tuple[float, ...]


class Acceptance:
    """The turns of one source of a log.

    Attributes:
        capped_rounds: rounds so far whose draft was longer than the logged one and accepted as far as that went.
    """

    def __init__(self, options: Options, seed: int) -> None:
        self._options, self._seed = options, seed
        self._turns = _select(read_log(Path(options.log)), options)
        if not all(turn.ordered for turn in self._turns):
            raise InputError(
                "holds histograms, which do not tell the order of steps; fit a process to them", file=options.log
            )
        self.capped_rounds = 0

    def start(self, request_id: int) -> _Sequence:
        """Return a request's sequence."""
        return _Sequence(self, self._options, self._seed, request_id)

    def turn(self, request_id: int, number: int) -> list[Step]:
        """Return the steps of the turn that a request replays as its ``number``-th, from 0."""
        size = len(self._turns)
        lap, place = divmod(request_id, size)
        if self._options.order == "shuffled":
            place = int(stream(self._seed, "acceptance", "turns", lap).permutation(size)[place])
        turn = self._turns[(place + number) % size]
        confidence = turn.confidence or ((),) * len(turn.accepted)
        steps = [Step(*each) for each in zip(turn.drafted.tolist(), turn.accepted.tolist(), confidence, strict=True)]
        return steps[: max(1, len(steps) - 1)][: self._options.max_steps]

    def mean_conditional(self) -> float:
        """Return the share of tried tokens that were accepted."""
        accepted = sum(int(turn.accepted.sum()) for turn in self._turns)
        stopped = sum(int(((turn.drafted < 0) | (turn.accepted < turn.drafted)).sum()) for turn in self._turns)
        return accepted / max(1, accepted + stopped)


def _longest_logged(options: Options) -> int | None:
    turns = _select(read_log(Path(options.log)), options)
    if any((turn.drafted < 0).any() for turn in turns):
        return None
    return max(int(turn.drafted.max(initial=0)) for turn in turns)


def _select(turns: list[Turn], options: Options) -> list[Turn]:
    for field, wanted in (("source", options.source), ("task", options.task)):
        if wanted is None:
            continue
        known = {getattr(turn, field) for turn in turns}
        turns = [turn for turn in turns if getattr(turn, field) == wanted]
        if not turns:
            raise InputError(f"no {field} '{wanted}'; {did_you_mean(wanted, known)}", file=options.log)
    return turns


class _Sequence(ChainSequence):
    def __init__(self, process: Acceptance, options: Options, seed: int, request_id: int) -> None:
        self._mean = process.mean_conditional() if options.signals else 0.0
        super().__init__(options.signals, seed, request_id, self._mean, options)
        self._process, self._refuse, self._log = process, options.longer == "refuse", options.log
        self._steps = (step for turn in count() for step in process.turn(request_id, turn))
        self._step = next(self._steps)

    def proposal(self, max_drafted: int, exit_layer: int | None = None) -> Proposal:
        if self._signals is not None or exit_layer is not None:
            return super().proposal(max_drafted, exit_layer)
        return Proposal(self._step.confidence[:max_drafted], ())

    def _right(self, drafted: int) -> int:
        return min(drafted, self._step.accepted)

    def round(self, drafted: int, exit_layer: int | None = None) -> Outcome:
        step = self._step
        if 0 <= step.drafted < drafted and step.accepted == step.drafted:
            if self._refuse:
                message = f"draft of {drafted} tokens, of which the log has {step.drafted}, all accepted"
                raise InputError(f"{message}; 'longer: cap' takes the others for wrong", file=self._log)
            self._process.capped_rounds += 1
        outcome = super().round(drafted, exit_layer)
        return outcome if self._signals is not None else replace(outcome, confidence=step.confidence[:drafted])

    def _conditional(self, position: int) -> float:
        del position
        return self._mean

    def _advance(self) -> None:
        self._step = next(self._steps)
