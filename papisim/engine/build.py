"""From an experiment's values to the policies and the workload that a simulation runs."""

from __future__ import annotations

from papisim.config.experiment import Experiment
from papisim.policies.batching.base import BATCHING, BatchingPolicy
from papisim.policies.routing.base import ROUTING, RoutingPolicy
from papisim.workloads.base import WORKLOAD, WorkloadSource


def build_batching(experiment: Experiment) -> BatchingPolicy:
    """Make the batching policy that an experiment names."""
    return BATCHING.build(experiment.batching)


def build_routing(experiment: Experiment) -> RoutingPolicy:
    """Make the routing policy that an experiment names."""
    return ROUTING.build(experiment.routing)


def build_workload(experiment: Experiment) -> WorkloadSource:
    """Make the workload that an experiment names."""
    return WORKLOAD.build(experiment.workload, experiment.seed)
