"""Code from outside: found by path, by module and by entry point; whatever is wrong with it is one error with its place."""

import hashlib
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from papisim.errors import InputError
from papisim.kinds import outside
from papisim.policies.placement.base import PLACEMENT


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("my.py:Mine", True),
        ("my.py", True),
        ("../a b/my.py:Mine", True),
        ("package.module:Mine", True),
        ("package:Mine.Inner", True),
        ("papi", False),
        ("pinned", False),
        ("traces/my.yaml", False),
        ("requests.csv", False),
        ("", False),
        (":", False),
    ],
)
def test_a_reference_is_told_from_a_name_and_from_other_files(text, is_one):
    assert outside.is_reference(text) is is_one


def test_a_relative_file_is_made_absolute_and_a_module_stays(tmp_path):
    assert outside.absolute("sub/my.py:Mine", tmp_path) == f"{tmp_path}/sub/my.py:Mine"
    assert outside.absolute("my.py", tmp_path) == f"{tmp_path}/my.py"
    assert outside.absolute("package.module:Mine", tmp_path) == "package.module:Mine"
    assert outside.absolute("papi", tmp_path) == "papi"


@pytest.mark.parametrize(
    ("old", "new", "said", "line"),
    [
        ("def place(self", "def place self", "is no Python: ", 20),
        ("import Example", "import Exmple", "cannot be imported: ImportError: cannot import name 'Exmple'", 3),
        ("from papisim.kinds", "from papisim.kind", "cannot be imported: ModuleNotFoundError", 3),
        ("    EXAMPLE = ", "    1 / 0\n    EXAMPLE = ", "cannot be imported: ZeroDivisionError", 15),
    ],
)
def test_a_broken_file_is_one_error_with_its_line(policy, old, new, said, line):
    path = policy((old, new))
    with pytest.raises(InputError, match=said) as raised:
        PLACEMENT.load(f"{path}:Turns")
    assert (raised.value.place.file, raised.value.place.line) == (str(path), line)


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("nowhere.py:Mine", "nowhere.py: may not be read"),
        ("{path}:Turn", "mine.py: no 'Turn' here; did you mean 'Turns'"),
        ("no.such.module:Mine", "no module 'no' that could be imported for 'no.such.module'"),
        ("nosuchmodule:Mine", "no module 'nosuchmodule'"),
    ],
)
def test_what_is_not_there_is_said(policy, reference, said):
    with pytest.raises(InputError, match=said):
        PLACEMENT.load(reference.format(path=policy()))


def test_a_file_is_imported_once_and_again_when_it_has_changed(policy):
    path = policy()
    first = outside.load(f"{path}:Turns")
    assert outside.load(f"{path}:Turns") is first
    policy(("by turns", "in turns"))
    assert outside.load(f"{path}:Turns") is not first


def test_the_code_of_a_kind_is_known_by_content(policy):
    path = policy()
    code = PLACEMENT.load(f"{path}:Turns").code
    assert (code.path, code.sha256) == (str(path), hashlib.sha256(path.read_bytes()).hexdigest())


def test_a_module_on_the_path_is_found_by_its_name_with_and_without_a_class(policy, as_module, tmp_path, monkeypatch):
    package = tmp_path / "their_package"
    package.mkdir()
    (package / "__init__.py").touch()
    policy().rename(package / "policies.py")
    as_module.rename(package / "module.py")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert PLACEMENT.load("their_package.policies:Turns").options.model_fields["every"].default == 2
    assert PLACEMENT.load("their_package.module").summary == "A policy from outside, in the form of papisim's own."
    with pytest.raises(InputError, match="did you mean 'Turns'"):
        PLACEMENT.load("their_package.policies:Turn")


def test_an_installed_package_adds_kinds_by_entry_points(policy, tmp_path, monkeypatch):
    """What pip would lay down: a module and a folder of metadata beside it."""
    policy(name="their_policies.py")
    info = tmp_path / "their_policies-1.5.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-policies\nVersion: 1.5\n")
    (info / "entry_points.txt").write_text("[papisim.placement]\nturns = their_policies:Turns\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    assert "turns" in PLACEMENT.names()
    assert "turns" not in PLACEMENT.own()
    kind = PLACEMENT.load("turns")
    assert kind.name == "turns"
    assert kind.code.distribution == "their-policies 1.5"
    with pytest.raises(InputError, match="did you mean 'turns'"):
        PLACEMENT.load("turnz")


def test_a_class_that_was_typed_in_is_found_in_its_session(tmp_path):
    """As in a notebook: the class is of the module __main__, and has no file."""
    program = tmp_path / "session.py"
    text = (Path(__file__).parent / "conftest.py").read_text(encoding="utf-8")
    source = text.partition("POLICY = '''")[2].partition("'''")[0]
    program.write_text(
        f"{source}\n"
        "from papisim.config.experiment import RunOptions, load_experiment\n"
        "experiment = load_experiment(RunOptions(hw='papi', trace='llama7b', placement='__main__:Turns'))\n"
        "print(experiment.system.placement.kind)\n"
        "print(sorted(experiment.resolved()['code']['placement']))\n"
    )  # fmt: skip
    done = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == ["__main__:Turns", "['distribution', 'path', 'sha256']"], done.stderr
