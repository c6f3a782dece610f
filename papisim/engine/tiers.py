"""Tiers below the device: memories and drives that keep the blocks of the prefix cache that its own memory has no room for.

A block that leaves a tier is written into the next one, over the link of that one. The write is not waited for: links are full-duplex,
and nothing reads a block before its turn; the seconds and joules of all writes are recorded as those of messages between servers are,
and the busy share of the link says whether it keeps up. A block that a prompt begins with is fetched over the link of its tier into the
device, before the step in which its request is admitted computes anything; the whole step waits for it.

What takes longer to fetch than to compute is computed, where the tier says so (``fetch: when_faster``): a prompt whose rest is shorter
by the blocks of the tier, and their transfer, against a prompt that computes them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache

from papisim.config.experiment import TierSpec
from papisim.devices.link import Links
from papisim.engine.prefix import Block
from papisim.errors import InputError
from papisim.plan.phase import Category, Phase
from papisim.record.ledger import Ledger


class Tiers:
    """The tiers of one server.

    Args:
        specs: the tiers, from the fastest.
        links: links of the machine, by name.
        block_bytes: bytes of a block.
        block_tokens: tokens of a block.
        prefill_s: returns the seconds of a step that computes the rest of a prompt, from the tokens that are cached and those that are
            not.
        ledger: records what is moved.

    Attributes:
        rooms: blocks that each tier holds.

    Raises:
        InputError: a tier has no room for a single block.
    """

    def __init__(
        self,
        specs: Sequence[TierSpec],
        links: dict[str, Links],
        *,
        block_bytes: int,
        block_tokens: int,
        prefill_s: Callable[[int, int], float],
        ledger: Ledger,
    ) -> None:
        self._specs, self._links = specs, [links[spec.link] for spec in specs]
        self._block_bytes, self._block_tokens = block_bytes, block_tokens
        self._prefill_s, self._ledger = cache(prefill_s), ledger
        self.rooms = [int(spec.capacity_bytes // block_bytes) for spec in specs]
        for index, (spec, room) in enumerate(zip(specs, self.rooms, strict=True)):
            if not room:
                raise InputError(
                    f"kv.tiers[{index}].capacity_bytes: found {spec.capacity_bytes:g}, expected room for a block of {block_bytes} bytes"
                )

    def worth(self, blocks: list[Block], prompt_tokens: int) -> list[Block]:
        """Return those of the first blocks of a prompt that it is to reuse."""
        kept = 0
        for tier, count in sorted(Counter(block.tier for block in blocks).items()):
            if (
                tier
                and self._specs[tier - 1].fetch == "when_faster"
                and not self._is_faster(kept, tier, count, prompt_tokens)
            ):
                break
            kept += count
        return blocks[:kept]

    def fetch(self, found: Counter[int]) -> list[Phase]:
        """Return the transfers of blocks up to the device, and count them; ``found`` has the number of blocks by tier."""
        phases = []
        for tier in sorted(tier for tier in found if tier):
            link, n_bytes = self._links[tier - 1], found[tier] * self._block_bytes
            cost = link.transfer(n_bytes)
            phases.append(Phase(link.name, Category.COMMUNICATION, cost.time_s, cost.energy))
            self._ledger.reuse_now().fetched_bytes[tier] += n_bytes
        return phases

    def write(self, left: Sequence[int]) -> None:
        """Record the transfers of the blocks that left each tier for the next; those that left the last one are gone."""
        for tier, (link, blocks) in enumerate(zip(self._links, left, strict=False), start=1):
            if blocks:
                n_bytes = blocks * self._block_bytes
                cost = link.transfer(n_bytes)
                time_s = cost.time_s - link.message_latency_s
                self._ledger.moved(Phase(link.name, Category.COMMUNICATION, time_s, cost.energy))
                self._ledger.reuse_now().written_bytes[tier] += n_bytes

    def _is_faster(self, before: int, tier: int, count: int, prompt_tokens: int) -> bool:
        """Tell whether fetching blocks of a tier, after ``before`` others, takes less time than computing them."""
        cached, fetched = before * self._block_tokens, count * self._block_tokens
        computed_s = self._prefill_s(cached, prompt_tokens - cached)
        rest_s = self._prefill_s(cached + fetched, prompt_tokens - cached - fetched)
        return self._links[tier - 1].transfer(count * self._block_bytes).time_s + rest_s < computed_s
