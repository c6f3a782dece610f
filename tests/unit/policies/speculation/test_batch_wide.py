"""Policies with one length for the batch, against their published rules worked by hand."""

import math
from collections import Counter

import pytest

from papisim.config.base import parse
from papisim.config.yaml import Document
from papisim.errors import InputError, NotModelled
from papisim.policies.speculation import bandit, cascade, nightjar, sglang_adaptive, sglang_throughput
from papisim.policies.speculation.base import Draft

ONE = (0,)


def flat(step_s=1.0, row_s=0.0, draft_s=0.0):
    """A machine: a fixed time, one per row verified, one per serial draft step."""

    def price_s(drafts):
        rows = sum(draft.rows for draft in drafts)
        return step_s + row_s * rows + draft_s * max(draft.length for draft in drafts)

    return price_s


@pytest.fixture
def play(view, seen):
    """Return a function that runs iterations in which each request accepts a given number of its drafts."""

    def go(subject, accepted, iterations=1, batch=1, price_s=None):
        lengths = []
        for _ in range(iterations):
            drafts = subject.plan(view(*range(batch), price_s=price_s or flat()))
            subject.observe(
                [seen(min(accepted, draft.length), draft.length, request) for request, draft in enumerate(drafts)]
            )
            lengths.append(drafts[0].length)
        return lengths

    return go


class TestSglangAdaptive:
    """c = 1, 3, 7: down at or below c_{i−1} − 0.75, up above c_i − 0.5; first m = 2; decisions after 15, 20, … iterations."""

    def test_full_acceptance_climbs_when_the_average_passes_half_a_token_below(self, policy, play):
        """m_t = 3 − 0.8^t is 2.96 at the first decision: above 2.5, and below 6.5, so to 7 and no further."""
        assert play(policy("sglang_adaptive"), 7, 16) == [3] * 15 + [7]

    def test_no_acceptance_falls_to_the_shortest(self, policy, play):
        """m_t = 2 · 0.8^t is .07 after 15 iterations: below 0.25."""
        assert play(policy("sglang_adaptive"), 0, 16) == [3] * 15 + [1]

    @pytest.mark.parametrize(("smoothed", "expected"), [(0.25, 1), (0.26, 3), (2.5, 3), (2.51, 7)])
    def test_thresholds_are_where_the_code_has_them(self, policy, smoothed, expected):
        subject = policy("sglang_adaptive")
        slot = subject._slots[0]
        slot.smoothed = smoothed
        subject._decide(slot, [1, 3, 7])
        assert [1, 3, 7][slot.place] == expected

    def test_ranges_of_the_batch_have_candidates_and_a_state_of_their_own(self, policy, play):
        subject = policy("sglang_adaptive")
        play(subject, 7, 15)
        assert play(subject, 0, 1, batch=64) == [2]
        assert play(subject, 0, 1, batch=128) == [2]
        assert play(subject, 0, 1, batch=63) == [7]

    def test_zero_is_left_after_an_interval_to_probe(self, policy, play):
        """From batch 32 on the candidates are 0 and 1: rejected, off for five iterations, then one more probe."""
        lengths = play(policy("sglang_adaptive_off"), 0, 26, batch=32)
        assert lengths == [1] * 15 + [0] * 5 + [1] * 5 + [0]

    def test_candidates_start_at_batch_one_and_ascend(self):
        good = {"kind": "sglang_adaptive", "smoothing": 0.2, "update_interval": 5, "warmup": 10}
        good |= {"down_hysteresis": 0, "up_hysteresis": 0, "initial_length": 3}
        for rows in ([{"from_batch": 2, "lengths": [1]}], [{"from_batch": 1, "lengths": [3, 1]}]):
            with pytest.raises(InputError, match="in ascending order"):
                parse(sglang_adaptive.Options, Document(good | {"candidates": rows}, "test"))


