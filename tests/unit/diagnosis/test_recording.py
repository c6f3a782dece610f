"""A recording holds everything a run priced, and nothing else."""

from collections import defaultdict

import pytest

from papisim.config.experiment import RunOptions, load_experiment
from papisim.config.system import load_part
from papisim.diagnosis.recording import AS_IT_IS, Recording, Repricing, Variant
from papisim.engine.run import simulate
from papisim.ops.kernel import Linear

SHORT = "workload.lengths={kind: fixed, input_tokens: 32, output_tokens: 24}"
MACHINES = ["papi", "gpu_only", "a100_attacc", "pim_only"]
SPECULATING = {
    "speculation": "dsde",
    "acceptance": "eagle2_chain6_llama3_8b",
    "draft": "eagle_head_int4",
    "trace": "llama3-8b",
}


def recorded(hw="papi", **options):
    asked = {"trace": "llama7b", "batch": 8, "set": (SHORT,), **options}
    recording = Recording()
    return simulate(load_experiment(RunOptions(hw=hw, **asked)), probe=recording), recording


@pytest.mark.parametrize("hw", MACHINES)
@pytest.mark.parametrize("fold", [True, False])
def test_the_recorded_seconds_are_those_of_the_run_resource_by_resource(hw, fold):
    run, recording = recorded(hw, fold=fold)
    assert recording.time_s == pytest.approx(run.ledger.end_s, rel=1e-12)
    by_resource = defaultdict(float)
    for row in recording.rows():
        by_resource[row.resource] += row.time_s
    assert dict(by_resource) == pytest.approx({name: s for name, s in run.ledger.busy_s.items() if s})


def test_a_mixture_of_experts_and_a_scaled_draft_head_are_recorded_whole():
    for options in ({"trace": "mixtral-8x7b"}, SPECULATING):
        run, recording = recorded(**options)
        assert recording.time_s == pytest.approx(run.ledger.end_s, rel=1e-12)


def test_what_the_host_does_is_nobodys_kernel():
    run, recording = recorded(set=(SHORT, "verification.bookkeeping_s=1e-3"))
    (host,) = (row for row in recording.rows() if row.resource == "host")
    iterations = sum(step.kind == "decode" for step in run.ledger.steps)
    assert (host.work, host.bound, host.time_s) == ("host", "fixed", pytest.approx(iterations * 1e-3))
    assert "host" not in Repricing(recording, run.machine).resources


def test_a_probe_changes_nothing():
    watched, _ = recorded()
    alone = simulate(watched.experiment)
    for seen, unseen in zip(watched.ledger.steps, alone.ledger.steps, strict=True):
        assert (seen.kind, seen.index, seen.rlp, seen.rows) == (unseen.kind, unseen.index, unseen.rlp, unseen.rows)
        assert (seen.tokens, seen.kv_tokens) == (unseen.tokens, unseen.kv_tokens)
        assert seen.time_s == pytest.approx(unseen.time_s, rel=1e-12)
        assert seen.energy.total_j == pytest.approx(unseen.energy.total_j, rel=1e-12)
    finished = [[row.finish_s for row in each.ledger.requests] for each in (watched, alone)]
    assert finished[0] == pytest.approx(finished[1], rel=1e-12)


@pytest.mark.parametrize("options", [{}, SPECULATING, {"tlp": 4}, {"fold": False}])
def test_pricing_the_work_again_on_the_same_hardware_gives_the_same_seconds(options):
    run, recording = recorded(**options)
    repricing = Repricing(recording, run.machine)
    for resource in repricing.resources:
        assert repricing.resource_s(resource, AS_IT_IS) == pytest.approx(run.ledger.busy_s[resource], rel=1e-12)
        assert repricing.added_s(resource, AS_IT_IS) == 0.0
        everything = repricing.added_s(resource, AS_IT_IS, lambda what: True)
        assert everything == pytest.approx(0.0, abs=1e-12 * run.ledger.end_s)


def test_pricing_the_work_on_another_part_or_count_gives_the_seconds_of_a_run_with_it():
    run, recording = recorded("gpu_only")
    repricing = Repricing(recording, run.machine)
    for variant, override in ((Variant(part=load_part("h100").part), "devices.gpu.part=h100"),):
        other, _ = recorded("gpu_only", set=(SHORT, override))
        assert run.ledger.end_s + repricing.added_s("gpu", variant) == pytest.approx(other.ledger.end_s, rel=1e-12)
    four, _ = recorded("gpu_only", set=(SHORT, "devices.gpu.count=4"))  # four ranks, too
    assert run.ledger.end_s + repricing.added_s("gpu", Variant(count=4)) == pytest.approx(
        four.ledger.end_s, rel=1e-12
    )


def test_pricing_some_of_the_work_adds_up_to_all_of_it():
    run, recording = recorded()
    repricing = Repricing(recording, run.machine)
    parts = [
        repricing.resource_s("gpu", AS_IT_IS, lambda what: isinstance(what, Linear)),
        repricing.resource_s("gpu", AS_IT_IS, lambda what: not isinstance(what, Linear)),
    ]
    assert sum(parts) == pytest.approx(repricing.resource_s("gpu", AS_IT_IS), rel=1e-12)
    assert all(parts)


OPEN = {
    "trace": "llama7b",
    "workload": "azure_conversation",
    "requests": 6,
    "batch": 6,
    "set": ("workload.lengths={kind: fixed, input_tokens: 200, output_tokens: 40}",),
}


@pytest.mark.parametrize("batching", ["continuous", "chunked_prefill", "prefill_priority"])
def test_where_requests_arrive_over_time_what_is_recorded_is_what_was_worked(batching):
    """The rest of the run is waiting."""
    run, recording = recorded(**OPEN, batching=batching)
    assert recording.time_s == pytest.approx(sum(step.time_s for step in run.ledger.steps), rel=1e-9)
    assert recording.time_s < run.ledger.end_s


def test_caches_that_are_swapped_out_are_messages():
    """Room for the caches of two requests and a half."""
    run, recording = recorded(
        batch=4,
        batching="continuous",
        set=(
            SHORT,
            "devices.attn_pim.count=1",
            "kv.on_exhaustion=swap",
            "kv.swap_link=pcie",
        ),
    )
    assert recording.time_s == pytest.approx(run.ledger.end_s, rel=1e-9)
    assert not [row for row in recording.rows() if row.work == "host"]
