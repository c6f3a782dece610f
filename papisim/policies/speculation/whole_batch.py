"""Policies that choose one length for the whole batch and learn from the time that iterations take."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Annotated, NamedTuple

from pydantic import AfterValidator, Field

from papisim.config.base import Count, Spec
from papisim.policies.speculation.base import AsPlanned, Draft, Round, SpeculationOptions, SpeculationView


class Planned(NamedTuple):
    """The iteration that was planned last.

    Attributes:
        batch: requests that decode together.
        length: drafts of each.
        time_s: seconds that the iteration takes on the cost model.
    """

    batch: int
    length: int
    time_s: float


class WholeBatch(AsPlanned, ABC):
    """A policy whose requests all draft the same, and that is told how long the iteration took.

    The time is that of the iteration as planned. What is planned replaces what was planned before, so that planning twice
    is planning once.
    """

    learns_from_all = True

    def __init__(self) -> None:
        self._planned: Planned | None = None

    @abstractmethod
    def choose(self, view: SpeculationView) -> int:
        """Return the length that all requests draft."""

    @abstractmethod
    def learn(self, planned: Planned, rounds: Sequence[Round]) -> None:
        """Learn from an iteration whose drafts, if any were planned, were not all cut away."""

    def plan(self, view: SpeculationView) -> list[Draft]:
        """Draft the chosen length for every request."""
        length = self.choose(view)
        drafts = [Draft(length)] * view.rlp
        self._planned = Planned(view.rlp, length, view.price_s(drafts))
        return drafts

    def observe(self, rounds: Sequence[Round]) -> None:
        """Learn from an iteration; one whose drafts were all cut away says nothing."""
        planned = self._planned
        if planned is not None and rounds and (planned.length == 0 or any(seen.draft.length for seen in rounds)):
            self.learn(planned, rounds)

    def leave(self, request_id: int) -> None:
        """Have nothing to forget: what is learned is the batch's."""


def tokens(rounds: Sequence[Round]) -> int:
    """Return the tokens that rounds emit."""
    return sum(seen.accepted + 1 for seen in rounds)


class Candidates(Spec):
    """Lengths to choose from in batches of ``from_batch`` requests and more, up to the next entry's."""

    from_batch: Count
    lengths: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]


def _by_batch(rows: list[Candidates]) -> list[Candidates]:
    starts = [row.from_batch for row in rows]
    if starts[0] != 1 or starts != sorted(set(starts)):
        raise ValueError(f"found candidates from batches {starts}, expected them in ascending order from 1")
    for row in rows:
        if row.lengths != sorted(set(row.lengths)):
            raise ValueError(f"found lengths {row.lengths}, expected them in ascending order")
    return rows


class CandidateOptions(SpeculationOptions):
    """Options of the policies that choose among lengths by batch size.

    Attributes:
        candidates: lengths to choose from, by batch size.
    """

    candidates: Annotated[list[Candidates], Field(min_length=1), AfterValidator(_by_batch)]

    @property
    def longest(self) -> int:
        """The longest draft, in tokens."""
        return max(max(row.lengths) for row in self.candidates)

    def slot(self, batch: int) -> int:
        """Return the index of the candidates of a batch."""
        return max(index for index, row in enumerate(self.candidates) if row.from_batch <= max(1, batch))
