import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from papisim import catalog
from papisim.calibration.errors import Errors, errors_of
from papisim.calibration.gpu import fit as gpu_fit
from papisim.calibration.gpu.calibrate import Calibration, calibrate
from papisim.calibration.gpu.krige import corrected, krige
from papisim.calibration.gpu.part_file import write_corrections, write_part
from papisim.calibration.gpu.tables import Measured, read_tables
from papisim.catalog import Shelf
from papisim.cli.calibrate import gpu
from papisim.config.system import load_part
from papisim.config.yaml import load_yaml
from papisim.devices.gpu.correction import Correction
from papisim.errors import InputError
from papisim.pricing.table import linear_times_of, step_prices
from papisim.validation.gpu import compare

ERRORS = Errors(3, 0.05, 0.1, -0.01)


def test_errors_are_relative_and_signed():
    errors = errors_of(np.array([1.1, 0.9, 2.0]), np.array([1.0, 1.0, 2.0]))
    assert (errors.n, errors.mape, errors.bias) == (3, pytest.approx(0.2 / 3), pytest.approx(0))


def test_a_written_part_reads_back_and_says_where_its_numbers_are_from(tmp_path):
    document = load_yaml(catalog.find(Shelf.DEVICE, "h100").path).data
    found = Calibration(
        ("linear", "libraries", "cublas"), {"launch_s": 4.5e-6, "wave_ratio": 0.25}, ("t.csv",), {"all rows": ERRORS}
    )
    (tmp_path / "mine.yaml").write_text(write_part(document, [found]), encoding="utf-8")
    device = load_part(str(tmp_path / "mine.yaml"))
    assert device.part.linear.libraries["cublas"].launch_s == pytest.approx(4.5e-6)
    assert device.part.linear.libraries["cublas"].wave_ratio == 0.25
    assert device.part.attention == load_part("h100").part.attention, "the rest is as it was"
    notes = [source.note for source in device.sources if source.path == "linear.libraries.cublas"]
    assert notes == ["papisim calibrate gpu on t.csv; all rows: MAPE 5.0%, p95 10.0%"]


def test_a_fit_finds_the_parameters_that_made_its_table():
    pytest.importorskip("scipy")
    part = load_part("h200").part
    truth = part.linear.used.model_copy(update={"launch_s": 8e-6, "bandwidth_ratio": 0.6})
    grid = [(m, k, n) for m in (1, 4, 16, 64, 256) for k in (2048, 4096, 8192) for n in (2048, 8192, 16384)]
    rows = pd.DataFrame(grid, columns=["m", "k", "n"])
    rows = rows.assign(time_s=linear_times_of(part, truth, rows), energy_j=np.nan, model=np.nan)
    fit = next(calibrate(part, "h200", [Measured("linear", "h200", "cublas", "made.csv", rows)], hold_out=False))
    assert fit.path == ("linear", "libraries", "cublas13")
    assert fit.errors["all rows"].mape < 0.02
    assert fit.values["launch_s"] == pytest.approx(8e-6, rel=0.1)
    assert fit.values["bandwidth_ratio"] == pytest.approx(0.6, rel=0.1)


def test_a_table_is_known_by_its_columns_and_its_gpu_by_name(tmp_path):
    (tmp_path / "h200").mkdir()
    (tmp_path / "h200" / "linear.csv").write_text(
        "m,k,n,dtype,time_s,energy_j,library\n1,8,16,float16,1e-6,,cublas\n"
    )
    (tmp_path / "aic_a100_gemm.csv").write_text(
        "kernel_source,gemm_dtype,m,n,k,latency,power\nv,bfloat16,1,16,8,0.002,300\n"
    )
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    tables = {table.gpu: table for table in read_tables([tmp_path], ["a100", "h200", "a100_hbm3"])}
    assert set(tables) == {"a100", "h200"}
    assert tables["h200"].source == "cublas"
    row = tables["a100"].rows.iloc[0]
    assert (row.m, row.k, row.n) == (1, 8, 16)
    assert (row.time_s, row.energy_j) == (pytest.approx(2e-6), pytest.approx(6e-4)), "milliseconds and watts"


