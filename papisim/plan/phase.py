"""What a step is made of: kernels on devices, and messages on links."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple

from papisim.ops.cost import Energy
from papisim.ops.kernel import Kernel


class Category(StrEnum):
    """How a step's time is reported (as the paper's Figure 12 splits it)."""

    FC = "fc"
    ATTENTION = "attention"
    COMMUNICATION = "communication"
    OTHER = "other"
    DRAFT = "draft"
    HOST = "host"


class Message(NamedTuple):
    """A payload over a link, from one side to the other or, with several ranks, summed over them."""

    payload_bytes: float
    ranks: int = 1


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
    """

    resource: str
    category: Category
    time_s: float
    energy: Energy
    flop: float = 0.0
    repeats: int = 1
    work: tuple[Work, ...] = ()

    @property
    def total_s(self) -> float:
        """Seconds of all repetitions."""
        return self.time_s * self.repeats

    @property
    def n_kernels(self) -> int:
        """Kernels and messages launched in all repetitions."""
        return self.repeats * sum(each.times * each.kernels for each in self.work)


def seconds(phases: Iterable[Phase]) -> float:
    """Return the seconds of phases that follow one another, repetitions included."""
    return sum(phase.total_s for phase in phases)
