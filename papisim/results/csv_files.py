"""Frames as CSV that spreadsheets open without running a formula."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from papisim.errors import as_cell, from_cell

if TYPE_CHECKING:
    import pandas as pd


def write_csv(frame: pd.DataFrame, file: Path | TextIO) -> None:
    """Write a frame; text that a spreadsheet takes for a formula gets an apostrophe (:func:`papisim.errors.as_cell`)."""
    _texts(frame, as_cell).to_csv(file, index=False)


def read_csv(file: Path) -> pd.DataFrame:
    """Return the frame that :func:`write_csv` wrote."""
    import pandas as pd  # noqa: PLC0415 - start-up time

    return _texts(pd.read_csv(file), from_cell)


def _texts(frame: pd.DataFrame, change: Callable[[object], object]) -> pd.DataFrame:
    """Return a frame with its texts changed."""
    texts = frame.select_dtypes(include=["object", "string"])
    return frame.assign(**{str(name): frame[name].map(change, na_action="ignore") for name in texts})
