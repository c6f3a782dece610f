"""Look at a space before it is swept, so that a mistake in the file is told at once and not in every row."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence

from papisim.config.experiment import Experiment, load_experiment
from papisim.config.yaml import Path_
from papisim.engine.run import simulate
from papisim.errors import DoesNotFit, InputError, InputErrors, PapisimError, did_you_mean, one_or_all
from papisim.exploration.design import describe, functions
from papisim.exploration.evaluate import Evaluator, flat
from papisim.exploration.expression import FUNCTIONS, Expression, name_of
from papisim.exploration.file import SweepFile
from papisim.exploration.grammar import OPTIONS
from papisim.exploration.resolve import rehearsal
from papisim.exploration.space import Values, as_cell
from papisim.results.metrics import summarise

#: points that are loaded to see whether they can be
_MOST_PROBES = 200


def check_space(file: SweepFile, values: Sequence[Values]) -> None:
    """Load points that have every value of every axis between them, and check every name in an expression.

    A value that no experiment can have is an error of the file. Points that are wrong in combination, or whose derived
    fields are, become rows that failed.

    Raises:
        InputError, InputErrors: what is wrong, with places; or an error of the files that the points name, where none of them can be built.
    """
    if not values:
        raise InputError("the space has no points", file=file.document.file)
    evaluator = Evaluator(file)
    wrong: dict[str, InputError] = {}
    others: list[InputError] = []
    experiments: list[Experiment] = []
    for probe in _probes(values):
        try:
            experiments.append(evaluator.experiment(evaluator.resolver.point(probe)))
        except (InputError, InputErrors) as error:
            for each in error.errors if isinstance(error, InputErrors) else [error]:
                is_here = each.place.file == file.document.file and not _is_derived(file, each)
                wrong.update({str(each): each} if is_here else {})
                others += [] if is_here else [each]
        except DoesNotFit:
            continue
    if wrong:
        raise one_or_all(list(wrong.values()))
    if others and not experiments:
        raise InputError(f"none of the points tried can be built; {others[0]}", file=file.document.file)
    if experiments:
        _check_expressions(file, evaluator, values[0], experiments)


def _is_derived(file: SweepFile, error: InputError) -> bool:
    return any((error.place.field or "").startswith(derived.name) for derived in file.derived)


def _probes(values: Sequence[Values]) -> Iterator[Values]:
    """Yield a limited number of points that together cover each value of each axis as far as possible."""
    seen: set[tuple[str, object]] = set()
    n_probes = 0
    for point in values:
        fresh = {(name, str(as_cell(value))) for name, value in point.items()} - seen
        if fresh and n_probes < _MOST_PROBES:
            seen |= fresh
            n_probes += 1
            yield point


def _check_expressions(
    file: SweepFile, evaluator: Evaluator, first: Values, experiments: Sequence[Experiment]
) -> None:
    """Refuse names in constraints, columns and objectives that no point can have."""
    figures = _figures(evaluator, first)
    if figures is None:
        return
    resources = {name for each in experiments for name in (*each.system.spec.devices, *each.system.spec.links)}
    known = set(figures) | {f"{name.rpartition('.')[0]}.{other}" for name in figures for other in resources
                            if name.rpartition(".")[2] in resources}  # fmt: skip
    known |= {name for each in experiments for name in describe(each)}
    known |= {*OPTIONS, *file.inputs(), *file.columns}
    errors = [
        file.document.error(path, f"no figure, field or option '{name}'; {did_you_mean(name, known)}")
        for path, expression in _expressions(file)
        for name in _names(expression)
        if name not in known and not any(_is_field(each, name) for each in experiments)
    ]
    called = {*FUNCTIONS, *functions(experiments[0].system), "quantity"}
    errors += [
        file.document.error(path, f"no function '{name}'; {did_you_mean(name, called)}")
        for path, expression in _expressions(file)
        for name in _calls(expression)
        if name not in called
    ]
    errors += [
        file.document.error(path, f"no device '{name}' on any machine; {did_you_mean(name, resources)}")
        for path, expression in _expressions(file)
        for name in _devices(expression)
        if name not in resources
    ]
    if errors:
        raise one_or_all(errors)


def _figures(evaluator: Evaluator, values: Values) -> dict[str, object] | None:
    """Return the figures of a run with a single request, or None where there is no such run."""
    try:
        experiment = load_experiment(rehearsal(evaluator.resolver.point(values)).options)
        return flat(summarise(simulate(experiment)))
    except PapisimError:
        return None


def _expressions(file: SweepFile) -> Iterator[tuple[Path_, Expression]]:
    for constraint in file.constraints:
        yield ("constraints", constraint.name), constraint.require
    goals = {objective.name for objective in file.search.objectives} if file.search else set()
    for name, column in file.columns.items():
        yield ("optimise", "objectives", name) if name in goals else ("columns", name), column


def _names(expression: Expression) -> Iterator[str]:
    """Yield the names whose values an expression needs; a device that a function is asked about is none."""
    pending: list[ast.AST] = [expression.tree]
    while pending:
        node = pending.pop()
        if isinstance(node, (ast.Name, ast.Attribute, ast.Subscript)):
            yield name_of(node)
        elif isinstance(node, ast.Call):
            of_device = name_of(node.func) not in FUNCTIONS
            pending += node.args[1 if of_device else 0 :]
        else:
            pending += ast.iter_child_nodes(node)


def _devices(expression: Expression) -> Iterator[str]:
    """Yield the devices that an expression asks functions about."""
    for node in ast.walk(expression.tree):
        if not isinstance(node, ast.Call) or name_of(node.func) in {*FUNCTIONS, "quantity"}:
            continue
        if node.args and isinstance(node.args[0], ast.Name):
            yield node.args[0].id


def _calls(expression: Expression) -> Iterator[str]:
    yield from (name_of(node.func) for node in ast.walk(expression.tree) if isinstance(node, ast.Call))


def _is_field(experiment: Experiment, name: str) -> bool:
    resolved = experiment.resolved()
    node: object = {**resolved, **resolved["system"]}
    for part in name.split("."):
        if not isinstance(node, dict) or part not in node:
            return False
        node = node[part]
    return True
