"""Serving rates of engines measured by others: a table's rows as experiments, and how far simulations of them are off.

A row is one closed loop: a model on some GPUs under an engine, users who ask for prompts and answers of nominal lengths, and the
mean TTFT and TPOT that its client saw. ``papisim/validation/serving.yaml`` says how such a row becomes an experiment. A row that
cannot be expressed is listed with the reason; nothing is set by the row's own figures.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path
from typing import get_type_hints

import numpy as np

from papisim import foreign
from papisim.arrays import Floats
from papisim.calibration.errors import errors_of
from papisim.config.base import Count, Fraction, Name, NonNegative, Spec, parse
from papisim.config.yaml import check_schema, load_yaml
from papisim.errors import InputError, one_or_all
from papisim.streams import stream
from papisim.validation.schema import FigureErrors, ServingErrors

SCHEMA = "papisim/serving-table/1"

#: sets of rows: those that count, and those kept apart
PLAIN, QUEUED, SHORT, SUSPECT = "plain", "queued", "short of KV", "suspect"

_MOST_ERRORS = 20

#: the values of a point of a sweep: options, and fields by their paths
Point = dict[str, object]


@dataclass(frozen=True)
class ServingRow:
    """One measured closed loop; columns of a table have these names.

    Attributes:
        source_row: number that the source gave the row.
        model: name on Hugging Face.
        gpu: part.
        tp: ranks of tensor parallelism.
        pp: stages of pipeline parallelism; None where unknown: taken as 1, as of the next two.
        dp: ranks of attention data parallelism.
        ep: ranks of expert parallelism; 0 or 1 without.
        backend: engine.
        version: of the engine; empty where unknown.
        suite: benchmark.
        weight_bits: of a weight.
        kv_bits: of an element of the KV cache; None where unknown: taken as 16.
        isl: nominal tokens of a prompt.
        osl: nominal tokens of an answer.
        range_ratio: shortest length as a share of the nominal one; 1 for fixed lengths.
        concurrency: users.
        ttft_s: mean time to first token.
        tpot_s: mean time per output token.
        kv_need_ratio: KV caches of all users at their longest over the room for them; None where unknown.
        queued: whether requests waited for admission, by the measured TTFT.
        reentered: whether the same measurement is in the table already.
        suspect: why the row is implausible; empty if it is not.
    """

    source_row: int
    model: str
    gpu: str
    tp: int
    pp: int | None
    dp: int | None
    ep: int | None
    backend: str
    version: str
    suite: str
    weight_bits: int
    kv_bits: int | None
    isl: int
    osl: int
    range_ratio: float
    concurrency: int
    ttft_s: float
    tpot_s: float
    kv_need_ratio: float | None
    queued: bool
    reentered: bool
    suspect: str

    @property
    def group(self) -> tuple[str, str, str, int]:
        """Engine, GPU, model and bits of a weight."""
        return (self.backend, self.gpu, self.model, self.weight_bits)

    @property
    def output_tokens(self) -> float:
        """Mean tokens of an answer."""
        return self.osl * (1 + self.range_ratio) / 2

    def tokens_per_s(self, ttft_s: float, tpot_s: float) -> float:
        """Return the output rate of a closed loop without think time: each user's answer per cycle."""
        return self.concurrency * self.output_tokens / (ttft_s + tpot_s * (self.output_tokens - 1))


class Budget(Spec):
    """Token budget of a step as a launch script computes it: ``tokens + per_user × users + per_prompt_token × nominal prompt``."""

    tokens: Count
    per_user: float = 0.0
    per_prompt_token: float = 0.0

    def of(self, row: ServingRow) -> int:
        """Return the budget of a row."""
        return round(self.tokens + self.per_user * row.concurrency + self.per_prompt_token * row.isl)


