"""The logs of a serving engine that ``scripts/measure-engine`` drives step by step: a folder of CSV files.

``steps.csv``
    every step: wall time, its host parts, the requests that decode, and the prompt tokens computed.
``cells.csv``
    steady steps of one composition, repeated: their median.
``requests.csv``
    requests that were served in real time.
``profile.csv``
    GPU kernels by name, and the time in which any kernel ran.
``meta.jsonl``
    settings of the engine and of each service.

Each file may be compressed (``.gz``), and all but ``steps.csv`` may be missing. Logs of several GPUs have a column ``gpu``.
"""

from __future__ import annotations

import csv
import gzip
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, NamedTuple, Self, TextIO, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from papisim.config.engine import Scheduling
from papisim.errors import InputError, did_you_mean
from papisim.pricing.engine_step import Composition

#: block of the services, whose steps are in cells of this name
SERVED = "serve"
#: cells whose steps warm up what follows
_WARM = "warm"
#: suffix of the cells whose steps a profiler watched
_PROFILED = ":prof"
_MODE = re.compile(r"_(?P<scheduling>async|sync)(_|$)")
_DRAFTS = re.compile(r"_ngram(?P<drafts>\d+)(_|$)")
#: a prompt in a step: tokens computed, and cached
_PROMPT: Final = r"([1-9]\d{0,8})@(\d{1,9})"
_PROMPT_PART = re.compile(_PROMPT)
#: largest whole number that is read: more tokens than any cache holds
_MOST: Final = 10**12


class Record(BaseModel):
    """A row of a log; columns without a field are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)

    gpu: str = ""
    engine: str

    @property
    def of(self) -> tuple[str, str]:
        """The GPU and the engine."""
        return self.gpu, self.engine


class CellRow(Record):
    """Steady steps of one composition.

    Attributes:
        block: ``decode``, ``prefill``, ``mixed`` or ``spec``.
        cell: name of the composition.
        batch: requests that decode.
        ctx: cached tokens of each request, or tokens of the prompt.
        k: drafted tokens per request.
        n: steps, or prompts.
        median_ms: median of the steps, or of the sums over the steps of a prompt.
        power_w: power that the board's meter showed after the last step; None where it was not read.
    """

    block: str
    cell: str
    batch: int = Field(ge=0, le=_MOST)
    ctx: int = Field(ge=0, le=_MOST)
    k: int = Field(ge=0, le=_MOST)
    n: int = Field(ge=1)
    median_ms: float = Field(gt=0)
    power_w: float | None = Field(default=None, gt=0)


class StepTimes(Record):
    """One step of an engine.

    Attributes:
        block: what the step was run for.
        cell: the composition, ``serve`` in a service; with a suffix after ``:`` where steps are not steady or profiled.
        dt_s: wall time.
        t_schedule_s: time of scheduling.
        t_execute_s: time of preparing and launching.
        t_sample_s: time of waiting for the GPU.
        t_update_s: time of taking in the result; further processing of outputs is the rest of ``dt_s``.
        n_decode: requests that decode.
        decode_tokens: their token-rows, drafts included.
        decode_ctx_sum: their cached tokens before the step.
        prefill_list: ``tokens@cached`` of each prompt computed.
        sched_tokens: all token-rows.
        running: requests admitted.
        waiting: requests that wait.
        t0_s: start, by the clock of the engine's process; None where the log does not tell.
    """

    block: str
    cell: str
    dt_s: float = Field(gt=0)
    t_schedule_s: float = Field(ge=0)
    t_execute_s: float = Field(ge=0)
    t_sample_s: float = Field(ge=0)
    t_update_s: float = Field(ge=0)
    n_decode: int = Field(ge=0, le=_MOST)
    decode_tokens: int = Field(ge=0, le=_MOST)
    decode_ctx_sum: int = Field(ge=0, le=_MOST)
    prefill_list: str = Field(pattern=rf"^({_PROMPT}(;{_PROMPT})*)?$")
    sched_tokens: int = Field(ge=0, le=_MOST)
    running: int = Field(default=0, ge=0)
    waiting: int = Field(default=0, ge=0)
    t0_s: float | None = None

    @model_validator(mode="after")
    def _rows_of_each_request(self) -> Self:
        if self.decode_tokens < self.n_decode or (self.decode_tokens and not self.n_decode):
            raise ValueError(f"found {self.decode_tokens} token-rows of {self.n_decode} requests that decode")
        return self

    @property
    def prompts(self) -> tuple[tuple[int, int], ...]:
        """Cached tokens and tokens computed of each prompt."""
        return tuple((int(cached), int(tokens)) for tokens, cached in _PROMPT_PART.findall(self.prefill_list))

    @property
    def prompt_tokens(self) -> int:
        """Prompt tokens computed."""
        return sum(tokens for _, tokens in self.prompts)

    @property
    def is_profiled(self) -> bool:
        """Whether a profiler watched the step."""
        return self.cell.endswith(_PROFILED)

    @property
    def composition(self) -> str:
        """The cell without its suffix."""
        return self.cell.partition(":")[0]

    @property
    def is_steady(self) -> bool:
        """Whether the step is one of a cell's repetitions, neither profiled nor on the way to them, nor of a service."""
        return ":" not in self.cell and self.cell not in (SERVED, _WARM) and self.sched_tokens > 0

    @property
    def host_s(self) -> float:
        """Time in which the host did not wait for the GPU; a synchronous engine's only."""
        return max(0.0, self.dt_s - self.t_sample_s)


