"""A library's measured correction: what it says at measured shapes, between them and far away, and where it is silent."""

import math

import numpy as np
import pytest

from papisim import units
from papisim.config.system import load_part
from papisim.devices.gpu import Pool
from papisim.devices.gpu.correction import Correction, by_rows, ratio
from papisim.devices.gpu.linear import linear_times, roofline_times
from papisim.errors import InputError
from papisim.ops.kernel import Attention, Elementwise, FcRole, KernelClass, KvAppend, Linear

LENGTHS = {
    "board": {"peak_flop_per_s": 989.4e12, "memory_bandwidth_bytes_per_s": 4.8e12, "multiprocessors": 132},
    "m_length": 0.5,
    "k_length": 2.0,
    "n_length": 0.25,
    "spread_ratio": 0.05,
    "noise_ratio": 0.02,
}


def corrected(tmp_path, rows, *, mode="corrected"):
    path = tmp_path / "points.csv"
    path.write_text("m,k,n,weight\n" + "".join(f"{','.join(map(str, row))}\n" for row in rows), encoding="utf-8")
    part = load_part("h200").part
    correction = Correction(file=str(path), **LENGTHS)
    used = part.linear.used.model_copy(update={"correction": correction})
    linear = part.linear.model_copy(update={"libraries": {part.linear.use: used}})
    return part.model_copy(update={"linear": linear, "mode": mode}), correction


def at(correction, m, k, n):
    return ratio(correction, by_rows(correction, k, n), m)


def test_a_point_speaks_fully_for_itself_and_less_for_others_the_further_they_are(tmp_path):
    _, correction = corrected(tmp_path, [(64, 4096, 8192, 0.1)])
    assert at(correction, 64, 4096, 8192) == pytest.approx(math.exp(0.1))
    assert at(correction, 128, 4096, 8192) == pytest.approx(math.exp(0.1 * math.exp(-math.log(2) / 0.5)))
    assert at(correction, 64, 8192, 8192) == pytest.approx(math.exp(0.1 * math.exp(-math.log(2) / 2.0)))
    assert at(correction, 64, 4096, 16384) == pytest.approx(math.exp(0.1 * math.exp(-math.log(2) / 0.25)))
    assert at(correction, 1, 100, 100) == pytest.approx(1.0, abs=1e-6)


def test_points_add_up_in_the_logarithm(tmp_path):
    points = [(64, 4096, 8192, 0.1), (64, 4096, 4096, -0.2), (1, 4096, 8192, 0.3)]
    _, together = corrected(tmp_path, points)
    alone = []
    for index, point in enumerate(points):
        folder = tmp_path / str(index)
        folder.mkdir()
        alone.append(corrected(folder, [point])[1])
    assert at(together, 20, 5000, 6000) == pytest.approx(math.prod(at(each, 20, 5000, 6000) for each in alone))


def test_a_column_of_matrices_is_corrected_as_each_is(tmp_path):
    part, _ = corrected(tmp_path, [(64, 4096, 8192, 0.1), (8, 2048, 1024, -0.05)])
    m, k, n = [1, 64, 200, 8], [4096, 4096, 1024, 2048], [8192, 8192, 4096, 1024]
    together = linear_times(part, part.linear.used, m, k, n)
    assert together.tolist() == [
        pytest.approx(linear_times(part, part.linear.used, *each)[0]) for each in zip(m, k, n, strict=True)
    ]


def test_model_is_physics_alone_and_corrected_and_table_are_not(tmp_path):
    kernel = Linear(FcRole.QKV, 64, 4096, 8192)
    priced = {}
    for mode in ("model", "corrected", "table"):
        part, _ = corrected(tmp_path, [(64, 4096, 8192, 0.2)], mode=mode)
        priced[mode] = Pool("gpu", part.model_copy(update={"tables": None}), 1).price(kernel).time_s
    assert priced["corrected"] == pytest.approx(priced["model"] * math.exp(0.2))
    assert priced["table"] == priced["corrected"]


