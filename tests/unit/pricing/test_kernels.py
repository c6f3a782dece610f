import numpy as np
import pandas as pd
import pytest

from papisim.ops.cost import Energy
from papisim.ops.kernel import Attention, Elementwise, FcRole, KernelClass, Linear
from papisim.plan.phase import Exchange, Message
from papisim.pricing.kernels import describe, device_rows, kernel_rows, moved_bytes, telling_steps
from papisim.record.steps import StepKind, StepRow

FIXED = "workload.lengths={kind: fixed, input_tokens: 64, output_tokens: 20}"


@pytest.mark.parametrize("hw", ["papi", "gpu_only", "a100_attacc", "pim_only"])
def test_kernels_and_messages_add_up_to_the_time_of_their_step(run, hw):
    finished = run(hw=hw, batch=8, set=[FIXED])
    rows = pd.DataFrame(kernel_rows(finished))
    sums = (rows["time_s"] * rows["n_times"]).groupby([rows["kind"], rows["index"]]).sum()
    for step in telling_steps(finished.ledger.steps):
        assert sums[step.kind, step.index] == pytest.approx(step.time_s, rel=1e-9)


@pytest.mark.parametrize("hw", ["papi", "gpu_only", "a100_attacc", "a100_hbmpim"])
@pytest.mark.parametrize("batch", [1, 64])
def test_no_kernel_computes_faster_than_its_device_can(run, hw, batch):
    finished = run(hw=hw, batch=batch, set=[FIXED])
    rows = pd.DataFrame(kernel_rows(finished)).merge(
        pd.DataFrame(device_rows(finished)), left_on="resource", right_on="device"
    )
    heavy = rows[rows["category"].isin(["fc", "attention"]) & (rows["flop"] > 0)]
    assert (heavy["flop"] <= heavy["peak_flop_per_s"] * heavy["time_s"]).all()


def test_fc_kernels_never_move_their_weights_faster_than_the_memory_delivers(run):
    finished = run(batch=4, set=[FIXED])
    rows = pd.DataFrame(kernel_rows(finished)).merge(
        pd.DataFrame(device_rows(finished)), left_on="resource", right_on="device"
    )
    fc = rows[rows["category"] == "fc"]
    assert set(fc["resource"]) == {"gpu", "fc_pim"}
    assert (fc["moved_bytes"] <= fc["bandwidth_bytes_per_s"] * fc["time_s"]).all()


def test_the_ceilings_of_pim_are_its_fpus_and_its_banks(run):
    finished = run(batch=1)
    fc_pim = next(row for row in device_rows(finished) if row["device"] == "fc_pim")
    part, count = finished.machine.pools["fc_pim"].part, finished.machine.pools["fc_pim"].count
    fpus = count * part.organisation.banks * 4
    assert fc_pim["peak_flop_per_s"] == pytest.approx(fpus * 2 * part.fpu.lanes / part.fpu.column_s)
    slowest = part.organisation.column_bytes / (part.timing.column_gap * part.timing.tck_s)
    assert fc_pim["bandwidth_bytes_per_s"] <= count * part.organisation.banks * slowest * (1 + 1e-12)


def test_the_steps_shown_include_both_sides_of_a_change_of_placement(run):
    finished = run(trace="llama65b", batch=64)
    shown = telling_steps(finished.ledger.steps)
    assert {step.fc_device for step in shown if step.kind == "decode"} == {"gpu", "fc_pim"}
    decode = [step.index for step in shown if step.kind == "decode"]
    assert decode == sorted(set(decode))
    assert np.diff(decode).min() == 1


def step(index, device, kind="decode"):
    counts = {
        "rlp": 1,
        "rows": 1,
        "kv_tokens": 10,
        "kv_bytes": 20,
        "prompt_tokens": 0,
        "drafted": 0,
        "accepted": 0,
        "wasted": 0,
        "tokens": 1,
    }
    times = {"start_s": 0.0, "time_s": 1.0, "stalled_s": 0.0, "overlapped_s": 0.0, "time_by": {}, "busy_by": {}}
    return StepRow(
        index=index,
        kind=StepKind(kind),
        server="",
        fc_flop_by={device: 1.0},
        placed={},
        energy=Energy(),
        **counts,
        **times,
    )


def test_the_steps_selected_are_the_ends_the_middle_and_both_sides_of_the_first_changes():
    devices = ["gpu"] * 10 + ["pim"] * 10 + ["gpu"] * 10 + ["pim"] * 10 + ["gpu"] * 10
    steps = [
        step(0, "gpu", "prefill"),
        step(1, "gpu", "prefill"),
        *(step(i, device) for i, device in enumerate(devices)),
    ]
    shown = telling_steps(steps)
    assert [each.index for each in shown if each.kind == "prefill"] == [0]
    assert [each.index for each in shown if each.kind == "decode"] == [0, 9, 10, 19, 20, 25, 29, 30, 49]


def test_a_run_without_decoding_shows_its_prefill_alone():
    assert [each.index for each in telling_steps([step(0, "gpu", "prefill")])] == [0]
    assert telling_steps([]) == []


def test_kernels_and_messages_are_written_with_their_sizes():
    attention = Attention(2, 8, 100, 60, 400, 32, 8, 128)
    assert describe(Linear(FcRole.QKV, 4, 8, 16)) == ("qkv", "m=4 k=8 n=16")
    assert describe(attention) == ("attention", "requests=2 queries=8 kv=100 heads=32/8×128")
    assert describe(Message(10.0, 6, Exchange.ALL_REDUCE)) == ("all_reduce", "6 ranks")
    assert describe(Message(10.0)) == ("transfer", "")
    assert describe(Elementwise(KernelClass.NORMALISATION, 1, 2, 3)) == ("normalisation", "")


def test_what_is_moved_is_read_or_written_or_carried():
    assert moved_bytes(Linear(FcRole.QKV, 4, 8, 16)) == 2 * (4 * 8 + 8 * 16 + 4 * 16)
    assert moved_bytes(Elementwise(KernelClass.NORMALISATION, 1, 20, 3)) == 23
    assert moved_bytes(Message(10.0, ranks=6)) == 10


def test_a_streaming_run_prices_no_steps(run):
    pytest.importorskip("ddsketch")
    assert kernel_rows(run(batch=2, metrics="streaming", set=[FIXED])) == []
