"""The page of a reproduced paper."""

from __future__ import annotations

import math
from typing import cast

import pandas as pd

from papisim.report.claims import ClaimRow
from papisim.report.html.charts.axes import axis
from papisim.report.html.page import Chart, Listing, Page, Picture, Plotly, Table, Tile, rows_frame
from papisim.report.meaning_of_claims import meaning_of_claims
from papisim.results.folder import Json, Results

_COLOURS = {"in range": "$c2", "fitted": "$c3", "direction holds": "$c0", "off": "$c1"}


def page(results: Results) -> Page:
    """Lay out the page of a reproduction that ``papisim reproduce --out`` wrote."""
    manifest, summary, claims = results.manifest, results.summary, results.frame("claims")
    interpretation = f"Interpretation: {manifest['interpretation']}. " if "interpretation" in manifest else ""
    page = Page(
        f"{manifest['title']}, reproduced",
        f"{interpretation}Every published value beside the simulated one.",
        manifest["written"],
        meaning_of_claims(_rows(claims)),
    )
    overview = page.section("Overview")
    overview.tiles.extend(_tiles(summary, claims))
    overview.add(_parity(claims))
    for name, figure in manifest["figures"].items():
        rows = claims[claims["system"] == name]
        section = page.section(name, figure["title"])
        picture = results.folder / f"{name}.png"
        if picture.is_file():
            section.add(Picture(f"{name}, simulated", picture.read_bytes(), _in_words(rows) or figure["title"]))
        if len(rows):
            section.add(Table("Values", _values(rows)))
        section.add(Listing("Assumptions", figure["assumed"]))
        reasons = _reasons(rows, figure["assumed"])
        section.add(Listing("Reasons", reasons) if reasons else None)
    if "alternatives" in manifest:
        taken = rows_frame(manifest["alternatives"].items(), "choice that the paper leaves open", "alternative taken")
        page.section("Reproduce this run").add(Table("Interpretation", taken))
    return page


def _rows(claims: pd.DataFrame) -> list[ClaimRow]:
    """Return the rows of a frame of claims; published numbers as numbers."""
    numbers = pd.to_numeric(claims["claimed"], errors="coerce")
    plain = claims.astype(object).where(claims.notna(), None).to_dict("records")
    return [
        cast("ClaimRow", row | {"claimed": row["claimed"] if math.isnan(number) else number})
        for row, number in zip(plain, numbers, strict=True)
    ]


def _reasons(rows: pd.DataFrame, assumed: list[str]) -> list[str]:
    """Return the reasons of verdicts, as far as they are not what the whole figure assumes."""
    own = rows[rows["reason"].notna() & (rows["reason"] != "; ".join(assumed))]
    return [f"{row['claim']}: {row['reason']}" for row in own.to_dict("records")]


def _tiles(summary: Json, claims: pd.DataFrame) -> list[Tile]:
    verdicts = claims["verdict"].value_counts()
    tiles = [Tile(str(verdict), f"{verdicts.get(verdict, 0)}", f"of {len(claims)} values") for verdict in _COLOURS]
    scores = summary["scores"].items()
    return tiles + [
        Tile(f"Mean distance, {name.replace('_', ' ')}", f"{value:.3f}", "mean |ln(simulated / published)|")
        for name, value in scores
    ]


def _values(rows: pd.DataFrame) -> pd.DataFrame:
    columns = ["claim", "claimed", "simulated", "relative_error", "verdict", "sensitivity", "source"]
    table = rows[columns].copy()
    table["relative_error"] = table["relative_error"].map(lambda error: "—" if pd.isna(error) else f"{error:+.0%}")
    table["sensitivity"] = table["sensitivity"].astype(object).fillna("—")
    return table.rename(columns={"claim": "value", "claimed": "published", "sensitivity": "constants ±20 %"})


def _parity(claims: pd.DataFrame) -> Chart | None:
    """Draw simulated over published values, where a value was published."""
    numbers = claims.assign(claimed=pd.to_numeric(claims["claimed"], errors="coerce")).dropna(
        subset=["claimed", "simulated"]
    )
    numbers = numbers[(numbers["claimed"] > 0) & (numbers["simulated"] > 0)]
    if numbers.empty:
        return None
    ends = [
        0.8 * min(numbers["claimed"].min(), numbers["simulated"].min()),
        1.25 * max(numbers["claimed"].max(), numbers["simulated"].max()),
    ]
    traces: list[Plotly] = [
        {"type": "scatter", "mode": "lines", "name": "equal", "x": ends, "y": ends, "line": {"color": "$muted", "width": 1.5}, "hoverinfo": "skip"}
    ]  # fmt: skip
    for verdict, rows in numbers.groupby("verdict", sort=False):
        traces.append({
            "type": "scatter", "mode": "markers", "name": str(verdict), "x": rows["claimed"], "y": rows["simulated"],
            "text": rows["system"] + ": " + rows["claim"], "hovertemplate": "%{text}<br>published %{x:.3g}, simulated %{y:.3g}<extra></extra>",
            "marker": {"color": _COLOURS.get(str(verdict), "$c7"), "size": 9},
        })  # fmt: skip
    layout = {
        "xaxis": axis("published", type="log", tickformat="~g", dtick="D2"),
        "yaxis": axis("simulated", type="log", tickformat="~g", dtick="D2"),
        "hovermode": "closest",
    }
    counts = ", ".join(f"{count} {verdict}" for verdict, count in numbers["verdict"].value_counts().items())
    alt = f"Of {len(numbers)} published numbers: {counts}."
    table = numbers[["system", "claim", "claimed", "simulated", "verdict"]]
    return Chart("Simulated over published", {"data": traces, "layout": layout}, alt, table, wide=True, height=460)


def _in_words(rows: pd.DataFrame) -> str:
    return "; ".join(
        f"{row['claim']}: published {row['claimed']}, simulated {row['simulated']:.3g}"
        for row in rows.dropna(subset=["simulated"]).to_dict("records")
    )
