"""Search a space for non-dominated designs, with Optuna: with a few trials instead of all points.

Points are asked of the sampler in batches, computed by the same workers as a sweep's, and told back in order. The size of a
batch is part of the file and not the number of workers, so a search is reproducible by its seed with any number of workers. A study in
shared storage is searched by several machines at once; then the order of arrival decides, not the seed.
"""

from __future__ import annotations

import json
import math
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from papisim.errors import InputError, MissingExtra
from papisim.exploration import store
from papisim.exploration.evaluate import FAILED, OK
from papisim.exploration.expression import Lookup, UnknownName
from papisim.exploration.file import Search, SweepFile
from papisim.exploration.pareto import as_losses, best, front
from papisim.exploration.preflight import check_space
from papisim.exploration.resolve import Resolver
from papisim.exploration.run import name_of_run, room
from papisim.exploration.space import Axis, Interval, Sampling, Values, as_cell, chosen, is_number, sampled
from papisim.exploration.store import Cells, Form
from papisim.exploration.workers import Job, Progress, Tally, Workers, chunks
from papisim.results.seal import sealed, sha256_of
from papisim.results.store import manifest_head

if TYPE_CHECKING:
    import optuna
    import pandas as pd

STUDY, WARM, FRONT = "study.journal", "warm", "pareto"

#: attributes of trials and studies
_ROW, _FILE = "papisim_row", "papisim_file"


#: points drawn to see whether there are mistakes in the file
_PROBES = 20


@dataclass(frozen=True)
class Optimised:
    """A finished search: every trial as a row, and those of them that no other beats."""

    frame: pd.DataFrame
    front: pd.DataFrame
    tally: Tally


def optimise(
    file: SweepFile,
    folder: Path,
    workers: Workers,
    form: Form = "parquet",
    *,
    trials: int | None = None,
    storage: str | None = None,
    warm_start: Path | None = None,
    resume: bool = False,
    force: bool = False,
    progress: Progress = lambda tally: None,
) -> Optimised:
    """Search a space until the study has the wanted number of trials.

    Args:
        file: the space, the constraints and the objectives.
        folder: for frames, manifest and, without ``storage``, the study.
        workers: compute the points.
        form: of the frames.
        trials: how many, those of the study before and of other machines included; the file's number, if None.
        storage: of a study that several machines share: a journal file, or the URL of a database.
        warm_start: the folder or frame of a sweep whose best points are tried first; their runs are not simulated again.
        resume: continue the study in the folder.
        force: replace the results in the folder.
        progress: called with the tally of finished trials.

    Raises:
        InputError: no objectives, a folder that is not free, or a study of another file.
        MissingExtra: Optuna is not installed.
    """
    search = check_search(file)
    store.check_form(form)
    with room(folder, resume=resume, force=force, shared=storage is not None):
        manifest = {**manifest_head("optimise"), "sweep": file.document.data, "inputs": file.inputs()}
        store.write_json(folder / store.MANIFEST, sealed(manifest, folder))
        with _quiet():
            study = _open(file, search, folder, storage)
            if warm_start is not None:
                _warm(study, file, search, folder, warm_start)
            loop = _Loop(file, search, study, workers, folder, shared=storage is not None, progress=progress)
            loop.until(trials or search.settings.trials)
        frame, found = _write(folder, form, file, search, study)
        store.drop_parts(folder, loop.run)
        tally = Counter(frame["status"])
        store.write_json(
            folder / store.MANIFEST,
            sealed({**manifest, "rows": dict(sorted(tally.items())), "front": len(found)}, folder),
        )
    return Optimised(frame, found, tally)


def check_search(file: SweepFile) -> Search:
    """Look at a space before it is searched, and return what is searched for.

    Raises:
        InputError, InputErrors: no objectives, or what is wrong with the space.
    """
    if file.search is None:
        raise file.document.error((), "has no 'optimise', expected objectives to search for")
    drawn = Sampling("random", _PROBES, file.search.settings.seed)
    check_space(file, list(sampled(file.axes, drawn, Resolver(file).holds)))
    return file.search