def test_a_table_with_a_cell_that_is_no_number_is_refused(tmp_path):
    (tmp_path / "a100_gemm.csv").write_text("kernel_source,gemm_dtype,m,n,k,latency\nv,bfloat16,1,16,8,soon\n")
    with pytest.raises(InputError, match="cannot be used"):
        read_tables([tmp_path], ["a100"])


LENGTHS = {
    "board": {"peak_flop_per_s": 989.4e12, "memory_bandwidth_bytes_per_s": 4.8e12, "multiprocessors": 132},
    "m_length": 0.3,
    "k_length": 2.0,
    "n_length": 0.3,
    "spread_ratio": 0.05,
    "noise_ratio": 0.001,
}


def kriged(rows, modelled, at):
    part = load_part("h200").part
    correction = Correction(file="unused", **LENGTHS)
    points = krige(correction, rows, modelled)
    library = part.linear.used.model_copy(update={"correction": correction})
    return points, corrected(part, library, points, at, np.full(len(at), 1e-3))


def test_kriging_meets_what_was_measured_and_returns_to_the_model_far_away():
    rows = pd.DataFrame(
        {"m": [1, 64, 64], "k": [4096] * 3, "n": [4096, 4096, 8192], "time_s": [1.1e-3, 0.9e-3, 1.2e-3]}
    )
    points, times = kriged(rows, np.full(3, 1e-3), rows)
    assert len(points) == 3
    assert times == pytest.approx(rows.time_s.to_numpy(), rel=1e-3)
    far = pd.DataFrame({"m": [1], "k": [16], "n": [1 << 20]})
    assert kriged(rows, np.full(3, 1e-3), far)[1] == pytest.approx([1e-3], rel=1e-4)


def test_a_product_measured_on_two_boards_counts_once_by_its_mean():
    rows = pd.DataFrame({"m": [8, 8], "k": [4096, 4096], "n": [4096, 4096], "time_s": [1.0e-3, 1.21e-3]})
    points, times = kriged(rows, np.full(2, 1e-3), rows)
    assert len(points) == 1
    assert times == pytest.approx([1.1e-3, 1.1e-3], rel=1e-3)


def test_noise_of_repeated_measurements_is_not_followed():
    rows = pd.DataFrame({"m": [8], "k": [4096], "n": [4096], "time_s": [1.1e-3]})
    correction = Correction(file="unused", **(LENGTHS | {"noise_ratio": 0.05}))
    points = krige(correction, rows, np.array([1e-3]))
    assert points.weight.tolist() == [pytest.approx(np.log(1.1) / 2)], (
        "spread and noise alike: half of it is believed"
    )


def grid_of_a_smooth_ratio():
    """Products of 20 % more or less than modelled, slowly up and down with the token-rows."""
    m, k, n = (each.ravel() for each in np.meshgrid(2 ** np.arange(9), [2048, 4096], [4096, 6144]))
    return pd.DataFrame({"m": m, "k": k, "n": n, "time_s": 1e-3 * (1 + 0.2 * np.sin(np.log2(m) / 2))})


def test_a_few_points_follow_a_smooth_ratio_of_many_products():
    rows = grid_of_a_smooth_ratio()
    correction = Correction(file="unused", **(LENGTHS | {"m_length": 3.0, "n_length": 3.0}), most_points=12)
    modelled = np.full(len(rows), 1e-3)
    points = krige(correction, rows, modelled)
    assert len(points) == 12
    assert points.merge(rows, on=["m", "k", "n"]).shape[0] == 12, "every point is a measured product"
    part = load_part("h200").part
    library = part.linear.used.model_copy(update={"correction": correction})
    times = corrected(part, library, points, rows, modelled)
    measured = rows.time_s.to_numpy()
    assert errors_of(times, measured).mape < 0.25 * errors_of(modelled, measured).mape


