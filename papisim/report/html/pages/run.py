"""The page of one run."""

from __future__ import annotations

import pandas as pd

from papisim import units
from papisim.config.tuning import told
from papisim.plan.machine import HOST
from papisim.report.figures import count, rate
from papisim.report.html.accuracy import add_accuracy
from papisim.report.html.charts import activity, breakdown, latency, memory, operators, parallelism, roofline
from papisim.report.html.charts.axes import colours as colours_of
from papisim.report.html.page import Chart, Page, Section, Table, Tile, rows_frame
from papisim.report.html.sources import add_sources
from papisim.report.html.uncertainty import add_uncertainty
from papisim.report.meaning import meaning_in
from papisim.results.folder import Json, Results
from papisim.results.metrics import run_notes

#: servers with a chart of their own, and changes of placement that are listed
_SERVERS_SHOWN, _SWITCHES_SHOWN = 4, 20


def page(results: Results) -> Page:
    """Lay out the page of a run that ``papisim run --out`` wrote."""
    summary, manifest = results.summary, results.manifest
    steps, requests = results.frame("steps"), results.frame("requests")
    resources = [name for name, share in summary["busy_ratio"].items() if share or name != HOST]
    colours = colours_of(resources)
    page = Page(
        f"{summary['trace']} on {summary['system']}",
        f"{manifest['experiment']['system']['description']}. {summary['n_requests']:,} requests of {summary['workload']}, engine {summary.get('engine', 'none')}.",
        manifest["written"],
        meaning_in(results),
    )
    page.section("Overview", "; ".join(run_notes(summary))).tiles.extend(_tiles(summary))
    add_uncertainty(page, results)
    section = page.section(
        "Parallelism and placement",
        "RLP is the number of requests decoded together, TLP the token-rows per request; their product decides where FC kernels run best.",
    )
    section.add(*_parallelism(steps, _alpha(summary), colours), *_operators(steps, summary, colours))
    section.add(_switches(summary), _tuned(summary))
    section = page.section("Latency")
    section.add(*_latencies(requests))
    section = page.section("Time and energy")
    section.add(breakdown.time(steps), breakdown.energy(results.frame("energy"), resources))
    section = page.section("Devices")
    devices, n_servers = results.frame("devices"), int(manifest["experiment"]["routing"]["replicas"])
    static_w = n_servers * float(devices["static_w"].sum())
    section.add(activity.devices(steps, resources, n_servers), activity.power(steps, static_w))
    section.add(memory.chart(steps, summary["peak_kv_bytes"], summary["kv_capacity_bytes"]))
    section.add(Table("Energy models and idle power", devices[["device", "energy_model", "static_w", "refresh_w"]]))
    section.add(roofline.chart(results.frame("kernels"), devices, colours))
    accuracy = page.section("Model accuracy", "Known errors of the models behind this run.")
    accuracy.add(_outside_fit(summary))
    add_accuracy(accuracy, [manifest["experiment"]["system"]], manifest["sources"])
    add_sources(page.section("Sources and assumptions"), manifest["sources"])
    _add_facts(page.section("Reproduce this run"), manifest)
    return page


def _parallelism(steps: pd.DataFrame, alpha: float | None, colours: dict[str, str]) -> list[Chart | None]:
    servers = steps["server"].unique()[:_SERVERS_SHOWN]
    title = "RLP, TLP and RLP·TLP over iterations"
    if len(servers) == 1:
        return [parallelism.chart(title, steps, alpha, colours)]
    return [
        parallelism.chart(f"{title} of {name}", steps[steps["server"] == name], alpha, colours) for name in servers
    ]


def _operators(steps: pd.DataFrame, summary: Json, colours: dict[str, str]) -> list[Chart | None]:
    """Draw the placement of operators on each server; nothing of results that were written before it was recorded."""
    placed, per_tlp = summary.get("operators", []), summary.get("attention_intensity_per_tlp")
    servers, title = steps["server"].unique()[:_SERVERS_SHOWN], "Operators over time"
    titles = {name: title if len(servers) == 1 else f"{title} of {name}" for name in servers}
    return [
        operators.chart(title, steps[steps["server"] == name], placed, per_tlp, colours)
        for name, title in titles.items()
    ]


def _alpha(summary: Json) -> float | None:
    alpha = summary["placement"].get("alpha")
    return float(alpha) if isinstance(alpha, (int, float)) else None


