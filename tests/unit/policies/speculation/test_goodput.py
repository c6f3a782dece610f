"""Policies that ask the cost model: SmartSpec and co-scheduling."""

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from papisim.policies.speculation.acceptance_estimate import AcceptanceEstimate, drafts_decided, expected_emitted
from papisim.policies.speculation.base import Draft


def staircase(row_s=0.05, step_s=0.1, knee=6):
    """Return a price: flat up to a knee of rows, then rising in steps of two; draft steps are serial."""

    def price_s(drafts):
        rows = sum(draft.rows for draft in drafts)
        return 1.0 + row_s * (max(0, rows - knee) // 2) + step_s * max(draft.length for draft in drafts)

    return price_s


def rate(acceptance, lengths, price_s):
    emitted = sum(expected_emitted(alpha, length) for alpha, length in zip(acceptance, lengths, strict=True))
    return emitted / price_s([Draft(length) for length in lengths])


@pytest.mark.parametrize(("alpha", "length", "emitted"), [(0.5, 0, 1), (0.5, 2, 1.75), (1, 4, 5), (0, 9, 1)])
def test_expected_tokens_of_a_chain(alpha, length, emitted):
    assert expected_emitted(alpha, length) == emitted


@pytest.mark.parametrize(("accepted", "length", "decided"), [(0, 0, 0), (0, 5, 1), (3, 5, 4), (5, 5, 5)])
def test_verification_decides_up_to_the_first_rejection(seen, accepted, length, decided):
    assert drafts_decided(seen(accepted, length)) == decided


def test_the_estimate_finds_a_geometric_acceptance_where_accepted_over_drafted_would_not(seen):
    """Exact expectation of one round of eight drafts at α = 0.7."""
    alpha, length = 0.7, 8
    chances = [alpha**a * (1 - alpha) for a in range(length)] + [alpha**length]
    estimate = AcceptanceEstimate(decay=1.0)
    for accepted, chance in enumerate(chances):
        estimate.observe(accepted * chance, drafts_decided(seen(accepted, length)) * chance)
    assert estimate.acceptance(prior=0.1, prior_tokens=1e-12) == pytest.approx(alpha)
    assert estimate.accepted / length < 0.3


def test_the_estimate_starts_at_its_prior_and_returns_to_it():
    estimate = AcceptanceEstimate(decay=0.5)
    assert estimate.acceptance(0.7, 4) == 0.7
    estimate.observe(0, 4)
    assert estimate.acceptance(0.7, 4) == pytest.approx(0.35)
    for _ in range(40):
        estimate.observe(0, 0)
    assert estimate.acceptance(0.7, 4) == pytest.approx(0.7)


@settings(max_examples=60, deadline=None)
@given(
    alpha=st.floats(0.01, 1),
    batch=st.integers(1, 5),
    row_s=st.floats(0, 0.5),
    step_s=st.floats(0, 0.5),
    knee=st.integers(0, 20),
)
def test_smartspec_has_the_brute_force_goodput(*, policy, view, alpha, batch, row_s, step_s, knee):
    price_s = staircase(row_s, step_s, knee)
    drafts = policy("smartspec", initial_acceptance=alpha).plan(view(*range(batch), price_s=price_s))
    assert len({draft.length for draft in drafts}) == 1
    best = max(rate([alpha] * batch, [length] * batch, price_s) for length in range(9))
    assert rate([alpha] * batch, [draft.length for draft in drafts], price_s) == pytest.approx(best)


def test_smartspec_moves_its_acceptance_with_the_batchs(policy, seen):
    subject = policy("smartspec", smoothing=0.5, initial_acceptance=0.8)
    subject.observe([seen(3, 3, request_id=0), seen(0, 3, request_id=1)])
    assert subject.acceptance == pytest.approx((0.8 + 3 / 4) / 2)
    subject.observe([seen(0, 0)])
    assert subject.acceptance == pytest.approx((0.8 + 3 / 4) / 2)


def test_smartspec_may_have_a_linear_model_of_its_own(policy, view):
    dear = {"fixed_s": 0.0, "verified_row_s": 1.0, "draft_step_s": 0.0}
    cheap = {"fixed_s": 1.0, "verified_row_s": 0.0, "draft_step_s": 0.001}
    assert policy("smartspec", time=dear).plan(view(0)) == [Draft(0)]
    assert policy("smartspec", time=cheap).plan(view(0)) == [Draft(8)]
    assert policy("smartspec", time=dear | {"draft_step_s": 2.0})._options.time.price_s([Draft(2), Draft(1)]) == 9


def known(policy, *acceptance, **fields):
    """Return a co-scheduling policy that is practically sure of each request's acceptance."""
    subject = policy("co_scheduled", **({"sums_tried": 1000, "max_length": 3, "decay": 1.0} | fields))
    for request_id, alpha in enumerate(acceptance):
        subject.state(request_id).observe(alpha * 1e12, 1e12)
    return subject


@settings(max_examples=80, deadline=None)
@given(
    acceptance=st.lists(st.floats(0.01, 1), min_size=1, max_size=4),
    row_s=st.floats(0, 1), step_s=st.floats(0, 0.5), knee=st.integers(0, 16),
)  # fmt: skip
def test_co_scheduling_has_the_brute_force_rate_of_all_tuples_of_lengths(
    *, policy, view, acceptance, row_s, step_s, knee
):
    price_s = staircase(row_s, step_s, knee)
    drafts = known(policy, *acceptance).plan(view(*range(len(acceptance)), price_s=price_s))
    best = max(rate(acceptance, lengths, price_s) for lengths in product(range(4), repeat=len(acceptance)))
    assert rate(acceptance, [draft.length for draft in drafts], price_s) == pytest.approx(best, rel=1e-6)


@settings(max_examples=40, deadline=None)
@given(
    acceptance=st.lists(st.floats(0.01, 1), min_size=1, max_size=5), row_s=st.floats(0, 1), knee=st.integers(0, 16)
)
def test_co_scheduling_without_lengths_per_request_is_the_best_uniform_length(policy, view, acceptance, row_s, knee):
    price_s, batch = staircase(row_s, knee=knee), len(acceptance)
    drafts = known(policy, *acceptance, per_request=False).plan(view(*range(batch), price_s=price_s))
    assert len({draft.length for draft in drafts}) == 1
    best = max(rate(acceptance, [length] * batch, price_s) for length in range(4))
    assert rate(acceptance, [draft.length for draft in drafts], price_s) == pytest.approx(best, rel=1e-6)


@settings(max_examples=40, deadline=None)
@given(acceptance=st.lists(st.floats(0.01, 1), min_size=1, max_size=5), sums_tried=st.integers(1, 9))
def test_coarser_searches_are_no_better_and_still_have_every_uniform_length(policy, view, acceptance, sums_tried):
    price_s, batch = staircase(), len(acceptance)
    requests = view(*range(batch), price_s=price_s)
    fine = [draft.length for draft in known(policy, *acceptance).plan(requests)]
    coarse = [draft.length for draft in known(policy, *acceptance, sums_tried=sums_tried).plan(requests)]
    uniform = [draft.length for draft in known(policy, *acceptance, per_request=False).plan(requests)]
    rates = [rate(acceptance, lengths, price_s) for lengths in (fine, coarse, uniform)]
    assert rates == pytest.approx(sorted(rates, reverse=True), rel=1e-6)


def test_co_scheduling_drafts_nothing_where_rows_cost_what_they_bring_and_all_it_may_where_they_are_free(
    policy, view
):
    sure = known(policy, 1.0, 1.0)
    assert sure.plan(view(0, 1, price_s=lambda drafts: float(sum(d.rows for d in drafts)))) == [Draft(0)] * 2
    assert sure.plan(view(0, 1, price_s=lambda drafts: 1.0)) == [Draft(3)] * 2


def test_co_scheduling_drafts_least_of_what_is_equally_fast(policy, view):
    subject = policy("co_scheduled", prior_acceptance=1.0)
    assert subject.plan(view(0, 1, price_s=lambda drafts: float(sum(d.rows for d in drafts)))) == [Draft(0)] * 2
    assert subject.plan(view(0, price_s=lambda drafts: max(3.0, drafts[0].rows))) == [Draft(2)]


def test_co_scheduling_gives_rows_to_whom_they_bring_most(policy, view):
    def four_rows_free(drafts):
        return 1.0 if sum(draft.nodes for draft in drafts) <= 4 else 10.0

    assert known(policy, 0.9, 0.3).plan(view(0, 1, price_s=four_rows_free)) == [Draft(3), Draft(1)]
    assert known(policy, 0.3, 0.9).plan(view(0, 1, price_s=four_rows_free)) == [Draft(1), Draft(3)]


def test_co_scheduling_drafts_less_where_another_placement_begins(policy, view):
    """Up to 16 rows the FC kernels stay where rows are dear but nothing is read twice; above, a jump and then cheap rows."""

    def two_devices(jump_s):
        def price_s(drafts):
            rows = sum(draft.rows for draft in drafts)
            return min(0.1 * rows, jump_s + 0.001 * rows)

        return price_s

    requests = range(8)
    far = known(policy, *[0.8] * 8).plan(view(*requests, price_s=two_devices(5.0)))
    near = known(policy, *[0.8] * 8).plan(view(*requests, price_s=two_devices(1.0)))
    assert sum(draft.rows for draft in far) == 8, "rows are dear and the other device far: do not draft"
    assert near == [Draft(3)] * 8, "once over the jump, rows are nearly free"


def test_co_scheduling_tells_requests_apart_and_lets_strangers_start_from_what_all_have_done(policy, seen):
    subject = policy("co_scheduled", prior_tokens=4)
    for _ in range(20):
        subject.observe([seen(4, 4, request_id=0), seen(0, 4, request_id=1)])
    assert subject.acceptance(0) > 0.9 > subject.acceptance(2) > 0.5 > subject.acceptance(1)
    for _ in range(20):
        subject.observe([seen(0, 4, request_id=3)])
    assert subject.acceptance(4) < 0.5, "lately nobody's drafts were accepted"
    for _ in range(200):
        subject.observe([seen(0, 0, request_id=1)])
    assert subject.acceptance(1) == pytest.approx(0.7), "what is not drafted for long is forgotten, and tried again"


def test_co_scheduling_asks_for_a_price_once_until_steps_take_another_time(policy, view):
    asked = []

    def machine(step_s):
        def price_s(drafts):
            asked.append(tuple(draft.length for draft in drafts))
            return step_s + 0.05 * sum(draft.rows for draft in drafts)

        return price_s

    subject = policy("co_scheduled")
    subject.plan(view(0, 1, price_s=machine(1.0)))
    first = len(asked)
    assert len({(sum(lengths), max(lengths)) for lengths in asked}) == first > 8
    subject.plan(view(0, 1, price_s=machine(1.001)))
    assert len(asked) == first + 1, "the price without drafts is asked for every time"
    subject.plan(view(0, 1, price_s=machine(2.0)))
    assert len(asked) > first + 8
