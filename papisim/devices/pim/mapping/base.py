"""The contract of a mapping: where a kernel's data lies in the stacks of a pool, and how channels go through it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

from papisim.devices.base import AttentionRun
from papisim.devices.pim.commands import Command
from papisim.devices.pim.energy import Activity
from papisim.devices.pim.host import Host
from papisim.devices.pim.mapping.phases import Geometry
from papisim.devices.pim.scheduler import Rules
from papisim.devices.pim.timing import Timing
from papisim.ops.caches import AttentionOverCaches
from papisim.ops.cost import Energy
from papisim.ops.kernel import Attention


class Stacks(NamedTuple):
    """The stacks of a pool, as mappings see them.

    Attributes:
        geometry: the whole numbers that mappings divide by.
        timing: the timing table of a stack.
        from_idle: whether a kernel starts right after a refresh; otherwise refresh is charged at its average rate.
        energy: energy of an activity.
        host: reads of the host beside kernels; None if there are none.
    """

    geometry: Geometry
    timing: Timing
    from_idle: bool
    energy: Callable[[Activity], Energy]
    host: Host | None = None


class Priced(NamedTuple):
    """Cycles and activity of a kernel on a pool.

    Attributes:
        cycles: cycles of the kernel, refresh included as the part asks for.
        cycles_from_idle: cycles of the kernel when it starts right after a refresh, as its command stream shows.
        refreshes: refreshes that fall due when it starts right after a refresh.
        bound: limit of the longest phase.
        activity: activity of all stacks together.
    """

    cycles: int
    cycles_from_idle: int
    refreshes: int
    bound: str
    activity: Activity


class AttentionMapping(Protocol):
    """A mapping of attention.

    A mapping

    - is a pure function of the stacks and the kernel: the data of a request never moves because of another kernel;
    - issues in :meth:`commands` what :meth:`price` charges: the literal scheduler ends at ``cycles_from_idle``;
    - returns in :meth:`price_caches` what :meth:`price` returns for each of the caches.
    """

    def price(self, kernel: Attention) -> Priced:
        """Return the cycles and the activity of attention.

        Raises:
            NotModelled: the mapping has no such attention.
        """

    def commands(self, kernel: Attention) -> tuple[Iterator[Command], Rules]:
        """Return the command stream of the busiest channel, and the rules that its controller follows.

        Raises:
            NotModelled: as :meth:`price`.
        """

    def price_caches(self, caches: AttentionOverCaches) -> AttentionRun:
        """Return the costs of decoding attention over caches of many lengths.

        Raises:
            NotModelled: as :meth:`price`.
        """
