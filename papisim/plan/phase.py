"""What a step is made of: kernels on devices, and messages on links."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import NamedTuple

from papisim.devices.link import Links, Rows
from papisim.ops.cost import Cost, Energy
from papisim.ops.kernel import Kernel
from papisim.policies.placement.base import Operator


class Category(StrEnum):
    """How a step's time is reported (as the paper's Figure 12 splits it)."""

    FC = "fc"
    ATTENTION = "attention"
    COMMUNICATION = "communication"
    OTHER = "other"
    DRAFT = "draft"
    HOST = "host"


class Exchange(StrEnum):
    """What a message does with its payload; values are the names in reports."""

    SEND = "message"
    ALL_REDUCE = "all_reduce"
    ALL_GATHER = "all_gather"
    REDUCE_SCATTER = "reduce_scatter"
    DISPATCH = "dispatch"
    COMBINE = "combine"


class Message(NamedTuple):
    """A payload over a link, from one side to the other or among ranks.

    Attributes:
        payload_bytes: bytes of the tensor, or those that the busiest rank exchanges with experts.
        ranks: ranks that exchange it; 1 from one side to the other.
        exchange: what is done with it.
        rows: bytes of the rows that go to experts or come back.
    """

    payload_bytes: float
    ranks: int = 1
    exchange: Exchange = Exchange.SEND
    rows: Rows | None = None

    def price(self, links: Links, ranks: int | None = None) -> Cost:
        """Return the cost of the message on a group of links, among its own number of ranks or another one."""
        n = self.ranks if ranks is None else ranks
        match self.exchange:
            case Exchange.ALL_REDUCE:
                return links.all_reduce(self.payload_bytes, n)
            case Exchange.ALL_GATHER | Exchange.REDUCE_SCATTER:
                return links.reduce_scatter(self.payload_bytes, n)
            case Exchange.DISPATCH | Exchange.COMBINE:
                assert self.rows is not None, "of rows that go to experts"
                return links.all_to_all(self.rows, back=self.exchange is Exchange.COMBINE)
        return links.transfer(self.payload_bytes)


class Work(NamedTuple):
    """A priced kernel or message of a phase.

    Attributes:
        item: the kernel or message.
        units: devices or links that share it.
        time_s: seconds of one execution.
        bound: the resource that limits it.
        times: executions in a row.
        outside: which limit of the fit that its price rests on it passes; None inside.
        kernels: kernels launched by one execution.
    """

    item: Kernel | Message
    units: int
    time_s: float
    bound: str
    times: int = 1
    outside: str | None = None
    kernels: int = 1


class Phase(NamedTuple):
    """One kernel on one device, or one message on one link, ``repeats`` times in a row.

    Attributes:
        resource: the device or link.
        category: the category its time is reported under.
        time_s: seconds of one repetition.
        energy: energy of one repetition, static energy excluded.
        flop: operations of one repetition.
        repeats: repetitions in a row.
        work: the priced kernels and messages, one entry per kernel where several were added up; empty for the host.
        operator: the operator that the kernel belongs to; None of messages, attention of prompts, and kernels that are not placed.
    """

    resource: str
    category: Category
    time_s: float
    energy: Energy
    flop: float = 0.0
    repeats: int = 1
    work: tuple[Work, ...] = ()
    operator: Operator | None = None

    @property
    def total_s(self) -> float:
        """Seconds of all repetitions."""
        return self.time_s * self.repeats

    @property
    def n_kernels(self) -> int:
        """Kernels and messages launched in all repetitions."""
        return self.repeats * sum(each.times * each.kernels for each in self.work)


class TimedPhase(NamedTuple):
    """A phase that runs beside others.

    Attributes:
        begins_s: seconds from the beginning of the step.
        phase: the phase.
    """

    begins_s: float
    phase: Phase


def one_by_one(phases: Iterable[Phase], from_s: float = 0.0) -> list[TimedPhase]:
    """Return phases that follow one another, the first of which begins ``from_s`` seconds after the step."""
    timed = []
    for phase in phases:
        timed.append(TimedPhase(from_s, phase))
        from_s += phase.total_s
    return timed


def together(phases: Sequence[tuple[Phase, int]]) -> Phase:
    """Return one phase for those that groups of ranks have at the same time, each with its number of groups.

    The slowest sets the time; energy and operations are those of all groups.
    """
    (first, n), *others = phases
    if n == 1 and not others:
        return first
    slowest = max((phase for phase, _ in phases), key=lambda phase: phase.time_s)
    energy = sum((phase.energy * count for phase, count in phases), Energy())
    return slowest._replace(energy=energy, flop=sum(phase.flop * count for phase, count in phases))


def seconds(phases: Iterable[Phase]) -> float:
    """Return the seconds of phases that follow one another, repetitions included."""
    return sum(phase.total_s for phase in phases)
