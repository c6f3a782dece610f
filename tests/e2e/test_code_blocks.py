"""The commands and programs shown in the README and the documentation do what they say: they run.

All blocks of a page run in one folder, in order, so that a page may go on with what it wrote. A block that cannot run in a
test says why in a comment before it: ``<!-- not run: needs a GPU -->``. A block that is a file names it so:
``<!-- file: mine.py -->``.
"""

import re
import shlex
import subprocess
import sys
import types
from dataclasses import dataclass
from pathlib import Path

import pytest

from papisim import cli

TOP = Path(__file__).parents[2]
PAGES = [TOP / "README.md", *sorted((TOP / "docs").rglob("*.md"))]
BLOCK = re.compile(r"(?P<before>[^\n]*)\n```(?P<language>\w+)\n(?P<text>.*?)\n```", re.DOTALL)
FILE = re.compile(r"<!-- file: (\S+) -->")
NOT_RUN = re.compile(r"<!-- not run: (\S.*) -->")


@dataclass(frozen=True)
class Block:
    """A fenced block, the reason why it does not run, and the file that it is, if there are any."""

    language: str
    text: str
    reason: str | None
    file: str | None


def blocks(page):
    for match in BLOCK.finditer(page.read_text(encoding="utf-8")):
        before = match["before"].strip()
        excuse, file = NOT_RUN.fullmatch(before), FILE.fullmatch(before)
        yield Block(match["language"], match["text"], excuse[1] if excuse else None, file[1] if file else None)


def commands(text):
    """Yield the commands of a console block, those that go on in the next line joined."""
    for line in text.replace("\\\n", " ").splitlines():
        if line.startswith("$ "):
            yield line.removeprefix("$ ")


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """Work in a folder that has what stands at the top of the repository, and room for results."""
    for path in TOP.iterdir():
        if not path.name.startswith(".") and path.name != "results":
            (tmp_path / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_command(line, monkeypatch, capfd):
    words = shlex.split(line, comments=True)
    program = words[0]
    if program.startswith("scripts/"):
        assert (TOP / program).stat().st_mode & 0o100, f"{program} cannot be run"
    elif "|" in words or ">" in words:
        shell = f'papisim() {{ {shlex.quote(sys.executable)} -m papisim "$@"; }}; set -euo pipefail; {line}'
        subprocess.run(["bash", "-c", shell], check=True, env={"PYTHONPATH": str(TOP), "PATH": "/usr/bin:/bin"})
    elif program == "papisim":
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capfd.readouterr()
        assert ended.value.code in (0, None), f"{line}\n{said.err}"
    else:
        assert program in ("pip", "export"), (
            f"{line}: no test knows how to run this; explain it with <!-- not run: … -->"
        )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(TOP).as_posix())
def test_what_a_page_shows_runs(page, checkout, monkeypatch, capfd):
    program = types.ModuleType("page_of_the_documentation")
    monkeypatch.setitem(sys.modules, program.__name__, program)  # where its classes say that they are
    for block in blocks(page):
        if block.reason:
            continue
        if block.file:
            (checkout / block.file).write_text(f"{block.text}\n", encoding="utf-8")
        elif block.language == "python":
            exec(compile(block.text, str(page), "exec"), vars(program))
        elif block.language == "console":
            for line in commands(block.text):
                run_command(line, monkeypatch, capfd)


def test_a_command_that_fails_is_noticed(checkout, monkeypatch, capfd):
    with pytest.raises(AssertionError, match="gpu_onyl"):
        run_command("papisim run --hw gpu_onyl --trace llama7b", monkeypatch, capfd)


def test_an_excuse_must_give_a_reason():
    assert NOT_RUN.fullmatch("<!-- not run: needs a GPU -->")
    assert not NOT_RUN.fullmatch("<!-- not run: -->")


def test_the_readme_explains_lines_that_a_run_prints(checkout, monkeypatch, capfd):
    table = (TOP / "README.md").read_text(encoding="utf-8").partition("| line | meaning |")[2].partition("\n\n")[0]
    labels = [name for row in table.splitlines()[2:] for name in re.findall(r"`([^`]+)`", row.split("|")[1])]
    line = "run --hw papi --trace llama3-8b --batch 4 --speculation dsde --acceptance eagle2_chain6_llama3_8b --draft eagle_head"
    monkeypatch.setattr(sys, "argv", ["papisim", *line.split()])
    with pytest.raises(SystemExit):
        cli.main()
    printed = capfd.readouterr().out
    assert len(labels) > 10
    assert [label for label in labels if not re.search(rf"^{re.escape(label)}  ", printed, re.MULTILINE)] == []
