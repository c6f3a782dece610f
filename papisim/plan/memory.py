"""Where weights and KV caches live, and how much room they have."""

from __future__ import annotations

import math
from dataclasses import dataclass

from papisim.errors import DoesNotFit
from papisim.ops.lower import kv_bytes_per_token, weight_bytes
from papisim.ops.trace import KernelTrace
from papisim.plan.machine import Machine


@dataclass(frozen=True)
class Demand:
    """Memory that a model needs on a device: its weights, and bytes of KV cache per token of a request."""

    device: str
    weight_bytes: int
    kv_token_bytes: int


@dataclass(frozen=True)
class MemoryPlan:
    """The device of the KV caches and the room left for them.

    Attributes:
        kv_device: device that holds the target model's KV caches.
        kv_capacity_bytes: room for KV caches: the device's memory less the weights stored there; less still if a draft
            model's caches, which grow with the target's, fill their own device first.
        kv_token_bytes: bytes of one token of one request in that room, all layers together.
    """

    kv_device: str
    kv_capacity_bytes: float
    kv_token_bytes: int


def plan_memory(
    machine: Machine, trace: KernelTrace, draft: Demand | None = None, utilisation_ratio: float = 1.0
) -> MemoryPlan:
    """Place the weights in the memory of their devices and return the room left for KV caches.

    Args:
        machine: the hardware.
        trace: the target model.
        draft: memory that a draft model needs besides.
        utilisation_ratio: usable share of every device's memory.

    Raises:
        DoesNotFit: the weights are larger than the memory.
    """
    roles = machine.roles
    share = utilisation_ratio * machine.stages  # stages hold equal shares of weights and caches
    free = {name: pool.capacity_bytes * share for name, pool in machine.pools.items()}
    _allocate(machine, free, roles.weights, weight_bytes(trace), f"the weights of {trace.name}")
    token_bytes = kv_bytes_per_token(trace)
    if draft is None:
        return MemoryPlan(roles.kv, free[roles.kv], token_bytes)
    _allocate(machine, free, draft.device, draft.weight_bytes, "the weights of the draft model")
    if draft.device == roles.kv:
        return MemoryPlan(roles.kv, free[roles.kv], token_bytes + draft.kv_token_bytes)
    tokens = min(free[roles.kv] / token_bytes, free[draft.device] / draft.kv_token_bytes)
    return MemoryPlan(roles.kv, tokens * token_bytes, token_bytes)


def _allocate(machine: Machine, free: dict[str, float], device: str, n_bytes: int, what: str) -> None:
    pool, available = machine.pools[device], free[device]
    if n_bytes > available:
        per_device = pool.capacity_bytes / pool.count
        count = pool.count * machine.stages + math.ceil((n_bytes - available) / per_device)
        raise DoesNotFit(
            f"{what} do not fit into '{device}' ({pool.count * machine.stages} devices)",
            n_bytes / 1e9,
            available / 1e9,
            "GB",
            [f"--set devices.{device}.count={count}", "a smaller model"],
        )
    free[device] -= n_bytes
