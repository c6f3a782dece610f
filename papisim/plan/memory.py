"""Where weights and KV caches live, and how much room they have.

Room follows from the same shares as time does (:mod:`papisim.ops.shards`): of the stages of a pipeline, and of the devices of
a stage, the fullest limits what fits.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate

from papisim.errors import DoesNotFit
from papisim.ops.lower import kv_bytes_per_token, stage_weight_bytes
from papisim.ops.shards import stage_layers
from papisim.ops.trace import KernelTrace
from papisim.plan.machine import Machine


@dataclass(frozen=True)
class Demand:
    """Memory that a draft source needs on a device.

    Attributes:
        device: name of the device.
        weight_bytes: bytes of its weights.
        kv_token_bytes: bytes of its KV cache per token of a request, copies of heads included.
        units: number of the device's units that hold both; all, if None.
    """

    device: str
    weight_bytes: float = 0.0
    kv_token_bytes: float = 0.0
    units: int | None = None


@dataclass(frozen=True)
class MemoryPlan:
    """The device of the KV caches and the room left for them.

    Attributes:
        kv_device: device that holds the target model's KV caches.
        kv_token_bytes: bytes of one token of one request, all layers together, each KV head counted once.
        tokens_of: tokens that ``n`` requests with caches of one length have room for, together; of very many, if None.
    """

    kv_device: str
    kv_token_bytes: int
    tokens_of: Callable[[int | None], float]

    @property
    def kv_capacity_bytes(self) -> float:
        """Room for the KV caches of very many requests."""
        return self.tokens_of(None) * self.kv_token_bytes


def plan_memory(
    machine: Machine, trace: KernelTrace, drafting: Sequence[Demand] = (), utilisation_ratio: float = 1.0
) -> MemoryPlan:
    """Place the weights in the memory of their devices and return the room left for KV caches.

    Args:
        machine: the hardware.
        trace: the target model.
        drafting: memory that a draft source needs besides.
        utilisation_ratio: usable share of every device's memory.

    Raises:
        DoesNotFit: the weights are larger than the memory.
    """
    stages = [_Stage(machine, trace, layers, drafting) for layers in _layers_of_stages(machine, trace)]
    free = [stage.free(utilisation_ratio) for stage in stages]

    @cache
    def tokens_of(n_requests: int | None) -> float:
        return min(stage.tokens(there, n_requests) for stage, there in zip(stages, free, strict=True))

    return MemoryPlan(machine.roles.kv, kv_bytes_per_token(trace), tokens_of)


@dataclass(frozen=True)
class _Stage:
    """One stage of a pipeline, or the whole machine without one, and the layers that it holds."""

    machine: Machine
    trace: KernelTrace
    layers: range
    drafting: Sequence[Demand]

    def free(self, utilisation_ratio: float) -> dict[str, float]:
        """Return the bytes left by weights, by device."""
        free = {name: pool.capacity_bytes * utilisation_ratio for name, pool in self.machine.pools.items()}
        weights = stage_weight_bytes(self.trace, self.layers)
        _allocate(self.machine, free, self.machine.roles.weights, weights, f"the weights of {self.trace.name}")
        for demand in self.drafting:
            n_bytes = demand.weight_bytes * self._scale(demand)
            _allocate(self.machine, free, demand.device, n_bytes, "the weights of the draft model")
        return free

    def tokens(self, free: Mapping[str, float], n_requests: int | None) -> float:
        """Return the tokens of requests whose caches fill the first device that is full."""
        machine, model, kv = self.machine, self.trace.model, self.machine.roles.kv
        imbalance = machine.pools[kv].kv_imbalance(model.n_heads, model.n_kv_heads, len(self.layers), n_requests)
        needed = defaultdict[str, float](float)
        needed[kv] = kv_bytes_per_token(self.trace) * len(self.layers) / model.n_layers * imbalance
        for demand in self.drafting:
            needed[demand.device] += demand.kv_token_bytes * self._scale(demand)
        return min(free[device] / n_bytes for device, n_bytes in needed.items() if n_bytes)

    def _scale(self, demand: Demand) -> float:
        """Return by how much a demand counts in a pool of a stage, all of whose units are as full as the fullest."""
        units = demand.units
        return 1 / self.machine.stages if units is None else self.machine.pools[demand.device].count / units


def _layers_of_stages(machine: Machine, trace: KernelTrace) -> list[range]:
    sizes = stage_layers(trace.model.n_layers, machine.stages)
    return [range(end - size, end) for size, end in zip(sizes, accumulate(sizes), strict=True)]


def _allocate(machine: Machine, free: dict[str, float], device: str, n_bytes: float, what: str) -> None:
    pool, available = machine.pools[device], free[device]
    if n_bytes > available:
        per_device = pool.capacity_bytes / pool.count
        count = (pool.count + math.ceil((n_bytes - available) / per_device)) * machine.stages
        of_stage = (
            "" if machine.stages == 1 else f" of a pipeline stage ({pool.count} of {pool.count * machine.stages})"
        )
        raise DoesNotFit(
            f"{what} do not fit into '{device}' ({pool.count * machine.stages} devices){of_stage}",
            n_bytes / 1e9,
            available / 1e9,
            "GB",
            [f"--set devices.{device}.count={count}", "a smaller model"],
        )
    free[device] -= n_bytes
