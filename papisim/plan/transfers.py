"""Messages within a step: new K, V and Q to the caches, the context back, cached prefixes to the prompts, and sums over ranks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from papisim.ops.kernel import Attention, Kernel
from papisim.ops.trace_kernels import AttentionShape, TraceKernel
from papisim.plan.machine import Machine
from papisim.plan.phase import Category, Phase


class Transfers(NamedTuple):
    """The messages between the devices of a machine, in elements of one size.

    Attributes:
        machine: the hardware.
        element_bytes: bytes of one element of Q, of the context and of partial sums.
    """

    machine: Machine
    element_bytes: int

    def append(self, kernel: Kernel, query_rows: int, attention: AttentionShape | None) -> Iterator[Phase]:
        """Yield the message with new K and V, and Q of the rows that attend there, and the write into the cache.

        Args:
            kernel: the write.
            query_rows: token-rows whose attention is computed where the caches are.
            attention: the heads of the layer.
        """
        roles = self.machine.roles
        if roles.attention_link is not None:
            query_bytes = self._query_bytes(query_rows, attention)
            yield self.machine.send(roles.attention_link, kernel.write_bytes + query_bytes)
        yield self.machine.compute(roles.kv, Category.ATTENTION, kernel)

    def context(self, query_rows: int, attention: AttentionShape | None) -> Iterator[Phase]:
        """Yield the message with the context of the rows whose attention is computed where the caches are."""
        link, payload = self.machine.roles.attention_link, self._query_bytes(query_rows, attention)
        if link is not None and payload:
            yield self.machine.send(link, payload)

    def _query_bytes(self, rows: int, attention: AttentionShape | None) -> int:
        """Bytes of Q, or of the context, which has the same shape."""
        return 0 if attention is None else rows * attention.n_heads * attention.head_dim * self.element_bytes

    def reduce(self, kernel: TraceKernel, rows: int, device: str) -> Iterator[Phase]:
        """Yield the sum of a row-parallel kernel's partial outputs; experts' outputs are first combined on each rank."""
        parallel = self.machine.roles.tensor_parallel
        if parallel.reduced is not None and device not in parallel.reduced:
            return
        if parallel.ranks > 1 and kernel.fc is not None:
            yield self.machine.all_reduce(rows * kernel.fc.n * self.element_bytes)


def fetch(machine: Machine, kernel: Attention, prefix_tokens: int) -> Iterator[Phase]:
    """Yield the message that brings the cached part of prompts to the device that attends to it.

    Args:
        machine: the hardware.
        kernel: attention of the prompts.
        prefix_tokens: tokens of the prompts that were cached before the step.
    """
    roles, link = machine.roles, machine.roles.attention_link
    if link is not None and prefix_tokens and roles.prefill.attention != roles.attention:
        yield machine.send(link, replace(kernel, kv_tokens=prefix_tokens).kv_bytes)
