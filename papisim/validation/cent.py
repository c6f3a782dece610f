"""Tokens of CENT against its released results: time of a block's instructions, time and energy of a token."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from pydantic import ValidationError

from papisim.config.base import Count, Positive, Spec, parse
from papisim.config.sources import load_sound
from papisim.config.system import load_part
from papisim.devices.aim import Part
from papisim.devices.aim.deployment import Deployment, Sharing
from papisim.devices.aim.lowering import Block, Heads
from papisim.devices.link import Links
from papisim.devices.link import Part as LinkPart
from papisim.errors import InputError
from papisim.validation.schema import GoldenErrors

_FILE = Path(__file__).parent / "cent.yaml"
#: tables of CENT's results in a folder
TABLES = "**/cent_aim*.csv"
#: limits of relative errors: of a block's time in each row and on average, and of a token's time and energy
BLOCK_LIMIT, BLOCK_MEAN_LIMIT, TOKEN_LIMIT = 0.02, 0.005, 0.05

#: errors of a row by their name in summaries
_TITLES = {"CENT, block": "block", "CENT, token": "token", "CENT, energy of a token": "energy"}


class Model(Spec):
    """Sizes of a model of the Llama family."""

    blocks: Count
    width: Count
    heads: Count
    kv_heads: Count
    head_width: Count
    feed_forward: Count
    vocabulary: Count

    @property
    def block(self) -> Block:
        """A block of it."""
        return Block(
            self.width, Heads(self.heads, self.kv_heads, self.head_width), self.feed_forward, self.vocabulary
        )


class Result(Spec):
    """One row of CENT's results: machine, cache length, milliseconds and millijoules."""

    model: str
    n_devices: Count
    pipeline_stages: Count
    tensor_ranks: Count
    channels_per_block: Count
    kv_tokens: Count
    pim_ms: Positive
    embedding_ms: Positive
    token_ms: Positive
    token_energy_mj: Positive


class Runs(Spec):
    """The runs behind CENT's results.

    Attributes:
        description: in words.
        device: part of a device.
        link: part of its link.
        fabric_lanes: lanes of all devices together, each of which has a whole number of them.
        lane_bytes_per_s: payload bandwidth of a lane.
        sampling_s: time between the last block and the next token, on the host.
        models: sizes of models.
        rows: a few results.
    """

    description: str
    device: str
    link: str
    fabric_lanes: Count
    lane_bytes_per_s: Positive
    sampling_s: Positive
    models: dict[str, Model]
    rows: list[Result]


class Errors(NamedTuple):
    """Relative errors of one row."""

    name: str
    block: float
    embedding: float
    token: float
    energy: float


def load_runs() -> Runs:
    """Read the runs that are shipped."""
    document, _ = load_sound(_FILE, "papisim/cent/1")
    return parse(Runs, document)


class Machines:
    """The machines of CENT's results, each built once."""

    def __init__(self) -> None:
        self.runs = load_runs()
        device, link = load_part(self.runs.device).part, load_part(self.runs.link).part
        assert isinstance(device, Part)
        assert isinstance(link, LinkPart)
        self._device, self._link = device, link
        self._built: dict[tuple[str, int, Sharing], Deployment] = {}

    def errors(self, row: Result) -> Errors:
        """Return the errors of a row.

        Raises:
            InputError: a model that is not known.
        """
        sharing = Sharing(row.tensor_ranks, row.channels_per_block, row.pipeline_stages)
        key = row.model, row.n_devices, sharing
        if key not in self._built:
            self._built[key] = self._build(*key)
        one, tokens = self._built[key], row.kv_tokens
        return Errors(
            f"{row.model}, {sharing.stages} stages of {sharing.ranks}, {tokens} tokens",
            one.block(tokens).time_s / (row.pim_ms / 1e3) - 1,
            one.embedding.time_s / (row.embedding_ms / 1e3) - 1,
            one.token_s(tokens) / (row.token_ms / 1e3) - 1,
            one.token_j(tokens) / (row.token_energy_mj / 1e3) - 1,
        )

    def _build(self, name: str, n_devices: int, sharing: Sharing) -> Deployment:
        runs = self.runs
        if name not in runs.models:
            raise InputError(f"found '{name}', expected one of {', '.join(runs.models)}", field="model")
        bandwidth = runs.fabric_lanes // n_devices * runs.lane_bytes_per_s
        links = Links("cxl", self._link.model_copy(update={"bandwidth_bytes_per_s": bandwidth}), 1)
        model = runs.models[name]
        return Deployment(self._device, links, model.block, model.blocks, sharing, runs.sampling_s)


def read_results(folder: Path) -> Iterator[Result]:
    """Yield the rows of the tables of CENT's results in a folder, by the columns of :class:`Result`.

    Raises:
        InputError: a column that is missing, or a number that is none.
    """
    for path in sorted(folder.glob(TABLES)):
        with path.open(newline="", encoding="utf-8") as file:
            for line, row in enumerate(csv.DictReader(file), start=2):
                try:
                    yield Result.model_validate({name: row[name] for name in Result.model_fields}, strict=False)
                except KeyError as error:
                    raise InputError(f"no column {error}", file=str(path), line=1) from None
                except ValidationError as error:
                    raise InputError(str(error.errors()[0]["msg"]), file=str(path), line=line) from None


def compared(rows: Iterable[Result]) -> list[Errors]:
    """Return the errors of rows."""
    machines = Machines()
    return [machines.errors(row) for row in rows]


def summary(errors: Iterable[Errors]) -> list[GoldenErrors]:
    """Return mean and largest absolute error of a block's time, and of the time and energy of a token; empty without rows."""
    rows = list(errors)
    return [_errors_of(title, rows, name) for title, name in _TITLES.items()] if rows else []


def meets_limits(row: GoldenErrors) -> bool:
    """Tell whether the errors of one row of :func:`summary` are within the limits."""
    if _TITLES[row.mapping] == "block":
        return row.max_abs_error <= BLOCK_LIMIT and row.mean_abs_error <= BLOCK_MEAN_LIMIT
    return row.max_abs_error <= TOKEN_LIMIT


def _errors_of(title: str, rows: list[Errors], name: str) -> GoldenErrors:
    worst = max(rows, key=lambda row: abs(getattr(row, name)))
    return GoldenErrors(
        mapping=title,
        power_limited=False,
        points=len(rows),
        mean_abs_error=fmean(abs(getattr(row, name)) for row in rows),
        max_abs_error=abs(getattr(worst, name)),
        worst=worst.name,
    )
