"""A block drafter: one pass over a block of masked tokens drafts all of them at once (DFlash, DSpark, and other parallel drafters).

The drafter is a few layers of the target's shape, whose input is fused of features of the target, with the target's embedding and LM head. A
pass computes its whole block, however few of the drafts are verified: how wide it drafts is the drafter's, how many of the drafts are
verified is the speculation policy's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from papisim.arrays import Ints
from papisim.config.base import Count, NonNegative
from papisim.engine.drafting.base import DraftContext, DraftingOptions, WholeVerification, as_drafting
from papisim.errors import InputError, NotModelled
from papisim.kinds import Example
from papisim.ops.cost import Energy
from papisim.ops.kernel import FcRole, Linear
from papisim.ops.lower import decode_shape, layer_weight_bytes, ragged_lengths
from papisim.plan.machine import HOST
from papisim.plan.memory import Demand, spread_bytes
from papisim.plan.phase import Category, Phase
from papisim.plan.sharing import refuse_shares
from papisim.policies.placement.base import Operator
from papisim.policies.speculation.base import Draft


class Options(DraftingOptions):
    """The drafter.

    Attributes:
        layers: layers of the target's shape.
        width: tokens that a pass drafts for each request; drafts that are verified are no longer.
        features: hidden states of the target that are fused into its input.
        step_s: time of a pass outside its kernels, such as sampling.
    """

    kind: Literal["block"]
    layers: Count
    width: Count
    features: Count
    step_s: NonNegative = 0.0


EXAMPLE = Example({"layers": 1, "width": 8, "features": 2})


class Source(WholeVerification):
    """Runs one pass for all drafts of a round."""

    def __init__(self, options: Options, context: DraftContext) -> None:
        super().__init__(context)
        refuse_shares(context.machine, "a block drafter")
        trace, roles = context.trace, context.machine.roles
        if options.layers > trace.model.n_layers:
            raise InputError(f"drafting.layers: found {options.layers}, but {trace.name} has {trace.model.n_layers}")
        self._options = options
        model = trace.model
        fusion_bytes = options.features * model.hidden_size**2 * model.element_bytes
        kv_bytes = spread_bytes(trace, range(options.layers), context.machine.pools[roles.kv])
        self.demands = (
            Demand(roles.weights, weight_bytes=options.layers * layer_weight_bytes(trace) + fusion_bytes),
            Demand(roles.kv, kv_token_bytes=kv_bytes),
        )

    def draft(self, drafts: Sequence[Draft], cached: Ints, *, fold: bool = True) -> list[Phase]:
        """Return the phases of the pass: none where no request drafts.

        Raises:
            InputError: a draft is longer than the block.
            NotModelled: drafts are trees.
        """
        options = self._options
        drafting = np.array([draft.length > 0 for draft in drafts])
        if not drafting.any():
            return []
        if any(draft.tree for draft in drafts):
            raise NotModelled("trees of drafts from a block drafter: a block is one chain; choose a policy of chains")
        longest = max(draft.length for draft in drafts)
        if longest > options.width:
            raise InputError(f"drafting.width: found drafts of {longest} tokens, but a block has {options.width}")
        caches = cached[drafting]
        rows = np.full(len(caches), options.width, dtype=np.int64)
        total = int(rows.sum())
        shape = decode_shape(len(rows), total, layers=(0, options.layers))
        layers = self._context.planner.decode(shape, ragged_lengths(caches, rows), fold=fold)
        outside = [Phase(HOST, Category.DRAFT, options.step_s, Energy())] if options.step_s else []
        return [self._fusion(len(rows)), *as_drafting(layers), *outside]

    def _fusion(self, rlp: int) -> Phase:
        """Return the FC kernel that maps the features of each request's last token, side by side, to one hidden state."""
        machine, model = self._context.machine, self._context.trace.model
        width_in = self._options.features * model.hidden_size
        kernel = Linear(FcRole.FEED_FORWARD_UP, rlp, width_in, model.hidden_size, model.element_bytes)
        device = self._context.planner.place(kernel, rlp, rlp)
        return machine.compute(device, Category.DRAFT, kernel)._replace(operator=Operator.DRAFT_FC)
