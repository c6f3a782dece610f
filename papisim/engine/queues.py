"""The requests of one server: who waits, whose prompt is being computed, who decodes, and who has to give way.

A request waits, is admitted and gets pages of the KV cache, has its prompt computed in one or more steps, and decodes. When
the pages do not last for the next iteration, whoever came last gives way (``kv.on_exhaustion``):

``recompute``
    its pages are freed; it waits in front of all others, and its prompt and what it has said are computed again.
``swap``
    its cache is moved out over a link; it waits in front of all others, and its cache is moved back when it is admitted.
``refuse``
    it ends, refused.

The request that came first never gives way, so somebody always comes to an end.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from itertools import islice

from papisim.arrays import Ints
from papisim.config.experiment import KvSpec
from papisim.engine.batch import Batch
from papisim.engine.pages import KvPages
from papisim.errors import DoesNotFit
from papisim.plan.machine import Machine
from papisim.plan.memory import MemoryPlan
from papisim.plan.phase import Category, Phase
from papisim.policies.batching.base import BatchingPolicy
from papisim.record.ledger import RequestRow

#: a request, and prompt tokens that are computed of it in a step
Chunk = tuple[RequestRow, int]


class Residents:
    """Who is on a server.

    Args:
        machine: the hardware.
        memory: where KV caches live.
        spec: how they are kept.
        batching: who admits.

    Attributes:
        waiting: who has arrived and is not admitted, in the order of admission.
        prefilling: who is admitted and has prompt tokens to be computed.
        batch: who decodes.
        pages: the KV cache.
        leaving: whose prompts are complete and whose caches are being sent to another server.
        moves: caches to be moved over a link when the next step begins.
        refused: who ended here, and why, since the server last asked.
    """

    def __init__(self, machine: Machine, memory: MemoryPlan, spec: KvSpec, batching: BatchingPolicy) -> None:
        self._machine, self._memory, self._spec = machine, memory, spec
        self._must_fit, self._joins_running = batching.must_fit, batching.joins_running
        self.pages = KvPages(spec, memory, reserves_whole=batching.reserves_whole)
        self.waiting: deque[RequestRow] = deque()
        self.prefilling: list[RequestRow] = []
        self.batch = Batch()
        self.leaving: list[RequestRow] = []
        self.moves: list[Phase] = []
        self.refused: list[tuple[RequestRow, str]] = []

    @property
    def admitted(self) -> int:
        """Requests that are admitted, decoding or not yet."""
        return len(self.batch) + len(self.prefilling) + len(self.leaving)

    @property
    def cached_tokens(self) -> int:
        """Tokens in all caches."""
        others = (*self.prefilling, *self.leaving)
        return self.batch.cached_tokens + sum(row.computed_tokens for row in others)

    @property
    def may_be_joined(self) -> bool:
        """Whether somebody who arrives now may join those who decode: not where others wait in front."""
        return self._joins_running and not self.waiting

    def arrive(self, row: RequestRow) -> None:
        """Let a request wait, or refuse it if the whole KV cache cannot hold it."""
        if self.pages.whole(row) > self.pages.total and not self._must_fit:
            tokens = self.pages.total * self.pages.page_tokens
            needed = row.input_tokens + row.output_tokens - 1
            self.refused.append((row, f"needs {needed} tokens of KV cache, {tokens} are there in all"))
        else:
            self.waiting.append(row)

    def fitting(self, limit: int) -> int:
        """Return how many of the first waiting requests there are pages for."""
        return self.pages.fitting(islice(self.waiting, limit), alone=not self.admitted)

    def admit(self, count: int, now_s: float) -> None:
        """Take in the first waiting requests; those that were swapped out while they decoded go on at once.

        Raises:
            DoesNotFit: there are not enough pages for a batch that must start together.
        """
        rows = [self.waiting.popleft() for _ in range(count)]
        if self._must_fit and self.pages.fitting(rows, alone=True) < len(rows):
            raise self._too_large(rows)
        for row in rows:
            self.pages.take(row)
            if row.admitted_s != row.admitted_s:  # not admitted before
                row.admitted_s = now_s
            if row.computed_tokens:
                self._move(row.computed_tokens)
        self.prefilling += [row for row in rows if not row.swapped]
        self._resume([row for row in rows if row.swapped])

    def _resume(self, rows: list[RequestRow]) -> None:
        for row in rows:
            row.swapped = False
        self.batch.join(rows)

    def sent(self, row: RequestRow) -> None:
        """Free the pages of a request whose cache is on another server now."""
        self.leaving.remove(row)
        self.pages.give_back(row)

    def chunks(self, tokens: Iterable[int]) -> list[Chunk]:
        """Return whose prompts are computed how far; tokens are those of a plan for all who prefill."""
        return [(row, count) for row, count in zip(self.prefilling, tokens, strict=False) if count]

    def compute(self, chunks: list[Chunk]) -> list[RequestRow]:
        """Put what a step has computed of prompts into the caches; return the requests whose prompts are complete."""
        complete = []
        for row, count in chunks:
            row.computed_tokens += count
            if not row.prompt_left:
                complete.append(row)
        if complete:
            self.prefilling = [row for row in self.prefilling if row.prompt_left]
        return complete

    def make_room(self, rows: Ints | int) -> int:
        """Take the pages of the next iteration; whoever came last gives way while there are not enough.

        Args:
            rows: token-rows of each request that decodes.

        Returns:
            How many gave way.
        """
        gave_way = 0
        while len(self.batch) and not self.pages.grow(
            self.batch, rows if isinstance(rows, int) else rows[: len(self.batch)]
        ):
            decodes = not self.prefilling
            self._give_way(self.batch.drop_last() if decodes else self.prefilling.pop(), decodes=decodes)
            gave_way += 1
        return gave_way

    def drop_all(self) -> list[RequestRow]:
        """Take out everyone, waiting or admitted, and free the KV cache."""
        rows = [*self.batch.drop_all(), *self.prefilling, *self.waiting, *self.leaving]
        self.prefilling, self.leaving = [], []
        self.waiting.clear()
        for row in rows:
            self.pages.give_back(row)
        return rows

    def _give_way(self, row: RequestRow, *, decodes: bool) -> None:
        self.pages.give_back(row)
        if self._spec.on_exhaustion == "refuse":
            self.refused.append((row, "the KV cache was full, and it came last"))
            return
        row.preemptions += 1
        if self._spec.on_exhaustion == "swap":
            row.swapped = decodes
            self._move(row.computed_tokens)
        else:
            row.computed_tokens = 0
        self.waiting.appendleft(row)

    def _move(self, tokens: int) -> None:
        link = self._spec.swap_link
        if link is not None and tokens:
            cost = self._machine.links[link].transfer(tokens * self._memory.kv_token_bytes)
            self.moves.append(Phase(link, Category.COMMUNICATION, cost.time_s, cost.energy))

    def _too_large(self, rows: list[RequestRow]) -> DoesNotFit:
        pages, device = self.pages, self._memory.kv_device
        page_bytes = pages.page_tokens * self._memory.kv_token_bytes
        needed = sum(map(pages.demand, rows))
        fitting = int(len(rows) * pages.total / needed)
        return DoesNotFit(
            f"the KV caches of a batch of {len(rows)} requests do not fit into '{device}'",
            needed * page_bytes / 1e9,
            pages.total * page_bytes / 1e9,
            "GB",
            [
                f"--batch {max(1, fitting)}",
                f"more of '{device}' (--set devices.{device}.count=…)",
                "shorter requests",
                "--batching chunked_prefill, which admits what fits",
            ],
        )
