"""What the interpretation study found, on the console."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from papisim.report.console.console import console

#: values whose dependence on choices is printed; the files have all
MAIN = {
    ("fig8", "speed_attacc"): "1.8×",
    ("fig8", "speed_pim"): "11.1×",
    ("fig8", "energy_attacc"): "3.4×",
    ("fig8", "energy_pim"): "1.15×",
    ("fig10b", "speed_attacc"): "1.5×",
    ("fig10b", "speed_pim"): "3.0×",
    ("fig11", "mean"): "2.3×",
    ("fig12", "communication"): "28.2 %",
}


def print_interpretation(
    summary: Mapping[str, Any],
    ranges: Sequence[Mapping[str, Any]],
    effects: Sequence[Mapping[str, Any]],
    physical: Mapping[str, str],
) -> None:
    """Print the best readings, the numbers that none reaches, and what each alternative does to the main numbers."""
    page = console()
    page.print(
        f"{summary['n_readings']:,} readings put together from {summary['n_runs']:,} runs; "
        f"{summary['n_too_large']:,} have a batch that does not fit the memory"
    )
    for title, name in (("best reading", "best"), ("best reading that keeps all orders", "best_with_orders")):
        best = summary[name]
        if best is not None:
            differs = {choice: taken for choice, taken in best["reading"].items() if taken != physical[choice]}
            page.print(
                Text.assemble(
                    "\n",
                    (title, "bold"),
                    f": score {best['score']:.3f}, {best['read_off']:.3f} with numbers read off",
                )
            )
            page.print("  " + (", ".join(f"{choice} = {taken}" for choice, taken in differs.items()) or "physical"))
    page.print("\nnumbers that no reading reaches", style="bold")
    page.print(_unreached([each for each in ranges if not each["reached"]]))
    page.print("\nwhat each alternative does, over the physical one, all else averaged", style="bold")
    page.print(_effects(effects))


def _unreached(ranges: Sequence[Mapping[str, Any]]) -> Table:
    table = Table("figure", "claim", "published", "readings", box=None, pad_edge=False)
    for each in ranges:
        span = f"{each['smallest']:.3g} … {each['largest']:.3g}"
        table.add_row(each["figure"], each["claim"], f"{each['published']:g}", span)
    return table


def _effects(effects: Sequence[Mapping[str, Any]]) -> Table:
    table = Table("choice", "alternative", *MAIN.values(), box=None, pad_edge=False)
    for column in table.columns[2:]:
        column.justify = "right"
    ratios = {(e["choice"], e["alternative"], e["figure"], e["claim"]): e["ratio"] for e in effects}
    for choice, alternative in dict.fromkeys((e["choice"], e["alternative"]) for e in effects):
        cells = [ratios.get((choice, alternative, *key)) for key in MAIN]
        table.add_row(choice, alternative, *("" if cell is None else f"×{cell:.2f}" for cell in cells))
    return table


def markdown(
    summary: Mapping[str, Any],
    ranges: Sequence[Mapping[str, Any]],
    effects: Sequence[Mapping[str, Any]],
    choices: Mapping[str, Mapping[str, Any]],
) -> str:
    """Return the page of a study.

    Args:
        summary: the best readings and how many there were.
        ranges: what all readings make of each number.
        effects: what each alternative does to each number.
        choices: what was crossed: each choice's question and alternatives.
    """
    lines = [
        "# Readings of the PAPI paper",
        "",
        f"{summary['n_readings']:,} readings put together from {summary['n_runs']:,} runs; {summary['n_too_large']:,} of them have a "
        "batch that does not fit the memory and no score. A score is the mean of |ln(simulated / published)| over the numbers that "
        "the paper states for Figures 7 to 12.",
    ]
    for title, name in (
        ("Best reading", "best"),
        ("Best reading that keeps every order and crossover", "best_with_orders"),
    ):
        if summary[name] is not None:
            lines += ["", f"## {title}", "", *_reading(summary[name], choices, ranges)]
    lines += ["", "## What readings make of each number", ""]
    lines += _rows(
        ["figure", "claim", "published", "least", "most", "reached"],
        [
            [
                each["figure"],
                each["claim"],
                f"{each['published']:g}",
                f"{each['smallest']:.3g}",
                f"{each['largest']:.3g}",
                "yes" if each["reached"] else "**no**",
            ]
            for each in ranges
        ],
    )
    lines += ["", "## What each alternative does", ""]
    lines += ["Geometric mean over all other choices, over that of the physical alternative.", ""]
    ratios = {(e["choice"], e["alternative"], e["figure"], e["claim"]): e["ratio"] for e in effects}
    pairs = list(dict.fromkeys((e["choice"], e["alternative"]) for e in effects))
    lines += _rows(
        ["choice", "alternative", *(f"{figure} {published}" for (figure, _), published in MAIN.items())],
        [
            [*pair, *(f"×{ratios[(*pair, *key)]:.2f}" if (*pair, *key) in ratios else "" for key in MAIN)]
            for pair in pairs
        ],
    )
    lines += ["", "## The choices", ""]
    for name, choice in choices.items():
        lines += [f"- **{name}**: {choice['question']}"]
        lines += [f"  - {taken}: {each['why']} ({each['source']})" for taken, each in choice["alternatives"].items()]
    return "\n".join(lines) + "\n"


def _reading(
    best: Mapping[str, Any], choices: Mapping[str, Mapping[str, Any]], ranges: Sequence[Mapping[str, Any]]
) -> list[str]:
    published = {f"{each['figure']}.{each['claim']}": each["published"] for each in ranges}
    lines = [
        f"Score {best['score']:.3f}; {best['read_off']:.3f} with the numbers that others read off the figures.",
        "",
    ]
    lines += _rows(
        ["choice", "alternative", "physical"],
        [
            [name, taken, "yes" if taken == next(iter(choices[name]["alternatives"])) else "no"]
            for name, taken in best["reading"].items()
        ],
    )
    values = [[name, f"{published[name]:g}", f"{value:.3g}"] for name, value in best["values"].items()]
    return [*lines, "", *_rows(["number", "published", "simulated"], values)]


def _rows(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return ["| " + " | ".join(cells) + " |" for cells in (headings, ["---"] * len(headings), *rows)]
