"""From an experiment's values to the policies and the workload that a simulation runs."""

from __future__ import annotations

from papisim.catalog import build_kind
from papisim.config.experiment import Experiment
from papisim.policies.batching.base import BatchingPolicy
from papisim.policies.routing.base import RoutingPolicy
from papisim.workloads.base import WorkloadSource


def build_batching(experiment: Experiment) -> BatchingPolicy:
    """Make the batching policy that an experiment names."""
    policy: BatchingPolicy = build_kind("papisim.policies.batching", "Batching", experiment.batching)
    return policy


def build_routing(experiment: Experiment) -> RoutingPolicy:
    """Make the routing policy that an experiment names."""
    policy: RoutingPolicy = build_kind("papisim.policies.routing", "Routing", experiment.routing)
    return policy


def build_workload(experiment: Experiment) -> WorkloadSource:
    """Make the workload that an experiment names."""
    workload: WorkloadSource = build_kind("papisim.workloads", "Workload", experiment.workload, experiment.seed)
    return workload
