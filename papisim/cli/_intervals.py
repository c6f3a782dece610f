"""Intervals that a command was asked for."""

from __future__ import annotations

from collections.abc import Sequence

from papisim.cli._options import progress
from papisim.engine.run import Run
from papisim.results.schema import Figures


def intervals_of(labels: Sequence[str], runs: Sequence[Run], draws: int | None, *, quiet: bool) -> list[Figures]:
    """Return the rows of the frame ``uncertainty``.

    Args:
        labels: label of each run.
        runs: the runs; ratios are to the first.
        draws: draws of factors that the runs are simulated with; 0 to split the runs by factor; None for no rows.
        quiet: show no progress.
    """
    if draws is None:
        return []
    if not draws:
        from papisim.uncertainty.intervals import uncertainty_rows  # noqa: PLC0415 - start-up time

        return uncertainty_rows(labels, runs)
    from papisim.uncertainty.sampling import sampled_rows  # noqa: PLC0415

    done = 0
    with progress(draws, "draws", quiet=quiet) as show:

        def advance() -> None:
            nonlocal done
            done += 1
            show(done, 0.0)

        return sampled_rows(labels, runs, draws, advance=advance)
