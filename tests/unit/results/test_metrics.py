"""The figures of runs that can be worked out on paper.

A closed batch of ``BATCH`` requests with equal prompts and answers is one prefill and ``ANSWER − 1`` decoding iterations of the whole
batch, so its counts, latencies and occupancy have closed forms. LLaMA-7B keeps 2 × 32 layers × 4096 × 2 bytes per token.
"""

import pytest

from papisim.results.metrics import summarise, tpot_s

BATCH, PROMPT, ANSWER = 6, 100, 21
TOKEN_BYTES = 2 * 32 * 4096 * 2
FIXED = f"workload.lengths={{kind: fixed, input_tokens: {PROMPT}, output_tokens: {ANSWER}}}"
#: idle watts of the shipped machines' devices, from their data sheets and notes
IDLE_W = {"gpu_only": 6 * 60.0, "a100_single": 60.0, "papi": 6 * 60.0 + 30 * 6.0 + 60 * 8.0}


@pytest.fixture(scope="module")
def closed(run):
    """Return a function that gives a closed batch's summary."""

    def go(hw="gpu_only", *overrides, batch=BATCH, **options):
        return summarise(run(hw, batch=batch, set=[FIXED, *overrides], **options))

    return go


def test_tokens_and_steps_are_counted(closed):
    summary = closed()
    assert summary["n_requests"] == summary["outcomes"]["served"] == BATCH
    assert summary["n_output_tokens"] == BATCH * ANSWER
    assert summary["n_iterations"] == ANSWER - 1
    assert (summary["mixed_s"], summary["stalled_s"], summary["overlapped_s"]) == (0, 0, 0)


def test_rates_are_over_the_makespan(closed):
    summary = closed()
    makespan_s = summary["prefill_s"] + summary["decode_s"]
    assert summary["makespan_s"] == pytest.approx(makespan_s, rel=1e-12)
    assert summary["throughput_tokens_per_s"] == pytest.approx(BATCH * ANSWER / makespan_s)
    assert summary["throughput_requests_per_s"] == pytest.approx(BATCH / makespan_s)


def test_latencies_follow_from_the_two_kinds_of_steps(closed):
    summary = closed()
    each = {
        "ttft": summary["prefill_s"],
        "tpot": summary["decode_s"] / (ANSWER - 1),
        "e2e": summary["prefill_s"] + summary["decode_s"],
        "queueing": 0.0,
    }
    for name, seconds in each.items():
        for figure in ("mean", "p50", "p99"):
            assert summary[f"{name}_{figure}_s"] == pytest.approx(seconds, rel=1e-9), (name, figure)
    assert summary["itl_mean_s"] == pytest.approx(each["tpot"], rel=1e-9)
    assert summary["itl_p50_s"] <= summary["itl_p99_s"] < 1.1 * each["tpot"]


def test_percentiles_are_of_what_was_observed(serve):
    """One at a time, each request waits for those before it: delays are 0, 1, 2 … times the service time."""
    summary = summarise(serve([(0.0, PROMPT, ANSWER)] * 5, batching="continuous", batch=1))
    service_s = summary["makespan_s"] / 5
    assert summary["queueing_p50_s"] == pytest.approx(2 * service_s, rel=1e-6)
    assert summary["queueing_mean_s"] == pytest.approx(2 * service_s, rel=1e-6)
    assert summary["queueing_p90_s"] == pytest.approx(3.6 * service_s, rel=1e-6), "numpy's linear interpolation"
    assert summary["e2e_p95_s"] == pytest.approx(4.8 * service_s, rel=1e-6)
    assert summary["mean_rlp"] == pytest.approx(1, rel=1e-9)
    assert summary["littles_law"]["mean_in_system"] == pytest.approx(3, rel=1e-6), "5, 4, 3, 2, 1 in turn"
    assert summary["littles_law"]["lambda_w"] == pytest.approx(3, rel=1e-6)


