"""The section on sources and assumptions: the works that a result's numbers are from, and what is assumed."""

from __future__ import annotations

import pandas as pd

from papisim.config.sources import EXTENDS, ORIGINS, OVERRIDE, bibliography
from papisim.report.html.page import Listing, Section, Table, rows_frame


def add_sources(section: Section, sources: list[dict[str, str]]) -> None:
    """Add the works, the assumptions and the source of every number.

    Args:
        section: the section that is added to.
        sources: sources of a manifest.
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
    own = {*ORIGINS, OVERRIDE, EXTENDS}
    counts = frame["origin"].map(lambda origin: origin if origin in own else "published").value_counts()
    section.add(Table("Origins of the numbers", rows_frame(counts.items(), "origin", "entries")))
    section.add(Listing("Works", [f"{key}: {works[key]}" for key in papers]))
    section.add(Listing("Assumptions", assumed))
    lines = [f"{row.file}: {row.path}: {row.origin} ({row.note})" for row in frame.itertuples()]
    section.add(Listing("Source of every number", lines))
