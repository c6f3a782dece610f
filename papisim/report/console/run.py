"""A run as text."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from rich.table import Table

from papisim import units
from papisim.config.engine import EngineSpec
from papisim.engine.run import Run
from papisim.plan.machine import HOST
from papisim.record.ledger import TAIL_RLP
from papisim.record.segment import Segment
from papisim.record.steps import DECODING
from papisim.report.console.console import console
from papisim.report.figures import can_move, count, outside_fits, percent, rate
from papisim.report.meaning import meaning_of_run
from papisim.results.folder import Json
from papisim.results.metrics import run_notes, summarise

_SWITCHES_SHOWN = 4
_POSITIONS_SHOWN = 8
_BARS = 40
_BLOCKS = "▁▂▃▄▅▆▇█"


#: share of FC on padding from which it is worth a remark
_SHOWN_PADDING = 0.001
#: share of overlapped time from which it is shown
_SHOWN_OVERLAP = 0.001


def print_run(run: Run) -> None:
    """Print a run's figures on stdout."""
    page = console()
    summary = summarise(run)
    page.print(summary["system"], style="bold", end="")
    page.print(f" · {summary['trace']} · {summary['workload']}")
    page.print(f"{run.experiment.system.spec.description}", style="dim")
    for sentence in meaning_of_run(run):
        page.print(sentence)
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="cyan", no_wrap=True)
    table.add_column()
    for label, text in figures(run, summary):
        table.add_row(label, text)
    page.print(table)
    for note in run_notes(summary):
        page.print(note, style="bold yellow")
    page.print(_footer(summary), style="dim")


def figures(run: Run, summary: Json) -> list[tuple[str, str]]:
    """Return the lines on a run: name and text of each."""
    seconds = _seconds
    return [
        ("engine", _engine(run.experiment.engine)),
        ("requests", f"{summary['n_requests']} ({_policy(summary['batching'])}, {_policy(summary['speculation'])})"),
        ("tokens out", f"{summary['n_output_tokens']:,} in {count(summary['n_iterations'], 'decoding iteration')}"),
        ("throughput", f"{rate(summary['throughput_tokens_per_s'])} tokens/s over {seconds(summary['makespan_s'])}"),
        ("prefill, decode", _kinds(summary)),
        *([("ended", _outcomes(summary))] if summary["outcomes"]["served"] < summary["n_requests"] else []),
        *([("beyond the model", _beyond(summary))] if summary["n_beyond_positions"] else []),
        ("time to first token", _spread(summary, "ttft")),
        ("time per output token", _spread(summary, "tpot")),
        ("end-to-end latency", _spread(summary, "e2e")),
        *([("queueing delay", _spread(summary, "queueing"))] if summary["queueing_p99_s"] else []),
        *([("goodput", _goodput(summary))] if any(summary["slo"].values()) else []),
        ("decode time", _time_shares(summary)),
        ("decoding batch", _batch(summary)),
        *([("outside fits", outside_fits(summary))] if summary["outside_fit"] else []),
        ("FC runs on", _shares(summary["fc_flop_ratio"])),
        ("placement", _placement(run, summary)),
        *([("operators", _operators(summary))] if can_move(summary) else []),
        *([("tuned", _tuned(summary))] if summary["tuned"] else []),
        ("RLP·TLP over time", _over_time(run, lambda steps: steps.plan.rows)),
        (
            "TLP over time",
            _over_time(run, lambda steps: (steps.plan.rows - steps.plan.prompt_tokens) / steps.plan.decoding),
        ),
        *(
            [("speculation", _speculation(summary))]
            if summary["speculation_yield"]["acceptance_ratio"] is not None
            else []
        ),
        ("busy", _shares({name: share for name, share in summary["busy_ratio"].items() if share or name != HOST})),
        ("energy per token", _energy(summary)),
        ("energy models", ", ".join(f"{name}: {each}" for name, each in summary["energy_models"].items() if each)),
        ("peak KV cache", _kv(summary)),
        *([("prefix cache", _prefixes(summary))] if summary["prefix_reuse"] else []),
        *([("scheduler", _scheduler(summary))] if summary["scheduler"] else []),
        ("parallel plan", _parallel(summary["parallel"])),
    ]


def _engine(engine: EngineSpec) -> str:
    """Return the engine's name, and the time of its host."""
    host = engine.host
    if engine.adds_nothing:
        return f"{engine.name}: the captured kernels, without a host"
    per = f"{_seconds(host.step_s)} per step, {_seconds(host.request_s)} per request"
    return f"{engine.name}: {host.scheduling.value} host, {per}" if host.step_s else f"{engine.name}: no host"


