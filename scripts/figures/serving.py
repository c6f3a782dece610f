"""Draw measured serving rates against predicted ones, every row of a ``serving.csv`` that ``papisim validate --serving --out`` wrote.

``python scripts/figures/serving.py RESULTS/serving.csv docs/physics/engines.png``: a panel each for TPOT and TTFT, a colour per engine and
GPU; on the line a prediction is exact, in the band it is within ±10 %. With a third file, of predictions of another tool for some
of the same rows (columns source_row, tpot_s, ttft_s), panels of that tool stand beside.
"""

from __future__ import annotations

import csv
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from papisim.report.print.validation import Cloud, draw

FIGURES = {"TPOT": "tpot_s", "TTFT": "ttft_s"}
#: rows that are neither implausible nor short of room
PARTS = ("plain", "queued")


def rows_of(file: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file."""
    with file.open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def clouds(tool: str, pairs: list[tuple[dict[str, str], dict[str, str]]], prefix: str) -> Iterator[Cloud]:
    """Yield the points of one tool: pairs of a measured row and the row with its predictions."""
    for title, column in FIGURES.items():
        groups = defaultdict[str, list[tuple[float, float]]](list)
        for measured, predicted in pairs:
            label = f"{measured['backend']} {measured['gpu']}, {measured['part']}"
            groups[label].append((float(measured[column]), float(predicted[prefix + column])))
        for label, points in sorted(groups.items()):
            yield Cloud(f"{title} of {tool}, s", label, [x for x, _ in points], [y for _, y in points])


def main(results: str, figure: str, peer: str | None = None) -> None:
    """Draw the figure."""
    rows = [row for row in rows_of(Path(results)) if not row["reason"] and row["part"] in PARTS]
    drawn = list(clouds("papisim", [(row, row) for row in rows], "predicted_"))
    if peer is not None:
        by_row = {row["source_row"]: row for row in rows_of(Path(peer))}
        both = [(row, by_row[row["source_row"]]) for row in rows if row["source_row"] in by_row]
        drawn += clouds(Path(peer).stem, both, "")
    draw(drawn, Path(figure))


if __name__ == "__main__":
    main(*sys.argv[1:])
