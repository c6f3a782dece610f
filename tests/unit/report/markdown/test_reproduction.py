"""The page of a reproduced paper in Markdown."""

from pathlib import Path

from papisim.report.claims import ClaimRow, ShownFigure
from papisim.report.markdown.reproduction import reproduction_page

ROW = ClaimRow(
    system="fig1",
    claim="speed-up",
    claimed=2.0,
    simulated=2.5,
    relative_error=0.25,
    verdict="off",
    reason="since it waits",
    reliability="text",
    source="here",
)
FIGURE = ShownFigure(
    name="fig1",
    title="speed",
    assumed=["free drafts"],
    rows=[ROW],
    moved={},
    findings=["it wins"],
    images=[Path("out/fig1.png"), Path("out/fig1.pdf")],
)


def test_a_page_has_title_scores_claims_findings_reasons_assumptions_and_drawing():
    page = reproduction_page("A Paper", "physical", [FIGURE], {"stated": 0.25})
    assert page.splitlines() == [
        "# A Paper, reproduced: interpretation physical",
        "",
        "Mean |ln(simulated / published)| of stated numbers: 0.250",
        "",
        "Published values marked ≈ are read off a figure by others, good to ±15 %.",
        "",
        "## fig1: speed",
        "",
        "| value | published | simulated | error | verdict |",
        "| --- | --- | --- | --- | --- |",
        "| speed-up | 2 | 2.5 | +25 % | off |",
        "",
        "- it wins",
        "- speed-up: since it waits",
        "- assumed: free drafts",
        "",
        "![speed](fig1.png)",
    ]


def test_a_paper_without_choices_has_no_interpretation_and_a_figure_without_claims_no_table():
    bare = ShownFigure(**{**FIGURE, "rows": [], "images": []})
    page = reproduction_page("A Paper", None, [bare], {})
    assert page.startswith("# A Paper, reproduced\n")
    assert "|" not in page
    assert "![" not in page
