"""The devices that an operator ran on, over the decoding iterations of a run."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field

from papisim.record.segment import Segment


@dataclass
class Visits:
    """The devices that an operator ran on; iterations in which several ran it count as ``mixed``.

    Attributes:
        iterations: decoding iterations by device.
        time_s: seconds of those iterations, by device.
        n_switches: moves from one decoding iteration of a server that has the operator to the next.
    """

    iterations: Counter[str] = field(default_factory=Counter)
    time_s: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    n_switches: int = 0
    _last: dict[str, str] = field(default_factory=dict)

    def add(self, device: str, segment: Segment) -> None:
        """Add the iterations of a segment, all of them with the operator on one device."""
        server = segment.plan.server
        self.iterations[device] += segment.n_steps
        self.time_s[device] += segment.time_s
        self.n_switches += self._last.get(server, device) != device
        self._last[server] = device
