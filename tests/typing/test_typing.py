"""``py.typed`` is a promise: what the API accepts and returns is known to mypy."""

import re
from pathlib import Path

import pytest

mypy = pytest.importorskip("mypy.api", reason="needs the [dev] extra")
HERE, TOP = Path(__file__).parent, Path(__file__).parents[2]
_ERROR = re.compile(r"^(?P<file>[^:]+):(?P<line>\d+): error: (?P<message>.*)  \[(?P<code>[a-z-]+)\]$")


@pytest.fixture(scope="module")
def errors():
    """Return (file, line) → codes of the errors that mypy finds."""
    config = ["--config-file", str(TOP / "pyproject.toml"), "--no-error-summary", "--hide-error-context"]
    said, trouble, _ = mypy.run([*config, str(HERE / "right.py"), str(HERE / "wrong.py")])
    assert not trouble
    found: dict[tuple[str, int], set[str]] = {}
    for line in said.splitlines():
        if match := _ERROR.match(line):
            found.setdefault((Path(match["file"]).name, int(match["line"])), set()).add(match["code"])
    return found


def test_right_calls_have_the_types_that_are_claimed(errors):
    assert {place: codes for place, codes in errors.items() if place[0] != "wrong.py"} == {}


def test_wrong_calls_and_no_others_are_refused(errors):
    lines = (HERE / "wrong.py").read_text(encoding="utf-8").splitlines()
    marked = (re.search(r"# error: ([a-z-]+)$", line) for line in lines)
    expected = {("wrong.py", number): {match[1]} for number, match in enumerate(marked, start=1) if match}
    assert len(expected) > 20
    assert {place: codes for place, codes in errors.items() if place[0] == "wrong.py"} == expected


def test_every_public_function_has_a_right_and_a_wrong_call():
    import papisim  # noqa: PLC0415 - not before mypy's cache is made

    for file in ("right.py", "wrong.py"):
        text = (HERE / file).read_text(encoding="utf-8")
        assert {name for name in papisim.__all__ if f"papisim.{name}(" in text} == set(papisim.__all__) - {
            "__version__"
        }


def test_the_type_information_is_in_the_package():
    assert (TOP / "papisim" / "py.typed").is_file()
