"""DSDE (arXiv:2509.01083): what capping draft lengths adds at batch 64, and completion times beside static lengths and AdaEDL."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from papisim.config.experiment import load_experiment
from papisim.engine.run import Run, simulate
from papisim.paper.claims import Setup, Study
from papisim.paper.figure import Explained, Figure, Table, View
from papisim.plan.phase import Category
from papisim.report.print.chart import Chart
from papisim.results.metrics import summarise

CHART = Chart(
    kind="bars",
    x=("temperature",),
    y="tokens_per_s",
    series="policy",
    x_label="temperature",
    y_label="tokens/s",
)
_TEMPERATURES = ("t0", "t1")
_VARIANTS = ("dsde", "dsde_code")
_ALONE = 4  # requests of a batch of one, whose acceptance varies by request


class Served(NamedTuple):
    """Throughput of a run.

    Attributes:
        tokens_per_s: throughput, prefill included.
        decode_tokens_per_s: throughput of decoding alone.
        prefill_ratio: share of the time that prefill takes.
        spent: what a round drafts and emits, and what an iteration takes, in words.
    """

    tokens_per_s: float
    decode_tokens_per_s: float
    prefill_ratio: float
    spent: str


#: runs by temperature, variant of the policy and whether it caps lengths; the batch of one is ``alone``, capped
Runs = Mapping[tuple[str, str, bool], Served]


def served(study: Study) -> Runs:
    """Serve one large batch with and without the cap, and requests one by one, where there is nothing to cap."""
    batch, found = study.setting("batch"), {}
    for temperature in _TEMPERATURES:
        setup = study.setup(temperature)
        for variant in _VARIANTS:
            for cap in (True, False):
                found[temperature, variant, cap] = _run(setup, batch, variant, cap=cap)
        found[temperature, "alone", True] = _run(setup, 1, "dsde", cap=True)
    return found


def values(view: View) -> dict[str, Explained]:
    """Return the gain of the cap, and the scaling from batch 1, at each temperature."""
    runs, found = view.once(served), {}
    for temperature in _TEMPERATURES:
        found[f"cap_gain_{temperature}"] = _cap_gain(runs, temperature)
        for name, cap in (("capped", True), ("uncapped", False)):
            found[f"scaling_{temperature}_{name}"] = _scaling(runs, temperature, view.setting("batch"), cap=cap)
    return found | _compared(view.study)


def _compared(study: Study) -> dict[str, Explained]:
    """Compare completion times with those of static lengths and of AdaEDL, at high and at low acceptance."""
    found: dict[str, Explained] = {}
    for batch in study.setting("compared_batches"):
        times = {policy: _completion_s(study.setup("high"), batch, policy) for policy in ("dsde", "adaedl")}
        static = {length: _static_s(study.setup("high"), batch, length) for length in study.setting("static_lengths")}
        best = min(static, key=static.__getitem__)
        reason = f"DSDE {times['dsde']:.2f} s, AdaEDL {times['adaedl']:.2f} s, static {best} {static[best]:.2f} s"
        found[f"over_static_{batch}"] = Explained(times["dsde"] / static[best], reason)
        found[f"over_adaedl_{batch}"] = Explained(times["dsde"] / times["adaedl"], reason)
        found[f"low_{batch}"] = _low(study, batch)
        if batch == 1:
            found["over_off"] = Explained(_completion_s(study.setup("high"), 1, "off") / times["dsde"], reason)
            found["hotter"] = _hotter(study, static[best])
    return found


def _hotter(study: Study, cold_s: float) -> Explained:
    setup = study.setup("hot")
    hot_s = min(_static_s(setup, 1, length) for length in study.setting("static_lengths"))
    plain_s = _completion_s(setup, 1, "off")
    return Explained(
        hot_s / cold_s,
        f"best static length {hot_s:.2f} s, at T = 0 {cold_s:.2f} s, without drafts {plain_s:.2f} s",
        f"acceptance at both temperatures is not published; whatever it is at T = 1, the ratio is at most {plain_s / cold_s:.2f}, that of no drafts",
    )


def _low(study: Study, batch: int) -> Explained:
    setup, shortest = study.setup("low"), study.setting("shortest")
    own, other = (_completion_s(setup, batch, policy) for policy in ("dsde", "adaedl"))
    return Explained(
        own / other,
        f"DSDE {own:.2f} s, AdaEDL {other:.2f} s",
        f"DSDE drafts {shortest} at least, and all drafts of {shortest} take {_static_s(setup, batch, shortest):.2f} s",
    )


def _static_s(setup: Setup, batch: int, length: int) -> float:
    return _completion_s(setup, batch, "off", (f"speculation={{kind: fixed, tlp: {length + 1}}}",))


def _completion_s(setup: Setup, batch: int, policy: str, overrides: tuple[str, ...] = ()) -> float:
    """Return the mean time from a request's start to its end, without waiting."""
    requests = max(batch, _ALONE)
    summary = summarise(
        simulate(load_experiment(setup.options(batch, requests, speculation=policy, overrides=overrides)))
    )
    return float(summary["e2e_mean_s"] - summary["queueing_mean_s"])


