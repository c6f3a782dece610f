"""The requests of a server: order of admission, preemption, and views that cannot be changed."""

from collections import deque
from dataclasses import dataclass

import pytest

from papisim.config.experiment import KvSpec, RunOptions, load_experiment
from papisim.engine.pages import KvPages
from papisim.engine.queues import Chunk, ServerQueues, WaitingRequest, WaitingView
from papisim.engine.request import Request, RequestState
from papisim.errors import DoesNotFit
from papisim.ops.held import HeldBytes, Keeping
from papisim.plan.machine import build_machine
from papisim.plan.memory import MemoryPlan

PAGE = 16
TOKEN_BYTES = 10


@dataclass(frozen=True)
class Continuous:
    """As much of a batching policy as queues look at."""

    joins_running: bool = True
    reserves_whole: bool = False
    must_fit: bool = False


def queues(pages: int, policy: object = None, **kv: object) -> ServerQueues:
    machine = build_machine(load_experiment(RunOptions(hw="gpu_only", trace="llama7b")).system)
    memory = MemoryPlan("gpu", HeldBytes((Keeping(None, TOKEN_BYTES),)), lambda n_requests: pages * PAGE + 0.5)
    spec = KvSpec(**{"watermark_ratio": 0.0, **kv})  # type: ignore[arg-type]
    policy = policy or Continuous()
    pages_ = KvPages(spec, memory, reserves_whole=policy.reserves_whole)  # type: ignore[attr-defined]
    return ServerQueues(machine, memory, spec, policy, pages_)  # type: ignore[arg-type]


def request(number: int, prompt: int = 16, answer: int = 10) -> Request:
    return Request(number, float(number), prompt, answer, number)


def decoding(server: ServerQueues, n: int) -> list[Request]:
    """Admit requests and complete their prompts."""
    requests = [request(number) for number in range(n)]
    for each in requests:
        server.enqueue(each)
    server.admit(n, now_s=10.0)
    complete = server.compute([Chunk(each, each.prompt_left) for each in requests])
    for each in complete:
        each.emit_first(11.0)
    server.batch.join(complete)
    return requests


def test_requests_are_admitted_in_the_order_of_their_arrival():
    server = queues(10)
    for number in range(3):
        server.enqueue(request(number))
    server.admit(2, now_s=5.0)
    assert [each.request_id for each in server.prefilling] == [0, 1]
    assert [each.request_id for each in server.waiting] == [2]
    assert {each.state for each in server.prefilling} == {RequestState.PREFILLING}
    assert {each.admitted_s for each in server.prefilling} == {5.0}
    assert server.pages.used == 2


def test_the_request_admitted_last_is_preempted_and_waits_in_front_of_all_others():
    server = queues(3)
    requests = decoding(server, 3)
    server.enqueue(request(3))
    assert server.reserve_pages(1) == 2, "each needs a second page, three are there"
    assert [each.request_id for each in server.batch.requests] == [0]
    assert [each.request_id for each in server.waiting] == [1, 2, 3]
    assert [each.preemptions for each in requests] == [0, 1, 1]
    assert (requests[2].computed_tokens, requests[2].prompt_left) == (0, 17), (
        "computed again, its first token included"
    )


def test_a_prompt_being_computed_is_preempted_before_a_request_that_decodes():
    server = queues(3)
    decoding(server, 1)
    late = request(9, prompt=32)
    server.enqueue(late)
    server.admit(1, now_s=12.0)
    assert server.pages.free == 0
    assert server.reserve_pages(1) == 1
    assert list(server.waiting) == [late]
    assert len(server.batch) == 1


def test_the_request_admitted_first_is_never_preempted():
    server = queues(2)
    decoding(server, 2)
    for _ in range(9):
        server.reserve_pages(1)
        server.batch.emit(1)
    assert [each.request_id for each in server.waiting] == [1]
    assert len(server.batch) == 0, "it is complete"


