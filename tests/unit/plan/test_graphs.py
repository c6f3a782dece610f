"""Captured steps: rows padded to them, and what the host launches beyond."""

from __future__ import annotations

import pytest

from papisim.config.engine import GraphsSpec
from papisim.plan.graphs import Graphs

SIZES = [1, 2, 4, 8, 16]


def graphs(mixed: str = "pieces", most_rows: int | None = None, batches: int | None = None) -> Graphs:
    spec = GraphsSpec(captured="sizes", sizes=SIZES, mixed=mixed, batches=batches)
    return Graphs(spec, most_rows)


@pytest.mark.parametrize(("rows", "padded"), [(1, 1), (3, 4), (4, 4), (9, 16), (16, 16), (17, 17), (5000, 5000)])
def test_rows_are_padded_to_the_next_captured_size_and_not_beyond_the_largest(rows, padded):
    assert graphs().padded(rows) == padded


def test_a_full_batch_limits_the_sizes():
    assert graphs(most_rows=4, batches=2).padded(9) == 9
    assert graphs(most_rows=8, batches=2).padded(9) == 16
    assert graphs(most_rows=4).padded(9) == 16


@pytest.mark.parametrize(("mixed", "launches"), [("whole", 0), ("pieces", 3 * 10 + 1), ("none", 100)])
def test_a_captured_step_with_prompts_launches_what_no_graph_holds(mixed, launches):
    found = graphs(mixed)
    assert found.launches(8, 5, 100, 10) == launches
    assert found.launches(8, 0, 100, 10) == 0
    assert found.launches(17, 5, 100, 10) == found.launches(17, 0, 100, 10) == 100


def test_without_graphs_everything_is_launched_and_with_all_captured_nothing():
    assert Graphs(GraphsSpec(captured="none")).launches(1, 0, 100, 10) == 100
    assert Graphs(GraphsSpec()).launches(4096, 4096, 100, 10) == 0
