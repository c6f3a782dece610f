"""One point of a space becomes one row: run, or refused with the reason."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from papisim import __version__
from papisim.config.experiment import Experiment, load_experiment
from papisim.config.system import System, load_system
from papisim.config.yaml import Override, as_assignment, parse_path
from papisim.engine.run import simulate
from papisim.errors import DoesNotFit, NotModelled, PapisimError
from papisim.exploration.design import NoSuchDevice, describe, functions
from papisim.exploration.expression import Excess, Expression, Function, UnknownName
from papisim.exploration.file import Constraint, SweepFile
from papisim.exploration.resolve import Point, Resolver
from papisim.exploration.space import Values, as_cell, cells
from papisim.kinds import outside
from papisim.plan.machine import Machine, build_machine
from papisim.results.metrics import summarise
from papisim.results.seal import file_sha256, sha256_of
from papisim.uncertainty.intervals import END_NAMES, interval_ends

K = TypeVar("K")
V = TypeVar("V")

OK, INFEASIBLE, FAILED = "ok", "infeasible", "failed"

#: lists of events, of which a frame has the number, also where it is 0
_COUNTED = frozenset({"switches", "outside_fit"})
#: figures of a run that describe its inputs: they are equal at all points, and the manifest has them
_LEFT_OUT = frozenset({"schema", "papers", "assumptions", "overrides", "papisim_version"})

#: DoesNotFit by the unit of what is short
_KIND_OF_UNIT = {"GB": "capacity", "mm² of a die": "area"}

#: names of fields that say a file whose content belongs to the experiment
_FILES = frozenset({"log", "file", "path"})

#: sections of a system's file that say what its machine is built of
_HARDWARE = frozenset({"devices", "links", "roles"})

#: machines and systems that an evaluator remembers, the least recently used dropped first
_MACHINES, _SYSTEMS = 8, 64


@dataclass
class Row:
    """One row of a sweep's frame.

    Attributes:
        point: number of the point in its sweep.
        status: ``ok``; ``infeasible``, where a constraint does not hold or the machine is too small; ``failed``.
        inputs: values of axes and derived fields.
        figures: of the design and of the run.
        columns: computed from them.
        constraint: name of the first constraint that does not hold.
        constraint_kind: its kind.
        reason: why the status is not ``ok``.
        simulated: whether the point got as far as being simulated.
        run_sha256: hash of everything that determines the run.
        excess: by how much each constraint is missed, where that is known; see :class:`Excess`. The last is by how much
            the machine is too small.
    """

    point: int
    status: str = OK
    inputs: Values = field(default_factory=dict)
    figures: Values = field(default_factory=dict)
    columns: Values = field(default_factory=dict)
    constraint: str | None = None
    constraint_kind: str | None = None
    reason: str | None = None
    simulated: bool = False
    run_sha256: str | None = None
    excess: list[float] = field(default_factory=list)

    def as_cells(self) -> dict[str, object]:
        """Return the row as a frame has it; what has no value is left out."""
        outcome = {
            "point": self.point,
            "status": self.status,
            "constraint": self.constraint,
            "constraint_kind": self.constraint_kind,
            "violation_ratio": None if self.status == FAILED else sum((max(0.0, each) for each in self.excess), 0.0),
            "reason": self.reason,
        }
        identity = {"simulated": self.simulated, "run_sha256": self.run_sha256}
        row = {**self.figures, **self.columns, **cells(self.inputs), **outcome, **identity}
        return {name: value for name, value in row.items() if value is not None}


@dataclass(frozen=True)
class Remembered:
    """The outcome of an earlier simulation of a run: its figures, or the reason why there are none."""

    figures: Values
    status: str = OK
    constraint: str | None = None
    constraint_kind: str | None = None
    reason: str | None = None
    violation_ratio: float = 0.0


#: returns the earlier outcome of a run by its hash
Recall = Callable[[str], Remembered | None]


def forget(run_sha256: str) -> None:
    """Remember nothing: a :data:`Recall` for sweeps that start afresh."""
    del run_sha256


class Evaluator:
    """Evaluates points of one file, one after another, remembering files, machines and prices between them."""

    def __init__(self, file: SweepFile) -> None:
        self.file = file
        self.resolver = Resolver(file)
        self._systems: OrderedDict[object, System] = OrderedDict()
        self._machines: OrderedDict[object, Machine] = OrderedDict()

    def row(self, point: int, values: Values, recall: Recall = forget) -> Row:
        """Return the row of a point; an error of the point becomes its reason.

        Args:
            point: its number.
            values: of its axes.
            recall: returns the outcome of a run that was simulated before.
        """
        row = Row(point, inputs=dict(values), excess=[0.0] * (len(self.file.constraints) + 1))
        try:
            resolved = self.resolver.point(values)
            row.inputs = {name: resolved.named[name] for name in self.file.inputs() if name in resolved.named}
            self._evaluate(row, resolved, recall)
        except DoesNotFit as error:
            _refuse(row, error)
        except PapisimError as error:
            row.status, row.reason = FAILED, str(error)
        except Exception as error:
            fault = outside.fault_in(error)
            if fault is None:
                raise
            row.status, row.reason = FAILED, str(fault)
        return row

    def experiment(self, point: Point) -> Experiment:
        """Return the experiment of a point."""
        return load_experiment(point.options, self._system)

    def _evaluate(self, row: Row, point: Point, recall: Recall) -> None:
        experiment = self.experiment(point)
        row.run_sha256 = run_sha256(experiment)
        row.figures |= describe(experiment)
        names = Names(self.resolver, point, experiment, row.figures)
        if self._judge(row, names, final=False):
            known = self._usable(recall(row.run_sha256))
            row.simulated = True
            if known is None:
                row.figures |= self._simulated(point, experiment)
            elif known.status == OK:
                row.figures |= known.figures
            else:
                row.status, row.constraint, row.reason = known.status, known.constraint, known.reason
                row.constraint_kind, row.excess[-1] = known.constraint_kind, known.violation_ratio
                return
            self._judge(row, names, final=True)
        self._compute_columns(row, names)

    def _simulated(self, point: Point, experiment: Experiment) -> Values:
        run = simulate(experiment, machine=self._machine(point, experiment))
        ends = interval_ends(run) if self.file.uncertainty else {}
        return flat(summarise(run)) | ends

    def _usable(self, known: Remembered | None) -> Remembered | None:
        """Return an earlier outcome; None if it lacks intervals that are wanted now."""
        lacks = known is not None and self.file.uncertainty and not known.figures.keys() & END_NAMES
        return None if lacks and known is not None and known.status == OK else known

    def _judge(self, row: Row, names: Names, *, final: bool) -> bool:
        """Hold a row against the constraints, before the run against those that can be told by then."""
        row.status, row.constraint, row.constraint_kind, row.reason = OK, None, None, None
        for index, constraint in enumerate(self.file.constraints):
            try:
                excess = constraint.require.excess(names.value, names.functions)
            except UnknownName as unknown:
                if not final:
                    continue
                row.status, row.reason = FAILED, f"constraint '{constraint.name}': no '{unknown.name}' at this point"
                return False
            row.excess[index] = excess.ratio if not excess.holds else min(0.0, excess.ratio)
            if not excess.holds and row.status == OK:
                row.status, row.constraint, row.constraint_kind = INFEASIBLE, constraint.name, constraint.kind
                row.reason = _missed(constraint, excess)
        return row.status == OK

    def _compute_columns(self, row: Row, names: Names) -> None:
        for name, expression in self.file.columns.items():
            row.columns[name] = as_cell(_value_or_none(expression, names))

    def _system(self, hw: str, overrides: list[Override], placement: str | None) -> System:
        key = (hw, tuple(as_assignment(override).text for override in overrides), placement)
        return _remember(self._systems, key, lambda: load_system(hw, overrides, placement), _SYSTEMS)

    def _machine(self, point: Point, experiment: Experiment) -> Machine:
        """Return the hardware of a point, which other points that differ in policy, model or requests alone share.

        An engine chooses the kernel libraries of devices and links.
        """
        overrides = [as_assignment(override) for override in point.options.set]
        chosen = tuple(each.text for each in overrides if each.path[0] in _HARDWARE or each.path[0] == "engine")
        key = (point.options.hw, point.options.engine, chosen)
        return _remember(self._machines, key, lambda: build_machine(experiment.system), _MACHINES)


class Names:
    """The values of names in constraints and columns: the point's, figures, options, and fields of its experiment."""

    def __init__(
        self, resolver: Resolver, point: Point, experiment: Experiment, figures: Mapping[str, object]
    ) -> None:
        self._resolver, self._point, self._experiment, self._figures = resolver, point, experiment, figures
        self.functions: dict[str, Function] = functions(experiment.system)
        self._fields: dict[str, object] | None = None

    def value(self, name: str) -> object:
        """Return the value of a name; raises UnknownName where there is none."""
        named = self._point.named
        found = named.get(name, self._figures.get(name))
        if found is None and name not in named:
            found = self._field(name)
        if found is None:
            raise UnknownName(name)
        return found

    def _field(self, name: str) -> object:
        if self._fields is None:
            resolved = self._experiment.resolved()
            self._fields = {**resolved, **resolved["system"]}
        node: Any = self._fields
        for part in parse_path(name):
            try:
                node = node[part]
            except (KeyError, IndexError, TypeError):
                return self._resolver.lookup(name, self._point.named)
        return node


