"""papisim in a notebook: ``papisim.load``, ``papisim.run``, ``papisim.compare``, and results that show themselves.

>>> import papisim
>>> result = papisim.run(hw="papi", trace="llama7b", batch=4)
>>> result.frames["steps"]["rlp"].iloc[0]
4
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Protocol

from papisim.config.base import KindOptions
from papisim.config.experiment import Metrics, RunOptions, load_experiment, options_of, read_assignments
from papisim.config.options import Choice, accepts_former_names
from papisim.config.system import System, load_system
from papisim.config.yaml import as_assignment
from papisim.engine.run import Run, simulate
from papisim.pricing.frames import comparison_frames, run_frames
from papisim.report.console.summary import figures
from papisim.report.html.folder import page_of
from papisim.report.html.page import Table, rows_frame
from papisim.report.perfetto import parse_window, timeline
from papisim.results.comparison import Comparison, distinct, label_of, split_placement
from papisim.results.folder import Results, read_results
from papisim.results.metrics import summarise
from papisim.results.store import MANIFEST, check_file, write_file, write_run

if TYPE_CHECKING:
    import pandas as pd

#: fields to change: a mapping of paths to values, or texts such as ``devices.gpu.count=8``
Overrides = Mapping[str, object] | Sequence[str]


@dataclass(frozen=True, repr=False)
class Machine:
    """A machine that has been read and checked; give it to :func:`run` as ``hw``.

    Attributes:
        hw: the name or file it was read from.
        placement: what replaced its placement policy.
        overrides: what of it was changed.
        system: its every field.
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
        run: what the simulation left: experiment, trace, machine and ledger.
    """

    run: Run

    @cached_property
    def summary(self) -> dict[str, Any]:
        """The figures of the run, units in their names; see :func:`papisim.results.metrics.summarise`."""
        return summarise(self.run)

    @cached_property
    def frames(self) -> dict[str, pd.DataFrame]:
        """The tables that ``--out`` writes: ``runs``, ``requests``, ``steps``, ``energy``, ``kernels``, ``devices``."""
        return run_frames(self.run)

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
            window: ``0.1s..0.2s``, or iterations ``100..120``; see :mod:`papisim.report.perfetto`.
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
        rate = f"{summary['throughput_tokens_per_s']:,.1f} tokens/s"
        return f"<run of {summary['trace']} on {summary['system']}: {rate}>"

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
    def summary(self) -> dict[str, Any]:
        """Ratios to the first run, and the figures of each."""
        return self.comparison.summary

    @cached_property
    def frames(self) -> dict[str, pd.DataFrame]:
        """``comparison``, ``runs``, ``requests``, ``energy`` with a column ``machine``, and ``crossover``."""
        return comparison_frames(self.comparison)

    def write(self, folder: str | Path, *, force: bool = False) -> None:
        """Write the folder that ``papisim compare --out`` writes.

        Raises:
            InputError: the folder may not be replaced or cannot be made.
        """
        self.comparison.write(self.frames, Path(folder), force=force)

    def __repr__(self) -> str:
        told = (f"{row['machine']} {row['speed_up_ratio']:.2f}×" for row in self.comparison.rows)
        return f"<comparison: {', '.join(told)}>"

    def _repr_html_(self) -> str:
        labels = self.comparison.labels
        return _html(f"{', '.join(labels)}: ratios to {labels[0]}", self.comparison.frames["comparison"])


@dataclass(frozen=True, repr=False)
class Saved:
    """Results that a command wrote to a folder."""

    results: Results

    @property
    def summary(self) -> dict[str, Any]:
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


@accepts_former_names(RunOptions.renamed)
def load(name_or_path: str | Path, *, placement: str | None = None, set: Overrides = ()) -> Machine | Saved:
    """Read results that a command wrote to a folder, or a machine by its name or file.

    Args:
        name_or_path: a folder with a manifest; or a shipped machine's name, or its file.
        placement: of a machine: replaces its placement policy.
        set: of a machine: fields to change, ``{"devices.gpu.count": 8}`` or ``["devices.gpu.count=8"]``.

    Raises:
        InputError, InputErrors: what is wrong, with places and the nearest name.
    """
    path = Path(name_or_path)
    if (path / MANIFEST).is_file():
        return Saved(read_results(path))
    assignments = [as_assignment(each) for each in read_assignments(set)]
    system = load_system(str(name_or_path), assignments, placement)
    return Machine(str(name_or_path), placement, tuple(each.text for each in assignments), system)


@accepts_former_names(RunOptions.renamed)
def run(
    hw: str | Machine,
    trace: str,
    *,
    workload: Choice = "creative_writing",
    batch: int | None = None,
    requests: int | None = None,
    tlp: int = 1,
    speculation: Choice | None = None,
    acceptance: Choice = "always",
    draft: Choice = "free",
    batching: Choice | None = None,
    replicas: int = 1,
    router: str = "round_robin",
    placement: str | None = None,
    set: Overrides = (),
    seed: int = 0,
    fold: bool = True,
    fast_forward: bool = True,
    metrics: Metrics = "exact",
) -> Result:
    """Simulate one machine serving one stream of requests, as ``papisim run`` does.

    Args:
        hw: a machine that :func:`load` read, or its name or file.
        trace: a kernel trace's name or file.
        workload: the requests: a shipped name, a file, or the options of a kind of workload.
        batch: batch size; the maximum under continuous batching. If None, all requests.
        requests: number of requests. If None, ``batch``, or the workload's.
        tlp: tokens per request and iteration, where no speculation policy is named.
        speculation: speculation policy: a shipped name, a file, a kind, or its options. If None, from ``tlp``.
        acceptance: acceptance process of drafts: likewise.
        draft: draft source: likewise.
        batching: batching policy: likewise. If None, ``static`` for a closed batch, else ``chunked_prefill``.
        replicas: equal machines side by side.
        router: routing policy over replicas: a kind.
        placement: placement of FC kernels, in place of the machine's: ``papi``, ``cheapest``, ``pinned:DEVICE``.
        set: fields to change, ``{"workload.n_requests": 8}`` or ``["workload.n_requests=8"]``.
        seed: the seed of all random streams.
        fold: price identical layers once.
        fast_forward: run steady iterations at once.
        metrics: ``exact`` keeps a row per step and request, ``streaming`` none.

    Raises:
        InputError, InputErrors: what is wrong with the arguments, with the nearest name.
        DoesNotFit: weights or KV caches are larger than the memory they belong in.
    """
    return Result(simulate(load_experiment(_options(hw, trace, _given(locals())))))


@accepts_former_names(RunOptions.renamed)
def compare(
    hw: Sequence[str | Machine],
    trace: str,
    *,
    workload: Choice = "creative_writing",
    batch: int | None = None,
    requests: int | None = None,
    tlp: int = 1,
    speculation: Sequence[Choice] | Choice | None = None,
    acceptance: Choice = "always",
    draft: Choice = "free",
    batching: Choice | None = None,
    replicas: int = 1,
    router: str = "round_robin",
    placement: str | None = None,
    set: Overrides = (),
    seed: int = 0,
    fold: bool = True,
    fast_forward: bool = True,
    metrics: Metrics = "exact",
) -> ComparisonResult:
    """Simulate the same requests on several machines, as ``papisim compare`` does; ratios are to the first.

    Args:
        hw: machines, each a name or file, with ``@PLACEMENT`` to replace its own placement, or one that :func:`load` read.
        trace: a kernel trace's name or file.
        workload: as in :func:`run`, as are all that follow.
        batch: batch size.
        requests: number of requests.
        tlp: tokens per request and iteration, where no speculation policy is named.
        speculation: one speculation policy or several; every machine runs with each.
        acceptance: acceptance process of drafts.
        draft: draft source.
        batching: batching policy.
        replicas: equal machines side by side.
        router: routing policy over replicas.
        placement: placement of FC kernels on the machines without ``@PLACEMENT``.
        set: fields to change on all machines.
        seed: the seed of all random streams.
        fold: price identical layers once.
        fast_forward: run steady iterations at once.
        metrics: ``exact`` or ``streaming``.

    Raises:
        InputError, InputErrors: what is wrong with the arguments, with the nearest name.
        DoesNotFit: weights or KV caches are larger than the memory they belong in.
    """
    given = _given(locals())
    labels, runs = [], []
    for machine in hw:
        for policy in _several(speculation):
            name, own = split_placement(machine) if isinstance(machine, str) else (machine, None)
            labels.append(label_of(machine if isinstance(machine, str) else machine.hw, _policy_name(policy)))
            chosen = given | {"speculation": policy, "placement": own or placement}
            runs.append(simulate(load_experiment(_options(name, trace, chosen))))
    return ComparisonResult(Comparison(distinct(labels), tuple(runs)))


def _given(arguments: Mapping[str, object]) -> dict[str, object]:
    """Return the arguments of a function that are options of a run, ``hw`` and ``trace`` apart."""
    return {
        name: arguments[name] for name in RunOptions.model_fields if name in arguments and name not in ("hw", "trace")
    }


def _several(policies: Sequence[Choice] | Choice | None) -> Sequence[Choice | None]:
    if policies is None or isinstance(policies, str | Mapping | KindOptions):
        return [policies]
    return policies


def _policy_name(policy: Choice | None) -> str | None:
    if policy is None or isinstance(policy, str):
        return policy
    return str(policy["kind"]) if isinstance(policy, Mapping) else policy.kind


def _options(hw: str | Machine, trace: str, given: dict[str, object]) -> RunOptions:
    options = options_of(hw=hw.hw if isinstance(hw, Machine) else hw, trace=trace, **given)
    if not isinstance(hw, Machine):
        return options
    changed = {"placement": options.placement or hw.placement, "set": (*hw.overrides, *options.set)}
    return options.model_copy(update=changed)


def _plain(value: Any) -> str:
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
