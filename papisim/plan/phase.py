"""What a step is made of: kernels on devices, and messages on links."""

from __future__ import annotations

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


class Message(NamedTuple):
    """A payload over a link, from one side to the other or, with several ranks, summed over them."""

    payload_bytes: float
    ranks: int = 1


class Work(NamedTuple):
    """What stands in a phase: a kernel or a message, so many times in a row.

    Attributes:
        item: what was priced.
        units: devices or links that share it.
        time_s: how long it takes once.
        bound: what limits it.
        times: how often it stands there.
    """

    item: Kernel | Message
    units: int
    time_s: float
    bound: str
    times: int = 1


class Phase(NamedTuple):
    """One kernel on one device, or one message on one link, ``repeats`` times in a row.

    Attributes:
        resource: the device or link.
        category: how its time is reported.
        time_s: how long it takes once.
        energy: what it takes once.
        flop: what it computes.
        repeats: how often it follows itself.
        work: what was priced, for who wants to know why it takes so long; empty for what no device does. Where several
            kernels were added up, one entry each.
    """

    resource: str
    category: Category
    time_s: float
    energy: Energy
    flop: float = 0.0
    repeats: int = 1
    work: tuple[Work, ...] = ()