class ServingTable(Spec):
    """How rows become experiments; ``papisim/validation/serving.yaml``.

    Attributes:
        description: what the file is for.
        machines: machine by GPU.
        traces: trace by model.
        quantisation: fields to set by the bits of a weight.
        engines: engine profile by the name of the engine.
        step_tokens: by suite and engine, the rows of a step where the suite's launch script limits them by a rule; prompts are whole then.
        batching: batching policy without an engine profile.
        requests_per_user: requests of each user in a run.
        turnaround_s: time from the end of an answer until the engine has the user's next prompt.
        short_of_kv_ratio: share of the room for KV caches from which rows are kept apart.
        sources: origins of the above.
    """

    description: Name
    machines: dict[Name, Name]
    traces: dict[Name, Name]
    quantisation: dict[int, dict[str, int | dict[str, int]]]
    engines: dict[Name, Name]
    step_tokens: dict[Name, dict[Name, Budget]]
    batching: dict[str, object]
    requests_per_user: Count
    turnaround_s: NonNegative
    short_of_kv_ratio: Fraction
    sources: dict[str, dict[str, str]]


@cache
def serving_table() -> ServingTable:
    """Read how rows become experiments."""
    document = load_yaml(Path(__file__).with_name("serving.yaml"))
    check_schema(document, SCHEMA)
    return parse(ServingTable, document)


class Inexpressible(Exception):
    """A row that papisim cannot simulate; the message is the reason."""


@dataclass(frozen=True)
class Predicted:
    """A row, and the simulation of its closed loop.

    Attributes:
        row: the row.
        part: the set that the row belongs to.
        ttft_s: mean time to first token; None if the row was not simulated.
        tpot_s: mean time per output token; likewise.
        reason: why the row was not simulated; empty if it was.
    """

    row: ServingRow
    part: str
    ttft_s: float | None = None
    tpot_s: float | None = None
    reason: str = ""

    def pairs(self) -> dict[str, tuple[float, float]]:
        """Return predicted and measured values of each figure of a row that was simulated."""
        assert self.ttft_s is not None
        assert self.tpot_s is not None
        row = self.row
        rates = row.tokens_per_s(self.ttft_s, self.tpot_s), row.tokens_per_s(row.ttft_s, row.tpot_s)
        return {"tpot": (self.tpot_s, row.tpot_s), "ttft": (self.ttft_s, row.ttft_s), "throughput": rates}

    def cells(self) -> dict[str, object]:
        """Return the row as a results file has it."""
        simulated = {"part": self.part, "predicted_ttft_s": self.ttft_s, "predicted_tpot_s": self.tpot_s}
        return {**asdict(self.row), **simulated, "reason": self.reason}


def read_serving_rows(path: Path) -> list[ServingRow]:
    """Read a table of measured serving rates, plain or gzipped.

    Raises:
        InputError, InputErrors: a column is missing, or cells are wrong; with their lines and columns.
    """
    with foreign.refusing(path, "table of serving rates"), foreign.open_bytes(path) as inner:
        lines = csv.DictReader(inner.read().decode("utf-8-sig").splitlines())
        missing = [each.name for each in fields(ServingRow) if each.name not in (lines.fieldnames or ())]
        if missing:
            raise InputError(f"has no column {', '.join(missing)}", file=str(path), line=1)
        errors: list[InputError] = []
        rows = [row for cells in lines if (row := _row(path, lines.line_num, cells, errors)) is not None]
    if errors:
        raise one_or_all(errors[:_MOST_ERRORS])
    return rows


def _row(path: Path, line: int, cells: Mapping[str, str], errors: list[InputError]) -> ServingRow | None:
    """Return a line's row; None if cells are wrong, which is added to the errors."""
    values: dict[str, object] = {}
    before = len(errors)
    for name, kind in get_type_hints(ServingRow).items():
        read, expected = _CELLS[kind]
        try:
            values[name] = read(cells[name] or "")
        except ValueError:
            message = f"found '{cells[name]}', expected {expected}"
            errors.append(InputError(message, file=str(path), line=line, field=name))
    return ServingRow(**values) if len(errors) == before else None  # type: ignore[arg-type]


def _read_flag(text: str) -> bool:
    if text not in ("True", "False"):
        raise ValueError
    return text == "True"


#: readers of cells by the type of their field, and what they expect
_CELLS: dict[object, tuple[Callable[[str], object], str]] = {
    str: (str, "text"),
    bool: (_read_flag, "True or False"),
    int: (int, "a whole number"),
    float: (float, "a number"),
    int | None: (lambda text: int(float(text)) if text else None, "a whole number or nothing"),
    float | None: (lambda text: float(text) if text else None, "a number or nothing"),
}


