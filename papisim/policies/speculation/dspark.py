"""DSpark's confidence schedule: verify of each block what its confidence makes worth verifying (Cheng et al., arXiv:2607.05147, Algorithm 1).

Every request drafts a block of γ tokens. With c_{r,i} the confidence that token i of request r is right if those before it are, a prefix of j
survives with a_{r,j} = c_{r,1} … c_{r,j}. Verifying l_r tokens of each request is expected to emit τ = Σ (1 + a_{r,1} + … + a_{r,l_r}) in an
iteration of B = Σ (1 + l_r) rows. Tokens are admitted in the order of a_{r,j}, largest first, while

    Θ = τ · SPS(B)

rises: SPS is iterations per second by rows, profiled once per batch size. Stopping at the first fall keeps decisions from depending on later tokens
(the paper's condition for lossless sampling).

Here the confidence is whatever the acceptance process shows: drawn signals, or a log's. The paper's head is calibrated (sequential temperature scaling); a
process's own calibration takes its place. Deviations: the engine charges drafting for the verified length, not for the whole block.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from papisim.kinds import Example
from papisim.policies.speculation.base import BoundedOptions, Draft, Proposal, SpeculationView, Stateless


class Options(BoundedOptions):
    """The block.

    Attributes:
        max_length: γ, tokens of a block.
    """

    kind: Literal["dspark"]

    @property
    def signals(self) -> frozenset[str]:
        """Signals that the policy decides by."""
        return frozenset({"confidence"})


EXAMPLE = Example("dspark")


class Speculation(Stateless):
    """Each request verifies a prefix of its block."""

    def __init__(self, options: Options) -> None:
        self._block = Draft(options.max_length)
        self._profiles: dict[int, list[float]] = {}

    def plan(self, view: SpeculationView) -> list[Draft]:
        """Draft blocks; profile the machine at batch sizes that are new."""
        if view.rlp not in self._profiles:
            lengths = range(self._block.length + 1)
            self._profiles[view.rlp] = [view.price_s([Draft(length)] * view.rlp) for length in lengths]
        return [self._block] * view.rlp

    def cut(self, requests: Sequence[int], drafts: Sequence[Draft], proposals: Sequence[Proposal]) -> list[int]:
        """Admit tokens by the chance that their prefix survives, while expected tokens per second rise."""
        survival = [
            list(np.cumprod(proposal.confidence[: draft.length]))
            for draft, proposal in zip(drafts, proposals, strict=True)
        ]
        ranked = sorted(
            (
                (chance, -position, place)
                for place, row in enumerate(survival)
                for position, chance in enumerate(row, 1)
            ),
            reverse=True,
        )
        lengths, expected = [0] * len(drafts), float(len(drafts))
        best = expected / self._time_s(len(drafts), 0)
        for total, (chance, position, place) in enumerate(ranked, 1):
            rate = (expected + chance) / self._time_s(len(drafts), total)
            if rate <= best:
                break
            lengths[place], expected, best = -position, expected + chance, rate
        return lengths

    def _time_s(self, batch: int, tokens: int) -> float:
        """Return the seconds of an iteration that verifies some draft tokens in all, from the profile."""
        profile = self._profiles.get(batch) or self._nearest(batch)
        return float(np.interp(tokens / batch, range(len(profile)), profile))

    def _nearest(self, batch: int) -> list[float]:
        return self._profiles[min(self._profiles, key=lambda known: abs(known - batch))]
