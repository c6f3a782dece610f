"""Drafting beside verification: as many tokens as without, in the time that the slower of the two takes."""

from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import pytest

from papisim import catalog
from papisim.catalog import Shelf
from papisim.config.experiment import RunOptions, load_experiment
from papisim.engine.asynchronous import Asynchronous
from papisim.engine.batch import Batch
from papisim.engine.build import build_speculator
from papisim.engine.drafting.base import DraftContext, ScheduleSpec, SerialDrafting
from papisim.engine.probe import Probe
from papisim.engine.request import Request
from papisim.engine.run import Run, simulate
from papisim.errors import InputError, NotModelled
from papisim.ops.kernel import Linear
from papisim.ops.lower import kv_bytes_per_token
from papisim.ops.trace import read_trace
from papisim.plan.build import planner_of
from papisim.plan.machine import build_machine
from papisim.plan.phase import Category, Phase
from papisim.record.steps import StepKind, StepRow
from papisim.results.metrics import summarise

SYNCHRONOUS = "{kind: synchronous}"
ASYNCHRONOUS = "{kind: asynchronous}"
POOLED = "{kind: asynchronous, pool_tokens: 1}"
NEVER = "acceptance={kind: geometric, alpha: 0}"
DRAFTS = "drafting={kind: model, trace: llama-68m, device: helper}"
PATIENT = "{kind: asynchronous, eager: false, pool_tokens: 4}"
SCHEDULES = (ASYNCHRONOUS, POOLED, PATIENT, "{kind: asynchronous, pool_tokens: 12}")


