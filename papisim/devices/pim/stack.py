"""A pool of PIM stacks of one kind: what a part says, and what a kernel costs on ``count`` of them."""

from __future__ import annotations

from functools import cached_property
from math import ceil
from typing import Literal, NamedTuple, Self

from pydantic import model_validator

from papisim.devices.base import DevicePart
from papisim.devices.pim.area import Area, check_area
from papisim.devices.pim.energy import Activity, EnergyTable, energy_of, power_limited_gap
from papisim.devices.pim.mapping.attention import place_attention
from papisim.devices.pim.mapping.linear import place_linear
from papisim.devices.pim.mapping.phases import NO_SWEEP, Geometry, Phase, Placed, Program, Run
from papisim.devices.pim.organisation import Buffers, Fpu, Logic, Organisation, Power
from papisim.devices.pim.timing import Timing, refreshes, sustained, sweep_cycles
from papisim.ops.cost import Cost
from papisim.ops.kernel import Attention, Elementwise, Kernel, KvAppend, Linear
from papisim.spec.base import Count


class Part(DevicePart):
    """One PIM stack.

    Attributes:
        mapping: ``physical``, or ``attacc_released``: the schedule of AttAcc's released generator, quirks included.
        power_limited: lengthen the column gap until streaming fits the power budget.
        refresh: ``sustained`` charges refresh at its average rate, as a kernel among many meets it; ``from_idle``
            starts each kernel right after a refresh and counts those that fall due.
        channels_per_head: channels of a stack that share one attention pair.

    """

    organisation: Organisation
    fpu: Fpu
    buffers: Buffers
    timing: Timing
    energy: EnergyTable
    logic: Logic
    power: Power
    area: Area | None = None
    channels_per_head: Count = 1
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
        if self.channels_per_head > self.organisation.channels:
            raise ValueError(
                f"found channels_per_head {self.channels_per_head}, expected at most the stack's channels"
            )
        if self.area is not None:
            check_area(self.area, self.organisation, self.fpu)
        return self


class _Clock:
    """Adds up phases.

    Attributes:
        now: cycles so far, refreshes aside.
        last_activate: when the last row so far is activated.
        slowest: the phase that takes most cycles in all, repetitions included (of a run: of one of its phases).

    """

    def __init__(self, timing: Timing) -> None:
        self._timing, self._burst = timing, timing.burst
        self._swept, self._banks, self._activate = NO_SWEEP, 0, 0
        self.now, self.last_activate = 0, -1
        self.slowest: Phase | None = None
        self._slowest_cycles = -1

    def run(self, program: Program, weight: int = 1) -> None:
        """Add a program; ``weight`` is how often it counts when the slowest phase is looked for."""
        for item in program:
            if isinstance(item, Run):
                self._repeat(item, weight)
                continue
            sweep, moves = item
            if sweep is not self._swept:
                self._swept = sweep
                self._banks, self._activate = sweep_cycles(self._timing, sweep)
            path = (moves.results_out + moves.operands_in + moves.scores_in) * self._burst + moves.softmax
            if self._banks:
                self.last_activate = self.now + self._activate
            cycles = max(self._banks, path)
            self.now += cycles
            if cycles * weight > self._slowest_cycles:
                self._slowest_cycles, self.slowest = cycles * weight, item

    def _repeat(self, run: Run, weight: int) -> None:
        """Add one repetition and shift by the others: phases begin with all banks closed, so all take the same."""
        start, activated = self.now, self.last_activate
        self.run(run.items, weight * run.times)
        others = (run.times - 1) * (self.now - start)
        self.now += others
        if self.last_activate != activated:
            self.last_activate += others


class Timed(NamedTuple):
    """A program on a channel, from idle and right after a refresh.

    Attributes:
        cycles: until it has drained, refreshes aside.
        refreshes: how many fall due meanwhile.
        bound: what the longest part of it waits for.

    """

    cycles: int
    refreshes: int
    bound: str


