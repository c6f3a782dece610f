"""GammaTune and GammaTune+: follow the accepted length, and probe upward (Gautam et al., arXiv:2504.00030, Algorithm 1).

With s the drafts of a round, A those accepted, and m a smoothed length:

    A = s:  s ← A + δ                                                m stays
    A < s:  m ← clip((1 − η) m + η A, s_min, s_max),  s ← ⌈m⌉

The algorithm prints no clip of the first branch; both re-implementations that the hyper-parameters come from clip it to
s_max, as is done here. GammaTune+ also stops a draft when the draft's probability of its top token falls below a threshold.
The paper has batches of one; here each request has its own length.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from papisim.config.base import Fraction, Width
from papisim.kinds import Example
from papisim.policies.speculation.base import BoundedOptions, Draft, PerRequest, Proposal, Round, SpeculationView
from papisim.policies.speculation.dynamic_stop import cut_where_unsure


class Options(BoundedOptions):
    """Hyper-parameters.

    Attributes:
        smoothing: η, weight of the newest accepted length.
        probe: δ, tokens added to a fully accepted draft.
        initial_length: drafts of a request's first round.
        min_length: s_min.
        max_length: s_max.
        threshold: probability of the draft's top token below which the draft stops (GammaTune+); none does, if None.
    """

    kind: Literal["gammatune"]
    smoothing: Fraction
    probe: Width
    initial_length: Width
    min_length: Width
    threshold: Fraction | None = None

    @property
    def signals(self) -> frozenset[str]:
        """Signals that the policy decides by."""
        return frozenset() if self.threshold is None else frozenset({"confidence"})


EXAMPLE = Example("gammatune")


@dataclass
class Lengths:
    """A request's next length, and the smoothed one."""

    tokens: int
    smoothed: float


class Speculation(PerRequest[Lengths]):
    """Each request has lengths of its own."""

    def __init__(self, options: Options) -> None:
        super().__init__(lambda: Lengths(options.initial_length, options.initial_length))
        self._options = options

    def plan(self, view: SpeculationView) -> list[Draft]:
        """Draft each request's length."""
        return [Draft(self.state(request_id).tokens) for request_id in view.requests]

    def cut(self, requests: Sequence[int], drafts: Sequence[Draft], proposals: Sequence[Proposal]) -> list[int]:
        """End each draft after the first token that the draft is unsure of, if this is GammaTune+."""
        del requests
        return cut_where_unsure(self._options.threshold, drafts, proposals)

    def learn(self, state: Lengths, seen: Round) -> None:
        """Apply the rule to the length that was really drafted."""
        options, accepted = self._options, seen.accepted
        if seen.draft.length == 0:
            return
        if accepted == seen.draft.length:
            state.tokens = max(options.min_length, min(options.max_length, accepted + options.probe))
            return
        smoothed = (1 - options.smoothing) * state.smoothed + options.smoothing * accepted
        state.smoothed = max(options.min_length, min(options.max_length, smoothed))
        state.tokens = math.ceil(state.smoothed)
