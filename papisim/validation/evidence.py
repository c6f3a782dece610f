"""Errors of kernel models by class, in the form that intervals are made of: measured over modelled, by library and regime.

Kernels inside a fit are judged by tables of the same GPU; where a library's correction interpolates between measured products, each fifth of
the products by a correction of the other four. Kernels outside a fit are judged by the tables of another GPU, priced with this one's
libraries and that one's peaks, and by rows beyond the range of the fit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from papisim.arrays import Floats
from papisim.calibration.gpu.krige import corrected, krige
from papisim.calibration.gpu.tables import Measured
from papisim.config.system import load_part
from papisim.devices.gpu.part import AttentionLibrary, LinearLibrary, Part
from papisim.devices.link import Links
from papisim.pricing.table import (
    at_full_clock,
    attention_times,
    covered_attention,
    covered_linear,
    fused_times,
    linear_times_of,
    prefill_times_of,
)
from papisim.uncertainty import evidence
from papisim.uncertainty.evidence import ANY, INSIDE, OTHER_BOARD, OUT_OF_RANGE, OWN_LIBRARY, regime_of
from papisim.validation.effects import effects
from papisim.validation.engine import Compared
from papisim.validation.serving import Predicted, ServingGroup, log_errors_of

_FOLDS = 5
#: tables that the all-reduces which a link's part gives beside its libraries are fitted to
_OWN = {"nvlink3": "vllm_graph", "nvlink4": "nccl"}
#: what identifies kernels that share their error, by family
_GROUPS = {
    "linear": ["k", "n", "octave"],
    "attention": ["requests", "n_heads", "n_kv_heads", "head_dim"],
    "prefill": ["requests", "n_heads", "n_kv_heads", "head_dim"],
    "small": ["kernel_class", "moved_bytes"],
    "all_reduce": ["ranks", "message_bytes"],
}


class Class(NamedTuple):
    """Kernels that an error belongs to: the part's description, family, library, regime, and the place inside or outside the fit."""

    part: str
    family: str
    library: str
    regime: str
    where: str


@dataclass(frozen=True)
class Judged:
    """Kernels of one table and class, each with its measured and modelled time.

    Attributes:
        of: their class.
        table: name of the table.
        rows: columns ``group``, ``measured_s`` and ``modelled_s``.
    """

    of: Class
    table: str
    rows: pd.DataFrame

    @property
    def log_errors(self) -> Floats:
        """Logarithms of measured over modelled time, one per kernel."""
        return _log_ratio(self.rows)

    @property
    def group_log_errors(self) -> Floats:
        """Logarithms of measured over modelled time, one per group of kernels that share their error, from the sums of times."""
        sums = self.rows.groupby("group")[["measured_s", "modelled_s"]].sum()
        return _log_ratio(sums)


def _log_ratio(rows: pd.DataFrame) -> Floats:
    return np.asarray(np.log(rows.measured_s.to_numpy(np.float64) / rows.modelled_s.to_numpy(np.float64)))


class Modelled(NamedTuple):
    """Rows of a table with the seconds that a library's model gives them, and their place inside or outside its fit."""

    library: str
    where: str
    rows: pd.DataFrame
    seconds: Floats


def judge(parts: Mapping[str, Part], tables: Sequence[Measured], *, elsewhere: bool = True) -> Iterator[Judged]:
    """Yield the errors of GPU parts over measured tables.

    Args:
        parts: the GPUs by name.
        tables: their tables.
        elsewhere: whether each part also prices the tables of the others.
    """
    for table in tables:
        judges = _JUDGES.get(table.kind)
        if judges is None:
            continue
        own = parts[table.gpu]
        for name, part in parts.items():
            if name != table.gpu and not elsewhere:
                continue
            there = INSIDE if name == table.gpu else OTHER_BOARD
            board = part if name == table.gpu else _on_board(part, own)
            for modelled in judges(board, table, there):
                yield from _by_regime(board, table, modelled)


