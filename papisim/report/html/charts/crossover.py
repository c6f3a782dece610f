"""The fastest machine by batch and TLP."""

from __future__ import annotations

import numpy as np
import pandas as pd

from papisim import units
from papisim.report.html.charts.axes import axis
from papisim.report.html.page import Chart, Plotly


def crossover_map(rows: pd.DataFrame, colours: dict[str, str]) -> Chart | None:
    """Draw the fastest machine at each batch and TLP, with its lead over the second; None where no cache fits any.

    Args:
        rows: the frame ``crossover``.
        colours: colours by machine.
    """
    best = fastest(rows)
    if best.empty:
        return None
    machines = list(dict.fromkeys(rows["machine"]))
    grid = best.pivot_table(
        index="tlp", columns="batch", values="winner", aggfunc=lambda column: machines.index(column.iloc[0])
    )
    text = best.pivot_table(index="tlp", columns="batch", values="lead", aggfunc="first").map(_lead)
    steps = len(machines)
    scale = [
        [edge / steps, f"{colours[machine]}/80"]
        for number, machine in enumerate(machines)
        for edge in (number, number + 1)
    ]
    heat = {
        "type": "heatmap",
        "x": [str(batch) for batch in grid.columns],
        "y": [str(tlp) for tlp in grid.index],
        "z": grid.to_numpy(),
        "text": text.to_numpy(),
        "texttemplate": "%{text}",
        "zmin": -0.5,
        "zmax": steps - 0.5,
        "colorscale": scale,
        "showscale": False,
        "xgap": 2,
        "ygap": 2,
        "customdata": best.pivot_table(index="tlp", columns="batch", values="times", aggfunc="first").to_numpy(),
        "hovertemplate": "batch %{x}, TLP %{y}<br>%{customdata}<extra></extra>",
    }
    layout = {
        "xaxis": {"title": {"text": "batch"}, "type": "category", "showgrid": False},
        "yaxis": {"title": {"text": "TLP"}, "type": "category", "showgrid": False},
    }
    keys = [_key(machine, colours[machine]) for machine in machines]
    return Chart(
        "Fastest machine by batch and TLP",
        {"data": [heat, *keys], "layout": layout},
        _in_words(best, machines),
        best[["batch", "tlp", "winner", "lead"]].rename(columns={"winner": "fastest", "lead": "lead_ratio"}),
        "Numbers are the lead over the second-fastest machine. One decoding step is priced, without drafting; every request has "
        f"{rows['kv_tokens'].iloc[0]:,} tokens in its cache.",
        wide=True,
        height=420,
    )  # fmt: skip


def fastest(rows: pd.DataFrame) -> pd.DataFrame:
    """Return for each batch and TLP the fastest machine, its lead over the second, and every machine's time in words."""
    found = []
    for (batch, tlp), group in rows.dropna(subset="step_s").groupby(["batch", "tlp"]):
        ranked = group.sort_values("step_s")
        seconds = ranked["step_s"].tolist()
        times = "<br>".join(
            f"{row['machine']}: {units.format(row['step_s'], 's')}, FC on {row['fc_device']}"
            for row in ranked.to_dict("records")
        )
        lead = seconds[1] / seconds[0] if len(seconds) > 1 else np.nan
        found.append({"batch": batch, "tlp": tlp, "winner": ranked["machine"].iloc[0], "lead": lead, "times": times})
    return pd.DataFrame(found, columns=["batch", "tlp", "winner", "lead", "times"])


def step_times(rows: pd.DataFrame, tlp: int, colours: dict[str, str]) -> Chart | None:
    """Draw the time of a decoding step over the batch, one line per machine; None where no cache fits any.

    Args:
        rows: the frame ``crossover``.
        tlp: token-rows per request.
        colours: colours by machine.
    """
    here = rows[rows["tlp"] == tlp].dropna(subset="step_s")
    if here.empty:
        return None
    traces = [
        {
            "type": "scatter",
            "mode": "lines+markers",
            "name": machine,
            "x": line["batch"],
            "y": line["step_s"],
            "line": {"color": colours[str(machine)], "width": 2},
            "marker": {"symbol": number, "size": 7},
            "hovertemplate": f"{machine}, batch %{{x}}: %{{y:.4~s}}s<extra></extra>",
        }
        for number, (machine, line) in enumerate(here.groupby("machine", sort=False))
    ]
    layout = {
        "xaxis": axis("batch", type="log", tickvals=[1, 2, 4, 8, 16, 32, 64, 128]),
        "yaxis": axis("step", "s", type="log", dtick="D2"),
    }
    times = here.pivot_table(index="batch", columns="machine", values="step_s", sort=False)
    table = times.rename(columns={machine: f"{machine}_s" for machine in times.columns}).reset_index()
    alt = " ".join(
        f"At batch {batch}: {_times_in_words(times.loc[batch])}." for batch in (times.index[0], times.index[-1])
    )
    return Chart(f"Decoding step at TLP {tlp}", {"data": traces, "layout": layout}, alt, table)


def _times_in_words(seconds: pd.Series[float]) -> str:
    return ", ".join(f"{machine} {units.format(float(value), 's')}" for machine, value in seconds.dropna().items())


def _key(machine: str, colour: str) -> Plotly:
    """Return a series without data, for the legend."""
    return {
        "type": "scatter",
        "mode": "markers",
        "name": machine,
        "x": [None],
        "y": [None],
        "marker": {"color": colour},
    }


def _lead(lead: float) -> str:
    return "" if np.isnan(lead) else f"{lead:.2f}×"


def _in_words(best: pd.DataFrame, machines: list[str]) -> str:
    cells = best["winner"].value_counts()
    counts = ", ".join(f"{machine} at {int(cells.get(machine, 0))}" for machine in machines)
    borders = [
        f"at TLP {tlp} the fastest is {_ranges(best[best['tlp'] == tlp])}"
        for tlp in (best["tlp"].min(), best["tlp"].max())
    ]
    return f"Of {len(best)} points the fastest is {counts}; {'; '.join(borders)}."


def _ranges(row: pd.DataFrame) -> str:
    row = row.sort_values("batch")
    first = row[row["winner"] != row["winner"].shift()]
    return ", ".join(f"{entry['winner']} from batch {entry['batch']}" for entry in first.to_dict("records"))
