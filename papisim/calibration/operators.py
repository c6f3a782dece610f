"""Find the threshold of each operator offline, as PAPI finds α: price both sides over a grid, and follow the faster one.

The grid of FC and experts are token-rows, that of attention TLP × RLP × context. A threshold is that of the least mean slow-down of
the step against the faster side; attention has one for each TLP and context, in requests. Thresholds of FC of dense models are PAPI's α
(:mod:`papisim.calibration.alpha`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import NamedTuple

import numpy as np

from papisim import catalog
from papisim.arrays import Bools, Floats
from papisim.calibration.alpha import best_alpha, calibrated
from papisim.calibration.cache import remembered
from papisim.catalog import Shelf
from papisim.config.base import KindOptions
from papisim.config.experiment import Experiment
from papisim.config.tuning import Tuning, with_tuning
from papisim.engine.drafting.model import Options as DraftModel
from papisim.engine.drafting.model import machine_of
from papisim.ops.kernel import FcRole, Linear
from papisim.ops.lower import decode_lengths, decode_shape
from papisim.ops.trace import KernelTrace, read_trace
from papisim.plan.build import build_formats
from papisim.plan.machine import Machine, build_machine
from papisim.plan.step import StepPlanner
from papisim.policies.placement.base import Operator, PlacementView
from papisim.policies.placement.papi_operators import Level, Threshold

#: token-rows that are priced one by one, and levels of each further doubling up to the last
_ROWS, _LEVELS, _MOST_ROWS = 64, 16, 8192
#: the grid of attention
TLPS, CONTEXTS = (1, 2, 3, 4, 6, 8, 12, 16), (128, 256, 512, 1024, 2048, 4096, 8192, 32768, 131072)
BATCHES = (1, 2, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)


_ATTENTION = frozenset({Operator.ATTENTION, Operator.DRAFT_ATTENTION})


class Point(NamedTuple):
    """A decoding step: requests, tokens in flight of each, and tokens in each cache."""

    rlp: int
    tlp: int
    cached: int


@dataclass(frozen=True)
class Assigned:
    """Each operator on a device of its own, whatever the batch; those that are not named stay at home.

    Attributes:
        devices: device by operator.
        seen: called with each view, if given.
    """

    devices: Mapping[Operator, str]
    seen: Callable[[PlacementView], None] | None = None

    def place(self, view: PlacementView) -> str:
        """Return the operator's device."""
        if self.seen is not None:
            self.seen(view)
        return self.devices.get(view.operator, view.candidates[0])


@dataclass(frozen=True)
class Subject:
    """A model on the part of a machine that runs it, as operators see both.

    Attributes:
        trace: the model, as it is stored.
        machine: the hardware.
        experiment: the experiment that both are of.
        drafts: whether the model is a draft model.
    """

    trace: KernelTrace
    machine: Machine
    experiment: Experiment
    drafts: bool = False

    def planner(self, policy: Assigned) -> StepPlanner:
        """Return the planner of the model's steps under a policy."""
        experiment = self.experiment
        return StepPlanner(
            self.trace, self.machine, policy, seed=experiment.seed, engine=experiment.engine, drafts=self.drafts
        )

    def candidates(self, operator: Operator) -> tuple[str, ...]:
        """Return the devices of an operator; none if the model has no such operator."""
        roles, has_experts = self.machine.roles, bool(self.trace.model.n_experts)
        match operator:
            case Operator.FC:
                return () if self.drafts else tuple(roles.fc)
            case Operator.EXPERTS:
                return tuple(roles.fc) if has_experts and not self.drafts else ()
            case Operator.ATTENTION:
                return () if self.drafts else roles.attends
            case Operator.DRAFT_FC:
                return tuple(roles.fc) if self.drafts else ()
            case Operator.DRAFT_ATTENTION:
                return roles.attends if self.drafts else ()


