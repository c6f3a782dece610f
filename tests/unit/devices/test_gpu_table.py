"""Measured tables: between measured sizes, at their ends, and silence beyond."""

import pytest

from papisim.devices.gpu.table import measured_attention_s, measured_linear_s
from papisim.errors import InputError


@pytest.fixture
def tables(tmp_path):
    (tmp_path / "linear.csv").write_text("m,k,n,time_s\n100,8,8,4e-6\n50,8,8,1e-6\n", encoding="utf-8")
    rows = [(batch, kv, batch * kv * 1e-9) for batch in (4, 16) for kv in (100, 400)]
    text = "".join(f"4,2,64,0,1,{batch},{kv},{time_s}\n" for batch, kv, time_s in rows)
    header = "n_heads,n_kv_heads,head_dim,packed_gqa,tlp,batch,kv,time_s\n"
    (tmp_path / "attention.csv").write_text(header + text, encoding="utf-8")
    return str(tmp_path)


def test_times_between_measured_rows_lie_on_a_power_law(tables):
    assert measured_linear_s(tables, 50, 8, 8) == 1e-6
    # four times the time for twice the rows: the square of the ratio of rows
    assert measured_linear_s(tables, 70, 8, 8) == pytest.approx(1e-6 * (70 / 50) ** 2)


@pytest.mark.parametrize(("m", "time_s"), [(48, None), (49, 1e-6), (101, 4e-6), (102, 4e-6), (103, None)])
def test_an_end_holds_for_two_percent_beyond_and_nothing_is_extrapolated(tables, m, time_s):
    assert measured_linear_s(tables, m, 8, 8) == time_s


def test_another_matrix_is_not_in_the_table(tables):
    assert measured_linear_s(tables, 50, 8, 16) is None


def test_attention_is_interpolated_over_requests_and_cached_tokens(tables):
    def time_s(requests, kv, heads=(4, 2, 64), tlp=1):
        return measured_attention_s(tables, heads, packed=False, tlp=tlp, requests=requests, kv=kv)

    assert time_s(8, 200) == pytest.approx(8 * 200e-9)
    assert time_s(32, 200) is None
    assert time_s(8, 500) is None
    assert time_s(8, 200, tlp=2) is None
    assert time_s(8, 200, heads=(8, 2, 64)) is None


def test_a_time_that_is_not_positive_is_refused_with_its_line(tmp_path):
    (tmp_path / "linear.csv").write_text("m,k,n,time_s\n1,8,8,1e-6\n2,8,8,0\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"linear.csv:3: time_s: expected a positive number of seconds"):
        measured_linear_s(str(tmp_path), 1, 8, 8)


def test_a_folder_without_the_table_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"holds no linear.csv, which mode 'table' reads"):
        measured_linear_s(str(tmp_path), 1, 8, 8)