class ServedRow(Record):
    """A request served in real time; times since the start of the service.

    Attributes:
        block: the service.
        arrival_s: planned arrival.
        first_token_s: first token; negative without one.
        end_s: last token; negative where the service was cut short.
        tokens_in: tokens of the prompt.
        tokens_out: tokens emitted.
    """

    block: str
    arrival_s: float = Field(ge=0)
    first_token_s: float
    end_s: float
    tokens_in: int = Field(ge=1, le=_MOST)
    tokens_out: int = Field(ge=0, le=_MOST)


class KernelRow(Record):
    """The kernels of one name in the steps of a profiled cell.

    Attributes:
        cell: the composition.
        steps: profiled steps; a prompt's steps count as one.
        busy_ms_per_step: time in which any kernel ran, per step.
        kernel: the kernel's name.
        count_per_step: launches per step.
        us_per_step: time per step.
    """

    cell: str
    steps: int = Field(ge=1)
    busy_ms_per_step: float = Field(gt=0)
    kernel: str
    count_per_step: float = Field(gt=0)
    us_per_step: float = Field(ge=0)


def composition_of(step: StepTimes) -> Composition:
    """Return the composition of a logged step."""
    return Composition(step.n_decode, step.decode_tokens, step.decode_ctx_sum, step.prompts)


class Mode(NamedTuple):
    """How an engine was run.

    Attributes:
        scheduling: whether the host prepares a step while one runs.
        drafts: drafted tokens per request.
    """

    scheduling: Scheduling
    drafts: int


class Limits(NamedTuple):
    """Limits of a service's batches; None where the log does not tell.

    Attributes:
        chunk_tokens: most token-rows of a step.
        max_batch: most requests at once.
    """

    chunk_tokens: int | None
    max_batch: int | None