def _over_time(run: Run, value: Callable[[Segment], float]) -> str:
    """Draw a value over the decoding iterations as bars, each the mean of an equal share of the iterations."""
    decoding = [segment for segment in run.ledger.segments if segment.kind in DECODING]
    if not decoding:
        return units.NO_VALUE
    values = np.repeat([value(segment) for segment in decoding], [segment.n_steps for segment in decoding])
    means = [float(share.mean()) for share in np.array_split(values, min(_BARS, len(values)))]
    top = float(values.max())
    bars = "".join(_BLOCKS[min(len(_BLOCKS) - 1, int(mean / top * len(_BLOCKS)))] for mean in means)
    return f"{bars} first {values[0]:.3g}, last {values[-1]:.3g}, largest {top:.3g}"


def _outcomes(summary: Json) -> str:
    return ", ".join(f"{number:,} {outcome}" for outcome, number in summary["outcomes"].items() if number)


def _beyond(summary: Json) -> str:
    number, positions = summary["n_beyond_positions"], summary["max_positions"]
    return f"{count(number, 'request')} beyond the {positions:,} positions that {summary['trace']} is configured for"


def _goodput(summary: Json) -> str:
    targets = ", ".join(f"{name.removesuffix('_s')} {_seconds(s)}" for name, s in summary["slo"].items() if s)
    goodput, share = summary["goodput_requests_per_s"], percent(summary["slo_met_ratio"])
    within = units.NO_VALUE if goodput is None else f"{goodput:.4g}"
    return f"{within} requests/s within {targets} ({share} of all requests)"


def _batch(summary: Json) -> str:
    mean = summary["decode_mean_rlp"]
    if mean is None:
        return units.NO_VALUE
    return f"mean RLP {mean:.3g}; {percent(summary['decode_tail_time_ratio'])} of the time at RLP ≤ {TAIL_RLP}"


def _speculation(summary: Json) -> str:
    figures = summary["speculation_yield"]
    by_position = ", ".join(
        f"{100 * share:.0f}" for share in figures["acceptance_by_position_ratio"][:_POSITIONS_SHOWN]
    )
    beyond = figures["extrapolated_ratio"]
    extrapolated = (
        f"; {percent(beyond)} of drafted positions lie beyond those observed: extrapolated" if beyond else ""
    )
    lost = figures["wasted_tokens_per_round"]
    wasted = f", {lost:.2f} more wasted" if lost else ""
    return (
        f"{figures['drafted_tokens_per_round']:.2f} drafted, {figures['accepted_tokens_per_round']:.2f} accepted "
        f"({summary['acceptance']}){wasted}, {figures['emitted_tokens_per_round']:.2f} emitted per request and iteration; "
        f"acceptance rate by position: {by_position} %; drafting takes {percent(figures['draft_time_ratio'])} of decoding"
        f"{extrapolated}"
    )


def _kinds(summary: Json) -> str:
    text = f"{_seconds(summary['prefill_s'])}, {_seconds(summary['decode_s'])}"
    return f"{text}, mixed steps {_seconds(summary['mixed_s'])}" if summary["mixed_s"] else text


def _seconds(value: float | None) -> str:
    return units.format(value, "s")


def _policy(options: Json) -> str:
    inner = ", ".join(
        f"{key} {_option(value)}"
        for key, value in options.items()
        if key not in ("kind", "description") and value is not None
    )
    return f"{options['kind']} {inner}".strip() if options["kind"] != "off" else "no speculation"


