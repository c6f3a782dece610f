"""A verdict follows from the claim and the simulated value alone."""

import math

import numpy as np
import pytest

from papisim.paper.claims import Claim, Published, Setup, Study, Verdict, judge, numbers, order_holds, score
from papisim.paper.figure import load_paper


def claim(claimed: float | str, **fields: object) -> Claim:
    return Claim(what="x", claimed=claimed, reliability="code", source="here", **fields)


@pytest.mark.parametrize(
    ("simulated", "verdict"),
    [
        (2.0, Verdict.IN_RANGE),
        (2.19, Verdict.IN_RANGE),
        (2.21, Verdict.DIRECTION_HOLDS),
        (1.01, Verdict.DIRECTION_HOLDS),
        (1.0, Verdict.OFF),
        (0.9, Verdict.OFF),
        (None, Verdict.NOT_TESTABLE),
    ],
)
def test_a_speed_up_of_two(simulated: float | None, verdict: Verdict):
    assert judge(claim(2.0, tolerance_ratio=0.1, neutral=1), simulated)[1] is verdict


def test_a_figure_without_direction_is_in_range_or_off():
    assert judge(claim(4.0), 4.3) == (pytest.approx(0.075), Verdict.IN_RANGE)
    assert judge(claim(4.0), 5.0) == (0.25, Verdict.OFF)


def test_a_value_that_an_experiment_was_fitted_to_is_no_test():
    assert judge(claim(4.0, fitted=True), 4.3)[1] is Verdict.FITTED
    assert judge(claim(4.0, fitted=True), 5.0)[1] is Verdict.OFF


def test_a_value_is_off_without_its_published_cause():
    figure = study(a=claim(2.0, neutral=1))
    assert figure.row("a", 2.0, "since").verdict is Verdict.IN_RANGE
    row = figure.row("a", 2.0, "since", cause_holds=False)
    assert (row.verdict, row.reason) == (Verdict.OFF, "for another reason than the published one: since")


def test_a_trend_has_no_error():
    assert judge(claim("falls"), 0.5) == (None, Verdict.DIRECTION_HOLDS)
    assert judge(claim("falls"), 1.0) == (None, Verdict.OFF)
    assert judge(claim("rises"), 1.1) == (None, Verdict.DIRECTION_HOLDS)
    assert judge(claim("rises"), 1.001) == (None, Verdict.OFF), "no change to speak of"


@pytest.mark.parametrize(("side", "value", "verdict"), [
    ("above", 2.01, Verdict.DIRECTION_HOLDS), ("above", 2.0, Verdict.OFF),
    ("below", 1.99, Verdict.DIRECTION_HOLDS), ("below", 2.0, Verdict.OFF), ("below", 2.01, Verdict.OFF),
])  # fmt: skip
def test_a_side_is_that_of_the_neutral_value(side, value, verdict):
    assert judge(claim(side, neutral=2), value) == (None, verdict)


def test_a_claim_on_a_side_needs_the_value_it_is_a_side_of():
    with pytest.raises(ValueError, match="without 'neutral'"):
        claim("above")


def test_a_claim_of_zero_has_no_relative_error():
    assert judge(claim(0.0), 0.1) == (None, Verdict.OFF)


def test_orders_hold_for_each_interpretation():
    values = np.array([0.5, 1.0, 1.5, np.nan])
    assert order_holds(claim("above", neutral=1), values).tolist() == [False, False, True, False]
    assert order_holds(claim("below", neutral=1), values).tolist() == [True, False, False, False]
    assert order_holds(claim(1.0, tolerance_ratio=0.5), values).tolist() == [True, True, True, False]


def test_a_score_is_the_mean_of_the_logarithms():
    """Twice too large and twice too small are equally far, and do not cancel."""
    published = {("fig", "a"): 1.0, ("fig", "b"): 4.0}
    assert score(published, {("fig", "a"): 2.0, ("fig", "b"): 2.0}) == pytest.approx(math.log(2))
    assert score(published, published) == 0
    several = score(published, {("fig", "a"): np.array([1.0, math.e]), ("fig", "b"): 4.0})
    assert several == pytest.approx([0, 0.5])


def study(name: str = "fig", *, scored: bool = True, **claims: Claim) -> Study:
    return Study(name, Published(claims=claims, scored=scored))


def test_a_score_counts_stated_numbers_of_scored_figures():
    stated = Claim(what="x", claimed=2, reliability="text", source="here")
    read_off = Claim(what="y", claimed=3, reliability="figure", source="here")
    side = Claim(what="z", claimed="above", neutral=1, reliability="text", source="here")
    studies = {
        "fig": study("fig", a=stated, b=read_off, c=side),
        "other": study("other", scored=False, a=stated),
    }
    assert numbers(studies) == {("fig", "a"): 2}
    assert numbers(studies, read_off=True) == {("fig", "a"): 2, ("fig", "b"): 3}


def test_numbers_read_off_figures_of_the_paper_count_only_where_asked():
    studies = load_paper("papi").studies
    stated, every = numbers(studies), numbers(studies, read_off=True)
    assert ("fig8", "speed_pim") in stated
    assert ("fig8", "peak_pim") in every.keys() - stated.keys()
    assert not any(figure in ("fig2", "fig4", "fig6", "eq4") for figure, _ in every)


def test_a_row_has_the_claim_and_its_verdict():
    row = study(a=claim("above", neutral=1)).row("a", 1.5, "since")
    assert (row.system, row.claim, row.claimed, row.simulated) == ("fig", "x", "above 1", 1.5)
    assert (row.relative_error, row.verdict, row.reason) == (None, Verdict.DIRECTION_HOLDS, "since")
    assert (row.reliability, row.source) == ("code", "here")


def test_a_setup_is_a_run_of_equal_requests():
    setup = Setup(hw="papi", trace="llama7b", kv_tokens=300, output_tokens=70, overrides=("a=1",), assumed="x")
    options = setup.options(4, speculation="dsde", overrides=("b=2",))
    assert (options.hw, options.trace, options.batch, options.requests) == ("papi", "llama7b", 4, 4)
    assert options.set == ("a=1", "workload.lengths={kind: fixed, input_tokens: 300, output_tokens: 70}", "b=2")
    assert (options.speculation, options.draft, options.acceptance) == ("dsde", "free", "always")
    assert setup.options(1, 4, draft="early_exit").requests == 4
    assert setup.options(1, 4, draft="early_exit").draft == "early_exit"
