"""Streams that share devices take turns: never faster than the busiest device, never slower than one after the other."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from papisim.engine.overlap import beside, together_s
from papisim.engine.run import Run
from papisim.errors import InputError, NotModelled
from papisim.ops.cost import Energy
from papisim.plan.phase import Category, Phase
from papisim.results.metrics import summarise

Serve = Callable[..., Run]
Runner = Callable[..., Run]
#: as long as attention matters beside FC
LONG = "workload.lengths={kind: fixed, input_tokens: 6000, output_tokens: 6}"
BATCH = {"hw": "a100_attacc", "trace": "llama13b", "batch": 128}


def phase(resource: str, time_s: float) -> Phase:
    return Phase(resource, Category.OTHER, time_s, Energy())


def test_two_streams_that_alternate_hide_one_device_behind_the_other():
    stream = [phase("gpu", 1.0), phase("pim", 1.0)] * 5
    assert together_s([stream]) == 10
    assert together_s([stream, stream]) == 11, "both devices are busy all the time but for the first and last phase"


def test_streams_on_one_device_follow_one_another():
    assert together_s([[phase("gpu", 2.0)] * 3, [phase("gpu", 1.0)] * 4]) == 10


def test_chains_at_the_same_time_end_with_the_last_of_them():
    pieces = ([phase("gpu", 1.0), phase("pim", 3.0)],) * 4
    assert together_s([[pieces, phase("gpu", 1.0)]]) == 1 + 4 * 3 + 1


phases = st.lists(st.tuples(st.sampled_from("abc"), st.floats(0.1, 5)).map(lambda made: phase(*made)), max_size=12)


@given(st.lists(phases, min_size=1, max_size=3))
def test_together_takes_at_least_the_busiest_device_and_longest_stream_and_at_most_the_sum(
    streams: list[list[Phase]],
):
    taken = together_s(streams)
    alone = [sum(each.time_s for each in stream) for stream in streams]
    busiest = max(sum(p.time_s for stream in streams for p in stream if p.resource == name) for name in "abc")
    assert max(busiest, *alone) - 1e-9 <= taken <= sum(alone) + 1e-9


@pytest.mark.parametrize("kind", ["sub_batches", "heads"])
def test_what_overlaps_is_what_phases_take_more_than_their_step(run: Runner, kind: str):
    result = run(**BATCH, set=[LONG, f"overlap.kind={kind}"])
    for step in result.ledger.steps:
        assert sum(step.time_by.values()) - step.overlapped_s == pytest.approx(step.time_s, rel=1e-9)
        assert (step.overlapped_s != 0) == (step.kind == "decode")
        assert max(step.busy_by.values()) <= step.time_s * (1 + 1e-9)
    assert summarise(result)["n_output_tokens"] == 128 * 6


@pytest.mark.parametrize("kind", ["sub_batches", "heads"])
def test_extrapolated_layers_take_what_all_of_them_simulated_do(run: Runner, kind: str):
    folded, whole = (run(**BATCH, fold=fold, set=[LONG, f"overlap.kind={kind}"]) for fold in (True, False))
    assert summarise(folded)["decode_s"] == pytest.approx(summarise(whole)["decode_s"], rel=0.01)
    assert summarise(folded)["energy_j"] == pytest.approx(summarise(whole)["energy_j"], rel=0.01)


def test_interleaved_halves_are_faster_where_attention_is_long_and_slower_where_weights_are_read_twice(run: Runner):
    def gain(tokens: int) -> float:
        lengths = f"workload.lengths={{kind: fixed, input_tokens: {tokens}, output_tokens: 4}}"
        few = ["devices.attn_pim.count=8", "kv.reserve=whole", lengths]
        together, alone = (
            summarise(run("a100_attacc", "llama3-8b", batch=64, set=[*few, f"overlap.kind={kind}"]))
            for kind in ("sub_batches", "off")
        )
        return alone["decode_s"] / together["decode_s"]

    assert gain(64) < 1
    assert gain(8000) > 1.1


def test_one_request_has_no_halves(run: Runner):
    one, alone = (
        summarise(run("a100_attacc", batch=1, set=[f"overlap.kind={kind}"])) for kind in ("sub_batches", "off")
    )
    assert one["decode_s"] == pytest.approx(alone["decode_s"], rel=1e-6)


def test_prompts_run_on_the_gpu_while_pim_attends(serve: Serve):
    requests = [(0.0, 4000, 40)] * 24 + [(0.9, 3000, 5)] * 4
    beside, mixed = (serve(requests, "papi", "llama13b", set=[f"overlap.kind={kind}"]) for kind in ("prompts", "off"))
    overlapped = [step for step in beside.ledger.steps if step.overlapped_s]
    assert overlapped
    assert {step.kind for step in overlapped} == {"mixed"}
    for step in overlapped:
        assert step.time_s < sum(step.time_by.values())
    assert beside.ledger.totals["decode"].overlapped_s == 0
    assert summarise(beside)["n_output_tokens"] == summarise(mixed)["n_output_tokens"]


@pytest.mark.parametrize("kind", ["prompts", "sub_batches", "heads"])
def test_fast_forward_changes_nothing(serve: Serve, kind: str):
    requests = [(0.05 * i, 300, 12) for i in range(8)]
    fast, slow = (
        serve(requests, "a100_attacc", fast_forward=on, set=[f"overlap.kind={kind}"]) for on in (True, False)
    )
    assert fast.ledger.end_s == pytest.approx(slow.ledger.end_s, rel=1e-9)
    assert summarise(fast)["energy_j"] == pytest.approx(summarise(slow)["energy_j"], rel=1e-9)


def test_what_is_not_modelled_is_refused(run: Runner):
    with pytest.raises(NotModelled, match="drafts"):
        run(speculation="dsde", acceptance="meta_8b", draft="free", set=["overlap.kind=sub_batches"])
    with pytest.raises(InputError, match="expected a divisor of the 8 KV heads"):
        run(trace="llama3-8b", set=["overlap={kind: heads, pieces: 3}"])


def test_devices_on_one_memory_that_is_blocked_take_turns_and_others_do_not():
    stream = [phase("gpu", 1.0), phase("pim", 1.0)] * 5
    assert together_s([stream, stream], frozenset({"gpu", "pim"})) == 20
    assert together_s([stream, stream], frozenset({"gpu", "link"})) == 11


def test_a_second_row_buffer_lets_both_devices_work_at_once_and_blocked_banks_do_not(run: Runner):
    def beyond_both(kind: str) -> list[bool]:
        arbitration = f"roles.arbitration={{devices: [gpu, pim], kind: {kind}}}"
        chosen = {"hw": "saddle", "trace": "llama13b", "batch": 64, "placement": "pinned:gpu"}
        steps = run(**chosen, set=[LONG, "overlap.kind=sub_batches", arbitration]).ledger.steps
        decoding = [step for step in steps if step.kind == "decode"]
        return [step.time_s >= (step.busy_by["gpu"] + step.busy_by["pim"]) * (1 - 1e-9) for step in decoding]

    assert all(beyond_both("blocked"))
    assert not any(beyond_both("dual_row_buffer"))


class Parts:
    """A stream of parts that counts those begun."""

    def __init__(self, parts: list[list[Phase]]) -> None:
        self.left, self.begun = list(parts), 0

    def __call__(self) -> list[Phase]:
        self.begun += bool(self.left)
        return self.left.pop(0) if self.left else []


def test_a_stream_beside_another_on_other_devices_takes_its_own_time():
    parts = Parts([[phase("pim", 1.0), phase("pim", 2.0)]] * 5)
    together = beside([phase("gpu", 1.0)] * 4, parts)
    assert together.time_s == 4
    assert parts.begun == 2, "the second part begins at 3, when the first has ended"
    assert [each.time_s for each in together.rest] == [2.0], "its first phase ends as the stream does"


def test_a_part_that_has_not_begun_leaves_nothing():
    parts = Parts([[phase("pim", 4.0)]] * 3)
    together = beside([phase("gpu", 4.0)], parts)
    assert (together.time_s, together.rest, parts.begun) == (4.0, (), 1)


def test_streams_that_need_one_device_take_turns():
    parts = Parts([[phase("gpu", 1.0), phase("gpu", 1.0)]])
    together = beside([phase("gpu", 2.0)] * 3, parts)
    assert together.time_s == 8, "one after the other, the stream first"
    assert together.rest == ()


def test_devices_on_one_memory_take_turns_where_they_exclude_each_other():
    stream, part = [phase("gpu", 2.0)] * 2, [phase("pim", 3.0)]
    assert beside(stream, Parts([part])).time_s == 4
    assert beside(stream, Parts([part]), frozenset({"gpu", "pim"})).time_s == 7


@given(phases, st.lists(phases.filter(bool), max_size=6))
def test_the_other_stream_delays_by_no_more_than_it_does_meanwhile(stream: list[Phase], parts: list[list[Phase]]):
    counted = Parts(parts)
    together = beside(stream, counted)
    alone = sum(each.time_s for each in stream)
    begun = [each for part in parts[: counted.begun] for each in part]
    done = sum(each.time_s for each in begun) - sum(each.time_s for each in together.rest)
    shared = sum(each.time_s for each in begun if each.resource in {p.resource for p in stream})
    assert alone - 1e-9 <= together.time_s <= alone + shared + 1e-9
    assert done <= together.time_s + 1e-9, "the other stream is one chain, too"
