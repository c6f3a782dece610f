"""The steps of one server whose KV caches may move from one memory to another.

Caches have one home at a time. Where they are decides who attends to them, where new K and V are appended, what crosses the link, and how
much room there is: each home has a planner of its own, and this one is that of the home that the caches are in now.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from papisim.arrays import Floats
from papisim.devices.base import AttentionRun
from papisim.ops.kernel import Linear
from papisim.ops.lower import KvLengths, StepShape
from papisim.plan.holding import Holding
from papisim.plan.layout import AttentionSlot, StepLayout
from papisim.plan.phase import Phase
from papisim.plan.planner import Planner


class Homes(Planner):
    """Plans the steps of one server with its caches where they are.

    Args:
        planners: by the device that attends to the caches at a home, the planner of steps with the caches there; the first home first.

    Attributes:
        home: device that attends to the caches where they are now.
    """

    def __init__(self, planners: Mapping[str, Planner]) -> None:
        self._planners = planners
        self.home = next(iter(planners))
        self.graphs, self.notes = self._here.graphs, self._here.notes

    @property
    def _here(self) -> Planner:
        return self._planners[self.home]

    def settle(self) -> None:
        """Note that the operators are where the last decoding iteration that was planned has them."""
        if isinstance(self._here, Holding):
            self._here.settle()

    @property
    def others(self) -> tuple[str, ...]:
        """The homes that the caches are not in."""
        return tuple(device for device in self._planners if device != self.home)

    def layout(self, shape: StepShape, decode: KvLengths | None = None, *, fold: bool = True) -> StepLayout:
        """Return all of a step but its attention; arguments as of :meth:`Planner.layout`."""
        return self._here.layout(shape, decode, fold=fold)

    def placed_alike(self, shape: StepShape, lengths: KvLengths, n: int) -> int:
        """Return the number of the first of ``n`` decoding iterations whose operators are where those of the first are."""
        return self._here.placed_alike(shape, lengths, n)

    def attention(self, slot: AttentionSlot, decode: KvLengths | None, prompts: KvLengths | None) -> Iterator[Phase]:
        """Yield the phases of a layout's attention slot; arguments as of :meth:`Planner.attention`."""
        return self._here.attention(slot, decode, prompts)

    def growing(self, layout: StepLayout, lengths: KvLengths, n: int) -> list[tuple[Phase, AttentionRun]]:
        """Return the attention of ``n`` decoding iterations; arguments as of :meth:`Planner.growing`."""
        return self._here.growing(layout, lengths, n)

    def place(self, kernel: Linear, rlp: int, rows: int) -> str:
        """Return the device on which the policy places an FC kernel of a decoding step."""
        return self._here.place(kernel, rlp, rows)

    def alike_at(self, home: str, shape: StepShape, lengths: KvLengths, n: int) -> int:
        """Return the iterations of :meth:`placed_alike` with the caches at a home."""
        return self._planners[home].placed_alike(shape, lengths, n)

    def times_at_s(self, home: str, shape: StepShape, lengths: KvLengths, n: int) -> Floats:
        """Return the seconds of ``n`` decoding iterations with the caches at a home, operators where the first has them, shape (n,)."""
        planner = self._planners[home]
        return planner.times_s(planner.layout(shape, lengths), lengths, n)
