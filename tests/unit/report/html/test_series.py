import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from papisim.report.html.charts.parallelism import chart, placement_spans
from papisim.report.html.charts.series import decimate, per_bin, thinned

values = arrays(float, st.integers(1, 400), elements=st.floats(-1e6, 1e6))


@given(values, st.integers(4, 50))
def test_a_shortened_series_keeps_its_peaks_its_ends_and_its_order(y, most):
    xs, ys = decimate(np.arange(len(y)), y, most)
    assert len(xs) <= most + 4
    assert (ys.min(), ys.max()) == (y.min(), y.max())
    assert (xs[0], xs[-1]) == (0, len(y) - 1)
    assert (np.diff(xs) > 0).all()
    assert (ys == y[xs.astype(int)]).all()


spans = st.lists(st.tuples(st.floats(0, 100), st.floats(1e-3, 10), st.floats(0, 1e6)), min_size=1, max_size=30)


@given(spans, st.integers(1, 60))
def test_what_is_spread_over_bins_is_conserved_whether_spans_overlap_or_leave_gaps(rows, bins):
    start, time, amount = map(np.array, zip(*rows, strict=True))
    edges = np.linspace(0, (start + time).max(), bins + 1)
    spread = per_bin(start, time, amount, edges)
    assert spread.sum() == pytest.approx(amount.sum(), rel=1e-6, abs=1e-6)
    assert (spread >= -1e-6 * max(1.0, amount.sum())).all()


def test_a_span_across_an_edge_falls_into_both_bins_by_time():
    assert per_bin([0.5], [1.0], [8.0], np.array([0.0, 0.75, 2.0])) == pytest.approx([2.0, 6.0])


def test_a_table_of_a_long_series_has_means_of_equal_spans():
    frame = pd.DataFrame({"index": range(100), "rlp": range(100)})
    table = thinned(frame, "index", rows=10)
    assert table["index"].tolist() == list(range(0, 100, 10))
    assert table["rlp"].tolist() == [10 * n + 4.5 for n in range(10)]


def test_placement_spans_cover_every_iteration_once():
    device = ["gpu"] * 5 + ["pim"] * 3 + ["gpu"] * 2
    found = placement_spans(pd.DataFrame({"fc_device": device, "index": range(10)}))
    assert found.to_dict("list") == {"device": ["gpu", "pim", "gpu"], "first": [0, 5, 8], "count": [5, 3, 2]}


def test_a_placement_that_changes_all_the_time_is_drawn_as_shares_of_equal_counts():
    restless = pd.DataFrame({
        "kind": "decode", "index": range(3000), "fc_device": ["gpu", "gpu", "pim"] * 1000, "rlp": 1, "tlp": 1.0, "rows": 1,
    })  # fmt: skip
    figure = chart("t", restless, None, {}).figure["data"]
    (shares,) = [trace for trace in figure if trace["type"] == "heatmap"]
    assert shares["y"] == ["gpu", "pim"]
    gpu, pim = shares["z"]
    assert np.mean(gpu) == pytest.approx(2 / 3, rel=0.01)
    assert (gpu + pim).tolist() == pytest.approx([1] * len(gpu))
