"""A published claim, what the simulator says, and whether they agree."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, Self

from pydantic import model_validator

from papisim.config.base import NonNegative, Spec

#: how a figure that is claimed to change does so
Trend = Literal["rises", "falls"]

#: on which side of its ``neutral`` value a figure is claimed to lie
Order = Literal["above", "below"]


class Verdict(StrEnum):
    """How a simulated value stands to a claimed one."""

    IN_RANGE = "in range"
    DIRECTION_HOLDS = "direction holds"
    OFF = "off"
    NOT_TESTABLE = "not testable"


class Claim(Spec):
    """What a paper claims.

    Attributes:
        what: the figure, in words.
        claimed: its value, how it changes, or on which side of ``neutral`` it lies.
        tolerance_ratio: relative error up to which the simulated value is in range.
        least_change_ratio: change that a figure claimed to rise or fall must at least show; less is no change.
        neutral: value of no effect, from which both must lie on the same side for the direction to hold; None where the
            figure has no direction.
        reliability: how the value is known: stated in the paper's text, read off a figure by others, read in code, in a poster
            or in an abstract, in notes that agree (note_a) or in one note (note_b), or computed from such values (derived).
        source: work and place.
    """

    what: str
    claimed: float | Trend | Order
    tolerance_ratio: NonNegative = 0.1
    least_change_ratio: NonNegative = 0.02
    neutral: float | None = None
    reliability: Literal["text", "figure", "code", "poster", "abstract", "note_a", "note_b", "derived"]
    source: str

    @model_validator(mode="after")
    def _order_of_what(self) -> Self:
        if self.claimed in ("above", "below") and self.neutral is None:
            raise ValueError(
                f"found claimed '{self.claimed}' without 'neutral', expected the value it lies {self.claimed}"
            )
        return self

    @property
    def shown(self) -> float | str:
        """What is claimed, in as many words as a table has room for."""
        return f"{self.claimed} {self.neutral:g}" if self.claimed in ("above", "below") else self.claimed


@dataclass(frozen=True)
class Row:
    """A claim and its verdict.

    Attributes:
        system: whose claim.
        claim: what is claimed, in words.
        claimed: the published value, how it changes, or the side it lies on.
        simulated: the simulator's value; of a change, the last value over the first. None where it cannot be tested.
        relative_error: simulated over claimed, less 1.
        verdict: whether they agree.
        reason: why, with the computed figures that explain a miss.
        reliability: how the claimed value is known.
        source: where it is from.
    """

    system: str
    claim: str
    claimed: float | str
    simulated: float | None
    relative_error: float | None
    verdict: Verdict
    reason: str
    reliability: str
    source: str


def judge(claim: Claim, simulated: float | None) -> tuple[float | None, Verdict]:
    """Return the relative error, where the claim is a number, and the verdict."""
    if simulated is None:
        return None, Verdict.NOT_TESTABLE
    if claim.claimed in ("above", "below"):
        above = simulated > (claim.neutral or 0.0)
        return None, Verdict.DIRECTION_HOLDS if above == (claim.claimed == "above") else Verdict.OFF
    if isinstance(claim.claimed, str):
        change = simulated - 1 if claim.claimed == "rises" else 1 - simulated
        holds = change >= claim.least_change_ratio
        return None, Verdict.DIRECTION_HOLDS if holds else Verdict.OFF
    error = simulated / claim.claimed - 1 if claim.claimed else None
    if error is not None and abs(error) <= claim.tolerance_ratio:
        return error, Verdict.IN_RANGE
    if claim.neutral is not None and (simulated - claim.neutral) * (claim.claimed - claim.neutral) > 0:
        return error, Verdict.DIRECTION_HOLDS
    return error, Verdict.OFF