def test_points_lie_as_far_apart_as_they_can():
    """Of token-rows 1, 2 … 16 of one matrix, after the first: the last, then the one between them."""
    rows = pd.DataFrame({"m": [1, 2, 4, 8, 16], "k": [4096] * 5, "n": [4096] * 5, "time_s": [1.1e-3] * 5})
    for most, expected in ((1, [1]), (2, [1, 16]), (3, [1, 4, 16]), (5, [1, 2, 4, 8, 16]), (9, [1, 2, 4, 8, 16])):
        correction = Correction(file="unused", **LENGTHS, most_points=most)
        assert krige(correction, rows, np.full(5, 1e-3)).m.tolist() == expected


def test_as_many_points_as_products_are_the_same_as_no_limit():
    rows = grid_of_a_smooth_ratio()
    weights = [
        krige(Correction(file="unused", **LENGTHS, most_points=most), rows, np.full(len(rows), 1e-3)).weight
        for most in (None, len(rows))
    ]
    assert weights[0].tolist() == weights[1].tolist()


def test_a_model_is_left_out_with_every_row_that_names_it():
    rows = pd.DataFrame({"model": ["a b", "b", "c", None], "time_s": [1.0, 2.0, 3.0, 4.0]})
    seen = {}

    def predictor(train):
        seen[len(seen)] = train.time_s.tolist()
        return lambda judged: judged.time_s.to_numpy() * 1.1

    assert gpu_fit.models_of(rows) == ["a", "b", "c"]
    errors = gpu_fit.with_held_out(rows, ["a", "b"], predictor)
    assert seen == {0: [2.0, 3.0, 4.0], 1: [3.0, 4.0]}
    assert {name: (each.n, round(each.mape, 6)) for name, each in errors.items()} == {"a": (1, 0.1), "b": (2, 0.1)}


def test_a_correction_is_written_beside_its_part_and_read_back(tmp_path):
    document = load_yaml(catalog.find(Shelf.DEVICE, "h200").path).data
    points = pd.DataFrame({"m": [64], "k": [4096], "n": [8192], "weight": [0.1]})
    found = Calibration(("linear", "libraries", "cublas13"), {}, ("t.csv",), {"all rows": ERRORS}, points)
    out = tmp_path / "mine.yaml"
    out.write_text(write_part(document, [found], write_corrections(out, [found])), encoding="utf-8")
    part = load_part(str(out)).part
    physics = part.model_copy(update={"mode": "model"})
    times = [linear_times_of(each, each.linear.used, points)[0] for each in (part, physics)]
    assert times[0] == pytest.approx(times[1] * np.exp(0.1))


def test_rows_of_sliding_windows_are_left_out(tmp_path):
    """The same shape stands twice: 100 µs for the whole cache, 20 µs for a window; 97 µs repeats the whole one."""
    header = (
        "kernel_source,batch_size,isl,num_heads,num_key_value_heads,head_dim,attn_dtype,kv_cache_dtype,step,latency\n"
    )
    lines = [
        f"v,8,1,32,8,128,bfloat16,bfloat16,{step},{ms}\n"
        for step, ms in ((8191, 0.1), (8191, 0.02), (8191, 0.097), (99, 0.01))
    ]
    (tmp_path / "aic_h200_attention.csv").write_text(header + "".join(lines))
    (table,) = read_tables([tmp_path], ["h200"])
    assert sorted(table.rows.time_s) == [pytest.approx(each) for each in (1e-5, 9.7e-5, 1e-4)]


def test_joules_of_a_meter_are_compared_where_it_has_settled_too(tmp_path):
    """A reading is of the last second: it says nothing of a kernel whose launches took 45 ms together."""
    header = "kernel_source,gemm_dtype,m,n,k,latency,power,power_limit\n"
    lines = [
        f"cublas,bfloat16,{m},4096,4096,{ms},{watts},700\n"
        for m, ms, watts in ((1, 0.003, 150), (2, 0.003, 300), (8, 0.3, 600))
    ]
    (tmp_path / "aic_h200_gemm.csv").write_text(header + "".join(lines))
    rows = list(compare("h200", load_part("h200").part, read_tables([tmp_path], ["h200"])))
    energy = {row.regime: row for row in rows if row.family == "linear energy"}
    assert {regime: row.errors.n for regime, row in energy.items()} == {"all": 3, "settled meter": 1}
    assert energy["all"].baseline is not None
    assert energy["all"].baseline.mape == pytest.approx(1.0), "one token-row more reads twice as much"


