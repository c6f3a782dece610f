"""What must hold of every run: tokens, time, KV and energy are conserved."""

from collections.abc import Callable

import pytest

from papisim.engine.run import Run
from papisim.errors import DoesNotFit
from papisim.ops.lower import kv_bytes_per_token
from papisim.plan.phase import Category
from papisim.results.metrics import summarise

SYSTEMS = ["papi", "a100_attacc", "a100_hbmpim", "attacc_only", "pim_only", "papi_pim_only", "gpu_only"]
Runner = Callable[..., Run]


@pytest.mark.parametrize("hw", SYSTEMS)
def test_every_token_asked_for_is_emitted_and_every_second_accounted_for(run: Runner, hw: str):
    ledger = run(hw, batch=6, tlp=2).ledger
    assert sum(step.tokens for step in ledger.steps) == sum(row.output_tokens for row in ledger.requests)
    assert all(row.emitted_tokens == row.output_tokens for row in ledger.requests)
    for step in ledger.steps:
        assert sum(step.time_by.values()) == pytest.approx(step.time_s, rel=1e-9)
    assert sum(step.time_s for step in ledger.steps) == pytest.approx(ledger.end_s, rel=1e-9)
    assert all(0 < busy <= ledger.end_s for busy in ledger.busy_s.values())
    assert sum(ledger.busy_s.values()) == pytest.approx(ledger.end_s, rel=1e-9), "one batch, no overlap"


@pytest.mark.parametrize("hw", SYSTEMS)
def test_energy_is_the_sum_of_its_parts_and_of_its_devices(run: Runner, hw: str):
    result = run(hw, batch=3)
    ledger, summary = result.ledger, summarise(result)
    by_part = sum(summary["energy_per_token_by_part_j"].values()) * summary["n_output_tokens"]
    by_device = sum(energy.total_j for energy in ledger.energy_by_resource.values())
    static = sum(pool.static_w for pool in result.machine.pools.values()) * ledger.end_s
    assert summary["energy_j"] == pytest.approx(by_part, rel=1e-12)
    assert summary["energy_j"] == pytest.approx(by_device + static, rel=1e-9)
    assert all(joules >= 0 for energy in ledger.energy_by_resource.values() for _, joules in energy.items())


def test_rlp_falls_as_requests_end_and_never_rises_in_a_static_batch(run: Runner):
    decode = [step for step in run(batch=16).ledger.steps if step.kind == "decode"]
    rlp = [step.rlp for step in decode]
    assert rlp[0] == 16
    assert rlp == sorted(rlp, reverse=True)
    assert rlp[-1] == 1


