"""How weights and KV caches are stored: as captured, or in few bits with scales."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from papisim.arrays import IntOrArray


@dataclass(frozen=True, slots=True)
class Packed:
    """Numbers stored in few bits, with one scale for each group that follows one another in a vector.

    A zero point, where a scheme has one, is of the width of the scale and counted into ``scale_bits``.

    Attributes:
        bits: of a number.
        group: numbers that share a scale.
        scale_bits: bits of a scale.
        rows: vectors that share their scales; more than 1 where scales belong to blocks of a matrix.
    """

    bits: int
    group: int
    scale_bits: int
    rows: int = 1

    def n_bytes(self, vectors: IntOrArray, length: int) -> IntOrArray:
        """Bytes of ``vectors`` vectors of one length, scales included; ``vectors`` is a number of them, or an array."""
        scales = -(-vectors // self.rows) * -(-length // self.group)
        return -(-(vectors * length * self.bits + scales * self.scale_bits) // 8)

    def scale_ratio(self, length: int) -> float:
        """Bits of the scales over the bits of the numbers, in a vector of a length."""
        return -(-length // self.group) * self.scale_bits / (self.rows * length * self.bits)


class WeightRole(StrEnum):
    """Weights of a decoder layer that may be stored in a format of their own."""

    ATTENTION = "attention"
    FEED_FORWARD = "feed_forward"
    EXPERTS = "experts"


class WeightFormat(NamedTuple):
    """Storage of FC weights, and the width of their inputs on tensor cores; None is as the trace has them."""

    weights: Packed | None = None
    input_bits: int | None = None


class Formats(NamedTuple):
    """Storage of a model's weights, caches and FC inputs; None is as the trace has them.

    Attributes:
        weights: the matrices of the decoder layers. Embeddings, the LM head, routers and norms stay as they are.
        kv: keys and values; a token's head is a vector.
        input_bits: inputs of FC kernels on tensor cores.
        roles: weights whose format differs from that of the others.
    """

    weights: Packed | None = None
    kv: Packed | None = None
    input_bits: int | None = None
    roles: tuple[tuple[WeightRole, WeightFormat], ...] = ()

    def of(self, role: WeightRole) -> WeightFormat | None:
        """Return the format of the weights of a role; None where nothing is said of them."""
        found = dict(self.roles).get(role)
        if found is None and (self.weights is not None or self.input_bits is not None):
            return WeightFormat(self.weights, self.input_bits)
        return found


AS_TRACED = Formats()
