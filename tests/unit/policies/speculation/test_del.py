from dataclasses import replace

import numpy as np
import pytest

from papisim.errors import InputError
from papisim.policies.speculation.acceptance_estimate import expected_emitted
from papisim.policies.speculation.base import Draft, Round
from papisim.policies.speculation.layer_agreement import tokens_per_layer


def tpl(alpha, layer, length, n_layers):
    worth = tokens_per_layer(np.array([alpha]), np.array([float(length)]), np.array([float(layer)]), n_layers)
    return float(worth[0, 0])


def observed(columns, accepted, length, *, exit_layer=1, confidence=0.5):
    """Return a round of a model of four layers; ``columns`` says for layers 1 to 3 which positions they got right."""
    return Round(
        0,
        Draft(length, exit_layer=exit_layer),
        accepted,
        layer_matches=tuple(tuple(bool(x) for x in layer) for layer in columns),
        layer_confidence=tuple((confidence,) * len(layer) for layer in columns),
    )


@pytest.mark.parametrize(
    ("n_layers", "layer", "published", "emitted", "alpha"),
    [
        (32, 3, 0.084, 4.20, 0.823), (32, 3, 0.087, 4.35, 0.835), (32, 3, 0.089, 4.45, 0.844), (32, 3, 0.077, 3.85, 0.790),
        (80, 9, 0.033, 4.42, 0.841), (80, 9, 0.026, 3.48, 0.752), (80, 9, 0.028, 3.75, 0.781),
    ],
)  # fmt: skip
def test_published_tokens_per_layer_are_the_emitted_tokens_of_their_acceptance(
    *, n_layers, layer, published, emitted, alpha
):
    """LayerSkip with six drafts on Llama-3-8B and Llama-2-70B (poster)."""
    assert published * (6 * layer + n_layers) == pytest.approx(emitted, abs=0.01)
    assert expected_emitted(alpha, 6) == pytest.approx(emitted, abs=0.01)
    assert tpl(alpha, layer, 6, n_layers) == pytest.approx(published, abs=1e-4)


@pytest.mark.parametrize(
    ("n_layers", "published", "speedup", "efficiency"),
    [(32, 0.084, 2.17, (0.80, 0.82)), (32, 0.109, 2.81, (0.80, 0.82)), (80, 0.038, 2.84, (0.92, 0.97))],
)
def test_ideal_speedup_is_tokens_per_layer_times_layers(n_layers, published, speedup, efficiency):
    low, high = efficiency
    assert low < speedup / (published * n_layers) < high
    assert tpl(0.5, 3, 0, n_layers) * n_layers == 1, "without drafts there is none"


def test_the_first_round_drafts_one_token_with_the_first_layer(policy, view):
    assert policy("del_e").plan(view(0, n_layers=32)) == [Draft(1, exit_layer=1)]
    assert policy("del").plan(view(0, n_layers=32)) == [Draft(1, exit_layer=1)]
    assert policy("del", min_exit_layer=4).plan(view(0, n_layers=32)) == [Draft(1, exit_layer=4)]


def test_del_e_drafts_the_brute_force_optimum(policy, view):
    subject, columns = policy("del_e"), [(1, 1, 0, 0), (1, 1, 1, 0), (1, 1, 1, 1)]
    subject.observe([observed(columns, accepted=3, length=3)])
    rates = [sum(layer) / 4 for layer in columns]
    best = max(
        ((layer, length) for layer in (1, 2, 3) for length in range(1, 18)),
        key=lambda choice: tpl(rates[choice[0] - 1], *choice, 4),
    )
    assert subject.plan(view(0, n_layers=4)) == [Draft(best[1], exit_layer=best[0])]


def test_del_takes_the_layer_of_the_optimum_and_allows_eighteen_drafts(policy, view):
    subject = policy("del")
    subject.observe([observed([(0, 0, 0), (1, 1, 1), (1, 1, 1)], accepted=2, length=2)])
    assert subject.plan(view(0, n_layers=4)) == [Draft(18, exit_layer=2)]


@pytest.mark.parametrize(("counted", "rates"), [(0, [0.0, 1.0, 1.0]), (1, [0.5, 1.0, 1.0]), (2, [2 / 3, 2 / 3, 1.0])])
def test_the_last_positions_of_the_prompt_are_counted_with_the_first_round(policy, counted, rates):
    subject = policy("del", prompt_positions=counted)
    seen = observed([(1, 1, 0, 1), (0, 1, 1, 0), (1, 1, 1, 0)], accepted=0, length=1, exit_layer=2)
    subject.observe([replace(seen, prompt=2)])
    assert subject.state(0).match_rates() == pytest.approx(rates)


