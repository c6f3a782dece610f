"""From a trace's symbolic kernels to the concrete kernels of one step of one batch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from papisim.errors import NotModelled
from papisim.ops.dims import EXPERT_ROWS
from papisim.ops.formats import Packed
from papisim.ops.kernel import PACKABLE, Attention, Elementwise, FcRole, Kernel, KernelClass, KvAppend, Linear
from papisim.ops.trace import KernelTrace
from papisim.ops.trace_kernels import TraceKernel


@dataclass(frozen=True, slots=True)
class StepShape:
    """Everything that the kernels of a step depend on but the lengths of the KV caches.

    Attributes:
        rlp: requests of the batch.
        rows: token-rows that every kernel but attention sees: RLP × TLP, or the sum over requests where they differ.
        logit_rows: token-rows that the LM head computes: all when decoding, one per request after a prompt, 0 for none.
        layers: the layers that run, from first to before last; None for all. Self-speculation runs parts.
        prompt_rows: token-rows among ``rows`` that belong to prompts: none when decoding, all in a pure prefill.
    """

    rlp: int
    rows: int
    logit_rows: int
    layers: tuple[int, int] | None = None
    prompt_rows: int = 0

    @property
    def is_prefill(self) -> bool:
        """Whether nothing but prompts is computed."""
        return self.prompt_rows == self.rows

    def microbatch(self, n: int) -> StepShape:
        """Return the largest of ``n`` parts that the requests and rows are dealt out into."""
        rlp, rows, logit_rows, prompt_rows = (
            -(-value // n) for value in (self.rlp, self.rows, self.logit_rows, self.prompt_rows)
        )
        return StepShape(rlp, rows, logit_rows, self.layers, prompt_rows)

    def with_prompts(self, prompts: Prompts) -> StepShape:
        """Return the shape of this decoding step with prompts beside it; logits are wanted of those that end."""
        n_prompts, rows = prompts.lengths.n_requests, prompts.lengths.query_tokens
        logit_rows = self.logit_rows + prompts.ending if self.logit_rows else 0
        return StepShape(self.rlp + n_prompts, self.rows + rows, logit_rows, self.layers, self.prompt_rows + rows)


def decode_shape(rlp: int, rows: int, layers: tuple[int, int] | None = None) -> StepShape:
    """Return the shape of a decoding step."""
    return StepShape(rlp, rows, rows, layers)


def prefill_shape(input_tokens: Iterable[int]) -> StepShape:
    """Return the shape of a step that computes prompts of the given lengths."""
    lengths = list(input_tokens)
    return StepShape(len(lengths), sum(lengths), len(lengths), prompt_rows=sum(lengths))


@dataclass(frozen=True, slots=True)
class KvLengths:
    """The KV caches that a step attends to, as sums over requests (see :class:`papisim.ops.kernel.Attention`)."""

    n_requests: int
    query_tokens: int
    kv_tokens: int
    longest_kv: int
    pairs: int
    causal: bool = False

    def microbatch(self, n: int) -> KvLengths:
        """Return the largest of ``n`` parts that the requests are dealt out into, each with its share of the caches."""
        requests = -(-self.n_requests // n)
        tlp, rest = divmod(self.query_tokens, self.n_requests)
        if rest or self.pairs != tlp * self.kv_tokens:
            queries, kv_tokens, pairs = (-(-value // n) for value in (self.query_tokens, self.kv_tokens, self.pairs))
        else:
            kv_tokens = -(-self.kv_tokens * requests // self.n_requests)
            queries, pairs = tlp * requests, tlp * kv_tokens
        return KvLengths(requests, queries, kv_tokens, self.longest_kv, pairs, self.causal)

    @property
    def prefix_tokens(self) -> int:
        """Tokens that were in the caches before the step."""
        return self.kv_tokens - self.query_tokens


@dataclass(frozen=True, slots=True)
class Prompts:
    """The parts of prompts that a step computes.

    Attributes:
        lengths: cached and computed tokens of the prompts.
        ending: number of prompts whose last token is computed; each gets its first new token from this step.
    """

    lengths: KvLengths
    ending: int

    @property
    def shape(self) -> StepShape:
        """The shape of a step with nothing else in it."""
        rows = self.lengths.query_tokens
        return StepShape(self.lengths.n_requests, rows, self.ending, None, rows)


def decode_lengths(rlp: int, tlp: int, cached_tokens: int, longest_cached: int) -> KvLengths:
    """Return the lengths of a decoding step in which all requests have equally many new tokens.

    Each of the ``tlp`` new tokens is scored against the whole cache and all new tokens, as captured: kernels compute
    the rectangle and mask it.

    Args:
        rlp: requests.
        tlp: new tokens of each request.
        cached_tokens: tokens in all caches before the step.
        longest_cached: tokens in the longest cache before the step.
    """
    kv_tokens = cached_tokens + rlp * tlp
    return KvLengths(rlp, rlp * tlp, kv_tokens, longest_cached + tlp, tlp * kv_tokens)


def ragged_lengths(cached: npt.NDArray[np.int64], rows: npt.NDArray[np.int64]) -> KvLengths:
    """Return the lengths of a decoding step in which requests have different numbers of new tokens.

    Args:
        cached: tokens in each request's cache before the step, shape (RLP,).
        rows: new tokens of each request, shape (RLP,).
    """
    kv = cached + rows
    return KvLengths(len(kv), int(rows.sum()), int(kv.sum()), int(kv.max(initial=0)), int((rows * kv).sum()))


def prefill_lengths(input_tokens: Iterable[int]) -> KvLengths:
    """Return the lengths of a step that computes whole prompts; a causal kernel skips what the mask hides."""
    return chunk_lengths([(0, length) for length in input_tokens])


def chunk_lengths(chunks: Iterable[tuple[int, int]]) -> KvLengths:
    """Return the lengths of a step that computes parts of prompts.

    A chunk of ``c`` tokens after ``p`` cached ones attends to the prefix whole and to itself causally:
    ``c·(p + (c + 1)/2)`` pairs.

    Args:
        chunks: of each prompt, the tokens that are cached already and those computed now.
    """
    requests = queries = keys = longest = pairs = 0
    for prefix, tokens in chunks:
        requests += 1
        queries += tokens
        keys += prefix + tokens
        longest = max(longest, prefix + tokens)
        pairs += tokens * prefix + tokens * (tokens + 1) // 2
    return KvLengths(requests, queries, keys, longest, pairs, causal=True)


#: widest elements that FPUs, tensor cores and attention libraries are modelled for
_WIDEST_BYTES = 2


def _element_bytes(trace: KernelTrace) -> int:
    n_bytes = trace.model.element_bytes
    if n_bytes > _WIDEST_BYTES:
        raise NotModelled(
            f"kernels of {trace.model.dtype} ({trace.name}): units and libraries are modelled for 16 bits, to which serving engines "
            'cast such weights; capture it with "torch_dtype": "bfloat16" in its config.json'
        )
    return n_bytes


def lower(kernel: TraceKernel, trace: KernelTrace, rows: int, expert_rows: int = 0) -> Kernel:
    """Return a trace's kernel at a number of token-rows; attention has :func:`lower_attention`.

    Args:
        kernel: a kernel of the trace, of any class but attention.
        trace: the trace it is in.
        rows: token-rows that the kernel sees; for the LM head, those whose logits are computed.
        expert_rows: rows of the expert at hand, for a per-expert kernel.

    Raises:
        NotModelled: the model's elements are wider than 16 bits.
    """
    point = {"RLP": 1, "TLP": rows, "KV": 0, EXPERT_ROWS: expert_rows}
    element_bytes = _element_bytes(trace)
    if kernel.fc is not None and kernel.role is not None:
        m = rows if kernel.role is FcRole.LM_HEAD else kernel.fc.m.at(point)
        weights, input_bits = stored_weights(kernel, trace)
        return Linear(kernel.role, m, kernel.fc.k, kernel.fc.n, element_bytes, weights, input_bits)
    if kernel.kernel_class is KernelClass.KV_APPEND:
        return _lower_append(kernel.write_bytes.at(point), trace)
    return Elementwise(
        kernel.kernel_class, kernel.flop.at(point), kernel.read_bytes.at(point), kernel.write_bytes.at(point)
    )


def stored_weights(kernel: TraceKernel, trace: KernelTrace) -> tuple[Packed | None, int | None]:
    """Storage of the weights of an FC kernel, and the bits of its inputs; None is as traced.

    Formats that the user asked for win over those in which the model was published.
    """
    published = trace.model.packed
    if kernel.role not in PACKABLE:
        return None, None
    if trace.formats.weights is not None or trace.formats.input_bits is not None:
        return trace.formats.weights, trace.formats.input_bits
    if published is None or not published.packs(kernel.name):
        return None, None
    return published.format, published.input_bits


def _lower_append(computed_bytes: int, trace: KernelTrace) -> KvAppend:
    """Return the append of K and V, computed in the trace's element type, into the cache as it is stored."""
    kv, model = trace.formats.kv, trace.model
    heads = (model.n_heads, model.n_kv_heads)
    if kv is None:
        return KvAppend(computed_bytes, heads=heads)
    vectors = computed_bytes // (model.element_bytes * model.head_dim)
    return KvAppend(kv.n_bytes(vectors, model.head_dim), computed_bytes, heads)


