"""The page of a sweep."""

from __future__ import annotations

import json
import math

import pandas as pd

from papisim.report.facets import Layout, facets
from papisim.report.html.charts import points as charts
from papisim.report.html.charts.axes import colours as colours_of
from papisim.report.html.charts.grid import lines
from papisim.report.html.page import Listing, Page, Section, Table, Tile, cell
from papisim.report.meaning_of_points import meaning_of_points
from papisim.results.folder import Json, Results

_GAIN, _SPENT = "throughput_tokens_per_s", "energy_per_token_j"
_FIGURES = (_GAIN, _SPENT, "ttft_mean_s", "tpot_mean_s")
#: inputs with a chart of their own, points that are listed, and facets that are drawn
_INPUTS_SHOWN, _POINTS_SHOWN, _FACETS_SHOWN = 6, 25, 12


def page(results: Results) -> Page:
    """Lay out the page of a sweep that ``papisim sweep --out`` wrote."""
    manifest, frame = results.manifest, results.frame("frame")
    frame = frame.assign(**{figure: math.nan for figure in _FIGURES if figure not in frame.columns})
    inputs = [name for name in manifest["inputs"] if name in frame.columns and frame[name].nunique(dropna=False) > 1]
    found = frame[frame["status"] == "ok"]
    description = str(manifest["sweep"].get("description", "Sweep"))
    page = Page(
        description,
        f"{len(frame):,} points over {', '.join(inputs)}.",
        manifest["written"],
        meaning_of_points(frame, inputs),
    )
    overview = page.section("Overview")
    overview.tiles.extend(_tiles(frame, found, inputs))
    worked = found.dropna(subset=[_GAIN, _SPENT])
    layout = Layout.of(frame, inputs)
    if layout is not None and layout.lines and "sample" not in manifest["sweep"]:
        _add_facets(page, frame, layout)
    if len(worked):
        _add_points(page, worked, inputs)
    add_left_out(page.section("Points left out"), frame, inputs)
    add_space(page, manifest)
    return page


def add_space(page: Page, manifest: Json) -> None:
    """Add the sweep's file."""
    space = json.dumps(manifest["sweep"], indent=1, ensure_ascii=False).splitlines()
    page.section("Reproduce this sweep").add(Listing("File of the sweep", space))


def _tiles(frame: pd.DataFrame, found: pd.DataFrame, inputs: list[str]) -> list[Tile]:
    tiles = [Tile("Points", f"{len(frame):,}", f"{len(found):,} simulated and within their constraints")]
    best = [("Fastest", _GAIN, False), ("Least energy per token", _SPENT, True)]
    for title, column, least in best:
        if found[column].isna().all():
            continue
        row = found.sort_values(column, ascending=least).iloc[0]
        tiles.append(Tile(title, cell(column, row[column]), ", ".join(cell(name, row[name]) for name in inputs)))
    return tiles


def _add_points(page: Page, found: pd.DataFrame, inputs: list[str]) -> None:
    section = page.section(
        "Speed and energy", "Up and to the left is better; the dotted line joins the points of the Pareto front."
    )
    names = [name for name in inputs if not pd.api.types.is_numeric_dtype(found[name])]
    section.add(charts.trade_off(found, _GAIN, _SPENT, ["point", *inputs], names[0] if names else None))
    section.add(_fastest(found, inputs))
    mixed = "trace" in inputs
    intro = "Every point." if mixed else "Every point, and the mean over all points with the same value."
    section = page.section("Effect of each input", intro)
    for name in inputs[:_INPUTS_SHOWN]:
        section.add(*(charts.effect(found, figure, name, mean=not mixed) for figure in (_GAIN, _SPENT)))


def _add_facets(page: Page, frame: pd.DataFrame, layout: Layout) -> None:
    """Add a chart of each figure for each facet, with a line per machine and policy."""
    section = page.section("Side by side", f"One line per {' and '.join(layout.lines)}; ratios are to the first.")
    found = {figure: list(facets(frame, layout, figure)) for figure in (_GAIN, _SPENT)}
    colours = colours_of(list(dict.fromkeys(label for each in found[_GAIN] for label in each.lines)))
    for pair in list(zip(*found.values(), strict=True))[:_FACETS_SHOWN]:
        for figure, facet in zip(found, pair, strict=True):
            section.add(lines(facet, layout.across, figure, colours))
    if len(found[_GAIN]) > _FACETS_SHOWN:
        section.intro += (
            f" The first {_FACETS_SHOWN} of {len(found[_GAIN])} combinations of {', '.join(layout.facets)}."
        )


def _fastest(found: pd.DataFrame, inputs: list[str]) -> Table:
    columns = ["point", *inputs, *(figure for figure in _FIGURES if figure in found.columns)]
    best = found.sort_values(_GAIN, ascending=False)[columns].head(_POINTS_SHOWN)
    return Table("Fastest points", best, f"{len(best)} of {len(found):,}; the frame beside this page has all.")


def add_left_out(section: Section, frame: pd.DataFrame, inputs: list[str]) -> None:
    """Add the reasons why points have no results, and examples."""
    left_out = frame[frame["status"] != "ok"]
    if left_out.empty:
        section.intro = "None: every point could be simulated and met its constraints."
        return
    reasons: pd.DataFrame = (
        left_out.fillna({"constraint": "—"}).groupby(["status", "constraint"]).size().reset_index(name="points")
    )
    section.add(Table("Reasons", reasons))
    columns = [name for name in ("point", "status", *inputs, "reason") if name in left_out.columns]
    section.add(Table("Examples", left_out[columns].head(_POINTS_SHOWN)))
