"""Which mutants do the tests that stand beside the code notice? A sample for each package, by cosmic-ray.

A package is judged by its own tests alone: tests/unit/PACKAGE and the conformance tests of the kinds that the package holds. The
modules at the top of papisim count as one package, ``top``, judged by tests/unit/test_*.py. All of it happens in a copy under
results/mutation; a run that is interrupted goes on where it was, unless the package or its tests have changed.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cosmic_ray.commands import init
from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import TestOutcome, WorkItem

TOP = Path(__file__).parents[1]
RESULTS = TOP / "results" / "mutation"
COPY = RESULTS / "tree"
#: annotations are full of ``|``, and a mutant of an annotation changes nothing
NOT_MUTATED = ("ReplaceBinaryOperator_BitOr", "NoOp")
#: a mutant may take this many times as long as the tests, and some seconds to start
SLOWDOWN, START_S = 3.0, 20.0


@dataclass(frozen=True)
class Package:
    """What is mutated, and the tests that should notice.

    Attributes:
        name: of the package, or ``top``.
        modules: files that are mutated, relative to the repository.
        tests: what pytest is given.
    """

    name: str
    modules: tuple[str, ...]
    tests: tuple[str, ...]


@dataclass(frozen=True)
class Survivor:
    """A mutant that no test noticed: its place, and the change as a diff."""

    place: str
    diff: str


@dataclass(frozen=True)
class Verdict:
    """The outcome of one package: how many mutants were tested, and those that survived."""

    package: Package
    sampled: int
    survivors: tuple[Survivor, ...]

    @property
    def row(self) -> str:
        """The verdict as a row of the table."""
        killed = self.sampled - len(self.survivors)
        share = f"{killed / self.sampled:.0%}" if self.sampled else "–"
        return f"| {self.package.name} | {self.sampled} | {killed} | {len(self.survivors)} | {share} | {' '.join(self.package.tests)} |"


def packages() -> dict[str, Package]:
    """Return everything that can be mutated, by name."""
    source, tests = TOP / "papisim", TOP / "tests"
    top = Package("top", relative(source.glob("*.py")), relative((tests / "unit").glob("test_*.py")))
    found = {"top": top}
    for folder in sorted(path.parent for path in source.glob("*/__init__.py")):
        kinds = {folder.name, *(inner.name for inner in folder.iterdir() if inner.is_dir())}
        conformance = (path for kind in sorted(kinds) for path in (tests / "conformance").glob(f"test_{kind}.py"))
        own = [tests / "unit" / folder.name, *conformance]
        found[folder.name] = Package(
            folder.name, relative(folder.rglob("*.py")), relative(path for path in own if path.exists())
        )
    return found


def relative(paths: Iterator[Path]) -> tuple[str, ...]:
    """Return paths relative to the repository, in order."""
    return tuple(sorted(path.relative_to(TOP).as_posix() for path in paths))


def copy_checkout() -> None:
    """Copy what git knows or would add, links and all, to where mutants are made."""
    listed = subprocess.run(
        ["git", "-C", str(TOP), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        capture_output=True,
        check=True,
    )
    shutil.rmtree(COPY, ignore_errors=True)
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (TOP / name).is_file():
            (COPY / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(TOP / name, COPY / name)


def state(package: Package, sample: int, seed: int) -> str:
    """Return a hash of everything that the verdict on a package depends on, its dependencies apart."""
    digest = hashlib.sha256(f"{sample} {seed}".encode())
    files = [TOP / name for name in package.modules]
    for name in package.tests:
        files += sorted((TOP / name).rglob("*.py")) if (TOP / name).is_dir() else [TOP / name]
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def drawn(items: list[WorkItem], sample: int, seed: int) -> list[WorkItem]:
    """Draw places of the code, each as likely as the others, and one mutant of each.

    A binary operator has eleven mutants and a comparison eight; to draw among all mutants would test little else.
    """
    places: dict[tuple[str, tuple[int, int]], list[WorkItem]] = {}
    for item in items:
        mutation = item.mutations[0]
        if not any(name in mutation.operator_name for name in NOT_MUTATED):
            places.setdefault((str(mutation.module_path), mutation.start_pos), []).append(item)
    draw = random.Random(seed)
    chosen = draw.sample(sorted(places), min(sample, len(places)))
    return [draw.choice(sorted(places[place], key=lambda item: item.mutations[0].operator_name)) for place in chosen]


def prepare(package: Package, session: Path, sample: int, seed: int) -> None:
    """Write a session of mutants that are not tested yet."""
    unfinished = session.with_suffix(".unfinished")
    unfinished.unlink(missing_ok=True)
    with use_db(str(unfinished), WorkDB.Mode.create) as database:
        init([Path(name) for name in package.modules], database, {})
        items = drawn(list(database.work_items), sample, seed)
        database.clear()
        database.add_work_items(items)
    unfinished.rename(session)


def tested(package: Package) -> list[str]:
    """Return the command that runs a package's tests until one fails."""
    return [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *package.tests]