@dataclass(frozen=True)
class EngineLog:
    """The logs of a folder.

    Attributes:
        folder: the folder.
        steps: every step, in order.
        cells: steady steps.
        requests: requests of services.
        kernels: profiled kernels.
        settings: records of ``meta.jsonl``.
    """

    folder: Path
    steps: Sequence[StepTimes]
    cells: Sequence[CellRow] = ()
    requests: Sequence[ServedRow] = ()
    kernels: Sequence[KernelRow] = ()
    settings: Sequence[dict[str, object]] = field(default=(), repr=False)

    @property
    def engines(self) -> list[tuple[str, str]]:
        """The GPUs and engines of the log, in order."""
        return list(
            dict.fromkeys(row.of for rows in (self.steps, self.cells, self.requests, self.kernels) for row in rows)
        )

    def of_gpu(self, gpu: str) -> EngineLog:
        """Return the logs of one GPU.

        Raises:
            InputError: the log has no such GPU.
        """
        known = sorted({name for name, _ in self.engines})
        if gpu not in known:
            raise InputError(f"has no GPU '{gpu}'; {did_you_mean(gpu, known)}", file=str(self.folder), field="gpu")
        return replace(
            self,
            steps=_of_gpu(self.steps, gpu),
            cells=_of_gpu(self.cells, gpu),
            requests=_of_gpu(self.requests, gpu),
            kernels=_of_gpu(self.kernels, gpu),
        )

    def mode(self, engine: str) -> Mode:
        """Return the mode of an engine, from ``meta.jsonl``, or else from its name (``…_async``, ``…_sync``, ``…_ngram3``).

        Raises:
            InputError: neither tells.
        """
        told = self._told(engine)
        drafts = _DRAFTS.search(engine)
        named = _MODE.search(engine)
        is_async = told.get("async_scheduling")
        if is_async is None and named is None and drafts is None:
            raise InputError(
                f"does not tell how '{engine}' was scheduled; expected a record in meta.jsonl, or a name that ends in _sync or _async",
                file=str(self.folder),
            )
        if is_async is None:
            is_async = named is not None and named["scheduling"] == "async"
        scheduling = Scheduling.ASYNCHRONOUS if is_async else Scheduling.SYNCHRONOUS
        return Mode(scheduling, int(drafts["drafts"]) if drafts else 0)

    def _told(self, engine: str) -> dict[str, object]:
        return next(
            (each for each in self.settings if (each.get("engine"), each.get("kind")) == (engine, "engine")), {}
        )

    def loads_weights(self, engine: str) -> bool | None:
        """Tell whether an engine ran a model's own weights, and not dummy ones; None if ``meta.jsonl`` does not."""
        settings = self._told(engine).get("settings")
        told = settings.get("loads_weights") if isinstance(settings, dict) else None
        return told if isinstance(told, bool) else None

    def model(self, engine: str) -> str:
        """Return the name of an engine's model: what its name has before its mode."""
        mode = _MODE.search(engine) or _DRAFTS.search(engine)
        return engine[: mode.start()] if mode else engine

    def limits(self, of: tuple[str, str], block: str) -> Limits:
        """Return the limits of a service: those in ``meta.jsonl``, or else what its steps show.

        The most token-rows of any step are taken for the budget, and the most requests at once for their limit if others waited
        then.
        """
        told = next((each for each in self.settings if (each.get("engine"), each.get("block")) == (of[1], block)), {})
        steps = [step for step in self.steps if step.of == of and step.block == block]
        most = max((step.running for step in steps), default=0)
        bound = any(step.running == most and step.waiting for step in steps)
        budget = told.get("cap") or max((step.sched_tokens for step in steps), default=None)
        sequences = told.get("max_num_seqs") or (most if bound else None)
        return Limits(_whole(budget), _whole(sequences))


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) else None


RecordT = TypeVar("RecordT", bound=Record)


def _of_gpu(rows: Iterable[RecordT], gpu: str) -> list[RecordT]:
    return [row for row in rows if row.gpu == gpu]


def read_log(folder: Path) -> EngineLog:
    """Read the logs of a folder.

    Raises:
        InputError: there is no ``steps.csv``, a file cannot be read, or a row is wrong, with its line and column.
    """
    steps = list(_read(folder, "steps", StepTimes))
    if not steps:
        raise InputError(
            "holds no steps; expected steps.csv or steps.csv.gz as scripts/measure-engine writes it", file=str(folder)
        )
    return EngineLog(
        folder,
        steps,
        list(_read(folder, "cells", CellRow)),
        list(_read(folder, "requests", ServedRow)),
        list(_read(folder, "profile", KernelRow)),
        list(_settings(folder / "meta.jsonl")),
    )


def _read(folder: Path, name: str, record: type[RecordT]) -> Iterator[RecordT]:
    path = next((path for path in (folder / f"{name}.csv", folder / f"{name}.csv.gz") if path.exists()), None)
    if path is None:
        return
    try:
        with _text(path) as file:
            reader = csv.DictReader(file, strict=True)
            _check_columns(path, reader.fieldnames or (), record)
            for row in reader:
                yield _record(record, row, path, reader.line_num)
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"cannot be read as CSV: {error}", file=str(path)) from None


def _text(path: Path) -> TextIO:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8", newline="")
    return path.open(encoding="utf-8", newline="")


def _check_columns(path: Path, columns: Sequence[str], record: type[Record]) -> None:
    for name, info in record.model_fields.items():
        if info.is_required() and name not in columns:
            raise InputError(f"no column '{name}'; {did_you_mean(name, columns)}", file=str(path), line=1)


def _record(record: type[RecordT], row: dict[str, str | None], path: Path, line: int) -> RecordT:
    try:
        return record.model_validate(row)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else None
        message = first["msg"].removeprefix("Value error, ")
        message = message if name is None else f"found {row.get(name)!r}: {message.lower()}"
        raise InputError(message, file=str(path), line=line, field=name) from None


def _settings(path: Path) -> Iterator[dict[str, object]]:
    if not path.exists():
        return
    for line, text in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            record = json.loads(text)
        except ValueError as error:
            raise InputError(f"is not JSON: {error}", file=str(path), line=line) from None
        if not isinstance(record, dict):
            raise InputError("expected an object per line", file=str(path), line=line)
        yield record
