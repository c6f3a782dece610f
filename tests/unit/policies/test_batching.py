import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from papisim import catalog
from papisim.policies.batching.base import BatchingView
from papisim.policies.batching.static import Batching, Options


def static(batch_size):
    return Batching(Options(kind="static", batch_size=batch_size))


@pytest.mark.parametrize(
    ("waiting", "running", "more_to_come", "admitted"),
    [
        (8, 0, True, 8),
        (9, 0, True, 8),
        (7, 0, True, 0),
        (7, 0, False, 7),
        (0, 0, False, 0),
        (8, 1, True, 0),
        (8, 1, False, 0),
    ],
)
def test_a_static_batch_starts_full_or_last_and_only_when_the_one_before_has_drained(
    waiting, running, more_to_come, admitted
):
    assert static(8).admit(BatchingView(waiting, running, more_to_come)) == admitted


@pytest.mark.parametrize("kind", catalog.kinds("papisim.policies.batching"))
@settings(max_examples=40, deadline=None)
@given(waiting=st.integers(0, 200), running=st.integers(0, 64), more=st.booleans(), size=st.integers(1, 64))
def test_no_policy_admits_more_than_wait_or_keeps_an_idle_machine_waiting_for_nothing(
    kind, waiting, running, more, size
):
    module = catalog.load_kind("papisim.policies.batching", kind)
    admitted = module.Batching(module.Options(kind=kind, batch_size=size)).admit(BatchingView(waiting, running, more))
    assert 0 <= admitted <= waiting
    if waiting and not running and not more:
        assert admitted > 0
