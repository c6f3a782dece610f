"""One device of GDDR6-AiM channels behind a controller, as its file in ``hwconfigs/devices`` describes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal, Self

from pydantic import model_validator

from papisim.catalog import Shelf
from papisim.config.base import Count
from papisim.devices.aim.commands import CommandTiming
from papisim.devices.aim.energy import CommandEnergy
from papisim.devices.aim.layout import Layout
from papisim.devices.aim.pnm import Pnm
from papisim.devices.base import DevicePart
from papisim.devices.pim.organisation import Organisation
from papisim.devices.pim.timing import Timing


class Part(DevicePart):
    """One device.

    Attributes:
        organisation: the channels and their banks.
        registers: sums that the unit of a bank holds.
        most_tokens: tokens of a cache that rows of values are reserved for.
        timing: DRAM table: the name of a file in ``hwconfigs/devices/dram``, a path, or the numbers themselves.
        commands: cycles of commands that the DRAM table does not have.
        energy: joules of commands.
        pnm: units of the controller.
        refresh: ``sustained`` charges refresh at its average rate; ``none`` leaves it out, as the AiM simulator does.
    """

    is_rank: ClassVar[bool] = False
    named_files: ClassVar[Mapping[str, Shelf]] = {"timing": Shelf.DRAM}

    organisation: Organisation
    registers: Count
    most_tokens: Count
    timing: Timing
    commands: CommandTiming
    energy: CommandEnergy
    pnm: Pnm
    refresh: Literal["sustained", "none"] = "sustained"

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.capacity_bytes != self.organisation.capacity_bytes:
            raise ValueError(
                f"found capacity_bytes {self.capacity_bytes:g}, expected banks × bank_bytes = {self.organisation.capacity_bytes:g}"
            )
        if self.organisation.ranks * self.organisation.pseudo_channels > 1:
            raise ValueError("found several ranks or pseudo-channels, expected one of each: GDDR6 has neither")
        return self

    def layout(self, devices: int, channels: int | None = None) -> Layout:
        """Return the layout of a block that ``devices`` share, on ``channels`` channels of each; by default on all."""
        own = self.organisation
        held = channels or own.channels
        return Layout(
            channels=held,
            blocks=own.channels // held,
            devices=devices,
            banks=own.banks_per_channel,
            banks_per_group=own.banks_per_group,
            columns=own.columns_per_row,
            lanes=int(own.column_bytes) // 2,
            registers=self.registers,
            most_tokens=self.most_tokens,
        )

    @property
    def cycle_s(self) -> float:
        """Time of a cycle, refresh included."""
        timing = self.timing
        return timing.tck_s * (timing.refi / (timing.refi - timing.rfc) if self.refresh == "sustained" else 1.0)