def test_the_longest_request_sets_the_number_of_iterations(run: Runner):
    ledger = run(batch=16, tlp=4).ledger
    longest = max(row.output_tokens for row in ledger.requests) - 1  # the prefill emits the first
    assert sum(step.kind == "decode" for step in ledger.steps) == -(-longest // 4)


def test_static_batches_follow_one_another(run: Runner):
    ledger = run(batch=4, requests=10).ledger
    prefills = [step.rlp for step in ledger.steps if step.kind == "prefill"]
    assert prefills == [4, 4, 2]
    rows = ledger.requests
    assert max(row.finish_s for row in rows[:4]) == rows[4].admitted_s
    assert rows[4].first_token_s > rows[4].admitted_s


def test_kv_in_use_never_exceeds_the_room_and_peaks_as_arithmetic_says(run: Runner):
    lengths = "workload.lengths={kind: fixed, input_tokens: 100, output_tokens: 11}"
    result = run(batch=8, set=[lengths])
    token_bytes = kv_bytes_per_token(result.trace)
    assert result.ledger.peak_kv_bytes == 8 * 110 * token_bytes, "the last token emitted is never cached"
    assert result.ledger.peak_kv_bytes <= result.ledger.kv_capacity_bytes


def test_kv_that_does_not_fit_is_refused_with_levers(run: Runner):
    lengths = "workload.lengths={kind: fixed, input_tokens: 100000, output_tokens: 10}"
    with pytest.raises(DoesNotFit, match="--batch") as refusal:
        run(batch=64, set=[lengths], trace="llama65b")
    assert refusal.value.demand > refusal.value.bound
    fitting = int(refusal.value.levers[0].removeprefix("--batch "))
    run(batch=fitting, set=[lengths], trace="llama65b")


def test_weights_that_do_not_fit_are_refused_and_the_lever_works(run: Runner):
    with pytest.raises(DoesNotFit, match="weights of gpt3-175b") as refusal:
        run(trace="gpt3-175b", set=["devices.fc_pim.count=10"], batch=1)
    lever = refusal.value.levers[0].removeprefix("--set ")
    run(trace="gpt3-175b", set=[lever], batch=1)


def test_weights_take_room_from_kv_where_they_share_a_memory(run: Runner):
    result = run("gpu_only", batch=1)
    # 32 heads on six GPUs: six on the fullest
    free_bytes = 6 * 80e9 - 2 * result.trace.model.n_parameters
    assert result.ledger.kv_capacity_bytes == pytest.approx(free_bytes * 32 / 36)


def test_the_same_seed_gives_the_same_run_and_another_seed_another(run: Runner):
    first, again, other = run(batch=8), run(batch=8), run(batch=8, seed=1)
    assert summarise(first) == summarise(again)
    assert first.ledger.end_s != other.ledger.end_s


def test_folding_changes_no_figure(run: Runner):
    folded, unfolded = (summarise(run(batch=3, tlp=8, fold=fold)) for fold in (True, False))
    for key in ("makespan_s", "energy_j", "tpot_mean_s", "peak_kv_bytes"):
        assert folded[key] == pytest.approx(unfolded[key], rel=1e-9)
    assert folded["switches"] == unfolded["switches"]


def test_the_oracle_is_at_least_as_fast_as_any_placement(run: Runner):
    def decode_s(placement: str) -> float:
        return summarise(run(trace="llama65b", batch=64, placement=placement))["decode_s"]

    oracle = decode_s("cheapest")
    assert oracle <= min(decode_s("papi"), decode_s("pinned:gpu"), decode_s("pinned:fc_pim")) * (1 + 1e-12)


def test_a_fixed_tlp_of_one_is_no_speculation(run: Runner):
    off = run(batch=4)
    fixed = run(batch=4, set=["speculation={kind: fixed, tlp: 1}"])
    assert off.ledger.end_s == fixed.ledger.end_s


def test_the_tlp_register_may_be_rewritten_while_serving(run: Runner):
    schedule = "speculation={kind: schedule, writes: [{from_iteration: 0, tlp: 1}, {from_iteration: 5, tlp: 4}]}"
    decode = [step for step in run(batch=2, set=[schedule]).ledger.steps if step.kind == "decode"]
    assert [step.tlp for step in decode[:7]] == [1, 1, 1, 1, 1, 4, 4]


def test_tlp_alone_can_move_fc_to_the_gpus_and_back(run: Runner):
    writes = "[{from_iteration: 0, tlp: 1}, {from_iteration: 3, tlp: 64}, {from_iteration: 4, tlp: 1}]"
    summary = summarise(run(batch=8, set=[f"speculation={{kind: schedule, writes: {writes}}}"]))
    moves = [(s["iteration"], s["from"], s["to"]) for s in summary["switches"]]
    assert moves == [(3, "fc_pim", "gpu"), (4, "gpu", "fc_pim")]


def test_a_step_takes_the_time_of_its_categories(run: Runner):
    summary = summarise(run(batch=4))
    assert sum(summary["decode_time_by_category_s"].values()) == pytest.approx(summary["decode_s"], rel=1e-9)
    assert set(summary["decode_time_by_category_s"]) == {category.value for category in Category}


def test_time_per_output_token_leaves_out_the_first(run: Runner):
    lengths = "workload.lengths={kind: fixed, input_tokens: 10, output_tokens: 21}"
    result = run(batch=4, set=[lengths])
    summary = summarise(result)
    assert summary["tpot_mean_s"] == pytest.approx(summary["decode_s"] / 20, rel=1e-9)
    assert summary["ttft_mean_s"] == pytest.approx(summary["prefill_s"], rel=1e-9)


def test_a_request_of_one_token_ends_with_its_prefill(run: Runner):
    lengths = "workload.lengths={kind: fixed, input_tokens: 10, output_tokens: 1}"
    summary = summarise(run(batch=4, set=[lengths]))
    assert summary["n_iterations"] == 0
    assert summary["tpot_mean_s"] is None
    assert summary["decode_s"] == 0
