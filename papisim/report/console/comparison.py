"""Several runs side by side, as text."""

from __future__ import annotations

from collections.abc import Iterable

from rich.table import Table

from papisim import units
from papisim.report.console.console import console
from papisim.report.figures import percent, rate, times
from papisim.results.folder import Json


def print_comparison(rows: list[Json], first: Json, meaning: Iterable[str] = ()) -> None:
    """Print the rows of a comparison on stdout, below what they mean."""
    page = console()
    page.print(
        f"{first['trace']} · {first['workload']} · {first['n_requests']} requests · engine {first.get('engine', 'none')}"
    )
    for sentence in meaning:
        page.print(sentence)
    table = Table(
        "machine",
        "tokens/s",
        "speed-up",
        "decoding",
        "prefill",
        "decode",
        "TPOT",
        "energy/token",
        "efficiency",
        box=None,
    )
    for column in table.columns[1:]:
        column.justify = "right"
    for row in rows:
        table.add_row(
            row["machine"],
            rate(row["throughput_tokens_per_s"]),
            times(row["speed_up_ratio"]),
            times(row["decode_speed_up_ratio"]),
            units.format(row["prefill_s"], "s", 3),
            units.format(row["decode_s"], "s", 3),
            units.format(row["tpot_mean_s"], "s", 3),
            units.format(row["energy_per_token_j"], "j", 3),
            times(row["energy_efficiency_ratio"]),
        )
    page.print(table)
    page.print(f"ratios to {rows[0]['machine']}; above 1 is better", style="dim")
    if len({row["n_served"] for row in rows}) > 1:
        served = ", ".join(f"{row['machine']} {row['n_served']:,}" for row in rows)
        page.print(f"ratios are of unequal work; requests served: {served}", style="yellow", soft_wrap=True)
    if any(row["outside_fit_time_ratio"] for row in rows):
        shares = ", ".join(f"{row['machine']} {percent(row['outside_fit_time_ratio'])}" for row in rows)
        page.print(f"time priced outside the fits of the devices: {shares}", style="yellow")
    for row in rows:
        if row["tuning_note"] is not None:
            page.print(f"{row['machine']}: {row['tuning_note']}", style="bold yellow")
