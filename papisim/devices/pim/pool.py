"""A pool of PIM stacks of one kind and the costs of kernels on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property, reduce
from math import ceil
from typing import NamedTuple, TextIO, TypeVar

import numpy as np

from papisim.arrays import Ints
from papisim.devices.base import AttentionRun, DevicePool
from papisim.devices.pim.commands import Command, Spacing, export
from papisim.devices.pim.energy import Activity
from papisim.devices.pim.mapping.attention import query_rows
from papisim.devices.pim.mapping.base import Priced
from papisim.devices.pim.mapping.phases import Geometry
from papisim.devices.pim.part import Part
from papisim.devices.pim.scheduler import Channel, Rules
from papisim.devices.pim.timing import ONE_COMMAND_EACH, sustained
from papisim.devices.pim.units import Units
from papisim.errors import NotModelled
from papisim.ops.caches import AttentionOverCaches
from papisim.ops.cost import Cost
from papisim.ops.kernel import Attention, Elementwise, Kernel, KvAppend, Linear
from papisim.ops.shards import pair_imbalance

_T = TypeVar("_T")


class Pool(DevicePool):
    """``count`` equal PIM stacks that share every kernel."""

    part: Part

    @cached_property
    def levels(self) -> tuple[Units, ...]:
        """The units of each level; weights and caches are laid out for the first, whichever level reads them."""
        first = Units(self.part, self.count)
        further = (
            Units(self.part.at_level(level), self.count, units.from_rows, first.geometry)
            for level, units in self.part.further_levels.items()
        )
        return (first, *further)

    @property
    def peak_flop_per_s(self) -> float:
        """Arithmetic of the units of the fastest level when they are fed; levels take turns."""
        return max(units.peak_flop_per_s for units in self.levels)

    @property
    def bandwidth_bytes_per_s(self) -> float:
        """What the banks hand to the units of the level that takes most: a column each column gap, the power limit included."""
        return max(units.bandwidth_bytes_per_s for units in self.levels)

    def price(self, kernel: Kernel) -> Cost:
        """Return the time and energy of one kernel shared among all stacks, on the level that runs it.

        Raises:
            NotModelled: no level takes the kernel's numbers, or the mapping does not know it.
        """
        return self._served(kernel).cost

    def price_caches(self, kernel: Attention, kv_tokens: Ints, longest_kv: Ints) -> AttentionRun:
        """Return the costs of a decoding kernel over caches of many lengths, each on the level that runs it."""
        caches = AttentionOverCaches(kernel, kv_tokens, longest_kv)
        runs = able(lambda units: units.price_caches(caches), ruled(self.levels, query_rows(kernel)))
        return reduce(_cheaper, (run for _, run in runs))

    def priced(self, kernel: Kernel) -> Priced:
        """Return the cycles of one kernel shared among all stacks, and the activity of all stacks.

        Raises:
            NotModelled: as :meth:`price`.
        """
        return self._served(kernel).priced

    def _served(self, kernel: Kernel) -> _Served:
        """Return a kernel on the level that a rule names, or else on the one that is fastest, of equally fast ones by least energy."""
        first = self.levels[0]
        match kernel:
            case KvAppend():
                return _Served(first, self._append(kernel))
            case Elementwise():
                return _Served(first, self._stream(kernel))
        rows = query_rows(kernel) if isinstance(kernel, Attention) else kernel.products[-1].rows
        served = [_Served(*each) for each in able(lambda units: units.priced(kernel), ruled(self.levels, rows))]
        return served[0] if len(served) == 1 else min(served, key=lambda each: each.rank)

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

    def explain(self, kernel: Kernel) -> dict[str, object]:
        """Return the cycles behind a kernel's price, the limits of its columns, and its traffic over all stacks."""
        part, (units, priced) = self.part, self._served(kernel)
        return {
            "cycles": priced.cycles,
            "cycles_from_idle": priced.cycles_from_idle,
            "refreshes_from_idle": priced.refreshes,
            "tck_s": part.timing.tck_s,
            "timing_table": part.timing.name,
            "level": str(units.part.fpu.at),
            "column_gap_cycles": units.column_gap(1),
            "power_budget_w": part.power.budget_w,
            "energy_model": part.energy_source,
            "mapping": part.mapping,
            "bank_bytes": priced.activity.columns * part.organisation.column_bytes,
            "data_path_bytes": priced.activity.data_path_bytes,
            "activations": priced.activity.activations,
            **self._host_facts(units, kernel),
        }

    def _host_facts(self, units: Units, kernel: Kernel) -> dict[str, object]:
        """Return the bytes that the host reads beside a kernel and the time that it waits; nothing without a host."""
        if self.part.host is None or not isinstance(kernel, Linear | Attention):
            return {}
        reads, wait = units.host_reads(kernel)
        organisation, timing = self.part.organisation, self.part.timing
        return {"host_bytes": reads * organisation.column_bytes, "host_wait_s": wait * timing.tck_s}

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
        if form != "papisim" and self.part.counts != ONE_COMMAND_EACH:
            raise NotModelled(
                f"commands that reach banks in groups (fields 'banks_per_activate', 'banks_per_mac', 'banks_per_precharge') in the format {form}"
            )
        units = self._served(kernel).units
        stream, rules = units.commands(kernel)
        commands, channel = list(stream), Channel(self.part.paced_timing, rules)
        cycles = channel.run(commands)
        if form == "papisim":
            return export(sorted(channel.issued), file), cycles
        from papisim.devices.pim.traces import FORMATS  # noqa: PLC0415 - start-up time

        return FORMATS[form].write(commands, self.part.organisation, units.spacing, file), cycles

    def commands(self, kernel: Linear | Attention) -> tuple[Iterator[Command], Rules]:
        """Return the command stream of the busiest channel on the level that runs a kernel, and the rules of its controller.

        Raises:
            NotModelled: as :meth:`price`.
        """
        return self._served(kernel).units.commands(kernel)

    def _append(self, kernel: KvAppend) -> Priced:
        """Price writing new K and V: one row opened, all data paths busy, every column in a row of its own.

        The columns of one token lie in different banks, so rows are opened side by side but each pays its energy.
        """
        timing, geometry = self.part.paced_timing, self.geometry
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

    @property
    def geometry(self) -> Geometry:
        """The whole numbers that mappings of the first level divide by."""
        return self.levels[0].geometry

    def column_gap(self, uses: int) -> int:
        """Return the least cycles between column commands of the first level, as :meth:`Units.column_gap`."""
        return self.levels[0].column_gap(uses)

    @property
    def spacing(self) -> Spacing:
        """The spacing of commands of the first level, as :attr:`Units.spacing`."""
        return self.levels[0].spacing

    def occupancy(self, uses: int) -> int:
        """Return the cycles a column command occupies the units of the first level, as :meth:`Units.occupancy`."""
        return self.levels[0].occupancy(uses)