def lower_attention(kernel: TraceKernel, trace: KernelTrace, lengths: KvLengths) -> Attention:
    """Return a trace's attention kernel over a batch's caches."""
    heads = kernel.attention
    if heads is None:
        raise ValueError(f"kernel '{kernel.name}' is no attention kernel")
    return Attention(
        n_requests=lengths.n_requests,
        query_tokens=lengths.query_tokens,
        kv_tokens=lengths.kv_tokens,
        longest_kv=lengths.longest_kv,
        pairs=lengths.pairs,
        n_heads=heads.n_heads,
        n_kv_heads=heads.n_kv_heads,
        head_dim=heads.head_dim,
        element_bytes=_element_bytes(trace),
        kv=trace.formats.kv,
        causal=lengths.causal,
    )


def kv_bytes_per_token(trace: KernelTrace) -> int:
    """Return the bytes that one token of one request takes in the KV cache, all layers together."""
    point = {"RLP": 1, "TLP": 1, "KV": 0, EXPERT_ROWS: 0}
    return sum(
        _lower_append(kernel.write_bytes.at(point), trace).new_bytes * repeats
        for kernel, repeats in trace.kernels()
        if kernel.kernel_class is KernelClass.KV_APPEND
    )


def stage_weight_bytes(trace: KernelTrace, layers: range) -> int:
    """Return the bytes of the parameters that a pipeline stage holds, scales included.

    What runs before the layers is on the stage with the first layer, what runs after them on the stage with the last. A
    token embedding tied to the LM head is held by both, once each.

    Args:
        trace: the model.
        layers: layers of the stage.
    """
    model, total, in_layers = trace.model, 0, False
    embedding = model.vocab_size * model.hidden_size * model.element_bytes
    first, last = layers.start == 0, layers.stop == model.n_layers
    for block in trace.blocks:
        if block.layers is not None:
            in_layers = True
            here = range(max(layers.start, block.layer_range.start), min(layers.stop, block.layer_range.stop))
            total += len(here) * sum(_parameter_bytes(kernel, trace) for kernel in block.kernels)
        elif last if in_layers else first:
            total += sum(_parameter_bytes(kernel, trace) for kernel in block.kernels)
    return total - (embedding if model.tied_embeddings and first and last else 0)


def layer_weight_bytes(trace: KernelTrace) -> int:
    """Return the bytes of the parameters of the first layer, scales included."""
    block = next(block for block in trace.blocks if 0 in block.layer_range)
    return sum(_parameter_bytes(kernel, trace) for kernel in block.kernels)


def _parameter_bytes(kernel: TraceKernel, trace: KernelTrace) -> int:
    """Return the bytes of a kernel's parameters in one layer, all experts together."""
    as_traced = sum(parameter.tensor.n_bytes.constant for parameter in (*kernel.weights, *kernel.tables))
    packed = None if kernel.fc is None else stored_weights(kernel, trace)[0]
    if packed is not None and kernel.fc is not None:
        k, n = kernel.fc.k, kernel.fc.n
        as_traced -= k * n * trace.model.element_bytes - packed.n_bytes(n, k)
    return as_traced * (trace.model.n_experts if kernel.per_expert else 1)


def weight_bytes(trace: KernelTrace) -> int:
    """Return the bytes of all parameters of the model, scales included."""
    return stage_weight_bytes(trace, range(trace.model.n_layers))
