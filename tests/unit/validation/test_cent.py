"""CENT's released results, and a few of them without the tables."""

import pytest

from papisim.errors import InputError
from papisim.validation.cent import (
    BLOCK_LIMIT,
    BLOCK_MEAN_LIMIT,
    TOKEN_LIMIT,
    Errors,
    compared,
    load_runs,
    meets_limits,
    read_results,
    summary,
)


def _meets(errors):
    assert [row for row in errors if abs(row.block) > BLOCK_LIMIT] == []
    assert [row for row in summary(errors) if not meets_limits(row)] == []


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


def test_limits_hold_for_each_row_and_for_the_mean_of_blocks():
    within = Errors("one", BLOCK_MEAN_LIMIT, 0.0, TOKEN_LIMIT, -TOKEN_LIMIT)
    assert all(map(meets_limits, summary([within])))
    beyond = within._replace(block=-2 * BLOCK_MEAN_LIMIT, token=1.1 * TOKEN_LIMIT)
    assert [meets_limits(row) for row in summary([beyond])] == [False, False, True]
    assert summary([]) == []


def test_a_row_of_another_model_is_refused():
    row = load_runs().rows[0].model_copy(update={"model": "Llama2-8B"})
    with pytest.raises(InputError, match="Llama2-70B"):
        compared([row])


def test_a_table_without_a_column_is_refused(tmp_path):
    (tmp_path / "cent_aim.csv").write_text("model,kv_tokens\nLlama2-7B,128\n", encoding="utf-8")
    with pytest.raises(InputError, match="no column"):
        list(read_results(tmp_path))
