import numpy as np
import pandas as pd
import pytest

from papisim import catalog
from papisim.catalog import Shelf
from papisim.errors import InputError
from papisim.results.gpu_calibration import Calibration, calibrate, raw_document, write_part
from papisim.results.gpu_tables import Measured, read_tables
from papisim.results.gpu_validation import Errors, errors_of, linear_times_of
from papisim.spec.system import load_part

ERRORS = Errors(3, 0.05, 0.1, -0.01)


def test_errors_are_relative_and_signed():
    errors = errors_of(np.array([1.1, 0.9, 2.0]), np.array([1.0, 1.0, 2.0]))
    assert (errors.n, errors.mape, errors.bias) == (3, pytest.approx(0.2 / 3), pytest.approx(0))


def test_a_written_part_reads_back_and_says_where_its_numbers_are_from(tmp_path):
    document = raw_document(catalog.find(Shelf.DEVICE, "h100").path)
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
    assert fit.path == ("linear", "libraries", "cublas")
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
