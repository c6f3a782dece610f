import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from papisim.record.distribution import SKETCH_ACCURACY_RATIO, Exact, Sketch

values = st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=30)


@given(values, st.lists(st.tuples(values, st.integers(1, 9)), max_size=4), st.floats(0, 100))
def test_exact_percentiles_are_numpys_of_all_that_was_observed(single, several, percent):
    exact = Exact()
    for value in single:
        exact.add(value)
    for many, times in several:
        exact.add_all(np.array(many), times)
    everything = [*single, *(value for many, times in several for value in many for _ in range(times))]
    assert exact.n_values == len(everything)
    assert exact.mean == pytest.approx(np.mean(everything), rel=1e-12)
    assert exact.percentile(percent) == pytest.approx(np.percentile(everything, percent), rel=1e-9)


def test_nothing_observed_has_neither_mean_nor_percentile():
    pytest.importorskip("ddsketch")
    for empty in (Exact(), Sketch()):
        assert empty.n_values == 0
        assert np.isnan(empty.mean)
        assert np.isnan(empty.percentile(50))


def test_a_sketch_is_as_close_as_it_promises_and_its_mean_is_exact():
    pytest.importorskip("ddsketch")
    drawn = np.random.default_rng(0).lognormal(-3, 1, 20_000)
    sketch = Sketch()
    sketch.add_all(drawn[:15_000])
    for value in drawn[15_000:]:
        sketch.add(float(value))
    assert sketch.n_values == len(drawn)
    assert sketch.mean == pytest.approx(drawn.mean(), rel=1e-9)
    for percent in (1, 50, 90, 99, 99.9):
        assert sketch.percentile(percent) == pytest.approx(
            np.percentile(drawn, percent, method="lower"), rel=SKETCH_ACCURACY_RATIO * 1.001
        )


def test_a_sketch_counts_what_was_observed_several_times():
    pytest.importorskip("ddsketch")
    sketch = Sketch()
    sketch.add_all(np.array([1.0, 2.0]), 3)
    sketch.add_all(np.array([5.0]), 94)
    assert sketch.n_values == 100
    assert sketch.percentile(50) == pytest.approx(5, rel=2 * SKETCH_ACCURACY_RATIO)
    assert sketch.percentile(1) == pytest.approx(1, rel=2 * SKETCH_ACCURACY_RATIO)
