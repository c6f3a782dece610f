"""The figures of a run, as the field defines them; every key carries its unit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from papisim import __version__
from papisim.config.sources import Source, bibliography
from papisim.engine.run import Run
from papisim.ops.cost import Energy
from papisim.plan.machine import HOST
from papisim.plan.phase import Category
from papisim.plan.sums import Sums
from papisim.record.distribution import Distribution
from papisim.record.ledger import DECODING, Ledger, Outcome, RequestRow, StepKind

#: percentiles of latencies
_PERCENTS = (50, 90, 95, 99)
SUMMARY_SCHEMA = "papisim/run-summary/1"


def summarise(run: Run) -> dict[str, Any]:
    """Return the figures of a run as plain, nested values.

    - ``n_requests``: that arrived; ``outcomes``: how they ended.
    - ``n_output_tokens``: emitted, those of requests that were not served included.
    - ``n_iterations``: steps that decode, those with prompts beside it included.
    - ``makespan_s``: from the first arrival to the last request's end.
    - ``throughput_tokens_per_s``: tokens emitted over the makespan.
    - ``prefill_s``, ``decode_s``, ``mixed_s``: time of steps that compute prompts, decode, or do both.
    - ``stalled_s``: time that steps waited for devices that stood still.
    - ``overlapped_s``: time that phases took more than the steps they are in, since some ran at the same time.
    - ``throughput_requests_per_s``: requests served over the makespan.
    - ``ttft_…_s``: time to first token, from a request's arrival to the end of the step that completed its prompt.
    - ``tpot_…_s``: time per output token, ``(last − first token) / (tokens − 1)``, of served requests with more than one.
    - ``itl_…_s``: inter-token latency, the gaps between the iterations that gave a request tokens (one gap where drafts give
      it several at once), of all requests.
    - ``e2e_…_s``: from a request's arrival to its end; ``queueing_…_s``: to its first admission. Latencies are of served
      requests; percentiles are exact, or those of a sketch with ``metrics: streaming``.
    - ``goodput_requests_per_s``: served requests that met every target of ``slo`` over the makespan; ``slo_met_ratio``: over
      all that arrived.
    - ``littles_law``: the mean number of requests in the system, counted as they come and go, beside arrival rate × mean time in
      the system of those that came (λW), and their relative difference.
    - ``energy_per_token_j``, ``energy_per_request_j``: energy of the machine over tokens emitted and over requests served,
      static energy included.
    - ``mean_rlp``: requests in a step, averaged over time and replicas; ``kv_mean_ratio``, ``kv_peak_ratio``: share of the room for KV
      caches in use, likewise and at most.
    - ``busy_ratio``: share of the makespan that a device or link was occupied, the mean of all replicas.
    - ``fc_flop_ratio``: share of the FC FLOP of steps that decode by device.
    - ``switches``: decoding iterations that ran FC on another device than the one before.
    """
    ledger, experiment = run.ledger, run.experiment
    tokens, time_s = sum(kind.tokens for kind in ledger.totals.values()), ledger.makespan_s
    sums, decoding = ledger.sums(), ledger.sums(*DECODING)
    served = ledger.outcomes[Outcome.SERVED]
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
        "overlap": experiment.overlap.model_dump(),
        "routing": experiment.routing.model_dump(),
        "seed": experiment.seed,
        "metrics": experiment.metrics,
        "n_requests": ledger.arrived_requests,
        "outcomes": {outcome.value: ledger.outcomes[outcome] for outcome in Outcome},
        "n_output_tokens": tokens,
        "n_iterations": sum(ledger.totals[kind].n_steps for kind in DECODING),
        "makespan_s": time_s,
        "throughput_tokens_per_s": _share(tokens, time_s),
        **{f"{kind.value}_s": ledger.totals[kind].time_s for kind in StepKind},
        "stalled_s": sum(kind.stalled_s for kind in ledger.totals.values()),
        "overlapped_s": sum(kind.overlapped_s for kind in ledger.totals.values()),
        "throughput_requests_per_s": _share(served, time_s),
        **_latencies(ledger.latencies),
        "slo": experiment.slo.model_dump(),
        "goodput_requests_per_s": _share(ledger.met_slo, time_s),
        "slo_met_ratio": _share(ledger.met_slo, ledger.arrived_requests),
        "n_preemptions": ledger.n_preemptions,
        "littles_law": _littles_law(ledger),
        "mean_rlp": _share(ledger.running_s, time_s * ledger.n_servers),
        "energy_j": energy.total_j,
        "energy_per_request_j": _each(energy.total_j, served),
        "energy_per_token_j": _each(energy.total_j, tokens),
        "energy_per_token_by_part_j": {part: _each(joules, tokens) for part, joules in energy.items()},
        "busy_ratio": {
            name: _share(sums.busy_by.get(name, 0.0), time_s * ledger.n_servers) for name in resources(run)
        },
        "decode_time_by_category_s": _time_by_category(ledger.sums(StepKind.DECODE)),
        "fc_flop_ratio": _fc_shares(decoding, experiment.system.spec.roles.fc),
        "n_switches": ledger.n_switches,
        "switches": ledger.switches,
        "speculation_yield": _speculation(ledger, decoding),
        "peak_kv_bytes": ledger.peak_kv_bytes,
        "kv_capacity_bytes": ledger.kv_capacity_bytes,
        "kv_peak_ratio": _share(ledger.peak_kv_bytes, ledger.kv_capacity_bytes),
        "kv_mean_ratio": _share(ledger.kv_byte_s, ledger.kv_capacity_bytes * time_s),
        **_origins([*experiment.system.sources, *experiment.sources]),
        "overrides": list(experiment.overrides),
    }


def _share(value: float, of: float) -> float:
    """Return a value over the time or the whole that it was in; 0 where there was none."""
    return value / of if of else 0.0


def _each(value: float, n: int) -> float | None:
    """Return a value over the number of things that it was for; None where there were none."""
    return value / n if n else None


def _latencies(latencies: Mapping[str, Distribution]) -> dict[str, float]:
    figures: dict[str, float] = {}
    for name, observed in latencies.items():
        if observed.n_values:
            figures[f"{name}_mean_s"] = observed.mean
            figures |= {f"{name}_p{percent}_s": observed.percentile(percent) for percent in _PERCENTS}
    return figures


def _littles_law(ledger: Ledger) -> dict[str, float]:
    mean = _share(ledger.in_system_s, ledger.makespan_s)
    expected = _share(ledger.sojourn_s, ledger.makespan_s)
    return {"mean_in_system": mean, "lambda_w": expected, "relative_error": _share(mean - expected, expected)}


def tpot_s(row: RequestRow) -> float:
    """Return a request's time per output token; NaN where it emitted a single one."""
    return (row.finish_s - row.first_token_s) / (row.output_tokens - 1) if row.output_tokens > 1 else float("nan")


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


def _origins(sources: list[Source]) -> dict[str, list[str]]:
    works = bibliography()
    papers = sorted({source.origin for source in sources if source.origin in works})
    assumed = sorted({f"{source.path}: {source.note}" for source in sources if source.is_assumption})
    return {"papers": [f"{key}: {works[key]}" for key in papers], "assumptions": assumed}
