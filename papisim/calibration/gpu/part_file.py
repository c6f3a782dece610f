"""Write a GPU part's file with fitted values, their sources, and the points of corrections beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from papisim import catalog, units
from papisim.calibration.gpu.calibrate import Calibration
from papisim.config.yaml import Inline, dump
from papisim.devices.gpu.correction import Board


def write_part(
    document: dict[str, Any], calibrations: Sequence[Calibration], corrections: Mapping[str, str] | None = None
) -> str:
    """Return a part's file with fitted values and their sources put in.

    Args:
        document: the part's file as plain data, its schema and sources included.
        calibrations: what was fitted.
        corrections: files of the libraries' corrections, by library.
    """
    corrections, sources = corrections or {}, document["sources"]
    for found in calibrations:
        node = document
        for step in found.path:
            node = node[step]
        node.update({name: _shown(name, value) for name, value in found.values.items()})
        for path in [".".join(found.path)] if found.path else list(found.values):
            sources[path] = {"fitted": found.note}
        if found.points is not None:
            board = {name: document[name] for name in Board.model_fields}
            node["correction"] |= {"file": corrections[found.path[-1]], "board": board}
    return dump(document | {"sources": {path: Inline(source) for path, source in sources.items()}})


def write_corrections(out: Path, calibrations: Sequence[Calibration]) -> dict[str, str]:
    """Write the points of each correction beside a part's file; return what the part calls the files, by library."""
    names = {}
    for found in calibrations:
        if found.points is not None:
            path = out.with_name(f"{out.stem}.{found.path[-1]}.csv").resolve()
            written = found.points.assign(weight=found.points.weight.map("{:.5f}".format))
            written.to_csv(path, index=False, lineterminator="\n")
            home = catalog.data_folder().resolve()
            names[found.path[-1]] = str(path.relative_to(home) if path.is_relative_to(home) else path)
    return names


def _shown(name: str, value: float) -> str | float:
    unit = units.unit_of(name)
    return float(f"{value:.4g}") if unit in (None, "ratio") else units.format(value, unit, digits=4)
