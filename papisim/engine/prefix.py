"""The prefix cache: a tree of blocks, in which prompts that begin alike share their beginnings.

A block holds ``block_tokens`` tokens of all that stood before it in some request, and the same tokens after another beginning are
another block (vLLM's automatic prefix caching; with blocks of one token, the radix tree of SGLang: Zheng et al., NeurIPS 2024).
A block is

held
    by the requests in service whose first tokens it has; it stays on the device.
idle
    since the last of them left. It is kept until its room is needed, and then evicted, or moved to the next tier.

A request holds a block together with all blocks before it, so an idle block is followed by idle blocks alone. Only a block that no
other of its tier follows leaves a tier: first the least recently used one (``lru``), the least often used (``lfu``), or the oldest
(``fifo``); of equals the one farthest from the beginning.

A block is in one tier: on the device, or, once it has left it, in the first tier below that has room for it, where nothing holds
it. It moves back up when a request takes it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count, islice

from papisim.record.reuse import Reuse
from papisim.workloads.content import Content, Piece, cut

#: content of a block
Text = tuple[Piece, ...]


@dataclass(slots=True, eq=False)
class Block:
    """A block of the tree.

    Attributes:
        parent: the block before it; the root for the first of a prompt, None for the root.
        text: its content.
        depth: blocks before it, the root included.
        follows: blocks that follow it, by their content.
        holders: requests that hold it.
        tier: where it is; 0 is the device.
        followers: blocks in ``follows`` that are in the same tier.
        is_gone: whether it has been evicted from the last tier.
        uses: requests that have held it.
        made: when it was put into the cache, in ticks.
        used: when it was last held, in ticks.
    """

    parent: Block | None
    text: Text
    depth: int
    follows: dict[Text, Block] = field(default_factory=dict)
    holders: int = 0
    tier: int = 0
    followers: int = 0
    is_gone: bool = False
    uses: int = 0
    made: int = 0
    used: int = 0


class Chain:
    """The tokens of one request in blocks.

    Attributes:
        texts: content of its full blocks, prompt and answer.
        held: blocks that it holds, from the first.
        found: blocks with its tokens, from the first, as last looked up.
    """

    __slots__ = ("found", "held", "texts")

    def __init__(self, content: Content, block_tokens: int) -> None:
        full = sum(span.tokens for span in content) // block_tokens
        self.texts: list[Text] = list(islice(cut(content, block_tokens), full))
        self.held: list[Block] = []
        self.found: list[Block] = []


_PRIORITY: dict[str, Callable[[Block], tuple[int, ...]]] = {
    "lru": lambda block: (block.used, -block.depth),
    "lfu": lambda block: (block.uses, block.used, -block.depth),
    "fifo": lambda block: (block.made, -block.depth),
}


class PrefixCache:
    """The blocks of one server's KV cache, and those of the tiers below it.

    How many blocks the device has room for is the business of :class:`papisim.engine.pages.KvPages`.

    Args:
        eviction: which block leaves first: ``lru``, ``lfu`` or ``fifo``.
        block_tokens: tokens of a block.
        reuse: returns the counts that admissions belong in.
        rooms: blocks that each tier below the device holds, at least 1.

    Attributes:
        block_tokens: tokens of a block.
        sizes: blocks in each tier, the device first; held ones included.
        held: blocks that requests hold.
        repeats: holders of each held block beyond the first, summed over blocks.
    """

    def __init__(
        self, eviction: str, block_tokens: int, reuse: Callable[[], Reuse], rooms: Sequence[int] = ()
    ) -> None:
        self.block_tokens, self._reuse, self._rooms = block_tokens, reuse, tuple(rooms)
        self._priority = _PRIORITY[eviction]
        self._root = Block(None, (), 0, holders=1)
        self._leaves: list[list[tuple[tuple[int, ...], int, Block]]] = [[] for _ in range(len(rooms) + 1)]
        self._serial, self._tick = count(), 0
        self.sizes = [0] * (len(rooms) + 1)
        self.held = self.repeats = 0

    @property
    def idle(self) -> int:
        """Blocks on the device that no request holds."""
        return self.sizes[0] - self.held

    def find(self, chain: Chain, tokens: int) -> list[Block]:
        """Return the cached blocks with the first of a number of tokens, of which at least one is left out."""
        found, most = chain.found, (tokens - 1) // self.block_tokens
        while found and found[-1].is_gone:
            found.pop()
        block = found[-1] if found else self._root
        while len(found) < most:
            following = block.follows.get(chain.texts[len(found)])
            if following is None:
                break
            found.append(following)
            block = following
        return found[:most]

    def admitted(self, prompt_tokens: int, found: Counter[int]) -> None:
        """Count the admission of a prompt that is computed but for some blocks, whose number by tier ``found`` has."""
        self._reuse().admitted(prompt_tokens, found)

    def take(self, chain: Chain, blocks: Sequence[Block]) -> int:
        """Let a request hold blocks that were found; returns the number of those that others hold already.

        Blocks from below move up to the device.
        """
        shared = 0
        for block in blocks:
            shared += block.holders > 0
            self._hold(chain, block)
        return shared

    def put(self, chain: Chain, tokens: int) -> int:
        """Cache the full blocks of a request's computed tokens, which it holds.

        Returns:
            The number of blocks that are there twice, since others hold them already; its own copies are not kept.
        """
        twice = 0
        for index in range(len(chain.held), tokens // self.block_tokens):
            before, text = chain.held[-1] if chain.held else self._root, chain.texts[index]
            block = before.follows.get(text)
            if block is None:
                block = before.follows[text] = Block(before, text, before.depth + 1, made=self._next_tick())
                before.followers += before.tier == 0
                self.sizes[0] += 1
            else:
                twice += block.holders > 0
            self._hold(chain, block)
        return twice

    def drop(self, chain: Chain) -> int:
        """Let go of the blocks that a request holds; returns the number of those that are idle from now on."""
        tick, idle = self._next_tick(), 0
        for block in reversed(chain.held):
            block.used = tick
            block.holders -= 1
            if block.holders:
                self.repeats -= 1
                continue
            idle += 1
            self._offer(block)
        self.held -= idle
        chain.held.clear()
        return idle

    def evict(self, blocks: int) -> list[int]:
        """Let idle blocks leave the device; returns the number of blocks that left each tier for the next.

        Raises:
            RuntimeError: there are fewer idle blocks.
        """
        left = [0] * len(self.sizes)
        for _ in range(blocks):
            self._evict(0, left)
        self._reuse().evicted(left)
        return left

    def _evict(self, tier: int, left: list[int]) -> None:
        block, below = self._first_to_leave(tier), tier + 1
        self.sizes[tier] -= 1
        left[tier] += 1
        if below == len(self.sizes):
            self._leave(block)
            assert block.parent is not None
            del block.parent.follows[block.text]
            block.is_gone = True
            return
        if self.sizes[below] == self._rooms[tier]:
            self._evict(below, left)
        self._move(block, below)
        self._offer(block)

    def _hold(self, chain: Chain, block: Block) -> None:
        if block.tier:
            self.sizes[block.tier] -= 1
            self._move(block, 0)
        if block.holders:
            self.repeats += 1
        else:
            self.held += 1
        block.holders += 1
        block.uses += 1
        chain.held.append(block)

    def _move(self, block: Block, tier: int) -> None:
        """Put a block into another tier; blocks that follow it are there or below."""
        self._leave(block)
        block.tier = tier
        self.sizes[tier] += 1
        block.followers = sum(each.tier == tier for each in block.follows.values())
        if block.parent is not None and block.parent.tier == tier:
            block.parent.followers += 1

    def _leave(self, block: Block) -> None:
        """Note that a block leaves its tier; the block before it may be the next to do so."""
        before = block.parent
        assert before is not None
        if before.tier == block.tier:
            before.followers -= 1
            self._offer(before)

    def _offer(self, block: Block) -> None:
        if not block.holders and not block.followers:
            heappush(self._leaves[block.tier], (self._priority(block), next(self._serial), block))

    def _first_to_leave(self, tier: int) -> Block:
        leaves = self._leaves[tier]
        while leaves:
            priority, _, block = heappop(leaves)
            may_leave = block.tier == tier and not (block.holders or block.followers or block.is_gone)
            if may_leave and priority == self._priority(block):
                return block
        raise RuntimeError(f"no idle block is left in tier {tier}")

    def _next_tick(self) -> int:
        self._tick += 1
        return self._tick
