"""From an experiment's values to the policies, the workload and the servers of a simulation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial

import simpy

from papisim.acceptance.base import ACCEPTANCE
from papisim.config.experiment import Experiment
from papisim.engine.arrivals import Arrivals
from papisim.engine.asynchronous import Asynchronous, check_schedule
from papisim.engine.boards import Boards
from papisim.engine.clock import StepClock
from papisim.engine.disaggregation import HandOver
from papisim.engine.drafting.base import DRAFTING, DraftContext, SerialDrafting, SerialOptions
from papisim.engine.host import Host
from papisim.engine.iterations import IterationStrategy, choose_strategy
from papisim.engine.log import StepLog
from papisim.engine.moving import Mover
from papisim.engine.overlap import Overlap
from papisim.engine.pages import KvPages
from papisim.engine.prefix import PrefixCache
from papisim.engine.probe import Probe
from papisim.engine.queues import ServerQueues
from papisim.engine.runner import StepRunner
from papisim.engine.scheduling import Scheduling
from papisim.engine.server import Server
from papisim.engine.speculation import Speculator
from papisim.engine.tiers import Tiers
from papisim.errors import NotModelled
from papisim.ops.held import HeldBytes
from papisim.ops.lower import Prompts, chunk_lengths, held_bytes
from papisim.ops.trace import KernelTrace
from papisim.plan.build import planner_of
from papisim.plan.holding import Cost, Holding
from papisim.plan.homes import Homes
from papisim.plan.machine import Machine
from papisim.plan.memory import MemoryPlan, plan_memory
from papisim.plan.planner import Planner
from papisim.plan.step import StepPlanner
from papisim.policies.batching.base import BATCHING, BatchingPolicy
from papisim.policies.placement.base import PlacementPolicy
from papisim.policies.routing.base import ROUTING, RoutingPolicy
from papisim.policies.speculation.base import SPECULATION
from papisim.record.ledger import Ledger
from papisim.record.overheads import Overheads
from papisim.record.reuse import Reuse
from papisim.workloads.base import WORKLOAD, WorkloadOptions, WorkloadSource


def build_batching(experiment: Experiment) -> BatchingPolicy:
    """Build the batching policy that an experiment names."""
    return BATCHING.build(experiment.batching)


def build_routing(experiment: Experiment) -> RoutingPolicy:
    """Build the routing policy that an experiment names."""
    return ROUTING.build(experiment.routing)


def build_workload(experiment: Experiment) -> WorkloadSource:
    """Build the workload that an experiment names."""
    return WORKLOAD.build(experiment.workload, experiment.seed)


def client_of(experiment: Experiment) -> WorkloadOptions:
    """Return the options of an experiment's workload that every workload has: those of its client."""
    assert isinstance(experiment.workload, WorkloadOptions)
    return experiment.workload


def build_speculator(experiment: Experiment, context: DraftContext) -> Speculator:
    """Build the speculation policy, the acceptance process and the draft source that an experiment names."""
    return Speculator(
        policy=SPECULATION.build(experiment.speculation),
        acceptance=ACCEPTANCE.build(experiment.acceptance, experiment.seed),
        source=DRAFTING.build(experiment.drafting, context),
        verification=experiment.verification,
        host=build_host(experiment, context.planner, context.machine),
        decision_s=experiment.system.spec.scheduler.decision_s,
    )


def build_host(experiment: Experiment, planner: Planner, machine: Machine) -> Host:
    """Build the host of a server on a machine."""
    return Host(experiment.engine.host, planner.graphs, machine.stages)