class TestSglangThroughput:
    """score(k) = (1 + P_1 + … + P_k) / T(k)."""

    def options(self, **more):
        rows = [{"from_batch": 1, "lengths": [1, 3, 5]}]
        fields = {"candidates": rows, "window": 4, "update_interval": 2, "switch_hysteresis": 0.1}
        return sglang_throughput.Options(kind="sglang_throughput", **(fields | more))

    def test_positions_unseen_continue_the_geometric_mean_of_steps(self, play):
        subject = sglang_throughput.Speculation(self.options())
        for window, share in zip(subject._windows, (0.8, 0.4), strict=False):
            window.append(share)
        assert subject.shares(4) == pytest.approx([0.8, 0.4, 0.2, 0.1])

    def test_it_waits_for_full_windows_then_takes_the_best_score(self, play):
        """All accepted and drafting nearly free: (1 + 5) / 1.5 beats (1 + 3) / 1.3 by more than a tenth."""
        assert play(sglang_throughput.Speculation(self.options()), 9, 6, price_s=flat(1, 0, 0.1)) == [
            3,
            3,
            3,
            3,
            5,
            5,
        ]

    def test_a_gain_within_the_hysteresis_changes_nothing(self, play):
        """(1 + 5) / (1 + 5c) over (1 + 3) / (1 + 3c) is 1.07 at c = 1/4."""
        gain = (6 / (1 + 5 / 4)) / (4 / (1 + 3 / 4))
        assert 1.1 < gain < 1.2
        assert set(
            play(sglang_throughput.Speculation(self.options(switch_hysteresis=0.2)), 9, 12, price_s=flat(1, 0, 0.25))
        ) == {3}
        assert play(sglang_throughput.Speculation(self.options()), 9, 12, price_s=flat(1, 0, 0.25))[-1] == 5

    def test_a_shorter_choice_forgets_the_positions_beyond(self, play):
        subject = sglang_throughput.Speculation(self.options())
        assert play(subject, 0, 6, price_s=flat(1, 0, 0.2))[-1] == 1
        assert [bool(window) for window in subject._windows] == [True, False, False, False, False]


class TestBandit:
    def build(self, algorithm, lengths=(0, 1, 3), **more):
        fields = {
            "candidates": [{"from_batch": 1, "lengths": list(lengths)}],
            "window": 100,
            "epsilon": 0.1,
            "seed": 0,
        }
        return bandit.Speculation(bandit.Options(kind="bandit", algorithm=algorithm, **(fields | more)))

    @pytest.mark.parametrize("algorithm", ["epsilon_greedy", "ucb"])
    def test_every_arm_is_tried_once_the_longest_first(self, play, algorithm):
        assert play(self.build(algorithm), 1, 3) == [3, 1, 0]

    def test_epsilon_greedy_explores_its_share_and_else_takes_the_best(self, play):
        """One draft is accepted at no cost for the first: arm 1 earns 2 / 1.1, arm 3 2 / 1.3, arm 0 1."""
        lengths = play(self.build("epsilon_greedy"), 1, 2003, price_s=flat(1, 0, 0.1))[3:]
        counts = Counter(lengths)
        for arm in (0, 3):  # a third of a tenth of 2,000 is 67 ± 8
            assert counts[arm] == pytest.approx(67, abs=25)

    def test_ucb_takes_the_largest_bound(self, view):
        subject = self.build("ucb")
        arms = subject._rewards[0]
        for length, mean, tries in ((0, 1.0, 50), (1, 2.0, 80), (3, 1.9, 4)):
            arms[length].extend([mean] * tries)
        bound = {k: m / 2 + math.sqrt(2 * math.log(134) / n) for k, m, n in ((0, 1.0, 50), (1, 2.0, 80), (3, 1.9, 4))}
        assert subject.plan(view(1, price_s=flat())) == [Draft(max(bound, key=bound.get))] == [Draft(3)]

    def test_ucb_settles_on_the_best_arm(self, play):
        lengths = play(self.build("ucb", lengths=(0, 3)), 3, 600, price_s=flat(1, 0, 0.1))
        assert Counter(lengths[300:])[3] > 200

    def test_planning_twice_is_planning_once(self, policy, view):
        subject = policy("bandit_epsilon")
        requests = view(*range(4), price_s=flat())
        assert subject.plan(requests) == subject.plan(requests)


