"""The steps that an engine has captured in CUDA graphs: rows padded to them, and kernels that the host launches itself."""

from __future__ import annotations

from bisect import bisect_left
from typing import Final

from papisim.config.engine import GraphsSpec

#: launches of the host per attention kernel of a step in pieces: the graph before it, the write into the cache, attention
_PIECE_LAUNCHES: Final = 3


class Graphs:
    """The numbers of token-rows at which an engine has captured its steps.

    Args:
        spec: the engine's graphs.
        most_rows: token-rows of a full batch, which may limit the sizes; None if unknown.
    """

    def __init__(self, spec: GraphsSpec, most_rows: int | None = None) -> None:
        self._spec, sizes = spec, spec.sizes
        if spec.batches is not None and most_rows is not None:
            sizes = [size for size in sizes if size <= spec.batches * most_rows] or sizes[:1]
        self._sizes = sizes

    @property
    def are_free(self) -> bool:
        """Whether no step launches anything from the host."""
        return self._spec.captured == "all"

    def padded(self, rows: int) -> int:
        """Return the token-rows that a step computes: those of the next captured size, or its own beyond the largest."""
        sizes = self._sizes
        return sizes[bisect_left(sizes, rows)] if sizes and rows <= sizes[-1] else rows

    def launches(self, rows: int, prompt_rows: int, n_kernels: int, n_attention: int) -> int:
        """Return the launches of the host in a step.

        Args:
            rows: token-rows of the step.
            prompt_rows: those that belong to prompts.
            n_kernels: kernels of the step.
            n_attention: attention kernels among them.
        """
        spec = self._spec
        if spec.captured == "all":
            return 0
        if not self._sizes or rows > self._sizes[-1] or (prompt_rows and spec.mixed == "none"):
            return n_kernels
        return _PIECE_LAUNCHES * n_attention + 1 if prompt_rows and spec.mixed == "pieces" else 0

    def draft_launches(self, rows: int, n_steps: int, n_kernels: int) -> int:
        """Return the launches of the host for serial draft steps: a graph for each, or every kernel.

        Args:
            rows: token-rows of a draft step.
            n_steps: serial draft steps.
            n_kernels: kernels of all of them.
        """
        if self._spec.captured == "all":
            return 0
        return min(n_steps, n_kernels) if self._sizes and rows <= self._sizes[-1] else n_kernels
