"""Caches that move, operators that are held, and what the scheduler takes: charged once, weighed over a horizon, in one home."""

from itertools import product

import numpy as np
import pytest

from papisim.calibration.operators import Assigned
from papisim.calibration.speculation import speculator_of
from papisim.config.experiment import RunOptions, load_experiment
from papisim.errors import InputError, NotModelled
from papisim.ops.lower import decode_lengths, decode_shape, kv_bytes_per_token
from papisim.ops.trace import read_trace
from papisim.plan.build import planner_of
from papisim.plan.holding import Cost, Holding
from papisim.plan.machine import HOST, build_machine
from papisim.plan.phase import Category
from papisim.policies.placement.base import Operator
from papisim.policies.speculation.base import Draft
from papisim.record.steps import StepKind

PROMPT, ANSWER, BATCH, TLP = 3000, 64, 8, 8
BATCH_OF = [(0.0, PROMPT, ANSWER)] * BATCH
#: whole batches begin together, so that the caches at the first iteration are known
TOGETHER = {
    "trace": "llama3-8b",
    "batching": "static",
    "batch": BATCH,
    "placement": "cheapest",
    "speculation": "fixed",
    "acceptance": "always",
}


def with_horizon(iterations, *extra):
    where = ["roles.kv_elsewhere={gpu: fc_pim}", f"scheduler.horizon_iterations={iterations}"]
    return {**TOGETHER, "set": [f"speculation.tlp={TLP}", *where, *extra]}


def time_of(planner, cached=PROMPT):
    lengths = decode_lengths(BATCH, TLP, BATCH * cached, cached)
    return planner.work(decode_shape(BATCH, BATCH * TLP), lengths, None).time_s


def break_even():
    """Return the seconds of a move of the batch's caches, and what an iteration saves once they have been moved."""
    experiment = load_experiment(RunOptions(hw="papi", **with_horizon(1)))
    machine, trace = build_machine(experiment.system), read_trace(experiment.trace.path)
    at_home, moved = (planner_of(experiment, trace, each) for each in (machine, machine.with_caches_at("gpu")))
    move = machine.send("pcie", BATCH * PROMPT * kv_bytes_per_token(trace))
    return move.time_s, time_of(at_home) - time_of(moved)


def test_caches_move_where_the_horizon_is_longer_than_the_break_even(serve):
    move_s, saved_s = break_even()
    steps = move_s / saved_s
    assert 1 < steps < 40, "the test needs a move that pays, and not at once"
    # the break-even of later iterations is a little later, as the caches have grown
    before, after = (serve(BATCH_OF, "papi", **with_horizon(n * steps)).ledger for n in (0.9, 1.0001))
    assert before.overheads.n_moves == 0
    assert (after.overheads.n_moves, after.overheads.move_s) == (1, pytest.approx(move_s))


def test_a_move_is_charged_once_and_afterwards_attention_and_appends_are_local(serve):
    """Decoding takes what it does where the caches were from the start, and the move; joules likewise."""
    moved = serve(BATCH_OF, "papi", **with_horizon(1000))
    roles = ["roles.kv=fc_pim", "roles.attention=gpu", "roles.attention_link=null"]
    there = serve(BATCH_OF, "papi", **{**TOGETHER, "set": [f"speculation.tlp={TLP}", *roles]})
    move = moved.machine.send("pcie", BATCH * PROMPT * kv_bytes_per_token(moved.trace))
    assert moved.ledger.overheads.moved_bytes == BATCH * PROMPT * kv_bytes_per_token(moved.trace)
    decode, reference = (run.ledger.totals[StepKind.DECODE] for run in (moved, there))
    assert decode.time_s == pytest.approx(reference.time_s + move.time_s, rel=1e-12)
    joules, others = (run.ledger.sums(StepKind.DECODE).energy for run in (moved, there))
    assert joules.link_j == pytest.approx(others.link_j + move.energy.link_j)
    assert joules._replace(link_j=0.0) == pytest.approx(others._replace(link_j=0.0))
    assert moved.ledger.totals[StepKind.DECODE].n_steps == reference.n_steps


def test_caches_that_do_not_fit_stay(serve):
    small = "devices.fc_pim.count=2"  # 25.8 GB, 16.1 GB of them weights
    few, many = (serve([(0.0, 4000, 16)] * n, "papi", **{**with_horizon(1000, small), "batch": n}) for n in (8, 24))
    assert few.ledger.overheads.n_moves == 1
    assert many.ledger.overheads.n_moves == 0


