"""Nightjar: a bandit over the length for every batch size, that may switch drafting off (Li et al., arXiv:2512.22420).

For each batch size b, steps are parted into bins and bins into blocks of 1, 2, 4, … bins (block j has 2^{j−1}). Within a block, bin n
explores with probability 1/n: any length from 0 to the longest is drafted throughout the bin; else the best is, which is

    argmin over k of  l(b, k) + [drafting was off and k > 0] · C / k,       l the mean seconds per token seen with that length,

with C the seconds that rebuilding the draft's KV cache takes when drafting is switched on again. Lengths never tried at a batch size are explored
before any that were, the longest first.

Notes on the paper have the loss, the blocks and the probability; the steps of a bin they do not have. **Left out**: giving the draft model's memory to
the KV cache while drafting is off. Memory is planned before a run and its placement does not move, so ``offload`` is refused; C is
in the decision, and no simulated time is charged for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field

from papisim.config.base import Count, NonNegative
from papisim.errors import NotModelled
from papisim.kinds import Example
from papisim.policies.speculation.base import BoundedOptions, Round, SpeculationView
from papisim.policies.speculation.whole_batch import Planned, WholeBatch, tokens
from papisim.streams import stream


class Options(BoundedOptions):
    """Hyper-parameters.

    Attributes:
        max_length: Γ, the longest draft.
        bin_steps: iterations for which a choice holds.
        switch_s: C.
        offload: give the draft model's memory to the KV cache while drafting is off; not modelled.
        seed: of the exploration.
    """

    kind: Literal["nightjar"]
    bin_steps: Count
    switch_s: NonNegative
    offload: bool = False
    seed: Annotated[int, Field(ge=0)] = 0


EXAMPLE = Example("nightjar")


@dataclass
class Bandit:
    """What is known at one batch size: seconds and tokens seen with each length, and how far the current bin has come."""

    time_s: dict[int, float] = field(default_factory=dict)
    tokens: dict[int, int] = field(default_factory=dict)
    block: int = 1
    bin: int = 1
    step: int = 0
    locked: int | None = None

    def loss_s(self, length: int) -> float:
        """Return the mean seconds per token with a length."""
        return self.time_s[length] / self.tokens[length]


class Speculation(WholeBatch):
    """All requests draft the length of their batch size's bin."""

    def __init__(self, options: Options) -> None:
        super().__init__()
        if options.offload:
            raise NotModelled(
                "speculation.offload: a draft model's memory cannot be given to the KV cache during a run"
            )
        self._options = options
        self._bandits: dict[int, Bandit] = {}
        self._last = 1

    def choose(self, view: SpeculationView) -> int:
        """Return the bin's length, drawn or found at its first step."""
        bandit = self._bandits.get(view.rlp, Bandit())
        if bandit.locked is not None:
            return bandit.locked
        lengths = range(self._options.max_length + 1)
        untried = [length for length in lengths if not bandit.tokens.get(length)]
        if untried:
            return max(untried)
        draw = stream(self._options.seed, "speculation", "nightjar", view.rlp, bandit.block, bandit.bin)
        if draw.random() < 1 / bandit.bin:
            return int(draw.integers(len(lengths)))
        return min(lengths, key=lambda length: bandit.loss_s(length) + self._switch_s(length))

    def _switch_s(self, length: int) -> float:
        return self._options.switch_s / length if length and not self._last else 0.0

    def learn(self, planned: Planned, rounds: Sequence[Round]) -> None:
        """Add the iteration to its length's loss, and move on in the bin."""
        bandit = self._bandits.setdefault(planned.batch, Bandit())
        length, self._last = planned.length, planned.length
        first = length not in bandit.tokens
        bandit.time_s[length] = bandit.time_s.get(length, 0.0) + planned.time_s
        bandit.tokens[length] = bandit.tokens.get(length, 0) + tokens(rounds)
        if first and bandit.locked is None:
            return  # the first try of a length is one step, not a bin
        bandit.locked, bandit.step = length, bandit.step + 1
        if bandit.step < self._options.bin_steps:
            return
        bandit.locked, bandit.step, bandit.bin = None, 0, bandit.bin + 1
        if bandit.bin > 2 ** (bandit.block - 1):
            bandit.block, bandit.bin = bandit.block + 1, 1
