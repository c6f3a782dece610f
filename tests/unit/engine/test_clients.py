"""Clients as they are: those that give up, those that warm up first, and those that stay in step."""

from collections.abc import Callable

import pytest

from papisim.engine.run import Run
from papisim.errors import InputError
from papisim.record.requests import RequestOutcome
from papisim.results.metrics import run_notes, summarise

Go = Callable[..., Run]
SERVED, TIMED_OUT = RequestOutcome.SERVED, RequestOutcome.TIMED_OUT
TRAFFIC = [(0.02 * i, 50 + 37 * (i % 11), 5 + 13 * (i % 7)) for i in range(40)]


def listed(requests, **client):
    return {"kind": "listed", "requests": requests, **client}


def closed(lengths, n_users=8, n_requests=64, **client):
    return {"kind": "closed_loop", "n_users": n_users, "n_requests": n_requests, "lengths": lengths, **client}


FIXED = {"kind": "fixed", "input_tokens": 300, "output_tokens": 40}


@pytest.fixture
def go(run: Go) -> Go:
    """Serve requests on six GPUs, a few at a time."""

    def serve(workload, **options):
        return run("gpu_only", workload=workload, batching="chunked_prefill", batch=4, **options)

    return serve


def ends(run: Run) -> list[tuple[float, int, str]]:
    return [(row.finish_s, row.emitted_tokens, row.outcome) for row in run.ledger.requests]


def test_a_request_that_decodes_is_cancelled_at_the_end_of_the_step_in_which_its_client_gives_up(go: Go):
    (alone,) = go(listed([(0.0, 100, 400)])).ledger.requests
    half_s = (alone.finish_s - alone.first_token_s) / 2 + alone.first_token_s
    run = go(listed([(0.0, 100, 400)], timeout_s=half_s))
    (row,) = run.ledger.requests
    boundary = next(step.start_s + step.time_s for step in run.ledger.steps if step.start_s + step.time_s >= half_s)
    assert row.outcome is TIMED_OUT
    assert row.finish_s == pytest.approx(boundary)
    assert row.emitted_tokens == pytest.approx(200, abs=8), "later steps take longer"
    assert row.reason == f"given up after {half_s:g} s"
    assert sum(kind.tokens for kind in run.ledger.totals.values()) == row.emitted_tokens


def test_a_request_that_waits_is_cancelled_and_never_computed(go: Go):
    run = go(listed([(0.0, 100, 400), (0.0, 100, 400)], timeout_s=0.5), set=["batching.max_batch=1"])
    first, second = run.ledger.requests
    assert second.outcome is TIMED_OUT
    assert second.emitted_tokens == 0
    assert first.finish_s == pytest.approx(second.finish_s, abs=0.02)
    assert sum(kind.prompt_tokens for kind in run.ledger.totals.values()) == 100


def test_what_a_cancelled_request_held_is_free_for_others(go: Go):
    """The second request joins when the first is cancelled, not when it would have ended."""
    requests = [(0.0, 100, 400), (0.1, 100, 5)]
    run = go(listed(requests, timeout_s=1.0), set=["batching.max_batch=1"])
    first, second = run.ledger.requests
    assert (first.outcome, second.outcome) == (TIMED_OUT, SERVED)
    assert second.admitted_s == first.finish_s


@pytest.mark.parametrize("timeout_s", [0.05, 0.15, 0.25])
@pytest.mark.parametrize("batching", ["continuous", "chunked_prefill", "prefill_priority", "disaggregated"])
def test_time_outs_are_fast_forwarded_exactly_and_lose_no_token(run: Go, batching: str, timeout_s: float):
    def serve(*, fast_forward: bool) -> Run:
        workload = listed(TRAFFIC, timeout_s=timeout_s)
        return run("gpu_only", workload=workload, batching=batching, fast_forward=fast_forward)

    fast, slow = serve(fast_forward=True), serve(fast_forward=False)
    assert [end[1:] for end in ends(fast)] == [end[1:] for end in ends(slow)]
    assert [end[0] for end in ends(fast)] == pytest.approx([end[0] for end in ends(slow)], rel=1e-9)
    assert TIMED_OUT in fast.ledger.outcomes
    assert sum(kind.tokens for kind in fast.ledger.totals.values()) == sum(emitted for _, emitted, _ in ends(fast))
    late = [row for row in fast.ledger.requests if row.finish_s - row.arrival_s > timeout_s]
    assert all(row.outcome is TIMED_OUT for row in late)


