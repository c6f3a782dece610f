"""Run one experiment: a function from an experiment to a ledger."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import simpy

from papisim.config.experiment import Experiment
from papisim.engine.agreement import check_agreement
from papisim.engine.arrivals import Arrivals, Progress
from papisim.engine.build import ServerFactory, build_routing, build_workload, client_of
from papisim.engine.disaggregation import Groups
from papisim.engine.faults import inject
from papisim.engine.probe import Probe
from papisim.engine.replicas import Replicas
from papisim.engine.server import Server
from papisim.errors import InputError, PapisimError, did_you_mean
from papisim.ops.trace import KernelTrace, read_trace
from papisim.plan.build import build_formats, build_placement, planner_of
from papisim.plan.machine import Machine, build_machine
from papisim.plan.planner import Planner
from papisim.policies.batching.disaggregated import Options as DisaggregatedOptions
from papisim.policies.batching.disaggregated import Prefill
from papisim.policies.placement.base import PlacementPolicy
from papisim.record.ledger import Ledger
from papisim.record.users import Users
from papisim.workloads.base import ClosedLoop, WorkloadSource

#: objects made before the youngest generation is searched for cycles; Python's own number is 700
_ALLOCATIONS = 50_000


@dataclass(frozen=True)
class Run:
    """A finished run: the experiment, the model, the machine, the ledger of what happened, and notes on the engine's kernels."""

    experiment: Experiment
    trace: KernelTrace
    machine: Machine
    ledger: Ledger
    notes: tuple[str, ...] = ()


def simulate(
    experiment: Experiment,
    progress: Progress | None = None,
    probe: Probe | None = None,
    *,
    machine: Machine | None = None,
    planner: Planner | None = None,
    source: WorkloadSource | None = None,
    placement: PlacementPolicy | None = None,
) -> Run:
    """Simulate an experiment.

    Args:
        experiment: the experiment.
        progress: called when a request has ended, with the number of ended requests and the simulated seconds.
        probe: watches the run; see :class:`papisim.engine.probe.Probe`.
        machine: the machine that :func:`build_machine` made of the experiment's system before, with the prices it remembers.
        planner: the planner that :func:`planner_of` made of the experiment's model, machine and placement before, with the
            layouts it remembers.
        source: the workload, in place of the experiment's.
        placement: the placement policy, in place of the experiment's; ``planner`` has its own.

    Raises:
        InputError: the trace cannot be read, or sections of the experiment contradict one another.
        InputErrors: the trace has several mistakes.
        DoesNotFit: weights or a batch that must start together are larger than the memory they belong in.
    """
    trace = read_trace(experiment.trace.path).stored_as(build_formats(experiment.quantisation))
    check_agreement(experiment, trace)
    machine = machine or build_machine(experiment.system)
    ledger = Ledger(machine.static_w, keeps_rows=experiment.metrics == "exact", slo=experiment.slo)
    ledger.max_positions = trace.model.max_positions
    ledger.warmup_requests = client_of(experiment).warmup_requests
    env = simpy.Environment()
    source = source or build_workload(experiment)
    if isinstance(source, ClosedLoop):
        ledger.users = Users(sum(1 for _ in source))
    arrivals = Arrivals(env, source, ledger, progress or (lambda ended, seconds: None))
    placement = placement or build_placement(experiment)
    planner = planner or planner_of(experiment, trace, machine, placement)
    factory = ServerFactory(env, experiment, trace, machine, planner, arrivals, ledger, probe, placement)
    if isinstance(experiment.batching, DisaggregatedOptions):
        servers = _disaggregated(factory, experiment.batching)
    else:
        servers = _replicated(factory)
    ledger.n_servers = len(servers)
    inject(env, experiment.system.spec.fault, servers)
    with _few_collections():
        env.run()
    if ledger.unfinished:
        raise PapisimError(f"{ledger.unfinished} requests were never finished: the batching policy stopped admitting")
    return Run(experiment, trace, machine, ledger, planner.notes)


@contextmanager
def _few_collections() -> Iterator[None]:
    """Search for garbage cycles seldom: a simulation mostly makes what it keeps, and the search costs a seventh of it."""
    thresholds = gc.get_threshold()
    gc.set_threshold(_ALLOCATIONS, *thresholds[1:])
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)


def _replicated(factory: ServerFactory) -> list[Server]:
    """Build equal servers behind a router, and let requests arrive there."""
    name, count = factory.machine.name, factory.experiment.routing.replicas
    servers = [factory.build(each) for each in ([name] if count == 1 else _numbered(name, count))]
    replicas = Replicas(servers, build_routing(factory.experiment))
    factory.arrivals.start(replicas.deliver, replicas.notify)
    return servers


def _disaggregated(factory: ServerFactory, options: DisaggregatedOptions) -> list[Server]:
    """Build the servers of both groups, and let requests arrive there.

    Raises:
        InputError: the link is unknown, or there are replicas besides.
    """
    machine = factory.machine
    if factory.experiment.routing.replicas > 1:
        raise InputError("routing.replicas: disaggregated batching says itself how many machines there are")
    link = machine.links.get(options.link)
    if link is None:
        hint = did_you_mean(options.link, machine.links)
        raise InputError(f"batching.link: no link '{options.link}' in {machine.name}; {hint}")
    groups = Groups(factory.env, factory.ledger, link)
    prefill = [
        factory.build(name, batching=Prefill(options), hand_over=groups.hand_over)
        for name in _numbered(f"{machine.name}.prefill", options.prefill_machines)
    ]
    decode = [
        factory.build(name, may_come=lambda: True)
        for name in _numbered(f"{machine.name}.decode", options.decode_machines)
    ]
    groups.serve(prefill, decode)
    factory.arrivals.start(groups.deliver, groups.notify)
    return [*prefill, *decode]


def _numbered(name: str, count: int) -> list[str]:
    return [f"{name}[{index}]" for index in range(count)]