def table(view: View) -> Table:
    """Return the throughput of every run."""
    return [
        {
            "temperature": temperature,
            "policy": variant if variant == "alone" else f"{variant}, {'capped' if cap else 'uncapped'}",
            "tokens_per_s": run.tokens_per_s,
            "decode_tokens_per_s": run.decode_tokens_per_s,
            "prefill_ratio": run.prefill_ratio,
        }
        for (temperature, variant, cap), run in view.once(served).items()
    ]


def _cap_gain(runs: Runs, temperature: str) -> Explained:
    capped, uncapped = (runs[temperature, "dsde", cap] for cap in (True, False))
    code = runs[temperature, "dsde_code", True].tokens_per_s / runs[temperature, "dsde_code", False].tokens_per_s - 1
    decoding = capped.decode_tokens_per_s / uncapped.decode_tokens_per_s - 1
    return Explained(
        capped.tokens_per_s / uncapped.tokens_per_s - 1,
        f"{capped.spent} with the cap, {uncapped.spent} without: it saves draft steps that the whole batch waits for. In decoding "
        f"alone it gains {100 * decoding:+.1f} %, which prefill reduces to this; with the rule of the released code {100 * code:+.1f} % "
        "is left, since its shortest length is 6",
    )


def _scaling(runs: Runs, temperature: str, batch: int, *, cap: bool) -> Explained:
    alone, run = runs[temperature, "alone", True], runs[temperature, "dsde", cap]
    return Explained(
        run.tokens_per_s / alone.tokens_per_s,
        f"{alone.tokens_per_s:.0f} tokens/s alone, {run.tokens_per_s:.0f} at batch {batch}, prefill included, which takes "
        f"{100 * run.prefill_ratio:.0f} % of the time there and grows with the assumed length of prompts; decoding alone scales "
        f"{run.decode_tokens_per_s / alone.decode_tokens_per_s:.1f}×. Eager execution, whose fixed costs a batch shares, is not charged",
    )


def _run(setup: Setup, batch: int, variant: str, *, cap: bool) -> Served:
    overrides = (f"speculation.cap={str(cap).lower()}",)
    requests = None if batch > 1 else _ALONE
    run = simulate(load_experiment(setup.options(batch, requests, speculation=variant, overrides=overrides)))
    summary = summarise(run)
    return Served(
        summary["throughput_tokens_per_s"],
        decode_tokens_per_s(run),
        summary["prefill_s"] / run.ledger.end_s,
        _spent(run),
    )


def decode_tokens_per_s(run: Run) -> float:
    """Return the tokens per second of decoding, prefill left out."""
    decode = [step for step in run.ledger.steps if step.kind == "decode"]
    return sum(step.tokens for step in decode) / sum(step.time_s for step in decode)


def _spent(run: Run) -> str:
    decode = [step for step in run.ledger.steps if step.kind == "decode"]
    rounds, time_s = sum(step.rlp for step in decode), sum(step.time_s for step in decode)
    draft = sum(step.time_by[Category.DRAFT] for step in decode) / time_s
    drafted, emitted = sum(step.drafted for step in decode) / rounds, sum(step.tokens for step in decode) / rounds
    return (
        f"{drafted:.2f} drafted and {emitted:.2f} emitted per round, drafting {100 * draft:.0f} % of "
        f"{1e3 * time_s / len(decode):.1f} ms"
    )


FIGURE = Figure(values=values, table=table, drawing=CHART)
