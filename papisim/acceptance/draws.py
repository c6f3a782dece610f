"""Variates of one request, a block at a time: a scalar draw costs a hundred times one of a block."""

from __future__ import annotations

from collections.abc import Iterator

from papisim.streams import stream

_FIRST, _LARGEST = 64, 1024


def uniforms(seed: int, request_id: int) -> Iterator[float]:
    """Yield variates between 0 and 1."""
    rng, size = stream(seed, "acceptance", request_id), _FIRST
    while True:
        yield from rng.random(size).tolist()
        size = min(2 * size, _LARGEST)


def normals(seed: int, request_id: int) -> Iterator[float]:
    """Yield standard normal variates."""
    rng, size = stream(seed, "acceptance", request_id), _FIRST
    while True:
        yield from rng.standard_normal(size).tolist()
        size = min(2 * size, _LARGEST)