@dataclass(frozen=True)
class ServerFactory:
    """Builds the servers of a simulation: equal machines that share the clock, the arrivals and the ledger.

    Attributes:
        env: the simulation's clock.
        experiment: the policies.
        trace: the model.
        machine: the hardware.
        planner: turns steps into phases.
        arrivals: where requests come from.
        ledger: records steps and requests.
        probe: watches the run, if given.
        placement: places operators of drafting that have several devices.
    """

    env: simpy.Environment
    experiment: Experiment
    trace: KernelTrace
    machine: Machine
    planner: Planner
    arrivals: Arrivals
    ledger: Ledger
    probe: Probe | None
    placement: PlacementPolicy

    def build(
        self,
        name: str,
        *,
        batching: BatchingPolicy | None = None,
        may_come: Callable[[], bool] | None = None,
        hand_over: HandOver | None = None,
    ) -> Server:
        """Build a server with requests, a KV cache and policies of its own.

        Args:
            name: name of the server.
            batching: the batching policy; the experiment's, if None.
            may_come: tells whether requests may still arrive; as arrivals do, if None.
            hand_over: takes requests with complete prompts to where they decode; here, if None.

        Raises:
            DoesNotFit: the weights are larger than the memory that they belong in.
            NotModelled: the experiment combines what is not modelled together.
        """
        experiment, machine, planner = self.experiment, self.machine, self._planner()
        speculator = build_speculator(experiment, self._draft_context(planner))
        memory = self._memory(speculator, machine)
        self.ledger.kv_capacity_bytes += memory.kv_capacity_bytes
        batching = batching or build_batching(experiment)
        model = self.trace.model
        refuses = model.learned_positions and experiment.kv.beyond_positions == "refuse"
        positions = model.max_positions if refuses else None
        prefixes, tiers = self._prefixes(memory.held)
        whole = batching.reserves_whole
        pages = KvPages(experiment.kv, memory, reserves_whole=whole, prefixes=prefixes, tiers=tiers)
        queues = ServerQueues(machine, memory, experiment.kv, batching, pages, positions=positions)
        timeout_s = client_of(experiment).timeout_s
        runner = StepRunner(
            StepClock(self.env),
            StepLog(name, self.ledger, self.probe),
            queues,
            planner,
            self._strategy(speculator, planner),
            host=build_host(experiment, planner, machine),
            scheduling=self._scheduling(planner, speculator, queues),
            boards=Boards(machine),
            fold=experiment.fold,
            may_come=may_come or (lambda: self.arrivals.may_come),
            may_time_out=timeout_s is not None,
            hand_over=hand_over and partial(hand_over, held_bytes(self.trace)),
        )
        return Server(
            self.env,
            name,
            queues=queues,
            batching=batching,
            runner=runner,
            arrivals=self.arrivals,
            resources=machine.roles.resources,
            timeout_s=timeout_s,
        )

    def _states(self) -> int:
        """Return the states that are kept of each request and layer: one, and one after each draft of the longest."""
        longest: int | None = getattr(self.experiment.speculation, "longest", None)
        if longest is None and held_bytes(self.trace).state_bytes:
            raise NotModelled(
                f"speculation '{self.experiment.speculation.kind}' on {self.trace.name}: its layers keep a state after each draft, but the "
                "options set no longest draft that room could be planned for; choose a policy with a longest draft, such as fixed"
            )
        return 1 + (longest or 0)

    def _prefixes(self, held: HeldBytes) -> tuple[PrefixCache | None, Tiers | None]:
        """Build the prefix cache of a server and the tiers below it; None where there is none.

        Raises:
            NotModelled: the model forgets tokens, or keeps states.
            InputError: a tier has no room for a single block.
        """
        kv = self.experiment.kv
        if kv.prefix_cache.kind == "off":
            return None, None
        if not held.grows_alike:
            raise NotModelled(
                f"kv.prefix_cache of {self.trace.name}: reuse of caches that keep a window of tokens, or of states, is not modelled"
            )
        self.ledger.reuse = self.ledger.reuse or Reuse(kv.block_tokens, tuple(tier.name for tier in kv.tiers))
        tiers = Tiers(
            kv.tiers,
            self.machine.links,
            block_bytes=kv.block_tokens * held.token_bytes,
            block_tokens=kv.block_tokens,
            prefill_s=self._prefill_s,
            ledger=self.ledger,
        )
        cache = PrefixCache(kv.prefix_cache.eviction, kv.block_tokens, self.ledger.reuse_now, tiers.rooms)
        return cache, tiers if kv.tiers else None

    def _prefill_s(self, cached: int, tokens: int) -> float:
        """Return the seconds of a step that computes the rest of a prompt and nothing else."""
        prompts = Prompts(chunk_lengths([(cached, tokens)]), 1)
        return self.planner.work(prompts.shape, None, prompts.lengths).time_s

    def _draft_context(self, planner: Planner) -> DraftContext:
        experiment = self.experiment
        return DraftContext(self.machine, self.trace, planner, experiment.seed, experiment.engine, self.placement)

    def _memory(self, speculator: Speculator, machine: Machine) -> MemoryPlan:
        """Return the room for the KV caches of a server on a machine."""
        demands, usable, states = speculator.source.demands, self.experiment.kv.utilisation_ratio, self._states()
        return plan_memory(machine, self.trace, demands, usable, states, expert_copies=self.experiment.experts.copies)

    @cached_property
    def _homes(self) -> dict[str, Machine]:
        """The machine with the caches at each further home, by the device that attends to them there."""
        return {device: self.machine.with_caches_at(device) for device in self.machine.roles.kv_elsewhere}

    @cached_property
    def _planners(self) -> dict[str, Planner]:
        moved = {
            device: planner_of(self.experiment, self.trace, machine, self.placement)
            for device, machine in self._homes.items()
        }
        return {self.machine.roles.attention: self.planner, **moved}

    def _planner(self) -> Planner:
        """Return the planner of a server: one that follows its caches, if these may move.

        Raises:
            NotModelled: the experiment combines moving caches with what is not modelled beside it.
        """
        if not self._homes:
            return self._holding(self.planner)
        if self.experiment.kv.prefix_cache.kind != "off" or self.experiment.overlap.kind != "off":
            raise NotModelled("caches that move (roles.kv_elsewhere) with a prefix cache or overlap")
        return Homes({device: self._holding(planner) for device, planner in self._planners.items()})

    def _holding(self, planner: Planner) -> Planner:
        """Return a planner that keeps operators where they are until moving them pays, if the scheduler is to weigh that."""
        spec = self.experiment.system.spec.scheduler
        if not spec.switch_s or spec.horizon_iterations is None:
            return planner
        if not isinstance(planner, StepPlanner) or self.experiment.overlap.kind != "off":
            raise NotModelled("operators that are held (scheduler.horizon_iterations) in a pipeline or with overlap")
        return Holding(planner, Cost(spec.switch_s, spec.horizon_iterations))

    def _scheduling(self, planner: Planner, speculator: Speculator, queues: ServerQueues) -> Scheduling:
        spec, mover = self.experiment.system.spec.scheduler, None
        if not spec.is_free:
            self.ledger.overheads = self.ledger.overheads or Overheads()
        if isinstance(planner, Homes) and spec.horizon_iterations is not None:
            machines = {self.machine.roles.attention: self.machine, **self._homes}
            memories = {device: self._memory(speculator, machine) for device, machine in machines.items()}
            horizon = spec.horizon_iterations
            machine = self.machine.paced(self.experiment.engine.kernels)
            mover = Mover(planner, memories, queues, machine, horizon_iterations=horizon, ledger=self.ledger)
        return Scheduling(spec, self.ledger, planner, mover)

    def _strategy(self, speculator: Speculator, planner: Planner) -> IterationStrategy:
        overlap = Overlap(self.experiment.overlap, planner, self.machine, self.trace)
        drafting, source = self.experiment.drafting, speculator.source
        if isinstance(drafting, SerialOptions) and drafting.schedule.kind != "synchronous":
            check_schedule(drafting.schedule, self.machine, overlap)
            if speculator.policy.steady_tlp != 1:  # without drafts there is nothing to schedule
                assert isinstance(source, SerialDrafting)
                arbitration = self.machine.roles.arbitration
                exclusive = frozenset[str]() if arbitration is None else arbitration.exclusive
                return Asynchronous(speculator, source, drafting.schedule, exclusive)
        return choose_strategy(
            planner,
            speculator,
            overlap,
            fast_forward=self.experiment.fast_forward,
            is_watched=self.probe is not None,
        )
