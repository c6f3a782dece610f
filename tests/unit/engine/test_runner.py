"""What a step gives to requests and to the ledger, seen in whole runs: tokens, gaps, and the caches in use."""

from collections.abc import Callable

import pytest

from papisim.engine.run import Run
from papisim.ops.lower import kv_bytes_per_token
from papisim.record.steps import StepKind

Serve = Callable[..., Run]


def pages(run: Run, count: int) -> str:
    """Return the assignment that leaves a number of pages of 16 tokens beside the weights."""
    page = 16 * kv_bytes_per_token(run.trace)
    room = (count + 0.5) * page + run.trace.model.n_parameters * 2
    return f"kv.utilisation_ratio={room / run.machine.pools['gpu'].capacity_bytes!r}"


def check_gaps(run: Run) -> None:
    """One gap before every token but the first, and the gaps of a request add up to its time since that."""
    gaps, requests = run.ledger.latencies["itl"], run.ledger.requests
    assert gaps.n_values == sum(each.emitted_tokens - 1 for each in requests)
    assert gaps.mean * gaps.n_values == pytest.approx(sum(each.finish_s - each.first_token_s for each in requests))


@pytest.mark.parametrize("fast_forward", [True, False])
@pytest.mark.parametrize("tlp", [1, 3])
def test_the_gaps_between_tokens_add_up_to_the_time_since_the_first(serve: Serve, fast_forward: bool, tlp: int):
    """Tokens of one iteration come together; each iteration is one gap of a request, whatever it emits."""
    run = serve([(0.1 * i, 50, 30) for i in range(5)], tlp=tlp, fast_forward=fast_forward)
    gaps, requests = run.ledger.latencies["itl"], run.ledger.requests
    assert gaps.mean * gaps.n_values == pytest.approx(sum(each.finish_s - each.first_token_s for each in requests))
    if tlp == 1:
        check_gaps(run)


@pytest.mark.parametrize("exhaustion", ["recompute", "swap"])
@pytest.mark.parametrize("fast_forward", [True, False])
def test_the_gap_over_a_preemption_is_counted_once(serve: Serve, exhaustion: str, fast_forward: bool):
    tight = [pages(serve([(0.0, 1, 1)]), 60), f"kv.on_exhaustion={exhaustion}"]
    swap = ["kv.swap_link=nvlink"] if exhaustion == "swap" else []
    run = serve([(0.0, 100, 200)] * 8, set=[*tight, *swap], fast_forward=fast_forward)
    assert run.ledger.n_preemptions > 0
    check_gaps(run)


def test_a_preempted_request_is_admitted_before_those_that_arrived_after_it(serve: Serve):
    tight = [pages(serve([(0.0, 1, 1)]), 60), "kv.on_exhaustion=recompute"]
    run = serve([(0.001 * i, 100, 200) for i in range(12)], set=tight)
    preempted = [each for each in run.ledger.requests if each.preemptions]
    assert preempted
    finished = [each.finish_s for each in run.ledger.requests]
    assert finished == sorted(finished), "equal requests end in the order of their arrival, preempted or not"


def test_the_caches_of_requests_in_flight_to_another_machine_count_as_in_use(serve: Serve):
    """Two prompts follow one another; the first one's cache is on a slow link while the second is computed."""
    slow = ["batching.prefill_machines=1", "links.nvlink.part.bandwidth_bytes_per_s=1 MB/s"]
    run = serve([(0.0, 100, 2), (0.0, 100, 2), (0.5, 100, 2)], batching="disaggregated", set=slow)
    last = [step for step in run.ledger.steps if step.kind is StepKind.PREFILL][-1]
    assert last.kv_tokens == 200


def test_mixed_steps_are_numbered_with_decoding_ones_and_prefills_by_themselves(serve: Serve):
    run = serve([(0.0, 100, 30), (0.1, 3000, 4)])
    for kinds in ((StepKind.PREFILL,), (StepKind.DECODE, StepKind.MIXED)):
        numbers = [step.index for step in run.ledger.steps if step.kind in kinds]
        assert numbers == list(range(len(numbers)))
