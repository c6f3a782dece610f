"""One PIM stack as its file in ``hwconfigs/devices`` describes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal, Self

from pydantic import Field, ModelWrapValidatorHandler, field_validator, model_validator

from papisim.catalog import Shelf
from papisim.config.base import Count, FieldError, NonNegative, Spec
from papisim.devices.base import DevicePart
from papisim.devices.pim.area import Area, UnitFigures, check_area, die_mm2, unit_figures
from papisim.devices.pim.energy import EnergyTable, Terms
from papisim.devices.pim.host import Host
from papisim.devices.pim.level import Level
from papisim.devices.pim.mapping.attacc_released import Generator
from papisim.devices.pim.organisation import Buffers, Fpu, Logic, Organisation, Power
from papisim.devices.pim.timing import ONE_COMMAND_EACH, CommandCounts, Timing


class FurtherLevel(Spec):
    """Units at a further level of a stack; ``at`` of them is the key that they stand under.

    Attributes:
        fpu: the units.
        buffers: their buffers.
        from_rows: least token-rows (of attention: query rows per cached token) of kernels that run here; those with fewer run on the level
            below; None: each kernel runs on the level that is fastest.
        weight_reuse_rows: as that of the part.
        query_reuse_rows: as that of the part.
    """

    fpu: Fpu
    buffers: Buffers
    from_rows: Count | None = None
    weight_reuse_rows: Count | None = None
    query_reuse_rows: Count | None = None


class Part(DevicePart):
    """One PIM stack.

    Attributes:
        static_w: power with or without work; where a part leaves it out, standby and refresh of its capacity by the energy table.
        timing: timing table: the name of a file in ``hwconfigs/devices/dram``, a path, or the numbers themselves.
        energy: energy table: the name of a file in ``hwconfigs/devices/energy``, a path, or the terms themselves.
        capacity_bytes: that of the organisation, banks × bank_bytes, and derived from it where it is left out.
        mapping: ``physical``, or ``attacc_released``: the schedule of AttAcc's released generator, quirks included.
        power_limited: lengthen the column gap until streaming fits the power budget.
        refresh: ``sustained`` charges refresh at its average rate, as a kernel among many meets it; ``from_idle``
            starts each kernel right after a refresh and counts the refreshes that fall due.
        refresh_mode: ``all_bank``, or ``per_bank``: banks are refreshed one at a time, and those in lock step wait for each.
        banks_per_activate: banks of a pseudo-channel that one activate command opens, so that tRRD, tFAW and the command bus limit how
            fast all are open; None: all at once, as in published PIM stacks.
        banks_per_mac: banks of a pseudo-channel that one column command reaches, so that the command bus limits how fast columns
            follow; None: all that units are served from at once.
        banks_per_precharge: banks of a pseudo-channel that one precharge command closes; None: all at once.
        channels_per_head: channels of a stack that share one attention pair.
        moves_beside_macs: moves have a path of their own; otherwise they share the column bus with MACs, which takes
            ``timing.turnaround`` to turn.
        split_inputs: stacks and the banks of a bank group split the inputs of an FC kernel; otherwise each bank owns outputs.
        weight_reuse_rows: maximum token-rows per reading of a weight; None: limited by the buffers alone.
        query_reuse_rows: maximum query rows per reading of a cache; None: limited by the buffers alone.
        further_levels: units at levels beside that of ``fpu``. The banks of a channel serve one level at a time: a kernel runs on one of them.
        host: reads of the host beside kernels; None: it reads while none runs, as ``roles.arbitration`` of a system arranges.
        generator: constants of AttAcc's released generator; only ``attacc_released`` uses them.
    """

    is_rank: ClassVar[bool] = False
    named_files: ClassVar[Mapping[str, Shelf]] = {"energy": Shelf.ENERGY, "timing": Shelf.DRAM}
    derives: ClassVar[tuple[str, ...]] = ("capacity_bytes",)

    static_w: NonNegative = 0.0
    capacity_bytes: NonNegative = 0.0  # until the organisation is read
    organisation: Organisation
    fpu: Fpu
    buffers: Buffers
    further_levels: dict[Level, FurtherLevel] = Field(default_factory=dict)
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
    host: Host | None = None
    generator: Generator | None = None
    mapping: Literal["physical", "attacc_released"] = "physical"
    power_limited: bool = True
    refresh: Literal["sustained", "from_idle"] = "sustained"
    refresh_mode: Literal["all_bank", "per_bank"] = "all_bank"
    banks_per_activate: Count | None = None
    banks_per_mac: Count | None = None
    banks_per_precharge: Count | None = None

    @model_validator(mode="wrap")
    @classmethod
    def _has_static_power(cls, data: object, handler: ModelWrapValidatorHandler[Self]) -> Self:
        part = handler(data)
        if "static_w" in part.model_fields_set:
            return part
        terms = part.energy.used
        if terms.standby_w_per_byte is None:
            raise ValueError("field 'static_w' is missing: the energy table has no standby_w_per_byte")
        idle = terms.standby_w_per_byte + (terms.refresh_w_per_byte or 0.0)
        return part.model_copy(update={"static_w": idle * part.organisation.capacity_bytes})

    @field_validator("further_levels", mode="before")
    @classmethod
    def _at_their_keys(cls, found: object) -> object:
        """Let the key of a further level be the ``at`` of its units."""
        if not isinstance(found, Mapping):
            return found
        return {
            level: {**units, "fpu": {"at": level, **units["fpu"]}}
            if isinstance(units, Mapping) and isinstance(units.get("fpu"), Mapping)
            else units
            for level, units in found.items()
        }

    def at_level(self, level: Level) -> Self:
        """Return the stack with the units of one of its further levels alone."""
        units = self.further_levels[level]
        return self.model_copy(update={**dict(units), "further_levels": {}})

    @property
    def counts(self) -> CommandCounts:
        """Commands that open a row in all banks of a channel, take a column and close the row.

        The pseudo-channels of a channel receive theirs side by side.
        """
        banks = self.organisation.banks_per_channel // self.organisation.pseudo_channels
        served = -(-banks // self.fpu.banks_in_turn)
        return CommandCounts(
            *(
                1 if reached is None else -(-all_banks // reached)
                for all_banks, reached in (
                    (banks, self.banks_per_activate),
                    (served, self.banks_per_mac),
                    (banks, self.banks_per_precharge),
                )
            )
        )

    @property
    def column_gap(self) -> int:
        """Least cycles between columns: those of a port, and of the commands that a column takes on the command bus."""
        return max(self.fpu.gap(self.organisation, self.timing), self.counts.macs * self.timing.column_cycles)

    @property
    def paced_timing(self) -> Timing:
        """The timing table with the refresh in use.

        Raises:
            ValueError: per-bank refresh that the memory has not, or that leaves no time for work.
        """
        if self.refresh_mode == "all_bank":
            return self.timing
        banks = self.organisation.banks_per_channel // self.organisation.pseudo_channels
        return self.timing.refreshed_by_bank(banks)

    @property
    def banks_of_inputs(self) -> int:
        """Banks that split the inputs of one output."""
        return self.organisation.banks_per_group if self.split_inputs else 1

    @property
    def buffer_shares(self) -> tuple[int, int]:
        """The slices of inputs that an operand buffer holds side by side, and the ways whose sums a result buffer holds."""
        if self.fpu.at is Level.BANK:
            return 1, 1
        return self.banks_of_inputs, self.fpu.per_banks // self.banks_of_inputs

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if "capacity_bytes" in self.model_fields_set and self.capacity_bytes != self.organisation.capacity_bytes:
            raise FieldError(
                "capacity_bytes",
                f"found {_gib(self.capacity_bytes)}, expected banks × bank_bytes = {self.organisation.banks} × "
                f"{_gib(self.organisation.bank_bytes)} = {_gib(self.organisation.capacity_bytes)} (left out, it is derived)",
            )
        object.__setattr__(self, "capacity_bytes", self.organisation.capacity_bytes)
        if not self.moves_beside_macs and self.mapping == "attacc_released":
            raise ValueError("found moves_beside_macs false, expected true with mapping attacc_released")
        if self.banks_per_activate is not None and (self.timing.rrd is None or self.timing.faw is None):
            raise ValueError("found banks_per_activate, expected timing.rrd and timing.faw beside it")
        if self.mapping == "attacc_released" and self.counts != ONE_COMMAND_EACH:
            raise ValueError(
                "found banks_per_activate, banks_per_mac or banks_per_precharge, expected none with mapping attacc_released: "
                "commands of its controller reach all banks at once"
            )
        self.paced_timing  # noqa: B018 - refuses a refresh that leaves no time
        if self.channels_per_head > self.organisation.channels:
            raise ValueError(
                f"found channels_per_head {self.channels_per_head}, expected at most the stack's channels"
            )
        self._check_units()
        self._check_further()
        if self.area is not None:
            check_area(self.area, self.organisation, self.fpus)
        return self

    def _check_units(self) -> None:
        """Refuse units and buffers of the first level that the banks cannot feed.

        Raises:
            ValueError: with the field and what it may be.
        """
        self.fpu.check(self.organisation)
        if not self.moves_beside_macs and self.fpu.at is Level.BASE_DIE:
            raise ValueError(
                "found moves_beside_macs false with fpu.at base_die, expected true: columns take the TSVs and moves the pins"
            )
        slices, ways = self.buffer_shares
        for field, least, what in (
            ("operand_bytes", slices * self.organisation.column_bytes, "a column of inputs for each bank"),
            ("result_bytes", ways * self.fpu.bits / 8, "a sum for each way"),
        ):
            if (size := getattr(self.buffers, field)) < least:
                raise ValueError(f"found buffers.{field} {size:g} B, expected at least {least:g} B: {what} it serves")
        dual = self.host is not None and self.host.mode == "dual_row_buffer"
        if dual and (not self.moves_beside_macs or (self.fpu.at.beyond_groups and self.fpu.ports == 1)):
            raise FieldError(
                "host.mode",
                "found dual_row_buffer, expected blocked or interleaved: units or moves take the data path that reads would go over",
            )
        if self.moves_beside_macs and not self._has_room_for_moves():
            raise ValueError(
                f"found moves_beside_macs true, expected false: {self.counts.macs} commands per column every {self.column_gap} cycles leave "
                "the command bus no room for those of moves"
            )
        if self.mapping == "attacc_released" and self.fpu.at is not Level.BANK:
            raise ValueError(f"found fpu.at {self.fpu.at}, expected bank with mapping attacc_released")

    def _has_room_for_moves(self) -> bool:
        """Return whether commands of columns and of moves fit one command bus, both at their fastest."""
        cycles = self.timing.column_cycles
        return self.counts.macs * cycles / self.column_gap + cycles / max(self.timing.burst, cycles) <= 1

    def _check_further(self) -> None:
        """Refuse further levels that cannot stand beside the first.

        Raises:
            ValueError: with the field and what it may be.
        """
        if self.host is not None and self.mapping == "attacc_released":
            raise ValueError(
                "found host, expected none with mapping attacc_released: its generator has no such reads"
            )
        if self.further_levels and self.mapping == "attacc_released":
            raise ValueError(
                "found further_levels, expected none with mapping attacc_released: it has units at the banks"
            )
        for level, units in self.further_levels.items():
            where = f"further_levels.{level}"
            if level is self.fpu.at or units.fpu.at is not level:
                raise FieldError(
                    where,
                    f"found units with fpu.at {units.fpu.at}, expected '{level}' and other than '{self.fpu.at}'",
                )
            if units.fpu.bits != self.fpu.bits:
                raise FieldError(
                    f"{where}.fpu.bits",
                    f"found {units.fpu.bits}, expected {self.fpu.bits}: all levels read what is stored once",
                )
            try:
                self.at_level(level)._check_units()
            except ValueError as error:
                raise FieldError(where, str(error)) from None
        rules = [units.from_rows for units in self.further_levels.values()]
        if any(rules) and (None in rules or len(set(rules)) < len(rules)):
            raise FieldError(
                "further_levels",
                f"found from_rows {rules}, expected a number of its own for each level, or none at all",
            )

    @property
    def refresh_w(self) -> float | None:
        """Share of the static power that refresh takes; None where it is not known."""
        per_byte = self.energy.used.refresh_w_per_byte
        return None if per_byte is None else per_byte * self.capacity_bytes

    @property
    def budget_w(self) -> float | None:
        """Power that one stack may draw for work."""
        return self.power.budget_w

    @property
    def fpus(self) -> dict[Level, Fpu]:
        """The units by level."""
        return {self.fpu.at: self.fpu, **{level: units.fpu for level, units in self.further_levels.items()}}

    @property
    def unit_areas(self) -> list[UnitFigures]:
        """The units of each level of a stack, and the area that they take at which node."""
        return unit_figures(self.area, self.organisation, self.fpus)

    @property
    def die_area_mm2(self) -> float | None:
        """Area of one DRAM die's banks and FPUs, the left side of PAPI's equation 3; None where the part has no ``area``."""
        return None if self.area is None else die_mm2(self.area, self.organisation, self.fpus)

    @property
    def area_mm2(self) -> float | None:
        """Area of the banks and FPUs of all dies, and of units on the base die."""
        if self.area is None or self.die_area_mm2 is None:
            return None
        base = [each.area_mm2 or 0.0 for each in self.unit_areas if each.level is Level.BASE_DIE]
        return self.area.dies * self.die_area_mm2 + sum(base)

    @property
    def energy_source(self) -> str:
        """The energy table in use."""
        return self.energy.label

    def decisive(self) -> dict[str, object]:
        """Return the fields that prices depend on: of energies, the terms in use; of timing, what the commands in use meet."""
        idle = {"standby_w_per_byte", "refresh_w_per_byte"}
        unused = {"name", "description"}
        unused |= set() if self.banks_per_activate else {"rrd", "faw", "act_cycles"}
        unused |= set() if self.banks_per_mac else {"column_cycles"}
        unused |= set() if self.banks_per_precharge else {"pre_cycles"}
        unused |= set() if self.refresh_mode == "per_bank" else {"rfc_pb"}
        found = super().decisive()
        if self.area is not None:
            found["area"] = self.area.model_dump(mode="json", exclude={"node_nm", "levels"})
        return {
            **found,
            "timing": self.timing.model_dump(mode="json", exclude_defaults=True, exclude=unused),
            "energy": self.energy.used.model_dump(mode="json", include=set(Terms.model_fields) - idle),
        }


def _gib(size_bytes: float) -> str:
    """Write a size with the binary prefix that files of parts use."""
    return f"{size_bytes / 2**30:g} GiB" if size_bytes >= 2**30 else f"{size_bytes / 2**20:g} MiB"
