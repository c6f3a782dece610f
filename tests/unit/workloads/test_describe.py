import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from papisim.workloads import closed_batch, closed_loop, gamma_burst
from papisim.workloads.describe import describe, peak_concurrency, rank_correlation, tabulate
from papisim.workloads.lengths.listed import Listed
from papisim.workloads.traces.load import RequestTable

LENGTHS = Listed(kind="listed", pairs=[(10, 1), (20, 3), (30, 5), (40, 7)])


def table(arrival_s, inputs, outputs):
    return RequestTable(
        "csv", None if arrival_s is None else np.array(arrival_s, float), np.array(inputs), np.array(outputs)
    )


def test_rates_are_of_gaps_and_tokens_over_the_time_from_first_to_last():
    figures = describe(table([0, 1, 2, 3, 4], [100] * 5, [10, 20, 30, 40, 50]), tpot_s=0.1, block_tokens=512)
    arrivals = figures["arrivals"]
    assert (arrivals["duration_s"], arrivals["rate_per_s"], arrivals["gap_cv"]) == (4, 1, 0)
    assert (arrivals["input_tokens_per_s"], arrivals["output_tokens_per_s"]) == (125, 37.5)
    assert figures["output_tokens"]["mean"] == figures["output_tokens"]["p50"] == 30
    assert figures["longest_tokens"] == 150
    assert figures["rank_correlation"] is None


def test_the_rate_over_time_counts_every_request_once():
    arrival_s = np.sort(np.random.default_rng(0).uniform(0, 500, 1000))
    arrivals = describe(table(arrival_s, [1] * 1000, [1] * 1000), tpot_s=0.1, block_tokens=512)["arrivals"]
    assert sum(arrivals["rate_over_time_per_s"]) * arrivals["bin_s"] == pytest.approx(1000)
    assert len(arrivals["rate_over_time_per_s"]) * arrivals["bin_s"] == pytest.approx(arrivals["duration_s"])


def test_arrivals_that_are_missing_or_all_at_once_have_no_rate():
    assert describe(table(None, [1, 2], [3, 4]), 0.1, block_tokens=512)["arrivals"] is None
    assert describe(table([0, 0], [1, 2], [3, 4]), 0.1, block_tokens=512)["arrivals"] == {
        "duration_s": 0,
        "peak_concurrency": 2,
        "tpot_s": 0.1,
    }


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(1, 9)), min_size=1, max_size=20))
def test_the_peak_is_the_most_intervals_over_any_moment(intervals):
    start, length = np.array(sorted(intervals), float).T
    end = start + length
    over = [(start <= moment).sum() - (end <= moment).sum() for moment in np.arange(0, 40, 0.5)]
    assert peak_concurrency(start, end) == max(over)


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=2, max_size=30))
def test_the_rank_correlation_is_spearmans_ties_included(pairs):
    one, other = np.array(pairs).T
    if one.std() == 0 or other.std() == 0:
        assert rank_correlation(one, other) is None
    else:
        assert rank_correlation(one, other) == pytest.approx(spearmanr(one, other).statistic)


def test_the_requests_of_every_kind_of_workload_can_be_tabulated():
    batch = closed_batch.Workload(closed_batch.Options(kind="closed_batch", n_requests=6, lengths=LENGTHS), 0)
    assert tabulate(batch, "closed_batch").arrival_s.tolist() == [0] * 6
    options = gamma_burst.Options(kind="gamma_burst", n_requests=5000, lengths=LENGTHS, rate_per_s=3, gap_cv=2)
    arrivals = describe(tabulate(gamma_burst.Workload(options, 1), "gamma_burst"), 0.01, 512)["arrivals"]
    assert arrivals["rate_per_s"] == pytest.approx(3, rel=0.1)
    assert arrivals["gap_cv"] == pytest.approx(2, rel=0.15)


def test_all_requests_of_a_closed_loop_are_tabulated_without_times_of_their_own():
    options = closed_loop.Options(kind="closed_loop", n_users=3, n_requests=8, lengths=LENGTHS)
    loop = tabulate(closed_loop.Workload(options, 0), "closed_loop")
    assert loop.arrival_s is None
    assert sorted(loop.input_tokens.tolist()) == [10, 10, 20, 20, 30, 30, 40, 40]