def run_sha256(experiment: Experiment) -> str:
    """Return the hash of what determines a run: every resolved field, every file read on the way, papisim's version."""
    resolved = experiment.resolved()
    files = {path: file_sha256(path) for path in sorted(_files(resolved))}
    trace = file_sha256(experiment.trace.path)
    tuned = {each.field: each.origin for each in experiment.tunings}
    return sha256_of({"experiment": resolved, "trace": trace, "files": files, "tuned": tuned, "papisim": __version__})


def _files(node: object) -> Iterator[str]:
    """Yield the paths of files that fields name."""
    if isinstance(node, dict):
        for name, value in node.items():
            if name in _FILES and isinstance(value, (str, Path)) and Path(value).is_file():
                yield str(value)
            else:
                yield from _files(value)


def flat(summary: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """Return a summary's figures by name: nested ones as ``outer.inner``, events by their number, lists as JSON."""
    figures: Values = {}
    for key, value in summary.items():
        name = f"{prefix}{key}"
        if name in _LEFT_OUT:
            continue
        if isinstance(value, dict):
            figures |= flat(value, f"{name}.")
        elif isinstance(value, list) and (key in _COUNTED or any(isinstance(item, dict) for item in value)):
            figures[name] = len(value)
        else:
            figures[name] = as_cell(value)
    return figures


def _refuse(row: Row, error: DoesNotFit) -> None:
    row.status, row.reason = INFEASIBLE, str(error)
    row.constraint = row.constraint_kind = _KIND_OF_UNIT.get(error.unit, "other")
    row.excess[-1] = error.demand / error.bound - 1 if error.bound else 1.0


def _missed(constraint: Constraint, excess: Excess) -> str:
    text = constraint.require.text
    if excess.bound is None:
        return f"{text}: does not hold"
    return f"{text}: found {excess.found:.6g}, the bound is {excess.bound:.6g}"


def _value_or_none(expression: Expression, names: Names) -> object:
    """Return a computed column, or None where the point lacks a name or a device that the column asks for."""
    try:
        return expression.evaluate(names.value, names.functions)
    except (UnknownName, NoSuchDevice, NotModelled):
        return None


def _remember(memory: OrderedDict[K, V], key: K, make: Callable[[], V], most: int) -> V:
    if key not in memory:
        memory[key] = make()
        while len(memory) > most:
            memory.popitem(last=False)
    memory.move_to_end(key)
    return memory[key]
