"""What each level of dynamism gains, where PIM stops paying, and what an Attn-PIM should look like for grouped queries.

``operators.py OUT`` prices decoding steps and writes frames into OUT; operators_page.py makes the page of them. Nothing is drawn at random but
the points between those of the calibration, whose seed is 0.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from papisim.calibration.operators import Assigned, Point, Subject, subjects
from papisim.config.experiment import Experiment, RunOptions, load_experiment
from papisim.devices.pim.energy import fed_w
from papisim.diagnosis.operators import Moved
from papisim.engine.drafting.base import DRAFTING, DraftContext, DraftSource
from papisim.engine.run import simulate
from papisim.ops.lower import decode_lengths, decode_shape
from papisim.plan.build import build_placement, planner_of
from papisim.plan.memory import plan_memory
from papisim.plan.phase import seconds
from papisim.plan.planner import Planner
from papisim.policies.placement.base import Operator, PlacementPolicy
from papisim.policies.speculation.base import Draft
from papisim.record.steps import StepKind
from papisim.results.metrics import summarise

#: the grid: requests, tokens in flight of each, tokens in each cache
BATCHES, TLPS, CONTEXTS = (1, 4, 16, 64, 256), (1, 2, 4, 8, 16), (512, 2048, 8192, 32768, 131072)
#: models and the machines that each is priced on: those that hold its weights, mixtures of experts on fewer
DENSE, MIXTURES = ("papi", "papi_attached", "h200_hbmpim", "saddle"), ("papi", "papi_attached", "h200_hbmpim")
MODELS = {
    "llama7b": DENSE, "llama3-8b": DENSE, "llama3-70b": DENSE,
    "mixtral-8x7b": MIXTURES, "qwen3-30b-a3b": MIXTURES, "deepseek-v3": ("h200_hbmpim",),
}  # fmt: skip
#: assignments that let PIM units take the 8 bits that a model's weights are stored in, as PAPI's stacks do
WIDENING = {"deepseek-v3": ("devices.pim.part.fpu.widens_bits=[8,4]",)}
#: points between those of the calibration, per machine and model
_BETWEEN = 40
#: options of runs that draft
SPECULATION = {"speculation": "fixed", "acceptance": "always"}
#: pairs of a target and a draft model
PAIRS = (("llama7b", "llama-68m"), ("llama3-8b", "llama32-1b"))
_DRAFT_GRID = ((1, 16, 256), TLPS[1:], (512, 8192))
#: schedules of a draft model, and the draft lengths that each is tried with
SCHEDULES = {
    "synchronous": "{kind: synchronous}", "shared pool": "{kind: asynchronous, eager: false, pool_tokens: 1}",
    "eager": "{kind: asynchronous, eager: true}", "both": "{kind: asynchronous, eager: true, pool_tokens: 1}",
}  # fmt: skip
_LENGTHS = (1, 2, 4)
#: an Attn-PIM for grouped queries: FPUs per bank, and the banks of a die that leave room for them
DESIGNS = ((0.5, 128), (1, 128), (2, 112), (4, 96))
_DESIGN_GRID = ((4, 16, 64, 256), (1, 4, 8, 16), (2048, 32768))
_DESIGN_MODELS = ("llama7b", "llama3-8b", "qwen3-32b", "mixtral-8x7b", "qwen3-30b-a3b")
OPERATORS = (Operator.FC, Operator.ATTENTION, Operator.EXPERTS)
#: hysteresis: a machine whose switches are free and one that captures a graph for each, requests per second, and horizons; None follows the policy
_FREE, _CAPTURING, _RATES, _HORIZONS = "saddle", "saddle_recapture", (4, 10, 20), (None, 1, 10, 100, 1000)


def grid() -> list[Point]:
    """Return the grid of the study: RLP, TLP and context."""
    return [Point(*each) for each in product(BATCHES, TLPS, CONTEXTS)]


def between(seed: int = 0) -> list[Point]:
    """Return points that lie between those of the calibration, uniform in the logarithm of batch and context."""
    draw = random.Random(seed)
    return [
        Point(round(2 ** draw.uniform(0, 8)), draw.randint(1, 16), round(2 ** draw.uniform(9, 17)))
        for _ in range(_BETWEEN)
    ]


@dataclass(frozen=True)
class Case:
    """A model on a machine, with planners under each policy.

    Attributes:
        machine: name of the machine.
        model: name of the model.
        overrides: assignments that change the machine.
    """

    machine: str
    model: str
    overrides: tuple[str, ...] = ()

    def experiment(self, placement: str, *overrides: str, **options: object) -> Experiment:
        """Load the experiment under a placement policy."""
        given = {"hw": self.machine, "trace": self.model, "placement": placement, **options}
        return load_experiment(RunOptions(set=(*self.overrides, *overrides), **given))  # type: ignore[arg-type]

    @cached_property
    def subject(self) -> Subject:
        """The model on the machine."""
        return next(subjects(self.experiment("cheapest")))

    def planner(self, policy: PlacementPolicy) -> Planner:
        """Return a planner under a policy."""
        return planner_of(self.subject.experiment, self.subject.trace, self.subject.machine, policy)

    @cached_property
    def policies(self) -> dict[str, PlacementPolicy]:
        """Policies by level of dynamism, each of which moves what the ones before it move."""
        papi, ours, oracle = (
            build_placement(self.experiment(name)) for name in ("papi", "papi_operators", "cheapest")
        )
        return {"papi": papi, "attention": Apart(Operator.ATTENTION, ours, papi), "operators": ours, "oracle": oracle}

    def source(self, drafting: str, planner: Planner, policy: PlacementPolicy) -> DraftSource:
        """Return a draft source whose operators a policy places."""
        experiment = self.experiment("cheapest", drafting, "speculation.tlp=4", **SPECULATION)
        subject = self.subject
        context = DraftContext(subject.machine, subject.trace, planner, experiment.seed, experiment.engine, policy)
        return DRAFTING.build(experiment.drafting, context)

    def fits(self, point: Point) -> bool:
        """Whether the caches of a step fit beside the weights."""
        trace, machine = self.subject.trace, self.subject.machine
        memory = plan_memory(machine, trace)
        return memory.tokens_of(point.rlp) >= point.rlp * (point.cached + point.tlp)


@dataclass(frozen=True)
class Apart:
    """A policy that places one operator, and another that places the rest."""

    operator: Operator
    of_it: PlacementPolicy
    others: PlacementPolicy

    def place(self, view):  # type: ignore[no-untyped-def] # as the protocol has it
        """Return the device of an operator."""
        return (self.of_it if view.operator is self.operator else self.others).place(view)


def step_s(planner: Planner, point: Point) -> float:
    """Return the seconds of a decoding step."""
    lengths = decode_lengths(point.rlp, point.tlp, point.rlp * point.cached, point.cached)
    return planner.work(decode_shape(point.rlp, point.rlp * point.tlp), lengths, None).time_s


def cases() -> Iterator[Case]:
    """Yield the models on their machines."""
    for model, machines in MODELS.items():
        for machine in machines:
            yield Case(machine, model, WIDENING.get(model, ()))


def levels(case: Case, points: Sequence[Point]) -> list[dict[str, object]]:
    """Price steps under every level, and where the oracle places operators; and at each static mapping."""
    plans = {name: case.planner(policy) for name, policy in case.policies.items()}
    candidates = {each: devices for each in OPERATORS if (devices := case.subject.candidates(each))}
    home = {each: devices[0] for each, devices in candidates.items()}
    moved = [(each, device) for each, devices in candidates.items() for device in devices[1:]]
    static = {"home": case.planner(Assigned(home))} | {
        f"{each.value}={device}": case.planner(Assigned(home | {each: device})) for each, device in moved
    }
    rows: list[dict[str, object]] = []
    for point in points:
        if not case.fits(point):
            continue
        row: dict[str, object] = {"machine": case.machine, "model": case.model, **point._asdict()}
        row |= {f"{name}_s": step_s(plan, point) for name, plan in plans.items()}
        row |= {f"static {name}": step_s(plan, point) for name, plan in static.items()}
        rows.append(row | placed(plans["oracle"], point))
    return rows


def placed(planner: Planner, point: Point) -> dict[str, object]:
    """Return the device that has most of each operator's time in a step."""
    lengths = decode_lengths(point.rlp, point.tlp, point.rlp * point.cached, point.cached)
    work = planner.work(decode_shape(point.rlp, point.rlp * point.tlp), lengths, None)
    time_s: dict[Operator, dict[str, float]] = {}
    for part in work.layout.parts:
        for (operator, device), spent_s in part.sums.operator_s.items():
            own = time_s.setdefault(operator, {})
            own[device] = own.get(device, 0.0) + spent_s
    for phase in work.phases:
        if phase.operator is not None:
            own = time_s.setdefault(phase.operator, {})
            own[phase.resource] = own.get(phase.resource, 0.0) + phase.total_s
    return {f"{operator.value}_on": max(own, key=own.__getitem__) for operator, own in time_s.items()}


