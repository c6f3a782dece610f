"""Die area: FPUs and banks share it (PAPI, equations 3 and 4)."""

from __future__ import annotations

from math import floor

from papisim.config.base import Count, Positive, Spec
from papisim.devices.pim.organisation import Fpu, Organisation
from papisim.errors import DoesNotFit


class Area(Spec):
    """What banks and FPUs take of a DRAM die, and what there is.

    Attributes:
        die_mm2: area of one die for banks and FPUs.
        bank_mm2: area of one bank.
        fpu_mm2: area of one FPU with its share of buffers.
        dies: DRAM dies of the stack.
    """

    die_mm2: Positive
    bank_mm2: Positive
    fpu_mm2: Positive
    dies: Count

    def used_mm2(self, banks: int, fpus_per_bank: float) -> float:
        """Return ``m·(n·A_FPU + A_bank)``, the left side of equation 3."""
        return banks * (fpus_per_bank * self.fpu_mm2 + self.bank_mm2)

    def most_banks(self, fpus_per_bank: float) -> int:
        """Return the most banks of a die that leave room for their FPUs (equation 4)."""
        return floor(self.die_mm2 / (fpus_per_bank * self.fpu_mm2 + self.bank_mm2) + 1e-9)


def check_area(area: Area, organisation: Organisation, fpu: Fpu) -> None:
    """Refuse a stack whose banks and FPUs do not fit their dies.

    Raises:
        DoesNotFit: with the levers there are.
    """
    banks, share = organisation.banks / area.dies, fpu.on_dram_per_bank
    used = area.used_mm2(1, share) * banks
    if used > area.die_mm2 * (1 + 1e-9):
        raise DoesNotFit(
            f"{banks:g} banks a die with {fpu.name}",
            used,
            area.die_mm2,
            "mm² of a die",
            [
                f"at most {area.most_banks(share)} banks a die (fewer bank_groups)",
                "fewer FPUs for each bank (fpu.fpus)",
                "more dies (area.dies)",
            ],
        )
