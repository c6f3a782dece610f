"""Die area: FPUs and banks share it (PAPI, equations 3 and 4), and units of the base die have a die of their own."""

from __future__ import annotations

from collections.abc import Mapping
from math import floor
from typing import NamedTuple

from pydantic import Field

from papisim.config.base import Count, Positive, Spec
from papisim.devices.pim.level import Level
from papisim.devices.pim.organisation import Fpu, Organisation
from papisim.errors import DoesNotFit


class UnitArea(Spec):
    """Area of units at one level.

    Attributes:
        fpu_mm2: area of one unit with its share of buffers.
        node_nm: process node that the area is of; None if unknown.
        die_mm2: of units on the base die: area that there is for them; None if unknown.
    """

    fpu_mm2: Positive
    node_nm: Positive | None = None
    die_mm2: Positive | None = None


class Area(Spec):
    """What banks and FPUs take of a DRAM die, and what there is.

    Attributes:
        die_mm2: area of one die for banks and FPUs.
        bank_mm2: area of one bank.
        fpu_mm2: area of one FPU on a DRAM die with its share of buffers, where ``levels`` does not say otherwise.
        dies: DRAM dies of the stack.
        node_nm: process node that these areas are of; None if unknown.
        levels: areas of units by level; that of units on the base die is known from here alone.
    """

    die_mm2: Positive
    bank_mm2: Positive
    fpu_mm2: Positive
    dies: Count
    node_nm: Positive | None = None
    levels: dict[Level, UnitArea] = Field(default_factory=dict)

    def of(self, level: Level) -> UnitArea | None:
        """Return the area of units at a level; None where it is not known."""
        found = self.levels.get(level)
        if found is None and level is not Level.BASE_DIE:
            return UnitArea(fpu_mm2=self.fpu_mm2, node_nm=self.node_nm)
        return found

    def used_mm2(self, banks: int, fpus_per_bank: float) -> float:
        """Return ``m·(n·A_FPU + A_bank)``, the left side of equation 3."""
        return banks * (fpus_per_bank * self.fpu_mm2 + self.bank_mm2)

    def most_banks(self, fpus_per_bank: float) -> int:
        """Return the most banks of a die that leave room for their FPUs (equation 4)."""
        return floor(self.die_mm2 / (fpus_per_bank * self.fpu_mm2 + self.bank_mm2) + 1e-9)


class UnitFigures(NamedTuple):
    """Units of one level of a stack and what they take; None where the part does not say."""

    level: Level
    units: float
    fpu_mm2: float | None
    node_nm: float | None

    @property
    def area_mm2(self) -> float | None:
        """Area of all units of the level."""
        return None if self.fpu_mm2 is None else self.units * self.fpu_mm2


def unit_figures(area: Area | None, organisation: Organisation, fpus: Mapping[Level, Fpu]) -> list[UnitFigures]:
    """Return the units of each level and their areas."""
    found = []
    for level, fpu in fpus.items():
        one = None if area is None else area.of(level)
        units = organisation.banks * fpu.fpus / fpu.per_banks
        known = (None, None) if one is None else (one.fpu_mm2, one.node_nm)
        found.append(UnitFigures(level, units, *known))
    return found


def die_mm2(area: Area, organisation: Organisation, fpus: Mapping[Level, Fpu]) -> float:
    """Return the area of one DRAM die's banks and units."""
    units = unit_figures(
        area, organisation, {level: fpu for level, fpu in fpus.items() if level is not Level.BASE_DIE}
    )
    return (organisation.banks * area.bank_mm2 + sum(each.area_mm2 or 0.0 for each in units)) / area.dies


def check_area(area: Area, organisation: Organisation, fpus: Mapping[Level, Fpu]) -> None:
    """Refuse a stack whose banks and units do not fit their dies.

    Raises:
        DoesNotFit: with the levers there are.
    """
    banks, used = organisation.banks / area.dies, die_mm2(area, organisation, fpus)
    on_dram = {level: fpu for level, fpu in fpus.items() if level is not Level.BASE_DIE}
    if used > area.die_mm2 * (1 + 1e-9):
        raise DoesNotFit(
            f"{banks:g} banks a die with {' and '.join(fpu.name for fpu in on_dram.values())}",
            used,
            area.die_mm2,
            "mm² of a die",
            [
                f"at most {floor(area.die_mm2 * banks / used + 1e-9)} banks a die (fewer bank_groups)",
                "fewer FPUs for each bank (fpu.fpus)",
                "more dies (area.dies)",
            ],
        )
    base = area.levels.get(Level.BASE_DIE)
    if base is None or base.die_mm2 is None or Level.BASE_DIE not in fpus:
        return
    (units,) = unit_figures(area, organisation, {Level.BASE_DIE: fpus[Level.BASE_DIE]})
    if units.area_mm2 is not None and units.area_mm2 > base.die_mm2 * (1 + 1e-9):
        raise DoesNotFit(
            f"{units.units:g} units on the base die",
            units.area_mm2,
            base.die_mm2,
            "mm² of the base die",
            ["fewer units (fpu.fpus of level base_die)", "a smaller node (area.levels.base_die)"],
        )
