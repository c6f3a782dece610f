"""Figures of a paper, and the ranking of its interpretations, on the console."""

import pytest

from papisim.report.claims import ClaimRow, ShownFigure
from papisim.report.console.interpretations import print_ranking
from papisim.report.console.reproduction import print_figures
from papisim.report.ranking import Best, Effect, Range, Summary

ROW = ClaimRow(
    system="fig1",
    claim="speed-up",
    claimed=2.0,
    simulated=2.5,
    relative_error=0.25,
    verdict="off",
    reason="since it waits",
    reliability="figure",
    source="here",
)
FIGURE = ShownFigure(
    name="fig1", title="speed [x]", assumed=["one", "two"], rows=[ROW], moved={}, findings=["it wins"], images=[]
)


def printed(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line.rstrip() for line in capsys.readouterr().out.splitlines()]


def test_a_figure_has_claims_reasons_findings_and_assumptions(capsys):
    print_figures("physical", [FIGURE], {"stated": 0.25})
    lines = printed(capsys)
    assert lines[0] == "interpretation: physical"
    assert lines[2] == "Farthest from its number is fig1, speed-up: published 2, simulated 2.5."
    assert lines[4] == "fig1  speed [x]"
    assert lines[6].split() == ["speed-up", "≈", "2", "2.5", "+25", "%", "off"]
    assert "since it waits" in lines[7]
    assert "  it wins" in lines
    assert "  assumed: one; two" in lines
    assert lines[-2:] == [
        "mean |ln(simulated / published)| of stated numbers: 0.250",
        "0 in range, 0 fitted, 0 direction holds, 1 off, 0 not testable",
    ]


def test_a_figure_without_claims_and_findings_is_not_printed(capsys):
    print_figures(None, [ShownFigure(**{**FIGURE, "rows": [], "findings": []})], {})
    assert "fig1" not in "\n".join(printed(capsys))


def test_a_ranking_has_the_best_the_numbers_not_reached_and_the_effects(capsys):
    best = Best(score=0.25, read_off=0.5, interpretation={"a": "x", "b": "y"}, values={}, orders=True)
    ranges = [
        Range(figure="fig1", claim="speed", published=2.0, smallest=1.0, largest=1.5, reached=False),
        Range(figure="fig1", claim="energy", published=1.0, smallest=0.5, largest=1.5, reached=True),
    ]
    effects = [Effect(choice="a", alternative="x", figure="fig1", claim="speed", ratio=1.25)]
    summary = Summary(
        schema="s", n_interpretations=1234, n_runs=5, n_too_large=6, score_quantiles={}, best=best,
        best_with_orders=Best(**{**best, "interpretation": {"a": "w", "b": "y"}}), unreached=[],
    )  # fmt: skip
    print_ranking(summary, ranges, effects, {("fig1", "speed"): "fig1 2"}, {"a": "w", "b": "y"})
    lines = printed(capsys)
    assert lines[0] == "1,234 interpretations, assembled from 5 runs; in 6 a batch does not fit the memory"
    assert lines[2:4] == ["Best interpretation: score 0.250, 0.500 with numbers read off", "  a = x"]
    assert lines[5:7] == [
        "Best interpretation that keeps every order and crossover: score 0.250, 0.500 with numbers read off",
        "  physical",
    ]
    assert [line.split() for line in lines if line.startswith("fig1")] == [["fig1", "speed", "2", "1", "…", "1.5"]]
    assert lines[-1].split() == ["a", "x", "×1.25"]
