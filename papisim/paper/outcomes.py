"""The runs that figures are computed from, in one interpretation or in all at once.

A value is a number, or an array with one entry for each interpretation. Figures only add, divide and compare values, so
both need the same code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Literal, NamedTuple

import numpy as np

from papisim.arrays import Floats
from papisim.paper.choices import Part, Protocol
from papisim.paper.claims import Value
from papisim.paper.experiment import PARTS, PHASES, TIMES, Case, Cell, Record

_ENERGIES = PARTS[len(TIMES) :]
_DECODE = slice(1, None)


class Ratio(NamedTuple):
    """A time or energy of a baseline, ``over`` the same of another machine, ``under``, for one case."""

    over: Value
    under: Value

    @property
    def value(self) -> Value:
        """The quotient."""
        return self.over / self.under


@dataclass(frozen=True)
class Run:
    """The times and energies of a cell's run.

    Attributes:
        parts: seconds and joules by part, each of shape (phases, …).
        static_w: static power of the machine.
        iterations: decoding iterations.
        fc_pim_ratio: share of decoding's FC FLOP that PIM computes.
    """

    parts: Mapping[Part, Floats]
    static_w: float
    iterations: Value
    fc_pim_ratio: Value

    @classmethod
    def of(cls, record: Record | None) -> Run:
        """Return the run of a record; all its values are not a number where the job did not fit the memory."""
        if record is None:
            nothing = {name: np.full(len(PHASES), np.nan) for name in PARTS}
            return cls(nothing, float("nan"), float("nan"), float("nan"))
        parts: dict[Part, Floats] = dict(zip(PARTS, record.parts.T, strict=True))
        return cls(parts, record.static_w, record.iterations, record.fc_pim_ratio)

    def time_s(self, phases: slice) -> Value:
        """Return the seconds of some phases."""
        return sum(self.parts[name][phases].sum(axis=0) for name in TIMES)

    def working_j(self, phases: slice) -> Value:
        """Return the joules of some phases, static power aside."""
        return sum(self.parts[name][phases].sum(axis=0) for name in _ENERGIES)


@dataclass(frozen=True)
class Outcomes:
    """The runs of all cells, and the protocol by which they are evaluated."""

    runs: Mapping[Cell, Run]
    protocol: Protocol

    def time_s(self, system: str, case: Case) -> Value:
        """Return the seconds that a case takes in the phases that count."""
        return self.runs[Cell(system, case)].time_s(self._counted(self.protocol.counted))

    def energy_j(self, system: str, case: Case) -> Value:
        """Return the joules that a case takes in the phases whose energy counts."""
        how = self.protocol.energy_counted
        phases = self._counted(self.protocol.counted if how == "as_time" else how)
        run = self.runs[Cell(system, case)]
        static_j = run.static_w * run.time_s(phases) if self.protocol.static_power == "charged" else 0.0
        return run.working_j(phases) + static_j

    def decode_s(self, system: str, case: Case, *parts: Part) -> Value:
        """Return the seconds of decoding, or of some of its parts."""
        run = self.runs[Cell(system, case)]
        if not parts:
            return run.time_s(_DECODE)
        return sum(run.parts[name][_DECODE].sum(axis=0) for name in parts)

    def speed_up(self, case: Case, over: str) -> Ratio:
        """Return PAPI's speed-up over another machine."""
        return Ratio(self.time_s(over, case), self.time_s("papi", case))

    def energy_gain(self, case: Case, over: str) -> Ratio:
        """Return PAPI's energy efficiency over that of another machine, for the same tokens."""
        return Ratio(self.energy_j(over, case), self.energy_j("papi", case))

    def mean(self, ratios: Sequence[Ratio]) -> Value:
        """Return the average of ratios that the protocol prescribes."""
        values = [ratio.value for ratio in ratios]
        if self.protocol.mean == "arithmetic":
            return sum(values) / len(values)
        if self.protocol.mean == "geometric":
            return np.exp(sum(np.log(value) for value in values) / len(values))
        return sum(ratio.over for ratio in ratios) / sum(ratio.under for ratio in ratios)

    @staticmethod
    def _counted(how: Literal["end_to_end", "decode"]) -> slice:
        return slice(None) if how == "end_to_end" else _DECODE


def largest(ratios: Sequence[Ratio]) -> Value:
    """Return the largest of ratios, for each interpretation."""
    return reduce(np.maximum, [ratio.value for ratio in ratios])
