"""From an experiment to whatever plans its steps: the formats, the placement policy and the planner."""

from __future__ import annotations

from papisim.config.engine import CAPTURED, EngineSpec
from papisim.config.experiment import Experiment
from papisim.config.experts import BALANCED, ExpertsSpec
from papisim.config.quantisation import AS_TRACED_BITS, QuantisationSpec, WeightSpec
from papisim.errors import InputError
from papisim.ops.formats import Formats, Packed, WeightFormat, WeightRole
from papisim.ops.trace import KernelTrace
from papisim.plan.machine import Machine
from papisim.plan.pipeline import PipelinePlanner
from papisim.plan.planner import Planner
from papisim.plan.sharing import check_model, refuse_shares
from papisim.plan.step import StepPlanner
from papisim.policies.placement.base import PLACEMENT, PlacementPolicy


def build_formats(quantisation: QuantisationSpec) -> Formats:
    """Return the formats in which an experiment stores its model."""
    of_kv = quantisation.kv_group, quantisation.kv_scale_bits
    group, scale_bits = (
        common if own is None else own
        for own, common in zip(of_kv, (quantisation.group, quantisation.scale_bits), strict=True)
    )
    kv = None if quantisation.kv_bits == AS_TRACED_BITS else Packed(quantisation.kv_bits, group, scale_bits)
    roles = ((role, getattr(quantisation, role.value)) for role in WeightRole)
    named = tuple((role, _weight_format(spec)) for role, spec in roles if spec is not None)
    weights, input_bits = _weight_format(quantisation)
    return Formats(weights, kv, input_bits, named)


def _weight_format(spec: QuantisationSpec | WeightSpec) -> WeightFormat:
    packed = Packed(spec.weight_bits, spec.group, spec.scale_bits, spec.scale_rows)
    return WeightFormat(
        None if spec.weight_bits == AS_TRACED_BITS else packed,
        None if spec.activation_bits == AS_TRACED_BITS else spec.activation_bits,
    )


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
    check_model(machine, trace, experts.copies)
    if engine.fusion.kernels == "aten":
        refuse_shares(machine, "an engine that launches each operation by itself")
    planner = StepPlanner(trace, machine, placement, seed=seed, engine=engine, most_rows=most_rows, experts=experts)
    if pipeline is not None and pipeline.stages > trace.model.n_layers:
        raise InputError(
            f"found {pipeline.stages}, expected at most the {trace.model.n_layers} layers of {trace.name}",
            field="roles.pipeline.stages",
        )
    return planner if pipeline is None else PipelinePlanner(planner, machine, trace.model, pipeline)


def planner_of(
    experiment: Experiment, trace: KernelTrace, machine: Machine, placement: PlacementPolicy | None = None
) -> Planner:
    """Build the planner of a model's steps on a machine, with the experiment's engine, and its placement if none is given."""
    return build_planner(
        trace,
        machine,
        placement or build_placement(experiment),
        seed=experiment.seed,
        engine=experiment.engine,
        most_rows=experiment.most_rows,
        experts=experiment.experts,
    )
