"""A published claim, the simulated value, and whether they agree.

A :class:`Study` is what one figure of a paper claims and how its experiments are set up. A paper's studies are in
``published.yaml`` in the paper's package, by the name of the figure's module.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from papisim.config.base import Count, NonNegative, Spec, parse
from papisim.config.experiment import RunOptions
from papisim.config.yaml import check_schema, load_yaml

SCHEMA = "papisim/published/1"

#: how a value that is claimed to change does so
Trend = Literal["rises", "falls"]

#: on which side of its ``neutral`` value a value is claimed to lie
Order = Literal["above", "below"]

#: names of a figure and of one of its claims
Key = tuple[str, str]

#: a simulated value: a float, or an array with one entry for each interpretation of a paper's open choices
Value = Any


class Verdict(StrEnum):
    """How a simulated value compares with a claimed one."""

    IN_RANGE = "in range"
    FITTED = "fitted"
    DIRECTION_HOLDS = "direction holds"
    OFF = "off"
    NOT_TESTABLE = "not testable"


class Claim(Spec):
    """A published value.

    Attributes:
        what: the quantity, in words.
        claimed: its value, how it changes, or on which side of ``neutral`` it lies.
        tolerance_ratio: relative error up to which the simulated value is in range.
        least_change_ratio: smallest change that counts as a rise or fall.
        neutral: value of no effect, from which both must lie on the same side for the direction to hold; None where the
            quantity has no direction.
        reliability: how the value is known: stated in the paper's text, read off a figure by others, read in code, in a poster
            or in an abstract, in notes that agree (note_a) or in one note (note_b), or computed from such values (derived).
        source: work and place.
        main: whether the effect of open choices on it is listed.
        fitted: whether the experiment was fitted to this value, which then says nothing about the simulator.
    """

    what: str
    claimed: float | Trend | Order
    tolerance_ratio: NonNegative = 0.1
    least_change_ratio: NonNegative = 0.02
    neutral: float | None = None
    reliability: Literal["text", "figure", "code", "poster", "abstract", "note_a", "note_b", "derived"]
    source: str
    main: bool = False
    fitted: bool = False

    @model_validator(mode="after")
    def _order_has_neutral(self) -> Self:
        if self.claimed in ("above", "below") and self.neutral is None:
            raise ValueError(
                f"found claimed '{self.claimed}' without 'neutral', expected the value it lies {self.claimed}"
            )
        return self

    @property
    def shown(self) -> float | str:
        """The claim as a table's cell shows it."""
        return f"{self.claimed} {self.neutral:g}" if self.claimed in ("above", "below") else self.claimed


