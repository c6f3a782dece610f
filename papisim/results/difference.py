"""Differences between two folders of results, cell by cell."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from papisim.results.folder import Json, Results

if TYPE_CHECKING:
    import pandas as pd

#: what says which papisim made results, and under which paths, and is no result
_IDENTITY = frozenset({"run_sha256", "papisim_version"})


def differences(first: Results, second: Results) -> Iterator[str]:
    """Yield a line for each difference of the second results from the first: the summary, then frames column by column.

    Raises:
        InputError: a file of either was changed since it was written, or cannot be read.
    """
    if first.kind != second.kind:
        yield f"kind: {second.kind}, was {first.kind}"
        return
    if (first.folder / "summary.json").is_file() and (second.folder / "summary.json").is_file():
        yield from _of_values("summary", first.summary, second.summary)
    yield from _names("frame", first.frame_names, second.frame_names)
    for name in first.frame_names:
        if name in second.frame_names:
            yield from _of_frames(name, first.frame(name), second.frame(name))


def changed_inputs(first: Json, second: Json) -> Iterator[str]:
    """Yield a line for each file that two manifests read with different content, or that one of them did not read."""
    before, after = ({(each["origin"], each["path"]): each["sha256"] for each in manifest.get("input_files", ())}
                     for manifest in (first, second))  # fmt: skip
    for origin, path in sorted(before.keys() | after.keys()):
        old, new = before.get((origin, path)), after.get((origin, path))
        if old != new:
            said = "is read now" if old is None else "is no longer read" if new is None else "has changed"
            yield f"{path} ({origin}) {said}"


def _names(noun: str, before: list[str], after: list[str]) -> Iterator[str]:
    yield from (f"{noun} {name}: missing" for name in before if name not in after)
    yield from (f"{noun} {name}: new" for name in after if name not in before)


def _of_frames(name: str, before: pd.DataFrame, after: pd.DataFrame) -> Iterator[str]:
    yield from _names(f"{name}: column", list(before.columns), list(after.columns))
    if len(before) != len(after):
        yield f"{name}: {len(after):,} rows, were {len(before):,}"
        return
    for column in before.columns:
        if column in after.columns and column not in _IDENTITY:
            pairs = list(zip(before[column].tolist(), after[column].tolist(), strict=True))
            rows = [row for row, pair in enumerate(pairs) if not _equal(*pair)]
            if rows:
                more = f", and {len(rows) - 1:,} of the rows below" if len(rows) > 1 else ""
                yield f"{name}: {column}, row {rows[0]}: {_shown(*pairs[rows[0]])}{more}"


def _of_values(place: str, before: object, after: object) -> Iterator[str]:
    if isinstance(before, dict) and isinstance(after, dict):
        yield from _names(place, list(before), list(after))
        for key in [each for each in before if each in after and each not in _IDENTITY]:
            yield from _of_values(f"{place}.{key}", before[key], after[key])
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for index, pair in enumerate(zip(before, after, strict=True)):
            yield from _of_values(f"{place}[{index}]", *pair)
    elif not _equal(before, after):
        yield f"{place}: {_shown(before, after)}"


def _equal(first: object, second: object) -> bool:
    """Whether two values are the same, to the last digit; no value equals no value."""
    return first is second or first == second or (first != first and second != second)  # noqa: PLR0124 - NaN


def _shown(old: object, new: object) -> str:
    both = [old, new]
    if all(isinstance(each, (int, float)) and not isinstance(each, bool) for each in both) and old:
        return f"{new!r}, was {old!r} ({new / old - 1:+.2g})"  # type: ignore[operator] # numbers
    return f"{new!r}, was {old!r}"
