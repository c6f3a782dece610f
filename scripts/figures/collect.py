"""Run command lines with the papisim that Python finds, and write down every figure of what they print and write.

Called by compare.py once for each tree, with PYTHONPATH at the tree: ``python collect.py JOBS.json RESULTS.jsonl``.
Commands run in this process, one after the other, in the folder that it is started in.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

from papisim.cli import main

#: exit status of a command line that is not understood
NOT_UNDERSTOOD = 2
#: keys that name a claim of a paper
CLAIM = ("figure", "system", "claim")
Figures = dict[str, Any]


def run(words: list[str]) -> tuple[int, str, str]:
    """Run one command line and return its exit status, stdout and stderr."""
    out, err = io.StringIO(), io.StringIO()
    sys.argv = ["papisim", *words]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
            status = 0
        except SystemExit as ended:
            status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        except Exception as error:
            status = 70
            err.write(f"{type(error).__name__}: {error}")
    return status, out.getvalue(), err.getvalue()


def of_json(value: Any, path: str, found: Figures) -> None:
    """Add the leaves of a JSON document to ``found``, each under its path."""
    if isinstance(value, dict):
        for key, inner in value.items():
            of_json(inner, f"{path}.{key}", found)
    elif isinstance(value, list):
        found[f"{path}.length"] = len(value)
        for name, inner in zip(names(value), value, strict=True):
            of_json(inner, f"{path}[{name}]", found)
    else:
        found[path] = value


def names(values: list[Any]) -> list[str]:
    """Return a name for each element of a list: claims keep theirs when their order changes, the rest are counted."""
    labels = [
        " ".join(str(value.get(key, "")) for key in CLAIM) if isinstance(value, dict) else "" for value in values
    ]
    is_named = all(isinstance(value, dict) and "claim" in value for value in values) and len(set(labels)) == len(
        labels
    )
    return labels if is_named else [str(number) for number in range(len(values))]


def parsed(text: str) -> float | str:
    """Return a cell of a CSV file as a number if it is one."""
    try:
        return float(text)
    except ValueError:
        return text


def of_csv(text: str, path: str, found: Figures) -> None:
    """Add the columns of a CSV file to ``found``, each as a list."""
    rows = list(csv.reader(io.StringIO(text)))
    for column, name in enumerate(rows[0] if rows else ()):
        found[f"{path}:{name}"] = [parsed(row[column]) for row in rows[1:]]


def figures(stdout: str, folder: Path) -> Figures:
    """Return every figure of what a command printed and of the frames and documents that it wrote into ``folder``."""
    found: Figures = {}
    try:
        of_json(json.loads(stdout), "stdout", found)
    except ValueError:
        if stdout.count(",") > stdout.count(" "):
            of_csv(stdout, "stdout", found)
    for file in sorted(folder.rglob("*")) if folder.is_dir() else ():
        name = file.relative_to(folder).as_posix()
        if file.suffix == ".csv":
            of_csv(file.read_text(encoding="utf-8"), name, found)
        elif file.suffix == ".json" and file.name != "manifest.json":
            of_json(json.loads(file.read_text(encoding="utf-8")), name, found)
    return found


def in_other_words(words: list[str], renamed: dict[str, str]) -> list[str]:
    """Return a command line in the words from before renaming, or after it where it has those from before."""
    both = {new: old for old, new in renamed.items()} | renamed
    return [both.get(word, word) for word in words]


def collect(jobs: dict[str, Any], results: Path) -> None:
    """Run every line of ``jobs`` and append a line of JSON with its status and figures to ``results``."""
    folder = Path("OUT")
    with results.open("w", encoding="utf-8") as file:
        for number, line in enumerate(jobs["lines"]):
            words = shlex.split(line)
            status, out, err = run(words)
            if status == NOT_UNDERSTOOD and (other := in_other_words(words, jobs["words"])) != words:
                status, out, err = run(other)
            entry = {
                "line": line,
                "status": status,
                "said": err[-400:] if status else "",
                "figures": figures(out, folder),
            }
            file.write(json.dumps(entry) + "\n")
            file.flush()
            shutil.rmtree(folder, ignore_errors=True)
            if sys.stderr.isatty():
                print(f"\r{number + 1} of {len(jobs['lines'])}", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    collect(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")), Path(sys.argv[2]))