@pytest.mark.parametrize("fast_forward", [True, False])
def test_room_is_that_of_the_home_that_the_caches_are_in(serve, fast_forward):
    """Requests that fitted where the caches were are preempted, or wait, where there is less room, and all are served."""
    small = "devices.fc_pim.count=2"
    options = {**with_horizon(1000, small), "batching": "continuous", "batch": 64, "fast_forward": fast_forward}
    requests = [(0.001 * number, 900, 200) for number in range(90)]
    run = serve(requests, "papi", **options)
    assert run.ledger.overheads.n_moves >= 1
    first = next(i for i, each in enumerate(run.ledger.segments) if each.placed.get(Operator.ATTENTION) == "gpu")
    room = 2 * 12 * 2**30 - 16.06e9
    assert max(float(segment.plan.held_bytes.max()) for segment in run.ledger.segments[first:]) <= room
    assert all(record.emitted_tokens == 200 for record in run.ledger.requests)


def test_a_horizon_of_one_iteration_is_the_shortest_iteration_and_never_invests(serve):
    runs = {n: serve(BATCH_OF, "papi", **with_horizon(n)).ledger for n in (1, 20)}
    assert runs[1].overheads.n_moves == 0
    assert runs[20].makespan_s < runs[1].makespan_s


def test_decisions_take_their_time_where_they_are_made(serve):
    requests = [(0.0, 100, 50)]
    free = serve(requests, "papi")
    for device, resource in (("host", HOST), ("attn_pim", "attn_pim")):
        run = serve(requests, "papi", set=["scheduler.decision_s=10 us", f"scheduler.runs_on={device}"])
        # the first token is the prompt's
        assert run.ledger.overheads.n_decisions == 49
        assert run.ledger.makespan_s == pytest.approx(free.ledger.makespan_s + 49 * 10e-6)
        rows = [run.ledger.sums(StepKind.DECODE).time_by[Category.OTHER] for run in (run, free)]
        assert rows[0] - rows[1] == pytest.approx(49 * 10e-6)
        busy = [each.ledger.sums(StepKind.DECODE).busy_by.get(resource, 0.0) for each in (run, free)]
        assert busy[0] - busy[1] == pytest.approx(49 * 10e-6)


def test_policies_that_compare_drafts_see_the_decision_that_each_iteration_takes():
    options = {
        "hw": "papi",
        "trace": "llama7b",
        "draft": "eagle_head",
        "speculation": "fixed",
        "acceptance": "always",
    }
    free, charged = (
        speculator_of(
            load_experiment(RunOptions(**options, set=["speculation.tlp=4", f"scheduler.decision_s={time_s}"]))
        )
        for time_s in ("0 s", "1 ms")
    )
    drafts, cached = [Draft(3)] * 2, np.full(2, 300)
    assert charged.price_s(drafts, cached) - free.price_s(drafts, cached) == pytest.approx(1e-3)


ATTACHED = {"trace": "llama3-8b", "placement": "cheapest"}
#: attention moves in the midst of a stretch
GROWING = [(0.0, 5_900 + 10 * number, 700 + 20 * number) for number in range(8)]
SWITCH = ["scheduler.drain_s=1 ms", "scheduler.capture_s=2 ms"]


@pytest.mark.parametrize("fast_forward", [True, False])
def test_a_switch_is_charged_once_wherever_it_comes(serve, fast_forward):
    free = serve(GROWING, "papi_attached", fast_forward=fast_forward, **ATTACHED)
    run = serve(GROWING, "papi_attached", fast_forward=fast_forward, set=SWITCH, **ATTACHED)
    switches = run.ledger.overheads.n_switches
    assert 0 < switches <= sum(each.n_switches for each in free.ledger.visits.values())
    assert run.ledger.makespan_s == pytest.approx(free.ledger.makespan_s + switches * 3e-3, rel=1e-12)
    assert run.ledger.overheads.switch_s == pytest.approx(switches * 3e-3)


def test_operators_are_held_until_moving_them_pays(serve):
    horizons = {n: serve(GROWING, "papi_attached", set=[*SWITCH, *([f"scheduler.horizon_iterations={n}"] if n else [])], **ATTACHED) for n in (None, 1e-6, 1e9)}  # fmt: skip
    switches = {n: run.ledger.overheads.n_switches for n, run in horizons.items()}
    assert switches[1e-6] == 0
    assert switches[1e9] == switches[None] > 0
    assert horizons[1e9].ledger.makespan_s == pytest.approx(horizons[None].ledger.makespan_s, rel=1e-12)


