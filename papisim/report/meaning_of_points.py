"""What a sweep means, in sentences: the best points, the input that matters most, and why points have no result."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from papisim import units
from papisim.report.figures import count, times

if TYPE_CHECKING:
    import pandas as pd

_GAIN, _SPENT = "throughput_tokens_per_s", "energy_per_token_j"


def meaning_of_points(frame: pd.DataFrame, inputs: Sequence[str]) -> list[str]:
    """Return the sentences on the points of a sweep.

    Args:
        frame: a row per point.
        inputs: names of the inputs; of points, those that vary are compared.
    """
    varying = [name for name in inputs if name in frame and frame[name].astype(str).nunique() > 1]
    found = frame[frame["status"] == "ok"]
    return [*_best(found, varying), *_effect(found, varying), *_left_out(frame)]


def _best(found: pd.DataFrame, varying: Sequence[str]) -> Iterator[str]:
    """Tell the fastest point, and the one of the least energy per token; none where models differ, which do unequal work."""
    if "trace" in varying or len(found) < 2:  # noqa: PLR2004 - a choice
        return
    for what, figure, ascending in (("Fastest", _GAIN, False), ("Least energy per token", _SPENT, True)):
        if figure in found and found[figure].notna().any():
            row = found.sort_values(figure, ascending=ascending, kind="stable").iloc[0]
            unit = units.unit_of(figure)
            assert unit is not None, "figures have units"
            point = ", ".join(f"{name} {row[name]}" for name in varying)
            yield f"{what}: {point or 'point ' + str(row['point'])} with {units.format(float(row[figure]), unit, 4)}."


def _effect(found: pd.DataFrame, varying: Sequence[str]) -> Iterator[str]:
    """Tell the input that changes throughput most, among points that are equal in all others."""
    if _GAIN not in found or len(varying) < 2:  # noqa: PLR2004 - inputs to compare
        return
    most = {
        name: quotient
        for name in varying
        if name != "trace" and (quotient := _largest_quotient(found, varying, name)) is not None
    }
    if not most:
        return
    ranked = sorted(most, key=lambda name: -most[name])
    told = ", ".join(f"{name} up to {times(most[name])}" for name in ranked)
    yield f"Throughput depends most on {ranked[0]}; with all else equal, {told}."


def _largest_quotient(found: pd.DataFrame, varying: Sequence[str], name: str) -> float | None:
    """Return the largest throughput over the least among points that differ in one input; None if no two do."""
    others = [each for each in varying if each != name]
    groups = found.dropna(subset=[_GAIN]).groupby([found[each].astype(str) for each in others])[_GAIN]
    ends = groups.agg(["min", "max", "size"])
    ends = ends[(ends["size"] > 1) & (ends["min"] > 0)]
    return None if ends.empty else float((ends["max"] / ends["min"]).max())


def _left_out(frame: pd.DataFrame) -> Iterator[str]:
    """Tell how many points have no result, and the commonest reason."""
    left_out = frame[frame["status"] != "ok"]
    if left_out.empty:
        return
    named = left_out["constraint"].dropna() if "constraint" in left_out else left_out["status"]
    most = named.value_counts()
    why = f", most by '{most.index[0]}' ({most.iloc[0]:,})" if len(most) else ""
    verb = "is" if len(left_out) == 1 else "are"
    yield f"{count(len(left_out), 'point')} of {len(frame):,} {verb} infeasible or failed{why}."
