"""The kernels that devices price: work and traffic, independent of the device.

All are plain values with numbers (no symbols): one kernel of one layer, for the whole batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from papisim.arrays import IntOrArray
from papisim.ops.formats import Packed


class KernelClass(StrEnum):
    """The classes of decode kernels that are scheduled and reported separately."""

    FC = "fc"
    ATTENTION = "attention"
    KV_APPEND = "kv_append"
    STATE = "state"
    NORMALISATION = "normalisation"
    ACTIVATION = "activation"
    ROTARY = "rotary"
    RESIDUAL = "residual"
    EMBEDDING = "embedding"
    OTHER = "other"


class FcRole(StrEnum):
    """Role of a fully connected kernel in its layer."""

    QKV = "qkv"
    PROJECTION = "projection"
    FEED_FORWARD_UP = "feed_forward_up"
    FEED_FORWARD_DOWN = "feed_forward_down"
    ROUTER = "router"
    LM_HEAD = "lm_head"


#: FC kernels whose weights quantisers pack; LM heads and routers stay as they are (GPTQ, AWQ and their successors)
PACKABLE = frozenset({FcRole.QKV, FcRole.PROJECTION, FcRole.FEED_FORWARD_UP, FcRole.FEED_FORWARD_DOWN})

#: FC kernels of feed-forward networks, experts' among them
FEED_FORWARD = frozenset({FcRole.FEED_FORWARD_UP, FcRole.FEED_FORWARD_DOWN})

#: FC kernels whose input is split over tensor-parallel ranks, so that their outputs are partial sums
#: (Shoeybi et al., Megatron-LM, 2019, Section 3): an all-reduce follows.
ROW_PARALLEL = frozenset({FcRole.PROJECTION, FcRole.FEED_FORWARD_DOWN})


class Group(NamedTuple):
    """Products of a grouped kernel that have equally many rows, each with a weight of its own.

    Attributes:
        rows: token-rows of each.
        products: number of them.
    """

    rows: int
    products: int


@dataclass(frozen=True, slots=True)
class Linear:
    """A fully connected kernel: an ``(m, k)`` activation times a ``(k, n)`` weight.

    ``m`` is RLP × TLP token-rows; ``m = 1`` is a GEMV. A grouped kernel is several products of one shape in one launch, each of
    some of the rows with a weight of its own: the experts of a layer that got rows, or the heads of a projection.

    Attributes:
        role: role in its layer.
        m: token-rows, those of all products.
        k: inputs.
        n: outputs.
        element_bytes: bytes of an element.
        weights: storage format of the weights, if it differs; the weights of an output are a vector.
        input_bits: bits of an input on tensor cores, if they differ.
        groups: the products, fewest rows first; empty for one product of ``m`` rows.
        heads: query heads and KV heads of a product that computes Q, K and V, which ranks share by heads; None where columns
            are shared evenly.
    """

    role: FcRole
    m: int
    k: int
    n: int
    element_bytes: int = 2
    weights: Packed | None = None
    input_bits: int | None = None
    groups: tuple[Group, ...] = ()
    heads: tuple[int, int] | None = None

    @property
    def products(self) -> tuple[Group, ...]:
        """The products, also where there is one."""
        return self.groups or (Group(self.m, 1),)

    @property
    def n_weights(self) -> int:
        """Number of weights: one for each product."""
        return sum(group.products for group in self.groups) or 1

    @property
    def kernel_class(self) -> KernelClass:
        """Always FC."""
        return KernelClass.FC

    @property
    def flop(self) -> int:
        """``2·m·k·n``: one multiply and one add per product."""
        return 2 * self.m * self.k * self.n

    @property
    def weight_bytes(self) -> int:
        """Bytes of the weights of all products, scales included."""
        if self.weights is not None:
            return self.weights.n_bytes(self.n, self.k) * self.n_weights
        return self.k * self.n * self.element_bytes * self.n_weights

    @property
    def input_bytes(self) -> int:
        """Bytes of the input."""
        return self.m * self.k * (8 * self.element_bytes if self.input_bits is None else self.input_bits) // 8

    @property
    def activation_bytes(self) -> int:
        """Bytes of the input and the output."""
        return self.input_bytes + self.write_bytes

    @property
    def read_bytes(self) -> int:
        """Bytes read: the weight once and the input."""
        return self.weight_bytes + self.input_bytes

    @property
    def write_bytes(self) -> int:
        """Bytes written: the output."""
        return self.m * self.n * self.element_bytes

    @property
    def arithmetic_intensity(self) -> float:
        """FLOP per byte (PAPI, eq. 1); for large k and n it tends to the rows per weight, RLP × TLP of one product."""
        return self.flop / (self.weight_bytes + self.activation_bytes)


@dataclass(frozen=True, slots=True)
class Attention:
    """Score, softmax and context as one fused kernel over the KV caches of a batch.

    The lengths of the requests enter as sums, which are sufficient for its work and traffic.

    Attributes:
        n_requests: requests in the batch (RLP).
        query_tokens: query tokens of all requests: RLP × TLP in decoding, the prompt tokens in prefill.
        kv_tokens: cached tokens attended to, summed over requests, the new ones included.
        longest_kv: the longest of those caches.
        pairs: (query, key) pairs summed over requests: what score and context compute.
        n_heads: query heads.
        n_kv_heads: heads of the cache; fewer than ``n_heads`` with grouped queries.
        head_dim: width of Q and K.
        element_bytes: bytes of an element of queries and results, and of the cache unless ``kv`` is given.
        kv: storage format of the cache, if it differs; a token's head is a vector.
        causal: a kernel for prompts, which skips the pairs that the mask hides; decoding computes the rectangle.
        value_dim: width of V and of the context, if it differs.
        latent: V is the first part of K, so that both are read once.
        unseen_pairs: further pairs before the diagonal among the tokens read, which a prompt's kernel skips since a query sees a
            part of them.
    """

    n_requests: int
    query_tokens: int
    kv_tokens: int
    longest_kv: int
    pairs: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    element_bytes: int = 2
    kv: Packed | None = None
    causal: bool = False
    value_dim: int | None = None
    latent: bool = False
    unseen_pairs: int = 0

    #: softmax work per score: maximum, subtraction, exponential, sum, division (AttAcc's count)
    SOFTMAX_FLOP = 5

    @property
    def kernel_class(self) -> KernelClass:
        """Always attention."""
        return KernelClass.ATTENTION

    @property
    def flop(self) -> int:
        """``2·head_dim`` per pair for the score, ``2·value_dim`` for the context, and the softmax, for each query head."""
        return self.pairs * self.flop_per_pair

    @property
    def flop_per_pair(self) -> int:
        """Operations per (query, key) pair, all query heads together."""
        return self.n_heads * (2 * (self.head_dim + self.value_width) + self.SOFTMAX_FLOP)

    @property
    def value_width(self) -> int:
        """Width of V and of the context."""
        return self.head_dim if self.value_dim is None else self.value_dim

    @property
    def kv_bytes(self) -> int:
        """Bytes of K and V, scales included; query heads of one group read them once."""
        return self.bytes_of_tokens(self.kv_tokens)

    def bytes_of_tokens(self, kv_tokens: IntOrArray) -> IntOrArray:
        """Return the bytes of K and V of cached tokens, scales included; a number or an array."""
        values = 0 if self.latent else self.value_width
        if self.kv is None:
            return kv_tokens * (self.n_kv_heads * (self.head_dim + values) * self.element_bytes)
        if values == self.head_dim:
            return self.kv.n_bytes(2 * self.n_kv_heads * kv_tokens, self.head_dim)
        vectors = self.n_kv_heads * kv_tokens
        return self.kv.n_bytes(vectors, self.head_dim) + (self.kv.n_bytes(vectors, values) if values else 0)

    @property
    def query_bytes(self) -> int:
        """Bytes of Q."""
        return self.query_tokens * self.n_heads * self.head_dim * self.element_bytes

    @property
    def context_bytes(self) -> int:
        """Bytes of the context."""
        return self.query_tokens * self.n_heads * self.value_width * self.element_bytes

    @property
    def read_bytes(self) -> int:
        """Bytes read: Q, K and V."""
        return self.kv_bytes + self.query_bytes

    @property
    def write_bytes(self) -> int:
        """Bytes written: the context."""
        return self.context_bytes

    @property
    def moved_bytes(self) -> int:
        """Bytes read and written."""
        return self.kv_bytes + self.query_bytes + self.context_bytes


@dataclass(frozen=True, slots=True)
class KvAppend:
    """Writing the new tokens' K and V of one layer into the cache.

    Attributes:
        new_bytes: bytes written.
        computed_bytes: bytes of the same K and V before they are packed; None if the cache is not packed.
        heads: query heads and KV heads, which say the ranks that write; None where bytes are shared evenly.
    """

    new_bytes: int
    computed_bytes: int | None = None
    heads: tuple[int, int] | None = None

    @property
    def kernel_class(self) -> KernelClass:
        """Always KV append."""
        return KernelClass.KV_APPEND

    @property
    def flop(self) -> int:
        """0: data moves."""
        return 0

    @property
    def read_bytes(self) -> int:
        """The new K and V are read from where they were computed."""
        return self.new_bytes if self.computed_bytes is None else self.computed_bytes

    @property
    def write_bytes(self) -> int:
        """The new K and V are written; the cache already there is not touched."""
        return self.new_bytes


@dataclass(frozen=True, slots=True)
class Elementwise:
    """A kernel that streams its operands: normalisation, activation, rotary embedding, residual, look-up, update of states.

    Attributes:
        kernel_class: its class.
        flop: operations.
        read_bytes: bytes read.
        write_bytes: bytes written.
        state_bytes: bytes of requests' states among those read, and among those written.
        kept_bytes: bytes of further states among those written: those after each draft, one of which goes on.
    """

    kernel_class: KernelClass
    flop: int
    read_bytes: int
    write_bytes: int
    state_bytes: int = 0
    kept_bytes: int = 0


Kernel = Linear | Attention | KvAppend | Elementwise
