"""Run one experiment: a function from an experiment to a ledger."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import simpy

from papisim.engine.arrivals import Arrivals, Progress
from papisim.engine.build import (
    Machine,
    build_batching,
    build_formats,
    build_kind,
    build_machine,
    build_placement,
    build_routing,
    build_workload,
    plan_memory,
)
from papisim.engine.drafting.base import DraftContext
from papisim.engine.faults import bring
from papisim.engine.ledger import Ledger
from papisim.engine.pipeline import build_planner
from papisim.engine.probe import Probe
from papisim.engine.replicas import Replicas
from papisim.engine.residents import Residents
from papisim.engine.server import Server
from papisim.engine.speculation import Speculator
from papisim.engine.step import StepPlanner
from papisim.engine.stepping import Stepper
from papisim.errors import PapisimError
from papisim.ops.trace import KernelTrace, read_trace
from papisim.spec.experiment import Experiment
from papisim.workloads.base import WorkloadSource

#: objects made before the youngest generation is searched for cycles; Python's own number is 700
_ALLOCATIONS = 50_000


@dataclass(frozen=True)
class Run:
    """A finished run: what was asked, the model and the machine, and what happened."""

    experiment: Experiment
    trace: KernelTrace
    machine: Machine
    ledger: Ledger


def simulate(
    experiment: Experiment,
    progress: Progress | None = None,
    probe: Probe | None = None,
    *,
    machine: Machine | None = None,
    planner: StepPlanner | None = None,
    source: WorkloadSource | None = None,
) -> Run:
    """Simulate an experiment.

    Args:
        experiment: what to run.
        progress: called when a request has ended, with how many have and the seconds simulated.
        probe: watches the run; see :class:`papisim.engine.probe.Probe`.
        machine: what :func:`build_machine` made of this experiment's system before, with the prices it remembers.
        planner: what :func:`planner_of` made of the same experiment's model, machine and placement before, with the
            layouts of steps it remembers.
        source: who asks, in place of the experiment's workload.

    Raises:
        InputError, InputErrors: the trace cannot be read.
        DoesNotFit: weights or a batch that must start together are larger than the memory they belong in.
    """
    trace = read_trace(experiment.trace.path).stored_as(build_formats(experiment.quantisation))
    machine = machine or build_machine(experiment.system)
    names = _server_names(machine.name, experiment.routing.replicas)
    keeps_rows = experiment.metrics == "exact"
    ledger = Ledger(machine.static_w, len(names), keeps_rows=keeps_rows, slo=experiment.slo)
    env = simpy.Environment()
    arrivals = Arrivals(env, source or build_workload(experiment), ledger, progress or (lambda ended, seconds: None))
    servers = [
        build_server(
            env,
            name,
            experiment,
            trace,
            machine=machine,
            arrivals=arrivals,
            ledger=ledger,
            probe=probe,
            planner=planner,
        )
        for name in names
    ]
    replicas = Replicas(servers, build_routing(experiment))
    arrivals.to(replicas.deliver, replicas.notify)
    bring(env, experiment.system.spec.fault, servers)
    with _few_collections():
        env.run()
    if ledger.in_system:
        raise PapisimError(f"{ledger.in_system} requests were never finished: the batching policy stopped admitting")
    return Run(experiment, trace, machine, ledger)


@contextmanager
def _few_collections() -> Iterator[None]:
    """Look for cycles of garbage seldom: a simulation mostly makes what it keeps, and the search costs a seventh of it."""
    thresholds = gc.get_threshold()
    gc.set_threshold(_ALLOCATIONS, *thresholds[1:])
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)


def _server_names(machine: str, count: int) -> list[str]:
    return [machine] if count == 1 else [f"{machine}[{index}]" for index in range(count)]


def planner_of(experiment: Experiment, trace: KernelTrace, machine: Machine) -> StepPlanner:
    """Make what turns steps of a model into phases on a machine, with the experiment's placement."""
    return build_planner(trace, machine, build_placement(experiment), seed=experiment.seed, fold=experiment.fold)


def build_server(
    env: simpy.Environment,
    name: str,
    experiment: Experiment,
    trace: KernelTrace,
    *,
    machine: Machine,
    arrivals: Arrivals,
    ledger: Ledger,
    probe: Probe | None,
    planner: StepPlanner | None = None,
) -> Server:
    """Make a server on a machine, with requests, KV cache and policies of its own.

    Several servers may share the clock, the arrivals and the ledger.
    """
    planner = planner or planner_of(experiment, trace, machine)
    context = DraftContext(machine, trace, planner, experiment.seed, experiment.fold)
    speculator = build_speculator(experiment, context)
    memory = plan_memory(machine, trace, speculator.source.demand, experiment.kv.utilisation_ratio)
    ledger.kv_capacity_bytes += memory.kv_capacity_bytes
    batching = build_batching(experiment)
    residents = Residents(machine, memory, experiment.kv, batching)
    stepper = Stepper(
        env,
        name,
        machine=machine,
        memory=memory,
        residents=residents,
        planner=planner,
        speculator=speculator,
        ledger=ledger,
        may_come=lambda: arrivals.may_come,
        fast_forward=experiment.fast_forward,
        probe=probe,
    )
    return Server(
        env,
        name,
        residents=residents,
        batching=batching,
        stepper=stepper,
        arrivals=arrivals,
        resources=machine.roles.resources,
    )


def build_speculator(experiment: Experiment, context: DraftContext) -> Speculator:
    """Make the speculation policy, the acceptance process and the draft source that an experiment names."""
    return Speculator(
        policy=build_kind("papisim.policies.speculation", "Speculation", experiment.speculation),
        acceptance=build_kind("papisim.workloads.acceptance", "Acceptance", experiment.acceptance, experiment.seed),
        source=build_kind("papisim.engine.drafting", "Source", experiment.drafting, context),
        verification=experiment.verification,
    )