def test_positions_after_the_first_rejection_are_not_counted(policy):
    subject = policy("del")
    subject.observe([observed([(1, 0, 1, 1), (1, 0, 0, 0), (0, 1, 1, 1)], accepted=1, length=3)])
    assert subject.state(0).match_rates() == pytest.approx([0.5, 0.5, 0.5])


def test_the_past_decays_by_rounds(policy):
    subject = policy("del")
    subject.observe([observed([(1,), (1,), (0,)], accepted=0, length=1)])
    subject.observe([observed([(0,), (1,), (1,)], accepted=0, length=1)])
    assert subject.state(0).match_rates() == pytest.approx([0.95 / 1.95, 1, 1 / 1.95])


def test_del_stops_below_the_middle_of_its_layers_confidence_when_right_and_when_wrong(policy, view, confident):
    subject = policy("del")
    subject.observe([observed([(1, 1), (1, 1), (0, 1)], accepted=1, length=1, confidence=0.9)])
    drafts = [Draft(3, exit_layer=1)]
    assert subject.state(0).stop_below(1) == subject.state(0).stop_below(4) == 0
    assert subject.cut([0], drafts, [confident(0.1, 0.1, 0.1)]) == [3], "no miss has been seen, so nothing stops"
    subject.observe([observed([(0,), (0,), (0,)], accepted=0, length=1, confidence=0.3)])
    assert subject.state(0).stop_below(1) == pytest.approx((0.9 + 0.3) / 2)
    assert subject.cut([0], drafts, [confident(0.61, 0.59, 0.9)]) == [2]
    assert subject.cut([0], drafts, [confident(0.61, 0.61, 0.61)]) == [3]
    assert policy("del_e").cut([0], drafts, [confident(0.0, 0.0, 0.0)]) == [3], "DEL-E has no dynamic stop"


def test_del_gamma_keeps_its_layer(policy, view):
    subject = policy("del", min_exit_layer=3, max_exit_layer=3)
    assert subject.plan(view(0, n_layers=4)) == [Draft(1, exit_layer=3)]
    subject.observe([observed([(1, 1), (1, 1), (0, 0)], accepted=1, length=1, exit_layer=3)])
    assert subject.plan(view(0, n_layers=4)) == [Draft(18, exit_layer=3)]


def test_only_allowed_layers_are_considered_each_with_its_own_match_rate(policy, view):
    columns = [(1, 1, 1, 1), (0, 0, 0, 0), (1, 1, 1, 1)]
    for first, last, chosen in ((1, 3, 1), (2, 3, 3), (2, 2, 2), (1, 2, 1)):
        subject = policy("del", min_exit_layer=first, max_exit_layer=last)
        subject.observe([observed(columns, accepted=3, length=3)])
        assert subject.plan(view(0, n_layers=4))[0].exit_layer == chosen


def test_the_end_of_the_prompt_seeds_the_first_plan(policy, view):
    subject = policy("del_e")
    prompt = [(1,) * 32, (1,) * 32, (1,) * 32]
    subject.observe([observed(prompt, accepted=32, length=32)])
    assert subject.plan(view(0, n_layers=4)) == [Draft(17, exit_layer=1)]


def test_the_last_layer_is_no_candidate_and_the_model_may_be_told_by_its_rounds(policy, view):
    subject = policy("del_e")
    subject.observe([observed([(0, 0), (0, 0), (1, 1)], accepted=1, length=1)])
    assert subject.plan(view(0, n_layers=0)) == subject.plan(view(0, n_layers=4))
    assert subject.plan(view(0, n_layers=3))[0].exit_layer < 3


@pytest.mark.parametrize(
    "fields", [{"min_length": 18}, {"min_length": -1}, {"max_exit_layer": 1, "min_exit_layer": 2}]
)
def test_limits_out_of_order_are_refused(preset, fields):
    with pytest.raises(InputError, match="expected"):
        preset("del", **fields)


def test_layerskip_never_changes(policy, view, seen):
    subject = policy("layerskip")
    subject.observe([seen(0, 6)])
    assert subject.plan(view(0, 1)) == [Draft(6, exit_layer=3)] * 2
