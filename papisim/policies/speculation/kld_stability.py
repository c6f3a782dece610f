"""The KL divergence's stability as a signal of how far drafting may go (DSDE, arXiv:2509.01083).

With μ the mean KLD of a request's last round in nats, and wvar a variance whose weights decay by age,

    SF = exp(factor·μ) − 1      WVIR = wvar(short window) / wvar(long window)      x = SF·WVIR
    SL = (1 − x)(SL_max − SL_min) + SL_min   if x ≤ 1,   else SL_min
"""

from __future__ import annotations

import math
from collections.abc import Sequence


def weighted_variance(newest_first: Sequence[float], decay: float) -> float:
    """Return the variance of values that count less the older they are: by ``decay`` for each step back."""
    weights = [decay**age for age in range(len(newest_first))]
    total = sum(weights)
    mean = sum(w * x for w, x in zip(weights, newest_first, strict=True)) / total
    return sum(w * (x - mean) ** 2 for w, x in zip(weights, newest_first, strict=True)) / total


def variance_ratio(
    newest_first: Sequence[float], short_window: int, decay: float, variance_floor: float, flat: float
) -> float:
    """Return WVIR: how unstable the newest KLDs are against all of them.

    Args:
        newest_first: KLDs of the long window, in nats.
        short_window: how many of them are the newest.
        decay: weight of a KLD against the next newer one.
        variance_floor: variance of the long window below which it does not vary, in nats².
        flat: WVIR of a window that does not vary.
    """
    past = weighted_variance(newest_first, decay)
    if past < variance_floor:
        return flat
    return weighted_variance(newest_first[:short_window], decay) / past


def predicted_length(mean_kld: float, wvir: float, shortest: float, longest: float, kld_factor: float) -> float:
    """Return SL in tokens: the longest length while target and draft agree, the shortest when they do not."""
    instability = wvir * math.expm1(kld_factor * mean_kld)
    return shortest + max(0.0, 1 - instability) * (longest - shortest)
