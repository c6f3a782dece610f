"""Messages within a step: new K, V and Q to the caches, the context back, cached prefixes to the prompts, and sums over ranks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from papisim.ops.kernel import Elementwise
from papisim.ops.lower import lower_append
from papisim.ops.trace import Block, KernelTrace
from papisim.ops.trace_kernels import AttentionShape, TraceKernel
from papisim.plan.collectives import all_reduce, exchange
from papisim.plan.machine import Machine
from papisim.plan.phase import Category, Exchange, Phase

#: bytes of the logarithm of a sum of exponentials: 32 bits
_LOG_SUM_BYTES: Final = 4


class Transfers(NamedTuple):
    """The messages between the devices of a machine, in elements of one size.

    Attributes:
        machine: the hardware.
        element_bytes: bytes of one element of Q, of the context and of partial sums.
    """

    machine: Machine
    element_bytes: int

    def append(
        self, trace: KernelTrace, rows: int, query_rows: Callable[[AttentionShape], int], block: Block
    ) -> Iterator[Phase]:
        """Yield the message with new K and V, and Q of the rows that attend there, and the write into the caches.

        Args:
            trace: the model.
            rows: token-rows that are appended.
            query_rows: token-rows of a shape whose attention is computed where the caches are.
            block: the block of the layer.
        """
        roles, kernel = self.machine.roles, lower_append(block, trace, rows)
        assert kernel is not None, "of a layer with caches"
        if roles.attention_link is not None:
            query_bytes = sum(self._query_bytes(query_rows(shape), shape) for shape in block.attention)
            yield self.machine.send(roles.attention_link, kernel.write_bytes + query_bytes)
        yield self.machine.compute(roles.kv, Category.ATTENTION, kernel)

    def queries(self, query_rows: int, attention: AttentionShape, *, with_cache: bool = False) -> Iterator[Phase]:
        """Yield the message with Q of the rows that attend to the cache of another layer.

        Args:
            query_rows: token-rows whose attention is computed where the caches are.
            attention: the heads.
            with_cache: whether Q travels in a message that is sent anyway, as of a layer that appends: its bytes alone count.
        """
        link, payload = self.machine.roles.attention_link, self._query_bytes(query_rows, attention)
        if link is not None and payload:
            sent = self.machine.send(link, payload)
            latency_s = self.machine.send(link, 0).time_s if with_cache else 0.0
            yield sent._replace(time_s=sent.time_s - latency_s)

    def context(self, query_rows: int, attention: AttentionShape) -> Iterator[Phase]:
        """Yield the message with the context of the rows whose attention is computed where the caches are."""
        link = self.machine.roles.attention_link
        payload = query_rows * attention.n_heads * attention.value_width * self.element_bytes
        if link is not None and payload:
            yield self.machine.send(link, payload)

    def gather_queries(self, query_rows: int, attention: AttentionShape) -> Iterator[Phase]:
        """Yield the all-gather of the heads of Q among the ranks that each have a part of the caches' tokens."""
        parallel, ranks = self.machine.parallel, self.machine.roles.tensor_parallel.ranks
        payload = self._query_bytes(query_rows, attention) * parallel.context_ranks / ranks
        yield from exchange(self.machine, payload, parallel.context_ranks, Exchange.ALL_GATHER)

    def sum_contexts(self, query_rows: int, attention: AttentionShape) -> Iterator[Phase]:
        """Yield the sum of the partial contexts of these ranks, sent with the logarithm of the sum of exponentials of each head.

        Each rank gets the heads whose part of the projection it has: a reduce-scatter (Helix parallelism, 2025, sends both in one
        message). Rescaling on arrival is not charged.
        """
        parallel, ranks = self.machine.parallel, self.machine.roles.tensor_parallel.ranks
        row_bytes = attention.n_heads * (attention.value_width * self.element_bytes + _LOG_SUM_BYTES)
        payload = query_rows * row_bytes * parallel.context_ranks / ranks
        yield from exchange(self.machine, payload, parallel.context_ranks, Exchange.REDUCE_SCATTER)

    def _query_bytes(self, rows: int, attention: AttentionShape) -> int:
        return rows * attention.n_heads * attention.head_dim * self.element_bytes

    def around_states(self, update: Elementwise, phase: Phase) -> Iterator[Phase]:
        """Yield the update of states between the messages that it needs.

        States that are updated where they lie need their inputs there and their results back; those of prompts are sent from
        where they were computed.
        """
        roles, link = self.machine.roles, self.machine.roles.attention_link
        if link is None:
            yield phase
        elif phase.resource == roles.attention:
            yield self.machine.send(link, update.read_bytes - update.state_bytes)
            yield phase
            yield self.machine.send(link, update.write_bytes - update.state_bytes - update.kept_bytes)
        else:
            yield phase
            yield self.machine.send(link, update.state_bytes)

    def reduce(self, kernel: TraceKernel, rows: int, device: str) -> Iterator[Phase]:
        """Yield the sum of a row-parallel kernel's partial outputs; experts' outputs are first combined on each rank."""
        if kernel.fc is not None:
            yield from self.sums(rows, kernel.fc.n, device)

    def sums(self, rows: int, n: int, device: str) -> Iterator[Phase]:
        """Yield the sum over ranks of ``n`` partial outputs of each row, unless the device hands over whole sums."""
        parallel = self.machine.roles.tensor_parallel
        if parallel.reduced is not None and device not in parallel.reduced:
            return
        if parallel.ranks > 1:
            yield from all_reduce(self.machine, rows * n * self.element_bytes, parallel.ranks)


def fetch(machine: Machine, device: str, prefix_bytes: int) -> Iterator[Phase]:
    """Yield the message that brings the cached part of requests to the device that attends to it, unless it is there.

    Args:
        machine: the hardware.
        device: the device that attends.
        prefix_bytes: bytes of the part that was cached before the step.
    """
    roles, link = machine.roles, machine.roles.attention_link
    if link is not None and device != roles.attention and prefix_bytes:
        yield machine.send(link, prefix_bytes)