def test_no_correction_beats_the_peaks(tmp_path):
    part, _ = corrected(tmp_path, [(64, 4096, 8192, -9.0)])
    assert linear_times(part, part.linear.used, 64, 4096, 8192)[0] == roofline_times(part, 64, 4096, 8192)


def test_other_widths_run_other_kernels_which_were_not_measured(tmp_path):
    part, _ = corrected(tmp_path, [(64, 4096, 8192, 0.2)])
    plain, _ = corrected(tmp_path, [(64, 4096, 8192, 0.2)], mode="model")
    times = [linear_times(each, each.linear.used, 64, 4096, 8192, element_bytes=4.0)[0] for each in (part, plain)]
    assert times[0] == times[1]


@pytest.mark.parametrize(
    "row",
    ["64,4096,8192,", "0,4096,8192,0.1", "64,4096", "64,4096,8192,nan", "inf,4096,8192,0.1", "6_4,4096,8192,0.1"],
)
def test_a_point_without_sizes_or_weight_is_refused_where_it_stands(tmp_path, row):
    (tmp_path / "p.csv").write_text(f"m,k,n,weight\n1,2,3,0.1\n{row}\n", encoding="utf-8")
    correction = Correction(file=str(tmp_path / "p.csv"), **LENGTHS)
    with pytest.raises(InputError, match="expected sizes of at least 1 and a weight") as caught:
        by_rows(correction, 2, 3)
    assert ":3" in str(caught.value)


@pytest.mark.parametrize(("content", "said"), [
    (b"m,k,n,weight\n", "holds no points"), (b"", "holds no points"), (b"m,k,n,weight\n1,2,3,0.1\xff\n", "not UTF-8"),
])  # fmt: skip
def test_a_table_of_no_points_is_refused(tmp_path, content, said):
    (tmp_path / "p.csv").write_bytes(content)
    with pytest.raises(InputError, match=said):
        by_rows(Correction(file=str(tmp_path / "p.csv"), **LENGTHS), 2, 3)


def test_a_table_is_read_again_when_it_has_changed(tmp_path):
    correction = Correction(file=str(tmp_path / "p.csv"), **LENGTHS)
    found = []
    for rows in ("64,4096,8192,0.1\n", "64,4096,8192,0.25\n"):
        (tmp_path / "p.csv").write_text(f"m,k,n,weight\n{rows}", encoding="utf-8")
        found.append(by_rows(correction, 4096, 8192).tolist())
    assert found == [[0.1], [0.25]]


