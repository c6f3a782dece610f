"""Devices and links that stop: for a while, or for good.

A *stalled* device does nothing for a while. The step that uses it at that moment, or the next one that does, takes so much
longer: steps go through all layers and come back to each device within a fraction of a millisecond.

A *lost* device never comes back, and with it what was in its memory. A server that has a use for it is down: every request
on it, and every one that is sent to it from then on, ends failed with the reason. The step in flight is not written down.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import simpy

from papisim.config.system import FaultSpec


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
    """Somebody who uses devices."""

    def suffer(self, fault: Stall | Loss) -> None:
        """Take what happens to a device that may be in use."""


def bring(env: simpy.Environment, faults: Iterable[FaultSpec], servers: Iterable[Faulty]) -> None:
    """Let faults happen at their times to all servers."""
    servers = list(servers)
    for fault in faults:
        env.process(_happen(env, fault, servers))


def _happen(env: simpy.Environment, fault: FaultSpec, servers: list[Faulty]) -> Generator[simpy.Event, Any, None]:
    yield env.timeout(fault.at_s)
    if fault.stalled_s is not None:
        event: Stall | Loss = Stall(fault.device, env.now + fault.stalled_s)
    else:
        event = Loss(fault.device, f"'{fault.device}' was lost at {fault.at_s:g} s")
    for server in servers:
        server.suffer(event)
