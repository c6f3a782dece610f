"""Measured tables of a GPU, interpolated where they surround a shape and silent elsewhere.

A time is taken from a table only between measured sizes of the same matrix, or of the same heads: over token-rows, or over
requests and cached tokens, on logarithmic axes. Nothing is extrapolated.
"""

from __future__ import annotations

import csv
import math
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from papisim.catalog import data_folder
from papisim.errors import InputError
from papisim.ops.kernel import KernelClass

#: how far beyond an end counts as the end: programs differ in a few bytes of the same kernel
_ROUNDING = 0.02
#: times by a sorted axis
Curve = list[tuple[float, float]]


def measured_linear_s(folder: str, m: int, k: int, n: int) -> float | None:
    """Return the measured seconds of a matrix product, None where the tables do not surround it."""
    curve = _linear(folder).get((k, n))
    return None if curve is None else _between(curve, m)


def measured_attention_s(
    folder: str, heads: tuple[int, int, int], *, packed: bool, tlp: int, requests: int, kv: float
) -> float | None:
    """Return the measured seconds of decode attention, None where the tables do not surround it.

    Args:
        folder: the tables.
        heads: query heads, heads of the cache, and their width.
        packed: grouped queries packed by the caller.
        tlp: query tokens of each request.
        requests: requests of the batch.
        kv: cached tokens of each request.
    """
    batches = _attention(folder).get((*heads, packed, tlp), {})
    over_kv = [(float(batch), _between(curve, kv)) for batch, curve in sorted(batches.items())]
    return _between([(batch, time_s) for batch, time_s in over_kv if time_s is not None], requests)


#: operations of eager torch in ``elementwise.csv``: class of the trace, and kernels of one launch
UNFUSED = {
    "rms_norm_sequence": (KernelClass.NORMALISATION, 8),
    "rotary_sequence": (KernelClass.ROTARY, 5),
    "silu_mul_sequence": (KernelClass.ACTIVATION, 2),
    "residual_add": (KernelClass.RESIDUAL, 1),
    "kv_append": (KernelClass.KV_APPEND, 1),
    "embedding": (KernelClass.EMBEDDING, 1),
}


def measured_unfused_s(
    folder: str, kernel_class: KernelClass, n_kernels: int, rows: int, moved_bytes: float
) -> float | None:
    """Return the measured seconds of single operations of a class, None where the tables do not surround them.

    Args:
        folder: the tables.
        kernel_class: their class.
        n_kernels: how many there are; a whole number of measured sequences.
        rows: token-rows.
        moved_bytes: bytes that all of them read and write.
    """
    length, by_rows = _unfused(folder).get(kernel_class, (n_kernels + 1, {}))
    launches, rest = divmod(n_kernels, length)
    if rest:
        return None
    each = moved_bytes / launches / rows
    over_rows = [(float(at), _between(curve, each * at)) for at, curve in sorted(by_rows.items())]
    one_s = _between([(at, time_s) for at, time_s in over_rows if time_s is not None], rows)
    return None if one_s is None else launches * one_s


def _between(curve: Curve, at: float) -> float | None:
    """Interpolate on logarithmic axes; None outside the curve."""
    axis = [x for x, _ in curve]
    if not axis or not axis[0] * (1 - _ROUNDING) <= at <= axis[-1] * (1 + _ROUNDING):
        return None
    at = min(max(at, axis[0]), axis[-1])
    right = bisect_left(axis, at)
    x1, y1 = curve[right]
    if x1 == at:
        return y1
    x0, y0 = curve[right - 1]
    share = math.log(at / x0) / math.log(x1 / x0)
    return float(y0 * (y1 / y0) ** share)


@cache
def _linear(folder: str) -> dict[tuple[int, int], Curve]:
    curves: dict[tuple[int, int], Curve] = defaultdict(list)
    for row in _rows(folder, "linear.csv"):
        curves[int(row["k"]), int(row["n"])].append((float(row["m"]), float(row["time_s"])))
    return {shape: sorted(curve) for shape, curve in curves.items()}


@cache
def _attention(folder: str) -> dict[tuple[int, int, int, bool, int], dict[int, Curve]]:
    batches: dict[tuple[int, int, int, bool, int], dict[int, Curve]] = defaultdict(lambda: defaultdict(list))
    for row in _rows(folder, "attention.csv"):
        heads = int(row["n_heads"]), int(row["n_kv_heads"]), int(row["head_dim"])
        key = (*heads, row["packed_gqa"] == "1", int(row["tlp"]))
        batches[key][int(row["batch"])].append((float(row["kv"]), float(row["time_s"])))
    return {key: {batch: sorted(curve) for batch, curve in each.items()} for key, each in batches.items()}


@cache
def _unfused(folder: str) -> dict[KernelClass, tuple[int, dict[int, Curve]]]:
    found: dict[KernelClass, tuple[int, dict[int, Curve]]] = {}
    for row in _rows(folder, "elementwise.csv"):
        if row["op"] in UNFUSED:
            kernel_class, length = UNFUSED[row["op"]]
            by_rows = found.setdefault(kernel_class, (length, {}))[1]
            moved = float(row["read_bytes"]) + float(row["write_bytes"])
            by_rows.setdefault(int(row["rows"]), []).append((moved, float(row["time_s"])))
    return {name: (length, {at: sorted(c) for at, c in rows.items()}) for name, (length, rows) in found.items()}


def _rows(folder: str, name: str) -> Iterator[dict[str, str]]:
    path = _folder(folder) / name
    if not path.is_file():
        raise InputError(f"holds no {name}, which mode 'table' reads", file=str(path.parent))
    with path.open(newline="", encoding="utf-8") as file:
        yield from _sound(csv.DictReader(file), path)


def _sound(rows: Iterable[dict[str, str]], path: Path) -> Iterator[dict[str, str]]:
    for line, row in enumerate(rows, start=2):
        try:
            if not float(row["time_s"]) > 0:
                raise ValueError
        except (KeyError, ValueError, TypeError):
            raise InputError(
                "expected a positive number of seconds", file=str(path), line=line, field="time_s"
            ) from None
        yield row


def _folder(folder: str) -> Path:
    """Return a folder of the user's, or the shipped one of that name."""
    path = Path(folder)
    return path if path.is_dir() else data_folder() / path
