"""Find PAPI's threshold α offline: run FC on both sides over all parallelism levels (PAPI, Section 5).

α belongs to a machine and a model. A machine's file carries α by model, each with a stamp of the machine and the model that it was
calibrated for; :func:`tune` takes one whose stamp fits, and calibrates otherwise.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from papisim.arrays import Floats, Ints
from papisim.calibration.cache import remembered, sha256_of
from papisim.catalog import data_folder
from papisim.config.base import KindOptions
from papisim.config.engine import CAPTURED, EngineSpec
from papisim.config.experiment import Experiment
from papisim.config.inheritance import FIELD
from papisim.config.quantisation import QuantisationSpec
from papisim.config.system import System
from papisim.config.tuning import Origin, Tuning, with_tuning
from papisim.config.yaml import Inline, dump
from papisim.devices.base import DEVICE
from papisim.errors import InputError
from papisim.ops.lower import decode_shape
from papisim.ops.trace import KernelTrace, read_trace
from papisim.plan.build import build_formats
from papisim.plan.machine import build_machine
from papisim.plan.step import StepPlanner
from papisim.policies.placement.pinned import Options as PinnedOptions
from papisim.policies.placement.pinned import Placement as Pinned

#: token-rows that are priced one by one; beyond these, up to the last, as many again for each doubling
ROWS, _MOST_ROWS = 256, 8192
#: fields of quantisation that FC kernels do not depend on
_NOT_FC = {"kv_bits", "kv_group", "kv_scale_bits"}


@dataclass(frozen=True)
class Profile:
    """Time of one model's FC kernels at several levels of RLP × TLP, on both sides of the threshold.

    Attributes:
        trace_name: the model.
        processing_unit_s: seconds per step on the processing units, shape (levels,).
        pim_s: seconds per step on FC-PIM, shape (levels,).
        rows: token-rows of each level, ascending, shape (levels,); 1, 2, … if None.
    """

    trace_name: str
    processing_unit_s: Floats
    pim_s: Floats
    rows: Ints | None = None

    @property
    def levels(self) -> Ints:
        """Token-rows of each level, shape (levels,)."""
        return np.arange(1, len(self.pim_s) + 1) if self.rows is None else self.rows

    @property
    def thresholds(self) -> Ints:
        """The α that differ: 0 and each level, shape (levels + 1,)."""
        return np.concatenate([[0], self.levels])

    def slowdown(self) -> Floats:
        """Return the mean relative slow-down against the faster side for each of the thresholds.

        A level counts as often as there are token-rows from the level before it.
        """
        best = np.minimum(self.processing_unit_s, self.pim_s)
        to_units = self.levels[None, :] > self.thresholds[:, None]
        chosen = np.where(to_units, self.processing_unit_s, self.pim_s)
        weights = np.diff(self.thresholds)
        mean: Floats = ((chosen / best) * weights).sum(axis=1) / weights.sum() - 1
        return mean

    def loss(self, alpha: float, than: float) -> float:
        """Return by which ratio FC takes longer with one α than with another, on average over all token-rows."""
        slowdown, thresholds = self.slowdown(), self.thresholds
        first, second = (slowdown[int(np.searchsorted(thresholds, each, side="right")) - 1] for each in (alpha, than))
        return float((1 + first) / (1 + second) - 1)


@dataclass(frozen=True)
class ModelAlpha:
    """One model's own threshold, and the mean slow-down against the faster side with it and with the default."""

    alpha: int
    slowdown_ratio: float
    default_slowdown_ratio: float


@dataclass(frozen=True)
class AlphaFit:
    """The threshold that follows the faster side best over several models, and each model's own.

    FC-PIM is the faster side up to ``max_rows``, the most token-rows tried, where a threshold is as high as that: the best one may be higher.
    """

    max_rows: int
    alpha: int
    models: dict[str, ModelAlpha]


def profile(
    system: System, trace: KernelTrace, max_rows: int, *, seed: int = 0, engine: EngineSpec = CAPTURED
) -> Profile:
    """Price a model's FC kernels at every level up to ``max_rows`` token-rows on both sides.

    In a pipeline the policy decides for a microbatch, so the sides are those of one stage. The system's placement must be ``papi``, which
    names the sides.
    """
    rows = np.arange(1, max_rows + 1)
    return Profile(trace.name, *_times(system, trace, rows, seed, engine))