def _on_board(part: Part, other: Part) -> Part:
    """Return a part with another's peaks: what a price outside the fit would be, had only this part been measured."""
    peaks = ("peak_flop_per_s", "peak_8bit_flop_per_s", "memory_bandwidth_bytes_per_s", "multiprocessors")
    return part.model_copy(update={name: getattr(other, name) for name in peaks})


def _linear(part: Part, table: Measured, where: str) -> Iterator[Modelled]:
    for name, library in part.linear.libraries.items():
        if table.source not in library.measured_as:
            continue
        rows = table.rows[at_full_clock(table.rows)].reset_index(drop=True)
        covered = covered_linear(library, rows)
        if where == OTHER_BOARD:
            physics = part.model_copy(update={"mode": "model"})
            yield Modelled(name, where, covered, linear_times_of(physics, library, covered))
            continue
        yield Modelled(name, INSIDE, covered, _left_out(part, library, covered))
        beyond = pd.concat([rows, covered, covered]).drop_duplicates(["m", "k", "n", "time_s"], keep=False)
        if len(beyond):
            yield Modelled(name, OUT_OF_RANGE, beyond, linear_times_of(part, library, beyond))


def _left_out(part: Part, library: LinearLibrary, rows: pd.DataFrame) -> Floats:
    """Return the modelled seconds of products, each fifth of the matrices by a correction of the others where there is one."""
    if library.correction is None:
        return linear_times_of(part, library, rows)
    physics = part.model_copy(update={"mode": "model"})
    modelled = linear_times_of(physics, library, rows)
    fold = rows.groupby(["k", "n"]).ngroup().to_numpy() % _FOLDS
    times = np.empty(len(rows))
    for each in range(_FOLDS):
        seen, judged = rows[fold != each], rows[fold == each]
        points = krige(library.correction, seen, modelled[fold != each])
        times[fold == each] = corrected(physics, library, points, judged, modelled[fold == each])
    return times


def _attention(part: Part, table: Measured, where: str) -> Iterator[Modelled]:
    for name, library in part.attention.libraries.items():
        if table.source not in library.measured_as:
            continue
        if table.kind == "prefill":
            yield Modelled(name, where, table.rows, prefill_times_of(part, library, table.rows))
            continue
        covered = covered_attention(part, library, table.rows)
        yield Modelled(name, where, covered, attention_times(part, library, covered))
        if where == INSIDE:
            beyond = _beyond(library, table.rows)
            if len(beyond):
                yield Modelled(name, OUT_OF_RANGE, beyond, attention_times(part, library, beyond))


def _beyond(library: AttentionLibrary, rows: pd.DataFrame) -> pd.DataFrame:
    (least_kv, most_kv), (fewest, most) = library.covers_kv, library.covers_requests
    return rows[~(rows.kv.between(least_kv, most_kv) & rows.requests.between(fewest, most))].reset_index(drop=True)


def _small(part: Part, table: Measured, where: str) -> Iterator[Modelled]:
    elementwise = part.elementwise
    for name, kernels in elementwise.libraries.items():
        if table.source in kernels.measured_as:
            library = elementwise.model_copy(update={"use": name})
            yield Modelled(name, where, table.rows, fused_times(part, library, table.rows))
    general = elementwise.model_copy(update={"use": None})
    yield Modelled("general", where, table.rows, fused_times(part, general, table.rows))


def _all_reduce(part: Part, table: Measured, where: str) -> Iterator[Modelled]:
    """Yield all-reduces over the links of a GPU by the library that a table was measured with."""
    if part.link is None or where != INSIDE:
        return
    spec = load_part(part.link).part
    libraries: dict[str, str | None] = {
        _OWN.get(part.link, ""): None,
        **{name: name for name in spec.collective.libraries},
    }
    if table.source in libraries:
        collective = spec.collective.model_copy(update={"use": libraries[table.source]})
        links = Links(part.link, spec.model_copy(update={"collective": collective}), 1)
        pairs = zip(table.rows.message_bytes, table.rows.ranks, strict=True)
        times = np.asarray([links.all_reduce(float(size), int(ranks)).time_s for size, ranks in pairs])
        yield Modelled(libraries[table.source] or OWN_LIBRARY, where, table.rows, times)


