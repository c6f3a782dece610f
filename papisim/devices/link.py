"""A link between devices: latency and bandwidth, and the collective that tensor parallelism needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from papisim.errors import NotModelled
from papisim.ops.cost import Cost, Energy
from papisim.spec.base import Fraction, NonNegative, Positive, Spec


class Collective(Spec):
    """How well a group of links sums tensors.

    Attributes:
        latency_s: time of an all-reduce of an empty message.
        efficiency_ratio: share of the links' bandwidth that a large all-reduce reaches.

    """

    latency_s: NonNegative
    efficiency_ratio: Fraction


class Part(Spec):
    """One link.

    Attributes:
        bandwidth_bytes_per_s: payload bandwidth of one link in one direction.
        latency_s: time of an empty message.
        energy_j_per_byte: energy of moving one byte over one link.
        collective: all-reduce figures, where the link serves a group of ranks.

    """

    kind: Literal["link"]
    description: str
    bandwidth_bytes_per_s: Positive
    latency_s: NonNegative
    energy_j_per_byte: NonNegative
    collective: Collective | None = None


@dataclass(frozen=True)
class Links:
    """``count`` equal links side by side; a transfer is spread evenly over them."""

    name: str
    part: Part
    count: int

    def transfer(self, payload_bytes: float) -> Cost:
        """Return the cost of moving a payload: ``latency + payload / (count · bandwidth)``."""
        time_s = self.part.latency_s + payload_bytes / (self.count * self.part.bandwidth_bytes_per_s)
        return Cost(time_s, "link", Energy(link_j=self.part.energy_j_per_byte * payload_bytes))

    def all_reduce(self, payload_bytes: float, ranks: int) -> Cost:
        """Return the cost of summing a tensor over ranks, each with its own link.

        ``latency + 2·(N−1)/N · payload / bandwidth``, the bytes that each rank must send in any bandwidth-optimal
        all-reduce (Patarasuk and Yuan, JPDC 2009). One rank has nothing to sum.

        Args:
            payload_bytes: bytes of the tensor on each rank.
            ranks: how many ranks there are.

        Raises:
            NotModelled: the link's part has no ``collective`` figures.

        """
        if ranks == 1:
            return Cost(0.0, "link")
        collective = self.part.collective
        if collective is None:
            raise NotModelled(f"link '{self.name}' ({self.part.description}) has no 'collective' figures")
        sent_bytes = 2 * (ranks - 1) / ranks * payload_bytes
        bandwidth = self.part.bandwidth_bytes_per_s * collective.efficiency_ratio
        energy_j = self.part.energy_j_per_byte * sent_bytes * ranks
        return Cost(collective.latency_s + sent_bytes / bandwidth, "link", Energy(link_j=energy_j))
