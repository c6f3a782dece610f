"""DEL: choose the exit layer of self-speculation, and when to stop (Entezari Zarch et al., arXiv:2504.05598, COLM 2025).

Every round shows how often each layer agrees with the model (:mod:`.layer_agreement`). The next round exits at the layer l of
the (l, d) with most expected tokens per loaded layer, d being the drafts. DEL then drafts until a token's top probability is
below the layer's stop; that token stays. Variants: DEL-E drafts exactly d tokens (``dynamic_stop: false``), DEL-γ keeps one
layer (``min_exit_layer`` = ``max_exit_layer``).

The first round drafts one token with the first layer, and counts the last positions of the prompt with those of the round.
Batches are of one in the paper; here each request has its own layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from papisim.config.base import Count, Fraction, Width
from papisim.kinds import Example
from papisim.policies.speculation.base import BoundedOptions, Draft, PerRequest, Proposal, Round, SpeculationView
from papisim.policies.speculation.dynamic_stop import positions_kept
from papisim.policies.speculation.layer_agreement import Agreement, tokens_per_layer


class Options(BoundedOptions):
    """Hyper-parameters.

    Attributes:
        dynamic_stop: stop at an unsure token (DEL, DEL-γ); else draft the predicted length (DEL-E).
        decay: weight that counts keep in each round.
        first_length: drafts of the first round, with the first exit layer that is allowed.
        prompt_positions: last positions of the prompt that are counted with the first round.
        min_length: least length to predict.
        max_length: lengths to predict are shorter, dynamically stopped drafts are at most as long.
        min_exit_layer: first exit layer to consider, from 1.
        max_exit_layer: last one; the model's last but one, if None.
    """

    kind: Literal["del_layer"]
    dynamic_stop: bool
    decay: Fraction
    first_length: Width
    prompt_positions: Annotated[int, Field(ge=0)]
    min_length: int
    min_exit_layer: Count
    max_exit_layer: Count | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Options:
        if not 0 <= self.min_length < self.max_length:
            raise ValueError(f"found min_length {self.min_length}, expected 0 to {self.max_length - 1}")
        if self.max_exit_layer is not None and self.max_exit_layer < self.min_exit_layer:
            raise ValueError(f"found max_exit_layer {self.max_exit_layer}, expected at least {self.min_exit_layer}")
        return self

    @property
    def signals(self) -> frozenset[str]:
        """Signals that the policy decides by."""
        return frozenset({"confidence", "layers"})


EXAMPLE = Example("del", beside={"trace": "llama3-8b", "draft": "early_exit", "acceptance": "layerskip_llama3_8b"})


class Speculation(PerRequest[Agreement]):
    """Each request has an exit layer and a stop of its own."""

    def __init__(self, options: Options) -> None:
        super().__init__(Agreement)
        self._options = options

    def plan(self, view: SpeculationView) -> list[Draft]:
        """Draft with the layer of the best TPL."""
        return [self._choose(self.state(request_id), view.n_layers) for request_id in view.requests]

    def _choose(self, state: Agreement, n_layers: int) -> Draft:
        options, rates = self._options, state.match_rates()
        n_layers = n_layers or len(rates) + 1  # every layer but the last has a rate
        last = min(len(rates), n_layers - 1, options.max_exit_layer or n_layers)
        layers = np.arange(options.min_exit_layer, last + 1, dtype=np.float64)
        lengths = np.arange(options.min_length, options.max_length, dtype=np.float64)
        if not layers.size:
            return Draft(options.first_length, exit_layer=options.min_exit_layer)
        worth = tokens_per_layer(rates[options.min_exit_layer - 1 : last], lengths, layers, n_layers)
        layer, length = np.unravel_index(worth.argmax(), worth.shape)
        chosen = options.max_length if options.dynamic_stop else int(lengths[length])
        return Draft(chosen, exit_layer=int(layers[layer]))

    def cut(self, requests: Sequence[int], drafts: Sequence[Draft], proposals: Sequence[Proposal]) -> list[int]:
        """End each draft after the first token that its layer is unsure of."""
        if not self._options.dynamic_stop:
            return super().cut(requests, drafts, proposals)
        stops = [self.state(r).stop_below(d.exit_layer or 0) for r, d in zip(requests, drafts, strict=True)]
        return [
            positions_kept(proposal.confidence, stop, draft.length)
            for stop, draft, proposal in zip(stops, drafts, proposals, strict=True)
        ]

    def learn(self, state: Agreement, seen: Round) -> None:
        """Count up to the first position that was drafted wrongly: later ones had a wrong context."""
        if seen.layer_matches and seen.layer_matches[0]:
            counted = slice(max(0, seen.prompt - self._options.prompt_positions), seen.prompt + seen.accepted + 1)
            matches = np.array(seen.layer_matches, dtype=np.bool_)[:, counted]
            confidence = np.array(seen.layer_confidence, dtype=np.float64)[:, counted]
            state.see(matches, confidence, self._options.decay)
