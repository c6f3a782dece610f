"""From a trace's symbolic kernels to the concrete kernels of one step of one batch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from operator import methodcaller
from typing import NamedTuple

import numpy as np

from papisim.arrays import Ints
from papisim.errors import NotModelled
from papisim.ops.dims import EXPERT_ROWS, Dim
from papisim.ops.formats import WeightFormat, WeightRole
from papisim.ops.held import HeldBytes, Keeping
from papisim.ops.kernel import (
    FEED_FORWARD,
    PACKABLE,
    Attention,
    Elementwise,
    FcRole,
    Group,
    Kernel,
    KernelClass,
    KvAppend,
    Linear,
)
from papisim.ops.reach import Reach
from papisim.ops.trace import Block, KernelTrace
from papisim.ops.trace_kernels import AttentionShape, TraceKernel


@dataclass(frozen=True, slots=True)
class StepShape:
    """Everything that the kernels of a step depend on but the lengths of the KV caches.

    Attributes:
        rlp: requests of the batch.
        rows: token-rows that every kernel but attention sees: RLP × TLP, or the sum over requests where they differ.
        logit_rows: token-rows that the LM head computes: all when decoding, one per request after a prompt, 0 for none.
        layers: the layers that run, from first to before last; None for all. Self-speculation runs parts.
        prompt_rows: token-rows among ``rows`` that belong to prompts: none when decoding, all in a pure prefill.
        drafted_rows: token-rows of decoding requests beyond the first of each. States are kept after each of them until it is known
            which drafts are accepted.
        prompts: requests among ``rlp`` whose prompts are computed.
    """

    rlp: int
    rows: int
    logit_rows: int
    layers: tuple[int, int] | None = None
    prompt_rows: int = 0
    drafted_rows: int = 0
    prompts: int = 0

    @property
    def is_prefill(self) -> bool:
        """Whether nothing but prompts is computed."""
        return self.prompt_rows == self.rows

    def microbatch(self, n: int) -> StepShape:
        """Return the largest of ``n`` parts that the requests and rows are dealt out into."""
        rlp, rows, logit_rows, prompt_rows, drafted_rows, prompts = (
            -(-value // n)
            for value in (self.rlp, self.rows, self.logit_rows, self.prompt_rows, self.drafted_rows, self.prompts)
        )
        return StepShape(rlp, rows, logit_rows, self.layers, prompt_rows, drafted_rows, prompts)

    def dealt(self, n: int) -> tuple[tuple[StepShape, int], ...]:
        """Return the parts that requests are dealt out into one by one, first those that decode, and the number of parts of each shape.

        Requests of one kind are taken to have equally many token-rows, rounded up; parts without requests are left out.
        """
        if n == 1:
            return ((self, 1),)
        decoding = self.rlp - self.prompts
        parts = Counter(
            (len(range(part, decoding, n)), len(range((part - decoding) % n, self.prompts, n))) for part in range(n)
        )
        return tuple((self._part(*own), count) for own, count in parts.items() if any(own))

    def _part(self, decoding: int, prompts: int) -> StepShape:
        """Return the shape of some of the requests that decode and some of the prompts."""
        prompt_rows = -(-self.prompt_rows * prompts // max(1, self.prompts))
        all_decoding = max(1, self.rlp - self.prompts)
        rows = -(-(self.rows - self.prompt_rows) * decoding // all_decoding) + prompt_rows
        drafted_rows = -(-self.drafted_rows * decoding // all_decoding)
        logit_rows = -(-self.logit_rows * (decoding + prompts) // self.rlp)
        return StepShape(decoding + prompts, rows, logit_rows, self.layers, prompt_rows, drafted_rows, prompts)

    def with_prompts(self, prompts: Prompts) -> StepShape:
        """Return the shape of this decoding step with prompts beside it; logits are wanted of those that end."""
        n_prompts, rows = prompts.lengths.n_requests, prompts.lengths.query_tokens
        logit_rows = self.logit_rows + prompts.ending if self.logit_rows else 0
        return replace(
            self,
            rlp=self.rlp + n_prompts,
            rows=self.rows + rows,
            logit_rows=logit_rows,
            prompt_rows=self.prompt_rows + rows,
            prompts=self.prompts + n_prompts,
        )


def decode_shape(rlp: int, rows: int, layers: tuple[int, int] | None = None) -> StepShape:
    """Return the shape of a decoding step."""
    return StepShape(rlp, rows, rows, layers, drafted_rows=max(0, rows - rlp))


def prefill_shape(input_tokens: Iterable[int]) -> StepShape:
    """Return the shape of a step that computes prompts of the given lengths."""
    lengths = list(input_tokens)
    return StepShape(len(lengths), sum(lengths), len(lengths), prompt_rows=sum(lengths), prompts=len(lengths))


class Caches(NamedTuple):
    """The caches that a step attends to, one by one.

    Attributes:
        cached: tokens in each request's cache before the step, shape (n,).
        rows: new tokens of each request, shape (n,) or the same for all.
    """

    cached: Sequence[int] | Ints
    rows: Sequence[int] | Ints | int

    @property
    def arrays(self) -> tuple[Ints, Ints]:
        """Both, shape (n,)."""
        cached = np.asarray(self.cached, dtype=np.int64)
        return cached, np.broadcast_to(np.asarray(self.rows, dtype=np.int64), cached.shape)


@dataclass(frozen=True, slots=True)
class KvLengths:
    """The KV caches that a step attends to, as sums over requests (see :class:`papisim.ops.kernel.Attention`).

    Attributes:
        n_requests: requests.
        query_tokens: new tokens of all requests.
        kv_tokens: cached tokens of all requests, the new ones included.
        longest_kv: tokens of the longest cache, the new ones included.
        pairs: (query, key) pairs of all requests.
        causal: whether the lengths are of prompts.
        unseen_pairs: pairs before the diagonal of prompts that are skipped, since a query sees a part of what is read.
        caches: the lengths that were summed; None where all are equal.
        whole: the lengths of which this is a part that the requests are dealt out into, and the function that takes the part.
    """

    n_requests: int
    query_tokens: int
    kv_tokens: int
    longest_kv: int
    pairs: int
    causal: bool = False
    unseen_pairs: int = 0
    caches: Caches | None = field(default=None, compare=False, repr=False)
    whole: tuple[KvLengths, Callable[[KvLengths], KvLengths]] | None = field(default=None, compare=False, repr=False)

    def microbatch(self, n: int) -> KvLengths:
        """Return the largest of ``n`` parts that the requests are dealt out into, each with its share of the caches."""
        requests = -(-self.n_requests // n)
        tlp, rest = divmod(self.query_tokens, self.n_requests)
        if rest or self.pairs != tlp * self.kv_tokens:
            queries, kv_tokens, pairs = (-(-value // n) for value in (self.query_tokens, self.kv_tokens, self.pairs))
        else:
            kv_tokens = -(-self.kv_tokens * requests // self.n_requests)
            queries, pairs = tlp * requests, tlp * kv_tokens
        unseen = -(-self.unseen_pairs // n)
        take = methodcaller("microbatch", n)
        return KvLengths(
            requests, queries, kv_tokens, self.longest_kv, pairs, self.causal, unseen, whole=(self, take)
        )

    def dealt(self, n: int) -> tuple[tuple[KvLengths, int], ...]:
        """Return the parts that the requests are dealt out into, and the number of parts of each size, the largest first."""
        if n == 1:
            return ((self, 1),)
        least, more = divmod(self.n_requests, n)
        sizes = ((least + 1, more), (least, n - more))
        return tuple((self._share(size, self.n_requests), count) for size, count in sizes if size and count)

    def _share(self, part: int, whole: int) -> KvLengths:
        """Return the lengths of ``part`` of every ``whole`` requests, of mean length; any of them may be the longest."""
        requests, queries, kv_tokens, pairs, unseen = (
            -(-value * part // whole)
            for value in (self.n_requests, self.query_tokens, self.kv_tokens, self.pairs, self.unseen_pairs)
        )
        tlp, rest = divmod(self.query_tokens, self.n_requests)
        if not rest and self.pairs == tlp * self.kv_tokens:  # each query sees all keys, in the part as well
            pairs = tlp * kv_tokens
        take = methodcaller("_share", part, whole)
        return KvLengths(
            requests, queries, kv_tokens, self.longest_kv, pairs, self.causal, unseen, whole=(self, take)
        )

    def within(self, reach: Reach) -> KvLengths:
        """Return the lengths that attention with a reach reads and computes; pairs are those that are seen.

        Raises:
            ValueError: requests have different lengths, of which the sums alone are known.
        """
        if not reach.is_bounded:
            return self
        if self.whole is not None:
            whole, take = self.whole
            return take(whole.within(reach))
        cached, rows = self._each().arrays
        keys, pairs = reach.prompted(cached, rows) if self.causal else reach.decoded(cached, rows)
        queries, sums = self.query_tokens, (int(keys.sum()), int(keys.max(initial=0)), int(pairs.sum()))
        if self.causal:
            before_diagonal = int((rows * (keys - rows) + rows * (rows + 1) // 2).sum())
            return KvLengths(self.n_requests, queries, *sums, causal=True, unseen_pairs=before_diagonal - sums[-1])
        if reach.is_of_each_token:
            longest = int((keys // np.maximum(rows, 1)).max(initial=0))
            return KvLengths(queries, queries, sums[0], longest, sums[0])
        return KvLengths(self.n_requests, queries, *sums)

    def growing(self, reach: Reach, n: int) -> tuple[Ints, Ints]:
        """Return the keys of ``n`` decoding iterations, all requests together and of the longest, shapes (n,).

        Between them every cache grows by its request's new tokens, of which all requests have equally many.
        """
        if self.whole is not None:
            whole, requests = self.whole[0], self.n_requests
            sums, longest = whole.growing(reach, n)
            return -(-sums * requests // whole.n_requests), longest
        return reach.growing(self._each().arrays[0], self.query_tokens // self.n_requests, n)

    def after(self, n: int) -> KvLengths:
        """Return the lengths after ``n`` decoding iterations, each of which lengthens every cache by its request's new tokens."""
        rows = self.query_tokens // self.n_requests
        cached = None if self.caches is None else self.caches.arrays[0] + n * rows
        before, longest = self.prefix_tokens + n * self.query_tokens, self.longest_kv + (n - 1) * rows
        return decode_lengths(self.n_requests, rows, before, longest, cached)

    def _each(self) -> Caches:
        if self.caches is not None:
            return self.caches
        rows, rest = divmod(self.query_tokens, self.n_requests)
        if rest or self.kv_tokens != self.n_requests * self.longest_kv:
            raise ValueError("expected the length of each cache, since attention sees a part of it")
        return Caches([self.longest_kv - rows] * self.n_requests, rows)

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
        return StepShape(self.lengths.n_requests, rows, self.ending, None, rows, prompts=self.lengths.n_requests)


