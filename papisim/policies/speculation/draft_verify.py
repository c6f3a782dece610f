"""Draft & Verify (DV): self-speculation that stops a draft at an adaptive confidence threshold (Zhang et al., ACL 2024).

As in the released code of DEL, where it is a baseline: the exit layer is fixed, a draft stops after the first token whose
top probability is below t, and t moves after each round, up when the smoothed acceptance rate is below its target and
down otherwise. The rate that is smoothed is that of all the request's drafts so far.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from papisim.config.base import Count
from papisim.kinds import Example
from papisim.policies.speculation.base import BoundedOptions, Draft, PerRequest, Proposal, Round, SpeculationView
from papisim.policies.speculation.dynamic_stop import AdaptiveThreshold, ThresholdOptions, positions_kept


class Options(BoundedOptions):
    """The layers that draft, the longest draft, and the threshold."""

    kind: Literal["draft_verify"]
    exit_layer: Count
    threshold: ThresholdOptions

    @property
    def signals(self) -> frozenset[str]:
        """Signals that the policy decides by."""
        return frozenset({"confidence", "layers"})


EXAMPLE = Example(
    "draft_verify", beside={"trace": "llama3-8b", "draft": "early_exit", "acceptance": "layerskip_llama3_8b"}
)


class Drafting:
    """A request's threshold, and all its drafts so far."""

    def __init__(self, options: ThresholdOptions) -> None:
        self.threshold = AdaptiveThreshold(options)
        self.drafted = 0
        self.accepted = 0


class Speculation(PerRequest[Drafting]):
    """Each request has a threshold of its own."""

    def __init__(self, options: Options) -> None:
        super().__init__(lambda: Drafting(options.threshold))
        self._draft = Draft(options.max_length, exit_layer=options.exit_layer)

    def plan(self, view: SpeculationView) -> list[Draft]:
        """Allow the longest draft; the stop decides."""
        return [self._draft] * view.rlp

    def cut(self, requests: Sequence[int], drafts: Sequence[Draft], proposals: Sequence[Proposal]) -> list[int]:
        """End each draft after the first token below its request's threshold."""
        return [
            positions_kept(proposal.confidence, self.state(request_id).threshold.value, draft.length)
            for request_id, draft, proposal in zip(requests, drafts, proposals, strict=True)
        ]

    def learn(self, state: Drafting, seen: Round) -> None:
        """Move the threshold with the acceptance rate of all drafts so far."""
        state.drafted += seen.draft.length
        state.accepted += seen.accepted
        if seen.draft.length:
            state.threshold.update(state.accepted / state.drafted)
