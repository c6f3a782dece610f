"""Values of the systems' modules, where the answer is known in closed form."""

import pytest

from papisim.paper.claims import Verdict
from papisim.paper.figure import load_paper
from papisim.paper.reproduce import reproduce
from papisim.paper.runner import Lab
from papisim.paper.speculation import batch_by_policy, del_layers, gammatune
from papisim.paper.speculation.play import mean_drafted, mean_emitted, play
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


SPECULATION = load_paper("speculation")


def rows_of(name: str):
    (each,) = reproduce(Lab(SPECULATION.choices, processes=1), SPECULATION.only([name]), {})
    return dict(zip(SPECULATION.studies[name].published.claims, each.rows, strict=True))


def test_sssd_table_is_exact():
    row = rows_of("sssd")["table"]
    assert row.simulated == 1
    assert row.verdict is Verdict.IN_RANGE
    assert row.reason == "all 45 cells, knees 64 to 192"


def test_synergy_length_falls_where_fc_stays_in_one_place():
    rows = rows_of("synergy")
    assert rows["length_falls"].verdict is Verdict.DIRECTION_HOLDS
    assert rows["length_falls"].relative_error is None
    assert rows["traffic"].verdict is Verdict.NOT_TESTABLE
    assert rows["traffic"].reason


def test_figure_rows_are_complete_and_sane():
    study, policies = SPECULATION.studies["batch_by_policy"], ["off", "fixed_best", "co_scheduled"]
    points = [batch_by_policy.rate(study, "papi", batch, policy) for batch in (1, 64) for policy in policies]
    by = {(p["batch"], p["policy"]): p for p in points}
    assert by[1, "off"]["emitted"] == by[64, "off"]["emitted"] == 1
    assert all(p["emitted"] <= p["drafted"] + 1 for p in points)
    assert by[1, "off"]["fc_pim_ratio"] == 1, "one row is below every threshold"
    assert by[64, "off"]["fc_pim_ratio"] == 0
    assert by[1, "fixed_best"]["tokens_per_s"] > by[1, "off"]["tokens_per_s"]
    assert by[64, "off"]["tokens_per_s"] > by[1, "off"]["tokens_per_s"]
    line, caveat = batch_by_policy.compared(study, points)
    assert "chains" in caveat
    assert line.startswith("papi: co-scheduling ")
    assert "batch 1 (" in line
    assert "batch 64 (" in line