@pytest.fixture(scope="module")
def helped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A machine with a GPU more, which has nothing to do but to draft."""
    text = catalog.find(Shelf.SYSTEM, "gpu_only").path.read_text(encoding="utf-8")
    path = tmp_path_factory.mktemp("system") / "helped.yaml"
    path.write_text(text.replace("links:", "  helper: {part: a100, count: 1}\nlinks:", 1), encoding="utf-8")
    return path


class Watch:
    """Notes when each device and link is busy, from when to when."""

    def __init__(self) -> None:
        self.busy: dict[str, list[tuple[float, float]]] = defaultdict(list)

    def layers(self, server: str, start_s: float, iteration: int) -> bool:
        del server, start_s
        return iteration % 2 == 0

    def phase(self, server: str, start_s: float, step: StepRow, phase: Phase) -> None:
        del server, step
        self.busy[phase.resource].append((start_s, start_s + phase.total_s))

    def step(self, server: str, step: StepRow) -> None:
        del server, step


def run(hw: object, schedule: str, *overrides: str, probe: Probe | None = None, **options: object) -> Run:
    given = {"trace": "llama3-8b", "batch": 4, "requests": 4, **options}
    draft, device = given.pop("model", "llama-68m"), given.pop("device", "gpu")
    drafting = f"drafting={{kind: model, trace: {draft}, device: {device}, schedule: {schedule}}}"
    length, alpha = given.pop("length", 3), given.pop("alpha", 0.6)
    assignments = [
        drafting,
        f"speculation={{kind: fixed, tlp: {int(str(length)) + 1}}}",
        f"acceptance={{kind: geometric, alpha: {alpha}}}",
        "workload.lengths={kind: fixed, input_tokens: 64, output_tokens: 40}",
    ]
    set_already = {*given, *(each.partition("=")[0] for each in overrides)}
    named = [each for each in assignments if each.partition("=")[0] not in set_already]
    experiment = load_experiment(RunOptions(hw=str(hw), set=[*named, *overrides], **given))  # type: ignore[arg-type]
    return simulate(experiment, probe=probe)


def decoding(made: Run) -> list[StepRow]:
    return [step for step in made.ledger.steps if step.kind == "decode"]


def fc_flop(made: Run, category: Category) -> float:
    """FLOP of the FC kernels of all phases of a category, which are in proportion to tokens."""
    phases = (phase for segment in made.ledger.segments for phase in segment.plan.phases)
    return sum(
        phase.flop * phase.repeats
        for phase in phases
        if phase.category is category and any(isinstance(work.item, Linear) for work in phase.work)
    )


@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.0])
def test_a_verification_of_all_requests_accepts_what_it_accepts_without(helped: Path, alpha: float):
    plain, beside = (run(helped, kind, alpha=alpha, device="helper") for kind in (SYNCHRONOUS, ASYNCHRONOUS))
    rounds = [
        [(step.rows, step.drafted, step.accepted, step.tokens) for step in decoding(r)] for r in (plain, beside)
    ]
    assert rounds[0] == rounds[1]


@pytest.mark.parametrize(("model", "length"), [("llama-68m", 3), ("llama32-1b", 8)])
def test_what_is_always_accepted_takes_the_slower_of_drafting_and_verification(helped: Path, model: str, length: int):
    drawn = {"model": model, "length": length, "alpha": 1, "device": "helper"}
    long = "workload.lengths={kind: fixed, input_tokens: 64, output_tokens: 200}"
    plain, beside = (decoding(run(helped, kind, long, **drawn)) for kind in (SYNCHRONOUS, ASYNCHRONOUS))
    for before, step in list(zip(plain, beside, strict=True))[1:-2]:
        draft_s = before.time_by[Category.DRAFT]
        verify_s = before.time_s - draft_s
        steps_s = draft_s * (length + 1) / length  # the guess of the token that verification adds, and the drafts
        assert step.time_s == pytest.approx(max(steps_s, verify_s), rel=5e-3)
        assert step.wasted == 4, "the guesses"


@pytest.mark.parametrize(("model", "length"), [("llama-68m", 3), ("llama32-1b", 8)])
def test_what_is_never_accepted_gains_nothing_and_loses_at_most_the_step_under_way(
    helped: Path, model: str, length: int
):
    drawn = {"model": model, "length": length, "alpha": 0, "device": "helper"}
    plain, beside = (decoding(run(helped, kind, **drawn)) for kind in (SYNCHRONOUS, ASYNCHRONOUS))
    for before, step in list(zip(plain, beside, strict=True))[: -3 * length]:
        step_s = before.time_by[Category.DRAFT] / length
        assert before.time_s * (1 - 1e-9) <= step.time_s <= before.time_s + 1.01 * step_s
        assert step.wasted > 0


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.0])
def test_every_draft_is_verified_or_wasted(helped: Path, schedule: str, alpha: float):
    made, plain = (run(helped, each, alpha=alpha, device="helper") for each in (schedule, SYNCHRONOUS))
    token = fc_flop(plain, Category.DRAFT) / sum(step.drafted for step in decoding(plain))
    steps = decoding(made)
    drafted = sum(step.drafted + step.wasted for step in steps)
    assert fc_flop(made, Category.DRAFT) / token == pytest.approx(drafted, rel=1e-9)
    assert all(step.accepted <= step.drafted for step in steps)
    figures = summarise(made)["speculation_yield"]
    assert figures["emitted_tokens_per_round"] == pytest.approx(1 + figures["accepted_tokens_per_round"], rel=1e-12)
    assert figures["wasted_tokens_per_round"] == pytest.approx(
        sum(step.wasted for step in steps) / sum(step.tokens - step.accepted for step in steps), rel=1e-12
    )


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_request_gets_its_tokens_and_no_time_is_lost(schedule: str):
    made = run("papi", schedule, batch=3, requests=7)
    assert all(row.emitted_tokens == row.output_tokens == 40 for row in made.ledger.requests)
    for step in made.ledger.steps:
        assert sum(step.time_by.values()) - step.overlapped_s == pytest.approx(step.time_s, rel=1e-9)
    if schedule != PATIENT:  # whose requests are all verified at once
        assert sum(step.overlapped_s for step in made.ledger.steps) > 0
    assert all(busy_s <= made.ledger.makespan_s for busy_s in made.ledger.busy_s.values())


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("device", ["gpu", "attn_pim"])
def test_folding_and_running_at_once_change_nothing(schedule: str, device: str):
    short = "workload.lengths={kind: fixed, input_tokens: 64, output_tokens: 12}"
    fast = run("papi", schedule, short, device=device)
    exact = run("papi", schedule, short, device=device, fold=False, fast_forward=False)
    assert fast.ledger.end_s == pytest.approx(exact.ledger.end_s, rel=1e-9)
    for one, other in zip(fast.ledger.steps, exact.ledger.steps, strict=True):
        assert (one.rows, one.drafted, one.accepted, one.wasted) == (other.rows, other.drafted, other.accepted, other.wasted)  # fmt: skip
        assert one.energy.total_j == pytest.approx(other.energy.total_j, rel=1e-9)
        assert one.time_by[Category.DRAFT] == pytest.approx(other.time_by[Category.DRAFT], rel=1e-9)


@pytest.mark.parametrize("device", ["gpu", "helper"])
def test_a_probe_sees_each_device_serve_one_phase_at_a_time_in_the_very_run(helped: Path, device: str):
    watch = Watch()
    seen, alone = run(helped, POOLED, device=device, probe=watch), run(helped, POOLED, device=device)
    assert seen.ledger.makespan_s == pytest.approx(alone.ledger.makespan_s, rel=1e-12)
    for spans in watch.busy.values():
        ordered = sorted(spans)
        assert all(end <= begin + 1e-12 for (_, end), (begin, _) in pairwise(ordered))
        assert ordered[-1][1] <= seen.ledger.makespan_s * 1.01, "a draft step that is under way at the end goes on"
    for name, busy_s in seen.ledger.sums(*StepKind).busy_by.items():
        spent_s = sum(end - begin for begin, end in watch.busy[name])
        assert spent_s == pytest.approx(busy_s, rel=0.01), "of the last draft step, what had not begun was never run"
    if device == "helper":
        both = sorted((*watch.busy["gpu"], *watch.busy["helper"]))
        assert any(begin < end - 1e-9 for (_, end), (begin, _) in pairwise(both)), (
            "drafting goes on beside verification"
        )


def test_a_device_that_both_need_makes_verification_slower(helped: Path):
    apart, shared = (run(helped, ASYNCHRONOUS, alpha=1, device=device) for device in ("helper", "gpu"))
    verify = {step.time_s - step.time_by[Category.DRAFT] for step in decoding(run(helped, SYNCHRONOUS, alpha=1))}
    assert decoding(apart)[3].time_s == pytest.approx(max(verify), rel=1e-2)
    assert decoding(shared)[3].time_s > 1.1 * max(verify)


def test_memory_with_one_row_buffer_makes_devices_take_turns():
    kinds = ("blocked", "dual_row_buffer")
    blocked, dual = (
        run("saddle", ASYNCHRONOUS, f"roles.arbitration.kind={kind}", device="pim", alpha=1).ledger.end_s
        for kind in kinds
    )
    plain = run("saddle", SYNCHRONOUS, device="pim", alpha=1).ledger.end_s
    assert dual < blocked
    assert dual < plain


def test_a_pool_lets_requests_be_verified_while_others_draft(helped: Path):
    made = run(helped, POOLED, device="helper", alpha=0.6)
    decoded = {segment.plan.decoding for segment in made.ledger.segments if segment.kind == "decode"}
    assert {segment.plan.rlp for segment in made.ledger.segments if segment.kind == "decode"} >= {4}
    assert min(decoded) < 4, "some verifications take only those that have drafts"


def test_a_device_of_its_own_pays_where_drafts_are_right_and_not_where_they_are_wrong(helped: Path):
    """The rows of the table in docs/physics/speculation.md for one request."""
    lengths = "workload.lengths={kind: fixed, input_tokens: 128, output_tokens: 128}"
    drawn = {"trace": "llama3-70b", "model": "llama32-1b", "device": "helper", "batch": 1, "requests": 1, "length": 4}

    def decode_s(schedule: str, alpha: float) -> float:
        return sum(step.time_s for step in decoding(run(helped, schedule, lengths, **drawn, alpha=alpha)))

    gains = {alpha: decode_s(SYNCHRONOUS, alpha) / decode_s(ASYNCHRONOUS, alpha) for alpha in (0.3, 0.6, 0.95)}
    assert gains[0.95] == pytest.approx(235 / 172, rel=0.02)
    assert gains[0.3] < gains[0.6] < gains[0.95]


def test_without_eager_drafts_nothing_is_guessed(helped: Path):
    made = run(helped, "{kind: asynchronous, eager: false}", device="helper")
    plain = run(helped, SYNCHRONOUS, device="helper")
    assert sum(step.wasted for step in made.ledger.steps) == 0
    assert made.ledger.end_s == pytest.approx(plain.ledger.end_s, rel=1e-9), (
        "all are verified, so none drafts meanwhile"
    )


def test_a_dynamic_stop_judges_the_chain_of_unverified_drafts(helped: Path):
    """A request whose draft was stopped does not draft on; each that was not, does."""
    stops = {"speculation": "adaedl", "acceptance": "sps_adaptive_vicuna7b", "device": "helper"}
    made, without = (run(helped, schedule, **stops) for schedule in (ASYNCHRONOUS, SYNCHRONOUS))
    assert decoding(made)[0].drafted == decoding(without)[0].drafted
    assert sum(step.wasted for step in made.ledger.steps) > 0
    assert all(row.emitted_tokens == 40 for row in made.ledger.requests)


def test_a_run_without_drafts_is_a_run_without_drafts():
    off = simulate(load_experiment(RunOptions(hw="papi", trace="llama3-8b", batch=4, requests=4)))
    made = simulate(
        load_experiment(
            RunOptions(hw="papi", trace="llama3-8b", batch=4, requests=4, draft="llama68m", set=[f"drafting.schedule={ASYNCHRONOUS}"])
        )
    )  # fmt: skip
    assert made.ledger.end_s == off.ledger.end_s


def test_a_head_drafts_beside_verification_too():
    drafting = f"drafting={{kind: head, schedule: {ASYNCHRONOUS}}}"
    plain = "drafting={kind: head}"
    beside, alone = (run("gpu_only", "", each, alpha=1) for each in (drafting, plain))
    assert sum(step.tokens for step in beside.ledger.steps) == sum(step.tokens for step in alone.ledger.steps)
    # one device does both: what it drafts beside verification it drafts no sooner
    assert beside.ledger.end_s == pytest.approx(alone.ledger.end_s, rel=0.2)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("batching", ["continuous", "chunked_prefill", "prefill_priority"])
def test_requests_that_come_and_go_are_all_served(schedule: str, batching: str):
    lengths = "workload.lengths={kind: fixed, input_tokens: 64, output_tokens: 30}"
    rate = "workload.rate_per_s=400"
    options = {"workload": "azure_conversation", "batching": batching, "batch": 4, "requests": 12}
    made = run("papi", schedule, lengths, rate, **options)
    assert all(row.outcome == "served" and row.emitted_tokens == 30 for row in made.ledger.requests)
    steps = made.ledger.steps
    assert sum(step.tokens for step in steps) == 12 * 30
    for step in steps:
        assert sum(step.time_by.values()) - step.overlapped_s == pytest.approx(step.time_s, rel=1e-9)
    token = fc_flop(run("papi", SYNCHRONOUS, lengths, **options), Category.DRAFT) / sum(
        step.drafted for step in run("papi", SYNCHRONOUS, lengths, **options).ledger.steps
    )
    drafted = sum(step.drafted + step.wasted for step in steps)
    assert fc_flop(made, Category.DRAFT) / token == pytest.approx(drafted, rel=1e-9)


@pytest.mark.parametrize("on_exhaustion", ["recompute", "swap"])
@pytest.mark.parametrize("schedule", [ASYNCHRONOUS, POOLED])
def test_a_preempted_request_loses_its_drafts(helped: Path, schedule: str, on_exhaustion: str):
    kv = [f"kv.on_exhaustion={on_exhaustion}", *(["kv.swap_link=nvlink"] if on_exhaustion == "swap" else [])]
    plain = run(helped, SYNCHRONOUS, device="helper")
    token, weights = kv_bytes_per_token(plain.trace), 2 * plain.trace.model.n_parameters
    room = f"kv.utilisation_ratio={(weights + 1.02 * 250 * token) / plain.machine.pools['gpu'].capacity_bytes!r}"
    lengths = "workload.lengths={kind: fixed, input_tokens: 60, output_tokens: 100}"
    options = {
        "workload": "azure_conversation",
        "batching": "continuous",
        "batch": 4,
        "requests": 6,
        "device": "helper",
    }
    made = run(helped, schedule, lengths, "workload.rate_per_s=1000", room, *kv, **options)
    assert made.ledger.n_preemptions > 0
    assert all(row.emitted_tokens == 100 for row in made.ledger.requests)
    per_token = fc_flop(plain, Category.DRAFT) / sum(step.drafted for step in decoding(plain))
    drafted = sum(step.drafted + step.wasted for step in made.ledger.steps)
    assert fc_flop(made, Category.DRAFT) / per_token == pytest.approx(drafted, rel=1e-9)


def test_drafts_that_are_made_ahead_need_room(helped: Path):
    options = RunOptions(
        hw=str(helped), trace="llama3-8b", speculation="fixed", set=["speculation.tlp=4", NEVER, DRAFTS]
    )
    experiment = load_experiment(options)
    machine, trace = build_machine(experiment.system), read_trace(experiment.trace.path)
    speculator = build_speculator(experiment, DraftContext(machine, trace, planner_of(experiment, trace, machine), 0))
    assert isinstance(speculator.source, SerialDrafting)
    made = Asynchronous(speculator, speculator.source, ScheduleSpec(kind="asynchronous"), frozenset())
    batch = Batch()
    batch.join([Request(request, 0.0, 64, 40) for request in range(3)])
    first = made.prepare(0, batch, None, fold=True)
    again = made.prepare(0, batch, None, fold=True)
    assert (again.work.time_s, again.overlapped_s) == (first.work.time_s, first.overlapped_s), (
        "it may be prepared again"
    )
    assert (first.rows == 4).all()
    assert not isinstance(first.ahead, int)
    assert first.ahead.sum() > 0
    assert (first.room == first.rows + first.ahead).all()
    assert made.verify(batch, first).wasted == first.ahead.sum(), "no draft is right, so nothing made ahead is kept"


@pytest.mark.parametrize(
    ("overrides", "options", "message"),
    [
        (["drafting={kind: ngram, iteration_s: 0, request_s: 0, schedule: {kind: asynchronous}}"], {}, "schedule"),
        ([], {"schedule": "{kind: pre_verification}"}, "AHASD"),
        (["overlap.kind=sub_batches"], {}, "overlap"),
        ([], {"speculation": "meta_eagle"}, "trees of drafts"),
    ],
)
def test_what_is_not_modelled_is_refused_by_name(overrides: list[str], options: dict[str, str], message: str):
    schedule = options.pop("schedule", ASYNCHRONOUS)
    with pytest.raises((NotModelled, InputError), match=message):
        run("papi", schedule, *overrides, **options)


def test_a_request_without_tokens_in_a_step_has_no_gap_there(helped: Path):
    made = run(helped, POOLED, device="helper")
    emitting = sum(segment.plan.decoding for segment in made.ledger.segments if segment.kind == "decode")
    assert made.ledger.latencies["itl"].n_values == emitting