def test_neither_a_part_nor_its_corrections_are_overwritten_unasked(tmp_path):
    (tmp_path / "mine.cublas13.csv").write_text("m,k,n,weight\n", encoding="utf-8")
    options = ["--hw", "h200", "--tables", str(tmp_path), "--out", str(tmp_path / "mine.yaml")]
    result = CliRunner().invoke(gpu, options)
    assert isinstance(result.exception, InputError)
    assert "mine.cublas13.csv" in str(result.exception)
    assert "--force" in str(result.exception)


def joules_of(part, rows, active_w, per_byte, per_flop):
    """Board energy by its three prices and idle power."""
    moved = 2.0 * (rows.k * rows.n + rows.m * rows.k + rows.m * rows.n)
    flop = 2.0 * rows.m * rows.k * rows.n
    return (part.static_w + active_w) * rows.time_s + per_byte * moved + per_flop * flop


def test_energy_is_fitted_to_decoding_alone():
    """Joules up to 1,024 token-rows are made by known prices; those of more rows are absurd and must not matter."""
    pytest.importorskip("scipy")
    part = load_part("h200").part
    shapes = [(m, k, n) for m in (1, 16, 128, 512, 1024, 1025, 4096) for k in (2048, 8192) for n in (2048, 8192)]
    rows = pd.DataFrame(shapes, columns=["m", "k", "n"])
    rows = rows.assign(time_s=linear_times_of(part, part.linear.used, rows), model=np.nan)
    joules = joules_of(part, rows, 80.0, 90e-12, 0.5e-12)
    rows = rows.assign(energy_j=np.where(rows.m <= 1024, joules, 1000 * joules))
    fits = calibrate(part, "h200", [Measured("linear", "h200", "cublas", "made.csv", rows)], hold_out=False)
    energy = next(each for each in fits if each.path == ("fitted_energy",))
    assert energy.errors["all rows"].n == 5 * 4
    assert energy.errors["all rows"].mape < 0.01
    assert energy.values["dram_j_per_byte"] == pytest.approx(90e-12, rel=0.1)
    assert energy.values["compute_j_per_flop"] == pytest.approx(0.5e-12, rel=0.1)
    assert energy.values["active_w"] == pytest.approx(80.0, rel=0.2)


def test_joules_of_a_meter_are_not_fitted_to():
    pytest.importorskip("scipy")
    part = load_part("h200").part
    rows = pd.DataFrame(
        {"m": [1, 64], "k": [4096] * 2, "n": [4096] * 2, "model": [np.nan] * 2, "energy_j": [1.0, 1.0]}
    )
    rows = rows.assign(time_s=linear_times_of(part, part.linear.used, rows))
    fits = calibrate(part, "h200", [Measured("linear", "h200", "vllm_default", "made.csv", rows)], hold_out=False)
    assert ("fitted_energy",) not in [each.path for each in fits]


def test_waiting_between_kernels_is_what_a_step_takes_beyond_them(tmp_path):
    """Steps made of the tables' kernels and 2 µs after each are found to wait 2 µs; a table kept aside is not looked at."""
    part = load_part("h200").part
    points = pd.DataFrame({"model": ["llama7b"] * 2, "rlp": [1, 16], "tlp": [1, 1], "kv": [512, 512]})
    alone = part.model_copy(update={"mode": "table", "between_kernels_s": 0.0})
    prices = step_prices(alone, points)
    rows = points.assign(time_s=[price.time_s + 2e-6 * price.n_kernels for price in prices], energy_j=np.nan)
    tables = [
        Measured("step", "h200", "torch", "h200/step.csv", rows),
        Measured("step", "h200", "torch", "h200/step_heldout.csv", rows.assign(time_s=1.0)),
    ]
    (fit,) = calibrate(part, "h200", tables, hold_out=False)
    assert fit.values["between_kernels_s"] == pytest.approx(2e-6, rel=1e-6)
    assert fit.files == ("h200/step.csv",)
    assert fit.errors["kernels from tables"].mape < 1e-9
