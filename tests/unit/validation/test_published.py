"""The published figures are read with their types, and do not contradict each other."""

import pytest

from papisim.config.base import parse
from papisim.config.system import load_part
from papisim.config.yaml import parse_yaml
from papisim.errors import InputError
from papisim.validation.published import ColumnGap, load_published

FIGURES = load_published()


def test_the_share_of_dram_falls_as_columns_are_reused():
    shares = FIGURES.figure_7.dram_share_ratio
    assert all(type(reuse) is int for reuse in shares)
    assert [shares[reuse] for reuse in sorted(shares)] == sorted(shares.values(), reverse=True)


def test_no_device_is_over_and_within_its_budget_at_the_same_reuse():
    over, within = FIGURES.figure_7c.over_budget, FIGURES.figure_7c.within_budget
    assert over.keys() & within.keys()
    for device in over.keys() & within.keys():
        assert max(over[device]) < min(within[device])  # more reuse takes less power


def test_the_gpu_wins_at_more_rows_than_stacks_do():
    figure = FIGURES.figure_4
    assert max(batch * tlp for batch, tlp in figure.pim_wins_rows) < min(b * t for b, t in figure.gpu_wins_rows)


def test_every_device_is_shipped():
    figure = FIGURES.figure_4
    for name in (figure.gpu, *figure.pims, FIGURES.equation_4.device, *FIGURES.figure_7c.over_budget):
        assert load_part(name).part.description


def test_a_field_that_is_missing_or_unknown_is_an_error_with_its_place():
    with pytest.raises(InputError, match="'cycles' is missing"):
        parse(ColumnGap, parse_yaml("device: attacc\nsource: a paper\n", "figures.yaml"))
    with pytest.raises(InputError, match=r"figures\.yaml:3.*unknown field"):
        parse(ColumnGap, parse_yaml("device: attacc\ncycles: 6\ncycle: 6\nsource: a paper\n", "figures.yaml"))
