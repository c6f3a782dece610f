"""Types of processes: generators that take simulated time."""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar

import simpy

Result = TypeVar("Result")

#: a process that takes simulated time and returns a result when it has ended
Timed = Generator[simpy.Event, object, Result]
#: a process without a result
Process = Timed[None]
