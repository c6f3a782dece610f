"""Errors by class: each kernel is counted once, by its own part inside the fit and by others outside."""

import numpy as np
import pandas as pd
import pytest

from papisim.calibration.gpu.tables import Measured
from papisim.config.system import load_part
from papisim.pricing.table import linear_times_of
from papisim.uncertainty.evidence import ANY, INSIDE, OTHER_BOARD, OUT_OF_RANGE
from papisim.validation.evidence import judge, measured_rows


@pytest.fixture(scope="module")
def parts():
    return {name: load_part(name).part for name in ("a100", "h100")}


@pytest.fixture(scope="module")
def judged(parts):
    """Products of which the A100's library is right, those of k = 4,096 aside, which take a tenth longer; two are beyond its range."""
    library = parts["a100"].linear.libraries["cublas_vllm"]
    sizes = [(m, k, n) for m in (1, 16, 512, 4096) for k in (2048, 4096) for n in (2048,)]
    rows = pd.DataFrame(sizes, columns=["m", "k", "n"])
    times = linear_times_of(parts["a100"], library, rows) * np.where(rows.k == 4096, 1.1, 1.0)
    table = Measured("linear", "a100", "vllm_default", "folder/made.csv", rows.assign(time_s=times))
    return list(judge(parts, [table]))


def test_errors_are_of_the_class_that_a_kernel_belongs_to(parts, judged):
    own = [each for each in judged if each.of.where != OTHER_BOARD]
    assert {each.of.part for each in own} == {parts["a100"].description}
    assert sum(len(each.rows) for each in own) == 8
    counts = {(each.of.where, each.of.regime): len(each.rows) for each in own}
    assert counts == {(INSIDE, "memory"): 4, (INSIDE, "compute"): 2, (OUT_OF_RANGE, "compute"): 2}
    for each in own:
        assert sorted(set(np.exp(each.group_log_errors).round(9))) == [1.0, 1.1]


def test_another_part_prices_the_same_products_outside_its_fit(parts, judged):
    others = [each for each in judged if each.of.where == OTHER_BOARD]
    assert {each.of.part for each in others} == {parts["h100"].description}
    assert any(abs(each.log_errors).max() > 0.05 for each in others)
    rows = [row for row in measured_rows(judged) if row.where == OTHER_BOARD]
    assert {row.part for row in rows} == {ANY}
    assert all(row.tables == ["folder/made.csv"] for row in rows)
