"""Several runs side by side."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from papisim import units
from papisim.report.console import console


def compare(labels: list[str], summaries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return one row a run, with ratios to the first: above 1 is better than the first.

    - ``speed_up_ratio``: time of the first run over this one's, prefill included (the requests are the same).
    - ``decode_speed_up_ratio``: the same for decoding alone.
    - ``energy_efficiency_ratio``: energy of the first run over this one's.
    """
    first = summaries[0]
    return [
        {
            "machine": label,
            "throughput_tokens_per_s": summary["throughput_tokens_per_s"],
            "speed_up_ratio": first["makespan_s"] / summary["makespan_s"],
            "decode_speed_up_ratio": _ratio(first["decode_s"], summary["decode_s"]),
            "prefill_s": summary["prefill_s"],
            "decode_s": summary["decode_s"],
            "tpot_mean_s": summary.get("tpot_mean_s"),
            "energy_per_token_j": summary["energy_per_token_j"],
            "energy_efficiency_ratio": first["energy_j"] / summary["energy_j"],
        }
        for label, summary in zip(labels, summaries, strict=True)
    ]


def _ratio(first: float, other: float) -> float | None:
    return first / other if other else None


def print_comparison(rows: list[dict[str, Any]], first: dict[str, Any]) -> None:
    """Print a comparison on stdout."""
    page = console()
    page.print(f"{first['trace']} · {first['workload']} · {first['n_requests']} requests")
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
            f"{row['throughput_tokens_per_s']:,.1f}",
            _times(row["speed_up_ratio"]),
            _times(row["decode_speed_up_ratio"]),
            units.format(row["prefill_s"], "s", 3),
            units.format(row["decode_s"], "s", 3),
            "—" if row["tpot_mean_s"] is None else units.format(row["tpot_mean_s"], "s", 3),
            units.format(row["energy_per_token_j"], "j", 3),
            _times(row["energy_efficiency_ratio"]),
        )
    page.print(table)
    page.print(f"ratios to {rows[0]['machine']}; above 1 is better", style="dim")


def _times(ratio: float | None) -> str:
    return "—" if ratio is None else f"{ratio:.2f}×"
