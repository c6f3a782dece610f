"""A pool of PIM stacks of one kind: what a part says, and what a kernel costs on ``count`` of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from math import ceil
from typing import Literal, NamedTuple, Self, TextIO

import numpy as np
from pydantic import model_validator

from papisim.arrays import Ints
from papisim.config.base import Count
from papisim.devices.base import AttentionRun, DevicePart, DevicePool
from papisim.devices.pim.area import Area, check_area
from papisim.devices.pim.commands import Command, export, stream
from papisim.devices.pim.energy import Activity, EnergyTable, energy_of, power_limited_gap
from papisim.devices.pim.fast_path import time_program, time_programs, time_sections
from papisim.devices.pim.mapping.attacc_released import Generator, released_plan, released_stream
from papisim.devices.pim.mapping.attention import Layout, held_tokens, lay_out, place_attention, softmax_flop
from papisim.devices.pim.mapping.linear import place_linear
from papisim.devices.pim.mapping.phases import Geometry, Phase, Placed
from papisim.devices.pim.organisation import Buffers, Fpu, Logic, Organisation, Power
from papisim.devices.pim.scheduler import PHYSICAL, Channel, Rules
from papisim.devices.pim.timing import Timing, refreshes, sustained, sweep_cycles
from papisim.errors import NotModelled
from papisim.ops.caches import AttentionOverCaches
from papisim.ops.cost import Cost, Energy
from papisim.ops.kernel import Attention, Elementwise, Kernel, KvAppend, Linear

#: sizes of caches that are priced at once, and how many such blocks are kept (of about 20 kB each)
_TOKENS, _BLOCKS_KEPT = 256, 2_000


class Part(DevicePart):
    """One PIM stack.

    Attributes:
        mapping: ``physical``, or ``attacc_released``: the schedule of AttAcc's released generator, quirks included.
        power_limited: lengthen the column gap until streaming fits the power budget.
        refresh: ``sustained`` charges refresh at its average rate, as a kernel among many meets it; ``from_idle``
            starts each kernel right after a refresh and counts those that fall due.
        channels_per_head: channels of a stack that share one attention pair.
        moves_beside_macs: moves have a path of their own; otherwise they share the column bus with MACs, which takes
            ``timing.turnaround`` to turn.
        split_inputs: stacks and the banks of a bank group split the inputs of an FC kernel; otherwise each bank owns outputs.
        weight_reuse_rows: most token-rows that one reading of a weight serves; None for as many as the buffers hold.
        query_reuse_rows: most query rows that one reading of a cache serves; None likewise.
        generator: constants of AttAcc's released generator; only ``attacc_released`` uses them.
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


class Priced(NamedTuple):
    """What a kernel takes on a pool.

    Attributes:
        cycles: the kernel's cycles, refresh included as the part asks for.
        cycles_from_idle: its cycles when it starts right after a refresh, as its command stream shows.
        refreshes: refreshes that fall due then.
        bound: what its longest part waits for.
        activity: what it makes all stacks do.
    """

    cycles: int
    cycles_from_idle: int
    refreshes: int
    bound: str
    activity: Activity


