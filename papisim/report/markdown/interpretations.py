"""The page of the ranking of all interpretations of a paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypedDict

from papisim.report.markdown.table import table
from papisim.report.ranking import BEST, Best, Effect, Range, Summary, by_alternative


class Alternative(TypedDict):
    """Why an alternative is plausible, and the source of that reason."""

    why: str
    source: str


class Choice(TypedDict):
    """An open question, and its alternatives by name, the physical one first."""

    question: str
    alternatives: Mapping[str, Alternative]


def ranking_page(
    title: str,
    summary: Summary,
    ranges: Sequence[Range],
    effects: Sequence[Effect],
    *,
    main: Mapping[tuple[str, str], str],
    choices: Mapping[str, Choice],
) -> str:
    """Return the page of a ranking.

    Args:
        title: the paper's title.
        summary: the best interpretations, and the number of all.
        ranges: the values of each number over all interpretations.
        effects: the effect of each alternative on each number.
        main: headings of the numbers whose effects are shown, by figure and claim.
        choices: the choices that were crossed.
    """
    lines = [f"# Interpretations of {title}", "", *_head(summary)]
    for name, heading in BEST.items():
        best = summary[name]
        if best is not None:
            lines += ["", f"## {heading}", "", *_best(best, choices, ranges)]
    lines += ["", "## Each number over all interpretations", "", *_ranges(ranges)]
    lines += ["", "## Effect of each alternative", ""]
    lines += ["Geometric mean over all other choices, over that of the physical alternative.", ""]
    lines += table(
        ["choice", "alternative", *main.values()],
        [
            [*pair, *(f"×{ratios[key]:.2f}" if key in ratios else "" for key in main)]
            for pair, ratios in by_alternative(effects).items()
        ],
    )
    lines += ["", "## The choices", ""]
    for question, choice in choices.items():
        lines += [f"- **{question}**: {choice['question']}"]
        lines += [f"  - {taken}: {each['why']} ({each['source']})" for taken, each in choice["alternatives"].items()]
    return "\n".join(lines) + "\n"


def _head(summary: Summary) -> list[str]:
    return [
        f"{summary['n_interpretations']:,} interpretations, assembled from {summary['n_runs']:,} runs; in {summary['n_too_large']:,} of them "
        "a batch does not fit the memory, and they have no score. A score is the mean of |ln(simulated / published)| over the numbers "
        "that the paper states."
    ]


def _ranges(ranges: Sequence[Range]) -> list[str]:
    rows = [
        [
            each["figure"],
            each["claim"],
            f"{each['published']:g}",
            f"{each['smallest']:.3g}",
            f"{each['largest']:.3g}",
            "yes" if each["reached"] else "**no**",
        ]
        for each in ranges
    ]
    return table(["figure", "claim", "published", "smallest", "largest", "reached"], rows)


def _best(best: Best, choices: Mapping[str, Choice], ranges: Sequence[Range]) -> list[str]:
    published = {f"{each['figure']}.{each['claim']}": each["published"] for each in ranges}
    taken = [
        [name, alternative, "yes" if alternative == next(iter(choices[name]["alternatives"])) else "no"]
        for name, alternative in best["interpretation"].items()
    ]
    values = [[name, f"{published[name]:g}", f"{value:.3g}"] for name, value in best["values"].items()]
    return [
        f"Score {best['score']:.3f}; {best['read_off']:.3f} with the numbers that others read off the figures.",
        "",
        *table(["choice", "alternative", "physical"], taken),
        "",
        *table(["number", "published", "simulated"], values),
    ]
