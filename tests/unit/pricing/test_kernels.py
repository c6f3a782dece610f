import numpy as np
import pandas as pd
import pytest

from papisim.pricing.kernels import device_rows, kernel_rows, telling_steps

FIXED = "workload.lengths={kind: fixed, input_tokens: 64, output_tokens: 20}"


@pytest.mark.parametrize("hw", ["papi", "gpu_only", "a100_attacc", "pim_only"])
def test_kernels_and_messages_add_up_to_the_time_of_their_step(run, hw):
    finished = run(hw=hw, batch_size=8, overrides=[FIXED])
    rows = pd.DataFrame(kernel_rows(finished))
    sums = (rows["time_s"] * rows["n_times"]).groupby([rows["kind"], rows["index"]]).sum()
    for step in telling_steps(finished.ledger.steps):
        assert sums[step.kind, step.index] == pytest.approx(step.time_s, rel=1e-9)


@pytest.mark.parametrize("hw", ["papi", "gpu_only", "a100_attacc", "a100_hbmpim"])
@pytest.mark.parametrize("batch", [1, 64])
def test_no_kernel_computes_faster_than_its_device_can(run, hw, batch):
    finished = run(hw=hw, batch_size=batch, overrides=[FIXED])
    rows = pd.DataFrame(kernel_rows(finished)).merge(
        pd.DataFrame(device_rows(finished)), left_on="resource", right_on="device"
    )
    heavy = rows[rows["category"].isin(["fc", "attention"]) & (rows["flop"] > 0)]
    assert (heavy["flop"] <= heavy["peak_flop_per_s"] * heavy["time_s"]).all()


def test_fc_kernels_never_move_their_weights_faster_than_the_memory_delivers(run):
    finished = run(batch_size=4, overrides=[FIXED])
    rows = pd.DataFrame(kernel_rows(finished)).merge(
        pd.DataFrame(device_rows(finished)), left_on="resource", right_on="device"
    )
    fc = rows[rows["category"] == "fc"]
    assert set(fc["resource"]) == {"gpu", "fc_pim"}
    assert (fc["moved_bytes"] <= fc["bandwidth_bytes_per_s"] * fc["time_s"]).all()


def test_the_ceilings_of_pim_are_its_fpus_and_its_banks(run):
    finished = run(batch_size=1)
    fc_pim = next(row for row in device_rows(finished) if row["device"] == "fc_pim")
    part, count = finished.machine.pools["fc_pim"].part, finished.machine.pools["fc_pim"].count
    fpus = count * part.organisation.banks * 4
    assert fc_pim["peak_flop_per_s"] == pytest.approx(fpus * 2 * part.fpu.lanes / part.fpu.column_s)
    slowest = part.organisation.column_bytes / (part.timing.column_gap * part.timing.tck_s)
    assert fc_pim["bandwidth_bytes_per_s"] <= count * part.organisation.banks * slowest * (1 + 1e-12)


def test_the_steps_shown_include_both_sides_of_a_change_of_placement(run):
    finished = run(trace="llama65b", batch_size=64)
    shown = telling_steps(finished.ledger.steps)
    assert {step.fc_device for step in shown if step.kind == "decode"} == {"gpu", "fc_pim"}
    decode = [step.index for step in shown if step.kind == "decode"]
    assert decode == sorted(set(decode))
    assert np.diff(decode).min() == 1
