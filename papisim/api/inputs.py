"""Arguments as Python has them: tables and lists of requests become the options of a workload."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

from papisim.config.base import KindOptions, shown
from papisim.config.options import Choice
from papisim.errors import InputError, did_you_mean

if TYPE_CHECKING:
    import pandas as pd

#: fields to change: a mapping of paths to values, or texts such as ``devices.gpu.count=8``
Overrides = Mapping[str, object] | Sequence[str]

#: a policy, process or source: a name, a file or options; or a class of your own
Policy = Choice | type

#: requests: a name, a file or options; a table; or tuples (input, output) or (arrival, input, output)
Workload: TypeAlias = "Choice | pd.DataFrame | Sequence[tuple[int, int]] | Sequence[tuple[float, int, int]]"

_LENGTHS = ("input_tokens", "output_tokens")
_ARRIVAL = "arrival_s"


def as_choice(workload: Workload) -> Choice:
    """Return a workload as the options of a run have it.

    A table or list with arrivals becomes a workload of the kind ``listed``, one without a closed batch of these lengths.

    Raises:
        InputError: neither a name, options, a table with the right columns nor a list of tuples.
    """
    if isinstance(workload, str | Mapping | KindOptions):
        return workload
    if not isinstance(workload, Iterable):
        message = f"found {shown(workload)}, expected a name, options, a table or a list of requests"
        raise InputError(message, field="workload")
    return _of_rows([_tuple(row) for row in workload]) if isinstance(workload, Sequence) else _of_table(workload)


def _of_table(table: pd.DataFrame) -> Choice:
    names = [str(name) for name in table.columns]
    for name in _LENGTHS:
        if name not in names:
            raise InputError(f"no column '{name}'; {did_you_mean(name, names)}", field="workload")
    columns = [_ARRIVAL, *_LENGTHS] if _ARRIVAL in names else list(_LENGTHS)
    return _of_rows(list(zip(*(table[name].tolist() for name in columns), strict=True)))


def _tuple(row: object) -> tuple[object, ...]:
    if isinstance(row, str | bytes) or not isinstance(row, Iterable):
        raise InputError(
            f"found {shown(row)}, expected (input, output) or (arrival, input, output)", field="workload"
        )
    return tuple(value.item() if hasattr(value, "item") else value for value in row)


def _of_rows(rows: Sequence[tuple[object, ...]]) -> Choice:
    widths = {len(row) for row in rows}
    if not rows:
        raise InputError("no request is given", field="workload")
    if widths == {len(_LENGTHS)}:
        pairs = [list(row) for row in rows]
        return {"kind": "closed_batch", "n_requests": len(rows), "lengths": {"kind": "listed", "pairs": pairs}}
    if widths == {len(_LENGTHS) + 1}:
        return {"kind": "listed", "requests": [list(row) for row in rows]}
    raise InputError(f"found tuples of {sorted(widths)} numbers, expected all of 2 or all of 3", field="workload")