class _Loop:
    """The loop of a search: ask for points, compute them, report their outcome."""

    def __init__(
        self,
        file: SweepFile,
        search: Search,
        study: optuna.Study,
        workers: Workers,
        folder: Path,
        *,
        shared: bool,
        progress: Progress,
    ) -> None:
        self._file, self._search, self._study = file, search, study
        self._workers, self._shared, self._progress = workers, shared, progress
        self._holds = Resolver(file).holds
        self._job = Job(file, folder.absolute(), name_of_run(), "csv", resume=True)
        self._known = {_key(file, row): row for row in _rows(study)}
        self._figures: dict[str, None] = {}

    @property
    def run(self) -> str:
        """What the names of the chunks start with."""
        return self._job.run

    def until(self, total: int) -> None:
        """Search until the study has ``total`` trials with an outcome."""
        self._progress(Counter(row["status"] for row in _rows(self._study)))
        if not self._shared:
            self._retry_unfinished()
        while (done := len(_rows(self._study))) < total:
            self._batch(min(total - done, self._batch_size))

    @property
    def _batch_size(self) -> int:
        settings = self._search.settings
        return settings.population if settings.sampler == "nsga2" else settings.batch

    def _retry_unfinished(self) -> None:
        """Try again what was under way when the search ended."""
        from optuna.trial import TrialState  # noqa: PLC0415 - optional

        for trial in self._study.get_trials(states=(TrialState.RUNNING,)):
            self._study.tell(trial.number, state=TrialState.FAIL)
            self._study.enqueue_trial(trial.params)

    def _batch(self, size: int) -> None:
        self._study.sampler = _sampler(self._search, self._seed())
        trials = [self._study.ask() for _ in range(size)]
        rows = self._compute([(trial.number, self._values(trial)) for trial in trials])
        for trial in trials:
            self._tell(trial, rows[trial.number])

    def _values(self, trial: optuna.Trial) -> Values:
        return chosen(self._file.axes, lambda axis: _suggest(trial, axis), self._holds)

    def _seed(self) -> int | None:
        """Return a seed of this batch alone, so that a resumed search continues as it would have."""
        if self._shared:
            return None
        sequence = np.random.SeedSequence([self._search.settings.seed, len(self._study.get_trials(deepcopy=False))])
        return int(sequence.generate_state(1)[0])

    def _compute(self, points: list[tuple[int, Values]]) -> dict[int, Cells]:
        """Return the row of each point; one that was tried before has the row it had."""
        keys = {number: _key(self._file, values) for number, values in points}
        first = {key: number for number, key in reversed(keys.items()) if key not in self._known}
        fresh = [(number, values) for number, values in points if first.get(keys[number]) == number]
        if fresh:
            name = f"{self._job.run}-{fresh[0][0]:07d}"
            with closing(
                self._workers.map(self._job, chunks(name, fresh, self._workers.count), self._progress)
            ) as done:
                for _ in done:
                    pass
            rows, figures = store.gather(self._job.folder, name)
            self._figures |= dict.fromkeys(figures)
            self._known |= {keys[number]: rows[number] for number, _ in fresh}
        again = [keys[number] for number, _ in points if first.get(keys[number]) != number]
        self._progress(Counter(self._known[key]["status"] for key in again) + Counter(reused=len(again)))
        return {number: {**self._known[key], "point": number} for number, key in keys.items()}

    def _tell(self, trial: optuna.Trial, row: Cells) -> None:
        from optuna.trial import TrialState  # noqa: PLC0415 - optional

        values = [row.get(objective.name) for objective in self._search.objectives]
        known = [float(value) for value in values if is_number(value) and math.isfinite(value)]
        if row["status"] == OK and len(known) < len(values):
            row = {**row, "status": FAILED, "reason": "an objective has no value at this point"}
        trial.set_user_attr(_ROW, json.dumps({"row": row, "figures": list(self._figures)}))
        if row["status"] == FAILED:
            self._study.tell(trial, state=TrialState.FAIL)
            return
        trial.set_constraint("violation_ratio", row["violation_ratio"])
        # samplers rank what is infeasible by its violation alone, so the placeholders for its missing figures do not matter
        self._study.tell(trial, known if len(known) == len(values) else [0.0] * len(values))


def _key(file: SweepFile, values: Values | Cells) -> str:
    """Return the key of a point: the values of its axes."""
    names = [name for axis in file.axes for name in axis.names]
    return json.dumps([as_cell(values.get(name)) for name in names])


def _suggest(trial: optuna.Trial, axis: Axis) -> tuple[object, ...]:
    """Ask the sampler for a value; ordered choices are a scale, others are categories."""
    domain, title = axis.domain, axis.title
    if isinstance(domain, Interval):
        if domain.whole:
            return (trial.suggest_int(title, int(domain.low), int(domain.high), log=domain.log),)
        return (trial.suggest_float(title, domain.low, domain.high, log=domain.log),)
    if domain.is_ordered:
        return domain.values[trial.suggest_int(title, 0, len(domain.values) - 1)]
    return domain.values[trial.suggest_categorical(title, list(range(len(domain.values))))]


def _parameter(axis: Axis, row: Cells) -> object:
    """Return the sampler's name of a row's value on an axis; raises KeyError where it is not in the space."""
    cells = tuple(row[name] for name in axis.names)
    if isinstance(axis.domain, Interval):
        if not is_number(cells[0]) or not axis.domain.low <= cells[0] <= axis.domain.high:
            raise KeyError(axis.title)
        return cells[0]
    for index, values in enumerate(axis.domain.values):
        if tuple(as_cell(value) for value in values) == cells:
            return index
    raise KeyError(axis.title)


