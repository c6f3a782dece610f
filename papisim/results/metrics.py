"""The figures of a run, as the field defines them; every key carries its unit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

from papisim import __version__
from papisim.acceptance.base import AcceptanceOptions
from papisim.config.base import KindOptions
from papisim.config.experiment import Experiment
from papisim.config.sources import Source, bibliography
from papisim.config.tuning import Tuning
from papisim.engine.run import Run
from papisim.ops.cost import Energy
from papisim.plan.machine import HOST
from papisim.plan.parallel import parallel_plan
from papisim.plan.phase import Category
from papisim.plan.step import build_routing
from papisim.record.distribution import Distribution
from papisim.record.ledger import Ledger
from papisim.record.overheads import Overheads
from papisim.record.requests import RequestOutcome, RequestRecord
from papisim.record.reuse import Reuse
from papisim.record.steps import DECODING, StepKind
from papisim.record.users import Users
from papisim.results.operators import operator_figures
from papisim.results.schema import Figures, RunSummary

#: percentiles of latencies
_PERCENTS = (50, 90, 95, 99)
_LOCK_STEP = (
    "users are in lock step: all requests ask for equally many tokens, so that users who start together end together and ask "
    "again together; prompts come in bursts, and TTFT is that of a burst, not of a service. Clients of benchmarks vary the "
    "lengths: workload.lengths={kind: uniform, min_ratio: 0.8, …}"
)


def summarise(run: Run) -> Figures:
    """Return the figures of a run as plain, nested values; :class:`papisim.results.schema.RunSummary` describes each."""
    experiment = run.experiment
    return RunSummary.model_validate(
        {
            "papisim_version": __version__,
            **_setting(experiment),
            "engine_notes": list(run.notes),
            "parallel": _parallel(run),
            **_progress(run.ledger),
            **_outside_fit(run.ledger),
            **_latencies(run.ledger.latencies),
            **_service(run.ledger),
            "slo": experiment.slo.model_dump(),
            **_energy(run.ledger),
            **_devices(run),
            "speculation_yield": _speculation(run.ledger, experiment.acceptance),
            **_caches(run.ledger),
            "prefix_reuse": None if run.ledger.reuse is None else _reuse(run.ledger.reuse),
            "scheduler": None if run.ledger.overheads is None else _overheads(run.ledger, run.ledger.overheads),
            **_origins([*experiment.system.sources, *experiment.sources]),
            "overrides": list(experiment.overrides),
        }
    ).as_json()


def _parallel(run: Run) -> dict[str, float]:
    """Return the parallel plan, with the imbalance of experts at a full batch, or at one of all requests."""
    experiment = run.experiment
    rows = experiment.most_rows or run.ledger.arrived_requests or 1
    routing = build_routing(run.trace, experiment.experts, experiment.seed)
    return parallel_plan(run.machine, run.trace, routing, rows, experiment.experts.copies)._asdict()


def _setting(experiment: Experiment) -> dict[str, object]:
    """Return the names and options of what was simulated."""
    return {
        "system": experiment.system.name,
        "trace": experiment.trace.name,
        "workload": experiment.workload_name,
        "engine": experiment.engine.name,
        "placement": experiment.system.placement.model_dump(),
        "speculation": experiment.speculation.model_dump(),
        "tuned": {each.field: _tuned(each) for each in experiment.tunings},
        "acceptance": experiment.acceptance.kind,
        "drafting": experiment.drafting.model_dump(),
        "quantisation": experiment.quantisation.model_dump(),
        "batching": experiment.batching.model_dump(),
        "kv": experiment.kv.model_dump(),
        "overlap": experiment.overlap.model_dump(),
        "routing": experiment.routing.model_dump(),
        "seed": experiment.seed,
        "metrics": experiment.metrics,
    }


def _tuned(tuning: Tuning) -> dict[str, object]:
    return {name: getattr(tuning, name) for name in ("value", "origin", "calibrated", "loss_ratio", "note")}


def tuning_notes(summary: Figures) -> list[str]:
    """Return the warnings of a run's figures that values were not calibrated for its machine and model."""
    return [each["note"] for each in summary.get("tuned", {}).values() if each["note"] is not None]


def run_notes(summary: Figures) -> list[str]:
    """Return the remarks on a run's figures: kernels left apart, warnings on tuned values, and that users are in lock step."""
    users, apart = summary.get("users"), summary.get("engine_notes", [])
    return [
        *(f"{summary['engine']}: {note}" for note in apart),
        *tuning_notes(summary),
        *([_LOCK_STEP] if users is not None and users["lock_step"] else []),
    ]


def _users(users: Users) -> dict[str, object]:
    return {
        "number": users.number,
        "coherence_ratio": users.coherence_ratio(),
        "lock_step": users.are_in_lock_step,
    }


