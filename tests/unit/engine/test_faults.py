"""Devices that stand still or are lost: nothing hangs, nothing is lost, everyone ends with a reason."""

from collections.abc import Callable

import pytest

from papisim.engine.run import Run
from papisim.errors import InputError, InputErrors
from papisim.record.requests import RequestOutcome
from papisim.results.metrics import summarise

Serve = Callable[..., Run]
TRAFFIC = [(0.02 * i, 50 + 37 * (i % 11), 5 + 13 * (i % 7)) for i in range(40)]
POLICIES = ["continuous", "chunked_prefill", "prefill_priority", "dynamic"]


def fault(device: str, at_s: float, what: str) -> list[str]:
    return [f"fault=[{{device: {device}, at_s: {at_s}, {what}}}]"]


@pytest.mark.parametrize("batching", POLICIES)
@pytest.mark.parametrize("at_s", [0.0, 0.05, 0.31])
def test_a_lost_device_ends_every_request_that_is_there_or_comes_later(serve: Serve, batching: str, at_s: float):
    run = serve(TRAFFIC, batching=batching, set=fault("gpu", at_s, "lost: true"))
    for row in run.ledger.requests:
        if row.outcome is RequestOutcome.SERVED:
            assert row.finish_s <= at_s
        else:
            assert row.outcome is RequestOutcome.FAILED
            assert row.reason == f"'gpu' was lost at {at_s:g} s"
            assert row.finish_s == max(at_s, row.arrival_s)
    assert len(run.ledger.requests) == len(TRAFFIC)
    summary = summarise(run)
    assert summary["outcomes"]["failed"] > 0
    # all that is lost at once spends no time in the system
    assert summary["littles_law"]["relative_error"] in (None, pytest.approx(0, abs=1e-9))


def test_a_lost_device_without_a_role_is_not_missed(serve: Serve):
    one = ["devices.gpu.count=1"]
    run = serve(TRAFFIC, set=[*one, *fault("nvlink", 0.1, "lost: true")])
    assert {row.outcome for row in run.ledger.requests} == {RequestOutcome.SERVED}


@pytest.mark.parametrize("fast_forward", [True, False])
def test_a_stall_delays_the_step_at_hand_and_all_after_it_by_its_length(serve: Serve, fast_forward: bool):
    requests = [(0.0, 100, 200)]
    calm = serve(requests, fast_forward=fast_forward)
    run = serve(requests, fast_forward=fast_forward, set=fault("gpu", 0.1, "stalled_s: 0.5"))
    assert run.ledger.end_s == pytest.approx(calm.ledger.end_s + 0.5, rel=1e-12)
    (slow,) = [step for step in run.ledger.steps if step.stalled_s]
    assert slow.start_s < 0.1 < slow.start_s + slow.time_s - 0.5
    assert sum(slow.time_by.values()) + slow.stalled_s == pytest.approx(slow.time_s, rel=1e-12)
    assert summarise(run)["stalled_s"] == pytest.approx(0.5, rel=1e-9)


def test_overlapping_stalls_are_one(serve: Serve):
    requests = [(0.0, 100, 200)]
    calm = serve(requests, "papi")
    both = "fault=[{device: fc_pim, at_s: 0.1, stalled_s: 0.5}, {device: attn_pim, at_s: 0.3, stalled_s: 0.5}]"
    run = serve(requests, "papi", set=[both])
    assert run.ledger.end_s == pytest.approx(calm.ledger.end_s + 0.7, rel=1e-9)


def test_a_device_that_stands_still_while_nobody_needs_it_delays_nobody_until_somebody_does(serve: Serve):
    idle = serve([(5.0, 100, 20)])
    over = serve([(5.0, 100, 20)], set=fault("gpu", 1.0, "stalled_s: 2"))
    still = serve([(5.0, 100, 20)], set=fault("gpu", 1.0, "stalled_s: 5"))
    assert over.ledger.end_s == idle.ledger.end_s
    assert still.ledger.end_s == pytest.approx(idle.ledger.end_s + 1.0, rel=1e-9)


def test_arrivals_during_a_stall_are_served_after_it(serve: Serve):
    run = serve([(0.0, 100, 200), (0.2, 100, 5)], set=fault("gpu", 0.1, "stalled_s: 0.5"))
    assert 0.6 < run.ledger.requests[1].admitted_s < 0.65


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fault=[{device: gpuu, at_s: 1, lost: true}]", "no 'gpuu' here; did you mean 'gpu'"),
        ("fault=[{device: gpu, at_s: 1}]", "either 'stalled_s'"),
        ("fault=[{device: gpu, at_s: 1, lost: true, stalled_s: 1}]", "either 'stalled_s'"),
        ("fault=[{device: gpu, at_s: -1, lost: true}]", "at_s"),
    ],
)
def test_a_wrong_fault_is_refused_in_words(serve: Serve, text: str, message: str):
    with pytest.raises((InputError, InputErrors), match=message):
        serve(TRAFFIC, set=[text])


@pytest.mark.parametrize("exhaustion", ["recompute", "refuse"])
@pytest.mark.parametrize("batching", POLICIES)
def test_under_every_pressure_at_once_each_request_ends_with_a_reason(serve: Serve, exhaustion: str, batching: str):
    """Arrivals ten times as fast as they can be served, little room, one request longer than all of it, a late loss."""
    requests = [(0.001 * i, 40 + 90 * (i % 13), 5 + 41 * (i % 7)) for i in range(120)]
    requests[7] = (0.007, 500_000, 10)
    calm = serve(requests, batching=batching)
    device = calm.machine.pools["gpu"].capacity_bytes
    wanted = calm.ledger.peak_kv_bytes
    room = f"kv={{utilisation_ratio: {(device - calm.ledger.kv_capacity_bytes + 0.05 * wanted) / device}, on_exhaustion: {exhaustion}}}"
    lost = fault("gpu", 0.9 * calm.ledger.end_s, "lost: true")
    run = serve(requests, batching=batching, set=[room, *lost])
    outcomes = summarise(run)["outcomes"]
    assert sum(outcomes.values()) == len(requests)
    assert all((row.outcome is RequestOutcome.SERVED) != bool(row.reason) for row in run.ledger.requests)
    assert run.ledger.requests[7].outcome is RequestOutcome.REFUSED
    assert outcomes["served"] > 0
    assert run.ledger.arrived_tokens == sum(prompt + answer for _, prompt, answer in requests)
    emitted = sum(row.emitted_tokens for row in run.ledger.requests)
    assert emitted + run.ledger.lost_tokens == sum(answer for *_, answer in requests)
    assert emitted == sum(kind.tokens for kind in run.ledger.totals.values())
