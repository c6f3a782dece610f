"""A draft head on the target model's last hidden states: EAGLE, EAGLE-3, or a module of multi-token prediction.

With a trace (``papisim capture`` of a head's configuration, :mod:`papisim.tracing.heads`) the head is what was captured: its own layer, vocabulary
and cache. Without one it is EAGLE's (Li et al., 2024): one decoder layer of the target's shape and the target's LM head.

The first step of a round counts the last accepted token alone, as the others count the token before: the head's work on the other tokens
that were accepted, and on prompts, is not counted.
"""

from __future__ import annotations

from functools import partial
from typing import Literal

from papisim import catalog
from papisim.arrays import Ints
from papisim.catalog import Shelf
from papisim.config.base import NonNegative, Positive
from papisim.engine.drafting.base import DraftContext, SerialDrafting, SerialOptions, as_drafting
from papisim.errors import InputError
from papisim.kinds import Example
from papisim.ops.cost import Energy
from papisim.ops.kernel import FcRole, Linear
from papisim.ops.lower import decode_shape, layer_weight_bytes, ragged_lengths, weight_bytes
from papisim.ops.trace import KernelTrace, read_trace
from papisim.ops.trace_kernels import FEATURES
from papisim.plan.machine import HOST
from papisim.plan.memory import Demand, spread_bytes
from papisim.plan.phase import Category, Phase
from papisim.plan.planner import Planner
from papisim.plan.sharing import refuse_shares
from papisim.plan.step import StepPlanner
from papisim.policies.placement.base import Operator, PlacementView


class Options(SerialOptions):
    """How the head differs from a layer of the target model.

    Attributes:
        trace: trace of the head: a shipped name or a path; None for EAGLE's, one layer of the target's shape.
        step_time_ratio: time of a draft step over that of the head at its trace's precision; quantised heads are below 1.
        step_s: time of a draft step outside the head's kernels: sampling, and preparing the next step.
    """

    kind: Literal["head"]
    trace: str | None = None
    step_time_ratio: Positive = 1.0
    step_s: NonNegative = 0.0

    @property
    def target_width(self) -> int | None:
        """Elements of the hidden state that a captured head reads."""
        return None if self.trace is None else read_trace(catalog.find(Shelf.HEAD, self.trace).path).model.hidden_size


EXAMPLE = Example({"step_time_ratio": 0.5})


class Source(SerialDrafting):
    """Each draft step fuses embedding and hidden state, and runs the head's layer and LM head.

    The head has weights and a KV cache of its own; embedding and LM head of the target's vocabulary are the target's.
    """

    def __init__(self, options: Options, context: DraftContext) -> None:
        super().__init__(context)
        refuse_shares(context.machine, "a draft head")
        self.resources = context.machine.roles.resources
        self._ratio, self._outside_s = options.step_time_ratio, options.step_s
        self._head = _LikeTarget(context) if options.trace is None else _Captured(options.trace, context)
        self.demands = self._head.demands

    def step(self, cached: Ints, rows: Ints, *, first: bool, fold: bool = True) -> list[Phase]:
        """Return the phases of one draft step."""
        phases = as_drafting(self._head.step(cached, rows, first=first, fold=fold))
        outside = [Phase(HOST, Category.DRAFT, self._outside_s, Energy())] if self._outside_s else []
        return [*(phase._replace(time_s=phase.time_s * self._ratio) for phase in phases), *outside]


