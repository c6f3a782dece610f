"""Patterns of loads, as the program that measures the power limit runs them."""

from itertools import pairwise

from kernels import power
from kernels.harness import Bench, Ticks


def test_every_load_of_a_pattern_has_rows_of_spans_that_follow_one_another(bench: Bench) -> None:
    patterns = power.points(smoke=True)
    rows = list(power.measure(bench, patterns))
    assert all(tuple(row) == power.COLUMNS for row in rows)
    for pattern in patterns:
        own = [row for row in rows if row["pattern"] == pattern.name]
        assert {row["load"] for row in own} == {part.load for part in pattern.parts} - {None}
        for load in {row["load"] for row in own}:
            spans = [(float(row["from_s"] or 0), float(row["to_s"] or 0)) for row in own if row["load"] == load]
            assert all(before[1] <= after[0] for before, after in pairwise(spans))
            assert all(float(row["launch_s"] or 0) > 0 for row in own)


def test_a_name_tells_the_loads_and_pauses_of_a_pattern() -> None:
    names = [pattern.name for pattern in power.points(smoke=False)]
    assert "product_2048:20+pause:60" in names
    assert "product_2048:10+product_16:30" in names
    assert len(set(names)) == len(names)


def test_power_between_two_moments_is_that_of_the_ticks_between_them() -> None:
    class Counter:
        def joules(self) -> float:
            return 0.0

    ticks = Ticks(Counter())  # type: ignore[arg-type]
    ticks.seen = [(1.0, 100.0), (2.0, 400.0), (3.0, 1100.0)]
    assert ticks.watts_between(0.5, 2.5) == 300.0
    assert ticks.watts_between(1.5, 9.0) == ticks.watts_after(1.5) == 700.0
    assert ticks.watts_between(1.5, 2.5) is None
