"""Self-speculation: the target's first layers draft, the others verify and reuse what the first have computed.

A draft step runs the first e of L layers and the LM head; layers that the requests of a batch have in common run once for all of them,
whatever layer each exits from, and the LM head once at the end of the step. Verifying runs layers e to L over all drafts, and the first
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
    """Drafts with the first layers, all requests of a batch together."""

    demands: tuple[Demand, ...] = ()

    def __init__(self, options: Options, context: DraftContext) -> None:
        del options
        refuse_states(context.trace, "drafting by the first layers")
        self._planner = context.planner
        self._n_layers = context.trace.model.n_layers

    def draft(self, drafts: Sequence[Draft], cached: Ints, *, fold: bool = True) -> list[Phase]:
        """Return the phases of the serial draft steps."""
        exits = np.array([self._exit_of(draft) if draft.length else 0 for draft in drafts], dtype=np.int64)
        lengths = np.array([draft.length for draft in drafts], dtype=np.int64)
        phases: list[Phase] = []
        for depth, (caches, rows) in enumerate(serial_steps(drafts, cached)):
            phases += as_drafting(self._step(exits[lengths > depth], caches, rows, fold=fold))
        return phases

    def _step(self, exits: Ints, caches: Ints, rows: Ints, *, fold: bool) -> list[Phase]:
        """Return the phases of one step: each layer over the requests that have not exited before it, and the LM head over all."""
        phases: list[Phase] = []
        bounds = sorted({0, *exits.tolist()})
        for first, end in pairwise(bounds):
            inside = exits > first
            logits = int(rows.sum()) if end == bounds[-1] else 0
            shape = StepShape(int(inside.sum()), int(rows[inside].sum()), logits, (first, end))
            phases += self._planner.decode(shape, ragged_lengths(caches[inside], rows[inside]), fold=fold)
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
