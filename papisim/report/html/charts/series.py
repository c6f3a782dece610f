"""Decimation of long series that keeps every peak, and work per span of time."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pandas as pd

from papisim.arrays import Floats

#: points per drawn line; a screen does not resolve more
MOST_POINTS = 1200


def decimate(x: npt.ArrayLike, y: npt.ArrayLike, most: int = MOST_POINTS) -> tuple[Floats, Floats]:
    """Return a series of about ``most`` points that keeps the smallest and largest value of each span.

    Args:
        x: positions, ascending, shape (n,).
        y: values, shape (n,).
        most: points wanted; a shorter series is returned as it is.

    Returns:
        Positions and values, in order; the first and the last are always there.
    """
    xs, ys = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if len(xs) <= most:
        return xs, ys
    edges = np.linspace(0, len(xs), most // 2 + 1).astype(int)
    kept: set[int] = {0, len(xs) - 1}
    for first, end in pairwise(edges):
        span = ys[first:end]
        kept |= {int(first + span.argmin()), int(first + span.argmax())}
    order = sorted(kept)
    return xs[order], ys[order]


def per_bin(start_s: npt.ArrayLike, time_s: npt.ArrayLike, amount: npt.ArrayLike, edges: Floats) -> Floats:
    """Spread amounts evenly over their durations and return the amount per bin.

    Spans may overlap and leave gaps. The total is conserved as long as the edges cover all spans.

    Args:
        start_s: start times, shape (n,).
        time_s: durations, above 0, shape (n,).
        amount: amounts, shape (n,).
        edges: edges of the bins, ascending, shape (m + 1,).

    Returns:
        Amounts per bin, shape (m,).
    """
    starts, times = np.asarray(start_s, dtype=float), np.asarray(time_s, dtype=float)
    rates = np.asarray(amount, dtype=float) / times
    moments = np.concatenate([starts, starts + times])
    order = np.argsort(moments, kind="stable")
    moments, rate = moments[order], np.cumsum(np.concatenate([rates, -rates])[order])
    total = np.concatenate([[0.0], np.cumsum(rate[:-1] * np.diff(moments))])
    return np.asarray(np.diff(np.interp(edges, moments, total)))


def bin_edges(steps: pd.DataFrame, bins: int) -> Floats:
    """Return the edges of equal bins from the start of a run to the end of its last step."""
    return np.linspace(0.0, float((steps["start_s"] + steps["time_s"]).max()), bins + 1)


def thinned(frame: pd.DataFrame, x: str, rows: int = 40) -> pd.DataFrame:
    """Return the means of a frame's columns over spans of equally many rows, and the start of each span, for a table."""
    if len(frame) <= rows:
        return frame
    span = np.arange(len(frame)) * rows // len(frame)
    means = frame.groupby(span).mean(numeric_only=True)
    means[x] = frame.groupby(span)[x].first()
    return means
