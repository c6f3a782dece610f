"""SGLang's adaptive length: a smoothed accepted length against thresholds about the candidates, with hysteresis.

Each range of batch sizes has candidates c_1 < c_2 < … and a state of its own. With m the smoothed accepted drafts per request and
iteration (first the current candidate less one), every few iterations

    down to c_{i−1}  while  m ≤ c_{i−1} − 0.5 + h_down       (for c_{i−1} = 0:  m ≤ 0.5 + h_down)
    else up          while  m > c_i − 0.5 + h_up
    and from 0 always up to the next candidate, to probe.

Behaviour of ``AdaptiveStepSlot`` in sgl-project/sglang 015c872 (#21599, #23336, #24055). It looks at acceptance alone: what drafting
costs is in the candidates, which are chosen by hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from papisim.config.base import Count, Fraction
from papisim.kinds import Example
from papisim.policies.speculation.base import AsPlanned, Draft, Round, SpeculationView
from papisim.policies.speculation.whole_batch import CandidateOptions

_HALF = 0.5


class Options(CandidateOptions):
    """Candidates and how they are chosen among.

    Attributes:
        smoothing: weight of the newest iteration in m.
        update_interval: iterations between decisions.
        warmup: iterations before the first.
        down_hysteresis: h_down, added to the threshold below which the length falls.
        up_hysteresis: h_up, added to the threshold above which it rises.
        initial_length: first candidate of each range that has it; the middle one of the others.
    """

    kind: Literal["sglang_adaptive"]
    smoothing: Fraction
    update_interval: Count
    warmup: Annotated[int, Field(ge=0)]
    down_hysteresis: float
    up_hysteresis: float
    initial_length: Annotated[int, Field(ge=0)]


EXAMPLE = Example("sglang_adaptive")


@dataclass
class Slot:
    """The state of one range of batch sizes: place of the current candidate, m, and iterations so far."""

    place: int
    smoothed: float
    iterations: int = 0


class Speculation(AsPlanned):
    """All requests of a batch draft the current candidate of its range."""

    learns_from_all = True

    def __init__(self, options: Options) -> None:
        self._options = options
        self._slots = [self._start(row.lengths) for row in options.candidates]

    def _start(self, lengths: Sequence[int]) -> Slot:
        initial = self._options.initial_length
        place = lengths.index(initial) if initial in lengths else len(lengths) // 2
        return Slot(place, lengths[place] - 1.0)

    def plan(self, view: SpeculationView) -> list[Draft]:
        """Draft the current candidate of the batch's range."""
        index = self._options.slot(view.rlp)
        return [Draft(self._options.candidates[index].lengths[self._slots[index].place])] * view.rlp

    def observe(self, rounds: Sequence[Round]) -> None:
        """Smooth the accepted length, and decide when it is time."""
        if not rounds:
            return
        options, index = self._options, self._options.slot(len(rounds))
        slot, lengths = self._slots[index], options.candidates[index].lengths
        drafted = [seen.accepted for seen in rounds if seen.draft.length]
        if lengths[slot.place] and not drafted:
            return  # every draft was cut away
        if drafted:
            slot.smoothed += options.smoothing * (sum(drafted) / len(drafted) - slot.smoothed)
        slot.iterations += 1
        after = slot.iterations - options.warmup
        if after > 0 and after % options.update_interval == 0:
            self._decide(slot, lengths)

    def _decide(self, slot: Slot, lengths: Sequence[int]) -> None:
        options, before = self._options, slot.place
        if lengths[before] == 0:
            slot.place = min(before + 1, len(lengths) - 1)
            if slot.smoothed < 0:
                slot.smoothed = lengths[slot.place] - 1.0
            return
        while slot.place and slot.smoothed <= self._fall(lengths[slot.place - 1]) + options.down_hysteresis:
            slot.place -= 1
        if slot.place < before:
            return
        while slot.place < len(lengths) - 1 and slot.smoothed > lengths[slot.place] - _HALF + options.up_hysteresis:
            slot.place += 1

    @staticmethod
    def _fall(lower: int) -> float:
        """Return the accepted length at which a candidate is left for the one below it."""
        return lower - _HALF if lower else _HALF

    def leave(self, request_id: int) -> None:
        """Have nothing to forget: what is learned is the batch's."""
