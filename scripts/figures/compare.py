"""Compare the figures of this tree with those of another commit: every command, every number, to 1e-9.

python scripts/figures/compare.py --against COMMIT [--quick] [--only WORD]

Both trees run the lines of commands.txt with the same Python and the same packages. Ends with status 1 where a figure, a key or
an exit status differs that known.yaml does not list.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
TOP = HERE.parents[1]
RELATIVE = 1e-9
#: below it a figure is nothing: seconds and joules of a run are many orders above
NOTHING = 1e-13
INPUTS = ("sweep.yaml", "optimise.yaml", "kernels.csv", "result.json")
#: logs of an engine, in a folder
LOGS = "logs"
HAS_JSON = (
    "run",
    "compare",
    "describe",
    "diff",
    "price",
    "explain",
    "size",
    "sweep",
    "optimise",
    "reproduce",
    "validate",
    "calibrate",
    "list",
    "fit",
    "replay",
    "workload",
)
IS_QUIET = (
    "run",
    "compare",
    "size",
    "price",
    "explain",
    "sweep",
    "optimise",
    "reproduce",
    "fit",
    "replay",
    "workload",
)
Entry = dict[str, Any]


def lines(quick: bool, only: str | None) -> list[str]:
    """Return the command lines to run, written out."""
    found = []
    for text in (HERE / "commands.txt").read_text(encoding="utf-8").splitlines():
        if not text or text.startswith("#") or (quick and text.startswith("+")):
            continue
        parts = re.split(r"<([^<>]*)>", text.removeprefix("+").strip())
        choices = [[part] if index % 2 == 0 else part.split("|") for index, part in enumerate(parts)]
        found += ["".join(chosen) for chosen in itertools.product(*choices)]
    return [complete(line) for line in found if only is None or only in line]


def complete(line: str) -> str:
    """Add the options that print figures in full and nothing else."""
    command = line.split(maxsplit=1)[0]
    line = line.replace("MEASURED", str(TOP / "kernels" / "measured"))
    quiet = " --quiet" if command in IS_QUIET else ""
    batch = command == "price" and "--batch " in line
    return line + quiet + (" --format json" if command in HAS_JSON and not batch else "")


def write_inputs(folder: Path) -> None:
    """Write the files that command lines name into the folder where they run."""
    for name in INPUTS:
        shutil.copy(HERE / name, folder)
    shutil.copytree(HERE / LOGS, folder / LOGS)
    draw = random.Random(0)
    turns = []
    for number in range(40):
        rate = draw.uniform(0.5, 0.9)
        accepted = [min(4, int(math.log(1 - draw.random()) / math.log(rate))) for _ in range(30)]
        turns.append({"source": f"s{number % 2}", "task": f"t{number % 4}", "draft_len": 4, "accepted": accepted})
    curve = [f"block,{length},{mean}" for length, mean in enumerate((1.8, 2.5, 3.0, 2.9), start=1)]
    (folder / "curves.csv").write_text("\n".join(["model,draft_tokens,tokens_per_step", *curve]), encoding="utf-8")
    (folder / "acceptance.jsonl").write_text("".join(json.dumps(turn) + "\n" for turn in turns), encoding="utf-8")


def start(tree: Path, folder: Path, jobs: Path) -> subprocess.Popen[bytes]:
    """Start collecting the figures of one tree."""
    folder.mkdir()
    write_inputs(folder)
    environment = os.environ | {"PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    arguments = [sys.executable, str(HERE / "collect.py"), str(jobs), str(folder.with_suffix(".jsonl"))]
    return subprocess.Popen(arguments, cwd=folder, env=environment)


def collect(before: Path, folder: Path, jobs: dict[str, Any]) -> tuple[list[Entry], list[Entry]]:
    """Return the entries of the other tree and of this one."""
    path = folder / "jobs.json"
    path.write_text(json.dumps(jobs), encoding="utf-8")
    for name, tree in (("before", before), ("after", TOP)):
        if status := start(tree, folder / name, path).wait():
            sys.exit(f"the figures of {tree} could not be collected: status {status}")
        print(f" {len(jobs['lines'])} command lines {name}", file=sys.stderr)
    before_lines, after_lines = (
        [json.loads(text) for text in (folder / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]
        for name in ("before", "after")
    )
    return before_lines, after_lines


def renamed(figures: dict[str, Any], known: dict[str, Any]) -> dict[str, Any]:
    """Return figures under the new names of their keys, without what is no figure."""
    names, ignored = known["keys"], set(known["ignored"])
    found = {}
    for path, value in figures.items():
        parts = re.split(r"([.:\[\]])", path)
        if ignored.isdisjoint(parts):
            found["".join(names.get(part, part) for part in parts)] = value
    return found


def is_same(one: Any, other: Any, values: dict[str, str]) -> bool:
    """Tell whether two values are the same figure; prose is none."""
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(is_same(a, b, values) for a, b in zip(one, other, strict=True))
    if isinstance(one, str) and isinstance(other, str):
        is_prose = any(mark in text for text in (one, other) for mark in " /")
        return is_prose or values.get(one, one) == values.get(other, other)
    if isinstance(one, (int, float)) and isinstance(other, (int, float)):
        both_nan = math.isnan(one) and math.isnan(other)
        return both_nan or math.isclose(one, other, rel_tol=RELATIVE, abs_tol=NOTHING)
    return type(one) is type(other) and one == other


def shown(one: Any, other: Any, values: dict[str, str]) -> str:
    """Return two values that differ as text, of columns the first rows that do."""
    if not (isinstance(one, list) and isinstance(other, list)):
        return f"{one!r} was {other!r}" if one != other else f"{one!r}"
    if len(one) != len(other):
        return f"{len(one)} rows were {len(other)}"
    rows = [row for row, (a, b) in enumerate(zip(one, other, strict=True)) if not is_same(a, b, values)]
    return f"{len(rows)} of {len(one)} rows, first {rows[0]}: {one[rows[0]]!r} was {other[rows[0]]!r}"


def differences(after: Entry, before: Entry, known: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the path and the description of everything that differs between two entries of one command line."""
    if after["status"] != before["status"]:
        yield "status", f"{after['status']} was {before['status']}: {after['said'] or before['said']}"
        return
    new, old = renamed(after["figures"], known), renamed(before["figures"], known)
    for path, value in old.items():
        if path not in new:
            yield path, "is gone"
        elif not is_same(new[path], value, known["values"]):
            yield path, shown(new[path], value, known["values"])


