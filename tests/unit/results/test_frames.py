"""Frames add up to the figures of the run, and each row to itself."""

import pytest

from papisim.ops.lower import kv_bytes_per_token
from papisim.results.frames import frames
from papisim.results.metrics import summarise

FIXED = "workload.lengths={kind: fixed, input_tokens: 100, output_tokens: 9}"
#: eight GPUs in four stages of two
PIPELINE = (
    "devices.gpu.count=8", "links.nvlink.count=8", "roles.pipeline={stages: 4, link: nvlink}",
)  # fmt: skip


@pytest.mark.parametrize(
    "options",
    [
        {"hw": "papi"}, {"hw": "gpu_only", "replicas": 2, "requests": 8}, {"hw": "gpu_only", "set": [FIXED, *PIPELINE]},
        {"hw": "gpu_only", "set": [FIXED, *PIPELINE], "replicas": 2, "requests": 8},
    ],
    ids=["papi", "replicas", "stages", "replicas of stages"],
)  # fmt: skip
def test_the_energy_of_all_parts_is_the_energy_of_the_run(run, options):
    finished = run(batch=8, **{"set": [FIXED], **options})
    energy, summary = frames(finished)["energy"], summarise(finished)
    assert energy.energy_j.sum() == pytest.approx(summary["energy_j"], rel=1e-9)
    static = energy[energy.part == "static_j"]
    assert list(static.resource) == list(finished.machine.pools)
    n_tokens = summary["n_output_tokens"]
    assert static.energy_j.sum() == pytest.approx(summary["energy_per_token_by_part_j"]["static_j"] * n_tokens)
    assert (energy.energy_j > 0).all(), "parts without energy have no row"
    assert not energy.duplicated(["resource", "part"]).any()


def test_idle_power_is_that_of_the_devices_times_stages_and_replicas(run):
    """Eight boards of 60 W, two in each of four stages, and two replicas."""
    finished = run("gpu_only", batch=8, requests=8, replicas=2, set=[FIXED, *PIPELINE])
    energy = frames(finished)["energy"].set_index(["resource", "part"]).energy_j
    assert energy["gpu", "static_j"] == pytest.approx(8 * 60 * 2 * finished.ledger.makespan_s)


def test_steps_are_what_their_phases_take(run):
    steps = frames(run("papi", batch=8, set=[FIXED]))["steps"]
    categories = ["fc_s", "attention_s", "communication_s", "other_s", "draft_s"]
    assert steps[categories].sum(axis=1).to_numpy() == pytest.approx(steps.time_s.to_numpy(), rel=1e-9)
    assert steps.filter(regex="^busy_").sum(axis=1).to_numpy() == pytest.approx(steps.time_s.to_numpy(), rel=1e-9)
    assert (steps.static_j / steps.time_s).to_numpy() == pytest.approx(6 * 60 + 30 * 6 + 60 * 8)
    parts = [name for name in steps if name.endswith("_j")]
    assert steps[parts].sum().sum() == pytest.approx(
        frames(run("papi", batch=8, set=[FIXED]))["energy"].energy_j.sum()
    )


def test_steps_of_a_closed_batch_follow_one_another_and_grow_by_a_token_each(run):
    finished = run("gpu_only", batch=8, set=[FIXED])
    steps = frames(finished)["steps"]
    assert list(steps.kind) == ["prefill"] + ["decode"] * 8
    assert list(steps["index"]) == [0, *range(8)]
    assert (steps.start_s + steps.time_s).iloc[:-1].to_numpy() == pytest.approx(steps.start_s.iloc[1:].to_numpy())
    assert list(steps.rows) == [800] + [8] * 8
    assert list(steps.prompt_tokens) == [800] + [0] * 8
    assert list(steps.tlp) == [100] + [1] * 8
    assert list(steps.kv_tokens) == [0] + [8 * (100 + i) for i in range(8)]
    assert list(steps.kv_bytes) == [tokens * kv_bytes_per_token(finished.trace) for tokens in steps.kv_tokens]
    assert steps.tokens.sum() == 8 * 9
    assert set(steps.fc_device) == {"gpu"}


def test_drafts_are_counted_step_by_step(run):
    steps = frames(run("gpu_only", batch=4, tlp=3, set=[FIXED]))["steps"]
    decode = steps[steps.kind == "decode"]
    assert list(decode.drafted) == [8, 8, 4][: len(decode)]  # the last round has two tokens left per request
    assert list(decode.accepted) == list(decode.drafted)
    assert decode.tokens.sum() == 4 * 8
    assert list(decode.rows) == [12, 12, 8][: len(decode)]


def test_requests_in_a_queue_wait_for_those_before_them(serve):
    rows = frames(serve([(0.0, 50, 5), (0.0, 60, 7)], batching="continuous", batch=1))["requests"]
    assert list(rows.request_id) == [0, 1]
    assert list(rows.input_tokens) == [50, 60]
    assert list(rows.output_tokens) == list(rows.emitted_tokens) == [5, 7]
    assert rows.queueing_s[0] == 0
    assert rows.queueing_s[1] == pytest.approx(rows.finish_s[0]) == pytest.approx(rows.e2e_s[0])
    assert (rows.ttft_s == rows.first_token_s - rows.arrival_s).all()
    assert rows.tpot_s[1] == pytest.approx((rows.finish_s[1] - rows.first_token_s[1]) / 6)
    assert rows.ttft_s[1] > rows.queueing_s[1]
    assert list(rows.outcome) == ["served", "served"]
    assert list(rows.preemptions) == [0, 0]


def test_a_refused_request_says_why(serve):
    rows = frames(serve([(0.0, 10, 5), (0.0, 10_000_000, 5)]))["requests"]
    assert list(rows.outcome) == ["served", "refused"]
    assert rows.reason[0] == ""
    assert rows.reason[1]


def test_the_frame_of_runs_is_the_summary_flattened(run):
    finished = run("papi", batch=8, set=[FIXED], placement="pinned:gpu")
    summary, (row,) = summarise(finished), frames(finished)["runs"].to_dict("records")
    assert row["makespan_s"] == summary["makespan_s"]
    assert row["placement.kind"] == "pinned"
    assert row["busy_ratio.gpu"] == summary["busy_ratio"]["gpu"]
    assert row["assumptions"] == len(summary["assumptions"])
    assert row["switches"] == 0
