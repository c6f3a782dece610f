"""``papisim reproduce``: does the simulator agree with the literature."""

from __future__ import annotations

from pathlib import Path

import click

from papisim.cli._command import Command
from papisim.cli._figures import Output
from papisim.cli._figures import run as reproduce
from papisim.cli._interpretations import run as rank
from papisim.cli._options import PositiveInt, quiet_option, table_format_option

#: words that ask for the ranking of all interpretations; the second is an older name
_RANKING = (("interpretations",), ("readings",))


@click.command(name="reproduce", cls=Command)
@click.argument("what", metavar="[FIGURE]...", nargs=-1)
@click.option(
    "--interpretation",
    "--stance",
    metavar="NAME",
    default="physical",
    show_default=True,
    help="What the paper leaves open, answered as a machine would most probably behave (``physical``), or as fits the paper's numbers best (``paper``).",
)
@click.option("--sensitivity", is_flag=True, help="Also change each assumed constant by ±20 %.")
@click.option(
    "--choice", "choices", multiple=True, help="Of ``interpretations``: cross this choice only; may be repeated."
)
@click.option(
    "--resume",
    type=click.Path(path_type=Path, file_okay=False),
    help="Of ``interpretations``: keep finished runs here, and use those that are there.",
)
@click.option("--processes", type=PositiveInt(), help="Number of processes.  [default: one per core]")
@table_format_option("table", "json", "csv")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for data, drawings and a page.")
@click.option("--force", is_flag=True, help="Replace the results in --out.")
@quiet_option
def command(
    *,
    what: tuple[str, ...],
    interpretation: str,
    sensitivity: bool,
    choices: tuple[str, ...],
    resume: Path | None,
    processes: int | None,
    output: str,
    out: Path | None,
    force: bool,
    quiet: bool,
) -> None:
    """Simulate what the literature claims, and print published value, simulated value, error and verdict.

    FIGURE is fig2, fig4, fig6, fig7, fig8, fig9, fig10a, fig10b, fig11, fig12 or eq4 of the PAPI paper (all, if none is
    named); ``speculation``, or one of its systems: synergy, dsde, gammatune, del_layers, sssd, meta_eagle, eagle3;
    ``operators``, or one of its papers: saddle, repa; ``baselines``, or one of
    these: attacc, neupims, cent, duplex, samsung, lpddr5x_pim, cxl_pnm, tokenstack;
    or ``interpretations``.

    The PAPI paper leaves questions open. An interpretation answers all of them; ``interpretations`` scores every one against the
    paper's numbers.

    A verdict is ``in range`` where the simulated value is within the claim's tolerance (``fitted`` where the experiment was fitted to
    that very value), ``direction holds`` where it has the same sign of effect, else ``off``; a value whose published cause does not
    hold is ``off`` too. An order of methods is a claim of its own.

    \b
    Example:
      papisim reproduce fig7 eq4
      papisim reproduce --interpretation paper --out papi-paper
      papisim reproduce interpretations --choice prompts --choice attention_links
      papisim reproduce speculation
    """
    target = Output(output, out, force, quiet)
    if what in _RANKING:
        rank(choices, target, processes=processes, resume=resume)
    elif choices or resume:
        raise click.UsageError("--choice and --resume go with 'interpretations' alone")
    else:
        reproduce(what, interpretation, target, sensitivity=sensitivity, processes=processes)