@dataclass(frozen=True)
class Crossover:
    """Time of steps with one operator on each of two sides.

    Attributes:
        operator: the operator.
        processing_unit: the device of the first side.
        pim: the device of the other.
        points: the steps.
        intensity: estimated arithmetic intensity of the operator in each step, shape (points,).
        processing_unit_s: seconds of each step with the operator on the processing unit, shape (points,).
        pim_s: seconds of each step with the operator on PIM, shape (points,).
    """

    operator: Operator
    processing_unit: str
    pim: str
    points: Sequence[Point]
    intensity: Floats
    processing_unit_s: Floats
    pim_s: Floats

    @property
    def is_of_attention(self) -> bool:
        """Whether the operator is attention, whose threshold depends on the batch."""
        return self.operator in _ATTENTION

    @property
    def gain(self) -> Floats:
        """Time of each step on PIM over that on the processing unit, less one: positive where PIM is slower, shape (points,)."""
        ratio: Floats = self.pim_s / self.processing_unit_s - 1
        return ratio

    def _slowdown(self, on_units: Bools) -> Floats:
        chosen = np.where(on_units, self.processing_unit_s, self.pim_s)
        ratio: Floats = chosen / np.minimum(self.processing_unit_s, self.pim_s) - 1
        return ratio

    @property
    def threshold(self) -> float | list[Level]:
        """The threshold of least mean slow-down, the smallest of equal ones."""
        if not self.is_of_attention:
            candidates = [0.0, *np.unique(self.intensity).tolist()]
            return float(min(candidates, key=lambda each: float(self._slowdown(self.intensity > each).mean())))
        cells = sorted(set(zip(self.intensity.tolist(), (point.cached for point in self.points), strict=True)))
        return [Level(intensity=i, tokens=tokens, requests=self._requests(i, tokens)) for i, tokens in cells]

    def _requests(self, intensity: float, tokens: int) -> int | None:
        """Return the requests from which on PIM is the better side in a cell of the table; None if it never is."""
        rlp, cached = (np.array(each) for each in zip(*((p.rlp, p.cached) for p in self.points), strict=True))
        here = (self.intensity == intensity) & (cached == tokens)
        candidates = [0, *np.unique(rlp[here])[1:].tolist(), int(rlp.max()) + 1]
        best = min(candidates, key=lambda each: float(self._slowdown(rlp < each)[here].mean()))
        return None if best > rlp.max() else int(best)


def crossover(subject: Subject, operator: Operator, sides: tuple[str, str], points: Sequence[Point]) -> Crossover:
    """Price steps with an operator on either side, all others at home.

    Args:
        subject: the model and the machine.
        operator: the operator.
        sides: the processing unit and PIM.
        points: the steps.
    """
    seen: dict[Operator, float] = {}

    def note(view: PlacementView) -> None:
        seen[view.operator] = view.intensity

    intensity = np.zeros(len(points))
    times = np.zeros((2, len(points)))
    for side, device in enumerate(sides):
        planner = subject.planner(Assigned({operator: device}, note))
        for at, point in enumerate(points):
            shape = decode_shape(point.rlp, point.rlp * point.tlp)
            if operator in _ATTENTION:
                cached = point.rlp * point.cached
                lengths = decode_lengths(point.rlp, point.tlp, cached, point.cached)
                times[side, at] = planner.work(shape, lengths, None).time_s
            else:
                times[side, at] = planner.fc_time_s(shape)
            intensity[at] = seen[operator]
    return Crossover(operator, *sides, points, intensity, *times)


def by_role(subject: Subject, operator: Operator, sides: tuple[str, str]) -> dict[FcRole, float]:
    """Return the threshold of each role of an operator's FC kernels, one kernel of each shape priced on both sides."""
    found: dict[FcRole, list[tuple[float, float, float]]] = {}
    at: dict[FcRole, Floats] = {}

    def note(view: PlacementView) -> None:
        if view.operator is operator and isinstance(view.kernel, Linear):
            both = [view.price(device, view.kernel).time_s for device in sides]
            at[view.kernel.role] = at.get(view.kernel.role, np.zeros(3)) + np.array([0.0, *both])
            at[view.kernel.role][0] = view.intensity

    planner, points = subject.planner(Assigned({}, note)), points_of(operator)
    for point in points:
        planner.layout(decode_shape(point.rlp, point.rlp * point.tlp))
        for role, row in at.items():
            found.setdefault(role, []).append(tuple(row.tolist()))
        at.clear()
    return {
        role: _threshold_of(Crossover(operator, *sides, points, *np.array(rows).T)) for role, rows in found.items()
    }


def _threshold_of(found: Crossover) -> float:
    threshold = found.threshold
    assert isinstance(threshold, float), "of FC"
    return threshold