def extrapolation_notes(summary: Figures) -> list[str]:
    """Return a note on a run's figures where drafts went beyond the positions that acceptance was observed at."""
    beyond = summary["speculation_yield"]["extrapolated_ratio"]
    if not beyond:
        return []
    positions = f"{100 * beyond:.1f} % of the drafted positions lie beyond those at which acceptance was observed"
    return [f"{positions} ({summary['acceptance']}): it is extrapolated there"]


def _progress(ledger: Ledger) -> dict[str, object]:
    """Return counts of requests, tokens and steps, and where the time of steps went."""
    return {
        "n_requests": ledger.arrived_requests,
        "n_warmup_requests": ledger.warmup_requests,
        "users": None if ledger.users is None else _users(ledger.users),
        "outcomes": {outcome.value: ledger.outcomes[outcome] for outcome in RequestOutcome},
        "max_positions": ledger.max_positions,
        "n_beyond_positions": None if ledger.max_positions is None else ledger.beyond_positions,
        "n_output_tokens": _tokens(ledger),
        "n_iterations": sum(ledger.totals[kind].n_steps for kind in DECODING),
        "makespan_s": ledger.makespan_s,
        "throughput_tokens_per_s": _over(_tokens(ledger), ledger.makespan_s),
        **{f"{kind.value}_s": ledger.totals[kind].time_s for kind in StepKind},
        "stalled_s": sum(kind.stalled_s for kind in ledger.totals.values()),
        "overlapped_s": sum(kind.overlapped_s for kind in ledger.totals.values()),
    }


def _outside_fit(ledger: Ledger) -> dict[str, object]:
    """Return the time priced outside the range of a fit, and the reasons."""
    sums = ledger.sums()
    largest_first = sorted(sums.outside_s.items(), key=lambda each: (-each[1], each[0]))
    return {
        "outside_fit_time_ratio": _over(sum(sums.outside_s.values()), sums.time_s),
        "outside_fit": [
            {
                "resource": resource,
                "category": category.value,
                "reason": reason,
                "time_s": time_s,
                "time_ratio": _over(time_s, sums.time_s),
            }
            for (resource, category, reason), time_s in largest_first
        ],
    }


def _tokens(ledger: Ledger) -> int:
    return sum(kind.tokens for kind in ledger.totals.values())


def _latencies(latencies: Mapping[str, Distribution]) -> dict[str, float | None]:
    """Return mean and percentiles of each latency; None where nothing was observed."""
    figures: dict[str, float | None] = {}
    for name, observed in latencies.items():
        seen = observed.n_values > 0
        figures[f"{name}_mean_s"] = observed.mean if seen else None
        figures |= {f"{name}_p{percent}_s": observed.percentile(percent) if seen else None for percent in _PERCENTS}
    return figures


def _service(ledger: Ledger) -> dict[str, object]:
    """Return the rates at which requests were served, and Little's law."""
    time_s, decoding_s = ledger.makespan_s, sum(ledger.totals[kind].time_s for kind in DECODING)
    mean, expected = _over(ledger.in_system_s, time_s), _over(ledger.sojourn_s, time_s)
    error = None if mean is None or expected is None else _over(mean - expected, expected)
    return {
        "throughput_requests_per_s": _over(ledger.outcomes[RequestOutcome.SERVED], time_s),
        "goodput_requests_per_s": _over(ledger.met_slo, time_s) if ledger.slo.targets else None,
        "slo_met_ratio": _over(ledger.met_slo, ledger.arrived_requests) if ledger.slo.targets else None,
        "n_preemptions": ledger.n_preemptions,
        "littles_law": {"mean_in_system": mean, "lambda_w": expected, "relative_error": error},
        "mean_rlp": _over(ledger.running_s, time_s * ledger.n_servers),
        "decode_mean_rlp": _over(ledger.decoding_s, decoding_s),
        "decode_tail_time_ratio": _over(ledger.tail_s, decoding_s),
    }


def _energy(ledger: Ledger) -> dict[str, object]:
    """Return the joules of all machines: those of their work, and static power over the makespan."""
    static_j = ledger.static_w * ledger.n_servers * ledger.makespan_s
    energy, tokens = ledger.sums().energy + Energy(static_j=static_j), _tokens(ledger)
    return {
        "energy_j": energy.total_j,
        "energy_per_request_j": _over(energy.total_j, ledger.outcomes[RequestOutcome.SERVED]),
        "energy_per_token_j": _over(energy.total_j, tokens),
        "energy_per_token_by_part_j": {part: _over(joules, tokens) for part, joules in energy.items()},
    }