class _Served(NamedTuple):
    """A kernel on the level that runs it."""

    units: Units
    priced: Priced

    @property
    def cost(self) -> Cost:
        return self.units.cost(self.priced)

    @property
    def rank(self) -> tuple[int, float]:
        """What the cheapest level has least of: cycles, then joules."""
        return self.priced.cycles, self.cost.energy.total_j


def ruled(levels: tuple[Units, ...], rows: int) -> tuple[Units, ...]:
    """Return the levels that may run a kernel of ``rows`` token-rows: the one that a rule names, or all where there is no rule."""
    if all(units.from_rows is None for units in levels):
        return levels
    return (
        max((units for units in levels if (units.from_rows or 0) <= rows), key=lambda units: units.from_rows or 0),
    )


def able(price: Callable[[Units], _T], levels: tuple[Units, ...]) -> list[tuple[Units, _T]]:
    """Return the levels that take a kernel, and its price on each.

    Raises:
        NotModelled: no level takes it; the reason is that of the first.
    """
    found: list[tuple[Units, _T]] = []
    refused: list[NotModelled] = []
    for units in levels:
        try:
            found.append((units, price(units)))
        except NotModelled as error:
            refused.append(error)
    if not found:
        raise refused[0]
    return found


def _cheaper(one: AttentionRun, other: AttentionRun) -> AttentionRun:
    """Return each entry from the run that takes less time there, of equally fast ones from that of less energy."""
    less = one.energy_j.sum(axis=0) <= other.energy_j.sum(axis=0)
    first = (one.time_s < other.time_s) | ((one.time_s == other.time_s) & less)
    return AttentionRun(np.where(first, one.time_s, other.time_s), np.where(first, one.energy_j, other.energy_j))
