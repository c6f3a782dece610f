"""A pool of PIM stacks of one kind and the costs of kernels on it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from math import ceil
from typing import TextIO

from papisim.arrays import Ints
from papisim.devices.base import AttentionRun, DevicePool
from papisim.devices.pim.commands import Command, Spacing, export
from papisim.devices.pim.energy import Activity, energy_of, power_limited_gap
from papisim.devices.pim.mapping.attacc_released.mapping import Released
from papisim.devices.pim.mapping.base import AttentionMapping, Priced, Stacks
from papisim.devices.pim.mapping.phases import Geometry
from papisim.devices.pim.mapping.physical import Physical
from papisim.devices.pim.part import Part
from papisim.devices.pim.scheduler import Channel, Rules
from papisim.devices.pim.timing import Timing, sustained
from papisim.errors import NotModelled
from papisim.ops.caches import AttentionOverCaches
from papisim.ops.cost import Cost, Energy
from papisim.ops.kernel import Attention, Elementwise, Kernel, KvAppend, Linear
from papisim.ops.shards import pair_imbalance


class Pool(DevicePool):
    """``count`` equal PIM stacks that share every kernel."""

    part: Part

    def __init__(self, name: str, part: Part, count: int) -> None:
        super().__init__(name, part, count)
        self._occupancy: dict[int, int] = {}

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
        return served * organisation.column_bytes / (self.geometry.paced_gap * self.part.timing.tck_s)

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
        """Return the costs of a decoding kernel over caches of many lengths."""
        return self._attention.price_caches(AttentionOverCaches(kernel, kv_tokens, longest_kv))

    def priced(self, kernel: Kernel) -> Priced:
        """Return the cycles of one kernel shared among all stacks, and the activity of all stacks.

        Raises:
            NotModelled: as :meth:`price`.
        """
        match kernel:
            case Attention():
                return self._attention.price(kernel)
            case Linear():
                return self._physical.price(kernel)
            case KvAppend():
                return self._append(kernel)
            case Elementwise():
                return self._stream(kernel)

    def kv_imbalance(self, n_heads: int, n_kv_heads: int, n_layers: int, n_requests: int | None = None) -> float:
        """Return the (request, layer, KV head) pairs of the fullest unit of memory over those of a mean one.

        A pair lies in the ``channels_per_head`` channels of a stack that compute it, or, in AttAcc's released mapping, in a
        whole stack. The pairs of a batch are dealt out evenly.
        """
        del n_heads
        if n_requests is None:
            return 1.0
        geometry, part = self.geometry, self.part
        shared = part.channels_per_head if part.mapping == "physical" else geometry.channels
        return pair_imbalance(n_requests * n_layers * n_kv_heads, geometry.count * geometry.channels // shared)

    @cached_property
    def _timing(self) -> Timing:
        return self.part.paced_timing

    @cached_property
    def _physical(self) -> Physical:
        return Physical(Stacks(self.geometry, self._timing, self.part.refresh == "from_idle", self._energy))

    @cached_property
    def _attention(self) -> AttentionMapping:
        if self.part.mapping == "physical":
            return self._physical
        stacks = Stacks(self.geometry, self._timing, self.part.refresh == "from_idle", self._energy)
        return Released(stacks, self.part.generator)

    def explain(self, kernel: Kernel) -> dict[str, object]:
        """Return the cycles behind a kernel's price, the limits of its columns, and its traffic over all stacks."""
        part, priced = self.part, self.priced(kernel)
        return {
            "cycles": priced.cycles,
            "cycles_from_idle": priced.cycles_from_idle,
            "refreshes_from_idle": priced.refreshes,
            "tck_s": part.timing.tck_s,
            "timing_table": part.timing.name,
            "column_gap_cycles": self.column_gap(1),
            "power_budget_w": part.power.budget_w,
            "energy_model": part.energy_source,
            "mapping": part.mapping,
            "bank_bytes": priced.activity.columns * part.organisation.column_bytes,
            "data_path_bytes": priced.activity.data_path_bytes,
            "activations": priced.activity.activations,
        }

    def write_commands(self, kernel: Kernel, file: TextIO, form: str = "papisim") -> tuple[int, int]:
        """Issue the command stream of a kernel's busiest channel literally and write it, one line per command.

        Args:
            kernel: the kernel.
            file: file to write to.
            form: ``papisim``: commands as they were issued, with their cycles; or a key of :data:`papisim.devices.pim.traces.FORMATS`.

        Returns:
            The number of lines, and the cycle at which the commands end.

        Raises:
            NotModelled: the kernel has no command stream, or none that the format can express.
        """
        if not isinstance(kernel, Linear | Attention):
            raise NotModelled(f"a command stream of {kernel.kernel_class.value} kernels")
        if form != "papisim" and self.part.activates > 1:
            raise NotModelled(f"commands that open banks in groups (field 'banks_per_activate') in the format {form}")
        stream, rules = self.commands(kernel)
        commands, channel = list(stream), Channel(self._timing, rules)
        cycles = channel.run(commands)
        if form == "papisim":
            return export(sorted(channel.issued), file), cycles
        from papisim.devices.pim.traces import FORMATS  # noqa: PLC0415 - start-up time

        return FORMATS[form].write(commands, self.part.organisation, self.spacing, file), cycles

    @property
    def spacing(self) -> Spacing:
        """Cycles between commands of a kind, as simulators have them whose traces do not say."""
        return Spacing(self.geometry.paced_gap, self.geometry.column_gap, self.geometry.burst)

    def commands(self, kernel: Linear | Attention) -> tuple[Iterator[Command], Rules]:
        """Return the command stream of the busiest channel, and the rules that its controller follows.

        Raises:
            NotModelled: as :meth:`price`.
        """
        return self._physical.commands(kernel) if isinstance(kernel, Linear) else self._attention.commands(kernel)

    def _append(self, kernel: KvAppend) -> Priced:
        """Price writing new K and V: one row opened, all data paths busy, every column in a row of its own.

        The columns of one token lie in different banks, so rows are opened side by side but each pays its energy.
        """
        timing, geometry = self._timing, self.geometry
        columns = ceil(kernel.new_bytes / geometry.column_bytes)
        bursts = -(-columns // (self.count * geometry.channels * geometry.pseudo_channels))
        cycles = (
            (timing.rcd_wr or timing.rcd) + timing.cwl + bursts * timing.burst + timing.wr + timing.rp
            if columns
            else 0
        )
        moved = columns * geometry.column_bytes
        return Priced(int(sustained(timing, cycles)), cycles, 0, "data_path", Activity(columns, columns, 0, moved))

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
        organisation, fpu, buffers = part.organisation, part.fpu, part.buffers
        column_bytes = organisation.column_bytes
        slices, sums = part.buffer_shares
        return Geometry(
            count=self.count,
            channels=organisation.channels,
            pseudo_channels=organisation.pseudo_channels,
            bank_groups=organisation.bank_groups,
            ways=organisation.ways if part.split_inputs else organisation.banks_per_channel,
            banks=part.banks_of_inputs,
            fpu=fpu,
            column_bytes=int(column_bytes),
            columns_per_row=organisation.columns_per_row,
            column_gap=fpu.at.gap(organisation, part.timing),
            paced_gap=self.column_gap(1),
            operand_columns=int(buffers.operand_bytes / column_bytes / slices),
            split_inputs=part.split_inputs,
            overlap=part.moves_beside_macs,
            turnaround=0 if part.moves_beside_macs else part.timing.turnaround,
            result_bytes=int(buffers.result_bytes / sums),
            burst=part.timing.burst,
            channels_per_head=part.channels_per_head,
            weight_reuse_rows=part.weight_reuse_rows,
            query_reuse_rows=part.query_reuse_rows,
            logic_flop_per_cycle=part.logic.rate_flop_per_s * part.timing.tck_s / organisation.channels,
            occupancy=self.occupancy,
            activates=part.activates,
        )

    def column_gap(self, uses: int) -> int:
        """Return the least cycles between column commands, the power limit included, when each is used ``uses`` times."""
        part = self.part
        if not part.power_limited:
            return part.fpu.at.gap(part.organisation, part.timing)
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
