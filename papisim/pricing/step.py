"""The price of a whole decode iteration on devices of one part, as an engine runs it; all-reduces are not counted."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from papisim.config.engine import EngineSpec
from papisim.config.system import PrefillRoles, Roles, TensorParallel
from papisim.devices.base import DevicePool
from papisim.engine.boards import Boards
from papisim.engine.host import Host, StepSize
from papisim.ops.kernel import KernelClass, Linear
from papisim.ops.lower import decode_lengths, decode_shape
from papisim.ops.trace import KernelTrace, Point
from papisim.plan.layout import StepLayout
from papisim.plan.machine import Machine
from papisim.plan.phase import Message, Phase, Work, seconds
from papisim.plan.step import StepPlanner
from papisim.policies.placement.pinned import Options as PinnedOptions
from papisim.policies.placement.pinned import Placement as Pinned


@dataclass(frozen=True)
class ClassPrice:
    """The kernels of one class in one iteration: their number, time and energy above idle."""

    kernel_class: KernelClass
    n_kernels: int
    time_s: float
    energy_j: float


@dataclass(frozen=True)
class StepPrice:
    """One decode iteration.

    Attributes:
        classes: kernels by class, longest first.
        devices_s: time of all kernels, which follow one another, and of the gaps between them.
        host_s: time of the engine's host.
        time_s: duration: that of the devices, and of the host as far as they do not hide it.
        energy_j: energy of all kernels, and idle power over ``time_s``.
        outside: kernels outside the range of the fit, priced by physics alone.
        notes: kernels that the engine merges and the model's cannot be.
    """

    classes: tuple[ClassPrice, ...]
    devices_s: float
    host_s: float
    time_s: float
    energy_j: float
    outside: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def n_kernels(self) -> int:
        """Kernels launched."""
        return sum(each.n_kernels for each in self.classes)


def price_step(pool: DevicePool, trace: KernelTrace, point: Point, engine: EngineSpec, seed: int = 0) -> StepPrice:
    """Price one decode iteration.

    Args:
        pool: the devices.
        trace: the model.
        point: requests, new tokens per request, and cached tokens per request before the step.
        engine: the engine.
        seed: seed of the experts' router, as of a run.
    """
    rlp, rows = point.rlp, point.rlp * point.tlp
    planner = StepPlanner(trace, _alone(pool), _pinned(pool), seed=seed, engine=engine)
    lengths = decode_lengths(rlp, point.tlp, rlp * point.kv, point.kv)
    phases = planner.in_order(decode_shape(rlp, rows), lengths, None, fold=False)
    host, size, devices_s = Host(engine.host, planner.graphs), StepSize(rlp, rows, drafts=rows - rlp), seconds(phases)
    own = host.phases(size, StepLayout(), phases)
    wall_s = devices_s + seconds(own) - host.hidden_s(size, own, devices_s)
    slowed = Boards(_alone(pool)).phases(StepLayout(), phases, wall_s)
    devices_s += seconds(slowed)
    time_s = devices_s + seconds(own) - host.hidden_s(size, own, devices_s)
    classes = _classes(pool, phases, counts_splits=engine.fusion.kernels == "captured")
    energy_j = sum(phase.energy.total_j * phase.repeats for phase in (*phases, *slowed)) + pool.static_w * time_s
    outside = {
        f"{_name(work)}: {work.outside}" for phase in phases for work in phase.work if work.outside is not None
    }
    return StepPrice(classes, devices_s, seconds(own), time_s, energy_j, tuple(sorted(outside)), planner.notes)


def _alone(pool: DevicePool) -> Machine:
    """Return a machine whose devices do everything."""
    name = pool.name
    roles = Roles(
        fc=[name], attention=name, elementwise=name, prefill=PrefillRoles(fc=name, attention=name), weights=name, kv=name,
        tensor_parallel=TensorParallel(ranks=1, link="none"),
    )  # fmt: skip
    return Machine(name, {name: pool}, {}, roles)


def _pinned(pool: DevicePool) -> Pinned:
    return Pinned(PinnedOptions(kind="pinned", device=pool.name))


def _classes(pool: DevicePool, phases: Iterable[Phase], *, counts_splits: bool) -> tuple[ClassPrice, ...]:
    """Return the kernels by class, those counted that add up partial results, if the libraries' choices are the engine's."""
    launches = cache(pool.launches)
    totals: dict[KernelClass, tuple[int, float, float]] = defaultdict(lambda: (0, 0.0, 0.0))
    for phase in phases:
        for work in phase.work:  # gaps between kernels have none
            assert not isinstance(work.item, Message), "of one part alone"
            n, time_s, energy_j = totals[work.item.kernel_class]
            launched = work.kernels * phase.repeats * (launches(work.item) if counts_splits else 1)
            added = n + launched, time_s + phase.total_s, energy_j + phase.energy.total_j * phase.repeats
            totals[work.item.kernel_class] = added
    return tuple(sorted((ClassPrice(name, *total) for name, total in totals.items()), key=lambda each: -each.time_s))


def _name(work: Work) -> str:
    """Return the name of a kernel in remarks: its role, or its class."""
    item = work.item
    if isinstance(item, Linear):
        return item.role.value
    return "message" if isinstance(item, Message) else item.kernel_class.value