class Pool(DevicePool):
    """``count`` equal PIM stacks that share every kernel."""

    part: Part

    def __init__(self, name: str, part: Part, count: int) -> None:
        super().__init__(name, part, count)
        self._occupancy: dict[int, int] = {}
        self._blocks: dict[tuple[Layout, int], AttentionRun] = {}

    @property
    def peak_flop_per_s(self) -> float:
        """Arithmetic of all FPUs when they are fed: a multiply and an add a lane for each column they finish."""
        fpu = self.part.fpu
        fpus = self.count * self.part.organisation.banks * fpu.fpus / fpu.per_banks
        return fpus * 2 * fpu.lanes / fpu.column_s

    @property
    def bandwidth_bytes_per_s(self) -> float:
        """What the served banks of all stacks hand to their FPUs: a column each column gap, the power limit included."""
        organisation = self.part.organisation
        served = self.count * organisation.banks / self.part.fpu.banks_in_turn
        return served * organisation.column_bytes / (self._gap_floor * self.part.timing.tck_s)

    def price(self, kernel: Kernel) -> Cost:
        """Return the time and energy of one kernel shared among all stacks.

        Raises:
            NotModelled: the mapping does not know this kernel.
        """
        priced = self.priced(kernel)
        return Cost(priced.cycles * self.part.timing.tck_s, priced.bound, self._energy(priced.activity))

    def _energy(self, activity: Activity) -> Energy:
        return energy_of(activity, self.part.energy, self.part.organisation, self.part.fpu)

    def price_caches(self, kernel: Attention, kv_tokens: Ints, longest_kv: Ints) -> AttentionRun:
        """Return the costs of a decoding kernel over caches of many lengths.

        In the physical mapping they are looked up: what a channel takes depends on the tokens of each cache that it
        visits alone. AttAcc's released schedule is laid out anew for each length that it tells apart, one in as many
        as a channel has ways.
        """
        if self.part.mapping == "attacc_released":
            return self._released_caches(kernel, longest_kv)
        caches = AttentionOverCaches(kernel, kv_tokens, longest_kv)
        layout, rounds, channels = lay_out(self.geometry, kernel)
        mean, busiest = held_tokens(kv_tokens, longest_kv, kernel.n_requests, rounds)
        logic = self._energy(Activity(logic_flop=softmax_flop(kernel, caches.pairs)))
        run = AttentionRun.of(self._of_tokens(layout, busiest).time_s, logic)
        return AttentionRun(run.time_s, run.energy_j + channels * self._of_tokens(layout, mean).energy_j)

    def _of_tokens(self, layout: Layout, tokens: Ints) -> AttentionRun:
        """Return the time of a channel that visits caches of so many tokens each, and its energy, logic die aside."""
        first, last = int(tokens.min()) // _TOKENS, int(tokens.max()) // _TOKENS
        blocks = [self._block(layout, block) for block in range(first, last + 1)]
        where = tokens - first * _TOKENS
        if len(blocks) == 1:
            return AttentionRun(blocks[0].time_s[where], blocks[0].energy_j[:, where])
        times, energies = [block.time_s for block in blocks], [block.energy_j for block in blocks]
        return AttentionRun(np.concatenate(times)[where], np.concatenate(energies, axis=1)[:, where])

    def _block(self, layout: Layout, block: int) -> AttentionRun:
        found = self._blocks.get((layout, block))
        if found is None:
            if len(self._blocks) >= _BLOCKS_KEPT:
                self._blocks.clear()
            found = self._blocks[layout, block] = self._price_block(layout, block)
        return found

    def _price_block(self, layout: Layout, block: int) -> AttentionRun:
        """Price a channel's visits to caches of every size in a block of sizes."""
        timing = self.part.timing
        tokens = np.maximum(1, np.arange(block * _TOKENS, (block + 1) * _TOKENS))
        program = layout.program(self.geometry, tokens)
        cycles, last_activate = time_programs(timing, program)
        if self.part.refresh == "from_idle":
            cycles = cycles + refreshes(timing, last_activate) * timing.rfc
        else:
            cycles = sustained(timing, cycles)
        return AttentionRun.of(cycles * timing.tck_s, self._energy(layout.activity(self.geometry, program, 1.0)))

    def _released_caches(self, kernel: Attention, longest_kv: Ints) -> AttentionRun:
        own_tokens = -(-longest_kv // self.geometry.ways)
        _, first, which = np.unique(own_tokens, return_index=True, return_inverse=True)
        costs = [self.price(replace(kernel, longest_kv=int(longest_kv[index]))) for index in first]
        time_s = np.array([cost.time_s for cost in costs])
        energy_j = np.array([[part_j for _, part_j in cost.energy.items()] for cost in costs]).T
        return AttentionRun(time_s[which], energy_j[:, which])

    def priced(self, kernel: Kernel) -> Priced:
        """Return the cycles of one kernel shared among all stacks, and what it makes them do."""
        match kernel:
            case Attention() if self.part.mapping == "attacc_released":
                if kernel.kv is not None:
                    raise NotModelled("packed caches with mapping attacc_released; mapping physical has them")
                return self._released(kernel)
            case Linear() | Attention():
                placed = self.place(kernel)
                timed = time_program(self.part.timing, placed.program)
                literal = timed.cycles + timed.refreshes * self.part.timing.rfc
                cycles = literal if self.part.refresh == "from_idle" else sustained(self.part.timing, timed.cycles)
                return Priced(cycles, literal, timed.refreshes, self._bound(timed.slowest), placed.activity)
            case KvAppend():
                return self._append(kernel)
            case Elementwise():
                return self._stream(kernel)

    def explain(self, kernel: Kernel) -> dict[str, object]:
        """Return the cycles behind a kernel's price, the limits of its columns, and its traffic over all stacks."""
        part, priced = self.part, self.priced(kernel)
        return {
            "cycles": priced.cycles,
            "cycles_from_idle": priced.cycles_from_idle,
            "refreshes_from_idle": priced.refreshes,
            "tck_s": part.timing.tck_s,
            "column_gap_cycles": self.column_gap(1),
            "power_budget_w": part.power.budget_w,
            "mapping": part.mapping,
            "bank_bytes": priced.activity.columns * part.organisation.column_bytes,
            "data_path_bytes": priced.activity.data_path_bytes,
            "activations": priced.activity.activations,
        }

    def place(self, kernel: Linear | Attention) -> Placed:
        """Return the program of a kernel's busiest channel, in the physical mapping, and what all channels do."""
        if isinstance(kernel, Linear):
            return place_linear(self.geometry, kernel)
        return place_attention(self.geometry, kernel)

    def write_commands(self, kernel: Kernel, file: TextIO) -> tuple[int, int]:
        """Issue the command stream of a kernel's busiest channel literally and write it, a line per command.

        Returns:
            The number of commands, and the cycle at which they end.

        Raises:
            NotModelled: the kernel has no command stream.
        """
        if not isinstance(kernel, Linear | Attention):
            raise NotModelled(f"a command stream of {kernel.kernel_class.value} kernels")
        commands, rules = self.commands(kernel)
        channel = Channel(self.part.timing, rules)
        cycles = channel.run(commands)
        return export(sorted(channel.issued), file), cycles

    def commands(self, kernel: Linear | Attention) -> tuple[Iterator[Command], Rules]:
        """Return the command stream of a kernel's busiest channel, and the rules its controller follows."""
        if isinstance(kernel, Attention) and self.part.mapping == "attacc_released":
            plan = released_plan(self.geometry, self._generator(), kernel)
            return released_stream(plan.sections(), self.geometry, self.column_gap(1)), self._released_rules()
        return stream(self.place(kernel).program, self.part.timing), PHYSICAL

    def _bound(self, phase: Phase | None) -> str:
        """Name what a phase waits for."""
        if phase is None:
            return "none"
        sweep, moves = phase
        path, swept = moves.cycles(self.part.timing.burst), sweep_cycles(self.part.timing, sweep)[0]
        if path > swept:
            return "softmax" if moves.softmax > path / 2 else "data_path"
        if sweep.columns * sweep.gap < swept / 2:
            return "row_activation"
        return "fpu" if sweep.gap > self._gap_floor else "column_gap"

    def _released(self, kernel: Attention) -> Priced:
        """Price attention as AttAcc's released generator and controller run it."""
        plan = released_plan(self.geometry, self._generator(), kernel)
        gap, rules = self.column_gap(1), self._released_rules()
        cycles, met = time_sections(self.part.timing, rules, self.geometry, plan.sections(), gap)
        return Priced(cycles, cycles, met, "column_gap", plan.activity(self.geometry))

    def _generator(self) -> Generator:
        if self.part.generator is None:
            raise NotModelled("mapping attacc_released needs the generator's constants (field 'generator')")
        return self.part.generator

    def _released_rules(self) -> Rules:
        # The released model issues a refresh in the cycle after the precharge: tRP is declared at a level its check
        # does not reach. The first command is seen a cycle after it was sent.
        return Rules(
            barrier_waits="issued",
            rows_pass_barriers=True,
            depth=self._generator().queue_depth,
            refresh_in_breaks=True,
            first_cycle=1,
        )

    def _append(self, kernel: KvAppend) -> Priced:
        """Price writing new K and V: one row opened, all data paths busy, every column in a row of its own.

        The columns of one token lie in different banks, so rows are opened side by side but each pays its energy.
        """
        timing, geometry = self.part.timing, self.geometry
        columns = ceil(kernel.new_bytes / geometry.column_bytes)
        bursts = -(-columns // (self.count * geometry.channels * geometry.pseudo_channels))
        cycles = timing.rcd + timing.cwl + bursts * timing.burst + timing.wr + timing.rp if columns else 0
        moved = columns * geometry.column_bytes
        return Priced(sustained(timing, cycles), cycles, 0, "data_path", Activity(columns, columns, 0, moved))

    def _stream(self, kernel: Elementwise) -> Priced:
        """Price an elementwise kernel on the logic dies' vector units."""
        logic, moved = self.part.logic, kernel.read_bytes + kernel.write_bytes
        path_s = moved / (self.count * logic.bandwidth_bytes_per_s)
        work_s = kernel.flop / (self.count * logic.rate_flop_per_s)
        time_s, bound = max(path_s, work_s), "logic" if work_s > path_s else "data_path"
        charged_s = self.part.charged_s(kernel)
        if charged_s is not None:
            time_s, bound = charged_s, "charged"
        cycles = ceil(round(time_s / self.part.timing.tck_s, 6))
        return Priced(cycles, cycles, 0, bound, Activity(data_path_bytes=moved, logic_flop=kernel.flop))

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
            ways=organisation.ways if part.split_inputs else organisation.banks_per_channel,
            banks=organisation.banks_per_group if part.split_inputs else 1,
            turns=fpu.banks_in_turn,
            lanes=fpu.lanes,
            widens_bits=tuple(fpu.widens_bits),
            column_bytes=int(column_bytes),
            columns_per_row=organisation.columns_per_row,
            column_gap=part.timing.column_gap,
            operand_columns=max(1, int(buffers.operand_bytes / column_bytes)),
            split_inputs=part.split_inputs,
            overlap=part.moves_beside_macs,
            turnaround=0 if part.moves_beside_macs else part.timing.turnaround,
            result_columns=max(1, int(buffers.result_bytes / column_bytes)),
            burst=part.timing.burst,
            channels_per_head=part.channels_per_head,
            weight_reuse_rows=part.weight_reuse_rows,
            query_reuse_rows=part.query_reuse_rows,
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
            use = fpu.column_s / self.part.timing.tck_s
            if fpu.paced_by_gap:
                use = max(use, self.column_gap(1))
            busy = ceil(round(fpu.turns(uses) * use, 6))
            self._occupancy[uses] = max(self.column_gap(uses), busy)
        return self._occupancy[uses]
