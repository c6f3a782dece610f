"""A request in service: its states, and what it leaves behind."""

import math

import pytest

from papisim.engine.request import Request, RequestState
from papisim.record.requests import RequestOutcome

WAITING, PREFILLING, DECODING, LEAVING, ENDED = RequestState


def request(**fields: object) -> Request:
    return Request(**{"request_id": 7, "arrival_s": 1.0, "input_tokens": 10, "output_tokens": 4, **fields})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "path",
    [
        [PREFILLING, DECODING, ENDED],
        [PREFILLING, ENDED],
        [PREFILLING, WAITING, PREFILLING, DECODING, WAITING, DECODING, ENDED],
        [PREFILLING, LEAVING, WAITING, DECODING, ENDED],
        [ENDED],
        [PREFILLING, LEAVING, ENDED],
    ],
)
def test_a_request_passes_through_its_states(path: list[RequestState]):
    one = request()
    for state in path:
        one.enter(state)
    assert one.state is ENDED


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (ENDED, WAITING),
        (ENDED, ENDED),
        (WAITING, LEAVING),
        (DECODING, PREFILLING),
        (DECODING, LEAVING),
        (LEAVING, DECODING),
        (DECODING, DECODING),
    ],
)
def test_other_transitions_are_mistakes_of_the_engine(before: RequestState, after: RequestState):
    with pytest.raises(RuntimeError, match=f"request 7 is {before} and cannot become {after}"):
        request(state=before).enter(after)


def test_the_prompt_left_grows_by_the_tokens_that_a_preemption_lost():
    one = request(emitted_tokens=3)
    assert (one.prompt_tokens, one.prompt_left, one.cached_tokens) == (13, 13, 12)
    one.computed_tokens = 8
    assert one.prompt_left == 5
    one.is_swapped = True
    assert one.prompt_left == 0, "a cache that was moved out is moved back"
    assert one.longest_tokens == 13, "the last token is never cached"


def test_the_first_admission_ends_the_queueing_delay():
    one = request()
    one.admit(2.0)
    one.admit(5.0)
    assert one.admitted_s == 2.0


def test_a_completed_prompt_yields_the_first_token_and_after_a_preemption_a_gap():
    one = request()
    assert one.emit_first(3.0) is None
    assert (one.first_token_s, one.last_token_s, one.emitted_tokens) == (3.0, 3.0, 1)
    assert one.emit_first(7.5) == 4.5
    assert (one.first_token_s, one.last_token_s, one.emitted_tokens) == (3.0, 7.5, 2)


def test_an_ended_request_leaves_a_record_that_does_not_change():
    one = request(server="a", admitted_s=2.0, first_token_s=3.0, emitted_tokens=4, preemptions=1)
    record = one.end(RequestOutcome.SERVED, "", 9.0)
    assert one.state is ENDED
    assert record.latencies_s == {"ttft": 2.0, "e2e": 8.0, "queueing": 1.0, "tpot": 2.0}
    assert (record.server, record.preemptions, record.outcome) == ("a", 1, RequestOutcome.SERVED)
    with pytest.raises(AttributeError):
        record.finish_s = 0.0  # type: ignore[misc]


def test_a_request_of_one_token_has_no_time_per_output_token():
    record = request(output_tokens=1).end(RequestOutcome.SERVED, "", 9.0)
    assert "tpot" not in record.latencies_s
    assert math.isnan(record.latencies_s["queueing"]), "never admitted"
