"""Find the threshold of each operator offline, as PAPI finds α: price both sides over a grid, and follow the faster one.

The grid of FC and experts are token-rows, that of attention TLP × RLP × context. A threshold is that of the least mean slow-down of
the step against the faster side; attention has, for each TLP and context, the requests at which the faster side changes. PIM takes
equally long for every batch that fills as many rounds of its channels, so its times rise in steps: the grid has both sides of each,
and further points where sides change between its own.
Thresholds are put together, stored and read in :mod:`papisim.calibration.thresholds`.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise, product
from typing import NamedTuple

import numpy as np

from papisim import catalog
from papisim.arrays import Bools, Floats, Ints
from papisim.catalog import Shelf
from papisim.config.experiment import Experiment
from papisim.engine.drafting.model import Options as DraftModel
from papisim.engine.drafting.model import machine_of
from papisim.ops.kernel import FcRole, Linear
from papisim.ops.lower import decode_lengths, decode_shape
from papisim.ops.trace import KernelTrace, read_trace
from papisim.ops.trace_kernels import AttentionShape
from papisim.plan.build import build_formats
from papisim.plan.machine import Machine, build_machine
from papisim.plan.step import StepPlanner
from papisim.policies.placement.base import Operator, PlacementView
from papisim.policies.placement.papi_operators import Level

#: token-rows that are priced one by one, and levels of each further doubling up to the last
_ROWS, _LEVELS, _MOST_ROWS = 64, 16, 8192
#: the grid of attention
TLPS, CONTEXTS = (1, 2, 3, 4, 6, 8, 12, 16), (128, 256, 512, 1024, 2048, 4096, 8192, 32768, 131072)
BATCHES = (1, 2, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
#: loss by the row of a table at the next row that asks for one between, and the ratio of contexts that ask for none
_LOSS, _NEAREST_CONTEXTS = 0.01, 1.1

#: the operators whose threshold is a table
ATTENTION = frozenset({Operator.ATTENTION, Operator.DRAFT_ATTENTION})


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
        experiment: the experiment that both are of; its seed has no part, so that thresholds are those of the machine and the model.
        drafts: whether the model is a draft model.
    """

    trace: KernelTrace
    machine: Machine
    experiment: Experiment
    drafts: bool = False

    def planner(self, policy: Assigned) -> StepPlanner:
        """Return the planner of the model's steps under a policy."""
        experiment = self.experiment
        return StepPlanner(self.trace, self.machine, policy, seed=0, engine=experiment.engine, drafts=self.drafts)

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
    """Time of an operator in decoding steps on each of two sides: FC with all FC kernels, attention with its messages.

    Attributes:
        operator: the operator.
        processing_unit: the device of the first side.
        pim: the device of the other.
        points: the steps.
        intensity: estimated arithmetic intensity of the operator in each step, shape (points,).
        processing_unit_s: seconds of each step's operator on the processing unit, shape (points,).
        pim_s: seconds of each step's operator on PIM, shape (points,).
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
        return self.operator in ATTENTION

    @property
    def gain(self) -> Floats:
        """Time of each step's operator on PIM over that on the processing unit, less one: positive where PIM is slower, shape (points,)."""
        ratio: Floats = self.pim_s / self.processing_unit_s - 1
        return ratio

    def _slowdown(self, on_units: Bools) -> Floats:
        chosen = np.where(on_units, self.processing_unit_s, self.pim_s)
        ratio: Floats = chosen / np.minimum(self.processing_unit_s, self.pim_s) - 1
        return ratio

    @property
    def threshold(self) -> float | list[Level]:
        """The threshold of least mean slow-down, the smallest of equal ones; of attention, where the faster side changes."""
        if not self.is_of_attention:
            candidates = [0.0, *np.unique(self.intensity).tolist()]
            return float(min(candidates, key=lambda each: float(self._slowdown(self.intensity > each).mean())))
        return [
            Level(intensity=cell.intensity, tokens=cell.cached, requests=cell.changes.tolist() or None)
            for _, cell in sorted(self._cells.items())
        ]

    @cached_property
    def _cells(self) -> dict[tuple[int, int], _Cell]:
        """The points by TLP and context, ascending by requests."""
        at = defaultdict[tuple[int, int], list[int]](list)
        for index, point in sorted(enumerate(self.points), key=lambda each: each[1].rlp):
            at[point.tlp, point.cached].append(index)
        rlp = np.array([point.rlp for point in self.points])
        return {
            key: _Cell(*key, float(self.intensity[own[0]]), rlp[own], self.processing_unit_s[own], self.pim_s[own])
            for key, own in at.items()
        }

    def between(self, batches: Sequence[int]) -> list[Point]:
        """Return further points that the thresholds of attention need; none where they are exact.

        They are those halfway between neighbouring batches whose faster sides differ, until these are one request apart; and all batches
        halfway between neighbouring contexts or TLP, where those at the second would lose too much by the row of the first.

        Args:
            batches: requests of a row of the table.
        """
        further = {point for cell in self._cells.values() for point in cell.between()}
        rows = set[tuple[int, int]]()
        for first, second in self._neighbours():
            further |= self._cells[second].at_changes_of(self._cells[first])
            if self._cells[second].loss(self._cells[first].changes) > _LOSS:
                rows |= self._halfway(first, second)
        further |= {Point(rlp, *row) for row in rows for rlp in batches}
        return sorted(further - set(self.points))

    def _neighbours(self) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
        """Yield the pairs of rows of the table, as TLP and context, that differ in one of both and have none between them."""
        by_tlp, by_cached = sorted(self._cells), sorted(self._cells, key=lambda key: key[::-1])
        yield from ((first, second) for first, second in pairwise(by_tlp) if first[0] == second[0])
        yield from ((first, second) for first, second in pairwise(by_cached) if first[1] == second[1])

    def _halfway(self, first: tuple[int, int], second: tuple[int, int]) -> set[tuple[int, int]]:
        """Return the rows halfway between neighbours: a context, or a TLP at all contexts of the first; none if both are close."""
        (tlp, context), (other, longer) = first, second
        if tlp == other:
            return {(tlp, math.isqrt(context * longer))} if longer > _NEAREST_CONTEXTS * context else set()
        return {((tlp + other) // 2, each) for at, each in self._cells if at == tlp} if other - tlp > 1 else set()

    def with_points(self, other: Crossover) -> Crossover:
        """Return the crossover with the points of another one of the same operator and sides."""
        return replace(
            self,
            points=[*self.points, *other.points],
            intensity=np.concatenate((self.intensity, other.intensity)),
            processing_unit_s=np.concatenate((self.processing_unit_s, other.processing_unit_s)),
            pim_s=np.concatenate((self.pim_s, other.pim_s)),
        )


class _Cell(NamedTuple):
    """Batches of one TLP and context, ascending: requests, and seconds on either side, shape (batches,) each."""

    tlp: int
    cached: int
    intensity: float
    rlp: Ints
    processing_unit_s: Floats
    pim_s: Floats

    @property
    def is_on_pim(self) -> Bools:
        """Whether PIM is the faster side, shape (batches,)."""
        faster: Bools = self.pim_s <= self.processing_unit_s
        return faster

    @property
    def _changed(self) -> Ints:
        """Indices of the batches whose faster side is not that of the batch before; processing units before the first."""
        return np.flatnonzero(np.diff(self.is_on_pim, prepend=False))

    @property
    def changes(self) -> Ints:
        """Requests at which the faster side changes, PIM from the first on."""
        return self.rlp[self._changed]

    def between(self) -> Iterator[Point]:
        """Yield the points halfway between batches whose faster sides differ and that are more than a request apart."""
        for at in self._changed.tolist():
            if at and self.rlp[at] - self.rlp[at - 1] > 1:
                yield Point(int(self.rlp[at] + self.rlp[at - 1]) // 2, self.tlp, self.cached)

    def at_changes_of(self, other: _Cell) -> set[Point]:
        """Return the points at which another cell's rule may lose most here: those on both sides of its changes."""
        return {Point(rlp, self.tlp, self.cached) for n in other.changes.tolist() for rlp in (n - 1, n) if rlp}

    def loss(self, changes: Ints) -> float:
        """Return by which share of its time the worst step is slower where the side changes at other requests."""
        on_pim = np.searchsorted(changes, self.rlp, side="right") % 2 == 1
        chosen = np.where(on_pim, self.pim_s, self.processing_unit_s)
        return float((chosen / np.minimum(self.pim_s, self.processing_unit_s)).max() - 1)


def located(subject: Subject, operator: Operator, sides: tuple[str, str]) -> Crossover:
    """Return an operator's crossover over its grid; that of attention over as many points as its thresholds need to be exact."""
    if operator not in ATTENTION:
        return crossover(subject, operator, sides, points_of(operator))
    batches = sorted({*BATCHES, *(n for device in sides for n in _rounds(subject, device))})
    grid = [each._replace(rlp=rlp) for each in points_of(operator) if each.rlp == 1 for rlp in batches]
    found = crossover(subject, operator, sides, grid)
    while further := found.between(batches):
        found = found.with_points(crossover(subject, operator, sides, further))
    return found


def _rounds(subject: Subject, device: str) -> Iterator[int]:
    """Yield the requests of the grid whose caches fill rounds of a device's channels, and those with one request more."""
    model, pool = subject.trace.model, subject.machine.pools[device]
    imbalance = [pool.kv_imbalance(model.n_heads, model.n_kv_heads, 1, n) for n in range(1, BATCHES[-1] + 1)]
    for n, (full, more) in enumerate(pairwise(imbalance), 1):
        if more > full:
            yield from (n, n + 1)


def crossover(subject: Subject, operator: Operator, sides: tuple[str, str], points: Sequence[Point]) -> Crossover:
    """Price an operator of steps on either side, all others at home.

    Args:
        subject: the model and the machine.
        operator: the operator.
        sides: the processing unit and PIM.
        points: the steps.
    """
    price = _attention if operator in ATTENTION else _fc
    rows = [price(subject, operator, device, points) for device in sides]
    return Crossover(operator, *sides, points, rows[0][0], rows[0][1], rows[1][1])


def _fc(subject: Subject, operator: Operator, device: str, points: Sequence[Point]) -> tuple[Floats, Floats]:
    """Return the intensity of an operator of FC kernels in each step, and the seconds of all FC kernels with it on a device."""
    seen: dict[Operator, float] = {}

    def note(view: PlacementView) -> None:
        seen[view.operator] = view.intensity

    planner = subject.planner(Assigned({operator: device}, note))
    found = np.zeros((2, len(points)))
    for at, point in enumerate(points):
        time_s = planner.fc_time_s(decode_shape(point.rlp, point.rlp * point.tlp))
        found[:, at] = seen[operator], time_s
    return found[0], found[1]


def _attention(subject: Subject, operator: Operator, device: str, points: Sequence[Point]) -> tuple[Floats, Floats]:
    """Return the intensity of attention in each step, and the seconds of all layers' attention on a device, messages included."""
    views: list[PlacementView] = []
    planner = subject.planner(Assigned({operator: device}, views.append))
    layers = Counter[AttentionShape]()
    for slot in planner.layout(decode_shape(1, 1)).slots:
        layers[slot.shape] += slot.repeats
    repeats = [layers[kernel.attention] for kernel, _ in planner.placing.attention if kernel.attention is not None]
    found = np.zeros((2, len(points)))
    for at, point in enumerate(points):
        views.clear()
        lengths = decode_lengths(point.rlp, point.tlp, point.rlp * point.cached, point.cached)
        planner.placing.attention_devices(decode_shape(point.rlp, point.rlp * point.tlp), lengths)
        time_s = sum(n * view.price(device, view.kernel).time_s for n, view in zip(repeats, views, strict=True))
        found[:, at] = views[-1].intensity, time_s
    return found[0], found[1]


def by_size(subject: Subject, operator: Operator, sides: tuple[str, str]) -> dict[tuple[FcRole, int], float]:
    """Return the threshold of an operator's FC kernels by role and size, one kernel of each shape priced on both sides."""
    found = defaultdict[tuple[FcRole, int], list[tuple[float, ...]]](list)
    at: dict[tuple[FcRole, int], Floats] = {}

    def note(view: PlacementView) -> None:
        if view.operator is operator and isinstance(view.kernel, Linear):
            both = [view.price(device, view.kernel).time_s for device in sides]
            key = view.kernel.role, view.kernel.k * view.kernel.n
            at[key] = at.get(key, np.zeros(3)) + np.array([0.0, *both])
            at[key][0] = view.intensity

    planner, points = subject.planner(Assigned({}, note)), points_of(operator)
    for point in points:
        planner.layout(decode_shape(point.rlp, point.rlp * point.tlp))
        for key, row in at.items():
            found[key].append(tuple(row.tolist()))
        at.clear()
    return {key: _threshold_of(Crossover(operator, *sides, points, *np.array(rows).T)) for key, rows in found.items()}


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
            sides = sides_of(subject, operator)
            if sides is not None:
                yield located(subject, operator, sides)


def sides_of(subject: Subject, operator: Operator) -> tuple[str, str] | None:
    """Return the processing unit and PIM of an operator; None where it does not have both."""
    options, candidates = subject.experiment.system.placement, subject.candidates(operator)
    others = [each for each in (options.pim, *candidates) if each in candidates and each != options.processing_unit]
    return (options.processing_unit, others[0]) if options.processing_unit in candidates and others else None
