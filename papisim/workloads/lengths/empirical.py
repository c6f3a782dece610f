"""Lengths as a file has them."""

from __future__ import annotations

from typing import Literal

import numpy as np

from papisim.workloads.lengths.base import Pairs
from papisim.workloads.traces.load import load_requests
from papisim.workloads.traces.spec import TraceFile


class Empirical(TraceFile):
    """Prompt and answer of a request of a file, drawn with replacement, so that what goes together stays together."""

    kind: Literal["empirical"]

    def draw(self, n_requests: int, rng: np.random.Generator, first: int = 0) -> Pairs:
        """Return random pairs of the file.

        Raises:
            InputError, InputErrors: the file cannot be read.
        """
        del first
        table = load_requests(self)
        chosen = rng.integers(len(table), size=n_requests)
        return np.stack([table.input_tokens[chosen], table.output_tokens[chosen]], axis=1)