_JUDGES: dict[str, Callable[[Part, Measured, str], Iterator[Modelled]]] = {
    "linear": _linear,
    "attention": _attention,
    "prefill": _attention,
    "fused": _small,
    "all_reduce": _all_reduce,
}


def _token_rows(family: str, rows: pd.DataFrame) -> Iterable[float]:
    column = {"linear": "m", "small": "rows"}.get(family)
    return np.zeros(len(rows)) if column is None else rows[column]


def _by_regime(board: Part, table: Measured, modelled: Modelled) -> Iterator[Judged]:
    library, where, rows, seconds = modelled
    family = "small" if table.kind == "fused" else table.kind
    if family == "linear":
        rows = rows.assign(octave=np.log2(rows.m).astype(int))
    groups = rows[_GROUPS[family]].astype(str).agg(" ".join, axis=1) + f" {table.gpu}"
    judged = pd.DataFrame({"group": groups, "measured_s": rows.time_s, "modelled_s": seconds})
    balanced_rows = board.peak_flop_per_s / board.memory_bandwidth_bytes_per_s
    regimes = [regime_of(family, m, balanced_rows) for m in _token_rows(family, rows)]
    path = Path(table.file)
    for regime, each in judged.groupby(np.asarray(regimes)):
        yield Judged(
            Class(board.description, family, library, str(regime), where), f"{path.parent.name}/{path.name}", each
        )


def measured_rows(judged: Iterable[Judged]) -> list[evidence.Measured]:
    """Return the rows of ``measured.yaml``: quantiles by class; kernels on another board count for every part with the library."""
    by_class: dict[Class, list[Judged]] = {}
    for each in judged:
        of = each.of._replace(part=ANY) if each.of.where == OTHER_BOARD else each.of
        by_class.setdefault(of, []).append(each)
    return [_measured(of, by_class[of]) for of in sorted(by_class)]


def _measured(of: Class, judged: Sequence[Judged]) -> evidence.Measured:
    kernels = np.concatenate([each.log_errors for each in judged])
    groups = np.concatenate([each.group_log_errors for each in judged])
    return evidence.Measured.model_validate({
        **of._asdict(), "kernels": len(kernels), "groups": len(groups), "kernel": _quantiles(kernels),
        "group": _quantiles(groups), "tables": sorted({each.table for each in judged}),
    })  # fmt: skip


def _quantiles(log_errors: Floats) -> list[float]:
    return [round(float(np.exp(each)), 4) for each in np.quantile(log_errors, (0.05, 0.5, 0.95))]


def served_rows(predictions: Sequence[Predicted], table: str) -> list[evidence.Served]:
    """Return the rows of ``measured.yaml`` on services, from simulations of measured ones."""
    return [_served(figure, groups, table) for figure, groups in log_errors_of(predictions).items()]


def step_row(profiled: Iterable[Compared], table: str) -> evidence.Served:
    """Return the row of ``measured.yaml`` on the busy time of an engine's steps, by GPU and engine.

    Within a group errors are those of the kernels, which have factors of their own, so that only the mean is left to the step.
    """
    groups: dict[tuple[str, str], list[float]] = {}
    for row in profiled:
        if row.part == "busy":
            groups.setdefault((row.gpu, row.engine), []).append(np.log(row.measured_s / row.predicted_s))
    found = _served(evidence.STEP, {group: np.array(errors) for group, errors in groups.items()}, table)
    return found.model_copy(update={"within": [1.0, 1.0, 1.0]})


def _served(
    figure: str, groups: Mapping[ServingGroup, Floats] | Mapping[tuple[str, str], Floats], table: str
) -> evidence.Served:
    found = effects(list(groups.values()))
    centre = np.array([-found.between, 0.0, found.between]) + found.mean
    spread = np.array([-found.within, 0.0, found.within])
    between, within = ([round(float(np.exp(each)), 4) for each in logs] for logs in (centre, spread))
    return evidence.Served(
        figure=figure,
        rows=sum(map(len, groups.values())),
        groups=len(groups),
        between=between,
        within=within,
        tables=[table],
    )
