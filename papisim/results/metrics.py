"""The figures of a run, as the field defines them; every key carries its unit."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from papisim import __version__
from papisim.engine.build import HOST
from papisim.engine.ledger import DECODING, Ledger, Outcome, RequestRow, Segment, StepKind, fc_device
from papisim.engine.phase import Category
from papisim.engine.run import Run
from papisim.engine.sums import Sums
from papisim.ops.cost import Energy
from papisim.spec.sources import Source, bibliography

SUMMARY_SCHEMA = "papisim/run-summary/1"


def summarise(run: Run) -> dict[str, Any]:
    """Return the figures of a run as plain, nested values.

    - ``n_requests``: that arrived; ``outcomes``: how they ended.
    - ``n_iterations``: steps that decode, those with prompts beside it included.
    - ``makespan_s``: from the first arrival to the last request's end.
    - ``throughput_tokens_per_s``: tokens emitted over the makespan.
    - ``prefill_s``, ``decode_s``, ``mixed_s``: time of steps that compute prompts, decode, or do both.
    - ``ttft_…_s``: time to first token, from a request's arrival to the end of the step that completed its prompt.
    - ``tpot_…_s``: time per output token, ``(last − first token) / (tokens − 1)``, of served requests with more than one.
    - ``energy_per_token_j``: energy of the machine over tokens emitted, static energy included.
    - ``busy_ratio``: share of the makespan that a device or link was occupied, the mean of all replicas.
    - ``fc_flop_ratio``: share of the FC FLOP of steps that decode by device.
    - ``switches``: decoding iterations that ran FC on another device than the one before.
    """
    ledger, experiment = run.ledger, run.experiment
    tokens, time_s = sum(kind.tokens for kind in ledger.totals.values()), ledger.makespan_s
    sums, decoding = ledger.sums(), ledger.sums(*DECODING)
    energy = sums.energy + Energy(static_j=ledger.static_w * ledger.n_servers * time_s)
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
        "kv": experiment.kv.model_dump(),
        "routing": experiment.routing.model_dump(),
        "seed": experiment.seed,
        "n_requests": len(ledger.requests),
        "outcomes": {outcome.value: sum(row.outcome is outcome for row in ledger.requests) for outcome in Outcome},
        "n_output_tokens": tokens,
        "n_iterations": sum(ledger.totals[kind].n_steps for kind in DECODING),
        "makespan_s": time_s,
        "throughput_tokens_per_s": _ratio(tokens, time_s),
        **{f"{kind.value}_s": ledger.totals[kind].time_s for kind in StepKind},
        **_latencies(ledger.requests),
        "n_preemptions": sum(row.preemptions for row in ledger.requests),
        "energy_j": energy.total_j,
        "energy_per_token_j": _ratio(energy.total_j, tokens),
        "energy_per_token_by_part_j": {part: _ratio(joules, tokens) for part, joules in energy.items()},
        "busy_ratio": {
            name: _ratio(sums.busy_by.get(name, 0.0), time_s * ledger.n_servers) for name in resources(run)
        },
        "decode_time_by_category_s": _time_by_category(ledger.sums(StepKind.DECODE)),
        "fc_flop_ratio": _fc_shares(decoding, experiment.system.spec.roles.fc),
        "switches": switches(ledger.segments),
        "speculation_yield": _speculation(ledger, decoding),
        "peak_kv_bytes": ledger.peak_kv_bytes,
        "kv_capacity_bytes": ledger.kv_capacity_bytes,
        **_origins([*experiment.system.sources, *experiment.sources]),
        "overrides": list(experiment.overrides),
    }


def _ratio(value: float, of: float) -> float:
    """Return a ratio; NaN where there is nothing to divide by."""
    return value / of if of else float("nan")


def _latencies(requests: Iterable[RequestRow]) -> dict[str, float]:
    served = [row for row in requests if row.outcome is Outcome.SERVED]
    ttft = [row.first_token_s - row.arrival_s for row in served]
    tpot = [tpot_s(row) for row in served if row.output_tokens > 1]
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


def resources(run: Run) -> list[str]:
    """Return the devices and links of a run's machine, and the host where it did something."""
    return [*run.machine.pools, *run.machine.links, *([HOST] if HOST in run.ledger.busy_s else [])]


def _time_by_category(sums: Sums) -> dict[str, float]:
    return {category.value: sums.time_by.get(category, 0.0) for category in Category}


def _fc_shares(sums: Sums, devices: list[str]) -> dict[str, float]:
    total = sum(sums.fc_flop_by.values())
    return {device: sums.fc_flop_by.get(device, 0.0) / total if total else 0.0 for device in devices}


def _speculation(ledger: Ledger, decoding: Sums) -> dict[str, Any]:
    """Return what speculation did: per request and iteration, by position, and in time.

    - ``drafted``, ``accepted``, ``emitted``: tokens per request and iteration; emitted has the verification's own token.
    - ``acceptance_by_position_ratio``: of the drafts that reached a position, those accepted at least up to it (S_j).
    - ``draft_time_ratio``: share of decoding that is drafting; the rest verifies.
    """
    totals = [ledger.totals[kind] for kind in DECODING]
    rounds = sum(kind.rounds for kind in totals)
    if not rounds:
        return {}
    drafted, accepted = sum(kind.drafted for kind in totals), sum(kind.accepted for kind in totals)
    return {
        "drafted_tokens_per_round": drafted / rounds,
        "accepted_tokens_per_round": accepted / rounds,
        "emitted_tokens_per_round": sum(kind.round_tokens for kind in totals) / rounds,
        "acceptance_ratio": accepted / drafted if drafted else None,
        "acceptance_by_position_ratio": [
            ledger.accepted_at[position] / ledger.drafted_at[position] for position in sorted(ledger.drafted_at)
        ],
        "draft_time_ratio": decoding.time_by.get(Category.DRAFT, 0.0) / decoding.time_s,
    }


def switches(segments: Iterable[Segment]) -> list[dict[str, Any]]:
    """Return the decoding iterations at which a server's FC kernels moved to another device, with RLP and rows there."""
    moved: list[dict[str, Any]] = []
    last: dict[str, str] = {}
    for now in segments:
        if now.kind in DECODING:
            before, there = last.get(now.server), fc_device(now.fc_flop_by)
            last[now.server] = there
            if before not in (None, there):
                moved.append({"iteration": now.index, "rlp": now.rlp, "rows": now.rows, "from": before, "to": there})
    return moved


def _origins(sources: list[Source]) -> dict[str, list[str]]:
    works = bibliography()
    papers = sorted({source.origin for source in sources if source.origin in works})
    assumed = sorted({f"{source.path}: {source.note}" for source in sources if source.is_assumption})
    return {"papers": [f"{key}: {works[key]}" for key in papers], "assumptions": assumed}