class Pool:
    """``count`` equal PIM stacks that share every kernel."""

    def __init__(self, name: str, part: Part, count: int) -> None:
        self.name, self.part, self.count = name, part, count
        self._occupancy: dict[int, int] = {}

    @property
    def capacity_bytes(self) -> float:
        """Memory of all stacks."""
        return self.count * self.part.capacity_bytes

    @property
    def static_w(self) -> float:
        """Power of all stacks whether or not they work."""
        return self.count * self.part.static_w

    def price(self, kernel: Kernel) -> Cost:
        """Return the time and energy of one kernel shared among all stacks."""
        match kernel:
            case Linear() | Attention():
                placed = self.place(kernel)
                timed = self.time(placed.program)
                cycles, activity, bound = self.cycles(timed), placed.activity, timed.bound
                time_s = cycles * self.part.timing.tck_s
            case KvAppend():
                time_s, bound, activity = self._append(kernel)
            case Elementwise():
                time_s, bound, activity = self._stream(kernel)
        part = self.part
        return Cost(time_s, bound, energy_of(activity, part.energy, part.organisation, part.fpu))

    def place(self, kernel: Linear | Attention) -> Placed:
        """Return the program of a kernel's busiest channel and what all channels do."""
        if isinstance(kernel, Linear):
            return place_linear(self.geometry, kernel)
        return place_attention(self.geometry, kernel)

    def time(self, program: Program) -> Timed:
        """Return how long a program takes: of each phase, the slower of banks and moves.

        Equal, cycle for cycle, to scheduling its command stream literally.
        """
        clock = _Clock(self.part.timing)
        clock.run(program)
        bound = self._bound(clock.slowest) if clock.slowest else "none"
        return Timed(clock.now, refreshes(self.part.timing, clock.last_activate), bound)

    def _bound(self, phase: Phase) -> str:
        """Name what a phase waits for."""
        sweep, moves = phase
        banks = sweep_cycles(self.part.timing, sweep)[0]
        if moves.cycles(self.part.timing.burst) > banks:
            return "softmax" if moves.softmax > moves.cycles(self.part.timing.burst) / 2 else "data_path"
        return "fpu" if sweep.gap > self._gap_floor else "column_gap"

    def cycles(self, timed: Timed) -> int:
        """Return a program's cycles with refresh, counted the way the part asks for."""
        timing = self.part.timing
        if self.part.refresh == "sustained":
            return sustained(timing, timed.cycles)
        return timed.cycles + timed.refreshes * timing.rfc

    def _append(self, kernel: KvAppend) -> tuple[float, str, Activity]:
        """Price writing new K and V: one row opened, all channels' data paths busy, and every column in a row of its own.

        The columns of one token lie in different banks, so rows are opened side by side but each pays its energy.
        """
        timing, geometry = self.part.timing, self.geometry
        columns = ceil(kernel.new_bytes / geometry.column_bytes)
        paths = self.count * geometry.channels * geometry.pseudo_channels
        bursts = -(-columns // paths)
        cycles = timing.rcd + timing.cwl + bursts * timing.burst + timing.wr + timing.rp if columns else 0
        moved = columns * geometry.column_bytes
        return sustained(timing, cycles) * timing.tck_s, "data_path", Activity(columns, columns, 0, moved)

    def _stream(self, kernel: Elementwise) -> tuple[float, str, Activity]:
        """Price an elementwise kernel on the logic dies' vector units."""
        logic, moved = self.part.logic, kernel.read_bytes + kernel.write_bytes
        path_s = moved / (self.count * logic.bandwidth_bytes_per_s)
        work_s = kernel.flop / (self.count * logic.rate_flop_per_s)
        activity = Activity(data_path_bytes=moved, logic_flop=kernel.flop)
        return max(path_s, work_s), "logic" if work_s > path_s else "data_path", activity

    @cached_property
    def geometry(self) -> Geometry:
        """The whole numbers that mappings divide by."""
        part = self.part
        organisation, fpu, buffers, column_bytes = (
            part.organisation,
            part.fpu,
            part.buffers,
            part.organisation.column_bytes,
        )
        return Geometry(
            count=self.count,
            channels=organisation.channels,
            pseudo_channels=organisation.pseudo_channels,
            bank_groups=organisation.bank_groups,
            ways=organisation.ways,
            banks=organisation.banks_per_group,
            turns=fpu.banks_in_turn,
            lanes=fpu.lanes,
            column_bytes=int(column_bytes),
            columns_per_row=organisation.columns_per_row,
            column_gap=part.timing.column_gap,
            operand_columns=max(1, int(buffers.operand_bytes / 2 / column_bytes)),
            result_columns=max(1, int(buffers.result_bytes / column_bytes)),
            burst=part.timing.burst,
            channels_per_head=part.channels_per_head,
            logic_flop_per_cycle=part.logic.rate_flop_per_s * part.timing.tck_s / organisation.channels,
            occupancy=self.occupancy,
        )

    @cached_property
    def _gap_floor(self) -> int:
        """The column gap at reuse 1: what a column takes when FPUs keep up."""
        return self.column_gap(1)

    def column_gap(self, uses: int) -> int:
        """Return the least cycles between column commands, the power limit included, when each is used ``uses`` times."""
        part = self.part
        if not part.power_limited:
            return part.timing.column_gap
        return power_limited_gap(uses, part.timing, part.power, part.energy, part.organisation, part.fpu)

    def occupancy(self, uses: int) -> int:
        """Return the cycles a column command occupies its units when each column is used ``uses`` times."""
        if uses not in self._occupancy:
            fpu = self.part.fpu
            busy = ceil(round(fpu.turns(uses) * fpu.column_s / self.part.timing.tck_s, 6))
            self._occupancy[uses] = max(self.column_gap(uses), busy)
        return self._occupancy[uses]