def test_a_swapped_request_moves_out_and_back_and_computes_nothing_again():
    server = queues(2, on_exhaustion="swap", swap_link="nvlink")
    _, late = decoding(server, 2)
    assert server.reserve_pages(1) == 1
    assert late.is_swapped
    assert late.prompt_left == 0
    (out,) = server.moves
    assert out.resource == "nvlink"
    server.batch.drop_last()
    server.pages.used = 0
    server.admit(1, now_s=20.0)
    assert [each.request_id for each in server.batch.requests] == [1], "it decodes at once"
    assert server.prefilling == []
    assert server.moves[0].time_s == server.moves[1].time_s
    assert late.admitted_s == 10.0, "first admission"


def test_on_exhaustion_refuse_ends_the_request_admitted_last():
    server = queues(2, on_exhaustion="refuse")
    _, late = decoding(server, 2)
    server.reserve_pages(1)
    assert server.refused == [(late, "the KV cache was full, and it came last")]
    assert late.preemptions == 0
    assert not server.waiting


def test_cached_tokens_count_decoding_prefilling_and_leaving_requests():
    server = queues(20)
    decoding(server, 2)
    partly, whole = request(5, prompt=30), request(6, prompt=20)
    for each in (partly, whole):
        server.enqueue(each)
    server.admit(2, now_s=12.0)
    complete = server.compute([Chunk(partly, 7), Chunk(whole, 20)])
    server.hand_over(complete)
    assert server.cached_tokens == 2 * 16 + 7 + 20
    assert server.admitted == 4
    server.release(whole)
    assert server.cached_tokens == 2 * 16 + 7
    assert (whole.state, whole.is_swapped, whole.pages) == (RequestState.WAITING, True, 0)


def test_a_request_longer_than_the_cache_is_refused_with_its_length():
    server = queues(2)
    server.enqueue(request(0, prompt=30, answer=4))
    ((_, reason),) = server.refused
    assert reason == "needs 33 tokens of KV cache, 32 are there in all"


def test_a_batch_that_must_start_together_and_does_not_fit_says_how_many_would():
    server = queues(3, Continuous(must_fit=True))
    for number in range(6):
        server.enqueue(request(number))
    with pytest.raises(DoesNotFit) as refusal:
        server.admit(6, now_s=0.0)
    assert refusal.value.levers[0] == "--batch 3"


def test_a_loss_takes_every_request_and_frees_the_cache():
    server = queues(10)
    decoding(server, 2)
    server.enqueue(request(5))
    assert {each.request_id for each in server.drop_all()} == {0, 1, 5}
    assert (server.pages.used, server.admitted, len(server.waiting)) == (0, 0, 0)


@pytest.mark.parametrize(("joins", "queued", "may"), [(True, 0, True), (True, 1, False), (False, 0, False)])
def test_an_arrival_may_join_where_the_policy_lets_it_and_no_request_waits_in_front(
    joins: bool, queued: int, may: bool
):
    server = queues(10, Continuous(joins_running=joins))
    for number in range(queued):
        server.enqueue(request(number))
    assert server.may_be_joined is may


def test_the_view_of_the_queue_follows_it_and_cannot_be_changed():
    queue = deque([request(0), request(1, prompt=5)])
    view = WaitingView(queue)
    assert list(view) == [WaitingRequest(0.0, 16), WaitingRequest(1.0, 5)]
    assert (len(view), view[1].prompt_left, view[-1]) == (2, 5, view[1])
    assert view[:1] == (WaitingRequest(0.0, 16),)
    queue.popleft()
    assert len(view) == 1
    for change in ("popleft", "append", "clear", "pop", "remove"):
        assert not hasattr(view, change)
    with pytest.raises(TypeError):
        view[0] = request(3)  # type: ignore[index]
    with pytest.raises(TypeError):
        del view[0]  # type: ignore[attr-defined]
    with pytest.raises(AttributeError):
        view[0].prompt_left = 0  # type: ignore[misc]
    with pytest.raises(AttributeError):
        view.queue = deque()  # type: ignore[attr-defined]