@pytest.mark.parametrize("replicas", [1, 2, 3])
def test_parallelism_and_occupancy_are_means_over_replicas(closed, replicas):
    """Every replica holds an equal share of the batch from beginning to end."""
    summary = closed(replicas=replicas, requests=BATCH)
    assert summary["mean_rlp"] == pytest.approx(BATCH / replicas, rel=1e-9)
    assert sum(summary["busy_ratio"].values()) == pytest.approx(1, rel=1e-9), "one device or link at a time"


@pytest.mark.parametrize("replicas", [1, 2])
@pytest.mark.parametrize("hw", IDLE_W)
def test_every_replica_draws_idle_power_over_the_makespan(closed, hw, replicas):
    summary = closed(hw, replicas=replicas, requests=BATCH)
    static_j = IDLE_W[hw] * replicas * summary["makespan_s"]
    assert summary["energy_per_token_by_part_j"]["static_j"] * BATCH * ANSWER == pytest.approx(static_j, rel=1e-9)
    assert summary["energy_j"] > static_j
    assert sum(summary["energy_per_token_by_part_j"].values()) == pytest.approx(summary["energy_per_token_j"])
    assert summary["energy_per_request_j"] == pytest.approx(summary["energy_per_token_j"] * ANSWER)


def test_stages_of_a_pipeline_draw_idle_power_each(closed):
    eight = ("devices.gpu.count=8", "links.nvlink.count=8")
    piped = closed("gpu_only", *eight, "roles.pipeline={stages: 4, link: nvlink}")
    static_j = 8 * 60 * piped["makespan_s"]
    assert piped["energy_per_token_by_part_j"]["static_j"] * BATCH * ANSWER == pytest.approx(static_j, rel=1e-9)


def test_caches_fill_up_token_by_token(closed):
    """A token is kept once a later one is computed: iteration i starts with prompt + i of each, and the last answer is not kept."""
    summary = closed("a100_single")
    capacity = summary["kv_capacity_bytes"]
    assert capacity == pytest.approx(80e9 - 2 * 6.738e9, rel=0.01), "80 GB less 6.7 billion weights"
    assert summary["peak_kv_bytes"] == BATCH * (PROMPT + ANSWER - 1) * TOKEN_BYTES
    assert summary["kv_peak_ratio"] == pytest.approx(summary["peak_kv_bytes"] / capacity)
    lowest, highest = (
        BATCH * (PROMPT + i) * TOKEN_BYTES * summary["decode_s"] / summary["makespan_s"] / capacity
        for i in (0, ANSWER - 2)
    )
    assert lowest < summary["kv_mean_ratio"] < highest
    middle = BATCH * (PROMPT + (ANSWER - 2) / 2) * TOKEN_BYTES * summary["decode_s"]
    assert summary["kv_mean_ratio"] == pytest.approx(middle / summary["makespan_s"] / capacity, rel=1e-3)


def test_decoding_time_is_split_by_category_without_a_rest(closed):
    summary = closed("papi")
    assert sum(summary["decode_time_by_category_s"].values()) == pytest.approx(summary["decode_s"], rel=1e-9)
    assert summary["decode_time_by_category_s"]["draft"] == 0
    assert all(
        summary["decode_time_by_category_s"][name] > 0 for name in ("fc", "attention", "communication", "other")
    )


@pytest.mark.parametrize(("device", "other"), [("gpu", "fc_pim"), ("fc_pim", "gpu")])
def test_fc_runs_where_it_is_pinned(closed, device, other):
    summary = closed("papi", placement=f"pinned:{device}")
    assert summary["fc_flop_ratio"] == {device: 1.0, other: 0.0} or summary["fc_flop_ratio"] == {
        other: 0.0,
        device: 1.0,
    }
    assert (summary["n_switches"], summary["switches"]) == (0, [])


def test_drafts_that_are_always_accepted_yield_all_of_them_and_one_more(closed):
    """A round of 3 drafts emits 4 tokens; 20 tokens after the first are 5 rounds."""
    summary = closed(tlp=4)
    yields = summary["speculation_yield"]
    assert summary["n_iterations"] == 5
    assert (yields["drafted_tokens_per_round"], yields["accepted_tokens_per_round"]) == (3, 3)
    assert (yields["emitted_tokens_per_round"], yields["acceptance_ratio"]) == (4, 1)
    assert yields["acceptance_by_position_ratio"] == [1, 1, 1]
    assert yields["draft_time_ratio"] == 0, "a free draft source"


