"""What a prefix cache saved, and what went between its tiers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass
class Reuse:
    """Counts of one run's prefix caches.

    A prompt counts once per admission that computes it: again after a preemption with recomputation.

    Attributes:
        block_tokens: tokens of a block.
        tiers: names of the tiers below the device.
        prompt_tokens: tokens of admitted prompts.
        reused_tokens: those that were found in a cache, and not computed.
        prompt_blocks: full blocks of admitted prompts.
        reused_blocks: blocks found, by tier.
        evicted_blocks: blocks that left a tier, by tier.
        fetched_bytes: bytes that came up to the device, by tier.
        written_bytes: bytes that came down into a tier, by tier.
    """

    block_tokens: int
    tiers: tuple[str, ...] = ()
    prompt_tokens: int = 0
    reused_tokens: int = 0
    prompt_blocks: int = 0
    reused_blocks: Counter[int] = field(default_factory=Counter)
    evicted_blocks: Counter[int] = field(default_factory=Counter)
    fetched_bytes: Counter[int] = field(default_factory=Counter)
    written_bytes: Counter[int] = field(default_factory=Counter)

    def admitted(self, prompt_tokens: int, tiers: Counter[int]) -> None:
        """Count the admission of a prompt.

        Args:
            prompt_tokens: tokens of the prompt.
            tiers: number of blocks found, by tier.
        """
        self.prompt_tokens += prompt_tokens
        self.prompt_blocks += prompt_tokens // self.block_tokens
        self.reused_tokens += tiers.total() * self.block_tokens
        self.reused_blocks.update(tiers)

    def evicted(self, left: Sequence[int]) -> None:
        """Count blocks that left each tier."""
        self.evicted_blocks.update(dict(enumerate(left)))