def sampled(rows: Sequence[ServingRow], most: int | None, seed: int = 0) -> list[ServingRow]:
    """Return at most ``most`` rows of each engine, GPU, model, precision, TP and set, drawn without replacement; all if None."""
    if most is None:
        return list(rows)
    strata: dict[object, list[ServingRow]] = {}
    for row in rows:
        strata.setdefault((row.group, row.tp, part_of(row)), []).append(row)
    rng = stream(seed, "serving rows")
    chosen = {
        each[place].source_row
        for each in strata.values()
        for place in rng.choice(len(each), min(most, len(each)), replace=False).tolist()
    }
    return [row for row in rows if row.source_row in chosen]


def part_of(row: ServingRow) -> str:
    """Return the set that a row belongs to: implausible rows and those that wait for room are kept apart."""
    if row.suspect:
        return SUSPECT
    if row.kv_need_ratio is not None and row.kv_need_ratio >= serving_table().short_of_kv_ratio:
        return SHORT
    return QUEUED if row.queued else PLAIN


def point_of(row: ServingRow, *, with_engine: bool) -> Point:
    """Return a row's experiment as the values of a point of a sweep.

    Args:
        row: the row.
        with_engine: whether the profile of the row's engine is used; if not, kernels follow one another without a host.

    Raises:
        Inexpressible: the row needs what papisim does not have.
    """
    table = serving_table()
    _check_expressible(row, table)
    values: Point = {
        "hw": table.machines[row.gpu],
        "devices.gpu.count": row.tp,
        "links.nvlink.count": row.tp,
        "trace": table.traces[row.model],
        "workload": _client(row, table),
        "batch": row.concurrency,
        "quantisation.weight_bits": 16,
        "quantisation.activation_bits": 16,
        "quantisation.scale_bits": 16,
        "quantisation.experts": None,
        **table.quantisation[row.weight_bits],
        "quantisation.kv_bits": row.kv_bits or 16,
        "parallel.expert_ranks": row.ep or 1,
    }
    if with_engine:
        return values | {"engine": table.engines[row.backend], "batching": _launched(row, table)}
    return values | {"batching": {**table.batching, "max_batch": row.concurrency}}


def _check_expressible(row: ServingRow, table: ServingTable) -> None:
    known = (
        (row.gpu, table.machines, "no machine of"),
        (row.model, table.traces, "no trace of"),
        (row.weight_bits, table.quantisation, "no quantisation of weight bits"),
        (row.backend, table.engines, "no engine profile of"),
    )
    for value, names, reason in known:
        if value not in names:
            raise Inexpressible(f"{reason} {value}")
    for name, ranks in (("pp", row.pp), ("dp", row.dp)):
        if ranks is not None and ranks > 1:
            raise Inexpressible(f"{name} {ranks}")
    if (row.ep or 1) not in (
        1,
        row.tp,
    ):  # experts dealt out to some ranks and cut over others; the tables do not say which
        raise Inexpressible(f"ep {row.ep} of {row.tp} ranks")
    if row.reentered:
        raise Inexpressible("the same measurement entered again")


def _launched(row: ServingRow, table: ServingTable) -> dict[str, object] | None:
    """Return the batching policy that the suite's launch script asks the engine for; None where it asks for none."""
    budget = table.step_tokens.get(row.suite, {}).get(row.backend)
    if budget is None:
        return None
    return {"kind": "continuous", "max_batch": row.concurrency, "step_tokens": budget.of(row)}


def _client(row: ServingRow, table: ServingTable) -> dict[str, object]:
    lengths = {"kind": "uniform", "input_tokens": row.isl, "output_tokens": row.osl, "min_ratio": row.range_ratio}
    return {
        "kind": "closed_loop",
        "n_users": row.concurrency,
        "n_requests": row.concurrency * table.requests_per_user,
        "think_time": {"mean_s": table.turnaround_s, "cv": 0},
        "lengths": lengths,
    }


