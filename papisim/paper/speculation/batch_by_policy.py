"""Tokens per second by batch and speculation policy, on machines with and without PIM: the reason to schedule both together.

All policies draft with the same head of the same model, and the same process accepts. Policies with parameters of the
machine are calibrated to it: Synergy's table is profiled on it, SSSD's knee is measured on it, and ``fixed_best`` is the best of
several fixed lengths.

Batches stay full, as under continuous batching with enough requests: the rate at batch b is that of b requests. A closed
batch, which waits for its slowest request, is another question; :func:`closed` answers it for co-scheduling.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from statistics import fmean

from papisim.calibration.speculation import knee_flop_per_byte, profile, speculator_of, steady
from papisim.config.experiment import RunOptions, load_experiment
from papisim.engine.run import simulate
from papisim.paper.claims import Study
from papisim.paper.figure import Figure, Table, View
from papisim.paper.speculation.dsde import decode_tokens_per_s
from papisim.plan.machine import build_machine
from papisim.report.print.batch_by_policy import BatchByPolicy

_EQUAL = 0.01  # rates closer than this are called equal

#: a gain over the best other policy, with the words for it
Gain = tuple[float, str]


def table(view: View) -> Table:
    """Return the rate of every policy at every batch on every machine."""
    return view.once(rates)


def findings(view: View) -> list[str]:
    """Return sentences on where co-scheduling wins, in full batches and in a closed one."""
    closed_batches = [closed(view.study, machine) for machine in view.setting("machines")]
    return [*compared(view.study, table(view)), *closed_batches]


def rates(study: Study) -> Table:
    """Decode with every policy at every batch on every machine.

    Returns:
        One row each: ``tokens_per_s`` of a full batch, ``drafted`` and ``emitted`` per request and iteration, and
        ``fc_pim_ratio``, the share of FC's FLOP that PIM computes.
    """
    settings = [study.setting(name) for name in ("machines", "batches", "policies")]
    return [rate(study, machine, batch, policy) for machine, batch, policy in product(*settings)]


def rate(study: Study, machine: str, batch: int, policy: str) -> dict[str, str | float]:
    """Decode full batches with a policy on a machine, and return a row as :func:`rates`."""
    if policy != "fixed_best":
        return _steady(study, machine, batch, policy, _calibrated(study, machine, policy))
    tried = [_steady(study, machine, batch, policy, _fixed(length)) for length in study.setting("fixed_lengths")]
    return max(tried, key=lambda point: float(point["tokens_per_s"]))


def _fixed(length: int) -> tuple[str, ...]:
    return (f"speculation={{kind: fixed, tlp: {length + 1}}}",)


def _calibrated(study: Study, machine: str, policy: str) -> tuple[str, ...]:
    """Return the assignments that calibrate a policy to a machine."""
    experiment = load_experiment(_options(study, machine, 1, "off"))
    if policy == "synergy":
        setup = study.setup("head")
        cached = setup.kv_tokens + setup.output_tokens // 2
        lengths = range(study.setting("longest_draft") + 1)
        found = profile(speculator_of(experiment), study.setting("batches"), lengths, cached)
        rows = ", ".join(f"{{up_to_batch: {row.up_to_batch}, length: {row.length}}}" for row in found.table())
        return (f"speculation={{kind: synergy, table: [{rows}]}}",)
    if policy == "sssd":
        built = build_machine(experiment.system)
        return (f"speculation.ratio={knee_flop_per_byte(built.pools[built.roles.prefill.fc])}",)
    return ()


def _options(study: Study, machine: str, batch: int, policy: str, calibrated: tuple[str, ...] = ()) -> RunOptions:
    setup = study.setup("head").model_copy(update={"hw": machine})
    return setup.options(batch, speculation="off" if policy == "fixed_best" else policy, overrides=calibrated)


def _steady(
    study: Study, machine: str, batch: int, policy: str, calibrated: tuple[str, ...]
) -> dict[str, str | float]:
    experiment = load_experiment(_options(study, machine, batch, policy, calibrated))
    several = [
        steady(
            speculator_of(experiment),
            range(first, first + batch),
            study.setup("head").kv_tokens,
            iterations=study.setting("iterations"),
            warm_up=study.setting("warm_up"),
        )
        for first in range(0, max(batch, study.setting("requests")), batch)
    ]
    flop: Counter[str] = Counter()
    for one in several:
        flop.update(one.fc_flop_by)
    return {
        "machine": machine,
        "batch": batch,
        "policy": policy,
        "tokens_per_s": fmean(one.tokens_per_s for one in several),
        "drafted": fmean(one.drafted for one in several),
        "emitted": fmean(one.emitted for one in several),
        "fc_pim_ratio": 1 - flop[experiment.system.spec.roles.prefill.fc] / flop.total(),
    }


def closed(study: Study, machine: str) -> str:
    """Compare co-scheduling with the best fixed length in a closed batch, which shrinks as requests finish."""
    batch = study.setting("closed_batch")

    def measured(policy: str, fixed: tuple[str, ...] = ()) -> float:
        return decode_tokens_per_s(simulate(load_experiment(_options(study, machine, batch, policy, fixed))))

    fixed = {length: measured("off", _fixed(length)) for length in study.setting("fixed_lengths")}
    best, own = max(fixed, key=fixed.__getitem__), measured("co_scheduled")
    return (
        f"{machine}, a closed batch of {batch} requests of {study.setup('head').output_tokens} tokens, which waits for the slowest: "
        f"co-scheduling {own:,.0f} tokens/s, {best} drafts for all {fixed[best]:,.0f} ({100 * (own / fixed[best] - 1):+.1f} %): it gives "
        "rows to the requests whose drafts are accepted, which then finish before the others"
    )


def compared(study: Study, points: Table) -> list[str]:
    """Return a sentence per machine on where co-scheduling wins, equals and loses, and a caveat."""
    setup = study.setup("head")
    lines = [line for machine in dict.fromkeys(p["machine"] for p in points) for line in _compared(machine, points)]
    caveat = (
        f"{setup.trace} with {setup.drafting}, {setup.acceptance}, {setup.kv_tokens} cached tokens; the process was logged for chains, so "
        "what the further choices of trees (sssd, meta_eagle) are right in is assumed"
    )
    return [*lines, caveat]


def _compared(machine: str, points: Table) -> Iterator[str]:
    here = {(p["batch"], p["policy"]): p["tokens_per_s"] for p in points if p["machine"] == machine}
    gains = [_gain(batch, here) for batch in dict.fromkeys(batch for batch, _ in here)]
    sides: dict[str, Sequence[str]] = {
        "wins": [text for gain, text in gains if gain > _EQUAL],
        f"equals the best within {100 * _EQUAL:.0f} %": [text for gain, text in gains if abs(gain) <= _EQUAL],
        "loses": [text for gain, text in gains if gain < -_EQUAL],
    }
    yield f"{machine}: co-scheduling " + "; ".join(f"{side} at {', '.join(at)}" for side, at in sides.items() if at)


def _gain(batch: int, rates: Mapping[tuple[int, str], float]) -> Gain:
    """Return co-scheduling's gain over the best other policy at a batch, with the words for it."""
    others = {policy: value for (at, policy), value in rates.items() if at == batch and policy != "co_scheduled"}
    best = max(others, key=others.__getitem__)
    gain = rates[batch, "co_scheduled"] / others[best] - 1
    off = rates[batch, "co_scheduled"] / others["off"] if "off" in others else None
    over_off = "" if off is None else f", {off:.2f}× none"
    return gain, f"batch {batch} ({100 * gain:+.1f} % over {best}{over_off})"


FIGURE = Figure(values=lambda view: {}, table=table, drawing=BatchByPolicy(), findings=findings)