def decode_lengths(
    rlp: int, tlp: int, cached_tokens: int, longest_cached: int, cached: Ints | None = None
) -> KvLengths:
    """Return the lengths of a decoding step in which all requests have equally many new tokens.

    Each of the ``tlp`` new tokens is scored against the whole cache and all new tokens, as captured: kernels compute
    the rectangle and mask it.

    Args:
        rlp: requests.
        tlp: new tokens of each request.
        cached_tokens: tokens in all caches before the step.
        longest_cached: tokens in the longest cache before the step.
        cached: tokens in each request's cache before the step, shape (RLP,); None where all are equal.
    """
    kv_tokens, caches = cached_tokens + rlp * tlp, None if cached is None else Caches(cached, tlp)
    return KvLengths(rlp, rlp * tlp, kv_tokens, longest_cached + tlp, tlp * kv_tokens, caches=caches)


def ragged_lengths(cached: Ints, rows: Ints) -> KvLengths:
    """Return the lengths of a decoding step in which requests have different numbers of new tokens.

    Args:
        cached: tokens in each request's cache before the step, shape (RLP,).
        rows: new tokens of each request, shape (RLP,).
    """
    kv = cached + rows
    sums = int(rows.sum()), int(kv.sum()), int(kv.max(initial=0)), int((rows * kv).sum())
    return KvLengths(len(kv), *sums, caches=Caches(cached, rows))


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
    queries = keys = longest = pairs = 0
    each = list(chunks)
    for prefix, tokens in each:
        queries += tokens
        keys += prefix + tokens
        longest = max(longest, prefix + tokens)
        pairs += tokens * prefix + tokens * (tokens + 1) // 2
    caches = Caches(*zip(*each, strict=True)) if each else None
    return KvLengths(len(each), queries, keys, longest, pairs, causal=True, caches=caches)


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


