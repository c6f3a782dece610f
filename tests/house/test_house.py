"""What the house promises about its own code and data."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import papisim
from papisim import catalog
from papisim.catalog import Shelf
from papisim.cli import check

PACKAGE = Path(papisim.__file__).parent
MODULES = {
    path.relative_to(PACKAGE).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
    for path in sorted(PACKAGE.rglob("*.py"))
}
DATA = [
    path
    for folder in ("hwconfigs", "traces", "kernels")
    for path in sorted((catalog.data_folder() / folder).rglob("*"))
    if path.is_file() and path.suffix in (".yaml", ".json", ".bib", ".csv", ".md", ".txt")
]

each_module = pytest.mark.parametrize("name", MODULES)


def imported(tree):
    """Yield the top-level package of every import, those inside functions included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield (node.module or "").partition(".")[0]


def public(nodes):
    """Yield the public classes and functions of a module, and the public methods of those classes."""
    for node in nodes:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                yield from public(node.body)


def test_the_house_is_found():
    assert {"errors.py", "engine/run.py", "devices/pim/pool.py"} <= set(MODULES)
    assert len(DATA) > 20


@each_module
def test_everything_public_says_what_it_is(name):
    tree = MODULES[name]
    silent = [node.name for node in public(tree.body) if not ast.get_docstring(node)]
    assert ast.get_docstring(tree), "the module has no docstring"
    assert silent == []


@each_module
def test_nothing_read_can_run_code(name):
    called = {
        node.func.id
        for node in ast.walk(MODULES[name])
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert called.isdisjoint({"eval", "exec", "compile"})
    assert {"pickle", "marshal", "shelve", "dill", "joblib"}.isdisjoint(imported(MODULES[name]))


@each_module
def test_no_room_is_called_after_nothing(name):
    parts = set(Path(name).with_suffix("").parts)
    assert parts.isdisjoint({"utils", "util", "helpers", "helper", "common", "core", "manager", "misc"})


@each_module
def test_heavy_packages_stay_in_their_room(name):
    rooms = {"simpy": "engine", "torch": "tracing", "transformers": "tracing"}
    astray = [
        package for package in imported(MODULES[name]) if rooms.get(package, name) not in (name, Path(name).parts[0])
    ]
    assert astray == []


def test_yaml_is_read_and_written_in_one_place():
    """PyYAML by itself takes ``no`` for False and lets the last of two equal keys win; one loader knows better."""
    assert [name for name, tree in MODULES.items() if "yaml" in imported(tree)] == ["config/yaml.py"]


def test_the_rooms_do_use_what_only_they_may():
    for package, room in {"simpy": "engine", "torch": "tracing"}.items():
        assert any(package in imported(tree) for name, tree in MODULES.items() if name.startswith(f"{room}/"))


def test_the_command_line_starts_without_heavy_packages():
    code = "import papisim.cli, sys; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    loaded = set(done.stdout.split())
    assert "papisim" in loaded
    assert loaded.isdisjoint({"torch", "transformers", "pandas", "simpy", "numpy", "matplotlib"})


@pytest.mark.parametrize(
    "path",
    [path for shelf in Shelf for path in catalog.shipped(shelf).values()],
    ids=lambda path: f"{path.parent.name}/{path.stem}",
)
def test_every_shipped_file_is_right_and_every_number_has_a_source(path):
    check._check(str(path))


@pytest.mark.parametrize("path", DATA, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_shipped_data_names_no_place_of_anyones_machine(path):
    text = path.read_text(encoding="utf-8")
    assert re.findall(r"""(?:^|[\s"'(=:,])(?:/[A-Za-z_][\w.-]*/\S*|[A-Z]:\\\S*|file://\S*)""", text) == []
