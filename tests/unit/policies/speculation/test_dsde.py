import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from papisim.errors import InputError
from papisim.policies.speculation.kld_stability import predicted_length, variance_ratio, weighted_variance

#: the vector's KLDs, newest first
KLDS = [0.05 + 0.01 * (i % 5) for i in range(20)] + [0.10, 0.30, 0.05, 0.20, 0.12, 0.08, 0.25, 0.06, 0.15, 0.10]
KLDS.reverse()


def wvir(klds, decay, short=10):
    return variance_ratio(klds, short, decay, 1e-6, 20)


@pytest.mark.parametrize(
    ("decay", "ratio", "lengths"),
    [(0.85, 1.0764, (7.321, 6.570, 4.824, 2.690, 2.0)), (0.9, 1.1693, (7.262, 6.447, 4.550, 2.232, 2.0))],
)
def test_the_vector(decay, ratio, lengths):
    found = wvir(KLDS, decay)
    assert found == pytest.approx(ratio, abs=5e-5)
    predicted = [predicted_length(mean, found, 2, 8, 2) for mean in (0.05, 0.1, 0.2, 0.3, 0.4)]
    assert predicted == pytest.approx(lengths, abs=5e-4)


def test_an_even_history_reaches_the_shortest_length_at_half_of_ln_two():
    edge = math.log(2) / 2
    assert predicted_length(edge, 1, 2, 8, 2) == pytest.approx(2)
    assert predicted_length(edge - 0.01, 1, 2, 8, 2) > 2
    assert predicted_length(edge + 0.01, 1, 2, 8, 2) == 2
    assert predicted_length(0, 1, 2, 8, 2) == 8


def test_a_history_that_does_not_vary_has_the_flat_ratio():
    assert wvir([0.2] * 30, 0.9) == 20
    assert wvir([0.3, *[0.2] * 29], 0.9) == pytest.approx(1, abs=0.5)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0, 5), min_size=1, max_size=30), st.floats(0.1, 1))
def test_a_weighted_variance_is_none_for_one_value_and_never_negative(values, decay):
    assert weighted_variance(values, decay) >= 0
    assert weighted_variance(values[:1], decay) == 0


def test_an_undecayed_variance_is_the_usual_one():
    assert weighted_variance([1.0, 2.0, 3.0, 4.0], 1.0) == pytest.approx(1.25)


def lengths(subject, view, *requests):
    return [draft.length for draft in subject.plan(view(*requests))]


def test_the_warm_up_doubles_after_full_acceptance_and_never_shrinks(policy, view, seen):
    subject = policy("dsde", long_window=60)
    assert lengths(subject, view, 0) == [5]
    subject.observe([seen(5, 5, kld=(0.1,) * 5)])
    assert lengths(subject, view, 0) == [10]
    subject.observe([seen(3, 10, kld=(0.1,) * 10)])
    assert lengths(subject, view, 0) == [10]
    for _ in range(2):
        subject.observe([seen(20, 20, kld=(0.1,) * 20)])
    assert lengths(subject, view, 0) == [20]


def test_the_warm_up_sets_the_limits_from_its_rounds_alone(policy, seen):
    """Code variant: 6 accepted at most, mean/largest KLD 0.15/0.2, so round(6 (1 + 0.5·0.75)) = 8; 10 % of it is below 6."""
    subject = policy("dsde_code", long_window=14, short_window=4)
    subject.observe([seen(6, 6, kld=(0.1, 0.2, 0.1, 0.2, 0.1, 0.2))])
    assert subject.state(0).limits is None
    subject.observe([seen(9, 9, kld=(0.5,) * 9)])
    assert subject.state(0).limits == (6, 8)


@pytest.mark.parametrize(("name", "longest", "whole"), [("dsde", 7.5, False), ("dsde_code", 8, True)])
def test_the_published_rule_keeps_fractions_that_the_code_rounds(*, policy, seen, name, longest, whole):
    subject = policy(name, long_window=6, min_length=2, min_share=0, headroom=0.5)
    subject.observe([seen(5, 5, kld=(0.2,) * 5)])
    subject.observe([seen(0, 5, kld=(0.1, 0.12, 0.14, 0.16, 0.18))])
    assert subject.state(0).limits == (2, longest)
    assert 2 < subject.state(0).wanted < longest
    assert (subject.state(0).wanted % 1 == 0) is whole


@pytest.mark.parametrize(("share", "shortest"), [(0, 1), (0.1, 2), (0.2, 3), (0.5, 7), (2, 13)])
def test_the_codes_shortest_length_is_a_share_of_its_longest_rounded_up(policy, seen, share, shortest):
    subject = policy("dsde_code", long_window=10, min_length=1, min_share=share, headroom=0.3)
    subject.observe([seen(10, 10, kld=(0.2,) * 9)])
    subject.observe([seen(10, 10, kld=(0.2,) * 10)])
    assert subject.state(0).limits == (shortest, 13)


def test_the_newest_divergence_counts_most(policy, seen):
    subject = policy("dsde", short_window=2, long_window=4)
    subject.observe([seen(0, 2, kld=(0.1, 0.2))])
    subject.observe([seen(0, 3, kld=(0.3, 0.4, 0.5))])
    assert list(subject.state(0).klds) == [0.5, 0.4, 0.3, 0.2]


def test_lengths_fall_as_target_and_draft_disagree(policy, view, seen):
    found = []
    for level in (0.0, 0.1, 0.2, 0.4):
        subject = policy("dsde")
        for _ in range(7):
            subject.observe([seen(5, 5, kld=(0.1, 0.2, 0.15, 0.05, 0.1))])
        subject.observe([seen(2, 5, kld=tuple(level + 0.02 * i for i in range(5)))])
        found += lengths(subject, view, 0)
    assert found == sorted(found, reverse=True)
    assert found[0] > found[-1] == 2


def settle(subject, request_id, wanted):
    state = subject.state(request_id)
    state.wanted, state.limits = wanted, (2, 20)


@pytest.mark.parametrize(("cap", "drafted"), [(True, [3, 6, 6]), (False, [3, 6, 9])])
def test_the_cap_is_the_batchs_mean(policy, view, cap, drafted):
    subject = policy("dsde", cap=cap)
    for request_id, wanted in enumerate((3, 6, 9)):
        settle(subject, request_id, wanted)
    assert lengths(subject, view, 0, 1, 2) == drafted


def test_the_cap_counts_running_requests_that_have_ended_their_warm_up(policy, view):
    subject = policy("dsde")
    settle(subject, 0, 4)
    settle(subject, 1, 12)
    assert lengths(subject, view, 1) == [12]
    assert lengths(subject, view, 0, 1) == [4, 8], "the mean is 8"
    assert lengths(subject, view, 0, 1, 2) == [4, 8, 5], "the third, warming up with 5, is neither counted nor capped"
    subject.leave(0)
    assert lengths(subject, view, 1) == [12]


def test_the_code_divides_by_the_temperature(policy, seen):
    found = []
    for temperature in (0, 1, 0.5):
        subject = policy("dsde_code", temperature=temperature, long_window=6, short_window=3, min_length=1)
        for kld in ((0.1, 0.3, 0.1, 0.3, 0.1), (0.05, 0.06, 0.04, 0.05, 0.07)):
            subject.observe([seen(5, 5, kld=kld)])
        found.append(subject.state(0).wanted)
    assert found[0] == found[1] >= found[2]


def test_limits_out_of_order_are_refused(preset):
    with pytest.raises(InputError, match="min_length ≤ initial_length ≤ max_length"):
        preset("dsde", initial_length=21)
