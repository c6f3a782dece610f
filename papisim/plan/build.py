"""From an experiment to whatever plans its steps: the formats, the placement policy and the planner."""

from __future__ import annotations

from papisim.config.engine import CAPTURED, EngineSpec
from papisim.config.experiment import Experiment
from papisim.config.experts import BALANCED, ExpertsSpec
from papisim.config.quantisation import AS_TRACED_BITS, QuantisationSpec
from papisim.errors import InputError
from papisim.ops.formats import Formats, Packed
from papisim.ops.trace import KernelTrace
from papisim.plan.machine import Machine
from papisim.plan.pipeline import PipelinePlanner
from papisim.plan.planner import Planner
from papisim.plan.step import StepPlanner
from papisim.policies.placement.base import PLACEMENT, PlacementPolicy


def build_formats(quantisation: QuantisationSpec) -> Formats:
    """Return the formats in which an experiment stores its model."""

    def packed(bits: int) -> Packed | None:
        return None if bits == AS_TRACED_BITS else Packed(bits, quantisation.group, quantisation.scale_bits)

    input_bits = None if quantisation.activation_bits == AS_TRACED_BITS else quantisation.activation_bits
    return Formats(packed(quantisation.weight_bits), packed(quantisation.kv_bits), input_bits)


def build_placement(experiment: Experiment) -> PlacementPolicy:
    """Build the placement policy of an experiment's machine."""
    return PLACEMENT.build(experiment.system.placement)


def build_planner(
    trace: KernelTrace,
    machine: Machine,
    placement: PlacementPolicy,
    *,
    seed: int,
    engine: EngineSpec = CAPTURED,
    most_rows: int | None = None,
    experts: ExpertsSpec = BALANCED,
) -> Planner:
    """Build the planner of a model's steps on a machine, in a pipeline if the machine has one.

    Args:
        trace: the model.
        machine: the hardware.
        placement: the placement of FC kernels of decoding steps.
        seed: seed of the experts' router.
        engine: the engine.
        most_rows: token-rows of a full batch, drafts included; None if unknown.
        experts: choices of the router of a mixture of experts.
    """
    machine = machine.paced(engine.kernels)
    pipeline = machine.roles.pipeline
    planner = StepPlanner(trace, machine, placement, seed=seed, engine=engine, most_rows=most_rows, experts=experts)
    if pipeline is not None and pipeline.stages > trace.model.n_layers:
        raise InputError(
            f"found {pipeline.stages}, expected at most the {trace.model.n_layers} layers of {trace.name}",
            field="roles.pipeline.stages",
        )
    return planner if pipeline is None else PipelinePlanner(planner, machine, trace.model, pipeline)


def planner_of(experiment: Experiment, trace: KernelTrace, machine: Machine) -> Planner:
    """Build the planner of a model's steps on a machine, with the experiment's placement and engine."""
    return build_planner(
        trace,
        machine,
        build_placement(experiment),
        seed=experiment.seed,
        engine=experiment.engine,
        most_rows=experiment.most_rows,
        experts=experiment.experts,
    )
