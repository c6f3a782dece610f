"""Random streams: one seed for a run, an independent named stream for each consumer."""

from __future__ import annotations

import zlib

import numpy as np


def stream(seed: int, *name: str | int) -> np.random.Generator:
    """Return the generator of a named consumer.

    Streams of different names are independent, and adding a consumer changes no other's numbers.
    """
    key = [zlib.crc32(part.encode()) if isinstance(part, str) else part for part in name]
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))