@pytest.mark.parametrize(("standing", "rlp"), list(product([(4, 300), (64, 300), (16, 20_000)], (1, 8, 40, 130))))
@pytest.mark.parametrize("switch_s", [1e-5, 1e-3])
def test_with_a_horizon_of_one_no_placement_makes_the_next_iteration_shorter_than_the_oracles(
    standing, rlp, switch_s
):
    """Switches are in the iteration's time, for all placements but that of the iteration before."""
    experiment = load_experiment(RunOptions(hw="papi_attached", **ATTACHED))
    machine, trace = build_machine(experiment.system), read_trace(experiment.trace.path)
    oracle = planner_of(experiment, trace, machine)
    held, cached = Holding(oracle, Cost(switch_s, 1)), 5000

    def step(planner, rlp, cached):
        shape, lengths = decode_shape(rlp, rlp), decode_lengths(rlp, 1, rlp * cached, cached)
        layout = planner.layout(shape, lengths)
        devices = tuple(part.fc_devices for part in layout.parts), tuple(slot.device for slot in layout.slots)
        return planner.work(shape, lengths, None).time_s, devices, oracle.places(shape, lengths)

    step(held, *standing)
    held.settle()
    _, before, places = step(oracle, *standing)
    ours_s, ours, _ = step(held, rlp, cached)
    ours_s += switch_s * (ours != before)
    others = [
        planner_of(
            experiment, trace, machine, Assigned(dict(zip((Operator.FC, Operator.ATTENTION), devices, strict=True)))
        )
        for devices in product(("gpu", "fc_pim"), ("gpu", "attn_pim"))
    ]
    for other in (oracle, *others):
        theirs_s, theirs, _ = step(other, rlp, cached)
        assert ours_s <= (theirs_s + switch_s * (theirs != before)) * (1 + 1e-12)
    shape, lengths = decode_shape(rlp, rlp), decode_lengths(rlp, 1, rlp * cached, cached)
    stay_s = oracle.layout(shape, lengths, places=places)
    assert (
        ours_s
        <= stay_s.time_s + sum(p.total_s for s in stay_s.slots for p in oracle.attention(s, lengths, None)) + 1e-15
    )


def test_experts_are_held_with_the_other_operators():
    """One request has its experts on PIM, 256 on the GPUs; where a switch costs too much they stay where they are."""
    experiment = load_experiment(RunOptions(hw="papi_attached", trace="qwen3-30b-a3b", placement="cheapest"))
    machine, trace = build_machine(experiment.system), read_trace(experiment.trace.path)
    oracle = planner_of(experiment, trace, machine)
    held = Holding(oracle, Cost(1.0, 1))
    few, many = ((decode_shape(n, n), decode_lengths(n, 1, n * 500, 500)) for n in (1, 256))
    assert set(oracle.places(*few).experts) == {"fc_pim"} != set(oracle.places(*many).experts)
    held.layout(*few)
    held.settle()
    devices = {
        layout: _expert_devices(planner.layout(*many)) for layout, planner in (("held", held), ("free", oracle))
    }
    assert devices["held"] == {"fc_pim"} != devices["free"]
    assert held.layout(*many).time_s > oracle.layout(*many).time_s


def _expert_devices(layout):
    sums = (part.sums.operator_s for part in layout.parts)
    return {device for each in sums for operator, device in each if operator is Operator.EXPERTS}


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["roles.kv_elsewhere={gpu: fc_pim}"], "scheduler.horizon_iterations, which is not given"),
        (["roles.kv_elsewhere={gpus: fc_pim}", "scheduler.horizon_iterations=1"], "no device 'gpus'"),
        (["roles.kv_elsewhere={gpu: fcpim}", "scheduler.horizon_iterations=1"], "no device 'fcpim' in this system; did you mean 'fc_pim'"),
        (["roles.kv_elsewhere={gpu: attn_pim}", "scheduler.horizon_iterations=1"], "are where caches are"),
        (["roles.kv_elsewhere={fc_pim: fc_pim}", "scheduler.horizon_iterations=1"], "attention of prompts on 'gpu'"),
        (["scheduler.runs_on=hots"], "no 'hots' here; did you mean 'host'"),
        (["scheduler.decision_s=-1"], "decision_s"),
    ],
)  # fmt: skip
def test_homes_and_costs_that_make_no_sense_are_refused(overrides, said):
    with pytest.raises(InputError, match=said):
        load_experiment(RunOptions(hw="papi", trace="llama7b", set=overrides))


def test_caches_do_not_move_where_there_is_no_link():
    overrides = ["roles.kv_elsewhere={gpu: fc_pim}", "scheduler.horizon_iterations=1"]
    with pytest.raises(InputError, match="of which there is none"):
        load_experiment(RunOptions(hw="papi_attached", trace="llama7b", placement="cheapest", set=overrides))


@pytest.mark.parametrize("extra", [["kv.prefix_cache={kind: block}"], ["overlap.kind=sub_batches"]])
def test_what_is_not_modelled_with_moving_caches_is_refused(serve, extra):
    with pytest.raises(NotModelled, match="kv_elsewhere"):
        serve(BATCH_OF, "papi", **with_horizon(4, *extra))
