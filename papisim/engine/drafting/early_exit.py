"""Self-speculation: the target's first layers draft, the others verify and reuse what the first have computed.

A draft step runs the first e of L layers and the LM head. Verifying runs layers e to L over all drafts, and the first
e layers for the last accepted token alone, since hidden states and KV of the drafts are there: L + d·e layers are loaded in
a round of d drafts (DEL, Section 3 of its cost model; LayerSkip, Elhoushi et al., ACL 2024).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import numpy as np

from papisim.arrays import Ints
from papisim.engine.drafting.base import DraftContext, DraftingOptions, as_drafting, refuse_states, serial_steps
from papisim.errors import InputError
from papisim.kinds import Example
from papisim.ops.lower import Prompts, StepShape, ragged_lengths
from papisim.plan.memory import Demand
from papisim.plan.phase import Phase
from papisim.policies.speculation.base import Draft


class Options(DraftingOptions):
    """Nothing to choose: the policy names the exit layer of each draft."""

    kind: Literal["early_exit"]


EXAMPLE = Example(beside={"trace": "llama3-8b", "speculation": "layerskip", "acceptance": "layerskip_llama3_8b"})


class Source:
    """Drafts with the first layers; requests with different exit layers draft one group after another."""

    demands: tuple[Demand, ...] = ()

    def __init__(self, options: Options, context: DraftContext) -> None:
        del options
        refuse_states(context.trace, "drafting by the first layers")
        self._planner = context.planner
        self._n_layers = context.trace.model.n_layers

    def draft(self, drafts: Sequence[Draft], cached: Ints, *, fold: bool = True) -> list[Phase]:
        """Return the phases of the serial draft steps, group by group."""
        exits = np.array([self._exit_of(draft) if draft.length else 0 for draft in drafts])
        phases: list[Phase] = []
        for exit_layer in sorted(set(exits[exits > 0].tolist())):
            group = exits == exit_layer
            chosen = [draft for draft, member in zip(drafts, group, strict=True) if member]
            for caches, rows in serial_steps(chosen, cached[group]):
                total = int(rows.sum())
                shape = StepShape(len(rows), total, total, (0, exit_layer))
                phases += as_drafting(self._planner.decode(shape, ragged_lengths(caches, rows), fold=fold))
        return phases

    def verify(
        self, drafts: Sequence[Draft], cached: Ints, rows: Ints, prompts: Prompts | None = None, *, fold: bool = True
    ) -> list[Phase]:
        """Return the phases of the layers that drafting has not computed."""
        exits = np.array([self._exit_of(draft) if draft.length else 0 for draft in drafts], dtype=np.int64)
        phases: list[Phase] = []
        bounds = sorted({0, *exits.tolist(), self._n_layers})
        for first, end in pairwise(bounds):
            needed = np.where(exits > first, 1, rows)  # before its exit layer a request lacks its last token alone
            total = int(needed.sum())
            shape = StepShape(len(needed), total, total if end == self._n_layers else 0, (first, end))
            phases += self._planner.decode(shape, ragged_lengths(cached, needed), prompts, fold=fold)
        return phases

    def _exit_of(self, draft: Draft) -> int:
        if draft.exit_layer is None:
            raise InputError("drafting early_exit needs a speculation policy that names an exit layer, such as del")
        if not 0 < draft.exit_layer < self._n_layers:
            raise InputError(f"exit layer {draft.exit_layer}, expected one from 1 to {self._n_layers - 1}")
        return draft.exit_layer
