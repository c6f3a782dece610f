"""The finding that motivates it all: tokens per second by batch and speculation policy, on machines with and without PIM.

All policies draft with the same head of the same model, and the same process accepts. Policies that need to know the
machine are told: Synergy's table is profiled on it, SSSD's knee is measured on it, the best fixed length is the best one of
several that are all tried.

Batches stay full, as under continuous batching with enough requests: the rate at batch b is that of b requests. A closed
batch, which waits for its slowest request, is another question; :func:`closed` answers it for some policies.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from statistics import fmean
from typing import Any

from papisim.calibration.speculation import knee_flop_per_byte, profile, speculator_of, steady
from papisim.config.experiment import RunOptions, load_experiment
from papisim.engine.run import simulate
from papisim.paper.speculation.dsde import decode_tokens_per_s
from papisim.plan.machine import build_machine

MACHINES = ("papi", "gpu_only", "a100_attacc")
BATCHES = (1, 2, 4, 8, 16, 32, 64)
POLICIES = ("off", "fixed_best", "synergy", "dsde", "gammatune", "sssd", "meta_eagle", "smartspec", "co_scheduled")
TARGET, DRAFTING, ACCEPTANCE = "llama3-70b", "eagle_head", "dflash_chain7_qwen3_4b_T1"
INPUT_TOKENS, OUTPUT_TOKENS = 512, 128

_FIXED_LENGTHS = (1, 2, 3, 4, 6, 8)
_LONGEST = 8
_REQUESTS = 8  # small batches are decoded several times, with other requests: one alone may be lucky
_ITERATIONS, _WARM_UP = 32, 8
_CLOSED_BATCH = 32
_EQUAL = 0.01  # rates closer than this are called equal

Point = dict[str, Any]


def machines_and_batches() -> Iterator[tuple[str, int]]:
    """Yield the parts of the figure that are simulated one by one."""
    yield from product(MACHINES, BATCHES)


def figure(
    machines: Iterable[str] = MACHINES,
    batches: Iterable[int] = BATCHES,
    policies: Sequence[str] = POLICIES,
    acceptance: str = ACCEPTANCE,
) -> list[Point]:
    """Decode with every policy at every batch on every machine.

    Returns:
        One row each: ``tokens_per_s`` of a full batch, ``drafted`` and ``emitted`` per request and iteration, and
        ``fc_pim_ratio``, the share of FC's FLOP that PIM computes.
    """
    return [
        _point(machine, batch, policy, acceptance) for machine, batch, policy in product(machines, batches, policies)
    ]


def _point(machine: str, batch: int, policy: str, acceptance: str) -> Point:
    if policy != "fixed_best":
        return _steady(machine, batch, policy, acceptance, _told(machine, policy, acceptance))
    tried = [
        _steady(machine, batch, policy, acceptance, f"speculation={{kind: fixed, tlp: {length + 1}}}")
        for length in _FIXED_LENGTHS
    ]
    return max(tried, key=lambda point: point["tokens_per_s"])


def _told(machine: str, policy: str, acceptance: str) -> str | None:
    """Return what a policy is told about the machine, as an override."""
    experiment = load_experiment(_options(machine, 1, acceptance, "off"))
    if policy == "synergy":
        cached = INPUT_TOKENS + OUTPUT_TOKENS // 2
        found = profile(speculator_of(experiment), BATCHES, range(_LONGEST + 1), cached)
        rows = ", ".join(f"{{up_to_batch: {row.up_to_batch}, length: {row.length}}}" for row in found.table())
        return f"speculation={{kind: synergy, table: [{rows}]}}"
    if policy == "sssd":
        built = build_machine(experiment.system)
        return f"speculation.ratio={knee_flop_per_byte(built.pools[built.roles.prefill.fc])}"
    return None


def _options(machine: str, batch: int, acceptance: str, policy: str, told: str | None = None) -> RunOptions:
    lengths = f"{{kind: fixed, input_tokens: {INPUT_TOKENS}, output_tokens: {OUTPUT_TOKENS}}}"
    return RunOptions(
        hw=machine,
        trace=TARGET,
        batch=batch,
        speculation="off" if policy == "fixed_best" else policy,
        acceptance=acceptance,
        draft=DRAFTING,
        set=(f"workload.lengths={lengths}", *((told,) if told else ())),
    )


def _steady(machine: str, batch: int, policy: str, acceptance: str, told: str | None) -> Point:
    experiment = load_experiment(_options(machine, batch, acceptance, policy, told))
    several = [
        steady(
            speculator_of(experiment),
            range(first, first + batch),
            INPUT_TOKENS,
            iterations=_ITERATIONS,
            warm_up=_WARM_UP,
        )
        for first in range(0, max(batch, _REQUESTS), batch)
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


def closed(machine: str, acceptance: str = ACCEPTANCE) -> str:
    """Say how co-scheduling does in a closed batch, which gets smaller as requests end."""

    def rate(policy: str, told: str | None = None) -> float:
        run = simulate(load_experiment(_options(machine, _CLOSED_BATCH, acceptance, policy, told)))
        return decode_tokens_per_s(run)

    fixed = {length: rate("off", f"speculation={{kind: fixed, tlp: {length + 1}}}") for length in _FIXED_LENGTHS}
    best, own = max(fixed, key=fixed.__getitem__), rate("co_scheduled")
    return (
        f"{machine}, a closed batch of {_CLOSED_BATCH} requests of {OUTPUT_TOKENS} tokens, which waits for the slowest: co-scheduling "
        f"{own:,.0f} tokens/s, {best} drafts for all {fixed[best]:,.0f} ({100 * (own / fixed[best] - 1):+.1f} %): it gives rows to "
        "those whose drafts are accepted, who then leave the others behind"
    )


def findings(points: Sequence[Point]) -> list[str]:
    """Say, machine by machine, where co-scheduling wins, by how much, and where it does not; and what to keep in mind."""
    lines = [line for machine in dict.fromkeys(p["machine"] for p in points) for line in _findings(machine, points)]
    caveat = (
        f"{TARGET} with {DRAFTING}, {ACCEPTANCE}, {INPUT_TOKENS} cached tokens; the process was logged for chains, so of trees "
        "(sssd, meta_eagle) the first choices alone can be right"
    )
    return [*lines, caveat]


def _findings(machine: str, points: Sequence[Point]) -> Iterator[str]:
    here = {(p["batch"], p["policy"]): p["tokens_per_s"] for p in points if p["machine"] == machine}
    gains = {batch: _gain(batch, here) for batch in dict.fromkeys(batch for batch, _ in here)}
    told = {
        "wins": [text for gain, text in gains.values() if gain > _EQUAL],
        f"equals the best within {100 * _EQUAL:.0f} %": [
            text for gain, text in gains.values() if abs(gain) <= _EQUAL
        ],
        "loses": [text for gain, text in gains.values() if gain < -_EQUAL],
    }
    yield f"{machine}: co-scheduling " + "; ".join(f"{what} at {', '.join(at)}" for what, at in told.items() if at)


def _gain(batch: int, rates: dict[tuple[int, str], float]) -> tuple[float, str]:
    """Return co-scheduling's gain over the best other policy at a batch, and the words for it."""
    others = {policy: rate for (at, policy), rate in rates.items() if at == batch and policy != "co_scheduled"}
    best = max(others, key=others.__getitem__)
    gain = rates[batch, "co_scheduled"] / others[best] - 1
    off = rates[batch, "co_scheduled"] / others["off"] if "off" in others else None
    over_off = "" if off is None else f", {off:.2f}× none"
    return gain, f"batch {batch} ({100 * gain:+.1f} % over {best}{over_off})"
