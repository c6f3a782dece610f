"""On which device each operator of a decoding step runs: views for the placement policy, and what a choice costs.

An operator runs where its data are, or where they can be fetched, and the fetch is part of its price. FC kernels have the devices
that read the weights (``roles.fc``). Attention has its home and the devices of ``roles.attention_elsewhere``; these read the caches
from the memory that the caches are in, and stay in:

- without an attention link they share that memory with the home, and read it at their own bandwidth;
- over the link, every step fetches what the step attends to, layer by layer, before it is attended to. New K and V are sent to
  the caches as ever, while Q and the context of a step stay where they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache, cached_property, partial
from typing import NamedTuple

import numpy as np

from papisim.arrays import Floats, Ints
from papisim.devices.base import AttentionRun, DevicePool
from papisim.ops.cost import Cost, Energy
from papisim.ops.experts import awake_experts
from papisim.ops.kernel import ROW_PARALLEL, Attention, Kernel, Linear
from papisim.ops.lower import KvLengths, StepShape, cached_bytes, lower_attention
from papisim.ops.trace import KernelTrace
from papisim.ops.trace_kernels import AttentionShape, TraceKernel
from papisim.plan.machine import Machine
from papisim.plan.narrowing import narrowing, narrowing_rows
from papisim.plan.phase import Category, Phase, seconds
from papisim.plan.transfers import Transfers, fetch
from papisim.policies.placement.base import Operator, PlacementPolicy, PlacementView

#: what attention of some iterations costs: phases of the first iteration without their costs, and the costs of all
Growing = list[tuple[Phase, AttentionRun]]


class _Step(NamedTuple):
    """What is known of a step when an FC kernel is placed.

    Attributes:
        rlp: requests decoded together.
        rows: token-rows in flight.
        narrowed_ratio: kernels that narrow inputs, per kernel that is placed.
    """

    rlp: int
    rows: int
    narrowed_ratio: float


@dataclass(frozen=True)
class Placing:
    """Asks the placement policy about each operator of a model on a machine.

    Attributes:
        trace: the model.
        machine: the hardware.
        policy: the placement policy.
        attention: one attention kernel of each shape, and whether its layer appends to the cache.
        drafts: whether the model is a draft model.
    """

    trace: KernelTrace
    machine: Machine
    policy: PlacementPolicy
    attention: tuple[tuple[TraceKernel, bool], ...]
    drafts: bool = False

    @cached_property
    def _transfers(self) -> Transfers:
        return Transfers(self.machine, self.trace.model.element_bytes)

    def fc(self, kernel: Linear, rlp: int, rows: int, narrowed_ratio: float = 0.0) -> str:
        """Return the device of an FC kernel, an expert's aside.

        Args:
            kernel: the kernel.
            rlp: requests decoded together.
            rows: token-rows in flight.
            narrowed_ratio: kernels that narrow inputs, per kernel that is placed.
        """
        return self._fc(kernel, _Step(rlp, rows, narrowed_ratio), Operator.FC, None)

    def experts(self, kernel: Linear, rlp: int, rows: int, narrowed_ratio: float = 0.0) -> str:
        """Return the device of an FC kernel of a layer's experts; its intensity is the expected rows of an expert that gets any."""
        model = self.trace.model
        choices = model.n_experts_per_token
        awake = awake_experts(rows, model.n_experts, choices)
        step = _Step(rlp, rows, narrowed_ratio)
        return self._fc(kernel, step, Operator.EXPERTS, rows * choices / awake)

    def _fc(self, kernel: Linear, step: _Step, operator: Operator, estimate: float | None) -> str:
        operator = Operator.DRAFT_FC if self.drafts else operator
        candidates, price = tuple(self.machine.roles.fc), partial(self._fc_price, step)
        return self.policy.place(PlacementView(step.rlp, step.rows, kernel, candidates, price, operator, estimate))

    def _fc_price(self, step: _Step, device: str, kernel: Kernel) -> Cost:
        """Return the cost of an FC kernel with its share of what narrows inputs, and of the sum over ranks where not all devices need one."""
        cost, parallel = self.machine.price(device, kernel), self.machine.roles.tensor_parallel
        if not isinstance(kernel, Linear):
            return cost
        if step.narrowed_ratio and self.machine.pools[device].quantises(kernel):
            narrow = self.machine.price(device, narrowing(kernel, narrowing_rows(kernel, step.rows)))
            cost = replace(cost, time_s=cost.time_s + step.narrowed_ratio * narrow.time_s)
        if parallel.reduced is None or kernel.role not in ROW_PARALLEL:
            return cost
        rows = kernel.m // max(1, self.trace.model.n_experts_per_token) if kernel.groups else kernel.m
        sums = self._transfers.sums(rows, kernel.n, device)
        return replace(cost, time_s=cost.time_s + seconds(sums))

    def attention_devices(self, shape: StepShape, lengths: KvLengths | None) -> tuple[str, ...]:
        """Return the device of decoding attention of each shape; empty where all of it is at home.

        Args:
            shape: shape of the step.
            lengths: caches of the requests that decode; None places attention at home.
        """
        if lengths is None or not self.machine.roles.attention_elsewhere:
            return ()
        home, prompt_rows = self.machine.roles.attention, self._prompt_rows_at_home(shape)
        devices = tuple(self._attention(at, lengths, prompt_rows) for at in range(len(self.attention)))
        return () if set(devices) <= {home} else devices

    def _prompt_rows_at_home(self, shape: StepShape) -> int:
        roles = self.machine.roles
        return shape.prompt_rows if roles.prefill.attention == roles.attention else 0

    def _attention(self, at: int, lengths: KvLengths, prompt_rows: int) -> str:
        kernel = lower_attention(self.attention[at][0], self.trace, lengths)

        def price(device: str, asked: Kernel) -> Cost:
            phase = self.machine.compute_once(device, Category.ATTENTION, asked)
            if device == self._home:
                further_s = self._around_s(at, lengths.query_tokens, prompt_rows)
            else:
                further_s = seconds(self.fetched(self.attention[at][0], device, lengths))
            return Cost(phase.time_s + further_s, phase.work[0].bound)

        return self._place(kernel, lengths, price)

    @property
    def _home(self) -> str:
        return self.machine.roles.attention

    def _place(self, kernel: Attention, lengths: KvLengths, price: Callable[[str, Kernel], Cost]) -> str:
        operator = Operator.DRAFT_ATTENTION if self.drafts else Operator.ATTENTION
        rlp, rows, candidates = lengths.n_requests, lengths.query_tokens, self.machine.roles.attends
        view = PlacementView(rlp, rows, kernel, candidates, price, operator, attention_intensity(kernel))
        return self.policy.place(view)

    def _around_s(self, at: int, rows: int, prompt_rows: int) -> float:
        """Return the seconds of messages that only attention at home needs: Q of the requests that decode, and their context."""
        (_, appends), transfers, shape = self.attention[at], self._transfers, self.attention[at][0].attention
        assert shape is not None, "of an attention kernel"

        def messages(n: int) -> Iterator[Phase]:
            yield from transfers.queries(n, shape, with_cache=appends)
            yield from transfers.context(n, shape)

        return seconds(messages(rows + prompt_rows)) - seconds(messages(prompt_rows))

    def alike(self, lengths: KvLengths, n: int) -> int:
        """Return the number of the first of ``n`` decoding iterations whose attention is where that of the first is.

        Args:
            lengths: caches of the first iteration; each grows by its new tokens from one iteration to the next.
            n: iterations.
        """
        if not self.machine.roles.attention_elsewhere:
            return n
        for at in range(len(self.attention)):
            placed = self._growing_devices(at, lengths, n)
            first = next(placed)
            n = next((number for number, device in enumerate(placed, 1) if device != first), n)
        return n

    def _growing_devices(self, at: int, lengths: KvLengths, n: int) -> Iterator[str]:
        """Yield the device of attention in each of ``n`` decoding iterations."""
        trace_kernel = self.attention[at][0]
        around_s = self._around_s(at, lengths.query_tokens, 0)

        @cache
        def times_s(device: str) -> Floats:
            costs = self.growing(trace_kernel, device, lengths, n)
            total = sum((run.time_s for _, run in costs), np.zeros(n))
            return total + around_s if device == self._home else total

        tokens, longest = self._keys(trace_kernel, lengths, n)
        kernel = lower_attention(trace_kernel, self.trace, lengths)
        pairs_ratio = kernel.pairs // kernel.kv_tokens
        for number in range(n):
            kv_tokens = int(tokens[number])
            grown = replace(
                kernel, kv_tokens=kv_tokens, longest_kv=int(longest[number]), pairs=pairs_ratio * kv_tokens
            )
            yield self._place(grown, lengths, partial(_price_at, times_s, number))

    def _keys(self, kernel: TraceKernel, lengths: KvLengths, n: int) -> tuple[Ints, Ints]:
        """Return the keys that each of ``n`` iterations attends to, of all requests and of the longest, shape (n,) each."""
        assert kernel.attention is not None, "of an attention kernel"
        if kernel.attention.reach.is_bounded:
            return lengths.growing(kernel.attention.reach, n)
        tlp = lengths.query_tokens // lengths.n_requests
        steps = np.arange(n, dtype=np.int64)
        return lengths.kv_tokens + steps * lengths.query_tokens, lengths.longest_kv + steps * tlp

    def growing(self, kernel: TraceKernel, device: str, lengths: KvLengths, n: int) -> Growing:
        """Return attention on a device in ``n`` decoding iterations, and the message that fetches the caches, if any."""
        lowered = lower_attention(kernel, self.trace, lengths)
        assert kernel.attention is not None, "of an attention kernel"
        run = grown(self.machine.pools[device], lowered, kernel.attention, lengths, n)
        phase = Phase(device, Category.ATTENTION, 0.0, Energy(), lowered.flop, operator=Operator.ATTENTION)
        return [(phase, self.machine.paced_run(run)), *self._fetched(kernel, device, lengths, n)]

    def _fetched(self, kernel: TraceKernel, device: str, lengths: KvLengths, n: int) -> Growing:
        link = self.machine.roles.attention_link
        if link is None or device == self._home:
            return []
        assert kernel.attention is not None, "of an attention kernel"
        tokens = self._keys(kernel, lengths, n)[0] - lengths.query_tokens
        sizes = [cached_bytes(kernel.attention, self.trace, int(each)) for each in tokens]
        costs = [self.machine.paced_transfer(link, size) for size in sizes]
        return [(Phase(link, Category.COMMUNICATION, 0.0, Energy()), AttentionRun.of_costs(costs))]

    def fetched(self, kernel: TraceKernel, device: str, lengths: KvLengths) -> Iterator[Phase]:
        """Yield the message that brings the caches of requests that decode to a device that is not their home."""
        shape = kernel.attention
        assert shape is not None, "of an attention kernel"
        tokens = lengths.within(shape.reach).kv_tokens - lengths.query_tokens
        yield from fetch(self.machine, device, cached_bytes(shape, self.trace, tokens))


