"""The frames that ``--out`` writes: those of the ledger, and those for which steps are priced again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from papisim.engine.run import Run
from papisim.pricing.crossover import crossover_rows
from papisim.pricing.kernels import device_rows, kernel_rows
from papisim.results.comparison import Comparison
from papisim.results.frames import frame, frames

if TYPE_CHECKING:
    import pandas as pd


def run_frames(run: Run) -> dict[str, pd.DataFrame]:
    """Return the frames of a run: those of :func:`papisim.results.frames.frames`, ``kernels`` and ``devices``."""
    priced = {"kernels": frame("kernels", kernel_rows(run)), "devices": frame("devices", device_rows(run))}
    return {**frames(run), **priced}


def comparison_frames(comparison: Comparison) -> dict[str, pd.DataFrame]:
    """Return the frames of a comparison: those of :attr:`papisim.results.comparison.Comparison.frames`, and ``crossover``."""
    return {**comparison.frames, "crossover": frame("crossover", crossover_rows(comparison.labels, comparison.runs))}
