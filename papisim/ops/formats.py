"""How weights and KV caches are stored: as captured, or in few bits with scales."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class Packed:
    """Numbers stored in few bits, with one scale for each group that follows one another in a vector.

    A zero point, where a scheme has one, is of the width of the scale and counted into ``scale_bits``.

    Attributes:
        bits: of a number.
        group: numbers that share a scale.
        scale_bits: of a scale.
    """

    bits: int
    group: int
    scale_bits: int

    def n_bytes(self, vectors: int, length: int) -> int:
        """Return the bytes of so many vectors of a length, scales included; vectors may be an array."""
        return -(-vectors * self._bits(length) // 8)

    def scale_ratio(self, length: int) -> float:
        """Return the bits of scales over those of the numbers, in a vector of a length."""
        return self._bits(length) / (length * self.bits) - 1

    def _bits(self, length: int) -> int:
        return length * self.bits + -(-length // self.group) * self.scale_bits


class Formats(NamedTuple):
    """What a model's weights, caches and FC inputs are stored in; None is as the trace has them.

    Attributes:
        weights: the matrices of the decoder layers. Embeddings, the LM head, routers and norms stay as they are.
        kv: keys and values; a token's head is a vector.
        input_bits: inputs of FC kernels on tensor cores.
    """

    weights: Packed | None = None
    kv: Packed | None = None
    input_bits: int | None = None


AS_TRACED = Formats()
