"""Comparisons with measured tables, on tables that the model itself or a closed form has made."""

import numpy as np
import pandas as pd
import pytest

from papisim.calibration.gpu.tables import Measured
from papisim.config.system import load_part
from papisim.pricing.table import linear_energies, linear_times_of
from papisim.validation.gpu import compare, ridge_rows, ridges

PART = load_part("h200").part
SHAPES = [(m, k, n) for m in (1, 8, 64, 200, 1000) for k, n in ((4096, 4096), (8192, 8192))]


def table(kind, rows, source="cublas", gpu="h200"):
    return Measured(kind, gpu, source, "some/made.csv", rows)


def products(factor=1.0, **columns):
    rows = pd.DataFrame(SHAPES, columns=["m", "k", "n"])
    times = linear_times_of(PART, PART.linear.used, rows)
    return rows.assign(time_s=factor * times, energy_j=np.nan, metered_s=np.nan, **columns)


def found(*tables, gpu="h200"):
    return {(row.family, row.regime): row for row in compare(gpu, PART, tables)}


def test_a_table_that_the_model_made_is_met():
    rows = found(table("linear", products()))
    every = rows["linear", "all"].errors
    assert (every.n, every.mape, every.bias) == (
        len(SHAPES),
        pytest.approx(0, abs=1e-12),
        pytest.approx(0, abs=1e-12),
    )


def test_a_table_of_slower_kernels_says_that_the_model_is_too_fast():
    every = found(table("linear", products(1.25)))["linear", "all"]
    assert every.errors.bias == pytest.approx(-0.2)
    assert every.points[0] == pytest.approx(1.25 * every.points[1]), "measured, predicted"
    assert every.row().baseline_mape == every.baseline.mape


def test_products_are_told_apart_by_what_binds_them():
    """An H200 does 989.4 TFLOP/s and reads 4.8 TB/s: 206 token-rows balance a large matrix; within a factor of 2 is between."""
    rows = found(table("linear", products()))
    sizes = {regime: row.errors.n for (family, regime), row in rows.items() if family == "linear"}
    assert sizes == {"all": 10, "memory": 6, "transition": 2, "compute": 2}


def test_a_roofline_of_four_parameters_meets_a_roofline():
    rows = pd.DataFrame(
        [(m, k, k) for m in (1, 64, 128, 256, 512, 1024) for k in (2048, 4096, 8192)], columns=["m", "k", "n"]
    )
    moved, steps = 2 * (rows.k * rows.n + rows.m * (rows.k + rows.n)), np.ceil(rows.m / 64) * 64
    times = 3e-6 + np.maximum((moved + 1e6) / 4e12, 2 * steps * rows.k * rows.n / 7e14)
    made = rows.assign(time_s=times, energy_j=np.nan, metered_s=np.nan)
    assert found(table("linear", made))["linear", "all"].baseline.mape < 0.02


@pytest.mark.parametrize(("gpu", "kind"), [("a100", "linear"), ("h200", "unheard_of")])
def test_tables_of_other_gpus_and_kinds_are_left_aside(gpu, kind):
    assert list(compare("h200", PART, [table(kind, products(), gpu=gpu)])) == []


def test_a_library_is_found_by_what_a_table_calls_it_else_the_one_in_use_predicts():
    for source, library in (("vllm_default", "cublas_vllm"), ("unheard_of", "cublas13")):
        assert found(table("linear", products(), source))["linear", "all"].library == library


def test_joules_are_compared_with_idle_power_in_them():
    rows = products()
    fitted = PART.model_copy(update={"energy_model": "fitted"})
    joules = linear_energies(fitted, rows, rows.time_s.to_numpy())
    energy = found(table("linear", rows.assign(energy_j=joules)))["linear energy", "all"]
    assert (energy.errors.mape, energy.panel) == (pytest.approx(0, abs=1e-9), "energy")
    assert energy.baseline is None, "counted joules need none"


def test_an_all_reduce_is_compared_on_the_link_of_the_part():
    rows = pd.DataFrame(
        {"ranks": [2, 8], "message_bytes": [1e6, 1e6], "time_s": [1.0, 1.0], "energy_j": [np.nan, 1.0]}
    )
    compared = found(table("all_reduce", rows, "nccl"))
    assert compared["all_reduce", "all"].library == "nvlink4"
    assert compared["all_reduce", "all"].errors.bias < -0.99, "a megabyte takes no second"
    assert compared["all_reduce energy", "all"].errors.n == 1


