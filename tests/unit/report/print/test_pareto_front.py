"""The drawing of designs and their Pareto front."""

import pytest

from papisim.report.print.pareto_front import page

pytest.importorskip("matplotlib")

TRIED = [{"point": i, "a": a, "b": b, "c": a + b} for i, (a, b) in enumerate([(1, 5), (2, 2), (5, 1), (6, 6)])]


def points(panel, index) -> list[tuple[float, float]]:
    return [tuple(xy) for xy in panel.collections[index].get_offsets().tolist()]


def test_two_objectives_make_one_panel_with_all_designs_and_the_front():
    (panel,) = page(TRIED, TRIED[:3], ["a", "b"]).axes
    assert (panel.get_xlabel(), panel.get_ylabel()) == ("a", "b")
    assert points(panel, 0) == [(1, 5), (2, 2), (5, 1), (6, 6)]
    assert points(panel, 1) == [(1, 5), (2, 2), (5, 1)]
    assert [text.get_text() for text in panel.get_legend().get_texts()] == ["tried, feasible", "Pareto front"]


def test_three_objectives_make_a_panel_for_each_pair():
    panels = page(TRIED, TRIED[:3], ["a", "b", "c"]).axes
    assert [(panel.get_xlabel(), panel.get_ylabel()) for panel in panels] == [("a", "b"), ("a", "c"), ("b", "c")]


def test_one_objective_is_drawn_over_the_trials():
    (panel,) = page(TRIED, TRIED[:1], ["a"]).axes
    assert (panel.get_xlabel(), panel.get_ylabel()) == ("point", "a")
    assert points(panel, 0) == [(0, 1), (1, 2), (2, 5), (3, 6)]
