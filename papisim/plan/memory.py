"""Where weights and KV caches live, and how much room they have.

Room follows from the same shares as time does (:mod:`papisim.ops.shards`): of the stages of a pipeline, and of the devices of
a stage, the fullest limits what fits.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import accumulate

from papisim.devices.base import DevicePool
from papisim.errors import DoesNotFit
from papisim.ops.experts import most_experts
from papisim.ops.held import HeldBytes
from papisim.ops.lower import cached_bytes, expert_weight_bytes, held_bytes, stage_weight_bytes
from papisim.ops.shards import pair_imbalance, stage_layers
from papisim.ops.trace import KernelTrace
from papisim.plan.machine import Machine
from papisim.plan.sharing import SharedMachines


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
        held: bytes that requests hold, each KV head counted once.
        tokens_of: tokens that ``n`` requests with caches of one length have room to append, together, if all are kept; of very
            many, if None. In a model that appends nothing, the number of requests whose states there is room for.
    """

    kv_device: str
    held: HeldBytes
    tokens_of: Callable[[int | None], float]

    @property
    def kv_token_bytes(self) -> int:
        """Bytes that one token of one request appends, all layers together."""
        return self.held.token_bytes

    def room_bytes(self, n_requests: int | None) -> float:
        """Return the room for the caches of ``n`` requests; of very many, if None."""
        return self.tokens_of(n_requests) * self.held.rate_bytes

    @property
    def kv_capacity_bytes(self) -> float:
        """Room for the KV caches of very many requests."""
        return self.room_bytes(None)


def plan_memory(
    machine: Machine,
    trace: KernelTrace,
    drafting: Sequence[Demand] = (),
    utilisation_ratio: float = 1.0,
    states: int = 1,
    *,
    expert_copies: int = 0,
) -> MemoryPlan:
    """Place the weights in the memory of their devices and return the room left for KV caches.

    Args:
        machine: the hardware.
        trace: the target model.
        drafting: memory that a draft source needs besides.
        utilisation_ratio: usable share of every device's memory.
        states: states of a request that are kept in each layer: one, and one after each draft.
        expert_copies: further copies of experts of a layer.

    Raises:
        DoesNotFit: the weights are larger than the memory.
    """
    shared = SharedMachines(machine, expert_copies)
    stages = [_Stage(shared, trace, layers, drafting, states) for layers in _layers_of_stages(machine, trace)]
    free = [stage.free(utilisation_ratio) for stage in stages]

    @cache
    def tokens_of(n_requests: int | None) -> float:
        return min(stage.tokens(there, n_requests) for stage, there in zip(stages, free, strict=True))

    held = held_bytes(trace)
    return MemoryPlan(machine.roles.kv, replace(held, state_bytes=held.state_bytes * states), tokens_of)


@dataclass(frozen=True)
class _Stage:
    """One stage of a pipeline, or the whole machine without one, and the layers that it holds."""

    shared: SharedMachines
    trace: KernelTrace
    layers: range
    drafting: Sequence[Demand]
    states: int

    @property
    def machine(self) -> Machine:
        """The devices."""
        return self.shared.whole

    @property
    def weight_bytes(self) -> float:
        """Bytes that the weights take of ranks all of which are as full as the fullest, copies included."""
        weights, experts = stage_weight_bytes(self.trace, self.layers), expert_weight_bytes(self.trace, self.layers)
        spread = self.shared.spread(())
        fullest = most_experts(self.trace.model.n_experts, spread) * spread.ranks
        held = experts * fullest / self.trace.model.n_experts if experts else 0
        return (weights - experts) * self.shared.parallel.data_ranks + held

    def free(self, utilisation_ratio: float) -> dict[str, float]:
        """Return the bytes left by weights, by device."""
        free = {name: pool.capacity_bytes * utilisation_ratio for name, pool in self.machine.pools.items()}
        weights, what = self.weight_bytes, f"the weights of {self.trace.name}"
        _allocate(self.machine, free, self.machine.roles.weights, weights, what)
        for demand in self.drafting:
            n_bytes = demand.weight_bytes * self._scale(demand)
            _allocate(self.machine, free, demand.device, n_bytes, "the weights of the draft model")
        return free

    def tokens(self, free: Mapping[str, float], n_requests: int | None) -> float:
        """Return the tokens of requests whose caches fill the first device that is full.

        Caches that keep a part of the tokens are counted at the rate at which they append; the cache of a draft source is
        taken to keep as large a part.
        """
        kv = self.machine.roles.kv
        needed = defaultdict[str, float](float)
        pool, groups = self.shared.heads.pools[kv], self.shared.parallel.data_ranks
        fullest = 1.0 if n_requests is None else pair_imbalance(n_requests, groups)
        needed[kv] = spread_bytes(self.trace, self.layers, pool, n_requests) * fullest
        if not held_bytes(self.trace).token_bytes:
            needed[kv] *= self.states
        for demand in self.drafting:
            needed[demand.device] += demand.kv_token_bytes * self._scale(demand)
        return min(free[device] / n_bytes for device, n_bytes in needed.items() if n_bytes)

    def _scale(self, demand: Demand) -> float:
        """Return by how much a demand counts in a pool of a stage, all of whose units are as full as the fullest."""
        units = demand.units
        return 1 / self.machine.stages if units is None else self.machine.pools[demand.device].count / units


def spread_bytes(trace: KernelTrace, layers: range, pool: DevicePool, n_requests: int | None = None) -> float:
    """Return the bytes that a token takes of a pool all of whose units are as full as the fullest, copies of heads included.

    Args:
        trace: the model.
        layers: layers whose caches the pool holds.
        pool: the devices.
        n_requests: requests with caches of one length; None for very many.

    Returns:
        Bytes of a token of one request, or those of its states where nothing is appended.
    """
    by_heads = defaultdict[tuple[int, int], list[int]](lambda: [0, 0])
    for block in trace.blocks:
        n_layers = sum(index in layers for index in block.layer_indices)
        for shape in block.appended if n_layers else ():
            counts = by_heads[shape.n_heads, shape.n_kv_heads]
            counts[0] += n_layers
            counts[1] += n_layers * cached_bytes(shape, trace, 1)
    if not held_bytes(trace).token_bytes:
        return held_bytes(trace, layers).state_bytes
    return sum(n_bytes * pool.kv_imbalance(*heads, n, n_requests) for heads, (n, n_bytes) in by_heads.items())


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
