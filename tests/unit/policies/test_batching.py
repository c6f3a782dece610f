"""Batching policies decide from what they see alone; each decision is checked where it is taken."""

from dataclasses import dataclass

import pytest

from papisim.policies.batching.base import BATCHING, BatchingView, StepPlan


@dataclass(frozen=True)
class Request:
    prompt_left: int
    arrival_s: float = 0.0


def see(waiting=(), *, prefilling=(), running=0, tlp=1, more=True, fitting=None, now_s=0.0, iteration_s=None):
    requests = [Request(tokens) for tokens in waiting]
    room = len(requests) if fitting is None else min(fitting, len(requests))
    return BatchingView(
        now_s, requests, prefilling, running, running * tlp, more,
        lambda limit: min(limit, room), iteration_s or (lambda joining: 0.0),
    )  # fmt: skip


def policy(kind, **options):
    return BATCHING.build(BATCHING.load(kind).options(kind=kind, **options))


@pytest.mark.parametrize(
    ("waiting", "running", "more_to_come", "admitted"),
    [(8, 0, True, 8), (9, 0, True, 8), (7, 0, True, 0), (7, 0, False, 7), (0, 0, False, 0), (8, 1, True, 0), (8, 1, False, 0)],
)  # fmt: skip
def test_a_static_batch_starts_full_or_last_and_only_when_the_one_before_has_drained(
    waiting, running, more_to_come, admitted
):
    plan = policy("static", batch_size=8).plan(see([5] * waiting, running=running, more=more_to_come))
    assert plan.admit == admitted
    assert plan.prefill == (5,) * admitted, "whole prompts"


def test_a_dynamic_batch_starts_when_full_or_when_the_oldest_has_waited_long_enough():
    dynamic = policy("dynamic", batch_size=4, timeout_s=1.5)
    early = dynamic.plan(see([5] * 3, now_s=1.49))
    assert (early.admit, early.wake_s) == (0, 1.5)
    assert dynamic.plan(see([5] * 3, now_s=1.5)).admit == 3
    assert dynamic.plan(see([5] * 4, now_s=0.0)).admit == 4
    assert dynamic.plan(see([5] * 3, now_s=0.0, more=False)).admit == 3, "nobody else will come"
    assert dynamic.plan(see([5] * 9, now_s=9.0, running=1)).admit == 0, "the last batch drains"
    assert dynamic.plan(see([5] * 4, fitting=2)).admit == 2, "as many as the cache holds"


def test_continuous_batching_adds_whole_prompts_to_a_decoding_step():
    plan = policy("continuous", max_batch=4).plan(see([30, 40, 50], running=2))
    assert plan == StepPlan(admit=2, prefill=(30, 40), decode=True)


def test_prefill_priority_lets_decoding_wait_while_prompts_fit():
    first = policy("prefill_priority", max_batch=8, prefill_tokens=100)
    assert first.plan(see([60, 40, 1], running=3)) == StepPlan(2, (60, 40), decode=False)
    assert first.plan(see([500, 1], running=3)) == StepPlan(1, (500,), decode=False), "a long prompt runs alone"
    assert first.plan(see([60], running=3, fitting=0)).decode
    assert first.plan(see([60], running=8)) == StepPlan(), "the batch is full"


def test_a_chunk_is_what_decoding_leaves_of_the_budget():
    chunked = policy("chunked_prefill", max_batch=64, chunk_tokens=512)
    assert chunked.plan(see([1000], running=12)) == StepPlan(1, (500,))
    assert chunked.plan(see([1000], running=12, tlp=4)) == StepPlan(1, (464,)), "drafts take their part"
    assert chunked.plan(see([300], prefilling=[100], running=12)) == StepPlan(1, (100, 300))
    assert chunked.plan(see([300, 9], prefilling=[400], running=12)) == StepPlan(1, (400, 100)), "in order of arrival"
    assert chunked.plan(see([300], prefilling=[100], running=512)) == StepPlan(0, (0,)), "nothing left"


def test_a_request_that_was_swapped_out_joins_without_any_prompt_to_compute():
    assert policy("chunked_prefill", max_batch=64, chunk_tokens=512).plan(see([0, 20], running=1)) == StepPlan(
        2, (0, 20)
    )


@pytest.mark.parametrize("kind", ["continuous", "chunked_prefill", "prefill_priority"])
def test_no_more_join_than_decode_together_within_the_target(kind):
    options = {"chunked_prefill": {"chunk_tokens": 10_000}, "prefill_priority": {"prefill_tokens": 10_000}}
    limited = policy(kind, max_batch=64, slo_tpot_s=0.030, **options.get(kind, {}))

    def plan(iteration_s, **more):
        return limited.plan(see([10] * 20, iteration_s=iteration_s, **more)).admit

    assert plan(lambda joining: 0.010 + 0.002 * joining) == 10
    assert plan(lambda joining: 0.010 + 0.002 * (joining + 6), running=6) == 4
    assert plan(lambda joining: 1.0) == 1, "a lone request is served, however slowly"
    assert plan(lambda joining: 1.0, running=1) == 0
    assert plan(lambda joining: 0.030) == 20
