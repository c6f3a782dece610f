"""A link between devices: latency and bandwidth, and the collective that tensor parallelism needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from papisim.catalog import Shelf
from papisim.config.base import Count, Fraction, KindOptions, Name, NonNegative, Positive, Spec
from papisim.errors import DoesNotFit, NotModelled, did_you_mean
from papisim.kinds.family import Example, Family
from papisim.ops.cost import Cost, Energy


class OneShot(Spec):
    """Every rank reads the whole tensor of every other rank: least latency, most traffic.

    Attributes:
        latency_s: time of an empty message between two ranks.
        rank_latency_s: additional time per rank beyond two.
        efficiency_ratio: share of the links' bandwidth that the reads reach.
    """

    latency_s: NonNegative
    rank_latency_s: NonNegative
    efficiency_ratio: Fraction


class Ring(OneShot):
    """Pieces go round all ranks twice, as NCCL sends large messages; latency and efficiency as of :class:`OneShot`.

    Attributes:
        above_bytes: smallest message that the library sends in a ring.
    """

    above_bytes: NonNegative


class Rounds(Spec):
    """An all-reduce of ``N − 1`` equal rounds, each of a rank's share of the tensor: AttAcc's simulator.

    It charges half of a ring, which would need ``2·(N − 1)``. A round takes ``max(fixed + share / rate, share / bandwidth)``.

    Attributes:
        fixed_s: fixed time of each round.
        bytes_per_s: rate of the rest of a round.
    """

    fixed_s: NonNegative
    bytes_per_s: Positive


class BoardEnergy(Spec):
    """Measured energy of a rank's board above idle during an all-reduce: copying and adding keep a GPU's memory busy.

    Attributes:
        active_w: power while the kernel runs, independent of its traffic.
        j_per_byte: energy per byte sent by the rank, all transfers and additions on its board and link included.
    """

    active_w: NonNegative
    j_per_byte: NonNegative


class AllReduce(Spec):
    """Figures of an all-reduce over a group of links: in two shots and, if the library has them, in one shot or in a ring.

    Attributes:
        latency_s: time of a two-shot all-reduce of an empty message.
        efficiency_ratio: share of the links' bandwidth that a large two-shot all-reduce reaches.
        one_shot: figures for small messages; the faster of one shot and two shots is taken.
        ring: figures for large messages.
        rounds: figures of a model that replaces all other algorithms.
        energy: measured energy of the boards; None counts the energy of the links alone.
    """

    latency_s: NonNegative
    efficiency_ratio: Fraction
    one_shot: OneShot | None = None
    ring: Ring | None = None
    rounds: Rounds | None = None
    energy: BoardEnergy | None = None


class AllToAll(Spec):
    """Figures of a library that sends token-rows to the ranks of their experts, and the results back.

    Attributes:
        once_per: whether a row is sent once to each expert that it goes to, or once to each rank that has any.
        dispatch: time on the way to the experts; latency and efficiency as of :class:`OneShot`.
        combine: time on the way back.
    """

    once_per: Literal["expert", "rank"]
    dispatch: OneShot
    combine: OneShot


class Collective(AllReduce):
    """The figures of a library, and those of others, which serving engines bring along.

    Attributes:
        use: the other library in use; None for the figures given beside it.
        libraries: the other libraries; boards draw in them what ``energy`` beside them says, unless they have their own.
        scatter: figures of a reduce-scatter or an all-gather alone, whichever library is in use; None for half of an all-reduce by the
            figures given beside it, in two shots or in a ring.
    """

    use: Name | None = None
    libraries: dict[Name, AllReduce] = Field(default_factory=dict)
    scatter: OneShot | None = None

    @model_validator(mode="after")
    def _has_the_used(self) -> Self:
        if self.use is not None and self.use not in self.libraries:
            raise ValueError(f"'use' names no library: found '{self.use}'; {did_you_mean(self.use, self.libraries)}")
        return self

    @property
    def used(self) -> AllReduce:
        """The figures in use."""
        if self.use is None:
            return self
        used = self.libraries[self.use]
        return used if used.energy is not None else used.model_copy(update={"energy": self.energy})


class Switch(Spec):
    """A level of switches between a link and the devices that it reaches; a bus has none.

    Attributes:
        ports: ports of a switch, each to a device or a further switch.
        latency_s: latency that each level of switches adds to a message.
    """

    ports: Annotated[int, Field(ge=2)]
    latency_s: NonNegative

    def levels(self, devices: int) -> int:
        """Return the levels of switches needed to reach the devices: the least L with ``ports^L ≥ devices``, at least one."""
        levels, reached = 1, self.ports
        while reached < devices:
            levels, reached = levels + 1, reached * self.ports
        return levels


class Part(KindOptions):
    """One link.

    Attributes:
        bandwidth_bytes_per_s: payload bandwidth of one link in one direction.
        latency_s: time of an empty message.
        energy_j_per_byte: energy of moving one byte over one link.
        most_devices: maximum number of devices that one link can reach; None for no limit.
        switch: switches of the fabric that the links make, through which each reaches all devices; None for a bus, on
            which each link has devices of its own.
        collective: all-reduce figures, where the link serves a group of ranks.
        all_to_all: libraries of expert parallelism by name; the fastest is taken.
    """

    kind: Literal["link"]
    description: str
    bandwidth_bytes_per_s: Positive
    latency_s: NonNegative
    energy_j_per_byte: NonNegative
    most_devices: Count | None = None
    switch: Switch | None = None
    collective: Collective | None = None
    all_to_all: dict[str, AllToAll] = Field(default_factory=dict)


class Rows(NamedTuple):
    """Bytes of token-rows that the busiest rank sends or receives, and those of all ranks, on the way to or from experts.

    Attributes:
        per_expert: bytes of the busiest rank if a row is sent to each of its experts.
        per_rank: the same if it is sent once to each rank.
        total_per_expert: bytes of all ranks.
        total_per_rank: the same if a row is sent once to each rank.
    """

    per_expert: float
    per_rank: float
    total_per_expert: float
    total_per_rank: float


EXAMPLE = Example("nvlink3")


@dataclass(frozen=True)
class Links:
    """``count`` equal links side by side; a transfer is spread evenly over them.

    Attributes:
        name: name of the links in the system.
        part: numbers of one link.
        count: number of links.
        devices: number of devices reached over all links; 0 if unchecked.
    """

    name: str
    part: Part
    count: int
    devices: int = 0

    def __post_init__(self) -> None:
        """Refuse more devices than the links reach.

        Raises:
            DoesNotFit: with the levers there are.
        """
        most, reached = self.part.most_devices, self.reached
        if most is not None and reached > most:
            raise DoesNotFit(
                f"the devices that each of the {self.count} links '{self.name}' ({self.part.description}) would reach",
                reached,
                most,
                "devices",
                ["fewer devices", f"more links (--set links.{self.name}.count=…)", "a part with a wider reach"],
            )

    @property
    def reached(self) -> int:
        """Devices that one link reaches: all of them through a fabric, its own share on a bus."""
        return self.devices if self.part.switch is not None else -(-self.devices // self.count)

    @property
    def message_latency_s(self) -> float:
        """Time of an empty message to a device, all switches on its way included."""
        switch = self.part.switch
        return self.part.latency_s + (switch.levels(self.devices) * switch.latency_s if switch is not None else 0.0)

    def transfer(self, payload_bytes: float) -> Cost:
        """Return the cost of moving a payload: ``latency + payload / (count · bandwidth)``."""
        latency_s = self.message_latency_s
        time_s = latency_s + payload_bytes / (self.count * self.part.bandwidth_bytes_per_s)
        return Cost(time_s, _bound(time_s, latency_s), Energy(link_j=self.part.energy_j_per_byte * payload_bytes))

    def all_reduce(self, payload_bytes: float, ranks: int) -> Cost:
        """Return the cost of summing a tensor over ranks, each with its own link.

        In two shots or a ring, ``latency + 2·(N−1)/N · payload / bandwidth``, the bytes that each rank must send in any
        bandwidth-optimal all-reduce (Patarasuk and Yuan, JPDC 2009); in one shot ``latency + (N−1) · payload /
        bandwidth``. One rank has nothing to sum.

        Args:
            payload_bytes: bytes of the tensor on each rank.
            ranks: number of ranks.

        Raises:
            NotModelled: the link's part has no ``collective`` figures.
        """
        if ranks == 1:
            return Cost(0.0, _bound(0.0, 0.0))
        collective = self._collective().used
        how = self._fastest(collective, payload_bytes, ranks)
        return Cost(how.time_s, _bound(how.time_s, how.latency_s), self._energy(collective, how) * ranks)

    def reduce_scatter(self, payload_bytes: float, ranks: int) -> Cost:
        """Return the cost of summing a tensor over ranks, each of which gets its share of the sum; an all-gather costs the same.

        ``latency + (N−1)/N · payload / bandwidth``, the bytes that each rank must send; by default half of an all-reduce in two shots
        or in a ring, which is one after the other.

        Args:
            payload_bytes: bytes of the whole tensor.
            ranks: number of ranks.

        Raises:
            NotModelled: the link's part has no ``collective`` figures.
        """
        if ranks == 1:
            return Cost(0.0, _bound(0.0, 0.0))
        collective, sent_bytes = self._collective(), (ranks - 1) / ranks * payload_bytes
        if collective.scatter is not None:
            how = self._sending(collective.scatter, sent_bytes, ranks)
        else:
            both = self._fastest(collective.model_copy(update={"one_shot": None}), payload_bytes, ranks)
            how = _Summing(both.time_s / 2, both.latency_s / 2, both.sent_bytes / 2)
        return Cost(how.time_s, _bound(how.time_s, how.latency_s), self._energy(collective, how) * ranks)

    def _collective(self) -> Collective:
        if self.part.collective is None:
            raise NotModelled(f"link '{self.name}' ({self.part.description}) has no 'collective' figures")
        return self.part.collective

    def all_to_all(self, rows: Rows, *, back: bool) -> Cost:
        """Return the cost of sending token-rows to the ranks of their experts, or the results back.

        ``latency + bytes of the busiest rank / bandwidth`` by the fastest library, each rank with its own link; the memory traffic of
        packing and of adding up is in the libraries' figures. Energy is that of the links alone.

        Args:
            rows: bytes that are sent.
            back: whether results are sent back.

        Raises:
            NotModelled: the link's part has no ``all_to_all`` figures.
        """
        if not self.part.all_to_all:
            raise NotModelled(f"link '{self.name}' ({self.part.description}) has no 'all_to_all' figures")
        costs = []
        for library in self.part.all_to_all.values():
            once, how = library.once_per == "rank", library.combine if back else library.dispatch
            summing = self._sending(how, rows.per_rank if once else rows.per_expert, 2)
            link_j = self.part.energy_j_per_byte * (rows.total_per_rank if once else rows.total_per_expert)
            bound = _bound(summing.time_s, summing.latency_s)
            costs.append(Cost(summing.time_s, bound, Energy(link_j=link_j)))
        return min(costs, key=lambda cost: cost.time_s)

    def _energy(self, collective: AllReduce, how: _Summing) -> Energy:
        """Return the energy of one rank: ``active·t + bytes sent·e`` with the share of its link in ``link_j``, or the link's alone."""
        link_j = self.part.energy_j_per_byte * how.sent_bytes
        board = collective.energy
        if board is None:
            return Energy(link_j=link_j)
        rest_j = board.j_per_byte * how.sent_bytes - link_j
        return Energy(link_j=link_j, gpu_memory_j=board.active_w * how.time_s + max(0.0, rest_j))

    def _fastest(self, collective: AllReduce, payload_bytes: float, ranks: int) -> _Summing:
        """Return the algorithm that the library selects."""
        if collective.rounds is not None:
            return self._in_rounds(collective.rounds, payload_bytes, ranks)
        optimal_bytes = 2 * (ranks - 1) / ranks * payload_bytes
        ring, one_shot = collective.ring, collective.one_shot
        if ring is not None and payload_bytes >= ring.above_bytes:
            return self._sending(ring, optimal_bytes, ranks)
        bandwidth = self.part.bandwidth_bytes_per_s * collective.efficiency_ratio
        latency_s = collective.latency_s
        two_shot = _Summing(latency_s + optimal_bytes / bandwidth, latency_s, optimal_bytes)
        if one_shot is not None:
            direct = self._sending(one_shot, (ranks - 1) * payload_bytes, ranks)
            if direct.time_s < two_shot.time_s:
                return direct
        return two_shot

    def _in_rounds(self, how: Rounds, payload_bytes: float, ranks: int) -> _Summing:
        rounds, share_bytes = ranks - 1, payload_bytes / ranks
        round_s = max(how.fixed_s + share_bytes / how.bytes_per_s, share_bytes / self.part.bandwidth_bytes_per_s)
        return _Summing(rounds * round_s, rounds * how.fixed_s, rounds * share_bytes)

    def _sending(self, how: OneShot, sent_bytes: float, ranks: int) -> _Summing:
        bandwidth = self.part.bandwidth_bytes_per_s * how.efficiency_ratio
        latency_s = how.latency_s + how.rank_latency_s * (ranks - 2)
        return _Summing(latency_s + sent_bytes / bandwidth, latency_s, sent_bytes)


class _Summing(NamedTuple):
    """Time of one algorithm, the share of it that an empty message takes, and the bytes that each rank sends."""

    time_s: float
    latency_s: float
    sent_bytes: float


def _bound(time_s: float, latency_s: float) -> str:
    """Name the larger part of a message's time."""
    return "link_latency" if latency_s >= time_s - latency_s else "link_bandwidth"


#: a further kind derives from :class:`Part` and :class:`Links`
LINK: Family[Part, Links] = Family(
    name="link",
    noun="link kind",
    plural="link kinds",
    package="papisim.devices",
    thing="Links",
    base=Part,
    contract=Links,
    arguments=("name", "part", "count", "devices"),
    options="Part",
    shelf=Shelf.DEVICE,
    schema="papisim/device/1",
)
