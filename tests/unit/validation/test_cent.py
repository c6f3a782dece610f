"""CENT's released results, and a few of them without the tables."""

import pytest

from papisim.errors import InputError
from papisim.validation.cent import (
    BLOCK_LIMIT,
    BLOCK_MEAN_LIMIT,
    TOKEN_LIMIT,
    compared,
    load_runs,
    read_results,
    summary,
)


def _meets(errors):
    for row in errors:
        assert abs(row.block) <= BLOCK_LIMIT, row
        assert abs(row.token) <= TOKEN_LIMIT, row
        assert abs(row.energy) <= TOKEN_LIMIT, row
    assert summary(errors)[0].mean_abs_error <= BLOCK_MEAN_LIMIT


def test_a_few_released_results_are_met_without_the_tables():
    errors = compared(load_runs().rows)
    assert len(errors) == 5
    _meets(errors)
    assert all(abs(row.embedding) < 2e-4 for row in errors), "GEMVs are exact to the cycle"


@pytest.mark.shared_data
def test_some_released_results_of_every_machine_are_met(data):
    _meets(compared(list(read_results(data("golden")))[::12]))


@pytest.mark.slow
@pytest.mark.shared_data
def test_every_released_result_is_met(data):
    errors = compared(read_results(data("golden")))
    assert len(errors) >= 294
    _meets(errors)


def test_a_row_of_another_model_is_refused():
    row = load_runs().rows[0].model_copy(update={"model": "Llama2-8B"})
    with pytest.raises(InputError, match="Llama2-70B"):
        compared([row])


def test_a_table_without_a_column_is_refused(tmp_path):
    (tmp_path / "cent_aim.csv").write_text("model,kv_tokens\nLlama2-7B,128\n", encoding="utf-8")
    with pytest.raises(InputError, match="no column"):
        list(read_results(tmp_path))
