"""Machines that compute prompts and machines that decode, with caches sent between them."""

from collections.abc import Callable

import pytest

from papisim.engine.run import Run
from papisim.errors import InputError
from papisim.ops.lower import kv_bytes_per_token
from papisim.record.requests import RequestOutcome
from papisim.results.metrics import summarise

Serve = Callable[..., Run]
TRAFFIC = [(0.02 * i, 50 + 137 * (i % 11), 1 + 13 * (i % 7)) for i in range(60)]


def split(serve: Serve, requests: list[tuple[float, int, int]], *overrides: str, hw: str = "gpu_only") -> Run:
    return serve(requests, hw, batching="disaggregated", set=list(overrides))


def test_each_machine_does_its_own_and_every_token_is_accounted_for(serve: Serve):
    run = split(serve, TRAFFIC, "batching.prefill_machines=2", "batching.decode_machines=3")
    by_server = {step.server: set() for step in run.ledger.steps}
    for step in run.ledger.steps:
        by_server[step.server].add(step.kind)
    for server, kinds in by_server.items():
        assert kinds == ({"prefill"} if ".prefill[" in server else {"decode"}), server
    assert len(by_server) == 5, "all have something to do"
    summary = summarise(run)
    assert summary["outcomes"]["served"] == len(TRAFFIC)
    assert summary["n_output_tokens"] == sum(answer for *_, answer in TRAFFIC)
    assert summary["littles_law"]["relative_error"] == pytest.approx(0, abs=1e-9)


def test_a_cache_takes_the_links_time_and_energy_once(serve: Serve):
    run = split(serve, [(0.0, 1000, 2)])
    prefill, decode = run.ledger.steps
    message = run.machine.links["nvlink"].transfer(1000 * kv_bytes_per_token(run.trace))
    assert decode.start_s - (prefill.start_s + prefill.time_s) == pytest.approx(message.time_s, rel=1e-9)
    assert run.ledger.between.energy.total_j == pytest.approx(message.energy.total_j)


def test_caches_leave_a_machine_one_at_a_time(serve: Serve):
    slow = "links.nvlink.part.bandwidth_bytes_per_s=1 GB/s"
    run = split(serve, [(0.0, 200, 2)] * 4, slow, "batching.decode_machines=4")
    message_s = run.machine.links["nvlink"].transfer(200 * kv_bytes_per_token(run.trace)).time_s
    prefill = run.ledger.steps[0]
    starts = sorted(step.start_s for step in run.ledger.steps if step.kind == "decode")
    expected = [prefill.time_s + (index + 1) * message_s for index in range(4)]
    assert starts == pytest.approx(expected, rel=1e-9)


def test_prompts_never_hold_up_those_who_decode(serve: Serve):
    requests = [(0.0, 50, 200), *((0.1 + 0.01 * i, 4000, 2) for i in range(10))]
    apart, together = split(serve, requests), serve(requests, batching="continuous")
    assert summarise(apart)["itl_p99_s"] < summarise(together)["itl_p99_s"] / 2


def test_every_machine_draws_its_power(serve: Serve):
    one, more = (split(serve, TRAFFIC, f"batching.decode_machines={count}") for count in (1, 3))
    static = [each.ledger.static_w * each.ledger.n_servers for each in (one, more)]
    assert static[1] == 2 * static[0]


def test_fast_forward_is_exact_here_too(serve: Serve):
    fast, slow = (
        serve(TRAFFIC, batching="disaggregated", fast_forward=on, set=["batching.decode_machines=2"])
        for on in (True, False)
    )
    finished = [[row.finish_s for row in run.ledger.requests] for run in (fast, slow)]
    assert finished[0] == pytest.approx(finished[1], rel=1e-9)
    assert summarise(fast)["energy_j"] == pytest.approx(summarise(slow)["energy_j"], rel=1e-9)


def test_a_lost_device_takes_every_machine_with_it_and_everyone_ends(serve: Serve):
    run = split(serve, TRAFFIC, "fault=[{device: gpu, at_s: 0.4, lost: true}]")
    rows = run.ledger.requests
    assert {row.outcome for row in rows} == {RequestOutcome.SERVED, RequestOutcome.FAILED}
    assert all(row.reason == "'gpu' was lost at 0.4 s" for row in rows if row.outcome is RequestOutcome.FAILED)


def test_what_does_not_fit_together_is_refused(serve: Serve):
    with pytest.raises(InputError, match="no link 'nvlnk' in gpu_only; did you mean 'nvlink'"):
        split(serve, TRAFFIC, "batching.link=nvlnk")
    with pytest.raises(InputError, match="how many machines there are"):
        split(serve, TRAFFIC, "routing.replicas=2")