def _devices(run: Run) -> dict[str, object]:
    """Return the use of devices and links."""
    ledger, fc = run.ledger, run.experiment.system.spec.roles.fc
    busy_s, machine_s = ledger.busy_s, ledger.makespan_s * ledger.n_servers
    decode_s, fc_flop = ledger.sums(StepKind.DECODE).time_by, ledger.sums(*DECODING).fc_flop_by
    return {
        "energy_models": {name: pool.part.energy_source for name, pool in run.machine.pools.items()},
        "busy_ratio": {name: _over(busy_s.get(name, 0.0), machine_s) for name in resources(run)},
        "decode_time_by_category_s": {category.value: decode_s.get(category, 0.0) for category in Category},
        "fc_flop_ratio": {device: _over(fc_flop.get(device, 0.0), sum(fc_flop.values())) for device in fc},
        "n_switches": ledger.n_switches,
        "switches": ledger.switches,
        **operator_figures(run),
    }


def _caches(ledger: Ledger) -> dict[str, object]:
    """Return the occupancy of the memory for KV caches."""
    return {
        "peak_kv_bytes": ledger.peak_kv_bytes,
        "kv_capacity_bytes": ledger.kv_capacity_bytes,
        "kv_peak_ratio": _over(ledger.peak_kv_bytes, ledger.kv_capacity_bytes),
        "kv_mean_ratio": _over(ledger.kv_byte_s, ledger.kv_capacity_bytes * ledger.makespan_s),
    }


def _reuse(reuse: Reuse) -> dict[str, object]:
    """Return the figures of the prefix caches of all servers."""
    reused_blocks = reuse.reused_blocks.total()
    return {
        "block_tokens": reuse.block_tokens,
        "prompt_tokens": reuse.prompt_tokens,
        "reused_tokens": reuse.reused_tokens,
        "reused_token_ratio": _over(reuse.reused_tokens, reuse.prompt_tokens),
        "prompt_blocks": reuse.prompt_blocks,
        "reused_blocks": reused_blocks,
        "reused_block_ratio": _over(reused_blocks, reuse.prompt_blocks),
        "tiers": [
            {
                "name": name,
                "reused_blocks": reuse.reused_blocks[tier],
                "evicted_blocks": reuse.evicted_blocks[tier],
                "fetched_bytes": reuse.fetched_bytes[tier],
                "written_bytes": reuse.written_bytes[tier],
            }
            for tier, name in enumerate(("device", *reuse.tiers))
        ],
    }


def _overheads(ledger: Ledger, overheads: Overheads) -> dict[str, object]:
    """Return the costs of placing the operators."""
    taken_s = overheads.decision_s + overheads.switch_s + overheads.move_s
    steps_s = sum(totals.time_s for totals in ledger.totals.values())
    return {**asdict(overheads), "time_ratio": _over(taken_s, steps_s)}


def _over(value: float, of: float) -> float | None:
    """Return a value over a time, a count or a whole; None where that is zero."""
    return value / of if of else None


def tpot_s(row: RequestRecord) -> float:
    """Return a request's time per output token; NaN where it emitted a single one."""
    return (row.finish_s - row.first_token_s) / (row.output_tokens - 1) if row.output_tokens > 1 else float("nan")


def resources(run: Run) -> list[str]:
    """Return the names of a run's devices and links, and of the host."""
    return [*run.machine.pools, *run.machine.links, HOST]


def _speculation(ledger: Ledger, acceptance: KindOptions) -> dict[str, object]:
    """Return the yield of speculation; None where no request decoded or nothing was drafted."""
    totals, decoding = [ledger.totals[kind] for kind in DECODING], ledger.sums(*DECODING)
    rounds = sum(kind.rounds for kind in totals)
    drafted, accepted = sum(kind.drafted for kind in totals), sum(kind.accepted for kind in totals)
    return {
        "drafted_tokens_per_round": _over(drafted, rounds),
        "accepted_tokens_per_round": _over(accepted, rounds),
        "wasted_tokens_per_round": _over(sum(kind.wasted for kind in totals), rounds),
        "emitted_tokens_per_round": _over(sum(kind.round_tokens for kind in totals), rounds),
        "acceptance_ratio": _over(accepted, drafted),
        "acceptance_by_position_ratio": [
            ledger.accepted_at[position] / ledger.drafted_at[position] for position in sorted(ledger.drafted_at)
        ],
        "extrapolated_ratio": _extrapolated(ledger, acceptance),
        "draft_time_ratio": _over(decoding.time_by.get(Category.DRAFT, 0.0), decoding.time_s),
    }


def _extrapolated(ledger: Ledger, acceptance: KindOptions) -> float | None:
    """Return the share of drafted positions beyond those that the acceptance process was observed at; None without drafts."""
    known = acceptance.known_positions if isinstance(acceptance, AcceptanceOptions) else None
    beyond = 0 if known is None else sum(n for position, n in ledger.drafted_at.items() if position > known)
    return _over(beyond, sum(ledger.drafted_at.values()))


def _origins(sources: list[Source]) -> dict[str, object]:
    works = bibliography()
    papers = sorted({source.origin for source in sources if source.origin in works})
    assumed = sorted({f"{source.path}: {source.note}" for source in sources if source.is_assumption})
    return {"papers": [f"{key}: {works[key]}" for key in papers], "assumptions": assumed}
