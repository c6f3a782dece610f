"""The page of a comparison."""

from __future__ import annotations

import numpy as np
import pandas as pd

from papisim import units
from papisim.report.html.accuracy import add_accuracy
from papisim.report.html.charts import crossover, latency, ratios
from papisim.report.html.charts.axes import axis
from papisim.report.html.charts.axes import colours as colours_of
from papisim.report.html.charts.breakdown import stacked
from papisim.report.html.page import Chart, Page, Section, Table, Tile
from papisim.report.html.sources import add_sources
from papisim.report.html.uncertainty import add_uncertainty, ratio_spans
from papisim.report.meaning import meaning_in
from papisim.results.comparison import work_of
from papisim.results.folder import Json, Results
from papisim.results.metrics import tuning_notes


def page(results: Results) -> Page:
    """Lay out the page of a comparison that ``papisim compare --out`` wrote."""
    manifest, summaries = results.manifest, results.summary["runs"]
    rows, labels = results.frame("comparison"), [run["machine"] for run in manifest["runs"]]
    colours = colours_of(labels)
    first = summaries[0]
    page = Page(
        f"{first['trace']}: {', '.join(labels)}",
        f"{first['n_requests']:,} requests of {first['workload']}. Ratios are to {labels[0]} unless another baseline is named.",
        manifest["written"],
        meaning_in(results),
    )
    notes = [f"{label}: {note}" for label, run in zip(labels, summaries, strict=True) for note in tuning_notes(run)]
    page.section("Overview", "; ".join(notes)).tiles.extend(_tiles(labels, summaries))
    add_uncertainty(page, results)
    section = page.section("Speed and energy")
    baselines = baselines_of(manifest["runs"])
    times = {label: work_of(summary, "makespan_s") for label, summary in zip(labels, summaries, strict=True)}
    joules = {label: work_of(summary, "energy_j") for label, summary in zip(labels, summaries, strict=True)}
    spans = [ratio_spans(results, figure) for figure in ("speed_up_ratio", "energy_efficiency_ratio")]
    section.add(
        ratios.chart(
            "speed-up", times, baselines, "Time of the baseline over that of the machine, prefill included.", spans[0]
        ),
        ratios.chart(
            "energy efficiency", joules, baselines, "Energy of the baseline over that of the machine.", spans[1]
        ),
        Table("Side by side", rows),
    )
    page.section("Where time and energy go").add(_time(labels, summaries), _energy(labels, summaries))
    steps = results.frame("crossover")
    section = page.section("Crossovers", "Where one machine overtakes another, step by step.")
    section.add(
        crossover.crossover_map(steps, colours), *(crossover.step_times(steps, tlp, colours) for tlp in (1, 4))
    )
    _add_latencies(page.section("Latency"), results.frame("requests"), labels, colours)
    _add_accuracy_and_sources(page, manifest["runs"])
    return page


def baselines_of(runs: list[Json]) -> dict[str, str]:
    """Return the baselines, label → name: the first run, and the first GPU-only and PIM-only machines.

    A machine is GPU-only where every device is a GPU, PIM-only where no GPU can run FC.
    """
    found = {runs[0]["machine"]: runs[0]["machine"]}
    for name, is_one in (("GPU-only", _gpu_only), ("PIM-only", _pim_only)):
        label = next((run["machine"] for run in runs if is_one(run["experiment"]["system"])), None)
        if label is not None:
            found.setdefault(label, f"{name} ({label})" if label != name else name)
    return found


def _gpu_only(system: Json) -> bool:
    return all(group["part"]["kind"] == "gpu" for group in system["devices"].values())


def _pim_only(system: Json) -> bool:
    return all(system["devices"][name]["part"]["kind"] != "gpu" for name in system["roles"]["fc"])


