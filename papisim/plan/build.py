"""From an experiment to what plans its steps: the placement policy and the planner."""

from __future__ import annotations

from papisim.config.experiment import Experiment
from papisim.ops.trace import KernelTrace
from papisim.plan.machine import Machine
from papisim.plan.pipeline import build_planner
from papisim.plan.step import StepPlanner
from papisim.policies.placement.base import PLACEMENT, PlacementPolicy


def build_placement(experiment: Experiment) -> PlacementPolicy:
    """Make the placement policy of an experiment's machine."""
    return PLACEMENT.build(experiment.system.placement)


def planner_of(experiment: Experiment, trace: KernelTrace, machine: Machine) -> StepPlanner:
    """Make what turns steps of a model into phases on a machine, with the experiment's placement."""
    return build_planner(trace, machine, build_placement(experiment), seed=experiment.seed, fold=experiment.fold)
