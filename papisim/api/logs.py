"""Acceptance processes fitted to logs of speculation."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from papisim.acceptance.base import ACCEPTANCE, AcceptanceOptions
from papisim.acceptance.fitting.estimate import Fit
from papisim.acceptance.fitting.estimate import fit as estimate
from papisim.acceptance.fitting.holdout import Check, Split
from papisim.acceptance.fitting.holdout import check as hold_out
from papisim.acceptance.fitting.statistics import Statistics
from papisim.acceptance.fitting.steps import kept
from papisim.acceptance.fitting.write import as_yaml, parameters
from papisim.acceptance.log import Turn, read_log
from papisim.acceptance.synthetic import Yield
from papisim.acceptance.synthetic import measure as measure_yield
from papisim.config.sections import load_section
from papisim.errors import InputError, did_you_mean
from papisim.results.schema import Figures
from papisim.results.store import write_file

#: fewer turns, or steps, are too little to fit
MIN_TURNS, MIN_STEPS = 4, 4000


@dataclass(frozen=True)
class Group:
    """Turns that one process is fitted to.

    Attributes:
        name: source, or source and task.
        turns: the turns.
        max_steps: number of steps of each that are used; all, if None.
    """

    name: str
    turns: list[Turn]
    max_steps: int | None

    @property
    def steps(self) -> int:
        """Number of steps that are used."""
        return sum(kept(turn, self.max_steps) for turn in self.turns)


@dataclass(frozen=True)
class FittedProcesses:
    """Acceptance processes fitted to a log.

    Attributes:
        log: name of the log.
        seed: seed of the simulations that the fits are compared with.
        groups: the turns of each process, by its name.
        fits: each process by name.
    """

    log: str
    seed: int
    groups: dict[str, Group]
    fits: dict[str, Fit]

    @property
    def summary(self) -> Figures:
        """The values that ``papisim fit acceptance --format json`` prints."""
        sources = {
            name: {
                "measured": _plain(found.measured),
                "simulated": _plain(found.simulated),
                "difference": _difference(found.measured, found.simulated),
                "parameters": parameters(found),
                "measured_positions": found.measured_positions,
                "tries": list(found.tries),
                "ordered": found.ordered,
            }
            for name, found in self.fits.items()
        }
        return {"schema": "papisim/acceptance_fit/1", "log": self.log, "seed": self.seed, "sources": sources}

    def write(
        self, path: str | Path, name: str | None = None, *, signals: str | None = None, force: bool = False
    ) -> Path:
        """Write a process to a file that ``acceptance`` of a run takes, and return its path.

        Args:
            path: of the file.
            name: of the process; not needed where there is one only.
            signals: signals that the file names.
            force: replace the file.

        Raises:
            InputError: no process of that name, several and none named, or a file that may not be replaced.
        """
        if name is None and len(self.fits) > 1:
            raise InputError(
                f"there are {len(self.fits)} processes ({', '.join(self.fits)}), expected the name of one"
            )
        chosen = next(iter(self.fits)) if name is None else name
        if chosen not in self.fits:
            raise InputError(f"no process '{chosen}'; {did_you_mean(chosen, self.fits)}")
        text = as_yaml(chosen, self.fits[chosen], self.log, signals, self.groups[chosen].max_steps)
        write_file(Path(path), text, force=force)
        return Path(path)


@dataclass(frozen=True)
class HeldOut:
    """Acceptance processes fitted to some turns of a log and compared with the others.

    Attributes:
        head: log, share, split and seed.
        checks: each process by name.
    """

    head: dict[str, object]
    checks: dict[str, Check]

    @property
    def summary(self) -> Figures:
        """The values that ``papisim fit acceptance --holdout SHARE --format json`` prints."""
        sources = {
            name: {
                "measured": _plain(found.measured),
                "simulated": _plain(found.simulated),
                "standard_error": _plain(found.measured_error),
                "fitted_to": _plain(found.fitted_to),
                "difference": _difference(found.measured, found.simulated),
            }
            for name, found in self.checks.items()
        }
        return {"schema": "papisim/acceptance_holdout/1", **self.head, "sources": sources}


def fit(
    log: str | Path,
    *,
    source: str | Sequence[str] = (),
    by: Literal["source", "task"] = "source",
    max_steps: int | Mapping[str, int] | None = None,
    min_steps: int = MIN_STEPS,
    seed: int = 0,
) -> FittedProcesses:
    """Fit an acceptance process to logged speculation steps, as ``papisim fit acceptance`` does.

    Args:
        log: the log: one request turn per line (see ``papisim fit acceptance --help``).
        source: the only source, or sources; all, if empty.
        by: a process per source, or per source and task.
        max_steps: steps of a turn that are used, for all sources or by source; all, if None.
        min_steps: groups with fewer steps are left out.
        seed: of the simulations that fits are compared with.

    Raises:
        InputError, InputErrors: what is wrong with the log; an unknown source; nothing has enough steps.
    """
    return fit_groups(log, groups_of(log, source, by=by, max_steps=max_steps, min_steps=min_steps), seed)


def fit_groups(log: str | Path, groups: Mapping[str, Group], seed: int) -> FittedProcesses:
    """Fit a process to each group of turns of a log."""
    fits = {name: estimate(group.turns, seed, group.max_steps) for name, group in groups.items()}
    return FittedProcesses(Path(log).name, seed, dict(groups), fits)


def check_fit(log: str | Path, groups: Mapping[str, Group], holdout: float, split: Split, seed: int) -> HeldOut:
    """Fit processes to some turns and compare them with the others.

    Args:
        log: the log, for its name.
        groups: the turns of each process, by its name.
        holdout: share of the turns that is held out.
        split: choice of these turns.
        seed: of the choice and of the simulations.
    """
    checks = {name: hold_out(group.turns, holdout, seed, split, group.max_steps) for name, group in groups.items()}
    return HeldOut({"log": Path(log).name, "holdout": holdout, "split": split, "seed": seed}, checks)


def acceptance_yield(process: str, draft_tokens: int, seed: int = 0) -> Yield:
    """Return the yield of an acceptance process at one draft length, simulated, as ``papisim fit synthetic`` does.

    Args:
        process: a shipped process, or a file.
        draft_tokens: length of every draft.
        seed: of the simulation.

    Raises:
        InputError, InputErrors: no such process; it is of self-speculation, whose drafts need an exit layer.
    """
    options = load_section("acceptance", process).options
    if not isinstance(options, AcceptanceOptions) or options.model_layers is not None:
        raise InputError(f"{process} is a process of exit layers; its drafts have no length alone")
    return measure_yield(ACCEPTANCE.build(options, seed), draft_tokens)


def groups_of(
    log: str | Path,
    source: str | Sequence[str],
    *,
    by: str,
    max_steps: int | Mapping[str, int] | None,
    min_steps: int,
    left_out: Callable[[Group], None] = lambda group: None,
) -> dict[str, Group]:
    """Return the groups of a log's turns that have enough steps, by name; parameters as of :func:`fit`.

    Args:
        log: the log.
        source: the only sources.
        by: ``source`` or ``task``.
        max_steps: steps of a turn that are used.
        min_steps: least number of steps.
        left_out: called with each group that has too few.

    Raises:
        InputError, InputErrors: as :func:`fit`.
    """
    turns, wanted = read_log(Path(log)), [source] if isinstance(source, str) else list(source)
    limits = max_steps if isinstance(max_steps, Mapping) else {}
    general = None if isinstance(max_steps, Mapping) else max_steps
    sources = {turn.source for turn in turns}
    for name in [*wanted, *limits]:
        if name not in sources and name != "":
            raise InputError(f"no source '{name}' in the log; {did_you_mean(name, sources)}")
    gathered: dict[tuple[str, str], list[Turn]] = defaultdict(list)
    for turn in turns:
        if not wanted or turn.source in wanted:
            gathered[turn.source, turn.task if by == "task" else ""].append(turn)
    groups = [
        Group(f"{name}.{task}" if task else name, members, limits.get(name, limits.get("", general)))
        for (name, task), members in gathered.items()
    ]
    enough = {group.name: group for group in groups if group.steps >= min_steps and len(group.turns) >= MIN_TURNS}
    for group in groups:
        if group.name not in enough:
            left_out(group)
    if not enough:
        raise InputError(f"nothing has {MIN_TURNS} turns and {min_steps} steps; lower --min-steps")
    return enough


def _plain(found: Statistics) -> dict[str, object]:
    return {
        "turns": found.n_turns,
        "steps": found.n_steps,
        "tokens_per_step": found.tokens_per_step,
        "S_j": list(found.survival),
        "spread": found.spread,
        "lag1_autocorrelation": found.lag1_autocorrelation,
    }


def _difference(measured: Statistics, simulated: Statistics) -> dict[str, float | None]:
    """Return the differences: ratios less 1 of means, plain differences of shares and correlations."""
    lags = simulated.lag1_autocorrelation, measured.lag1_autocorrelation
    apart = [one - other for one, other in zip(simulated.survival, measured.survival, strict=True)]
    return {
        "tokens_per_step_ratio": simulated.tokens_per_step / measured.tokens_per_step - 1,
        "S_j_largest": max(apart, key=abs),
        "spread_ratio": simulated.spread / measured.spread - 1 if measured.spread > 0 else 0.0,
        "lag1_autocorrelation": None if lags[0] is None or lags[1] is None else lags[0] - lags[1],
    }