def space_of(points: Sequence[Point], fixed: Mapping[str, object]) -> dict[str, object]:
    """Return the sweep that has points, each once.

    Args:
        points: values of each point; all have the same names.
        fixed: fields that all points set besides.
    """
    first = points[0]
    columns = {name: [point[name] for point in points] for name in first}
    described = "closed loops of a table of measured serving rates"
    return {
        "schema": "papisim/sweep/1",
        "description": described,
        "base": {"hw": first["hw"], "trace": first["trace"], "metrics": "streaming", "set": dict(fixed)},
        "zip": [columns],
    }


def grouped(predictions: Iterable[Predicted]) -> Iterator[ServingErrors]:
    """Yield the errors of simulated rows: by set, in all; by engine, GPU, model and precision; and these by TP."""
    groups: dict[tuple[object, ...], list[Predicted]] = {}
    for each in predictions:
        if not each.reason:
            keys: list[tuple[object, ...]] = [(), each.row.group, (*each.row.group, each.row.tp)]
            for key in ((each.part, *key) for key in keys):
                groups.setdefault(key, []).append(each)
    order = {part: place for place, part in enumerate((PLAIN, QUEUED, SHORT, SUSPECT))}
    for key in sorted(groups, key=lambda key: (order[str(key[0])], [str(part).zfill(3) for part in key[1:]])):
        yield _errors(key, groups[key])


def _errors(key: tuple[object, ...], members: Sequence[Predicted]) -> ServingErrors:
    pairs = [each.pairs() for each in members]
    figures = {
        name: FigureErrors(**asdict(errors_of(*np.array([each[name] for each in pairs]).T))) for name in pairs[0]
    }
    names = ("part", "engine", "gpu", "model", "weight_bits", "tp")
    return ServingErrors.model_validate({**dict.fromkeys(names), **dict(zip(names, key, strict=False)), **figures})


#: engine, GPU, model and bits of a weight
ServingGroup = tuple[str, str, str, int]


def log_errors_of(predictions: Iterable[Predicted]) -> dict[str, dict[ServingGroup, Floats]]:
    """Return the logarithms of measured over simulated times of plausible rows with room for their caches, by figure and group.

    The time of throughput is that of a user's cycle, its inverse.
    """
    groups: dict[ServingGroup, list[Predicted]] = {}
    for each in predictions:
        if not each.reason and each.part in (PLAIN, QUEUED):
            groups.setdefault(each.row.group, []).append(each)
    found: dict[str, dict[ServingGroup, Floats]] = {}
    for group, members in groups.items():
        pairs = [each.pairs() for each in members]
        for figure in ("throughput", "ttft", "tpot"):
            predicted, measured = np.array([each[figure] for each in pairs]).T
            slower = predicted / measured if figure == "throughput" else measured / predicted
            found.setdefault(figure, {})[group] = np.log(slower)
    return found


def read_predictions(path: Path) -> list[Predicted]:
    """Read rows with their predictions, as :func:`write_predictions` writes them.

    Raises:
        InputError, InputErrors: as :func:`read_serving_rows`.
    """
    rows = read_serving_rows(path)
    with foreign.open_bytes(path) as inner:
        lines = list(csv.DictReader(inner.read().decode("utf-8-sig").splitlines()))
    return [
        Predicted(row, cells["part"], float(cells["predicted_ttft_s"]), float(cells["predicted_tpot_s"]))
        if not cells["reason"]
        else Predicted(row, cells["part"], reason=cells["reason"])
        for row, cells in zip(rows, lines, strict=True)
    ]


def refusals(predictions: Iterable[Predicted]) -> list[tuple[str, int]]:
    """Return the reasons why rows were not simulated with the number of rows, the most frequent first."""
    return Counter(each.reason for each in predictions if each.reason).most_common()


def write_predictions(predictions: Iterable[Predicted], path: Path) -> None:
    """Write all rows with their predictions as CSV."""
    rows = [each.cells() for each in predictions]
    with path.open("w", encoding="utf-8", newline="") as file:
        lines = csv.DictWriter(file, rows[0])
        lines.writeheader()
        lines.writerows(rows)