def test_attention_and_prompts_are_compared_with_their_own_kernels():
    columns = ["requests", "queries", "kv", "n_heads", "n_kv_heads", "head_dim", "time_s"]
    decode = table("attention", pd.DataFrame([(8, 1, 1024, 32, 32, 128, 1e-4)], columns=columns), "sdpa-cudnn")
    prompt = table("prefill", pd.DataFrame([(8, 1024, 1024, 32, 32, 128, 1e-3)], columns=columns), "sdpa-cudnn")
    compared = found(decode, prompt)
    assert set(compared) == {("attention", "all"), ("prefill", "all")}
    assert compared["prefill", "all"].points[1][0] > 3 * compared["attention", "all"].points[1][0]
    assert {row.panel for row in compared.values()} == {"attention"}


@pytest.mark.parametrize("regime", ["all"])
def test_steps_are_compared_by_each_mode_that_the_part_has(regime):
    rows = pd.DataFrame(
        {"model": ["llama7b"], "rlp": [4], "tlp": [1], "kv": [512], "time_s": [0.01], "energy_j": [1.0]}
    )
    compared = list(compare("h200", PART, [table("step", rows, "torch")]))
    assert [(row.family, row.library) for row in compared] == [
        (family, f"by {mode}")
        for mode in ("model", "corrected", "table")
        for family in ("iteration of llama7b", "energy of llama7b")
    ]
    assert [row.panel for row in compared[:2]] == ["iterations", "energy"]
    assert {row.regime for row in compared} == {regime}


def test_a_plateau_ends_where_a_product_takes_a_fifth_longer():
    made = [(m, 4096, 4096, 1e-5 * (1 if m <= 96 else 1.3)) for m in (1, 16, 64, 96, 112, 128)]
    rows = pd.DataFrame(made, columns=["m", "k", "n", "time_s"])
    (ridge,) = ridges("h200", PART, [table("linear", rows)])
    assert (ridge.gpu, ridge.k, ridge.n, ridge.measured) == ("h200", 4096, 4096, 112)
    assert ridge.model == ridge_rows(PART, 4096, 4096)


def test_only_square_matrices_from_one_row_on_have_a_ridge():
    wide = pd.DataFrame([(m, 4096, 8192, float(m)) for m in (1, 64, 128)], columns=["m", "k", "n", "time_s"])
    late = pd.DataFrame([(m, 4096, 4096, float(m)) for m in (2, 64, 128)], columns=["m", "k", "n", "time_s"])
    flat = pd.DataFrame([(m, 4096, 4096, 1.0) for m in (1, 64, 128)], columns=["m", "k", "n", "time_s"])
    other = pd.DataFrame([(m, 4096, 4096, float(m)) for m in (1, 64, 128)], columns=["m", "k", "n", "time_s"])
    for rows, source in ((wide, "cublas"), (late, "cublas"), (flat, "cublas"), (other, "vllm_default")):
        assert list(ridges("h200", PART, [table("linear", rows, source)])) == []


def test_the_models_ridge_lies_below_the_balance_of_the_peaks_and_above_one_tile():
    assert 64 < ridge_rows(PART, 8192, 8192) < 2 * 206


def test_a_meters_joules_have_the_next_token_row_to_beat():
    """100 W at one token-row and 150 W at two: taken for the former, the latter is half too much."""
    rows = pd.DataFrame({"m": [1, 2, 64], "k": [4096] * 3, "n": [4096] * 3, "time_s": [1e-5] * 3})
    metered = rows.assign(energy_j=[1e-3, 1.5e-3, 4e-3], metered_s=[0.1, 0.1, 1.0])
    compared = found(table("linear", metered))
    beside = compared["linear energy", "all"].baseline
    assert (beside.n, beside.bias) == (1, pytest.approx(0.5))
    settled = compared["linear energy", "settled meter"]
    assert (settled.errors.n, settled.baseline) == (1, None)


def test_the_joules_of_an_all_reduce_hold_the_idle_power_of_all_boards():
    """79.2 W each, besides what the links take."""
    rows = pd.DataFrame({"ranks": [2, 8], "message_bytes": [8.0, 1e6], "time_s": [1.0, 1.0], "energy_j": [1.0, 1.0]})
    measured, without_idle = table("all_reduce", rows, "nccl"), PART.model_copy(update={"static_w": 0.0})
    compared = found(measured)
    links_only = {row.family: row.points[1] for row in compare("h200", without_idle, [measured])}
    seconds = compared["all_reduce", "all"].points[1]
    idle_j = compared["all_reduce energy", "all"].points[1] - links_only["all_reduce energy"]
    assert idle_j == pytest.approx(79.2 * np.array([2, 8]) * seconds)
