"""The page of a search for Pareto-optimal designs."""

from __future__ import annotations

from itertools import product

import pandas as pd

from papisim.report.html.charts import points as charts
from papisim.report.html.page import Page, Picture, Table, Tile
from papisim.report.html.pages.sweep import add_left_out, add_space
from papisim.results.folder import Results


def page(results: Results) -> Page:
    """Lay out the page of a search that ``papisim optimise --out`` wrote."""
    manifest, frame, front = results.manifest, results.frame("frame"), results.frame("pareto")
    asked = manifest["sweep"]["optimise"]
    objectives: dict[str, dict[str, str]] = asked["objectives"]
    inputs = [name for name in manifest["inputs"] if name in frame.columns]
    found = frame[frame["status"] == "ok"]
    page = Page(
        str(manifest["sweep"].get("description", "Search")),
        f"{len(frame):,} trials over {', '.join(inputs)}.",
        manifest["written"],
    )
    tiles = [
        Tile("Trials", f"{len(frame):,}", f"{len(found):,} simulated and within their constraints"),
        Tile("Pareto-optimal designs", f"{len(front):,}", f"in {', '.join(objectives)}"),
        Tile("Sampler", str(asked.get("sampler", "nsga2")), f"seed {asked.get('seed', 0)}"),
    ]
    page.section("Overview").tiles.extend(tiles)
    section = page.section("Pareto front")
    section.add(Table("Designs", front[["point", *inputs, *objectives]]))
    picture = results.folder / "pareto.png"
    if picture.is_file():
        section.add(Picture("Designs by objective", picture.read_bytes(), _in_words(front, list(objectives))))
    most = [name for name, each in objectives.items() if "maximise" in each]
    least = [name for name, each in objectives.items() if "minimise" in each]
    for gain, spent in product(most, least) if len(found) else ():
        section.add(charts.trade_off(found, gain, spent, ["point", *inputs], None))
    add_left_out(page.section("Trials left out"), frame, inputs)
    add_space(page, manifest)
    return page


def _in_words(front: pd.DataFrame, objectives: list[str]) -> str:
    spans = (f"{name} from {front[name].min():.4g} to {front[name].max():.4g}" for name in objectives)
    return f"{len(front):,} Pareto-optimal designs: {', '.join(spans)}."
