"""The units of one level of a pool: their pace, and the kernels that they run."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from math import ceil

from papisim.devices.base import AttentionRun
from papisim.devices.pim.commands import Command, Spacing
from papisim.devices.pim.energy import Activity, energy_of, power_limited_gap, streaming_w
from papisim.devices.pim.host import longest_wait, reads_of
from papisim.devices.pim.mapping.attacc_released.mapping import Released
from papisim.devices.pim.mapping.base import AttentionMapping, Priced, Stacks
from papisim.devices.pim.mapping.phases import Geometry
from papisim.devices.pim.mapping.physical import Physical
from papisim.devices.pim.part import Part
from papisim.devices.pim.scheduler import Rules
from papisim.ops.caches import AttentionOverCaches
from papisim.ops.cost import Cost, Energy
from papisim.ops.kernel import Attention, Linear


class Units:
    """The units of one level of ``count`` stacks.

    Attributes:
        part: the stack with this level alone.
        from_rows: token-rows from which kernels run on this level; None: where they are fastest.
    """

    def __init__(
        self, part: Part, count: int, from_rows: int | None = None, stored_for: Geometry | None = None
    ) -> None:
        """Take the stack with this level alone; ``stored_for`` is the level that weights are laid out for, if it is another."""
        self.part, self.from_rows = part, from_rows
        self._count, self._stored_for = count, stored_for
        self._timing = part.paced_timing
        self._occupancy: dict[int, int] = {}

    @property
    def peak_flop_per_s(self) -> float:
        """Arithmetic of the units when they are fed: a multiply and an add a lane for each column they finish."""
        fpu = self.part.fpu
        fpus = self._count * self.part.organisation.banks * fpu.fpus / fpu.per_banks
        return fpus * 2 * fpu.lanes / fpu.column_s

    @property
    def bandwidth_bytes_per_s(self) -> float:
        """What the served banks of all stacks hand to the units: a column each column gap, the power limit included."""
        organisation = self.part.organisation
        served = self._count * organisation.banks / self.part.fpu.banks_in_turn
        return served * organisation.column_bytes / (self.geometry.paced_gap * self.part.timing.tck_s)

    def priced(self, kernel: Linear | Attention) -> Priced:
        """Return the cycles of one kernel shared among all stacks, and the activity of all stacks.

        Raises:
            NotModelled: the units do not take the kernel's numbers, or their mapping does not know the kernel.
        """
        return self._physical.price(kernel) if isinstance(kernel, Linear) else self._attention.price(kernel)

    def cost(self, priced: Priced) -> Cost:
        """Return the time and energy of a kernel from its cycles and activity."""
        return Cost(priced.cycles * self.part.timing.tck_s, priced.bound, self.energy(priced.activity))

    def price_caches(self, caches: AttentionOverCaches) -> AttentionRun:
        """Return the costs of a decoding kernel over caches of many lengths.

        Raises:
            NotModelled: as :meth:`priced`.
        """
        return self._attention.price_caches(caches)

    def commands(self, kernel: Linear | Attention) -> tuple[Iterator[Command], Rules]:
        """Return the command stream of the busiest channel, and the rules that its controller follows.

        Raises:
            NotModelled: as :meth:`priced`.
        """
        return self._physical.commands(kernel) if isinstance(kernel, Linear) else self._attention.commands(kernel)

    def host_reads(self, kernel: Linear | Attention) -> tuple[int, int]:
        """Return the reads of the host beside a kernel, over all stacks, and the cycles for which it waits at most; 0 without a host."""
        host, program = self.part.host, self._physical.place(kernel).program
        if host is None:
            return 0, 0
        geometry = self.geometry
        reads = (
            reads_of(self._physical.beside_host(program))
            * geometry.count
            * geometry.channels
            * geometry.pseudo_channels
        )
        return int(reads), int(longest_wait(program, self._timing, host))

    @property
    def spacing(self) -> Spacing:
        """Cycles between commands of a kind, as simulators have them whose traces do not say."""
        return Spacing(self.geometry.paced_gap, self.geometry.column_gap, self.geometry.burst)

    def energy(self, activity: Activity) -> Energy:
        """Return the energy of an activity by part."""
        return energy_of(activity, self.part.energy, self.part.organisation, self.part.fpu)

    @cached_property
    def _stacks(self) -> Stacks:
        return Stacks(self.geometry, self._timing, self.part.refresh == "from_idle", self.energy, self.part.host)

    @cached_property
    def _physical(self) -> Physical:
        return Physical(self._stacks)

    @cached_property
    def _attention(self) -> AttentionMapping:
        return self._physical if self.part.mapping == "physical" else Released(self._stacks, self.part.generator)

    @cached_property
    def geometry(self) -> Geometry:
        """The whole numbers that mappings divide by."""
        part = self.part
        organisation, fpu, buffers = part.organisation, part.fpu, part.buffers
        column_bytes = organisation.column_bytes
        slices, sums = part.buffer_shares
        return Geometry(
            count=self._count,
            channels=organisation.channels,
            pseudo_channels=organisation.pseudo_channels,
            bank_groups=organisation.bank_groups,
            ways=organisation.ways if part.split_inputs else organisation.banks_per_channel,
            banks=part.banks_of_inputs,
            fpu=fpu,
            column_bytes=int(column_bytes),
            columns_per_row=organisation.columns_per_row,
            column_gap=part.column_gap,
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
            counts=part.counts,
            stored_for=self._stored_for,
        )

    def column_gap(self, uses: int) -> int:
        """Return the least cycles between column commands, the power limit included, when each is used ``uses`` times."""
        part = self.part
        if not part.power_limited:
            return part.column_gap
        joules = streaming_w(uses, 1.0, part.energy, part.organisation, part.fpu)
        return power_limited_gap(joules, part.column_gap, part.timing, part.power)

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
