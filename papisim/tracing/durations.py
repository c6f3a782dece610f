"""Tables of how long each class of kernels runs on a GPU: of one imported trace, or of a grid of recorded steps.

Needs no torch: recording does (:mod:`papisim.tracing.profiler`), counting what was recorded does not.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from papisim.ops.trace import Point
from papisim.tracing.kineto import KinetoTrace, read_kineto
from papisim.tracing.launches import ARTEFACTS, ClassTime, class_times, classed_ratio, classify_launches

#: columns of a table of a grid; the last two are summed over one decode iteration
COLUMNS: Final = ("rlp", "tlp", "kv", "kernel_class", "n_kernels", "time_s")
_ARTEFACTS: Final = {artefact.value: explanation for artefact, explanation in ARTEFACTS.items()}


@dataclass(frozen=True)
class Durations:
    """GPU time of one trace by class.

    Attributes:
        classes: longest first; ``unclassed`` among them where some launches are.
        time_s: time of all launches.
        classed_ratio: the share of that time that has a class.
    """

    classes: tuple[ClassTime, ...]
    time_s: float
    classed_ratio: float

    @property
    def artefacts(self) -> list[tuple[str, float, str]]:
        """Work that a serving engine avoids: class, share of the time, and the engine's alternative."""
        return [
            (of_class.kernel_class, of_class.time_s / self.time_s, _ARTEFACTS[of_class.kernel_class])
            for of_class in self.classes
            if of_class.kernel_class in _ARTEFACTS
        ]


def durations_of(trace: KinetoTrace) -> Durations:
    """Sum a trace by class."""
    classes = class_times(trace)
    return Durations(tuple(classes), trace.time_s, classed_ratio(classes))


def import_trace(path: Path) -> tuple[KinetoTrace, Durations]:
    """Read a profiler's trace and sum it by class.

    Raises:
        InputError: the file is no trace, or nothing in the trace ran on a GPU.
    """
    trace = read_kineto(path)
    return trace, durations_of(trace)


def longest_unclassed(trace: KinetoTrace, most: int = 5) -> list[tuple[str, float]]:
    """Return the kernels without a class that take longest, with their seconds."""
    seconds: dict[str, float] = defaultdict(float)
    for launch, known in zip(trace.launches, classify_launches(trace.launches), strict=True):
        if known is None:
            operator = launch.operator
            seconds[f"{operator.name}: {launch.kernel}" if operator else launch.kernel] += launch.time_s
    return sorted(seconds.items(), key=lambda item: -item[1])[:most]


def as_json(file: Path, trace: KinetoTrace, durations: Durations) -> dict[str, Any]:
    """Return an import as plain values with units in their keys."""
    return {
        "schema": "papisim/profiler-import/1",
        "file": str(file),
        "gpu": trace.gpu,
        "n_gpus": trace.n_gpus,
        "has_shapes": trace.has_shapes,
        "n_kernels": len(trace.launches),
        "time_s": durations.time_s,
        "classed_ratio": durations.classed_ratio,
        "classes": [
            {
                "kernel_class": of_class.kernel_class,
                "n_kernels": of_class.n_kernels,
                "time_s": of_class.time_s,
                "time_ratio": of_class.time_s / durations.time_s,
            }
            for of_class in durations.classes
        ],
        "artefacts": [
            {"kernel_class": name, "time_ratio": share, "explanation": text}
            for name, share, text in durations.artefacts
        ],
        "longest_unclassed": [{"kernel": name, "time_s": time_s} for name, time_s in longest_unclassed(trace)],
    }


def write_durations(path: Path, grid: Iterable[tuple[Point, Durations]]) -> None:
    """Write the table of a grid: one row per point and class."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for point, durations in grid:
            for of_class in durations.classes:
                where = (point.rlp, point.tlp, point.kv)
                writer.writerow((*where, of_class.kernel_class, of_class.n_kernels, f"{of_class.time_s:.5g}"))
