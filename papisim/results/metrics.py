"""The figures of a run, as the field defines them; every key carries its unit."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any

import numpy as np

from papisim import __version__
from papisim.engine.build import HOST
from papisim.engine.ledger import Ledger, RequestRow, StepRow
from papisim.engine.run import Run
from papisim.engine.step import Category
from papisim.ops.cost import Energy
from papisim.spec.sources import Source, bibliography

SUMMARY_SCHEMA = "papisim/run-summary/1"


def summarise(run: Run) -> dict[str, Any]:
    """Return the figures of a run as plain, nested values.

    - ``throughput_tokens_per_s``: tokens emitted over the time from the first arrival to the last token.
    - ``ttft_…_s``: time to first token, from a request's arrival to the end of its prefill.
    - ``tpot_…_s``: time per output token, ``(last − first token) / (tokens − 1)``, of requests with more than one.
    - ``energy_per_token_j``: energy of the machine over tokens emitted, static energy included.
    - ``busy_ratio``: share of the run that a device or link was occupied.
    - ``fc_flop_ratio``: share of decoding's FC FLOP by device.
    - ``switches``: decoding iterations that ran FC on another device than the one before.
    """
    ledger, experiment = run.ledger, run.experiment
    decode = [step for step in ledger.steps if step.kind == "decode"]
    prefill = [step for step in ledger.steps if step.kind == "prefill"]
    tokens = sum(step.tokens for step in ledger.steps)
    energy = _sum_energy(ledger.steps)
    return {
        "schema": SUMMARY_SCHEMA,
        "papisim_version": __version__,
        "system": experiment.system.name,
        "trace": experiment.trace.name,
        "workload": experiment.workload_name,
        "placement": experiment.system.placement.model_dump(),
        "speculation": experiment.speculation.model_dump(),
        "acceptance": experiment.acceptance.kind,
        "drafting": experiment.drafting.model_dump(),
        "quantisation": experiment.quantisation.model_dump(),
        "batching": experiment.batching.model_dump(),
        "seed": experiment.seed,
        "n_requests": len(ledger.requests),
        "n_output_tokens": tokens,
        "n_iterations": len(decode),
        "makespan_s": ledger.end_s,
        "throughput_tokens_per_s": tokens / ledger.end_s,
        "prefill_s": sum(step.time_s for step in prefill),
        "decode_s": sum(step.time_s for step in decode),
        **_latencies(ledger.requests),
        "energy_j": energy.total_j,
        "energy_per_token_j": energy.total_j / tokens,
        "energy_per_token_by_part_j": {part: joules / tokens for part, joules in energy.items()},
        "busy_ratio": {name: ledger.busy_s.get(name, 0.0) / ledger.end_s for name in resources(run)},
        "decode_time_by_category_s": _time_by_category(decode),
        "fc_flop_ratio": _fc_shares(decode, experiment.system.spec.roles.fc),
        "switches": switches(decode),
        "speculation_yield": _speculation(decode, ledger),
        "peak_kv_bytes": ledger.peak_kv_bytes,
        "kv_capacity_bytes": ledger.kv_capacity_bytes,
        **_origins([*experiment.system.sources, *experiment.sources]),
        "overrides": list(experiment.overrides),
    }


def _latencies(requests: Iterable[RequestRow]) -> dict[str, float]:
    rows = list(requests)
    ttft = [row.first_token_s - row.arrival_s for row in rows]
    tpot = [tpot_s(row) for row in rows if row.output_tokens > 1]
    return {**_statistics("ttft", ttft), **_statistics("tpot", tpot)}


def tpot_s(row: RequestRow) -> float:
    """Return a request's time per output token; NaN where it emitted a single one."""
    return (row.finish_s - row.first_token_s) / (row.output_tokens - 1) if row.output_tokens > 1 else float("nan")


def _statistics(name: str, values: list[float]) -> dict[str, float]:
    if not values:
        return {}
    figures: dict[str, Callable[[list[float]], Any]] = {
        "mean": np.mean,
        "p50": lambda v: np.percentile(v, 50),
        "p90": lambda v: np.percentile(v, 90),
        "p99": lambda v: np.percentile(v, 99),
    }
    return {f"{name}_{figure}_s": float(function(values)) for figure, function in figures.items()}


def _sum_energy(steps: Iterable[StepRow]) -> Energy:
    return sum((step.energy for step in steps), Energy())


def resources(run: Run) -> list[str]:
    """Return the devices and links of a run's machine, and the host where it did something."""
    return [*run.machine.pools, *run.machine.links, *([HOST] if HOST in run.ledger.busy_s else [])]


def _time_by_category(steps: list[StepRow]) -> dict[str, float]:
    return {category.value: sum(step.time_by[category] for step in steps) for category in Category}


def _fc_shares(steps: list[StepRow], devices: list[str]) -> dict[str, float]:
    total = sum(sum(step.fc_flop_by.values()) for step in steps)
    return {d: sum(s.fc_flop_by.get(d, 0.0) for s in steps) / total if total else 0.0 for d in devices}


def _speculation(decode: list[StepRow], ledger: Ledger) -> dict[str, Any]:
    """Return what speculation did: per request and iteration, by position, and in time.

    - ``drafted``, ``accepted``, ``emitted``: tokens per request and iteration; emitted has the verification's own token.
    - ``acceptance_by_position_ratio``: of the drafts that reached a position, those accepted at least up to it (S_j).
    - ``draft_time_ratio``: share of decoding that is drafting; the rest verifies.
    """
    rounds = sum(step.rlp for step in decode)
    if not rounds:
        return {}
    drafted = sum(step.drafted for step in decode)
    decode_s = sum(step.time_s for step in decode)
    return {
        "drafted_tokens_per_round": drafted / rounds,
        "accepted_tokens_per_round": sum(step.accepted for step in decode) / rounds,
        "emitted_tokens_per_round": sum(step.tokens for step in decode) / rounds,
        "acceptance_ratio": sum(step.accepted for step in decode) / drafted if drafted else None,
        "acceptance_by_position_ratio": [
            ledger.accepted_at[position] / ledger.drafted_at[position] for position in sorted(ledger.drafted_at)
        ],
        "draft_time_ratio": sum(step.time_by[Category.DRAFT] for step in decode) / decode_s,
    }


def switches(decode: list[StepRow]) -> list[dict[str, Any]]:
    """Return the decoding iterations at which FC kernels moved to another device, with RLP and RLP × TLP (rows) there."""
    return [
        {"iteration": now.index, "rlp": now.rlp, "rows": now.rows, "from": before.fc_device, "to": now.fc_device}
        for before, now in pairwise(decode)
        if before.fc_device != now.fc_device
    ]


def _origins(sources: list[Source]) -> dict[str, list[str]]:
    works = bibliography()
    papers = sorted({source.origin for source in sources if source.origin in works})
    assumed = sorted({f"{source.path}: {source.note}" for source in sources if source.is_assumption})
    return {"papers": [f"{key}: {works[key]}" for key in papers], "assumptions": assumed}
