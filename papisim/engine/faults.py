"""Devices and links that fail: for a while, or for good.

A *stalled* device does nothing for a while. The step that uses it at that moment, or the next one that does, takes that much
longer: steps go through all layers and come back to each device within a fraction of a millisecond.

A *lost* device never comes back, and the contents of its memory are gone. A server that needs it is down: every request on
it, and every request sent to it from then on, ends failed with the reason. The step in flight is not recorded.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import simpy

from papisim.config.system import FaultSpec
from papisim.engine.process import Process


@dataclass(frozen=True)
class Stall:
    """A device or link stands still until a time."""

    resource: str
    until_s: float


@dataclass(frozen=True)
class Loss:
    """A device or link is gone."""

    resource: str
    reason: str


class Faulty(Protocol):
    """A user of devices."""

    def apply_fault(self, fault: Stall | Loss) -> None:
        """Suffer the fault of a device that may be in use."""


def inject(env: simpy.Environment, faults: Iterable[FaultSpec], servers: Iterable[Faulty]) -> None:
    """Let faults happen at their times to all servers."""
    servers = list(servers)
    for fault in faults:
        env.process(_happen(env, fault, servers))


def _happen(env: simpy.Environment, fault: FaultSpec, servers: list[Faulty]) -> Process:
    yield env.timeout(fault.at_s)
    if fault.stalled_s is not None:
        event: Stall | Loss = Stall(fault.device, env.now + fault.stalled_s)
    else:
        event = Loss(fault.device, f"'{fault.device}' was lost at {fault.at_s:g} s")
    for server in servers:
        server.apply_fault(event)
