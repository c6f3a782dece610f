"""Run one experiment: a function from an experiment to a ledger."""

from __future__ import annotations

from dataclasses import dataclass

import simpy

from papisim.engine.build import (
    Machine,
    build_batching,
    build_formats,
    build_kind,
    build_machine,
    build_placement,
    build_workload,
    plan_memory,
)
from papisim.engine.drafting.base import DraftContext
from papisim.engine.ledger import Ledger
from papisim.engine.probe import Probe
from papisim.engine.server import Progress, Server
from papisim.engine.speculation import Speculator
from papisim.engine.step import StepPlanner
from papisim.errors import PapisimError
from papisim.ops.trace import KernelTrace, read_trace
from papisim.spec.experiment import Experiment


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
) -> Run:
    """Simulate an experiment.

    Args:
        experiment: what to run.
        progress: called after each step with the tokens emitted so far and the seconds simulated.
        probe: watches the run; see :class:`papisim.engine.probe.Probe`.
        machine: what :func:`build_machine` made of this experiment's system before, with the prices it remembers.

    Raises:
        InputError, InputErrors: the trace cannot be read.
        DoesNotFit: weights or KV caches are larger than the memory they belong in.
    """
    trace = read_trace(experiment.trace.path).stored_as(build_formats(experiment.quantisation))
    machine = machine or build_machine(experiment.system)
    placement = build_placement(experiment)
    planner = StepPlanner(trace, machine, placement, seed=experiment.seed, fold=experiment.fold)
    context = DraftContext(machine, trace, planner, experiment.seed, experiment.fold)
    speculator = build_speculator(experiment, context)
    memory = plan_memory(machine, trace, speculator.source.demand)
    ledger = Ledger(kv_capacity_bytes=memory.kv_capacity_bytes)
    env = simpy.Environment()
    server = Server(
        env,
        machine,
        memory=memory,
        planner=planner,
        batching=build_batching(experiment),
        speculator=speculator,
        ledger=ledger,
        progress=progress or (lambda tokens, seconds: None),
        probe=probe,
    )
    env.process(server.arrivals(build_workload(experiment)))
    env.process(server.serve())
    env.run()
    unfinished = sum(row.emitted_tokens != row.output_tokens for row in ledger.requests)
    if unfinished:
        raise PapisimError(f"{unfinished} requests were never finished: the batching policy stopped admitting")
    return Run(experiment, trace, machine, ledger)


def build_speculator(experiment: Experiment, context: DraftContext) -> Speculator:
    """Make the speculation policy, the acceptance process and the draft source that an experiment names."""
    return Speculator(
        policy=build_kind("papisim.policies.speculation", "Speculation", experiment.speculation),
        acceptance=build_kind("papisim.workloads.acceptance", "Acceptance", experiment.acceptance, experiment.seed),
        source=build_kind("papisim.engine.drafting", "Source", experiment.drafting, context),
        verification=experiment.verification,
    )