def lower(
    kernel: TraceKernel,
    trace: KernelTrace,
    rows: int,
    experts: tuple[Group, ...] = (),
    *,
    requests: int = 1,
    drafted_rows: int = 0,
) -> Kernel:
    """Return a trace's kernel at a number of token-rows; attention has :func:`lower_attention`, appends :func:`lower_append`.

    Args:
        kernel: a kernel of the trace, of any class but attention and KV append.
        trace: the trace it is in.
        rows: token-rows that the kernel sees; for the LM head, those whose logits are computed.
        experts: the experts with rows, for a per-expert kernel: those of a layer run in one launch.
        requests: requests whose states a state kernel updates.
        drafted_rows: token-rows beyond the first of each request, after each of which a state is written, too.

    Raises:
        NotModelled: the model's elements are wider than 16 bits.
        ValueError: the kernel depends on more than its rows: on the caches of its layer.
    """
    if kernel.kernel_class in (KernelClass.ATTENTION, KernelClass.KV_APPEND):
        raise ValueError(f"kernel '{kernel.name}' depends on the caches of its layer")
    expert_rows = sum(group.rows * group.products for group in experts)
    point = {"RLP": 1, "TLP": rows, "KV": 0, EXPERT_ROWS: expert_rows}
    element_bytes = _element_bytes(trace)
    if kernel.fc is not None and kernel.role is not None:
        m = rows if kernel.role is FcRole.LM_HEAD else kernel.fc.m.at(point)
        groups = experts if kernel.per_expert else (Group(m, kernel.fc.groups),)
        formats = stored_weights(kernel, trace)
        if sum(group.products for group in groups) <= 1:
            heads = _merged_heads(kernel, trace)
            return Linear(kernel.role, m, kernel.fc.k, kernel.fc.n, element_bytes, *formats, heads=heads)
        return Linear(kernel.role, m * kernel.fc.groups, kernel.fc.k, kernel.fc.n, element_bytes, *formats, groups)
    if kernel.state_bytes is not None:
        flop, reads, writes = (
            _of_states(dim, rows, requests) for dim in (kernel.flop, kernel.read_bytes, kernel.write_bytes)
        )
        kept = kernel.state_bytes * drafted_rows
        return Elementwise(kernel.kernel_class, flop, reads, writes + kept, kernel.state_bytes * requests, kept)
    return Elementwise(
        kernel.kernel_class, kernel.flop.at(point), kernel.read_bytes.at(point), kernel.write_bytes.at(point)
    )


