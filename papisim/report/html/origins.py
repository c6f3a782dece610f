"""What a result rests on: how far off the models are, the works their numbers come from, what was assumed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from papisim.config.sources import ORIGINS, OVERRIDE, bibliography
from papisim.report.html.page import Listing, Section, Table, rows_frame
from papisim.validation.pim import published

_LIBRARIES = ("linear", "attention")


def add_errors(section: Section, systems: Sequence[dict[str, Any]], sources: list[dict[str, str]]) -> None:
    """Add the residuals of the fits that a result used, and the PIM model beside published figures.

    Args:
        section: where to.
        systems: the machines, every field resolved.
        sources: of all their numbers.
    """
    parts = [group["part"] for system in systems for group in system["devices"].values()]
    fits = list(dict.fromkeys(_fits(parts, sources)))
    if fits:
        frame = rows_frame(fits, "file", "what was fitted", "data and residual")
        section.add(
            Table(
                "Residuals of the fits in use",
                frame,
                "MAPE is the mean absolute error in per cent, p95 what 19 of 20 stay below.",
            )
        )
    if any(part["kind"] == "pim" for part in parts):
        section.add(_pim_table())


def _fits(parts: list[dict[str, Any]], sources: list[dict[str, str]]) -> Iterator[tuple[str, str, str]]:
    """Yield the fitted sources; those of a library that no device uses say nothing of this run."""
    used = {
        (family, part[family]["use"])
        for part in parts
        for family in _LIBRARIES
        if isinstance(part.get(family), dict) and "use" in part[family]
    }
    for source in sources:
        path = source["path"].split(".")
        of_library = len(path) > 2 and path[0] in _LIBRARIES and path[1] == "libraries"  # noqa: PLR2004
        if source["origin"] == "fitted" and (not of_library or (path[0], path[2]) in used):
            yield source["file"], source["path"], source["note"]


def _pim_table() -> Table:
    found = published()
    frame = rows_frame(
        [(each.what, each.published, each.predicted, _error(each.error), _within(each.within), each.source) for each in found],
        "what", "published", "predicted", "error", "within its tolerance", "source",
    )  # fmt: skip
    promised = [each.within for each in found if each.within is not None]
    note = f"{sum(promised)} of {len(promised)} figures with a tolerance are within it. This papisim computed the predictions."
    return Table("PIM model and published figures", frame, note)


def _error(error: float | None) -> str:
    return "—" if error is None else f"{error:+.1%}"


def _within(within: bool | None) -> str:
    return {None: "only shown", True: "yes", False: "no"}[within]


def add_works(section: Section, sources: list[dict[str, str]]) -> None:
    """Add the works, the assumptions and every number's source.

    Args:
        section: where to.
        sources: of a manifest.
    """
    works = bibliography()
    papers = sorted({source["origin"] for source in sources if source["origin"] in works})
    assumed = sorted(
        {
            f"{source['file']}: {source['path']}: {source['note']}"
            for source in sources
            if source["origin"] == "assumed"
        }
    )
    frame = pd.DataFrame(sources)[["file", "path", "origin", "note"]].drop_duplicates()
    counts = (
        frame["origin"].map(lambda origin: origin if origin in {*ORIGINS, OVERRIDE} else "published").value_counts()
    )
    section.add(Table("Where the numbers come from", rows_frame(counts.items(), "origin", "entries")))
    section.add(Listing("Works", [f"{key}: {works[key]}" for key in papers]))
    section.add(Listing("Assumptions", assumed))
    lines = [f"{row.file}: {row.path}: {row.origin} ({row.note})" for row in frame.itertuples()]
    section.add(Listing("Source of every number", lines))
