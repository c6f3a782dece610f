"""Replicas: equal machines side by side behind a router."""

from collections import Counter

import pytest

from papisim.results.metrics import summarise

LENGTHS = ("workload.lengths={kind: fixed, input_tokens: 64, output_tokens: 32}",)


@pytest.fixture
def served(run):
    """Return a function that serves a stream of Poisson arrivals."""

    def go(**options):
        overrides = (*LENGTHS, f"workload.rate_per_s={options.pop('rate_per_s', 200)}")
        return run("gpu_only", workload="poisson", requests=40, set=overrides, **options)

    return go


def test_one_replica_is_the_machine_itself(run):
    alone, named = run(batch=8), run(batch=8, router="least_loaded")
    assert summarise(alone) == summarise(named) | {"routing": summarise(alone)["routing"]}


def test_two_replicas_of_half_a_closed_batch_take_as_long_as_one_machine_with_half(run):
    both = run(batch=8, requests=8, replicas=2, set=LENGTHS)
    half = run(batch=4, requests=4, set=LENGTHS)
    assert both.ledger.makespan_s == pytest.approx(half.ledger.makespan_s, rel=1e-12)
    assert summarise(both)["energy_j"] == pytest.approx(2 * summarise(half)["energy_j"], rel=1e-9)
    assert summarise(both)["busy_ratio"] == pytest.approx(summarise(half)["busy_ratio"])
    assert both.ledger.kv_capacity_bytes == 2 * half.ledger.kv_capacity_bytes
    assert both.ledger.peak_kv_bytes == 2 * half.ledger.peak_kv_bytes


@pytest.mark.parametrize("router", ["round_robin", "least_loaded", "kv_aware", "prefix_aware"])
def test_every_request_is_served_once_by_one_of_the_replicas(served, router):
    rows = served(replicas=3, router=router).ledger.requests
    assert Counter(row.request_id for row in rows) == Counter(range(40))
    assert all(row.emitted_tokens == row.output_tokens for row in rows)
    assert {row.server for row in rows} == {f"gpu_only[{index}]" for index in range(3)}


def test_more_replicas_leave_less_waiting(served):
    def tpot(replicas):
        return summarise(served(replicas=replicas, rate_per_s=2000))["tpot_mean_s"]

    assert tpot(4) < tpot(2) < tpot(1)


def test_idle_replicas_draw_static_power_too(served):
    one, two = served(replicas=1), served(replicas=2)

    def static_w(run):
        summary = summarise(run)
        return summary["energy_per_token_by_part_j"]["static_j"] * summary["n_output_tokens"] / summary["makespan_s"]

    assert static_w(two) == pytest.approx(2 * static_w(one))


def test_replicas_are_fast_forwarded_exactly(served):
    fast, slow = (served(replicas=2, router="least_loaded", fast_forward=on) for on in (True, False))
    for one, other in zip(fast.ledger.requests, slow.ledger.requests, strict=True):
        assert (one.server, one.finish_s) == (other.server, pytest.approx(other.finish_s, rel=1e-9))