def _tiles(labels: list[str], summaries: list[Json]) -> list[Tile]:
    best = [
        ("Fastest", "makespan_s", "throughput_tokens_per_s", "tokens_per_s"),
        ("Least energy per token", "energy_per_token_j", "energy_per_token_j", "j"),
        ("Shortest time to first token", "ttft_mean_s", "ttft_mean_s", "s"),
        ("Shortest time per output token", "tpot_mean_s", "tpot_mean_s", "s"),
    ]
    tiles = []
    for title, key, shown, unit in best:
        found = [work_of(summary, key) for summary in summaries]
        values = [np.inf if value is None else value for value in found]
        winner = int(np.argmin(values))
        if np.isfinite(values[winner]):
            tiles.append(Tile(title, labels[winner], units.format(summaries[winner][shown], unit)))
    return tiles


def _time(labels: list[str], summaries: list[Json]) -> Chart | None:
    table = pd.DataFrame(
        [{"prefill": summary["prefill_s"], **summary["decode_time_by_category_s"]} for summary in summaries],
        index=labels,
    )
    table = table.loc[:, table.sum() > 0]
    if table.empty:
        return None
    layout = {"barmode": "stack", "xaxis": axis("time", "s"), "yaxis": {"autorange": "reversed", "type": "category"}}
    longest = table[table.sum(axis=1) > 0].T.idxmax().to_dict()
    alt = "Most time goes to " + ", ".join(f"{part} on {label}" for label, part in longest.items()) + "."
    figure = {
        "data": stacked(
            table, colours_of(("fc", "attention", "communication", "other", "draft", "host", "prefill")), "s"
        ),
        "layout": layout,
    }
    return Chart("Time", figure, alt, _named(table, "s"), height=160 + 40 * len(labels))


def _energy(labels: list[str], summaries: list[Json]) -> Chart | None:
    parts = [
        {part.removesuffix("_j"): joules for part, joules in summary["energy_per_token_by_part_j"].items()}
        for summary in summaries
    ]
    table = pd.DataFrame(parts, index=labels, dtype=float).dropna()
    colours = colours_of(list(table.columns))
    table = table.loc[:, table.sum() > 0]
    if table.empty:
        return None
    layout = {
        "barmode": "stack",
        "xaxis": axis("energy per token", "j"),
        "yaxis": {"autorange": "reversed", "type": "category"},
    }
    alt = (
        "A token takes "
        + ", ".join(f"{units.format(float(value), 'j')} on {label}" for label, value in table.sum(axis=1).items())
        + "."
    )
    return Chart(
        "Energy per token",
        {"data": stacked(table, colours, "j"), "layout": layout},
        alt,
        _named(table, "j"),
        height=160 + 40 * len(labels),
    )


def _named(table: pd.DataFrame, unit: str) -> pd.DataFrame:
    return (
        table.rename(columns={name: f"{name}_{unit}" for name in table.columns}).rename_axis("machine").reset_index()
    )


def _add_latencies(section: Section, requests: pd.DataFrame, labels: list[str], colours: dict[str, str]) -> None:
    requests["whole_s"] = requests["finish_s"] - requests["arrival_s"]
    by_machine = {label: requests[requests["machine"] == label] for label in labels}
    for title, column in (
        ("Time to first token", "ttft_s"), ("Time per output token", "tpot_s"), ("End-to-end latency", "whole_s"),
    ):  # fmt: skip
        section.add(latency.compared(title, {label: rows[column] for label, rows in by_machine.items()}, colours))


def _add_accuracy_and_sources(page: Page, runs: list[Json]) -> None:
    sources = [source for run in runs for source in run["sources"]]
    accuracy = page.section("Model accuracy", "Known errors of the models behind these runs.")
    add_accuracy(accuracy, [run["experiment"]["system"] for run in runs], sources)
    add_sources(page.section("Sources and assumptions"), sources)
    repeat = pd.DataFrame([
        {"machine": run["machine"], "seed": run["seed"], "overrides": ", ".join(run["overrides"]) or "none", "experiment sha256": run["experiment_sha256"]}
        for run in runs
    ])  # fmt: skip
    page.section("Reproduce these runs").add(
        Table("Runs", repeat, "manifest.json beside this page has every resolved experiment.")
    )