def is_known(line: str, path: str, known: dict[str, Any]) -> bool:
    """Tell whether a difference is on purpose."""
    return any(fnmatchcase(line, entry["command"]) and fnmatchcase(path, entry["key"]) for entry in known["changed"])


def report(before: list[Entry], after: list[Entry], known: dict[str, Any], most: int) -> int:
    """Print the differences by command line, and return on how many lines there are some."""
    differing = compared = on_purpose = 0
    for old, new in zip(before, after, strict=True):
        compared += len(old["figures"])
        found = list(differences(new, old, known))
        open_ones = [(path, text) for path, text in found if not is_known(new["line"], path, known)]
        on_purpose += len(found) - len(open_ones)
        if open_ones:
            differing += 1
            print(f"papisim {new['line']}")
            for path, text in open_ones[:most]:
                print(f"    {path}: {text}")
            if len(open_ones) > most:
                print(f"    … and {len(open_ones) - most} more")
        elif new["status"] and old["status"]:
            print(f"papisim {new['line']}\n    fails in both: {new['said']}")
            differing += 1
    print(
        f"{len(after)} command lines, {compared} keys compared, {on_purpose} changed on purpose, {differing} lines differ"
    )
    return differing


def main() -> None:
    """Compare with the commit that the command line names."""
    parser = argparse.ArgumentParser(prog="scripts/exactness", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--against", metavar="COMMIT", required=True, help="commit to compare the checkout with")
    parser.add_argument("--quick", action="store_true", help="leave out the lines that take long")
    parser.add_argument("--only", metavar="TEXT", help="lines that contain TEXT")
    parser.add_argument("--most", type=int, default=8, metavar="N", help="differences shown per line (default: 8)")
    chosen = parser.parse_args()
    known = yaml.safe_load((HERE / "known.yaml").read_text(encoding="utf-8"))
    jobs = {"lines": lines(chosen.quick, chosen.only), "words": known["words"]}
    with tempfile.TemporaryDirectory(prefix="papisim-exactness-") as name:
        folder = Path(name)
        git = ["git", "-C", str(TOP)]
        subprocess.run([*git, "worktree", "add", "-q", "--detach", str(folder / "tree"), chosen.against], check=True)
        try:
            before, after = collect(folder / "tree", folder, jobs)
        finally:
            subprocess.run([*git, "worktree", "remove", "--force", str(folder / "tree")], check=True)
        sys.exit(1 if report(before, after, known, chosen.most) else 0)


if __name__ == "__main__":
    main()
