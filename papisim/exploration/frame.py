"""The frame of a sweep or a search as plain values."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

SWEEP_SCHEMA = "papisim/sweep-frame/1"
FRONT_SCHEMA = "papisim/pareto-front/1"


def points_json(schema: str, frame: pd.DataFrame) -> dict[str, object]:
    """Return a frame as ``--format json`` prints it: one mapping per point, null where a point has no value."""
    return {"schema": schema, "rows": records(frame)}


def records(frame: pd.DataFrame) -> list[dict[str, object]]:
    """Return the rows of a frame, each with every column; None where a row has no value."""
    return [
        {str(name): None if is_missing(value) else value for name, value in row.items()}
        for row in frame.to_dict("records")
    ]


def is_missing(value: object) -> bool:
    """Return whether a cell of a frame has no value."""
    import pandas as pd  # noqa: PLC0415 - slow to import

    return value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value))
