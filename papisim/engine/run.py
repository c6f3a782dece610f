"""Run one experiment: a function from an experiment to a ledger."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import simpy

from papisim.acceptance.base import ACCEPTANCE
from papisim.config.experiment import Experiment
from papisim.engine.arrivals import Arrivals, Progress
from papisim.engine.build import build_batching, build_routing, build_workload
from papisim.engine.disaggregation import Groups, HandOver
from papisim.engine.drafting.base import DRAFTING, DraftContext
from papisim.engine.faults import bring
from papisim.engine.overlap import Overlap
from papisim.engine.probe import Probe
from papisim.engine.queues import Residents
from papisim.engine.replicas import Replicas
from papisim.engine.runner import Stepper
from papisim.engine.server import Server
from papisim.engine.speculation import Speculator
from papisim.errors import InputError, PapisimError, did_you_mean
from papisim.ops.trace import KernelTrace, read_trace
from papisim.plan.build import build_formats, planner_of
from papisim.plan.machine import Machine, build_machine
from papisim.plan.memory import plan_memory
from papisim.plan.planner import Planner
from papisim.policies.batching.base import BatchingPolicy
from papisim.policies.batching.disaggregated import Options as DisaggregatedOptions
from papisim.policies.batching.disaggregated import Prefill
from papisim.policies.speculation.base import SPECULATION
from papisim.record.ledger import Ledger
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
    planner: Planner | None = None,
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
    keeps_rows = experiment.metrics == "exact"
    ledger = Ledger(machine.static_w, keeps_rows=keeps_rows, slo=experiment.slo)
    env = simpy.Environment()
    arrivals = Arrivals(env, source or build_workload(experiment), ledger, progress or (lambda ended, seconds: None))
    make = partial(
        build_server,
        env,
        experiment=experiment,
        trace=trace,
        machine=machine,
        arrivals=arrivals,
        ledger=ledger,
        probe=probe,
        planner=planner,
    )
    if isinstance(experiment.batching, DisaggregatedOptions):
        servers = _disaggregated(
            env, experiment, experiment.batching, make, machine=machine, arrivals=arrivals, ledger=ledger
        )
    else:
        names = _server_names(machine.name, experiment.routing.replicas)
        servers = [make(name) for name in names]
        replicas = Replicas(servers, build_routing(experiment))
        arrivals.to(replicas.deliver, replicas.notify)
    ledger.n_servers = len(servers)
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


def _disaggregated(
    env: simpy.Environment,
    experiment: Experiment,
    options: DisaggregatedOptions,
    make: Callable[..., Server],
    *,
    machine: Machine,
    arrivals: Arrivals,
    ledger: Ledger,
) -> list[Server]:
    """Make the servers of both groups and let requests arrive at them.

    Raises:
        InputError: the link is unknown, or there are replicas besides.
    """
    if experiment.routing.replicas > 1:
        raise InputError("routing.replicas: disaggregated batching says itself how many machines there are")
    link = machine.links.get(options.link)
    if link is None:
        hint = did_you_mean(options.link, machine.links)
        raise InputError(f"batching.link: no link '{options.link}' in {machine.name}; {hint}")
    groups = Groups(env, ledger, link)
    prefill = [
        make(name, batching=Prefill(options), hand_over=groups.hand_over)
        for name in _group(machine.name, "prefill", options.prefill_machines)
    ]
    decode = [make(name, may_come=lambda: True) for name in _group(machine.name, "decode", options.decode_machines)]
    groups.serve(prefill, decode)
    arrivals.to(groups.deliver, groups.notify)
    return [*prefill, *decode]


def _group(machine: str, group: str, count: int) -> list[str]:
    return [f"{machine}.{group}[{index}]" for index in range(count)]


def _server_names(machine: str, count: int) -> list[str]:
    return [machine] if count == 1 else [f"{machine}[{index}]" for index in range(count)]


def build_server(
    env: simpy.Environment,
    name: str,
    *,
    experiment: Experiment,
    trace: KernelTrace,
    machine: Machine,
    arrivals: Arrivals,
    ledger: Ledger,
    probe: Probe | None,
    planner: Planner | None = None,
    batching: BatchingPolicy | None = None,
    may_come: Callable[[], bool] | None = None,
    hand_over: HandOver | None = None,
) -> Server:
    """Make a server on a machine, with requests, KV cache and policies of its own.

    Several servers may share the clock, the arrivals and the ledger.

    Args:
        env: the simulation's clock.
        name: of the server.
        experiment: what its policies are.
        trace: the model.
        machine: the hardware.
        arrivals: where requests come from.
        ledger: where everything is written down.
        probe: watches, if given.
        planner: turns steps into phases; made here, if None.
        batching: who admits; the experiment's policy, if None.
        may_come: tells whether requests may still come to it; as arrivals do, if None.
        hand_over: takes requests whose prompts are complete to where they decode; here, if None.
    """
    planner = planner or planner_of(experiment, trace, machine)
    context = DraftContext(machine, trace, planner, experiment.seed)
    speculator = build_speculator(experiment, context)
    memory = plan_memory(machine, trace, speculator.source.demand, experiment.kv.utilisation_ratio)
    ledger.kv_capacity_bytes += memory.kv_capacity_bytes
    batching = batching or build_batching(experiment)
    residents = Residents(machine, memory, experiment.kv, batching)
    stepper = Stepper(
        env,
        name,
        machine=machine,
        memory=memory,
        residents=residents,
        planner=planner,
        speculator=speculator,
        overlap=Overlap(experiment.overlap, planner, machine, trace.model),
        ledger=ledger,
        may_come=may_come or (lambda: arrivals.may_come),
        fast_forward=experiment.fast_forward,
        fold=experiment.fold,
        probe=probe,
        hand_over=hand_over and partial(hand_over, memory.kv_token_bytes),
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
        policy=SPECULATION.build(experiment.speculation),
        acceptance=ACCEPTANCE.build(experiment.acceptance, experiment.seed),
        source=DRAFTING.build(experiment.drafting, context),
        verification=experiment.verification,
    )
