"""One PIM stack as its file in ``hwconfigs/devices`` describes it."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import model_validator

from papisim.config.base import Count
from papisim.devices.base import DevicePart
from papisim.devices.pim.area import Area, check_area
from papisim.devices.pim.energy import EnergyTable
from papisim.devices.pim.mapping.attacc_released import Generator
from papisim.devices.pim.organisation import Buffers, Fpu, Logic, Organisation, Power
from papisim.devices.pim.timing import Timing


class Part(DevicePart):
    """One PIM stack.

    Attributes:
        mapping: ``physical``, or ``attacc_released``: the schedule of AttAcc's released generator, quirks included.
        power_limited: lengthen the column gap until streaming fits the power budget.
        refresh: ``sustained`` charges refresh at its average rate, as a kernel among many meets it; ``from_idle``
            starts each kernel right after a refresh and counts the refreshes that fall due.
        channels_per_head: channels of a stack that share one attention pair.
        moves_beside_macs: moves have a path of their own; otherwise they share the column bus with MACs, which takes
            ``timing.turnaround`` to turn.
        split_inputs: stacks and the banks of a bank group split the inputs of an FC kernel; otherwise each bank owns outputs.
        weight_reuse_rows: maximum token-rows per reading of a weight; None: limited by the buffers alone.
        query_reuse_rows: maximum query rows per reading of a cache; None: limited by the buffers alone.
        generator: constants of AttAcc's released generator; only ``attacc_released`` uses them.
    """

    is_rank: ClassVar[bool] = False

    organisation: Organisation
    fpu: Fpu
    buffers: Buffers
    timing: Timing
    energy: EnergyTable
    logic: Logic
    power: Power
    area: Area | None = None
    channels_per_head: Count = 1
    moves_beside_macs: bool = True
    split_inputs: bool = True
    weight_reuse_rows: Count | None = None
    query_reuse_rows: Count | None = None
    generator: Generator | None = None
    mapping: Literal["physical", "attacc_released"] = "physical"
    power_limited: bool = True
    refresh: Literal["sustained", "from_idle"] = "sustained"

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.capacity_bytes != self.organisation.capacity_bytes:
            raise ValueError(
                f"found capacity_bytes {self.capacity_bytes:g}, expected banks × bank_bytes = "
                f"{self.organisation.capacity_bytes:g}"
            )
        if not self.moves_beside_macs and self.mapping == "attacc_released":
            raise ValueError("found moves_beside_macs false, expected true with mapping attacc_released")
        if self.channels_per_head > self.organisation.channels:
            raise ValueError(
                f"found channels_per_head {self.channels_per_head}, expected at most the stack's channels"
            )
        if self.area is not None:
            check_area(self.area, self.organisation, self.fpu)
        return self