def grown(pool: DevicePool, kernel: Attention, shape: AttentionShape, lengths: KvLengths, n: int) -> AttentionRun:
    """Return the costs of attention on some devices in ``n`` iterations, each of which lengthens every cache by its new tokens."""
    if shape.reach.is_bounded:
        caches = lengths.growing(shape.reach, n)
        run, outside = pool.price_caches(kernel, *caches), pool.outside_caches(kernel, *caches)
    else:
        run, outside = pool.price_growing(kernel, n), pool.outside_growing(kernel, n)
    return replace(run, outside=outside) if outside else run


def _price_at(times_s: Callable[[str], Floats], number: int, device: str, kernel: Kernel) -> Cost:
    """Return the cost of attention of one of many iterations that were priced together."""
    del kernel
    return Cost(float(times_s(device)[number]), "attention")


def attention_intensity(kernel: Attention) -> float:
    """Return the arithmetic intensity of attention in token-rows per number read.

    Each vector of a cache is used by all query heads of its group and all tokens in flight: TLP × group. Where V is a part of K
    (multi-head latent attention), the vector of ``d`` numbers is used for the score and its first ``v`` for the context: times
    ``(d + v)/d``.
    """
    per_vector = kernel.pairs / kernel.kv_tokens * kernel.n_heads / kernel.n_kv_heads
    return per_vector * ((kernel.head_dim + kernel.value_width) / kernel.head_dim if kernel.latent else 1.0)
