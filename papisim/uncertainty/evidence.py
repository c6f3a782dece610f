"""What is known about the errors of the models: ``measured.yaml`` and ``assumed.yaml`` beside this module.

Measured rows are quantiles of measured over modelled time by library and regime, inside and outside the fits (:mod:`papisim.validation.evidence`
computes them, ``scripts/uncertainty.py`` writes them). Assumed rows are ranges with reasons.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field, model_validator

from papisim.config.base import Name, Positive, Spec, parse
from papisim.config.yaml import check_schema, load_yaml

SCHEMA: Final = "papisim/evidence/1"
#: places of a kernel: inside the range of a fit, on another board than that of the fit, or beyond the range
INSIDE, OTHER_BOARD, OUT_OF_RANGE = "inside", "other board", "out of range"
#: part of rows that hold for every part, and the all-reduces that a link's part gives beside its libraries
ANY, OWN_LIBRARY = "any", "its own"
#: figure of the busy time of steps
STEP = "step"
#: token-rows of matrix products over those at which both peaks are balanced, up to which memory limits and from which the tensor cores do
_MEMORY, _COMPUTE = 0.5, 2.0
#: token-rows up to which small kernels are mostly their launch
_FEW_ROWS = 256

Where = Literal["inside", "other board", "out of range"]
Quantiles = Annotated[list[Positive], Field(min_length=3, max_length=3)]


class Measured(Spec):
    """Errors of one class of kernels of one library, as measured.

    Attributes:
        part: description of the GPU whose fit is judged; ``any`` for every part with the library.
        family: ``linear``, ``attention``, ``prefill``, ``small`` or ``all_reduce``; or energy of one.
        library: the library.
        regime: regime of matrix products; ``all`` elsewhere.
        where: place inside or outside the fit.
        kernels: number of kernels.
        groups: number of groups of kernels that share their error.
        kernel: quantiles over kernels.
        group: quantiles over groups.
        tables: the tables.
    """

    part: Name
    family: Name
    library: Name
    regime: Name
    where: Where
    kernels: int
    groups: int
    kernel: Quantiles
    group: Quantiles
    tables: list[Name]


class Served(Spec):
    """Errors of whole services of engines, beyond the groups that were measured.

    Attributes:
        figure: ``throughput``, ``ttft`` or ``tpot``, the ratio being that of times; or ``step``, the busy time of a step.
        rows: number of services.
        groups: number of groups of engine, GPU, model and precision.
        between: quantiles over groups that were not seen.
        within: quantiles within a group.
        tables: the tables.
    """

    figure: Name
    rows: int
    groups: int
    between: Quantiles
    within: Quantiles
    tables: list[Name]


class Assumed(Spec):
    """A range of truth over model for want of a measurement.

    Attributes:
        what: what it is of.
        range: quantiles.
        source: the reason.
    """

    what: Name
    range: Quantiles
    source: Name

    @model_validator(mode="after")
    def _ascends(self) -> Assumed:
        if sorted(self.range) != self.range:
            raise ValueError("found a range whose quantiles do not ascend")
        return self


class Evidence(Spec):
    """All that is known about errors.

    Attributes:
        description: what the file is.
        measured: errors as measured.
        served: errors of services of engines.
        assumed: ranges assumed.
    """

    description: Name
    measured: list[Measured] = Field(default_factory=list)
    served: list[Served] = Field(default_factory=list)
    assumed: list[Assumed] = Field(default_factory=list)

    def measured_of(self, part: str, family: str, library: str, regime: str, where: str) -> Measured | None:
        """Return the row of a class of kernels, or else that of the nearest one of the same library and place; None if there is none.

        Nearer are rows of the same regime than of another, then of the same part.
        """
        rows = [row for row in self.measured if (row.family, row.library, row.where) == (family, library, where)]
        wanted = (("regime", regime), ("part", part))
        return max(rows, key=lambda row: tuple(getattr(row, name) == value for name, value in wanted), default=None)

    def assumed_of(self, *whats: str) -> Assumed:
        """Return the range of the first of several names that the file has; it must have the last."""
        ranges = {row.what: row for row in self.assumed}
        return next(ranges[what] for what in whats if what in ranges)

    def served_of(self, figure: str) -> Served:
        """Return the errors of a figure of services; the file must have them."""
        return next(row for row in self.served if row.figure == figure)


def regime_of(family: str, rows: float, balanced_rows: float) -> str:
    """Return the regime of a kernel of some token-rows; attention has one regime.

    Args:
        family: its family.
        rows: its token-rows.
        balanced_rows: token-rows at which the peaks of memory and arithmetic are balanced.
    """
    if family == "small":
        return "few rows" if rows <= _FEW_ROWS else "many rows"
    if family != "linear":
        return "all"
    ratio = rows / balanced_rows
    return "memory" if ratio < _MEMORY else "compute" if ratio > _COMPUTE else "transition"


@cache
def evidence() -> Evidence:
    """Read the evidence."""
    measured, assumed = (_read(name) for name in ("measured.yaml", "assumed.yaml"))
    return measured.model_copy(update={"assumed": assumed.assumed})


def _read(name: str) -> Evidence:
    document = load_yaml(Path(__file__).with_name(name))
    check_schema(document, SCHEMA)
    return parse(Evidence, document)
