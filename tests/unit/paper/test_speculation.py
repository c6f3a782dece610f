"""What the systems' modules compute, where the answer is known in closed form."""

import pytest

from papisim.paper.speculation import del_layers, gammatune, sssd, synergy
from papisim.paper.speculation.figure import figure, findings
from papisim.paper.speculation.play import mean_drafted, mean_emitted, play
from papisim.paper.study import load_studies
from papisim.paper.verdict import Verdict
from papisim.policies.speculation.base import Draft, Round


def geometric(alpha: float) -> str:
    return f"acceptance={{kind: geometric, alpha: {alpha}}}"


def test_a_fixed_chain_emits_what_leviathan_says():
    rounds = play("off", "geometric", [geometric(0.8), "speculation={kind: fixed, tlp: 4}"], requests=40, rounds=200)
    assert len(rounds) == 40 * 200
    assert mean_drafted(rounds) == 3
    assert mean_emitted(rounds) == pytest.approx(1 + 0.8 + 0.8**2 + 0.8**3, rel=0.02)


def test_layers_loaded_and_tokens_per_layer():
    rounds = [Round(0, Draft(6, exit_layer=3), 4), Round(0, Draft(2, exit_layer=3), 2)]
    assert del_layers.loaded(rounds, 32) == 32 + 12
    assert del_layers.tokens_per_layer(rounds, 32) == pytest.approx(4 / 44)


def test_cost_per_token_and_distance():
    short, long = [Round(0, Draft(1), 1)], [Round(0, Draft(4), 2)]
    assert gammatune.cost_per_token(short, 4) == pytest.approx(5 / 2)
    assert gammatune.cost_per_token(long, 4) == pytest.approx(8 / 3)
    assert gammatune.distance(long, {1: short}, 4) == pytest.approx((8 / 3) / (5 / 2) - 1)


def test_sssd_table_is_exact():
    row = next(row for row in sssd.reproduce(load_studies("speculation")["sssd"]) if "cells" in row.reason)
    assert row.simulated == 1
    assert row.verdict is Verdict.IN_RANGE


def test_synergy_length_falls_where_fc_stays_in_one_place():
    rows = synergy.reproduce(load_studies("speculation")["synergy"])
    (trend,) = [row for row in rows if row.claim.startswith("best length")]
    assert trend.verdict is Verdict.DIRECTION_HOLDS
    assert trend.relative_error is None


def test_figure_rows_are_complete_and_sane():
    points = figure(["papi"], [1, 64], ["off", "fixed_best", "co_scheduled"])
    assert [(p["batch"], p["policy"]) for p in points] == [
        (batch, policy) for batch in (1, 64) for policy in ("off", "fixed_best", "co_scheduled")
    ]
    by = {(p["batch"], p["policy"]): p for p in points}
    assert by[1, "off"]["emitted"] == by[64, "off"]["emitted"] == 1
    assert all(p["emitted"] <= p["drafted"] + 1 for p in points)
    assert by[1, "off"]["fc_pim_ratio"] == 1, "one row is below every threshold"
    assert by[64, "off"]["fc_pim_ratio"] == 0
    assert by[1, "fixed_best"]["tokens_per_s"] > by[1, "off"]["tokens_per_s"]
    assert by[64, "off"]["tokens_per_s"] > by[1, "off"]["tokens_per_s"]
    line, caveat = findings(points)
    assert "chains" in caveat
    assert line.startswith("papi: co-scheduling ")
    assert "batch 1 (" in line
    assert "batch 64 (" in line
