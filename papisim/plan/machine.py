"""A machine: its pools and links, who does what, and the room for weights and KV caches."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from papisim.config.quantisation import AS_TRACED_BITS, QuantisationSpec
from papisim.config.system import Roles, System
from papisim.devices.base import DEVICE, DevicePool
from papisim.devices.link import Links
from papisim.errors import DoesNotFit
from papisim.ops.cost import Cost
from papisim.ops.formats import Formats, Packed
from papisim.ops.kernel import Kernel
from papisim.ops.lower import kv_bytes_per_token, weight_bytes
from papisim.ops.trace import KernelTrace

#: the host's processor, a resource of every machine; it runs what is not worth a device
HOST = "host"


#: prices that a machine remembers, so that a run of months does not fill the memory
_PRICES_KEPT = 200_000


@dataclass
class Machine:
    """The pools and links of a system, who does what, and a memory of prices already asked for.

    Attributes:
        name: of the system.
        pools: devices by their name in the system; of a pipeline, those of one stage.
        links: links by their name in the system; likewise.
        roles: which device does what.
    """

    name: str
    pools: dict[str, DevicePool]
    links: dict[str, Links]
    roles: Roles
    _prices: dict[tuple[str, Kernel], Cost] = field(default_factory=dict, repr=False)

    def price(self, device: str, kernel: Kernel) -> Cost:
        """Return what a kernel costs on a device."""
        key = (device, kernel)
        cost = self._prices.get(key)
        if cost is None:
            if len(self._prices) >= _PRICES_KEPT:
                self._prices.clear()
            cost = self._prices[key] = self.pools[device].price(kernel)
        return cost

    def all_reduce(self, payload_bytes: float) -> Cost:
        """Return what summing a tensor over the tensor-parallel ranks costs."""
        parallel = self.roles.tensor_parallel
        return self.links[parallel.link].all_reduce(payload_bytes, parallel.ranks)

    @property
    def stages(self) -> int:
        """Stages of the pipeline; 1 without one."""
        return 1 if self.roles.pipeline is None else self.roles.pipeline.stages

    @property
    def static_w(self) -> float:
        """Power that the machine draws whether or not it works, all stages together."""
        return sum(pool.static_w for pool in self.pools.values()) * self.stages


def build_machine(system: System) -> Machine:
    """Make the pools and links of a system.

    Raises:
        DoesNotFit: there are more devices behind a link than it reaches.
    """
    pools: dict[str, DevicePool] = {}
    roles = system.spec.roles
    stages = 1 if roles.pipeline is None else roles.pipeline.stages
    for name, group in system.spec.devices.items():
        part = system.parts[name]
        pools[name] = DEVICE.make(DEVICE.load(part.kind), name, part, group.count // stages)
    behind = {roles.attention_link: pools[roles.attention].count}
    links = {
        name: Links(name, system.parts[name], group.count // stages, behind.get(name, 0))
        for name, group in system.spec.links.items()
    }
    return Machine(system.name, pools, links, roles)


def build_formats(quantisation: QuantisationSpec) -> Formats:
    """Return in what formats an experiment stores its model."""

    def packed(bits: int) -> Packed | None:
        return None if bits == AS_TRACED_BITS else Packed(bits, quantisation.group, quantisation.scale_bits)

    input_bits = None if quantisation.activation_bits == AS_TRACED_BITS else quantisation.activation_bits
    return Formats(packed(quantisation.weight_bits), packed(quantisation.kv_bits), input_bits)


@dataclass(frozen=True)
class Demand:
    """Memory that a model needs on a device: its weights, and bytes of KV cache for each token of a request."""

    device: str
    weight_bytes: int
    kv_token_bytes: int


@dataclass(frozen=True)
class Memory:
    """Where weights and KV caches live, and how much room there is.

    Attributes:
        kv_device: device that holds the target model's KV caches.
        kv_capacity_bytes: room for them: its memory, less what else stands there; less still where a draft model's caches,
            which grow with them, fill their own device earlier.
        kv_token_bytes: bytes of one token of one request in that room, all layers together.
    """

    kv_device: str
    kv_capacity_bytes: float
    kv_token_bytes: int


def plan_memory(
    machine: Machine, trace: KernelTrace, draft: Demand | None = None, utilisation_ratio: float = 1.0
) -> Memory:
    """Put the weights into the memory of their devices and see what is left for KV caches.

    Args:
        machine: the hardware.
        trace: the target model.
        draft: what a draft model needs besides.
        utilisation_ratio: share of every device's memory that may be used.

    Raises:
        DoesNotFit: the weights are larger than the memory.
    """
    roles = machine.roles
    share = utilisation_ratio * machine.stages  # stages hold equal shares of weights and caches
    free = {name: pool.capacity_bytes * share for name, pool in machine.pools.items()}
    _take(machine, free, roles.weights, weight_bytes(trace), f"the weights of {trace.name}")
    token_bytes = kv_bytes_per_token(trace)
    if draft is None:
        return Memory(roles.kv, free[roles.kv], token_bytes)
    _take(machine, free, draft.device, draft.weight_bytes, "the weights of the draft model")
    if draft.device == roles.kv:
        return Memory(roles.kv, free[roles.kv], token_bytes + draft.kv_token_bytes)
    tokens = min(free[roles.kv] / token_bytes, free[draft.device] / draft.kv_token_bytes)
    return Memory(roles.kv, tokens * token_bytes, token_bytes)


def _take(machine: Machine, free: dict[str, float], device: str, need: int, what: str) -> None:
    home, there = machine.pools[device], free[device]
    if need > there:
        one = home.capacity_bytes / home.count
        count = home.count * machine.stages + math.ceil((need - there) / one)
        raise DoesNotFit(
            f"{what} do not fit into '{device}' ({home.count * machine.stages} devices)",
            need / 1e9,
            there / 1e9,
            "GB",
            [f"--set devices.{device}.count={count}", "a smaller model"],
        )
    free[device] -= need