def _times(system: System, trace: KernelTrace, rows: Ints, seed: int, engine: EngineSpec) -> tuple[Floats, Floats]:
    """Return seconds of FC on the processing units and on FC-PIM, shape (levels,) each."""
    machine = build_machine(system)

    def times(device: str) -> Floats:
        pinned = Pinned(PinnedOptions(kind="pinned", device=device))
        planner = StepPlanner(trace, machine, pinned, seed=seed, engine=engine)
        return np.array([planner.fc_time_s(decode_shape(int(level), int(level))) for level in rows])

    return times(system.placement.processing_unit), times(system.placement.pim)


def wide_profile(system: System, trace: KernelTrace, engine: EngineSpec = CAPTURED) -> Profile:
    """Return the profile of a model up to :data:`ROWS` token-rows, and further while FC-PIM stays the faster side.

    A mixture of experts may cross far beyond the rows of a dense model, as each expert sees a fraction of them. Each doubling has
    as many levels as the one before.
    """
    found = profile(system, trace, ROWS, engine=engine)
    while best_alpha(found) == found.levels[-1] < _MOST_ROWS:
        last = int(found.levels[-1])
        rows = np.arange(last, 2 * last, 2 * last // ROWS) + 2 * last // ROWS
        units, pim = _times(system, trace, rows, 0, engine)
        found = Profile(
            trace.name,
            np.concatenate([found.processing_unit_s, units]),
            np.concatenate([found.pim_s, pim]),
            np.concatenate([found.levels, rows]),
        )
    return found


def best_alpha(found: Profile) -> int:
    """Return the threshold of least mean slow-down, the smallest of equal ones."""
    return int(found.thresholds[found.slowdown().argmin()])


def fit(profiles: Sequence[Profile], together: Sequence[str]) -> AlphaFit:
    """Return the α of least mean slow-down, for the models named in ``together`` and for each by itself.

    The smallest of several equal ones is taken.

    Args:
        profiles: times of every model, at the same levels.
        together: names of the models that the common α is fitted to.
    """
    slowdowns = {each.trace_name: each.slowdown() for each in profiles}
    common = [slowdown for name, slowdown in slowdowns.items() if name in together] or list(slowdowns.values())
    thresholds, best = profiles[0].thresholds, int(np.mean(common, axis=0).argmin())
    models = {
        name: ModelAlpha(int(thresholds[slowdown.argmin()]), float(slowdown.min()), float(slowdown[best]))
        for name, slowdown in slowdowns.items()
    }
    return AlphaFit(int(thresholds[-1]), int(thresholds[best]), models)


def stamp(subject: str, alpha: float) -> str:
    """Return the hash of an α and of the machine and the model that it was calibrated for (:func:`subject_of`)."""
    return hashlib.sha256(f"[{subject}, {float(alpha)!r}]".encode()).hexdigest()[:16]


def subject_of(
    system: System, trace: KernelTrace, quantisation: QuantisationSpec, engine: EngineSpec = CAPTURED
) -> str:
    """Return everything that α depends on, as JSON.

    These are the parts of both sides with their files and code, their counts and the stages that they are distributed over, the
    tensor-parallel ranks, the model's structure, the widths of weights and activations, and the products and rows that an engine
    merges and pads. Links are not among them: both sides
    pass the same sums over them.

    Args:
        system: a machine whose placement is ``papi``.
        trace: the model as it was captured.
        quantisation: the formats it is stored in.
        engine: the engine.
    """
    roles, sides = system.spec.roles, (system.placement.processing_unit, system.placement.pim)
    subject = {
        "sides": [part_subject(system, name) for name in sides],
        "ranks": roles.tensor_parallel.ranks,
        "stages": 1 if roles.pipeline is None else roles.pipeline.stages,
        "model": trace.structure_sha256,
        "quantisation": quantisation.model_dump(exclude=_NOT_FC, exclude_defaults=True),
    }
    launched = engine.model_dump(mode="json", include={"fusion", "graphs"}, exclude_defaults=True)
    return json.dumps(subject | ({"engine": launched} if launched else {}), sort_keys=True)


def part_subject(system: System, name: str) -> dict[str, object]:
    """Return the part of a system's devices with its files and code, and their count: all that their prices depend on."""
    part = system.parts[name]
    code = DEVICE.code(part.kind)
    return {
        "count": system.spec.devices[name].count,
        "part": _with_contents(part.decisive()),
        **({} if code is None else {"code": asdict(code)["sha256"]}),
    }


def _with_contents(value: object) -> object:
    """Return fields with the hash of its content in the place of each file's path."""
    if isinstance(value, list):
        return [_with_contents(inner) for inner in value]
    if not isinstance(value, Mapping):
        return value
    return {key: _content(inner) if key == "file" else _with_contents(inner) for key, inner in value.items()}


def _content(file: object) -> object:
    path = Path(str(file))
    path = path if path.is_file() else data_folder() / path
    return sha256_of(path.read_text(encoding="utf-8")) if path.is_file() else file


def calibrated(
    system: System,
    trace: KernelTrace,
    quantisation: QuantisationSpec,
    engine: EngineSpec = CAPTURED,
    subject: str | None = None,
) -> Profile:
    """Return the profile of a machine and a model that α is found from, from the cache if it is there.

    Args:
        system: a machine whose placement is ``papi``.
        trace: the model as it was captured.
        quantisation: the formats it is stored in.
        engine: the engine.
        subject: :func:`subject_of` these, if it is known.
    """
    stored = trace.stored_as(build_formats(quantisation))

    def columns() -> list[list[float]]:
        found = wide_profile(system, stored, engine)
        return [found.levels.tolist(), found.processing_unit_s.tolist(), found.pim_s.tolist()]

    rows, units, pim = remembered(["alpha", subject or subject_of(system, trace, quantisation, engine)], columns)
    return Profile(trace.name, np.array(units), np.array(pim), np.array(rows, dtype=np.int64))


def tune(experiment: Experiment) -> Experiment:
    """Return an experiment whose placement has the α of its machine and model, or the one that is given."""
    system, given = experiment.system, experiment.system.placement
    trace, quantisation, engine = read_trace(experiment.trace.path), experiment.quantisation, experiment.engine
    if given.alpha == "auto":
        subject = subject_of(system, trace, quantisation, engine)
        own = next(
            (each.alpha for each in given.calibrated.values() if each.stamp == stamp(subject, each.alpha)), None
        )
        origin: Origin = "calibrated on the fly" if own is None else "calibrated for this machine"
        alpha = float(best_alpha(calibrated(system, trace, quantisation, engine, subject))) if own is None else own
        tuning = Tuning("placement.alpha", alpha, origin, alpha, 0.0, _WORK)
    else:
        found = calibrated(system, trace, quantisation, engine)
        alpha, best = float(given.alpha), float(best_alpha(found))
        tuning = Tuning("placement.alpha", alpha, "given", best, found.loss(alpha, best), _WORK)
    options: KindOptions = given.model_copy(update={"alpha": alpha, "calibrated": {}})
    return with_tuning(replace(experiment, system=replace(system, placement=options)), tuning)


#: the work that a wrong α makes longer
_WORK = "FC, averaged over RLP·TLP,"


def write_system(
    document: Mapping[str, object],
    system: System,
    traces: Sequence[KernelTrace],
    command: str,
    engine: EngineSpec = CAPTURED,
) -> str:
    """Return the file of a machine with the α of each model and its stamp, and ``alpha: auto``; models are stored as captured.

    Args:
        document: the file's fields.
        system: the machine that they describe.
        traces: the models.
        command: how the α were found, for the file's ``sources``.
        engine: the engine that the α are for.

    Raises:
        InputError: the file is another name of a system, or its placement is not ``papi``.
    """
    inherited: object = {} if FIELD in document else None  # a file that extends a machine has its placement
    placement, sources = document.get("placement", inherited), document.get("sources")
    if not isinstance(placement, dict) or not isinstance(sources, dict):
        raise InputError("describes no machine of its own, expected 'placement' and 'sources'")
    as_captured = QuantisationSpec()
    found: dict[str, dict[str, object]] = {}
    for trace in traces:
        alpha = best_alpha(calibrated(system, trace, as_captured, engine))
        found[trace.name] = {"alpha": alpha, "stamp": stamp(subject_of(system, trace, as_captured, engine), alpha)}
    sources = {path: Inline(origin) for path, origin in sources.items() if path != "placement.alpha"}
    return dump({
        **document,
        "placement": {**placement, "alpha": "auto", "calibrated": found},
        "sources": {**sources, "placement.calibrated": Inline(calibrated=command)},
    })  # fmt: skip