class _LikeTarget:
    """EAGLE's head: one layer of the target's shape, whose input is fused of embedding and hidden state in every step."""

    def __init__(self, context: DraftContext) -> None:
        self._context = context
        trace, roles = context.trace, context.machine.roles
        fusion_bytes = 2 * trace.model.hidden_size**2 * trace.model.element_bytes
        self.demands = (
            Demand(roles.weights, weight_bytes=layer_weight_bytes(trace) + fusion_bytes),
            Demand(roles.kv, kv_token_bytes=spread_bytes(trace, range(1), context.machine.pools[roles.kv])),
        )

    def step(self, caches: Ints, rows: Ints, *, first: bool, fold: bool) -> list[Phase]:
        """Return the phases of one draft step."""
        del first
        total = int(rows.sum())
        shape = decode_shape(len(rows), total, layers=(0, 1))
        layer = self._context.planner.decode(shape, ragged_lengths(caches, rows), fold=fold)
        return [self._fusion(len(rows), total), *layer]

    def _fusion(self, rlp: int, rows: int) -> Phase:
        """Return the FC kernel that maps token embedding and hidden state, side by side, to one hidden state."""
        machine, model = self._context.machine, self._context.trace.model
        kernel = Linear(FcRole.FEED_FORWARD_UP, rows, 2 * model.hidden_size, model.hidden_size, model.element_bytes)
        device = self._context.planner.place(kernel, rlp, rows)
        return machine.compute(device, Category.DRAFT, kernel)._replace(operator=Operator.FC)


class _Captured:
    """A head as captured; features of the target are fused in the first step of a round alone."""

    def __init__(self, name: str, context: DraftContext) -> None:
        machine, roles, target = context.machine, context.machine.roles, context.trace
        trace = _trace_of(name, target)
        placement = _AsTarget(context.planner)
        made = partial(StepPlanner, machine=machine, placement=placement, seed=context.seed, engine=context.engine)
        self._first, self._later = made(trace), made(_without_features(trace))
        own_bytes = weight_bytes(trace) - _shared_bytes(trace, target)
        kv_bytes = spread_bytes(trace, range(trace.model.n_layers), machine.pools[roles.kv])
        self.demands = (Demand(roles.weights, weight_bytes=own_bytes), Demand(roles.kv, kv_token_bytes=kv_bytes))

    def step(self, caches: Ints, rows: Ints, *, first: bool, fold: bool) -> list[Phase]:
        """Return the phases of one draft step."""
        planner = self._first if first else self._later
        return planner.decode(decode_shape(len(rows), int(rows.sum())), ragged_lengths(caches, rows), fold=fold)


class _AsTarget:
    """Places FC kernels as the target's are; attention stays at home."""

    def __init__(self, planner: Planner) -> None:
        self._planner = planner

    def place(self, view: PlacementView) -> str:
        if not isinstance(view.kernel, Linear):
            return view.candidates[0]
        return self._planner.place(view.kernel, view.rlp, view.rows)


def _trace_of(name: str, target: KernelTrace) -> KernelTrace:
    trace = read_trace(catalog.find(Shelf.HEAD, name).path)
    own, other = trace.model.hidden_size, target.model.hidden_size
    if own != other:
        raise InputError(
            f"drafting.trace: the head '{trace.name}' has a hidden state of {own}, but {target.name} one of {other}"
        )
    return trace


def _without_features(trace: KernelTrace) -> KernelTrace:
    """Return the head of later steps, which takes its own state in the place of features of the target."""
    blocks = (
        block.model_copy(update={"kernels": tuple(kernel for kernel in block.kernels if kernel.name != FEATURES)})
        for block in trace.blocks
    )
    features = (kernel for kernel, _ in trace.kernels() if kernel.name == FEATURES)
    removed = sum(parameter.tensor.elements.constant for kernel in features for parameter in kernel.weights)
    model = trace.model.model_copy(update={"n_parameters": trace.model.n_parameters - removed})
    return trace.model_copy(update={"blocks": tuple(blocks), "model": model})


def _shared_bytes(trace: KernelTrace, target: KernelTrace) -> int:
    """Return the bytes of the head's embedding and LM head that are the target's: those of its vocabulary."""
    parameters = (
        parameter.tensor
        for kernel, _ in trace.kernels()
        for parameter in (kernel.weights if kernel.role is FcRole.LM_HEAD else kernel.tables)
    )
    of_target = target.model.vocab_size * target.model.hidden_size
    return sum(tensor.n_bytes.constant for tensor in parameters if tensor.elements.constant == of_target)