def _option(value: object) -> object:
    """Return the value of an option in short: tables by their number of rows."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {_option(inner)}" for name, inner in value.items())
    return f"in {len(value)} rows" if isinstance(value, list) else value


def _spread(summary: Json, name: str) -> str:
    if summary[f"{name}_mean_s"] is None:
        return units.NO_VALUE
    mean, p50, p99 = (_seconds(summary[f"{name}_{figure}_s"]) for figure in ("mean", "p50", "p99"))
    return f"mean {mean}, p50 {p50}, p99 {p99}"


def _shares(ratios: Mapping[str, float | None]) -> str:
    return ", ".join(f"{name} {percent(ratio)}" for name, ratio in ratios.items()) or units.NO_VALUE


def _time_shares(summary: Json) -> str:
    times = summary["decode_time_by_category_s"]
    total = sum(times.values())
    if not total:
        return units.NO_VALUE
    shares = sorted(((time / total, name) for name, time in times.items() if time), reverse=True)
    hidden = 1 - summary["decode_s"] / total
    told = f"; {100 * hidden:.1f} % of it overlapped by the rest" if hidden >= _SHOWN_OVERLAP else ""
    return _shares({name: share for share, name in shares}) + told


def _placement(run: Run, summary: Json) -> str:
    switches = summary["switches"]
    first = next((steps.fc_device for steps in run.ledger.segments if steps.kind in DECODING), units.NO_VALUE)
    shown = [f"→ {s['to']} at iteration {s['iteration']} (RLP·TLP {s['rows']})" for s in switches[:_SWITCHES_SHOWN]]
    left = summary["n_switches"] - len(switches[:_SWITCHES_SHOWN])
    more = [f"… {count(left, 'more switch')}"] if left else []
    return f"{_policy(summary['placement'])}: {' '.join([first, *shown, *more])}"


def _operators(summary: Json) -> str:
    """Return the share of decoding time that each operator was on each device, and the number of its switches."""
    told = []
    for each in summary["operators"]:
        shares = _shares({row["device"]: row["step_time_ratio"] for row in each["on"] if row["iteration_ratio"]})
        switches = each["n_switches"]
        moves = f" ({count(switches, 'switch')})" if switches else ""
        told.append(f"{each['operator']}: {shares}{moves}")
    return "; ".join(told)


def _tuned(summary: Json) -> str:
    return "; ".join(f"{field} {value['origin']}" for field, value in summary["tuned"].items())


def _energy(summary: Json) -> str:
    parts, total = summary["energy_per_token_by_part_j"], summary["energy_per_token_j"]
    if total is None:
        return units.NO_VALUE
    largest = sorted(((joules, part) for part, joules in parts.items() if joules), reverse=True)
    shares = ", ".join(f"{part.removesuffix('_j')} {100 * joules / total:.1f} %" for joules, part in largest)
    return f"{units.format(total, 'j')} ({shares})"


def _parallel(plan: Json) -> str:
    """Return the sharing of kernels in words, with what it leaves idle or computes twice, where it does."""
    shares = [
        count(plan["tensor_ranks"], "rank"),
        f"{plan['data_ranks']} attention groups" if plan["data_ranks"] > 1 else "",
        f"caches split over {plan['context_ranks']} ranks" if plan["context_ranks"] > 1 else "",
        f"experts on {plan['expert_ranks']} ranks" if plan["expert_ranks"] > 1 else "",
        f"{plan['pipeline_stages']} stages" if plan["pipeline_stages"] > 1 else "",
    ]
    remarks = [
        f"{plan['expert_imbalance_ratio']:.3g}× the mean rows of experts on the fullest"
        if plan["expert_ranks"] > 1
        else "",
        f"{plan['kv_head_copies']:.3g} copies of each KV head" if plan["kv_head_copies"] > 1 else "",
        f"{count(plan['idle_attention_ranks'], 'rank')} without heads" if plan["idle_attention_ranks"] else "",
        f"KV caches {plan['kv_imbalance_ratio']:.4g}× the mean on the fullest"
        if plan["kv_imbalance_ratio"] > 1
        else "",
        f"{plan['fc_padding_ratio']:.2%} of FC on padding" if plan["fc_padding_ratio"] >= _SHOWN_PADDING else "",
    ]
    return "; ".join([", ".join(filter(None, shares)), *filter(None, remarks)])


def _kv(summary: Json) -> str:
    used, capacity = summary["peak_kv_bytes"], summary["kv_capacity_bytes"]
    text = f"{units.format(used, 'bytes')} of {units.format(capacity, 'bytes')} ({units.format(summary['kv_peak_ratio'], 'ratio', 2)})"
    preemptions = summary["n_preemptions"]
    return f"{text}, {count(preemptions, 'preemption')}" if preemptions else text


def _scheduler(summary: Json) -> str:
    """Return the costs of placing the operators in one line."""
    found = summary["scheduler"]
    parts = [
        f"{found['n_decisions']:,} decisions, {units.format(found['decision_s'], 's')}",
        f"{found['n_switches']:,} switches, {units.format(found['switch_s'], 's')}",
        f"{found['n_moves']:,} moves of caches, {units.format(found['moved_bytes'], 'bytes')} in {units.format(found['move_s'], 's')}",
    ]
    return f"{'; '.join(parts)}: {units.format(found['time_ratio'], 'ratio', 3)} of the time"


def _prefixes(summary: Json) -> str:
    reuse = summary["prefix_reuse"]
    text = (
        f"{reuse['reused_tokens']:,} of {reuse['prompt_tokens']:,} prompt tokens reused "
        f"({units.format(reuse['reused_token_ratio'], 'ratio', 3)})"
    )
    below = ", ".join(
        f"{tier['reused_blocks']:,} blocks from {tier['name']} ({units.format(tier['fetched_bytes'], 'bytes')})"
        for tier in reuse["tiers"][1:]
    )
    return f"{text}; {below}" if below else text


def _footer(summary: Json) -> str:
    works = ", ".join(line.partition(":")[0] for line in summary["papers"])
    return f"Sources: {works}; {len(summary['assumptions'])} assumptions (--format json lists them)"
