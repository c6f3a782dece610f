"""Results as the functions of :mod:`papisim.api` return them; in a notebook they show themselves."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Protocol

from papisim.config.system import System
from papisim.diagnosis.explanation import Explanation
from papisim.diagnosis.schema import ExplanationRecord
from papisim.engine.run import Run, simulate
from papisim.exploration.frame import FRONT_SCHEMA, SWEEP_SCHEMA, points_json
from papisim.pricing.frames import comparison_frames, run_frames
from papisim.report.console.run import figures
from papisim.report.figures import rate, times
from papisim.report.html.folder import page_of
from papisim.report.html.page import Table, rows_frame
from papisim.report.meaning import meaning_frame_of
from papisim.report.timeline import parse_window, timeline
from papisim.results.comparison import Comparison
from papisim.results.folder import Results, read_results
from papisim.results.frames import uncertainty_frame
from papisim.results.metrics import summarise
from papisim.results.schema import Figures
from papisim.results.store import check_file, write_file, write_run

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, repr=False)
class Machine:
    """A machine that has been read and checked; give it to :func:`run` as ``hw``.

    Attributes:
        hw: the name or file it was read from.
        placement: the placement policy that replaced its own, if any.
        overrides: changed fields, as ``--set`` has them.
        system: all of its fields.
    """

    hw: str
    placement: str | None
    overrides: tuple[str, ...]
    system: System

    def __repr__(self) -> str:
        return f"<machine {self.system.name}: {self.system.spec.description}>"

    def _repr_html_(self) -> str:
        spec = self.system.spec
        roles = {name: role for name, role in spec.roles.model_dump().items() if role is not None}
        rows = [
            *((name, f"{group.count} × {self.system.parts[name].description}") for name, group in (spec.devices | spec.links).items()),
            *((f"role: {name}", _plain(role)) for name, role in roles.items()),
            ("placement", _plain(self.system.placement.model_dump())),
        ]  # fmt: skip
        return _html(f"{self.system.name}: {spec.description}", rows_frame(rows, "part", "what"))


class Fresh(Protocol):
    """Results that are in memory."""

    def write(self, folder: str | Path, *, force: bool = False) -> None:
        """Write the folder that the command with ``--out`` writes.

        Raises:
            InputError: the folder may not be replaced or cannot be made.
        """

    def report(self, path: str | Path, *, force: bool = False) -> Path:
        """Write the HTML page of the results and return its path.

        Raises:
            InputError: the file may not be replaced or cannot be made.
            MissingExtra: the extra ``report`` is not installed.
        """
        check_file(Path(path), force=force)
        with TemporaryDirectory() as folder:
            self.write(Path(folder) / "results")
            return Saved(read_results(Path(folder) / "results")).report(path, force=force)


@dataclass(frozen=True, repr=False)
class Result(Fresh):
    """A finished run. In a notebook it shows its figures.

    Attributes:
        run: experiment, trace, machine and ledger of the simulation.
    """

    run: Run

    @cached_property
    def summary(self) -> Figures:
        """The figures of the run, units in their names; see :func:`papisim.results.metrics.summarise`."""
        return summarise(self.run)

    @cached_property
    def frames(self) -> dict[str, pd.DataFrame]:
        """The tables that ``--out`` writes: ``runs``, ``requests``, ``steps``, ``energy``, ``kernels``, ``devices``, ``meaning``."""
        return run_frames(self.run) | meaning_frame_of(self.run)

    @cached_property
    def uncertainty(self) -> pd.DataFrame:
        """The 90 % intervals of ``papisim run --uncertainty``, one row per figure."""
        from papisim.uncertainty.intervals import uncertainty_rows  # noqa: PLC0415 - start-up time

        return uncertainty_frame(uncertainty_rows([self.run.experiment.system.name], [self.run]))["uncertainty"]

    def write(self, folder: str | Path, *, force: bool = False) -> None:
        """Write the folder that ``papisim run --out`` writes.

        Raises:
            InputError: the folder may not be replaced or cannot be made.
        """
        write_run(self.run, self.frames, Path(folder), force=force)

    def timeline(self, path: str | Path, window: str | None = None, *, force: bool = False) -> Path:
        """Run once more, write the timeline for Perfetto, and return its path.

        Args:
            path: of the file.
            window: ``0.1s..0.2s``, or iterations ``100..120``; see :mod:`papisim.report.timeline`.
            force: replace the file.

        Raises:
            InputError: the file may not be replaced or cannot be made, or the window is none.
        """
        span = None if window is None else parse_window(window)
        with timeline(self.run.experiment, Path(path), span, force=force) as probe:
            simulate(self.run.experiment, probe=probe, machine=self.run.machine)
        return Path(path)

    def __repr__(self) -> str:
        summary = self.summary
        speed = rate(summary["throughput_tokens_per_s"])
        return f"<run of {summary['trace']} on {summary['system']}: {speed} tokens/s>"

    def _repr_html_(self) -> str:
        summary = self.summary
        title = f"{summary['system']} · {summary['trace']} · {summary['workload']}"
        return _html(title, rows_frame(figures(self.run, summary), "figure", "value"))


@dataclass(frozen=True, repr=False)
class ComparisonResult(Fresh):
    """Runs side by side. In a notebook they show their ratios to the first."""

    comparison: Comparison

    @property
    def results(self) -> dict[str, Result]:
        """Each run by its label."""
        return {label: Result(run) for label, run in zip(self.comparison.labels, self.comparison.runs, strict=True)}

    @property
    def summary(self) -> Figures:
        """Ratios to the first run, and the figures of each."""
        return self.comparison.summary

    @cached_property
    def frames(self) -> dict[str, pd.DataFrame]:
        """``comparison``, ``runs``, ``requests``, ``energy`` with a column ``machine``, ``crossover`` and ``meaning``."""
        return comparison_frames(self.comparison) | meaning_frame_of(self.comparison)

    @cached_property
    def uncertainty(self) -> pd.DataFrame:
        """The 90 % intervals of ``papisim compare --uncertainty``, one row per figure of each run and ratio to the first."""
        from papisim.uncertainty.intervals import uncertainty_rows  # noqa: PLC0415 - start-up time

        return uncertainty_frame(uncertainty_rows(self.comparison.labels, self.comparison.runs))["uncertainty"]

    def write(self, folder: str | Path, *, force: bool = False) -> None:
        """Write the folder that ``papisim compare --out`` writes.

        Raises:
            InputError: the folder may not be replaced or cannot be made.
        """
        self.comparison.write(self.frames, Path(folder), force=force)

    def __repr__(self) -> str:
        told = (f"{row['machine']} {times(row['speed_up_ratio'])}" for row in self.comparison.rows)
        return f"<comparison: {', '.join(told)}>"

    def _repr_html_(self) -> str:
        labels = self.comparison.labels
        return _html(f"{', '.join(labels)}: ratios to {labels[0]}", self.comparison.frames["comparison"])


@dataclass(frozen=True, repr=False)
class ExplainedRun:
    """A run explained: where its time goes, the numbers that it depends on, and the changes that would help most.

    Attributes:
        explanation: everything that is known.
    """

    explanation: Explanation

    @cached_property
    def summary(self) -> Figures:
        """The values that ``papisim explain --format json`` prints, units in their names."""
        return ExplanationRecord.of(self.explanation).as_json()

    @property
    def result(self) -> Result:
        """The run itself."""
        return Result(self.explanation.run)

    @cached_property
    def frames(self) -> dict[str, pd.DataFrame]:
        """``spent`` (time by device, kernel class and bound), ``elasticities`` and ``changes``, the largest first."""
        import pandas as pd  # noqa: PLC0415 - slow to import

        return {name: pd.DataFrame(self.summary[name]) for name in ("spent", "elasticities", "changes")}

    def __repr__(self) -> str:
        name, share = self.explanation.critical
        return f"<explanation: {name} busy for {share:.0%} of {self.explanation.time_s:.4g} s>"

    def _repr_html_(self) -> str:
        return _html("Where the time goes", self.frames["spent"])


@dataclass(frozen=True, repr=False)
class SweepResult:
    """A finished sweep or search.

    Attributes:
        frame: one row per point, in order: outcome, inputs, figures.
        tally: number of points by status (``ok``, ``infeasible``, ``failed``), and of those that were ``reused``.
    """

    frame: pd.DataFrame
    tally: dict[str, int]

    @property
    def summary(self) -> Figures:
        """The values that ``papisim sweep --format json`` prints."""
        return points_json(SWEEP_SCHEMA, self.frame)

    def __repr__(self) -> str:
        counts = ", ".join(f"{count:,} {status}" for status, count in sorted(self.tally.items()) if count)
        return f"<{len(self.frame):,} points: {counts}>"

    def _repr_html_(self) -> str:
        return _html(repr(self).strip("<>"), self.frame)


@dataclass(frozen=True, repr=False)
class ParetoResult(SweepResult):
    """A finished search.

    Attributes:
        front: the rows of ``frame`` that are feasible and that no other beats in all objectives.
    """

    front: pd.DataFrame

    @property
    def summary(self) -> Figures:
        """The values that ``papisim optimise --format json`` prints: those of the front."""
        return points_json(FRONT_SCHEMA, self.front)


@dataclass(frozen=True, repr=False)
class Saved:
    """Results that a command wrote to a folder."""

    results: Results

    @property
    def summary(self) -> Figures:
        """The figures of ``summary.json``."""
        return self.results.summary

    @cached_property
    def frames(self) -> dict[str, pd.DataFrame]:
        """Every table of the folder by name."""
        return {name: self.results.frame(name) for name in self.results.frame_names}

    def report(self, path: str | Path, *, force: bool = False) -> Path:
        """Write the HTML page of the results and return its path.

        Raises:
            InputError: the file may not be replaced or cannot be made, or there is no page for results of this kind.
            MissingExtra: the extra ``report`` is not installed.
        """
        check_file(Path(path), force=force)
        write_file(Path(path), page_of(self.results).html(), force=force)
        return Path(path)

    def __repr__(self) -> str:
        return f"<{self.results.kind} in {self.results.folder}>"

    def _repr_html_(self) -> str:
        rows = [
            (name, f"{len(frame):,} rows", ", ".join(map(str, frame.columns))) for name, frame in self.frames.items()
        ]
        title = f"{self.results.kind} of {self.results.manifest['written']} in {self.results.folder}"
        return _html(title, rows_frame(rows, "frame", "size", "columns"))


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_plain(inner)}" for name, inner in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _html(title: str, frame: pd.DataFrame) -> str:
    table = Table(title, frame)
    head = "".join(f"<th>{escape(column)}</th>" for column in table.columns)
    body = "".join(
        "<tr>" + "".join(f"<td style='text-align:left'>{escape(text)}</td>" for text in row) + "</tr>"
        for row in table.rows
    )
    return f"<table><caption>{escape(title)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