def _sampler(search: Search, seed: int | None) -> optuna.samplers.BaseSampler:
    from optuna import samplers  # noqa: PLC0415 - optional

    match search.settings.sampler:
        case "nsga2":
            return samplers.NSGAIISampler(population_size=search.settings.population, seed=seed)
        case "tpe":
            return samplers.TPESampler(seed=seed)
    return samplers.RandomSampler(seed=seed)


def _open(file: SweepFile, search: Search, folder: Path, storage: str | None) -> optuna.Study:
    """Make the study, or open the one that is there; raises InputError where that is of another file."""
    try:
        import optuna  # noqa: PLC0415 - optional
        from optuna.storages import JournalStorage  # noqa: PLC0415
        from optuna.storages.journal import JournalFileBackend  # noqa: PLC0415
    except ImportError:
        raise MissingExtra("papisim optimise", "optuna", "sweep") from None
    place = storage or str(folder / STUDY)
    kept: JournalStorage | str = place
    if "://" not in place:
        if not Path(place).absolute().parent.is_dir():
            raise InputError(f"--storage {place} cannot be made: its folder is not there")
        kept = JournalStorage(JournalFileBackend(place))
    directions = ["maximize" if objective.maximise else "minimize" for objective in search.objectives]
    study = optuna.create_study(storage=kept, study_name=file.name, directions=directions, load_if_exists=True)
    own = _fingerprint(file)
    if study.user_attrs.setdefault(_FILE, own) != own:
        raise InputError(
            f"the study '{file.name}' in {place} is of a file with another space, constraints or objectives"
        )
    study.set_user_attr(_FILE, own)
    return study


def _fingerprint(file: SweepFile) -> str:
    """Return the hash of what all trials of a study must have in common: all but how the search goes about it."""
    data = {
        name: value for name, value in file.document.data.items() if name not in ("description", "sample", "optimise")
    }
    objectives = file.document.data["optimise"]["objectives"]
    return sha256_of({**data, "objectives": objectives})


def _warm(study: optuna.Study, file: SweepFile, search: Search, folder: Path, warm_start: Path) -> None:
    """Try the best points of a sweep first, one population of them, and reuse their runs."""
    rows, _ = store.read_frame(warm_start)
    store.copy_frame(warm_start, folder, WARM)
    losses, candidates = [], []
    for row in rows:
        if row["status"] != OK:
            continue
        try:
            parameters = {
                axis.title: _parameter(axis, row) for axis in file.axes if axis.when is None or axis.names[0] in row
            }
            losses.append([objective.value.evaluate(_lookup(row)) for objective in search.objectives])
        except (KeyError, UnknownName):
            continue
        candidates.append(parameters)
    if not candidates:
        raise InputError(f"--warm-start {warm_start} has no point of this space that is ok, with all objectives")
    order = best(as_losses(losses, [each.maximise for each in search.objectives]), search.settings.population)
    for index in order:
        study.enqueue_trial(candidates[index], skip_if_exists=True)


def _lookup(row: Cells) -> Lookup:
    def value(name: str) -> object:
        if name not in row:
            raise UnknownName(name)
        return row[name]

    return value


def _told(study: optuna.Study) -> Iterator[Cells]:
    """Yield the record of each trial with an outcome, those of other machines included: its row and its figures' names."""
    for trial in study.get_trials(deepcopy=False):
        if trial.state.is_finished() and _ROW in trial.user_attrs:
            yield json.loads(trial.user_attrs[_ROW])


def _rows(study: optuna.Study) -> list[Cells]:
    return [told["row"] for told in _told(study)]


def front_of(search: Search, rows: Sequence[Cells]) -> list[Cells]:
    """Return the feasible rows that no other beats in all objectives, the first objective's best first."""
    feasible = [row for row in rows if row["status"] == OK]
    names = [objective.name for objective in search.objectives]
    losses = as_losses(
        [[row[name] for name in names] for row in feasible], [each.maximise for each in search.objectives]
    )
    kept = {_point(row, names): (tuple(loss), row) for row, loss, is_front in zip(feasible, losses, front(losses), strict=True) if is_front}  # fmt: skip
    return [row for _, row in sorted(kept.values(), key=lambda item: item[0])]


def _point(row: Cells, names: Sequence[str]) -> str:
    """Return the key by which equal or equally good trials are one point of the front."""
    return json.dumps([row.get("run_sha256"), [row[name] for name in names]])


def _write(
    folder: Path, form: Form, file: SweepFile, search: Search, study: optuna.Study
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Write all trials and the front."""
    rows = _rows(study)
    write = partial(
        store.write_frame,
        leading=[*file.inputs(), *file.columns],
        figures=sorted({name for told in _told(study) for name in told["figures"]}),
        form=form,
    )
    frame = write(folder / store.FRAME, rows)
    return frame, write(folder / FRONT, front_of(search, rows))


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Optuna from logging each trial, and from warning of what is meant."""
    try:
        import optuna  # noqa: PLC0415 - optional
    except ImportError:
        raise MissingExtra("papisim optimise", "optuna", "sweep") from None
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)
