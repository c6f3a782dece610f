"""Latencies, goodput and occupancy as the field defines them, from rows that anyone can add up."""

from collections.abc import Callable

import numpy as np
import pytest

from papisim.engine.run import Run
from papisim.ops.lower import kv_bytes_per_token
from papisim.results.frames import frames
from papisim.results.metrics import summarise

Serve = Callable[..., Run]
TRAFFIC = [(0.01 * i, 50 + 37 * (i % 11), 1 + 13 * (i % 7)) for i in range(60)]
PERCENTS = (50, 90, 95, 99)


SMALL = ["batching.max_batch=16"]


@pytest.fixture(scope="module")
def busy(serve: Serve) -> Run:
    """A run in which some requests meet each target and some do not."""
    seen = summarise(serve(TRAFFIC, set=SMALL))
    targets = [f"slo.ttft_s={seen['ttft_p90_s']!r}", f"slo.tpot_s={seen['tpot_p50_s']!r}"]
    return serve(TRAFFIC, set=[*SMALL, *targets])


def test_latencies_are_those_of_the_rows(busy: Run):
    summary, rows = summarise(busy), busy.ledger.requests
    several = [row for row in rows if row.output_tokens > 1]
    expected = {
        "ttft": [row.first_token_s - row.arrival_s for row in rows],
        "tpot": [(row.finish_s - row.first_token_s) / (row.output_tokens - 1) for row in several],
        "e2e": [row.finish_s - row.arrival_s for row in rows],
        "queueing": [row.admitted_s - row.arrival_s for row in rows],
    }
    for name, values in expected.items():
        assert summary[f"{name}_mean_s"] == pytest.approx(np.mean(values), rel=1e-12)
        for percent in PERCENTS:
            assert summary[f"{name}_p{percent}_s"] == pytest.approx(
                np.percentile(values, percent), rel=1e-12, abs=1e-15
            )


@pytest.mark.parametrize("batching", ["continuous", "chunked_prefill", "prefill_priority"])
@pytest.mark.parametrize("fast_forward", [True, False])
def test_the_gaps_between_a_requests_tokens_add_up_to_the_time_from_its_first_to_its_last(
    serve: Serve, batching: str, fast_forward: bool
):
    run = serve(TRAFFIC, batching=batching, fast_forward=fast_forward)
    gaps, rows = run.ledger.latencies["itl"], run.ledger.requests
    assert gaps.n_values == sum(row.output_tokens - 1 for row in rows)
    assert gaps.mean * gaps.n_values == pytest.approx(sum(row.finish_s - row.first_token_s for row in rows), rel=1e-9)


def test_gaps_are_longer_where_prompts_cut_in(serve: Serve):
    first, chunked = (summarise(serve(TRAFFIC, batching=kind)) for kind in ("prefill_priority", "chunked_prefill"))
    assert first["itl_p50_s"] <= first["itl_p99_s"]
    assert chunked["itl_p99_s"] > chunked["itl_p50_s"]


def test_goodput_counts_who_met_every_target(busy: Run):
    summary = summarise(busy)
    slo = busy.experiment.slo
    good = [
        row.first_token_s - row.arrival_s <= slo.ttft_s
        and (row.output_tokens == 1 or (row.finish_s - row.first_token_s) / (row.output_tokens - 1) <= slo.tpot_s)
        for row in busy.ledger.requests
    ]
    assert 0 < sum(good) < len(good), "targets that tell requests apart"
    assert summary["slo_met_ratio"] == pytest.approx(sum(good) / len(good))
    assert summary["goodput_requests_per_s"] == pytest.approx(sum(good) / summary["makespan_s"])


def test_with_a_target_that_all_meet_goodput_is_throughput(serve: Serve):
    summary = summarise(serve(TRAFFIC, set=["slo.e2e_s=1000"]))
    assert summary["goodput_requests_per_s"] == summary["throughput_requests_per_s"]


def test_refused_requests_met_no_target(serve: Serve):
    summary = summarise(serve([(0.0, 10, 5), (0.0, 10_000_000, 5)], set=["slo.e2e_s=1000"]))
    assert summary["outcomes"] == {"served": 1, "refused": 1, "failed": 0, "timed_out": 0}
    assert summary["slo_met_ratio"] == 0.5


@pytest.mark.parametrize("batching", ["static", "dynamic", "continuous", "chunked_prefill", "prefill_priority"])
@pytest.mark.parametrize("gap_s", [0.001, 0.02, 0.5])
def test_littles_law_holds(serve: Serve, batching: str, gap_s: float):
    requests = [(gap_s * i, 50 + 37 * (i % 11), 1 + 13 * (i % 7)) for i in range(40)]
    law = summarise(serve(requests, batching=batching, batch=8))["littles_law"]
    assert law["mean_in_system"] > 0
    assert law["relative_error"] == pytest.approx(0, abs=1e-9)


def test_occupancy_is_that_of_the_steps(busy: Run):
    summary, steps = summarise(busy), frames(busy)["steps"]
    token_bytes = kv_bytes_per_token(busy.trace)
    mean = (
        (steps.kv_tokens * steps.time_s).sum() * token_bytes / busy.ledger.kv_capacity_bytes / summary["makespan_s"]
    )
    assert summary["kv_mean_ratio"] == pytest.approx(mean, rel=1e-9)
    assert summary["mean_rlp"] == pytest.approx((steps.rlp * steps.time_s).sum() / summary["makespan_s"], rel=1e-9)
    assert summary["kv_mean_ratio"] < summary["kv_peak_ratio"] <= 1


def test_energy_is_shared_out_among_tokens_and_requests(busy: Run):
    summary = summarise(busy)
    assert summary["energy_per_token_j"] * summary["n_output_tokens"] == pytest.approx(summary["energy_j"])
    assert summary["energy_per_request_j"] * len(TRAFFIC) == pytest.approx(summary["energy_j"])


def test_streaming_keeps_no_rows_and_says_the_same(serve: Serve):
    pytest.importorskip("ddsketch")
    exact, streaming = (serve(TRAFFIC, "papi", metrics=kind) for kind in ("exact", "streaming"))
    assert (streaming.ledger.requests, streaming.ledger.segments, streaming.ledger.switches) == ([], [], [])
    assert set(frames(streaming)) == {"runs", "energy"}
    told, drawn = summarise(exact), summarise(streaming)
    for key, value in told.items():
        if key in ("switches", "metrics") or "_p5" in key or "_p9" in key:
            continue
        assert drawn[key] == (pytest.approx(value, rel=1e-9) if isinstance(value, float) else value), key
    for name in ("ttft", "tpot", "e2e", "itl"):
        values = [drawn[f"{name}_p{percent}_s"] for percent in PERCENTS]
        assert values == sorted(values)
        assert drawn[f"{name}_p99_s"] == pytest.approx(told[f"{name}_p99_s"], rel=0.05), "60 requests are few"


def test_a_run_that_serves_nobody_has_figures_all_the_same(serve: Serve):
    summary = summarise(serve([(0.0, 10_000_000, 5)]))
    assert summary["throughput_tokens_per_s"] is None, "no time passed"
    assert summary["energy_per_token_j"] is None
    assert summary["ttft_mean_s"] is None
