"""A machine: its pools and links, the role of each, and the prices already computed."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from papisim.bounded import BoundedDict
from papisim.config.engine import KernelTimesSpec
from papisim.config.parallel import TENSOR_ONLY, Parallel
from papisim.config.system import Roles, System
from papisim.devices.base import DEVICE, AttentionRun, DevicePool
from papisim.devices.link import Links
from papisim.ops.cost import Cost
from papisim.ops.kernel import Attention, Kernel, Linear
from papisim.plan.phase import Category, Message, Phase, Work

#: the host's processor, a resource of every machine; it runs what no device is worth starting for
HOST = "host"

#: prices that a machine remembers
_PRICES_KEPT = 200_000


@dataclass
class Machine:
    """The pools and links of a system, the role of each, and the prices already computed.

    Attributes:
        name: name of the system.
        pools: devices by their name in the system; in a pipeline, those of one stage.
        links: links by their name in the system; in a pipeline, those of one stage.
        roles: the role of each device and link.
        times: time of an engine's kernels over that of their libraries.
        parallel: how the ranks of a stage share a model.
    """

    name: str
    pools: dict[str, DevicePool]
    links: dict[str, Links]
    roles: Roles
    times: KernelTimesSpec = field(default_factory=KernelTimesSpec)
    parallel: Parallel = TENSOR_ONLY
    _prices: BoundedDict[tuple[str, Kernel], tuple[Cost, str | None]] = field(
        default_factory=lambda: BoundedDict(_PRICES_KEPT), repr=False
    )

    def paced(self, times: KernelTimesSpec) -> Machine:
        """Return the machine with an engine's times of kernels; the energy of a kernel stays, static energy aside."""
        if times == self.times:
            return self
        return replace(self, times=times, _prices=BoundedDict(_PRICES_KEPT))

    def of_ranks(self, count: int) -> Machine:
        """Return the machine with ``count`` devices in each pool, which share kernels as ranks of their own."""
        if all(pool.count == count for pool in self.pools.values()):
            return self
        pools = {name: type(pool)(name, pool.part, count) for name, pool in self.pools.items()}
        return replace(self, pools=pools, _prices=BoundedDict(_PRICES_KEPT))

    def with_caches_at(self, device: str) -> Machine:
        """Return the machine once the KV caches have been moved to where a device of ``roles.kv_elsewhere`` attends to them."""
        return replace(self, roles=self.roles.with_caches_at(device))

    def _paced(self, kernel: Kernel, cost: Cost) -> Cost:
        ratio = self._ratio(kernel)
        return cost if ratio == 1 else replace(cost, time_s=cost.time_s * ratio)

    def _ratio(self, kernel: Kernel) -> float:
        match kernel:
            case Linear():
                return self.times.fc_ratio
            case Attention():
                return self.times.attention_ratio
        return self.times.small_ratio

    def paced_run(self, run: AttentionRun) -> AttentionRun:
        """Return the costs of attention over many caches with an engine's times of kernels."""
        ratio = self.times.attention_ratio
        return run if ratio == 1 else replace(run, time_s=run.time_s * ratio)

    def price(self, device: str, kernel: Kernel) -> Cost:
        """Return the cost of a kernel on a device."""
        priced = self._prices.get((device, kernel))
        return self._priced(device, kernel)[0] if priced is None else priced[0]

    def _priced(self, device: str, kernel: Kernel) -> tuple[Cost, str | None]:
        """Return a kernel's cost, and which limit of the fit it passes."""
        key = (device, kernel)
        priced = self._prices.get(key)
        if priced is None:
            pool = self.pools[device]
            priced = self._prices[key] = self._paced(kernel, pool.price(kernel)), pool.outside(kernel)
        return priced

    def compute(self, device: str, category: Category, kernel: Kernel, *, repeats: int = 1) -> Phase:
        """Return the phase in which a device computes a kernel, at a price that is remembered."""
        return self._phase(self._priced(device, kernel), device, category, kernel, repeats)

    def compute_once(self, device: str, category: Category, kernel: Kernel, *, repeats: int = 1) -> Phase:
        """Return the phase in which a device computes a kernel at a price that is not worth remembering."""
        pool = self.pools[device]
        return self._phase(
            (self._paced(kernel, pool.price(kernel)), pool.outside(kernel)), device, category, kernel, repeats
        )

    def _phase(
        self, priced: tuple[Cost, str | None], device: str, category: Category, kernel: Kernel, repeats: int
    ) -> Phase:
        cost, outside = priced
        work = (Work(kernel, self.pools[device].count, cost.time_s, cost.bound, outside=outside),)
        return Phase(device, category, cost.time_s, cost.energy, kernel.flop, repeats, work)

    def send(self, link: str, payload_bytes: float) -> Phase:
        """Return the phase in which a payload crosses a link."""
        return self.exchanged(link, Message(payload_bytes))

    def paced_transfer(self, link: str, payload_bytes: float) -> Cost:
        """Return the cost of a payload that crosses a link, as :meth:`send` charges it."""
        cost = self.links[link].transfer(payload_bytes)
        return replace(cost, time_s=cost.time_s * self.times.communication_ratio)

    def exchanged(self, link: str, message: Message, groups: int = 1) -> Phase:
        """Return the phase of a message on a link, of which several groups of ranks exchange one each at the same time."""
        cost = message.price(self.links[link])
        time_s = cost.time_s * self.times.communication_ratio
        work = Work(message, self.links[link].count, time_s, cost.bound)
        energy = cost.energy if groups == 1 else cost.energy * groups
        return Phase(link, Category.COMMUNICATION, time_s, energy, work=(work,))

    @property
    def stages(self) -> int:
        """Stages of the pipeline; 1 without one."""
        return 1 if self.roles.pipeline is None else self.roles.pipeline.stages

    @property
    def static_w(self) -> float:
        """Power that the machine draws whether or not it works, all stages together."""
        return sum(pool.static_w for pool in self.pools.values()) * self.stages


def build_machine(system: System) -> Machine:
    """Build the pools and links of a system.

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
    return Machine(system.name, pools, links, roles, parallel=system.spec.parallel)
