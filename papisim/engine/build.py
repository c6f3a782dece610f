"""From an experiment's values to the objects that the simulation runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from papisim import catalog
from papisim.devices.base import DevicePool
from papisim.devices.link import Links
from papisim.errors import DoesNotFit
from papisim.ops.cost import Cost
from papisim.ops.kernel import Kernel
from papisim.ops.lower import kv_bytes_per_token, weight_bytes
from papisim.ops.trace import KernelTrace
from papisim.policies.batching.base import BatchingPolicy
from papisim.policies.placement.base import PlacementPolicy
from papisim.policies.speculation.base import SpeculationPolicy
from papisim.spec.experiment import Experiment
from papisim.spec.system import Roles, System
from papisim.workloads.base import WorkloadSource


@dataclass
class Machine:
    """The pools and links of a system, who does what, and a memory of prices already asked for.

    Attributes:
        name: of the system.
        pools: devices by their name in the system.
        links: links by their name in the system.
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
            cost = self._prices[key] = self.pools[device].price(kernel)
        return cost

    def all_reduce(self, payload_bytes: float) -> Cost:
        """Return what summing a tensor over the tensor-parallel ranks costs."""
        parallel = self.roles.tensor_parallel
        return self.links[parallel.link].all_reduce(payload_bytes, parallel.ranks)

    @property
    def static_w(self) -> float:
        """Power that the machine draws whether or not it works."""
        return sum(pool.static_w for pool in self.pools.values())


def build_machine(system: System) -> Machine:
    """Make the pools and links of a system."""
    pools: dict[str, DevicePool] = {}
    for name, group in system.spec.devices.items():
        module = catalog.load_kind("papisim.devices", system.parts[name].kind)
        pools[name] = module.Pool(name, system.parts[name], group.count)
    links = {name: Links(name, system.parts[name], group.count) for name, group in system.spec.links.items()}
    return Machine(system.name, pools, links, system.spec.roles)


@dataclass(frozen=True)
class Memory:
    """Where weights and KV caches live, and how much room there is.

    Attributes:
        kv_device: device that holds the KV caches.
        kv_capacity_bytes: its memory, less the weights where they share it.
        kv_token_bytes: bytes of one token of one request, all layers together.

    """

    kv_device: str
    kv_capacity_bytes: float
    kv_token_bytes: int


def plan_memory(machine: Machine, trace: KernelTrace) -> Memory:
    """Put the weights into the memory of their device and see what is left for KV caches.

    Raises:
        DoesNotFit: the weights are larger than the memory.

    """
    roles = machine.roles
    home, need = machine.pools[roles.weights], weight_bytes(trace)
    if need > home.capacity_bytes:
        raise DoesNotFit(
            f"the weights of {trace.name} do not fit into '{roles.weights}' ({home.count} devices)",
            need / 1e9,
            home.capacity_bytes / 1e9,
            "GB",
            [
                f"--set devices.{roles.weights}.count={-(-need // int(home.capacity_bytes / home.count))}",
                "a smaller model",
            ],
        )
    shared = roles.weights == roles.kv
    room = machine.pools[roles.kv].capacity_bytes - (need if shared else 0)
    return Memory(roles.kv, room, kv_bytes_per_token(trace))


@dataclass(frozen=True)
class Policies:
    """The three decisions of a run."""

    placement: PlacementPolicy
    batching: BatchingPolicy
    speculation: SpeculationPolicy


def build_policies(experiment: Experiment) -> Policies:
    """Make the policies that an experiment names."""

    def make(package: str, name: str, options: Any) -> Any:
        return getattr(catalog.load_kind(f"papisim.policies.{package}", options.kind), name)(options)

    return Policies(
        make("placement", "Placement", experiment.system.placement),
        make("batching", "Batching", experiment.batching),
        make("speculation", "Speculation", experiment.speculation),
    )


def build_workload(experiment: Experiment) -> WorkloadSource:
    """Make the workload that an experiment names."""
    module = catalog.load_kind("papisim.workloads", experiment.workload.kind)
    workload: WorkloadSource = module.Workload(experiment.workload, experiment.seed)
    return workload