def points_of(operator: Operator) -> list[Point]:
    """Return the grid of an operator's calibration."""
    if operator is Operator.DRAFT_ATTENTION:
        return [Point(rlp, 1, cached) for rlp, cached in product(BATCHES, CONTEXTS)]
    if operator is Operator.ATTENTION:
        return [Point(rlp, tlp, cached) for tlp, rlp, cached in product(TLPS, BATCHES, CONTEXTS)]
    rows, most = [*range(1, _ROWS + 1)], _ROWS
    while most < _MOST_ROWS:
        rows += range(most + most // _LEVELS, 2 * most + 1, most // _LEVELS)
        most *= 2
    return [Point(each, 1, 0) for each in rows]


def subjects(experiment: Experiment) -> Iterator[Subject]:
    """Yield the target model, and the draft model if it has several devices."""
    machine = build_machine(experiment.system)
    trace = read_trace(experiment.trace.path).stored_as(build_formats(experiment.quantisation))
    yield Subject(trace, machine, experiment)
    drafting = experiment.drafting
    if isinstance(drafting, DraftModel) and drafting.elsewhere:
        trace = read_trace(catalog.find(Shelf.TRACE, drafting.trace).path)
        yield Subject(trace, machine_of(drafting, machine), experiment, drafts=True)


def crossovers(experiment: Experiment) -> Iterator[Crossover]:
    """Yield the crossover of each operator that has both a processing unit and a device of the other side."""
    for subject in subjects(experiment):
        for operator in Operator:
            sides = _sides(subject, operator)
            if sides is not None:
                yield crossover(subject, operator, sides, points_of(operator))


def _sides(subject: Subject, operator: Operator) -> tuple[str, str] | None:
    options, candidates = subject.experiment.system.placement, subject.candidates(operator)
    others = [each for each in (options.pim, *candidates) if each in candidates and each != options.processing_unit]
    return (options.processing_unit, others[0]) if options.processing_unit in candidates and others else None


def thresholds(experiment: Experiment) -> dict[Operator, Threshold]:
    """Return the threshold of each operator that has several devices, from the cache if it is there."""
    found: dict[Operator, Threshold] = {}
    for subject in subjects(experiment):
        for operator in Operator:
            sides = _sides(subject, operator)
            if sides is not None:
                found[operator] = _threshold(subject, operator, sides)
    return found


def _threshold(subject: Subject, operator: Operator, sides: tuple[str, str]) -> Threshold:
    experiment = subject.experiment
    is_by_role = experiment.system.placement.fc_by_role and operator in (Operator.FC, Operator.EXPERTS)
    if operator is Operator.FC and not is_by_role and not subject.trace.model.n_experts:
        as_captured = read_trace(experiment.trace.path)
        return float(
            best_alpha(calibrated(experiment.system, as_captured, experiment.quantisation, experiment.engine))
        )

    def columns() -> list[list[float]]:
        if is_by_role:
            roles = by_role(subject, operator, sides)
            return [[roles.get(role, -1.0)] for role in FcRole]
        found = crossover(subject, operator, sides, points_of(operator)).threshold
        if isinstance(found, float):
            return [[found]]
        return [[row.intensity, row.tokens, -1 if row.requests is None else row.requests] for row in found]

    what = [
        "threshold",
        operator,
        sides,
        experiment.system.resolved(),
        subject.trace.structure_sha256,
        experiment.quantisation.model_dump(),
        experiment.engine.model_dump(mode="json"),
        experiment.seed,
    ]
    rows = remembered(what, columns)
    if is_by_role:
        return {role: row[0] for role, row in zip(FcRole, rows, strict=True) if row[0] >= 0}
    if operator not in _ATTENTION:
        return rows[0][0]
    return [Level(intensity=i, tokens=tokens, requests=None if n < 0 else int(n)) for i, tokens, n in rows]


def tune(experiment: Experiment) -> Experiment:
    """Return an experiment whose placement has the thresholds of its machine and models, or those that are given."""
    system, given = experiment.system, experiment.system.placement
    if given.thresholds != "auto":
        return experiment
    found = thresholds(experiment)
    options: KindOptions = given.model_copy(update={"thresholds": found})
    rows = [row for operator, threshold in found.items() for row in _told(operator, threshold)]
    tuning = Tuning(
        "placement.thresholds", rows, "calibrated on the fly", rows, 0.0, "a step, averaged over the grid,"
    )
    return with_tuning(replace(experiment, system=replace(system, placement=options)), tuning)


def _told(operator: Operator, threshold: Threshold) -> Iterator[dict[str, float | str]]:
    """Yield a threshold as rows of plain values; requests of −1 keep attention off PIM."""
    if isinstance(threshold, float):
        yield {"operator": operator.value, "intensity": threshold}
        return
    if isinstance(threshold, dict):
        for role, each in threshold.items():
            yield {"operator": f"{operator.value}.{role.value}", "intensity": each}
        return
    for row in threshold:
        requests = -1 if row.requests is None else row.requests
        yield {"operator": operator.value, "intensity": row.intensity, "tokens": row.tokens, "requests": requests}