def drafts(machine: str, target: str, draft: str) -> Iterator[dict[str, object]]:
    """Price iterations with a draft model that stays where it is or moves, from a home on the GPUs or on PIM."""
    case = Case(machine, target)
    pim = "fc_pim" if machine.startswith("papi") else "pim"

    def drafting(device: str, *elsewhere: str) -> str:
        return f"drafting={{kind: model, trace: {draft}, device: {device}, elsewhere: [{', '.join(elsewhere)}]}}"

    ours = case.experiment("papi_operators", drafting("gpu", pim), "speculation.tlp=4", **SPECULATION)
    oracle, papi_operators = build_placement(case.experiment("cheapest")), build_placement(ours)
    target_plan = case.planner(papi_operators)
    sources = {
        name: case.source(drafting(*devices), target_plan, policy)
        for name, devices, policy in (
            ("gpu", ("gpu",), oracle), ("pim", (pim,), oracle), ("operators", ("gpu", pim), papi_operators),
            ("oracle", ("gpu", pim), oracle), ("pim_oracle", (pim, "gpu"), oracle),
        )
    }  # fmt: skip
    for point in (Point(*each) for each in product(*_DRAFT_GRID)):
        if case.fits(point):
            caches, asked = np.full(point.rlp, point.cached, dtype=np.int64), [Draft(point.tlp - 1)] * point.rlp
            row = {"machine": machine, "model": target, "draft": draft, **point._asdict()}
            row["verify_s"] = step_s(target_plan, point)
            yield row | {f"{name}_s": seconds(each.draft(asked, caches)) for name, each in sources.items()}