def test_a_correction_that_is_not_there_is_said_to_be_missing(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        by_rows(Correction(file=str(tmp_path / "none.csv"), **LENGTHS), 2, 3)


@pytest.mark.parametrize("name", ["h200", "h100"])
def test_shipped_corrections_stay_near_their_physics_and_vanish_far_away(name):
    part = load_part(name).part
    for library in part.linear.libraries.values():
        if library.correction is None:
            continue
        physics = part.model_copy(update={"mode": "model"})
        m, k, n = (grid.ravel() for grid in np.meshgrid([1, 16, 64, 200, 1024], [2048, 5120, 13824], [5120, 13824]))
        ratios = linear_times(part, library, m, k, n) / linear_times(physics, library, m, k, n)
        assert ratios.min() > 0.7
        assert ratios.max() < 1.5
        assert not np.allclose(ratios, 1.0, atol=1e-3)
        far = (linear_times(each, library, 1, 16, 2**22)[0] for each in (part, physics))
        assert next(far) == pytest.approx(next(far), rel=1e-3)


#: boards whose numbers stand as overrides of an H200: their peaks (dense, two bytes), bandwidths and multiprocessors
OTHER_BOARDS = {
    "B200": {"peak_flop_per_s": 2250e12, "memory_bandwidth_bytes_per_s": 8e12, "multiprocessors": 148},
    "L40S": {"peak_flop_per_s": 362e12, "memory_bandwidth_bytes_per_s": 0.864e12, "multiprocessors": 142},
    "MI300X": {"peak_flop_per_s": 1307e12, "memory_bandwidth_bytes_per_s": 5.3e12, "multiprocessors": 304},
    "more bandwidth": {"memory_bandwidth_bytes_per_s": 8e12},
}


def shown(field, value):
    """A number of a board in words."""
    unit = units.unit_of(field)
    if unit is None:
        return f"{field} {value:g}"
    return f"{field.removesuffix('_' + unit).replace('_', ' ')} {units.format(value, unit)}"


@pytest.mark.parametrize("name", OTHER_BOARDS)
def test_a_correction_measured_on_one_board_says_nothing_of_another(tmp_path, name):
    part, _ = corrected(tmp_path, [(64, 4096, 8192, 0.1)])
    kernel = Linear(FcRole.QKV, 64, 4096, 8192)
    h200, other = Pool("gpu", part, 1), Pool("gpu", part.model_copy(update=OTHER_BOARDS[name]), 1)
    physics = Pool("gpu", other.part.model_copy(update={"mode": "model"}), 1)
    assert h200.corrected(kernel)
    assert h200.outside(kernel) is None
    assert not other.corrected(kernel)
    assert other.price(kernel) == physics.price(kernel)
    for field, value in OTHER_BOARDS[name].items():
        if abs(value / getattr(part, field) - 1) > 0.12:
            assert f"(measured: {shown(field, getattr(part, field))})" in other.outside(kernel)
            assert shown(field, value) in other.outside(kernel)
    assert other.outside(kernel).startswith("another board, ")


def test_a_tenth_more_or_less_is_the_same_board_as_sensitivities_need(tmp_path):
    part, _ = corrected(tmp_path, [(64, 4096, 8192, 0.1)])
    kernel = Linear(FcRole.QKV, 64, 4096, 8192)
    for factor, same in ((0.92, True), (1.09, True), (0.9, False), (1.11, False)):
        changed = part.model_copy(update={"peak_flop_per_s": factor * part.peak_flop_per_s})
        assert Pool("gpu", changed, 1).corrected(kernel) is same


def test_every_kernel_of_a_board_that_was_not_measured_is_outside_the_fits():
    """Figures of libraries are shares of the peaks: they price another board, and no measurement says how well."""
    kernels = [
        Linear(FcRole.QKV, 64, 4096, 8192),
        Attention(4, 4, 4000, 1000, 4000, n_heads=32, n_kv_heads=8, head_dim=128),
        KvAppend(1 << 20),
        Elementwise(KernelClass.NORMALISATION, 1 << 20, 1 << 20, 1 << 20),
    ]
    for name in ("a100", "h100", "h200"):
        measured, faster = (load_part(name, sets).part for sets in ([], ["memory_bandwidth_bytes_per_s=9e12"]))
        for kernel in kernels:
            assert Pool("gpu", measured, 1).outside(kernel) is None
            assert "another board, memory bandwidth 9 TB/s" in Pool("gpu", faster, 1).outside(kernel)
            assert Pool("gpu", faster, 1).price(kernel).time_s <= Pool("gpu", measured, 1).price(kernel).time_s * 1.1


def test_a_roofline_that_was_fitted_to_nothing_has_no_fit_to_be_outside_of():
    pool = Pool("gpu", load_part("a100_hbm3").part, 1)
    assert pool.outside(Linear(FcRole.QKV, 64, 4096, 8192)) is None
    assert "another board" in pool.outside(KvAppend(1 << 20))


def test_shipped_corrections_were_measured_on_the_boards_that_have_them():
    for name in ("h100", "h200"):
        part = load_part(name).part
        assert part.other_board() is None
        measured = part.linear.used.correction.board
        assert dict(measured) == {field: getattr(part, field) for field in type(measured).model_fields}
