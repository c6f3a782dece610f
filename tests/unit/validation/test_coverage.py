"""Coverage: what lies inside counts, and nothing judges itself."""

import numpy as np
import pandas as pd
import pytest

from papisim.calibration.gpu.tables import Measured
from papisim.config.system import load_part
from papisim.pricing.table import linear_times_of
from papisim.uncertainty.evidence import INSIDE, evidence
from papisim.validation.coverage import kernel_coverage, serving_coverage, step_coverage
from papisim.validation.engine import Compared
from papisim.validation.serving import PLAIN, Predicted, read_serving_rows, write_predictions

H100 = load_part("h100").part


def table(slower):
    rows = pd.DataFrame([(m, 4096, 2048) for m in (1, 2, 4, 8)], columns=["m", "k", "n"])
    times = linear_times_of(H100, H100.linear.libraries["cublas_vllm"], rows) * slower
    return Measured("linear", "h100", "vllm_default", "folder/made.csv", rows.assign(time_s=times))


def test_kernels_are_judged_by_the_errors_on_other_gpus():
    others = [row for row in evidence().measured if (row.family, row.library) == ("linear", "cublas_vllm")]
    others = [row for row in others if (row.regime, row.where) == ("memory", INSIDE) and row.part != H100.description]
    widest = max(others, key=lambda row: row.kernels)
    inside, outside = widest.kernel[2] * 0.999, widest.kernel[2] * 1.001
    (found,) = kernel_coverage({"h100": H100}, [table(np.array([1.0, inside, outside, 3.0]))])
    assert (found.of, found.n, found.covered_ratio) == ("linear", 4, 0.5)
    assert found.median_width_ratio == pytest.approx(widest.kernel[2] / widest.kernel[0])


def test_the_busy_time_of_a_step_is_held_or_not():
    part = load_part("h200").part
    cells = {"right": 0.97, "slow": 2.0}
    rows = [
        Compared("h200", "an engine", "decode", cell, name, measured * by, measured)
        for cell, by in cells.items()
        for name, measured in (("fc", 4e-3), ("attention", 5e-4), ("small", 4e-4), ("busy", 4.9e-3))
    ]
    found = step_coverage(part, "vllm", rows)
    assert (found.n, found.groups, found.covered_ratio) == (2, 1, 0.5)


@pytest.fixture
def predictions(tmp_path):
    """Five groups of ten services each, whose simulation is as far off in one as in another, but for one that is far slower."""
    cells = {
        "source_row": 0, "model": "m", "gpu": "h100", "tp": 1, "pp": 1, "dp": 1, "ep": 1, "backend": "vllm", "version": "", "suite": "s",
        "weight_bits": 16, "kv_bits": 16, "isl": 100, "osl": 100, "range_ratio": 1.0, "concurrency": 4, "ttft_s": 0.1, "tpot_s": 0.01,
        "kv_need_ratio": 0.1, "queued": False, "reentered": False, "suspect": "",
    }  # fmt: skip
    rng = np.random.default_rng(0)
    rows = [
        cells
        | {
            "source_row": 10 * group + n,
            "model": f"model {group}",
            "tpot_s": 0.01 * np.exp(rng.normal(0, 0.05) + (2 if group == 4 else 0)),
        }
        for group in range(5)
        for n in range(10)
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "rows.csv", index=False)
    return [Predicted(row, PLAIN, 0.1, 0.01) for row in read_serving_rows(tmp_path / "rows.csv")]


def test_a_group_that_is_off_is_not_held_by_the_others(predictions):
    found = {row.of: row for row in serving_coverage(predictions)}
    assert set(found) == {"serving throughput", "serving ttft", "serving tpot"}
    tpot = found["serving tpot"]
    assert (tpot.n, tpot.groups) == (50, 5)
    assert tpot.covered_ratio == pytest.approx(0.8, abs=0.02)  # the groups alike are held, the fifth is not
    assert found["serving ttft"].covered_ratio == 1.0


def test_three_groups_leave_two_others_which_tell_nothing(predictions):
    assert (
        list(serving_coverage([each for each in predictions if each.row.model in ("model 0", "model 1", "model 2")]))
        == []
    )


def test_predictions_are_read_as_they_were_written(predictions, tmp_path):
    from papisim.validation.serving import read_predictions  # noqa: PLC0415 - of this test alone

    mixed = [*predictions[:2], Predicted(predictions[2].row, PLAIN, reason="no trace")]
    write_predictions(mixed, tmp_path / "out.csv")
    assert read_predictions(tmp_path / "out.csv") == mixed


@pytest.mark.slow
def test_nine_of_ten_measurements_of_other_gpus_and_of_an_engine_are_held():
    from papisim.cli.validate import _coverage  # noqa: PLC0415 - of this test alone

    for row in _coverage([]):
        assert 0.85 <= row.covered_ratio <= 0.95, row
