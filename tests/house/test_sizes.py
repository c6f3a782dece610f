"""Functions are short, take few arguments, and know their types."""

import ast
import re
from pathlib import Path

import pytest

import papisim

PACKAGE = Path(papisim.__file__).parent
LINES, ARGUMENTS = 50, 8
#: lines of the whole package that may contain Any: what other libraries return, and documents that are not checked yet
ANY_LINES = 150
#: they carry the options of a run or of a command, one argument each
OPTION_CARRIERS = {
    "runs.run", "runs.compare", "runs.explain", "fit.acceptance", "capture.command", "price.command",
    "reproduce.command", "optimise.optimise", "validate.command", "replay.command", "calibrate.engine", "spaces.optimise", "kernels.price",
}  # fmt: skip


def functions():
    """Yield every function of the package with the names of its module and itself."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                yield f"{path.stem}.{node.name}", node


def length(node):
    """Return the lines of a function without its docstring, which may be as long as its arguments need."""
    docstring = node.body[0] if ast.get_docstring(node) else None
    return node.end_lineno - node.lineno + 1 - (docstring.end_lineno - docstring.lineno + 1 if docstring else 0)


def n_arguments(node):
    named = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    return len(named) - (bool(named) and named[0].arg in ("self", "cls"))


FUNCTIONS = list(functions())


def test_functions_are_found_and_measured():
    assert len(FUNCTIONS) > 2000
    node = ast.parse('def f(self, a, b, *, c=1):\n    """It.\n    """\n    pass\n    return a').body[0]
    assert (length(node), n_arguments(node)) == (3, 3)


def test_functions_are_at_most_fifty_lines_long():
    assert {place: length(node) for place, node in FUNCTIONS if length(node) > LINES} == {}


def test_functions_take_at_most_eight_arguments():
    counts = {place: n_arguments(node) for place, node in FUNCTIONS}
    assert {
        place: count for place, count in counts.items() if count > ARGUMENTS and place not in OPTION_CARRIERS
    } == {}


@pytest.mark.parametrize(("share", "most"), [(0.5, 8), (0.95, 30)])
def test_most_functions_are_much_shorter(share, most):
    lengths = sorted(length(node) for _, node in FUNCTIONS)
    assert lengths[int(share * len(lengths))] <= most


def test_any_is_rare():
    lines = [line for path in PACKAGE.rglob("*.py") for line in path.read_text(encoding="utf-8").splitlines()]
    assert sum(bool(re.search(r"\bAny\b", line)) for line in lines) <= ANY_LINES