def _merged_heads(kernel: TraceKernel, trace: KernelTrace) -> tuple[int, int] | None:
    """Return the query and KV heads of the merged product of Q, K and V; None of any other kernel."""
    heads = trace.model.n_heads, trace.model.n_kv_heads
    is_merged = kernel.role is FcRole.QKV and kernel.is_merged and kernel.fc is not None
    is_whole = is_merged and kernel.fc is not None and kernel.fc.n == (heads[0] + 2 * heads[1]) * trace.model.head_dim
    return heads if is_whole else None


def _of_states(dim: Dim, rows: int, requests: int) -> int:
    """Return a quantity of some requests whose new tokens are ``rows`` in all, however they are dealt out.

    It is linear in requests and in token-rows, ``a + b·RLP + c·RLP·TLP``, since a state is read and written once per step.
    """
    one, states, tokens = (
        dim.at({"RLP": rlp, "TLP": tlp, "KV": 0, EXPERT_ROWS: 0}) for rlp, tlp in ((1, 0), (requests, 0), (1, rows))
    )
    return states + tokens - one


def stored_weights(kernel: TraceKernel, trace: KernelTrace) -> WeightFormat:
    """Storage of the weights of an FC kernel, and the bits of its inputs; None is as traced.

    Formats that the user asked for win over those in which the model was published.
    """
    published = trace.model.packed
    if kernel.role not in PACKABLE:
        return WeightFormat()
    asked = trace.formats.of(_weight_role(kernel))
    if asked is not None:
        return asked
    if published is None or not published.packs(kernel.name):
        return WeightFormat()
    return WeightFormat(published.format, published.input_bits)


def _weight_role(kernel: TraceKernel) -> WeightRole:
    if kernel.per_expert:
        return WeightRole.EXPERTS
    return WeightRole.FEED_FORWARD if kernel.role in FEED_FORWARD else WeightRole.ATTENTION


def lower_append(block: Block, trace: KernelTrace, rows: int) -> KvAppend | None:
    """Return the append of new tokens to the caches of a layer, as they are stored; None where it keeps none.

    Args:
        block: the block of the layer.
        trace: the trace it is in.
        rows: new tokens.
    """
    if not block.appended:
        return None
    first, computed_bytes = block.appended[0], rows * token_elements(block) * trace.model.element_bytes
    heads = (first.n_heads, first.n_kv_heads)
    if trace.formats.kv is None:
        return KvAppend(computed_bytes, heads=heads)
    return KvAppend(sum(cached_bytes(shape, trace, rows) for shape in block.appended), computed_bytes, heads)


def token_elements(block: Block) -> int:
    """Return the elements that a token appends to the caches of a layer of a block."""
    return sum(shape.cached_elements for shape in block.appended)


def cached_bytes(shape: AttentionShape, trace: KernelTrace, tokens: int) -> int:
    """Return the bytes of cached tokens of one layer, as they are stored."""
    return _attention(shape, trace, KvLengths(1, 0, tokens, tokens, 0)).kv_bytes


