"""Run one experiment: a function from an experiment to a ledger."""

from __future__ import annotations

from dataclasses import dataclass

import simpy

from papisim.engine.build import Machine, build_machine, build_policies, build_workload, plan_memory
from papisim.engine.ledger import Ledger
from papisim.engine.server import Progress, Server
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


def simulate(experiment: Experiment, progress: Progress | None = None) -> Run:
    """Simulate an experiment.

    Args:
        experiment: what to run.
        progress: called after each step with the tokens emitted so far and the seconds simulated.

    Raises:
        InputError, InputErrors: the trace cannot be read.
        DoesNotFit: weights or KV caches are larger than the memory they belong in.

    """
    trace = read_trace(experiment.trace.path)
    machine = build_machine(experiment.system)
    policies = build_policies(experiment)
    memory = plan_memory(machine, trace)
    planner = StepPlanner(trace, machine, policies.placement, seed=experiment.seed, fold=experiment.fold)
    ledger = Ledger(kv_capacity_bytes=memory.kv_capacity_bytes)
    env = simpy.Environment()
    server = Server(
        env,
        machine,
        memory=memory,
        planner=planner,
        policies=policies,
        ledger=ledger,
        progress=progress or (lambda tokens, seconds: None),
    )
    env.process(server.arrivals(build_workload(experiment)))
    env.process(server.serve())
    env.run()
    unfinished = sum(row.emitted_tokens != row.output_tokens for row in ledger.requests)
    if unfinished:
        raise PapisimError(f"{unfinished} requests were never finished: the batching policy stopped admitting")
    return Run(experiment, trace, machine, ledger)