def test_a_request_that_is_given_up_is_no_goodput_and_its_user_asks_again(go: Go):
    served = summarise(go(closed(FIXED), set=["slo.e2e_s=60"]))
    assert served["outcomes"]["served"] == 64
    limit_s = served["e2e_p50_s"]
    figures = summarise(go(closed(FIXED, timeout_s=limit_s), set=["slo.e2e_s=60"]))
    assert 0 < figures["outcomes"]["timed_out"] < 64
    assert figures["outcomes"]["served"] + figures["outcomes"]["timed_out"] == 64
    assert figures["slo_met_ratio"] == pytest.approx(figures["outcomes"]["served"] / 64)
    assert figures["e2e_p99_s"] <= limit_s * (1 + 1e-9)


def test_a_time_out_that_no_request_reaches_changes_nothing(go: Go):
    assert ends(go(listed(TRAFFIC, timeout_s=1e6))) == ends(go(listed(TRAFFIC)))


def test_what_comes_after_a_warm_up_is_measured_as_if_the_warm_up_had_not_been(go: Go):
    """Requests far apart do not meet: those after the warm-up are as those of a run of their own, an hour later."""
    tail = [(100.0 * i, 50 + 20 * i, 10 + i) for i in range(5)]
    warm = [(0.0, 500, 50), (20.0, 700, 30)]
    whole = summarise(go(listed([*warm, *((3600 + at, i, o) for at, i, o in tail)], warmup_requests=2)))
    alone = summarise(go(listed(tail)))
    assert (whole["n_warmup_requests"], whole["n_requests"]) == (2, 5)
    for name in (
        "makespan_s",
        "throughput_tokens_per_s",
        "ttft_mean_s",
        "itl_p99_s",
        "energy_j",
        "decode_s",
        "peak_kv_bytes",
    ):
        assert whole[name] == pytest.approx(alone[name], rel=1e-9), name
    assert whole["outcomes"] == alone["outcomes"]
    assert whole["littles_law"]["relative_error"] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("metrics", ["exact", "streaming"])
def test_the_burst_at_the_start_of_a_closed_loop_is_cut_by_its_warm_up(go: Go, metrics: str):
    lengths = {"kind": "uniform", "input_tokens": 2000, "output_tokens": 60, "min_ratio": 0.1}
    whole, cut = (
        summarise(go(closed(lengths, warmup_requests=n), metrics=metrics, set=["batching.max_batch=8"]))
        for n in (0, 8)
    )
    assert cut["n_requests"] == whole["n_requests"] - 8
    assert cut["ttft_mean_s"] < 0.9 * whole["ttft_mean_s"]
    assert cut["tpot_mean_s"] == pytest.approx(whole["tpot_mean_s"], rel=0.2)


def test_a_warm_up_of_all_requests_is_refused(go: Go):
    with pytest.raises(InputError, match="found 40 of 40 requests, expected fewer: none would be measured"):
        go(listed(TRAFFIC, warmup_requests=40))


def test_the_lock_step_of_equal_requests_is_told_and_goes_when_lengths_vary(go: Go):
    uniform = {**FIXED, "kind": "uniform", "min_ratio": 0.5}
    locked, loose = (summarise(go(closed(lengths), set=["batching.max_batch=8"])) for lengths in (FIXED, uniform))
    assert locked["users"]["lock_step"]
    assert any("users are in lock step" in note for note in run_notes(locked))
    assert loose["users"]["coherence_ratio"] < locked["users"]["coherence_ratio"]
    assert not run_notes(loose)
    assert summarise(go(listed(TRAFFIC)))["users"] is None
