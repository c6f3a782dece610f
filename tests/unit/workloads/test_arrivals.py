"""Random arrivals have the rate and the evenness they are asked for, and users wait for their answers."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from papisim.workloads import closed_loop, gamma_burst, poisson
from papisim.workloads.base import ClosedLoop, Request
from papisim.workloads.lengths.fixed import Fixed
from papisim.workloads.lengths.listed import Listed
from papisim.workloads.lengths.log_normal import LogNormal

LENGTHS = Fixed(kind="fixed", input_tokens=10, output_tokens=20)
N = 40_000


def open_loop(kind, n_requests=N, seed=3, lengths=LENGTHS, **fields):
    module = {"poisson": poisson, "gamma_burst": gamma_burst}[kind]
    return module.Workload(module.Options(kind=kind, n_requests=n_requests, lengths=lengths, **fields), seed)


def gaps(workload):
    return np.diff([request.arrival_s for request in workload])


@pytest.mark.parametrize("rate_per_s", [0.01, 5.5, 1e5])
def test_poisson_gaps_are_exponential(rate_per_s):
    drawn = gaps(open_loop("poisson", rate_per_s=rate_per_s)) * rate_per_s
    assert drawn.mean() == pytest.approx(1, abs=4 / np.sqrt(N))
    for quantile in (0.1, 0.5, 0.9):
        assert np.quantile(drawn, quantile) == pytest.approx(-np.log(1 - quantile), rel=0.05)


@pytest.mark.parametrize("gap_cv", [0.2, 1.0, 3.0])
def test_gamma_gaps_have_their_mean_and_their_coefficient_of_variation(gap_cv):
    drawn = gaps(open_loop("gamma_burst", rate_per_s=2.0, gap_cv=gap_cv))
    assert drawn.mean() == pytest.approx(0.5, abs=4 * 0.5 * gap_cv / np.sqrt(N))
    # variance of a gamma's sample cv: excess kurtosis 6·cv²
    assert drawn.std() / drawn.mean() == pytest.approx(gap_cv, rel=4 * np.sqrt((2 + 6 * gap_cv**2) / N) / 2 + 0.02)


def test_a_gamma_burst_of_coefficient_one_is_a_poisson_process():
    drawn = gaps(open_loop("gamma_burst", rate_per_s=1.0, gap_cv=1.0))
    assert np.quantile(drawn, 0.5) == pytest.approx(np.log(2), rel=0.05)


def test_the_clock_starts_with_the_first_request_and_chunks_leave_no_seam():
    workload = open_loop("poisson", n_requests=20_000, rate_per_s=1.0)
    arrivals = [request.arrival_s for request in workload]
    assert arrivals[0] == 0
    assert arrivals == sorted(arrivals)
    seam = np.diff(arrivals)[16_380:16_390]
    assert (seam > 0).all()
    assert seam.max() < 15


def test_other_lengths_change_no_arrival_and_other_rates_no_length():
    lengths = LogNormal(
        kind="log_normal", input_tokens={"median_tokens": 100, "sigma": 1}, output_tokens={"mean_tokens": 50, "cv": 1}
    )
    slow, fast = (list(open_loop("poisson", n_requests=500, rate_per_s=rate, lengths=lengths)) for rate in (1.0, 2.0))
    fixed = list(open_loop("poisson", n_requests=500, rate_per_s=1.0))
    assert [r.arrival_s for r in slow] == [r.arrival_s for r in fixed]
    assert [(r.input_tokens, r.output_tokens) for r in slow] == [(r.input_tokens, r.output_tokens) for r in fast]
    assert [r.arrival_s / 2 for r in slow] == pytest.approx([r.arrival_s for r in fast])


def test_listed_lengths_go_on_across_chunks():
    listed = Listed(kind="listed", pairs=[(1, 2), (3, 4), (5, 6)])
    requests = list(open_loop("poisson", n_requests=20_000, rate_per_s=1.0, lengths=listed))
    assert all(request.input_tokens == 1 + 2 * (request.request_id % 3) for request in requests)


def test_a_million_requests_are_never_all_in_memory():
    workload = open_loop("poisson", n_requests=1_000_000, rate_per_s=1.0)
    tracemalloc.start()
    try:
        for request, _ in zip(workload, range(50_000), strict=False):
            last = request
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert last.request_id == 49_999
    assert peak < 8e6


def users(n_users=4, n_requests=18, seed=5, lengths=LENGTHS, ramp_s=0.0, **think):
    options = closed_loop.Options(
        kind="closed_loop", n_users=n_users, n_requests=n_requests, think_time=think, ramp_s=ramp_s, lengths=lengths
    )
    return closed_loop.Workload(options, seed)


def serve(workload, service_s):
    """Return all requests of a closed loop, each of which is served at once and takes a time of its own."""
    done, pending = [], sorted(workload, key=lambda request: request.arrival_s)
    while pending:
        request = pending.pop(0)
        done.append(request)
        after = workload.follow(request, request.arrival_s + service_s(request))
        pending = sorted([*pending, *([after] if after else [])], key=lambda request: request.arrival_s)
    return done


def test_a_closed_loop_says_that_it_is_one():
    assert isinstance(users(), ClosedLoop)
    assert not isinstance(open_loop("poisson", rate_per_s=1.0), ClosedLoop)


def test_users_start_evenly_over_the_ramp_and_are_not_held_up_again():
    workload = users(n_users=4, n_requests=8, ramp_s=2.0)
    first = list(workload)
    assert [request.arrival_s for request in first] == [0, 0.5, 1.0, 1.5]
    assert [workload.follow(request, 7.0).arrival_s for request in first] == [7.0] * 4


@settings(max_examples=40, deadline=None)
@given(
    n_users=st.integers(1, 9),
    n_requests=st.integers(1, 40),
    mean_s=st.just(0.0) | st.floats(1e-6, 10),
    cv=st.sampled_from([0, 0.5, 1, 2]),
)
def test_all_requests_are_issued_once_and_evenly_whatever_the_machine(n_users, n_requests, mean_s, cv):
    lengths = Listed(kind="listed", pairs=[(i + 1, i + 2) for i in range(n_requests)])
    runs = []
    for service_s in (lambda request: 1.0, lambda request: 0.1 + (request.request_id * 7 % 5)):
        done = serve(users(n_users, n_requests, lengths=lengths, mean_s=mean_s, cv=cv), service_s)
        runs.append({(r.request_id, r.input_tokens, r.output_tokens) for r in done})
        per_user = np.bincount([r.request_id % n_users for r in done], minlength=n_users)
        assert len(done) == n_requests
        assert per_user.max() - per_user.min() <= 1
    assert runs[0] == runs[1] == {(i, i + 1, i + 2) for i in range(n_requests)}


@pytest.mark.parametrize("cv", [0.5, 1.0, 2.0])
def test_a_user_never_asks_again_before_the_answer_and_thinks_as_long_as_told(cv):
    workload = users(n_users=3, n_requests=30_000, mean_s=4.0, cv=cv)
    first = list(workload)
    assert [r.arrival_s for r in first] == sorted(r.arrival_s for r in first)
    thought = [r.arrival_s for r in first]
    for request in first:
        while (after := workload.follow(request, 100.0)) is not None:
            thought.append(after.arrival_s - 100.0)
            request = after  # noqa: PLW2901 - the user's next
    assert len(thought) == 30_000
    assert min(thought) >= 0
    assert np.mean(thought) == pytest.approx(4.0, rel=0.04)
    assert np.std(thought) == pytest.approx(4.0 * cv, rel=0.05)


def test_following_is_a_function_of_the_request_and_the_time_alone():
    workload = users()
    request = Request(5, 1.0, 10, 20)
    assert workload.follow(request, 7.0) == workload.follow(request, 7.0) == users().follow(request, 7.0)
    assert list(workload) == list(workload)


def test_users_that_do_not_think_are_all_there_at_once():
    assert [request.arrival_s for request in users(mean_s=0)] == [0.0] * 4
