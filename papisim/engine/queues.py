"""The requests of one server: the waiting queue, the prompts being computed, the batch, and preemption.

A request waits, is admitted and gets pages of the KV cache, has its prompt computed in one or more steps, and decodes. When
the pages do not suffice for the next iteration, the most recently admitted request is preempted (``kv.on_exhaustion``):

``recompute``
    its pages are freed; it waits in front of all others, and its prompt and the tokens emitted so far are computed again.
``swap``
    its cache is moved out over a link; it waits in front of all others, and its cache is moved back when it is admitted.
``refuse``
    it ends, refused.

The request admitted first is never preempted, so some request always makes progress.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple, overload

import numpy as np

from papisim.arrays import Ints
from papisim.config.experiment import KvSpec
from papisim.engine.batch import Batch
from papisim.engine.pages import KvPages
from papisim.engine.request import Request, RequestState
from papisim.errors import DoesNotFit
from papisim.plan.machine import Machine
from papisim.plan.memory import MemoryPlan
from papisim.plan.phase import Category, Phase
from papisim.policies.batching.base import BatchingPolicy


class Chunk(NamedTuple):
    """Prompt tokens of a request that a step computes."""

    request: Request
    tokens: int


class WaitingRequest(NamedTuple):
    """What a policy may see of a request that waits.

    Attributes:
        arrival_s: arrival.
        prompt_left: tokens of its prompt still to be computed, without those that the prefix cache has; after a preemption those
            recomputed, too.
    """

    arrival_s: float
    prompt_left: int


class WaitingView(Sequence[WaitingRequest]):
    """A waiting queue to read from: neither the queue nor its requests can be changed through it.

    Args:
        queue: the requests, in the order of admission.
        count: how many of the first are seen; all, if None.
        prompt_left: tokens that a waiting request would have to compute; all that it has, if None.
    """

    __slots__ = ("_count", "_prompt_left", "_queue")

    def __init__(
        self,
        queue: deque[Request],
        count: int | None = None,
        prompt_left: Callable[[Request], int] | None = None,
    ) -> None:
        self._queue, self._count = queue, count
        self._prompt_left = prompt_left or (lambda request: request.prompt_left)

    def __len__(self) -> int:
        return len(self._queue) if self._count is None else self._count

    @overload
    def __getitem__(self, index: int) -> WaitingRequest: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[WaitingRequest]: ...
    def __getitem__(self, index: int | slice) -> WaitingRequest | Sequence[WaitingRequest]:
        if isinstance(index, slice) or self._count is not None:
            return tuple(self)[index]
        return self._seen(self._queue[index])

    def __iter__(self) -> Iterator[WaitingRequest]:
        return map(self._seen, islice(self._queue, self._count))

    def _seen(self, request: Request) -> WaitingRequest:
        return WaitingRequest(request.arrival_s, self._prompt_left(request))


class ServerQueues:
    """The requests of a server.

    Args:
        machine: the hardware.
        memory: the room for KV caches.
        spec: how caches are kept.
        batching: the batching policy.
        pages: the KV cache.
        positions: longest context that the model can address, in tokens; None without such a limit.

    Attributes:
        waiting: requests that have arrived and are not admitted, in the order of admission.
        prefilling: admitted requests with prompt tokens to be computed.
        batch: requests that decode.
        pages: the KV cache.
        leaving: requests with complete prompts whose caches are being sent to another server.
        moves: caches to be moved over a link when the next step begins.
        refused: requests refused since the server last asked, and why.
    """

    def __init__(
        self,
        machine: Machine,
        memory: MemoryPlan,
        spec: KvSpec,
        batching: BatchingPolicy,
        pages: KvPages,
        *,
        positions: int | None = None,
    ) -> None:
        self._machine, self._memory, self._spec, self._positions = machine, memory, spec, positions
        self._must_fit, self._joins_running = batching.must_fit, batching.joins_running
        self.pages = pages
        self.waiting: deque[Request] = deque()
        self.prefilling: list[Request] = []
        self.batch = Batch()
        self.leaving: list[Request] = []
        self.moves: list[Phase] = []
        self.refused: list[tuple[Request, str]] = []

    @property
    def admitted(self) -> int:
        """Requests that are admitted, decoding or not yet."""
        return len(self.batch) + len(self.prefilling) + len(self.leaving)

    @property
    def cached_tokens(self) -> int:
        """Tokens in all caches."""
        others = (*self.prefilling, *self.leaving)
        return self.batch.cached_tokens + sum(request.computed_tokens for request in others)

    def held_bytes(self, grown: Ints) -> Ints:
        """Return the bytes of all caches when every decoding request has grown by a number of tokens, for each, shape (n,).

        What several requests hold together counts once.
        """
        held, batch = self._memory.held, self.batch
        others = self.held_by((*self.prefilling, *self.leaving)) - self.pages.shared_bytes
        if held.grows_alike:
            return others + held.token_bytes * (batch.cached_tokens + len(batch) * grown)
        return others + held.of_growing(batch.cached, grown)

    def held_by(self, requests: Iterable[Request]) -> int:
        """Return the bytes of the caches of requests that do not decode."""
        return sum(self._memory.held.of_request(request.computed_tokens) for request in requests)

    def growth_bytes(self, rows: Ints | int, chunks: Iterable[Chunk] = ()) -> int:
        """Return the bytes by which caches grow in a step, tokens still to be verified included.

        Args:
            rows: token-rows of each decoding request, shape (RLP,) or the same for all.
            chunks: prompt tokens computed in the same step.
        """
        held, batch = self._memory.held, self.batch
        if held.grows_alike:
            return held.token_bytes * (batch.storable(rows) + sum(chunk.tokens for chunk in chunks))
        grown = held.of_requests(batch.cached + np.minimum(batch.remaining, rows)) - held.of_requests(batch.cached)
        for request, tokens in chunks:
            grown += held.of_request(request.computed_tokens + tokens) - held.of_request(request.computed_tokens)
        return grown

    @property
    def may_be_joined(self) -> bool:
        """Whether a request that arrives now may join the batch: not if others wait in front of it."""
        return self._joins_running and not self.waiting

    def enqueue(self, request: Request) -> None:
        """Let a request wait; refuse it if the model has no such positions, or if the whole KV cache cannot hold it."""
        if self._positions is not None and request.longest_tokens > self._positions:
            reason = f"needs {request.longest_tokens} positions, the model has learned {self._positions} (kv.beyond_positions)"
            self.refused.append((request, reason))
            return
        if self.pages.whole(request) > self.pages.total(1) and not self._must_fit:
            tokens = self.pages.longest(request.longest_tokens)
            reason = f"needs {request.longest_tokens} tokens of KV cache, {tokens} are there in all"
            self.refused.append((request, reason))
        else:
            self.waiting.append(request)

    def fitting(self, limit: int) -> int:
        """Return the number of the first waiting requests, at most ``limit``, that there are pages for."""
        return self.pages.fitting(islice(self.waiting, limit), alone=not self.admitted)

    def admit(self, count: int, now_s: float) -> None:
        """Admit the first waiting requests; those swapped out while they decoded resume at once.

        Raises:
            DoesNotFit: there are not enough pages for a batch that must start together.
        """
        requests = [self.waiting.popleft() for _ in range(count)]
        if self._must_fit and self.pages.fitting(requests, alone=True) < len(requests):
            raise self._too_large(requests)
        resumed = []
        for request in requests:
            swapped_tokens = request.computed_tokens
            self.moves += self.pages.allocate(request)
            request.admit(now_s)
            if swapped_tokens:
                self._move(swapped_tokens)
            if request.is_swapped:
                request.is_swapped = False
                resumed.append(request)
            else:
                request.enter(RequestState.PREFILLING)
                self.prefilling.append(request)
        self.batch.join(resumed)

    def hand_over(self, requests: Sequence[Request]) -> None:
        """Keep the caches of requests with complete prompts until they have been sent to another server."""
        for request in requests:
            request.enter(RequestState.LEAVING)
        self.leaving += requests

    def release(self, request: Request) -> None:
        """Free the pages of a request whose cache has been sent to another server; the request waits there."""
        self.leaving.remove(request)
        self.pages.release(request)
        request.enter(RequestState.WAITING)
        request.is_swapped, request.computed_tokens, request.chain = True, 0, None

    def chunks(self, tokens: Iterable[int]) -> list[Chunk]:
        """Return the prompt tokens to compute; ``tokens`` are those of a plan, for each prefilling request."""
        return [Chunk(request, count) for request, count in zip(self.prefilling, tokens, strict=False) if count]

    def compute(self, chunks: Iterable[Chunk]) -> list[Request]:
        """Put the computed prompt tokens of a step into the caches; returns the requests with complete prompts."""
        complete = []
        for request, count in chunks:
            request.computed_tokens += count
            self.pages.keep(request)
            if not request.prompt_left:
                complete.append(request)
        if complete:
            self.prefilling = [request for request in self.prefilling if request.prompt_left]
        return complete

    def reserve_pages(self, rows: Ints | int) -> int:
        """Allocate the pages of the next iteration; preempt the most recently admitted request while they are too few.

        Args:
            rows: token-rows of each decoding request, shape (RLP,) or the same for all.

        Returns:
            Number of requests preempted.
        """
        preempted = 0
        while len(self.batch) and not self.pages.grow(
            self.batch, rows if isinstance(rows, int) else rows[: len(self.batch)]
        ):
            decodes = not self.prefilling
            self._preempt(self.batch.drop_last() if decodes else self.prefilling.pop(), decodes=decodes)
            preempted += 1
        return preempted

    def drop(self, requests: Sequence[Request]) -> None:
        """Take out requests that wait, have prompts computed or decode, and free their pages."""
        self.batch.drop(requests)
        self.prefilling = [request for request in self.prefilling if request not in requests]
        self.waiting = deque(request for request in self.waiting if request not in requests)
        for request in requests:
            self.pages.release(request)

    def drop_all(self) -> list[Request]:
        """Take out every request, waiting or admitted, and free the KV cache."""
        requests = [*self.batch.drop_all(), *self.prefilling, *self.waiting, *self.leaving]
        self.prefilling, self.leaving = [], []
        self.waiting.clear()
        for request in requests:
            self.pages.release(request)
        return requests

    def _preempt(self, request: Request, *, decodes: bool) -> None:
        self.pages.release(request)
        if self._spec.on_exhaustion == "refuse":
            self.refused.append((request, "the KV cache was full, and it came last"))
            return
        request.preemptions += 1
        request.enter(RequestState.WAITING)
        if self._spec.on_exhaustion == "swap":
            request.is_swapped = decodes
            self._move(request.computed_tokens)
        else:
            request.computed_tokens = 0
        self.waiting.appendleft(request)

    def _move(self, tokens: int) -> None:
        link = self._spec.swap_link
        if link is not None and tokens:
            cost = self._machine.links[link].transfer(self._memory.held.of_request(tokens))
            self.moves.append(Phase(link, Category.COMMUNICATION, cost.time_s, cost.energy))

    def _too_large(self, requests: Sequence[Request]) -> DoesNotFit:
        pages, device = self.pages, self._memory.kv_device
        page_bytes = pages.page_tokens * self._memory.held.unit_bytes
        needed, total = sum(map(pages.demand, requests)), pages.total(len(requests))
        fitting = int(len(requests) * total / needed)
        return DoesNotFit(
            f"the KV caches of a batch of {len(requests)} requests do not fit into '{device}'",
            needed * page_bytes / 1e9,
            total * page_bytes / 1e9,
            "GB",
            [
                f"--batch {max(1, fitting)}",
                f"more of '{device}' (--set devices.{device}.count=…)",
                "shorter requests",
                "--batching chunked_prefill, which admits what fits",
            ],
        )
