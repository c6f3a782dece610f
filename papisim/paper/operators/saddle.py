"""SADDLE (HPCA 2026): what re-mapping operators, a shared pool and eager drafts add to speculation on GPUs with computing stacks."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from itertools import chain
from typing import NamedTuple

from papisim.config.experiment import Experiment, load_experiment
from papisim.engine.run import Run, simulate
from papisim.paper.claims import Study
from papisim.paper.figure import Explained, Figure, Table, View
from papisim.plan.phase import Phase
from papisim.policies.placement.base import Operator
from papisim.record.steps import DECODING
from papisim.report.print.chart import Chart
from papisim.results.metrics import summarise

CHART = Chart(
    kind="bars", x=("system",), y="tokens_per_s", series="arbitration", x_label="system", y_label="tokens/s decoding"
)
#: an intensity above that of any operator, so that it stays on PIM
_ANY = 1e9
#: where operators are that SADDLE does not move: the target's FC on GPUs, the draft model's attention on PIM
_FIXED = {Operator.FC: 0.0, Operator.DRAFT_ATTENTION: _ANY}
#: where SADDLE moves operators from
_START = {**_FIXED, Operator.ATTENTION: _ANY, Operator.DRAFT_FC: 0.0}


#: the baselines have no controller
_NO_CONTROLLER = ("scheduler.decision_s=0 s",)


class System(NamedTuple):
    """A system of the paper.

    Attributes:
        setup: its machine.
        adapts: whether drafts end where they are unlikely; if not, lengths are fixed.
        schedule: when drafts are made; None where there are none.
        moves: whether the draft model's FC and the target's attention move.
    """

    setup: str
    adapts: bool = False
    schedule: Mapping[str, object] | None = None
    moves: bool = False


_IN_TURNS: Mapping[str, object] = {"kind": "synchronous"}
_POOL: Mapping[str, object] = {"kind": "asynchronous", "eager": False}
_EAGER: Mapping[str, object] = {**_POOL, "eager": True}
SYSTEMS = {
    "GPU-AD": System("gpus"),
    "GPU-SD": System("gpus", schedule=_IN_TURNS),
    "PIM-AD": System("stacks"),
    "PIM-SD": System("stacks", schedule=_IN_TURNS),
    "SADDLE-d": System("stacks", adapts=True, schedule=_IN_TURNS),
    "SADDLE-p": System("stacks", adapts=True, schedule=_POOL),
    "SADDLE-s": System("stacks", adapts=True, schedule=_EAGER),
    "SADDLE": System("stacks", adapts=True, schedule=_EAGER, moves=True),
}


class Served(NamedTuple):
    """Decoding of a batch on a system.

    Attributes:
        tokens_per_s: throughput of decoding.
        pim_kernel_ratio: share of kernels that PIM runs, of all that devices run.
        pim_time_ratio: share of the devices' busy time.
        requests: requests per verification.
        drafted: drafts verified per round.
        accepted: drafts accepted per round.
        wasted: drafts wasted per round.
    """

    tokens_per_s: float
    pim_kernel_ratio: float
    pim_time_ratio: float
    requests: float
    drafted: float
    accepted: float
    wasted: float

    @property
    def spent(self) -> str:
        """Throughput and drafts, in words."""
        return f"{self.tokens_per_s:,.0f} tokens/s at {self.drafted:.2f} drafted, {self.accepted:.2f} accepted, {self.wasted:.2f} wasted per round"


#: decoding by system, and of SADDLE-s and SADDLE where PIM and GPU take turns on the memory (``blocked``)
Runs = Mapping[tuple[str, str], Served]


def served(study: Study) -> Runs:
    """Decode a full batch on each system."""
    runs = {("dual_row_buffer", name): _run(study, system) for name, system in SYSTEMS.items()}
    blocked = ("roles.arbitration.kind=blocked",)
    return runs | {("blocked", name): _run(study, SYSTEMS[name], blocked) for name in ("SADDLE-s", "SADDLE")}


def values(view: View) -> dict[str, Explained]:
    """Return the gains of each part of SADDLE and its shares of operators on PIM."""
    runs = view.once(served)
    by = {name: runs["dual_row_buffer", name] for name in SYSTEMS}
    blocked = runs["blocked", "SADDLE"].tokens_per_s / runs["blocked", "SADDLE-s"].tokens_per_s
    remapping = _over(
        by, "SADDLE", "SADDLE-s", f"{blocked:.2f} where the stacks serve either PIM or the GPU, not both at once"
    )
    fixed, moved = by["SADDLE-s"], by["SADDLE"]
    return {
        "plain": _over(by, "PIM-SD", "PIM-AD", "nine token-rows per request are more than the GPUs' arithmetic keeps up with, and more than half of the drafts are rejected"),
        "remapping": remapping,
        "remapping_ablation": remapping,
        "share_fixed": Explained(fixed.pim_kernel_ratio, _shares(fixed)),
        "share_remapped": Explained(moved.pim_kernel_ratio, _shares(moved)),
        "share_gain": Explained(
            moved.pim_kernel_ratio / fixed.pim_kernel_ratio, "FC of the draft model moves to PIM for few rows"
        ),
        "adaptive": _over(
            by, "SADDLE-d", "PIM-SD", "few drafts are verified that are rejected; the paper loses to the requests that wait for the longest draft"
        ),
        "pool": _over(by, "SADDLE-p", "SADDLE-d", "short drafts, as the GPUs verify what there is whenever they idle"),
        "eager": _over(
            by,
            "SADDLE-s",
            "SADDLE-p",
            f"requests whose eager drafts are discarded miss the next verification, which takes {by['SADDLE-s'].requests:.0f} requests on average in "
            f"place of {by['SADDLE-p'].requests:.0f} and reads the weights all the same",
        ),
        **{f"over_{name}": _over(by, "SADDLE", name.upper().replace("_", "-"), "one pair and batch of the mean") for name in ("pim_sd", "pim_ad", "gpu_sd", "gpu_ad")},
        "controller": Explained(None, "the machine's decision_s is derived from this share"),
    }  # fmt: skip


def table(view: View) -> Table:
    """Return the throughput, the drafts and the share on PIM of each system."""
    return [
        {"system": name, "arbitration": arbitration, **run._asdict()}
        for (arbitration, name), run in view.once(served).items()
    ]


def _over(by: Mapping[str, Served], name: str, base: str, why: str) -> Explained:
    one, other = by[name], by[base]
    return Explained(one.tokens_per_s / other.tokens_per_s, f"{one.spent}, against {other.spent}; {why}")


def _shares(run: Served) -> str:
    return (
        f"kernels that PIM runs over all kernels, {100 * run.pim_time_ratio:.1f} % of the devices' time; what the paper counts as an operator, and "
        "over how many devices, is not in the notes"
    )


def _run(study: Study, system: System, further: tuple[str, ...] = ()) -> Served:
    experiment = _experiment(study, system, further)
    if system.setup == "stacks":
        experiment = _placed(experiment, moves=system.moves)
    return _served(simulate(experiment))


def _experiment(study: Study, system: System, further: tuple[str, ...]) -> Experiment:
    setup, batch = study.setup(system.setup), study.setting("batch")
    overrides = [*further, *([] if system.adapts or system.setup != "stacks" else _NO_CONTROLLER)]
    if system.schedule is not None:
        speculation = (
            study.setting("adaptive") if system.adapts else {"kind": "fixed", "tlp": study.setting("length") + 1}
        )
        devices = {"device": "pim", "elsewhere": ["gpu"]} if system.setup == "stacks" else {"device": "gpu"}
        pool = {} if system.schedule is _IN_TURNS else {"pool_tokens": study.setting("pool_tokens")}
        schedule = {**system.schedule, **pool}
        drafting = {"kind": "model", "trace": study.setting("draft"), **devices, "schedule": schedule}
        overrides += [f"speculation={json.dumps(speculation)}", f"drafting={json.dumps(drafting)}"]
    return load_experiment(setup.options(batch, overrides=tuple(overrides)))


def _placed(experiment: Experiment, *, moves: bool) -> Experiment:
    """Return an experiment with operators where SADDLE has them: all fixed, or two of them moved by calibrated thresholds."""
    placement = experiment.system.placement
    thresholds = {**placement.in_use, **_FIXED} if moves else _START
    placed = placement.model_copy(update={"thresholds": thresholds})
    return replace(experiment, system=replace(experiment.system, placement=placed))


def _served(run: Run) -> Served:
    sums, pools = run.ledger.sums(*DECODING), run.machine.pools
    kernels = _kernels(run)
    totals = [run.ledger.totals[kind] for kind in DECODING]
    figures = summarise(run)["speculation_yield"]
    return Served(
        sum(total.tokens for total in totals) / sum(total.time_s for total in totals),
        kernels["pim"] / sum(kernels[name] for name in pools),
        sums.busy_by.get("pim", 0.0) / sum(sums.busy_by.get(name, 0.0) for name in pools),
        sum(total.rounds for total in totals) / sum(total.n_steps for total in totals),
        *(figures[f"{name}_tokens_per_round"] or 0.0 for name in ("drafted", "accepted", "wasted")),
    )


def _kernels(run: Run) -> Counter[str]:
    """Return the kernels and messages of decoding by device and link."""
    kernels = Counter[str]()
    for segment in run.ledger.segments:
        if segment.kind in DECODING:
            plan = segment.plan
            shared = (item for part in plan.layout.parts for item in part.items if isinstance(item, Phase))
            for phase in chain(shared, plan.phases, (phase for phase, _ in plan.growing)):
                kernels[phase.resource] += segment.n_steps * phase.n_kernels
    return kernels


FIGURE = Figure(values=values, table=table, drawing=CHART)