def _tiles(summary: Json) -> list[Tile]:
    def seconds(key: str) -> str:
        return units.format(summary[key], "s")

    used, room = summary["peak_kv_bytes"], summary["kv_capacity_bytes"]
    mean_w = summary["energy_j"] / summary["makespan_s"] if summary["makespan_s"] else None
    return [
        Tile("Throughput", f"{rate(summary['throughput_tokens_per_s'])} tokens/s", f"{summary['n_output_tokens']:,} tokens in {seconds('makespan_s')}"),
        Tile("Time to first token", seconds("ttft_mean_s"), f"mean; p50 {seconds('ttft_p50_s')}, p99 {seconds('ttft_p99_s')}"),
        Tile("Time per output token", seconds("tpot_mean_s"), f"mean; p50 {seconds('tpot_p50_s')}, p99 {seconds('tpot_p99_s')}"),
        Tile("Energy per token", units.format(summary["energy_per_token_j"], "j"), _largest_part(summary)),
        Tile("Prefill, decoding", f"{seconds('prefill_s')}, {seconds('decode_s')}", _iterations(summary)),
        Tile("FC on", _fc(summary["fc_flop_ratio"]), f"share of decoding's FLOP; {count(len(summary['switches']), 'change')} of placement"),
        Tile("Peak KV cache", units.format(used, "bytes"), f"{units.format(summary['kv_peak_ratio'], 'ratio', 3)} of {units.format(room, 'bytes')}"),
        Tile("Mean power", units.format(mean_w, "w"), f"{units.format(summary['energy_j'], 'j')} in total"),
    ]  # fmt: skip


def _largest_part(summary: Json) -> str:
    parts, total = summary["energy_per_token_by_part_j"], summary["energy_per_token_j"]
    if not total:
        return "no token was emitted" if total is None else ""
    largest = max(parts, key=parts.__getitem__)
    return f"{largest.removesuffix('_j')} {parts[largest] / total:.0%}"


def _iterations(summary: Json) -> str:
    mixed = f", mixed steps {units.format(summary['mixed_s'], 's')}" if summary["mixed_s"] else ""
    return f"{summary['n_iterations']:,} iterations{mixed}"


def _fc(shares: dict[str, float | None]) -> str:
    return ", ".join(f"{name} {share:.0%}" for name, share in shares.items() if share) or units.NO_VALUE


def _switches(summary: Json) -> Table | None:
    if not summary["switches"]:
        return None
    frame = pd.DataFrame(summary["switches"]).rename(columns={"rows": "token-rows", "rlp": "RLP"})
    more = len(frame) - _SWITCHES_SHOWN
    note = f"The first {_SWITCHES_SHOWN} of {len(frame):,}; summary.json has all." if more > 0 else ""
    return Table("Changes of placement", frame.head(_SWITCHES_SHOWN), note)


def _tuned(summary: Json) -> Table | None:
    """List the values that belong to the machine and the model; None where there are none."""
    rows = [
        (field, told(each["value"]), each["origin"], told(each["calibrated"]), each["loss_ratio"])
        for field, each in summary.get("tuned", {}).items()
    ]
    columns = "field", "value", "origin", "calibrated", "loss_time_ratio"
    return Table("Calibrated for machine and model", rows_frame(rows, *columns)) if rows else None


def _outside_fit(summary: Json) -> Table | None:
    """List the time that is priced outside the range of a fit; None where there is none."""
    columns = "resource", "category", "reason", "time_s", "time_ratio"
    rows = [tuple(each[name] for name in columns) for each in summary.get("outside_fit", [])]
    note = (
        "Time of kernels whose sizes, formats or board no measurement of the fit covers: physics alone prices them."
    )
    return Table("Time priced outside a fit", rows_frame(rows, *columns), note) if rows else None


def _latencies(requests: pd.DataFrame) -> list[Chart | None]:
    return [
        latency.chart("Time to first token", requests["ttft_s"]),
        latency.chart("Time per output token", requests["tpot_s"]),
        latency.chart("End-to-end latency", requests["e2e_s"]),
        latency.chart("Queueing delay", requests["queueing_s"]) if requests["queueing_s"].any() else None,
    ]


def _add_facts(section: Section, manifest: Json) -> None:
    versions = ", ".join(f"{name} {number}" for name, number in manifest["versions"].items())
    facts = [
        ("written", manifest["written"]),
        ("versions", versions),
        ("seed", str(manifest["seed"])),
        ("overrides", ", ".join(manifest["overrides"]) or "none"),
        ("SHA-256 of the resolved experiment", manifest["experiment_sha256"]),
        ("SHA-256 of the kernel trace", manifest["trace_sha256"]),
    ]
    section.add(
        Table(
            "Manifest",
            rows_frame(facts, "fact", "value"),
            "manifest.json beside this page has the resolved experiment.",
        )
    )
