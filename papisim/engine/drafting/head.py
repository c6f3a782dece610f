"""A draft head on the target model's last hidden state (EAGLE: one decoder layer and the target's LM head)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from papisim.arrays import Ints
from papisim.config.base import Positive
from papisim.engine.drafting.base import DraftContext, DraftingOptions, WholeVerification, as_drafting, serial_steps
from papisim.kinds import Example
from papisim.ops.kernel import FcRole, Linear
from papisim.ops.lower import decode_shape, layer_weight_bytes, ragged_lengths
from papisim.plan.memory import Demand, spread_bytes
from papisim.plan.phase import Category, Phase
from papisim.policies.speculation.base import Draft


class Options(DraftingOptions):
    """How the head differs from a layer of the target model.

    Attributes:
        step_time_ratio: time of a draft step over that of the head at the target's precision; quantised heads are below 1.
    """

    kind: Literal["head"]
    step_time_ratio: Positive = 1.0


EXAMPLE = Example({"step_time_ratio": 0.5})


class Source(WholeVerification):
    """Each draft step fuses embedding and hidden state, and runs one layer of the target's shape and the LM head.

    The head has the weights of its layer and of the fusion, and a KV cache of one layer; the LM head is the target's.
    """

    def __init__(self, options: Options, context: DraftContext) -> None:
        super().__init__(context)
        self._ratio = options.step_time_ratio
        trace, roles = context.trace, context.machine.roles
        model, kv_pool = trace.model, context.machine.pools[context.machine.roles.kv]
        fusion_bytes = 2 * model.hidden_size**2 * model.element_bytes
        self.demands = (
            Demand(roles.weights, weight_bytes=layer_weight_bytes(trace) + fusion_bytes),
            Demand(roles.kv, kv_token_bytes=spread_bytes(trace, range(1), kv_pool)),
        )

    def draft(self, drafts: Sequence[Draft], cached: Ints, *, fold: bool = True) -> list[Phase]:
        """Return the phases of the serial draft steps."""
        phases: list[Phase] = []
        for caches, rows in serial_steps(drafts, cached):
            total = int(rows.sum())
            shape = decode_shape(len(rows), total, layers=(0, 1))
            phases.append(self._fusion(len(rows), total))
            phases += self._context.planner.decode(shape, ragged_lengths(caches, rows), fold=fold)
        return [p._replace(time_s=p.time_s * self._ratio) for p in as_drafting(phases)]

    def _fusion(self, rlp: int, rows: int) -> Phase:
        """Return the FC kernel that maps token embedding and hidden state, side by side, to one hidden state."""
        machine, model = self._context.machine, self._context.trace.model
        kernel = Linear(FcRole.FEED_FORWARD_UP, rows, 2 * model.hidden_size, model.hidden_size, model.element_bytes)
        device = self._context.planner.place(kernel, rlp, rows)
        return machine.compute(device, Category.DRAFT, kernel)