def design_overrides(fpus_per_bank: float, banks: int) -> tuple[str, ...]:
    """Return the assignments that give Attn-PIM other FPUs, and the banks that leave room for them."""
    per_group, groups = {128: (4, 4), 112: (2, 7), 96: (2, 6)}[banks]
    part = "devices.attn_pim.part"
    capacity = 8 * banks * 16 * 2**20
    return (
        f"{part}.fpu.fpus={max(1, round(fpus_per_bank))}", f"{part}.fpu.per_banks={round(max(1, 1 / fpus_per_bank))}",
        f"{part}.organisation.banks_per_group={per_group}", f"{part}.organisation.bank_groups={groups}",
        f"{part}.capacity_bytes={capacity}", f"{part}.static_w={capacity / 2**31}",
    )  # fmt: skip


def designs() -> Iterator[dict[str, object]]:
    """Price steps on ``papi_attached`` with Attn-PIMs of more FPUs, attention on PIM, on the GPUs, and where it is faster."""
    for (fpus, banks), model in product(DESIGNS, _DESIGN_MODELS):
        case = Case("papi_attached", model, design_overrides(fpus, banks))
        oracle = build_placement(case.experiment("cheapest"))
        part = case.subject.machine.pools["attn_pim"].part
        about = {
            "fpus_per_bank": fpus, "banks_per_die": banks, "die_mm2": part.area.used_mm2(banks, fpus),
            "capacity_gib": part.capacity_bytes / 2**30,
            "fed_w": fed_w(1, part.energy, part.organisation, part.fpu), "fed_4_w": fed_w(4, part.energy, part.organisation, part.fpu),
        }  # fmt: skip
        plans = {
            name: case.planner(Moved(Operator.ATTENTION, device, oracle))
            for name, device in {"pim_s": "attn_pim", "gpu_s": "gpu", "best_s": None}.items()
        }
        for point in (Point(*each) for each in product(*_DESIGN_GRID)):
            row = {**about, "model": model, **point._asdict(), "attention_pim_s": attention_s(plans["pim_s"], point)}
            yield row | {name: step_s(plan, point) for name, plan in plans.items()}


