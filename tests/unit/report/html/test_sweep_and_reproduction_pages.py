import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from papisim.report.html.charts.points import pareto
from papisim.report.html.folder import page_of
from papisim.report.html.page import Chart, Listing, Picture, Table

values = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), min_size=1, max_size=40)


def items(page, kind) -> dict[str, object]:
    return {item.title: item for section in page.sections for item in section.items if isinstance(item, kind)}


@given(values)
def test_the_line_has_exactly_the_points_that_no_other_beats_in_both(rows):
    points = pd.DataFrame(rows, columns=["gain", "spent"])
    front = {tuple(row) for row in pareto(points, "gain", "spent").to_numpy()}

    def beaten(gain: int, spent: int) -> bool:
        return any(g >= gain and s <= spent and (g, s) != (gain, spent) for g, s in rows)

    assert front == {row for row in rows if not beaten(*row)}


def test_a_sweep_shows_its_points_and_why_others_are_missing(swept):
    frame, page = swept.frame("frame"), page_of(swept)
    found = frame[frame["status"] == "ok"]
    assert 0 < len(found) < len(frame)
    tiles = {tile.label: tile.value for tile in page.sections[0].tiles}
    assert tiles["Points"] == str(len(frame))
    why = items(page, Table)["Reasons"].frame
    assert why["points"].sum() == len(frame) - len(found)
    fastest = items(page, Table)["Fastest points"].frame
    assert fastest["throughput_tokens_per_s"].iloc[0] == found["throughput_tokens_per_s"].max()


def test_the_mean_by_an_input_is_that_of_its_points(swept):
    frame, page = swept.frame("frame"), page_of(swept)
    found = frame[frame["status"] == "ok"]
    table = items(page, Chart)["Throughput by batch"].table.set_index("batch")
    for batch, rows in found.groupby("batch"):
        assert table.loc[batch, "mean_tokens_per_s"] == pytest.approx(rows["throughput_tokens_per_s"].mean())


def test_a_search_shows_its_front_and_nothing_that_is_beaten(searched):
    frame, front, page = searched.frame("frame"), searched.frame("pareto"), page_of(searched)
    tiles = {tile.label: tile.value for tile in page.sections[0].tiles}
    assert tiles["Trials"] == str(len(frame))
    assert tiles["Pareto-optimal designs"] == str(len(front))
    shown = items(page, Table)["Designs"].frame
    found = frame[frame["status"] == "ok"]
    for row in shown.itertuples():
        assert not ((found.rate > row.rate) & (found.energy < row.energy)).any()
    assert any("Rate against energy" in title for title in items(page, Chart))


def test_a_reproduction_has_every_claim_its_figure_and_its_assumptions(reproduced):
    claims, page = reproduced.frame("claims"), page_of(reproduced)
    tables = items(page, Table)
    assert tables["Values"].frame["value"].tolist() == claims["claim"].tolist()
    counts = {tile.label: int(tile.value) for tile in page.sections[0].tiles}
    assert sum(counts.values()) == len(claims)
    assert counts["in range"] == (claims["verdict"] == "in range").sum()
    assert page.title == "PAPI (ASPLOS 2025), reproduced"
    assert page.subtitle.startswith("Interpretation: physical.")
    listings = items(page, Listing)
    assert listings["Assumptions"].lines == reproduced.manifest["figures"]["fig6"]["assumed"]
    assert "Reasons" not in listings, "they are the assumptions"
    taken = tables["Interpretation"].frame
    assert taken.iloc[:, 0].tolist() == list(reproduced.manifest["alternatives"])
    assert set(taken.iloc[:, 1]) >= {"fitted", "drawn"}
    if (reproduced.folder / "fig6.png").is_file():  # drawn where the [plot] extra is there
        picture = items(page, Picture)["fig6, simulated"]
        assert picture.alt.count("simulated") == len(claims)
        assert 'src="data:image/png;base64,' in page.html()