def baseline_s(package: Package) -> float:
    """Return the duration of a package's tests in seconds.

    Raises:
        SystemExit: they fail without any mutation.
    """
    began = time.monotonic()
    done = subprocess.run(tested(package), cwd=COPY, env=environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"the tests of {package.name} fail without a mutation:\n{done.stdout[-2000:]}")
    return time.monotonic() - began


def environment() -> dict[str, str]:
    """Return the environment in which the copy is imported, not the checkout."""
    return os.environ | {"PYTHONPATH": str(COPY), "PYTHONDONTWRITEBYTECODE": "1"}


def judge(package: Package, sample: int, seed: int) -> Verdict:
    """Test the mutants of a package that are not tested yet, and return the outcome of all."""
    if not package.tests:
        sys.exit(f"{package.name} has no unit tests: nothing could notice a mutant")
    session = RESULTS / f"{package.name}-{state(package, sample, seed)}.sqlite"
    if not session.exists():
        prepare(package, session, sample, seed)
    with use_db(str(session), WorkDB.Mode.open) as database:
        pending = len(list(database.pending_work_items))
    if pending:
        timeout = SLOWDOWN * baseline_s(package) + START_S
        config = session.with_suffix(".toml")
        command = " ".join(tested(package))
        config.write_text(
            f'[cosmic-ray]\nmodule-path = "papisim"\ntimeout = {timeout:.1f}\nexcluded-modules = []\ntest-command = "{command}"\n'
            '[cosmic-ray.distributor]\nname = "local"\n',
            encoding="utf-8",
        )
        print(f"{package.name}: {pending} mutants, at most {timeout:.0f} s each", file=sys.stderr, flush=True)
        execute = [sys.executable, "-m", "cosmic_ray.cli", "exec", str(config), str(session)]
        subprocess.run(execute, cwd=COPY, env=environment(), check=True)
    return verdict(package, session)


def verdict(package: Package, session: Path) -> Verdict:
    """Return the verdict of a finished session."""
    survivors, sampled = [], 0
    with use_db(str(session), WorkDB.Mode.open) as database:
        for item, result in database.completed_work_items:
            sampled += 1
            if result.test_outcome == TestOutcome.SURVIVED:
                mutation = item.mutations[0]
                survivors.append(Survivor(f"{mutation.module_path}:{mutation.start_pos[0]}", result.diff or ""))
    return Verdict(package, sampled, tuple(sorted(survivors, key=lambda survivor: survivor.place)))


def changed(diff: str) -> str:
    """Return the changed lines of a diff."""
    lines = (line for line in diff.splitlines() if not line.startswith(("---", "+++")))
    return "\n".join(f"    {line}" for line in lines if line[:1] in "+-" and line)


def main() -> None:
    """Judge the packages that the command line names, and print a table and the survivors."""
    known = packages()
    parser = argparse.ArgumentParser(prog="scripts/mutate", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("package", nargs="*", help=f"of {', '.join(known)}; all, if none is named")
    parser.add_argument("--sample", type=int, default=20, metavar="N", help="mutants of each package (default: 20)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of the sample (default: 0)")
    parser.add_argument(
        "--least", type=float, default=0.0, metavar="SHARE", help="status 1 where a smaller share is killed"
    )
    chosen = parser.parse_args()
    if unknown := set(chosen.package) - set(known):
        parser.error(f"no package {', '.join(sorted(unknown))}; known: {', '.join(known)}")
    RESULTS.mkdir(parents=True, exist_ok=True)
    verdicts = []
    for name in chosen.package or known:
        copy_checkout()
        verdicts.append(judge(known[name], chosen.sample, chosen.seed))
    print("| package | sampled | killed | survived | killed % | tests |\n|---|--:|--:|--:|--:|---|")
    print("\n".join(found.row for found in verdicts))
    for found in verdicts:
        for survivor in found.survivors:
            print(f"\n{survivor.place}\n{changed(survivor.diff)}")
    sys.exit(any(len(found.survivors) > (1 - chosen.least) * found.sampled for found in verdicts))


if __name__ == "__main__":
    main()