@dataclass(frozen=True)
class Row:
    """A claim and its verdict.

    Attributes:
        system: the figure or system that makes the claim.
        claim: the quantity, in words.
        claimed: the published value, how it changes, or the side it lies on.
        simulated: the simulated value; of a change, the last value over the first. None where it cannot be tested.
        relative_error: simulated over claimed, less 1.
        verdict: whether they agree.
        reason: why, with the computed values that explain a miss.
        reliability: how the claimed value is known.
        source: work and place of the claimed value.
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
    if isinstance(claim.claimed, str):
        return None, Verdict.DIRECTION_HOLDS if _direction_holds(claim, simulated) else Verdict.OFF
    error = simulated / claim.claimed - 1 if claim.claimed else None
    if error is not None and abs(error) <= claim.tolerance_ratio:
        return error, Verdict.FITTED if claim.fitted else Verdict.IN_RANGE
    if claim.neutral is not None and (simulated - claim.neutral) * (claim.claimed - claim.neutral) > 0:
        return error, Verdict.DIRECTION_HOLDS
    return error, Verdict.OFF


def order_holds(claim: Claim, value: Value) -> Value:
    """Return whether a value keeps the claimed order, for each interpretation; a number keeps it within its tolerance."""
    if isinstance(claim.claimed, str):
        return _direction_holds(claim, value)
    return np.abs(value / claim.claimed - 1) <= claim.tolerance_ratio


def _direction_holds(claim: Claim, value: Value) -> Value:
    """Return whether a value lies on the claimed side, or changes as claimed; a value that is not a number does neither."""
    neutral, least = claim.neutral or 0.0, claim.least_change_ratio
    sides = {
        "above": value > neutral,
        "below": value < neutral,
        "rises": value - 1 >= least,
        "falls": 1 - value >= least,
    }
    return sides[str(claim.claimed)]


class Setup(Spec):
    """One experiment of a study.

    Attributes:
        hw: the machine.
        overrides: what differs from its file, and from those named below.
        engine: the engine profile, which charges sampling and the host.
        trace: the target model.
        drafting: the draft source.
        acceptance: the acceptance process.
        kv_tokens: tokens in each request's cache: the prompt of a simulated run, the cache of a profiled iteration.
        output_tokens: tokens that each request generates in a simulated run.
        assumed: what the publication does not state and is assumed here, and why.
    """

    hw: str = "gpu_only"
    overrides: tuple[str, ...] = ()
    engine: str = "none"
    trace: str
    drafting: str = "free"
    acceptance: str = "always"
    kv_tokens: Count = 512
    output_tokens: Count = 128
    assumed: str

    def options(
        self,
        batch: int = 1,
        requests: int | None = None,
        *,
        speculation: str | None = None,
        draft: str | None = None,
        overrides: tuple[str, ...] = (),
    ) -> RunOptions:
        """Return the options of a run of equal requests.

        Args:
            batch: requests decoded together.
            requests: requests in all; one batch if None.
            speculation: the speculation policy.
            draft: the draft source, in place of the setup's.
            overrides: assignments beside those of the setup.
        """
        lengths = f"{{kind: fixed, input_tokens: {self.kv_tokens}, output_tokens: {self.output_tokens}}}"
        return RunOptions(
            hw=self.hw,
            engine=self.engine,
            trace=self.trace,
            batch=batch,
            requests=requests or batch,
            speculation=speculation,
            draft=draft or self.drafting,
            acceptance=self.acceptance,
            set=(*self.overrides, f"workload.lengths={lengths}", *overrides),
        )


class Published(Spec):
    """The entry of one figure in ``published.yaml``.

    Attributes:
        title: what the figure shows.
        assumed: what the publication does not state and every experiment of the entry assumes.
        setups: experiments by name.
        claims: published values by name.
        scored: whether an interpretation's score counts the claims that are numbers.
        ordered: whether an interpretation must keep the orders that are claimed.
        settings: further published values, and parameters of the experiments, that the figure's module works with.
        settings_source: work and place of the settings.
    """

    title: str = ""
    assumed: list[str] = Field(default_factory=list)
    setups: dict[str, Setup] = Field(default_factory=dict)
    claims: dict[str, Claim] = Field(default_factory=dict)
    scored: bool = False
    ordered: bool = False
    settings: dict[str, object] = Field(default_factory=dict)
    settings_source: str = ""


@dataclass(frozen=True)
class Study:
    """A figure's name and its published entry."""

    name: str
    published: Published

    def setup(self, name: str) -> Setup:
        """Return an experiment by its name."""
        return self.published.setups[name]

    def setting(self, name: str) -> Any:
        """Return a setting by its name."""
        return self.published.settings[name]

    @property
    def assumed(self) -> list[str]:
        """What the entry and its setups assume."""
        setups = (f"{name}: {setup.assumed}" for name, setup in self.published.setups.items())
        return [*self.published.assumed, *setups]

    def row(self, claim: str, simulated: float | None, reason: str, *, cause_holds: bool = True) -> Row:
        """Return a claim's row; a value whose published cause does not hold is off, whatever it is."""
        entry = self.published.claims[claim]
        error, verdict = judge(entry, simulated)
        if not cause_holds:
            verdict, reason = Verdict.OFF, f"for another reason than the published one: {reason}"
        return Row(
            self.name, entry.what, entry.shown, simulated, error, verdict, reason, entry.reliability, entry.source
        )


class _File(Spec):
    title: str
    description: str
    studies: Annotated[dict[str, Published], Field(min_length=1)]


def load_studies(file: Path) -> tuple[str, dict[str, Study]]:
    """Read a paper's ``published.yaml``: the paper's title, and its studies by name.

    Raises:
        InputError, InputErrors: everything that is wrong, with places.
    """
    document = load_yaml(file)
    check_schema(document, SCHEMA)
    content = parse(_File, document)
    return content.title, {name: Study(name, published) for name, published in content.studies.items()}


def numbers(studies: Mapping[str, Study], *, read_off: bool = False) -> dict[Key, float]:
    """Return the published numbers that a score counts, by figure and claim.

    Args:
        studies: the paper's studies.
        read_off: also numbers that others read off a figure.
    """
    kinds = ("text", "figure") if read_off else ("text",)
    return {
        (name, claim): entry.claimed
        for name, study in studies.items()
        if study.published.scored
        for claim, entry in study.published.claims.items()
        if not isinstance(entry.claimed, str) and entry.reliability in kinds
    }


def score(published: Mapping[Key, float], simulated: Mapping[Key, Value]) -> Value:
    """Return the mean of ``|ln(simulated / published)|``; not a number where a value could not be simulated."""
    return sum(np.abs(np.log(simulated[key] / value)) for key, value in published.items()) / len(published)