class TestNightjar:
    def test_offload_is_refused_by_name(self, policy):
        with pytest.raises(NotModelled, match="memory cannot be given to the KV cache"):
            policy("nightjar", offload=True)

    def test_every_length_is_tried_at_each_batch_size(self, policy, play):
        subject = policy("nightjar", max_length=3)
        assert play(subject, 1, 4) == [3, 2, 1, 0]
        assert play(subject, 1, 4, batch=2) == [3, 2, 1, 0]

    def test_a_bin_keeps_its_length(self, policy, play):
        lengths = play(policy("nightjar", max_length=3, bin_steps=5), 1, 4 + 50)[4:]
        assert all(len(set(lengths[start : start + 5])) == 1 for start in range(0, 50, 5))

    def test_drafting_that_pays_nothing_is_switched_off(self, policy, play):
        """Nothing accepted: no length earns more than its cost, so only explored bins draft."""
        lengths = play(policy("nightjar", max_length=3, bin_steps=2, switch_s=0), 0, 400, price_s=flat(1, 0, 0.5))
        assert Counter(lengths)[0] > 250

    def test_switching_on_must_earn_its_cost(self, policy, view):
        """1/ĝ + C/k: off at 1 s per token, length 2 at 0.9 + C/2."""
        for switch_s, expected in ((0.1, 2), (0.5, 0)):
            subject = policy("nightjar", max_length=2, switch_s=switch_s)
            requests = view(0, price_s=flat())
            subject.plan(requests)
            known = subject._bandits.setdefault(1, nightjar.Bandit())
            known.time_s, known.tokens, known.bin, known.block = (
                {0: 10.0, 1: 10.0, 2: 9.0},
                {0: 10, 1: 5, 2: 10},
                10**9,
                40,
            )
            subject._last = 0
            assert subject.plan(requests) == [Draft(expected)]


class TestCascade:
    """U(k) = tokens per iteration / (time with k / time without)."""

    def options(self, **more):
        fields = {"max_length": 4, "first_length": 1, "test_iterations": 2, "set_iterations": 6, "longest_pause": 2}
        return cascade.Options(kind="cascade", **(fields | more))

    def test_utility_below_one_switches_off_and_pauses_longer_each_time(self, play):
        """Nothing accepted at twice the cost: U = 1/2. Sets of 6, 6·2 and 6·4 iterations, then no longer."""
        lengths = play(cascade.Speculation(self.options()), 0, 60, price_s=flat(1, 0, 1))
        drafted = [number for number, length in enumerate(lengths) if length]
        assert drafted == [0, 1, 8, 9, 22, 23, 48, 49]

    def test_it_climbs_while_utility_rises_and_keeps_the_best(self, play):
        """Two of four accepted, a tenth of a step per draft: U = 2/1.1, 3/1.2, 3/1.3, so 1, 2, 3 are tested and 2 is set."""
        lengths = play(cascade.Speculation(self.options()), 2, 12, price_s=flat(1, 0, 0.1))
        assert lengths == [1, 1, 2, 2, 3, 3] + [2] * 6

    def test_the_set_length_is_where_the_next_test_begins(self, play):
        lengths = play(cascade.Speculation(self.options()), 2, 16, price_s=flat(1, 0, 0.1))
        assert lengths[12:] == [2, 2, 3, 3]


class TestDspark:
    """Θ = (1 + Σ a) · SPS(B)."""

    def test_prefixes_are_admitted_in_the_order_of_their_survival(self, policy, view, confident):
        """a = .9, .45, .09 and .5, .05; a row costs .3 of a step of 1 s: Θ rises for .9 and .5, not for .45."""
        subject, price_s = policy("dspark", max_length=3), flat(1 - 0.3 * 2, 0.3)
        drafts = subject.plan(view(1, 2, price_s=price_s))
        rates = [2 / 1.0, 2.9 / 1.3, 3.4 / 1.6, 3.85 / 1.9]
        assert rates[1] > rates[0]
        assert rates[2] < rates[1]
        assert subject.cut((1, 2), drafts, [confident(0.9, 0.5, 0.2), confident(0.5, 0.1, 0.1)]) == [1, 0]

    def test_free_verification_takes_the_whole_block(self, policy, view, confident):
        subject = policy("dspark", max_length=3)
        drafts = subject.plan(view(1, price_s=flat()))
        assert subject.cut((1,), drafts, [confident(0.9, 0.5, 0.2)]) == [3]

    def test_no_confidence_verifies_nothing(self, policy, view, confident):
        subject = policy("dspark", max_length=3)
        drafts = subject.plan(view(1, price_s=flat(1, 0.1)))
        assert subject.cut((1,), drafts, [confident(0.0, 0.9, 0.9)]) == [0]


class TestContextTable:
    @pytest.mark.parametrize(
        ("batch", "context", "length"),
        [
            (1, 100, 3),
            (64, 30_000, 3),
            (65, 768, 0),
            (65, 769, 3),
            (256, 32_768, 3),
            (257, 10, 0),
            (600, 10, 0),
            (4, 40_000, 0),
        ],
    )
    def test_the_entry_that_holds_decides_and_none_drafts_nothing(self, policy, view, batch, context, length):
        assert policy("vllm_context_table").plan(view(*range(batch), context=context)) == [Draft(length)] * batch