def test_drafts_that_are_sometimes_accepted_yield_a_geometric_series(run):
    """Of drafts accepted with 0.6 each in turn, those accepted up to position j are 0.6^j."""
    half = ["acceptance={kind: geometric, alpha: 0.6}", "workload.lengths={kind: fixed, input_tokens: 10, output_tokens: 400}"]  # fmt: skip
    yields = summarise(run("gpu_only", batch=64, tlp=4, set=half))["speculation_yield"]
    assert yields["acceptance_by_position_ratio"] == pytest.approx([0.6, 0.36, 0.216], abs=0.02)
    assert yields["accepted_tokens_per_round"] == pytest.approx(0.6 + 0.36 + 0.216, abs=0.04)
    assert yields["emitted_tokens_per_round"] == pytest.approx(yields["accepted_tokens_per_round"] + 1, abs=0.02)
    assert yields["acceptance_ratio"] == pytest.approx(1.176 / 3, abs=0.02)


def test_targets_that_nobody_meets_leave_no_goodput_and_those_that_all_meet_leave_it_all(closed):
    strict, lax = closed("gpu_only", "slo.e2e_s=1 ns"), closed("gpu_only", "slo.e2e_s=1 h")
    assert (strict["goodput_requests_per_s"], strict["slo_met_ratio"]) == (0, 0)
    assert strict["throughput_requests_per_s"] > 0
    assert lax["goodput_requests_per_s"] == lax["throughput_requests_per_s"]
    assert lax["slo_met_ratio"] == 1
    assert lax["slo"] == {"ttft_s": None, "tpot_s": None, "e2e_s": 3600.0}


def test_overlap_saves_the_difference_between_phases_and_steps(run):
    finished = run("a100_attacc", "llama3-8b", batch=64, set=["overlap.kind=sub_batches", FIXED])
    summary, ledger = summarise(finished), finished.ledger
    steps_s = summary["prefill_s"] + summary["decode_s"] + summary["mixed_s"]
    assert summary["overlapped_s"] > 0
    assert sum(ledger.busy_s.values()) == pytest.approx(steps_s + summary["overlapped_s"], rel=1e-9)


def test_a_run_says_what_it_was(closed):
    summary = closed("papi", seed=7, placement="pinned:gpu")
    assert (summary["system"], summary["trace"], summary["seed"]) == ("papi", "llama7b", 7)
    assert summary["placement"]["kind"] == "pinned"
    assert summary["overrides"] == [FIXED]
    assert any(text.startswith("papi2025: ") for text in summary["papers"])
    assert summary["papers"] == sorted(set(summary["papers"]))
    assert any("static_w" in text for text in summary["assumptions"])


def test_a_single_token_has_no_time_per_output_token(serve):
    one, two = serve([(0.0, 10, 1), (0.0, 10, 2)]).ledger.requests
    assert tpot_s(one) != tpot_s(one), "not a number"
    assert tpot_s(two) == pytest.approx(two.finish_s - two.first_token_s)


def test_without_a_target_there_is_no_goodput(closed):
    summary = closed()
    assert summary["goodput_requests_per_s"] is summary["slo_met_ratio"] is None
    met = closed("gpu_only", "slo.e2e_s=1000")
    assert (met["slo_met_ratio"], met["goodput_requests_per_s"]) == (1.0, met["throughput_requests_per_s"])


@pytest.mark.parametrize("metrics", ["exact", "streaming"])
def test_the_tail_of_a_batch_is_told(serve, metrics):
    """Of three requests, two have five tokens and the third has 105: four iterations of three requests and 100 of one."""
    requests = [(0.0, 50, 5), (0.0, 50, 5), (0.0, 50, 105)]
    run = serve(requests, batching="continuous", metrics=metrics)
    summary = summarise(run)
    tail = summary["decode_tail_time_ratio"]
    assert tail == pytest.approx(100 / 104, abs=0.02)
    assert summary["decode_mean_rlp"] == pytest.approx(tail + 3 * (1 - tail), rel=1e-9)