def attention_s(planner: Planner, point: Point) -> float:
    """Return the seconds of attention kernels of a step."""
    lengths = decode_lengths(point.rlp, point.tlp, point.rlp * point.cached, point.cached)
    work = planner.work(decode_shape(point.rlp, point.rlp * point.tlp), lengths, None)
    return seconds(phase for phase in work.phases if phase.operator is Operator.ATTENTION)


def asynchronous() -> Iterator[dict[str, object]]:
    """Run answers with drafts beside verification, and in turn, each with the draft length at which it is fastest."""
    places = (("papi", "gpu"), ("papi", "fc_pim"), ("h200_hbmpim", "gpu"), ("h200_hbmpim", "pim"))
    for (machine, device), batch in product(places, (1, 16, 64)):
        case, row = Case(machine, "llama3-70b"), {"machine": machine, "draft_on": device, "batch": batch}
        for name, schedule in SCHEDULES.items():
            drafting = f"drafting={{kind: model, trace: llama32-1b, device: {device}, schedule: {schedule}}}"
            rates = {length: decoded_per_s(case, drafting, length, batch) for length in _LENGTHS}
            best = max(rates, key=rates.__getitem__)
            row |= {f"{name}_tokens_per_s": rates[best], f"{name}_drafts": best}
        yield row


def decoded_per_s(case: Case, drafting: str, length: int, batch: int) -> float:
    """Return the tokens per second of decoding of a closed batch that drafts a number of tokens."""
    lengths = "workload.lengths={kind: fixed, input_tokens: 512, output_tokens: 64}"
    drafts = {"batch": batch, "speculation": "fixed", "acceptance": "eagle2_chain6_llama3_8b"}
    experiment = case.experiment("papi_operators", drafting, lengths, f"speculation.tlp={length + 1}", **drafts)
    totals = simulate(experiment).ledger.totals[StepKind.DECODE]
    return totals.tokens / totals.time_s


def hysteresis() -> Iterator[dict[str, object]]:
    """Serve requests that come and go where switches are free, and where each captures a graph, over horizons that hold operators."""
    for rate in _RATES:
        for machine, horizon in ((_FREE, None), *((_CAPTURING, each) for each in _HORIZONS)):
            held = () if horizon is None else (f"scheduler.horizon_iterations={horizon}",)
            lengths = "lengths: {kind: log_normal, input_tokens: {mean_tokens: 64, cv: 1}, output_tokens: {mean_tokens: 200, cv: 1}}"
            workload = f"workload={{kind: poisson, rate_per_s: {rate}, n_requests: 200, {lengths}}}"
            options = RunOptions(hw=machine, trace="llama65b", batch=64, set=(workload, *held))
            summary = summarise(simulate(load_experiment(options)))
            yield {
                "rate_per_s": rate, "machine": machine, "horizon_iterations": horizon,
                **{name: summary[name] for name in ("n_iterations", "tpot_mean_s", "ttft_mean_s", "makespan_s")},
                "n_switches": summary["scheduler"]["n_switches"],
            }  # fmt: skip


def written(rows: Iterator[dict[str, object]] | list[dict[str, object]], file: Path) -> None:
    """Write rows as CSV."""
    pd.DataFrame(list(rows)).to_csv(file, index=False, float_format="%.9g")
    print(f"wrote {file}", file=sys.stderr, flush=True)


def price(out: Path) -> None:
    """Price everything, and write the frames."""
    out.mkdir(parents=True, exist_ok=True)
    written(designs(), out / "designs.csv")
    found, apart = list[dict[str, object]](), list[dict[str, object]]()
    for case in cases():
        found += levels(case, grid())
        apart += levels(case, between())
        print(case.machine, case.model, len(found), file=sys.stderr, flush=True)
        written(found, out / "grid.csv")
        written(apart, out / "between.csv")
    written((row for machine, pair in product(MIXTURES, PAIRS) for row in drafts(machine, *pair)), out / "drafts.csv")
    written(asynchronous(), out / "asynchronous.csv")
    written(hysteresis(), out / "hysteresis.csv")


if __name__ == "__main__":
    price(Path(sys.argv[1]))