def lower_attention(kernel: TraceKernel, trace: KernelTrace, lengths: KvLengths) -> Attention:
    """Return a trace's attention kernel over a batch's caches."""
    if kernel.attention is None:
        raise ValueError(f"kernel '{kernel.name}' is no attention kernel")
    return _attention(kernel.attention, trace, lengths.within(kernel.attention.reach))


def _attention(shape: AttentionShape, trace: KernelTrace, lengths: KvLengths) -> Attention:
    is_expanded = lengths.causal and shape.prompt is not None
    heads = shape.prompt if is_expanded and shape.prompt is not None else shape
    return Attention(
        n_requests=lengths.n_requests,
        query_tokens=lengths.query_tokens,
        kv_tokens=lengths.kv_tokens,
        longest_kv=lengths.longest_kv,
        pairs=lengths.pairs,
        n_heads=shape.n_heads,
        n_kv_heads=heads.n_kv_heads,
        head_dim=heads.head_dim,
        element_bytes=_element_bytes(trace),
        kv=None if is_expanded else trace.formats.kv,
        causal=lengths.causal,
        value_dim=heads.value_dim,
        latent=shape.cache.latent and not is_expanded,
        unseen_pairs=lengths.unseen_pairs,
    )


def expansion(shape: AttentionShape, trace: KernelTrace, tokens: int) -> Linear | None:
    """Return the FC kernel that expands cached latents of prompts to the K and V of their heads; None where none is needed.

    Of a latent's elements, V's are multiplied by the weights of all heads; the others are K's as they are (DeepSeek-V2, 2024,
    equations 10 to 19).
    """
    heads = shape.prompt
    if heads is None or not tokens:
        return None
    position = shape.head_dim - shape.value_width
    n = heads.n_kv_heads * (heads.head_dim - position + heads.value_dim)
    return Linear(FcRole.QKV, tokens, shape.value_width, n, _element_bytes(trace))


def held_bytes(trace: KernelTrace, layers: range | None = None) -> HeldBytes:
    """Return the bytes that requests hold in the caches and states of a model, or of some of its layers."""
    kept: dict[int | None, int] = {}
    state_bytes = 0
    for block in trace.blocks:
        n_layers = sum(layers is None or index in layers for index in block.layer_indices)
        state_bytes += n_layers * block.state_bytes
        for shape in block.appended if n_layers else ():
            limit = shape.reach.kept
            kept[limit] = kept.get(limit, 0) + n_layers * cached_bytes(shape, trace, 1)
    return HeldBytes(tuple(Keeping(limit, n_bytes) for limit, n_bytes in kept.items()), state_bytes)


def kv_bytes_per_token(trace: KernelTrace) -> int:
    """Return the bytes that one token of one request appends to the KV cache, all layers together."""
    return held_bytes(trace).token_bytes


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
            here = sum(index in layers for index in block.layer_indices)
            total += here * sum(_parameter_bytes(kernel, trace) for kernel in block.kernels)
        elif last if in_layers else first:
            total += sum(_parameter_bytes(kernel, trace) for kernel in block.kernels)
    return total - (embedding if model.tied_embeddings and first and last else 0)


def expert_weight_bytes(trace: KernelTrace, layers: range) -> int:
    """Return the bytes of the parameters of all experts of some layers, scales included."""
    return sum(
        sum(index in layers for index in block.layer_indices) * _parameter_bytes(kernel, trace)
        for block in trace.blocks
        for kernel in block.kernels
        if kernel.per_expert
    )


def layer_weight_bytes(trace: KernelTrace) -> int:
    """Return the bytes of the parameters of the first layer, scales included."""
    return sum(_parameter_bytes(kernel, trace) for kernel in trace.layer(0).kernels)


def _parameter_bytes(kernel: TraceKernel, trace: KernelTrace) -> int:
    """Return the bytes of a kernel's parameters in one layer, all experts together."""
    as_traced = sum(parameter.tensor.n_bytes.constant for parameter in (*kernel.weights, *kernel.tables))
    packed = None if kernel.fc is None else stored_weights(kernel, trace)[0]
    if packed is not None and kernel.fc is not None:
        k, n = kernel.fc.k, kernel.fc.n * kernel.fc.groups
        as_traced -= k * n * trace.model.element_bytes - packed.n_bytes(n, k)
    return as_traced * (trace.model.n_experts if kernel.per_expert else 1)


def weight_bytes(trace: KernelTrace) -> int:
    """Return the bytes of all parameters of the model, scales included."""
    return stage_weight_bytes(trace, range(trace.model.n_layers))
