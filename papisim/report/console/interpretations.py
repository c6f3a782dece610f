"""The ranking of all interpretations of a paper, on the console."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.table import Table
from rich.text import Text

from papisim.report.console.console import console
from papisim.report.ranking import BEST, Effect, Range, Summary, by_alternative


def print_ranking(
    summary: Summary,
    ranges: Sequence[Range],
    effects: Sequence[Effect],
    main: Mapping[tuple[str, str], str],
    physical: Mapping[str, str],
) -> None:
    """Print the best interpretations, the numbers that none reaches, and the effect of each alternative on the main numbers.

    Args:
        summary: the best interpretations, and the number of all.
        ranges: the values of each number over all interpretations.
        effects: the effect of each alternative on each number.
        main: headings of the numbers whose effects are printed, by figure and claim.
        physical: the physical alternative of each choice.
    """
    page = console()
    page.print(
        f"{summary['n_interpretations']:,} interpretations, assembled from {summary['n_runs']:,} runs; in "
        f"{summary['n_too_large']:,} a batch does not fit the memory"
    )
    for name, title in BEST.items():
        best = summary[name]
        if best is not None:
            taken = best["interpretation"].items()
            differs = ", ".join(f"{choice} = {name}" for choice, name in taken if name != physical[choice])
            read_off = f"{best['read_off']:.3f} with numbers read off"
            page.print(Text.assemble("\n", (title, "bold"), f": score {best['score']:.3f}, {read_off}"))
            page.print(f"  {differs or 'physical'}")
    page.print("\nNumbers that no interpretation reaches", style="bold")
    page.print(_unreached(ranges))
    page.print("\nEffect of each alternative, over the physical one, averaged over all other choices", style="bold")
    page.print(_effects(effects, main))


def _unreached(ranges: Sequence[Range]) -> Table:
    table = Table("figure", "claim", "published", "interpretations", box=None, pad_edge=False)
    for each in ranges:
        if not each["reached"]:
            span = f"{each['smallest']:.3g} … {each['largest']:.3g}"
            table.add_row(each["figure"], each["claim"], f"{each['published']:g}", span)
    return table


def _effects(effects: Sequence[Effect], main: Mapping[tuple[str, str], str]) -> Table:
    table = Table("choice", "alternative", *main.values(), box=None, pad_edge=False)
    for column in table.columns[2:]:
        column.justify = "right"
    for pair, ratios in by_alternative(effects).items():
        table.add_row(*pair, *(f"×{ratios[key]:.2f}" if key in ratios else "" for key in main))
    return table
