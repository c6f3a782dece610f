import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from papisim.config.base import parse
from papisim.config.yaml import parse_yaml
from papisim.errors import PapisimError
from papisim.policies.speculation import fixed, off, schedule
from papisim.policies.speculation.base import SpeculationView


def scheduled(*writes):
    fields = [{"from_iteration": start, "tlp": tlp} for start, tlp in writes]
    return schedule.Speculation(schedule.Options(kind="schedule", writes=fields))


def tokens_in_flight(policy, iteration, rlp=1):
    def unpriced(drafts):
        raise AssertionError("a static policy asks no cost model")

    drafts = policy.plan(SpeculationView(iteration, tuple(range(rlp)), unpriced))
    assert policy.cut(range(rlp), drafts, []) == [draft.length for draft in drafts]
    return [draft.rows for draft in drafts]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 5000), st.integers(1, 256), st.integers(1, 16))
def test_off_is_one_token_and_fixed_never_changes(iteration, rlp, tlp):
    assert tokens_in_flight(off.Speculation(off.Options(kind="off")), iteration, rlp) == [1] * rlp
    assert tokens_in_flight(fixed.Speculation(fixed.Options(kind="fixed", tlp=tlp)), iteration, rlp) == [tlp] * rlp


@pytest.mark.parametrize(("iteration", "tlp"), [(0, 4), (9, 4), (10, 2), (11, 2), (99, 2), (100, 8), (10**6, 8)])
def test_a_write_holds_from_its_iteration_until_the_next(iteration, tlp):
    assert tokens_in_flight(scheduled((0, 4), (10, 2), (100, 8)), iteration) == [tlp]


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.integers(1, 50), st.integers(1, 8)), st.integers(1, 8))
def test_the_register_holds_what_was_last_written(later, first):
    writes = {0: first} | dict(sorted(later.items()))
    policy, register = scheduled(*writes.items()), None
    for iteration in range(60):
        register = writes.get(iteration, register)
        assert tokens_in_flight(policy, iteration) == [register]


@pytest.mark.parametrize(
    ("writes", "said"),
    [
        ("[]", "writes"),
        ("[{from_iteration: 1, tlp: 2}]", "found a first write at iteration 1, expected one at iteration 0"),
        ("[{from_iteration: 0, tlp: 2}, {from_iteration: 0, tlp: 3}]", "expected them in ascending order"),
        (
            "[{from_iteration: 0, tlp: 2}, {from_iteration: 9, tlp: 3}, {from_iteration: 5, tlp: 1}]",
            "ascending order",
        ),
        ("[{from_iteration: 0, tlp: 0}]", r"writes\[0\].tlp: found 0"),
        ("[{from_iteration: -1, tlp: 1}]", r"writes\[0\].from_iteration: found -1"),
    ],
)
def test_a_schedule_that_is_none_is_refused(writes, said):
    with pytest.raises(PapisimError, match=said):
        parse(schedule.Options, parse_yaml(f"kind: schedule\nwrites: {writes}", "f.yaml"))
