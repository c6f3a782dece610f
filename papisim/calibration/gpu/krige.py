"""The correction of a library for matrix products: measured over modelled time, interpolated by Gaussian-process regression."""

from __future__ import annotations

import numpy as np
import pandas as pd

from papisim.arrays import Floats
from papisim.devices.gpu.correction import Correction
from papisim.devices.gpu.linear import roofline_times
from papisim.devices.gpu.part import LinearLibrary, Part


def krige(correction: Correction, rows: pd.DataFrame, modelled: Floats) -> pd.DataFrame:
    """Find the weights of a library's correction, by regularised least squares on the logarithms ``y`` of measured over modelled.

    Where every product is a point, ``(K + σ²·I)·w = y``; where ``u`` of them are, ``(σ²·Kᵤᵤ + Kᵤ·Kᵤᵀ)·w = Kᵤ·y``, with ``Kᵤ``
    from points to all products; ``σ`` is the noise over the spread. Rasmussen and Williams 2006, equations 2.25 and 8.14.

    Args:
        correction: lengths, deviations and how many points at most.
        rows: measured ``m, k, n, time_s``; a product that was measured again counts once, by its mean ratio.
        modelled: the model's seconds of them.

    Returns:
        ``m, k, n, weight``, one row for each point.
    """
    ratios = rows[["m", "k", "n"]].assign(log_ratio=np.log(rows.time_s.to_numpy(np.float64) / modelled))
    products = pd.DataFrame(ratios.groupby(["m", "k", "n"])["log_ratio"].mean().reset_index())
    log_ratios = products.log_ratio.to_numpy(np.float64)
    noise = (correction.noise_ratio / correction.spread_ratio) ** 2
    points = _spread_out(correction, products)
    among = _covariance(correction, points, points)
    if len(points) == len(products):
        weights = np.linalg.solve(among + noise * np.eye(len(points)), log_ratios)
    else:
        to_all = _covariance(correction, points, products)
        weights = np.linalg.solve(noise * among + to_all @ to_all.T, to_all @ log_ratios)
    return pd.DataFrame({"m": points.m, "k": points.k, "n": points.n, "weight": weights})


def _spread_out(correction: Correction, products: pd.DataFrame) -> pd.DataFrame:
    """Return at most ``most_points`` products: the first, then repeatedly the farthest from those chosen."""
    if correction.most_points is None or len(products) <= correction.most_points:
        return products
    chosen, nearness = [0], np.zeros(len(products))
    for _ in range(1, correction.most_points):
        nearness = np.maximum(nearness, _covariance(correction, products, products.iloc[chosen[-1:]])[:, 0])
        chosen.append(int(nearness.argmin()))
    return products.iloc[chosen].sort_values(["m", "k", "n"], ignore_index=True)


def corrected(
    part: Part, library: LinearLibrary, points: pd.DataFrame, rows: pd.DataFrame, modelled: Floats
) -> Floats:
    """Return the seconds of rows by the model and a correction of these points, never below the roofline of the peaks."""
    assert library.correction is not None, "points are of a correction"
    log_ratios = _covariance(library.correction, rows, points) @ points.weight.to_numpy(np.float64)
    sizes = rows.m.to_numpy(), rows.k.to_numpy(), rows.n.to_numpy()
    bound = roofline_times(part, *sizes, input_bytes=library.input_bytes)
    return np.asarray(np.maximum(modelled * np.exp(log_ratios), bound))


def _covariance(correction: Correction, rows: pd.DataFrame, others: pd.DataFrame) -> Floats:
    lengths = {"m": correction.m_length, "k": correction.k_length, "n": correction.n_length}
    distance = np.zeros((len(rows), len(others)))
    for name, length in lengths.items():
        one, other = (np.log(of[name].to_numpy(np.float64)) for of in (rows, others))
        distance += np.abs(one[:, None] - other) / length
    return np.exp(-distance)
