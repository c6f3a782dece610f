"""An engine's logs beside the simulator: step by step and part by part, and request by request.

Busy times of GPU kernels are compared by part first, since a total may be right by errors that cancel.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import groupby
from statistics import median
from typing import Final, NamedTuple

import numpy as np

from papisim.calibration.engine.fit import graphs_of_drafts
from papisim.calibration.engine.log import (
    SERVED,
    CellRow,
    EngineLog,
    KernelRow,
    Mode,
    ServedRow,
    StepTimes,
    composition_of,
)
from papisim.calibration.engine.parts import BusyTime, busy_time
from papisim.calibration.errors import errors_of
from papisim.config.engine import Scheduling
from papisim.config.experiment import Experiment
from papisim.devices import gpu as gpus
from papisim.engine.run import simulate
from papisim.pricing.engine_step import OF_DEVICES, Composition, Part, StepPricer, StepTime
from papisim.record.requests import RequestOutcome, RequestRecord
from papisim.validation.schema import (
    AddedByDrafts,
    EngineErrors,
    EngineParts,
    EngineService,
    EngineSteps,
    ServiceSteps,
)
from papisim.validation.served import METRICS, Simulator, figures_of, latencies_between, listed, statistics_of

#: prompt tokens of a step up to which its block is ``prompts_1024``
_SHORT_PROMPT: Final = 1024
#: blocks in the order in which they are shown
BLOCKS: Final = ("decode", "prompts_1024", "prompts_beyond", "mixed", "drafts")
#: busy times repeat within this share, so that less is no cancelling of errors
_REPEATABLE: Final = 0.007
_DECODE_CELL = re.compile(r"b(\d+)c(\d+)")
#: steps between the end of the prompts and the middle of a profiled cell, each of which lengthens the caches
_STEPS_BEFORE: Final = 5


def block_of(step: Composition) -> str:
    """Return the block of a step."""
    if not step.prompts:
        return "drafts" if step.decode_rows > step.n_decode else "decode"
    if step.n_decode:
        return "mixed"
    return "prompts_1024" if step.prompt_tokens <= _SHORT_PROMPT else "prompts_beyond"


class Compared(NamedTuple):
    """A measured and a predicted time, in seconds.

    Attributes:
        gpu: the GPU.
        engine: the engine and its mode.
        block: kind of the steps; of requests, the service.
        cell: composition of the steps; of requests, the number in the order of arrival.
        part: part of the steps: those of :class:`papisim.pricing.engine_step.Part`, ``busy`` for all kernels, or ``total``; of
            requests, the metric.
        measured_s: measured time.
        predicted_s: predicted time.
    """

    gpu: str
    engine: str
    block: str
    cell: str
    part: str
    measured_s: float
    predicted_s: float


@dataclass
class Comparison:
    """The logs of an engine beside the simulator.

    Attributes:
        log: the logs.
        simulator: the simulated side.
        notes: what could not be compared, and why.
    """

    log: EngineLog
    simulator: Simulator
    notes: dict[str, None] = field(default_factory=dict)
    _pricers: dict[tuple[str, str, Mode], StepPricer] = field(default_factory=dict)

    def pricer(self, gpu: str, engine: str) -> StepPricer:
        """Return the pricer of the steps of an engine on a GPU."""
        mode, model = self.log.mode(engine), self.log.model(engine)
        known = self._pricers.get((gpu, model, mode))
        if known is None:
            settings = _settings(mode.scheduling)
            experiment = self._experiment(gpu, engine, settings)
            if more := graphs_of_drafts(experiment.engine.graphs, mode.drafts):
                experiment = self._experiment(gpu, engine, settings | more)
            self.notes |= dict.fromkeys(experiment.notes)
            known = self._pricers[gpu, model, mode] = StepPricer(experiment)
        return known

    def _experiment(
        self, gpu: str, engine: str, settings: Mapping[str, object], workload: object = None
    ) -> Experiment:
        """Return the experiment that stands for an engine on a GPU, with the arithmetic of its weights.

        Engines that are driven for their times have dummy weights, which draw less power, so these are taken unless the log tells.
        """
        experiment = self.simulator.experiment(gpu, self.log.model(engine), settings, workload)
        loads = self.log.loads_weights(engine)
        if loads:
            return experiment
        if loads is None:
            self.notes[
                f"dummy weights are taken for '{engine}'; meta.jsonl tells (settings.loads_weights) if its weights are a model's own"
            ] = None
        system = experiment.system
        parts = {
            name: part.with_dummy_weights() if isinstance(part, gpus.Part) else part
            for name, part in system.parts.items()
        }
        return replace(experiment, system=replace(system, parts=parts))

    def price(self, step: StepTimes) -> StepTime:
        """Return the predicted time of a logged step."""
        return self.pricer(*step.of).price(composition_of(step))

    @cached_property
    def profiled(self) -> list[Compared]:
        """Busy times of kernels, by part, of each profiled cell."""
        return [row for of, kernels in _groups(self.log.kernels) for row in self._profiled(of, list(kernels))]

    def _profiled(self, of: tuple[str, str, str], kernels: list[KernelRow]) -> Iterator[Compared]:
        gpu, engine, cell = of
        measured = busy_time((row.kernel, row.us_per_step * 1e-6) for row in kernels)
        self._note_unknown(of, measured)
        steps = self._profiled_steps(of)
        if not steps:
            self.notes[
                f"{gpu} {engine}: no steps of the profiled cell {cell} in steps.csv, and its name does not tell them"
            ] = None
            return
        prices = [self.pricer(gpu, engine).price(step) for step in steps]
        n_steps = kernels[0].steps
        block = block_of(max(steps, key=lambda step: step.prompt_tokens + step.decode_rows))
        for part in OF_DEVICES:
            predicted_s = sum(price.by_part.get(part, 0.0) for price in prices) / n_steps
            if predicted_s or part in measured.by_part:
                yield Compared(gpu, engine, block, cell, part, measured.by_part.get(part, 0.0), predicted_s)
        busy_s = sum(price.devices_s for price in prices) / n_steps
        yield Compared(gpu, engine, block, cell, "busy", kernels[0].busy_ms_per_step * 1e-3, busy_s)

    def _note_unknown(self, of: tuple[str, str, str], measured: BusyTime) -> None:
        if measured.unknown:
            names = ", ".join(name[:60] for name in measured.unknown[:3])
            self.notes[
                f"{' '.join(of)}: {len(measured.unknown)} kernels, {measured.unknown_s * 1e3:.3g} ms, belong to no known part: {names}"
            ] = None

    def _profiled_steps(self, of: tuple[str, str, str]) -> list[Composition]:
        """Return the profiled steps of a cell: those logged, or else those that its name tells."""
        gpu, engine, cell = of
        logged = [
            composition_of(step)
            for step in self.log.steps
            if step.of == (gpu, engine) and step.is_profiled and step.composition == cell and step.sched_tokens
        ]
        return logged or self._named_steps(
            engine, cell, next(row.steps for row in self.log.kernels if row.cell == cell)
        )

    def _named_steps(
        self, engine: str, cell: str, n_steps: int = 1, before: int = _STEPS_BEFORE
    ) -> list[Composition]:
        named = _DECODE_CELL.fullmatch(cell)
        if named is None:
            return []
        batch, cached, drafts = int(named[1]), int(named[2]), self.log.mode(engine).drafts
        return [Composition(batch, batch * (1 + drafts), batch * (cached + before))] * n_steps

    @cached_property
    def cells(self) -> list[Compared]:
        """Wall times of the steps of each cell, and, of synchronous engines, the host's part."""
        return [
            row for cell in self.log.cells for row in self._cell(cell, self._steps[*cell.of, cell.block, cell.cell])
        ]

    @cached_property
    def _steps(self) -> Mapping[tuple[str, str, str, str], list[StepTimes]]:
        """The logged steps of each GPU, engine, block and cell."""
        steps = defaultdict[tuple[str, str, str, str], list[StepTimes]](list)
        for step in self.log.steps:
            steps[*step.of, step.block, step.cell].append(step)
        return steps

    def _cell(self, cell: CellRow, steps: Sequence[StepTimes]) -> Iterator[Compared]:
        units = _units(cell, steps)
        if units:
            prices = [[self.price(step) for step in unit] for unit in units]
            block = block_of(composition_of(units[-1][0]))
        else:
            named = self._named_steps(cell.engine, cell.cell, before=_STEPS_BEFORE + cell.n // 2)
            if not named:
                self.notes[f"{cell.gpu} {cell.engine}: no steps of the cell {cell.cell} in steps.csv"] = None
                return
            prices, block = [[self.pricer(*cell.of).price(named[0])]], block_of(named[0])
        place = cell.gpu, cell.engine, block, cell.cell
        total_s = median(sum(price.time_s for price in unit) for unit in prices)
        if units and self.log.mode(cell.engine).scheduling is Scheduling.SYNCHRONOUS:
            host_s = median(sum(price.by_part[Part.HOST] for price in unit) for unit in prices)
            measured_s = median(sum(step.host_s for step in unit) for unit in units)
            yield Compared(*place, Part.HOST, measured_s, host_s)
        yield Compared(*place, "total", cell.median_ms * 1e-3, total_s)

    @cached_property
    def rows(self) -> list[Compared]:
        """Everything that is compared step by step, and request by request."""
        return [*self.profiled, *self.cells, *self.requests]

    def parts(self) -> Iterator[EngineParts]:
        """Yield the errors of busy times by part, of each GPU, engine and block."""
        for place, rows in _by_place(self.profiled):
            cells = [list(each) for _, each in groupby(rows, lambda row: row.cell)]
            cancelled, largest = zip(*(_cancelled(each) for each in cells), strict=True)
            errors = {part: _errors(rows, part) for part in (*OF_DEVICES, "busy")}
            busy = errors["busy"]
            assert busy is not None
            ratio = float(np.mean(cancelled))
            yield EngineParts(
                **place._asdict(),
                n=len(cells),
                fc=errors[Part.FC],
                attention=errors[Part.ATTENTION],
                small=errors[Part.SMALL],
                communication=errors[Part.COMMUNICATION],
                busy=busy,
                cancelled_ratio=ratio,
                cancelling=ratio >= _REPEATABLE and float(np.mean(largest)) > busy.mape,
            )

    def steps(self) -> Iterator[EngineSteps]:
        """Yield the errors of wall times of cells, of each GPU, engine and block."""
        for place, rows in _by_place(self.cells):
            total = _errors(rows, "total")
            assert total is not None
            yield EngineSteps(
                **place._asdict(),
                n=len([row for row in rows if row.part == "total"]),
                host=_errors(rows, Part.HOST),
                total=total,
            )

    def drafts(self) -> Iterator[AddedByDrafts]:
        """Yield the time that the longest drafts add to the shortest, per GPU and composition.

        Where steps are logged it is the time of waiting for the GPU, beside that of the devices; elsewhere wall time, which varies by
        more than drafts add to small batches.
        """
        cells = defaultdict[tuple[str, str], dict[int, CellRow]](dict)
        for cell in self.log.cells:
            drafts = self.log.mode(cell.engine).drafts
            if drafts:
                cells[cell.gpu, cell.cell][drafts] = cell
        for by_length in cells.values():
            if len(by_length) > 1:
                yield self._added(by_length[min(by_length)], by_length[max(by_length)])

    def _added(self, short: CellRow, long: CellRow) -> AddedByDrafts:
        waits = self._waiting(short), self._waiting(long)
        before, after = waits[0] or self._wall(short), waits[1] or self._wall(long)
        if not all(waits):
            before, after = self._wall(short), self._wall(long)
        measured, predicted = after[0] - before[0], after[1] - before[1]
        return AddedByDrafts(
            gpu=short.gpu,
            cell=short.cell,
            from_drafts=self.log.mode(short.engine).drafts,
            to_drafts=self.log.mode(long.engine).drafts,
            of="waiting" if all(waits) else "wall",
            measured_s=measured,
            predicted_s=predicted,
            error=predicted / measured - 1 if measured > 0 else None,
        )

    def _wall(self, cell: CellRow) -> tuple[float, float]:
        """Return the measured and the predicted wall time of a cell's step."""
        place = (cell.gpu, cell.engine, cell.cell, "total")
        row = next(row for row in self.cells if (row.gpu, row.engine, row.cell, row.part) == place)
        return row.measured_s, row.predicted_s

    def _waiting(self, cell: CellRow) -> tuple[float, float] | None:
        """Return the medians of the time of waiting for the GPU and of the predicted time of the devices, as their power limit slows them; None without steps."""
        steps = [step for step in self._steps[*cell.of, cell.block, cell.cell] if step.n_decode == cell.batch]
        if not steps:
            return None
        return median(step.t_sample_s for step in steps), median(self.price(step).slowed_s for step in steps)

    def service_steps(self) -> Iterator[ServiceSteps]:
        """Yield the times of all steps of each service; only sums mean something where scheduling is asynchronous."""
        served = [step for step in self.log.steps if step.cell == SERVED and step.sched_tokens]
        groups = defaultdict[tuple[str, str, str, str], list[StepTimes]](list)
        for step in served:
            groups[*step.of, step.block, block_of(composition_of(step))].append(step)
            groups[*step.of, step.block, "all"].append(step)
        for (gpu, engine, service, block), steps in groups.items():
            is_async = self.log.mode(engine).scheduling is Scheduling.ASYNCHRONOUS
            if is_async and block != "all":
                continue
            measured = np.array([step.dt_s for step in steps])
            predicted = np.array([self.price(step).time_s for step in steps])
            yield ServiceSteps(
                gpu=gpu, engine=engine, service=service, block=block, n=len(steps), measured_s=float(measured.sum()),
                predicted_s=float(predicted.sum()), error=float(predicted.sum() / measured.sum() - 1),
                mape=None if is_async else errors_of(predicted, measured).mape,
            )  # fmt: skip

    def services(self) -> Iterator[EngineService]:
        """Simulate each service with its arrivals and lengths, and yield its latencies beside the measured ones."""
        yield from (service for service, _ in self._served)

    @property
    def requests(self) -> list[Compared]:
        """Latencies of each request of each service."""
        return [row for _, rows in self._served for row in rows]

    @cached_property
    def _served(self) -> list[tuple[EngineService, list[Compared]]]:
        groups = defaultdict[tuple[str, str, str], list[ServedRow]](list)
        for row in self.log.requests:
            if row.tokens_out and 0 <= row.first_token_s <= row.end_s:
                groups[*row.of, row.block].append(row)
        return [self._service(*place, sorted(rows, key=_asked)) for place, rows in groups.items()]

    def _service(
        self, gpu: str, engine: str, service: str, requests: Sequence[ServedRow]
    ) -> tuple[EngineService, list[Compared]]:
        settings = _settings(self.log.mode(engine).scheduling)
        limits = self.log.limits((gpu, engine), service)
        settings |= {f"batching.{name}": value for name, value in limits._asdict().items() if value is not None}
        workload = listed([_asked(row) for row in requests])
        simulated = simulate(self._experiment(gpu, engine, settings, workload))
        lost = len(requests) - simulated.ledger.outcomes[RequestOutcome.SERVED]
        if lost:
            self.notes[
                f"{gpu} {engine}, {service}: {lost} requests were not served by the simulation, and are missing in its latencies"
            ] = None
        times = np.array([(row.arrival_s, row.first_token_s, row.end_s, row.tokens_out) for row in requests])
        measured = statistics_of(latencies_between(*times.T))
        rows = [Compared(gpu, engine, service, *row) for row in _request_rows(requests, simulated.ledger.requests)]
        found = EngineService(
            gpu=gpu,
            engine=engine,
            service=service,
            requests=len(requests),
            chunk_tokens=limits.chunk_tokens,
            max_batch=limits.max_batch,
            figures=list(figures_of(measured, simulated.ledger.latencies)),
            request_mape={metric: errors.mape for metric in METRICS if (errors := _errors(rows, metric)) is not None},
        )
        return found, rows


def _asked(row: ServedRow) -> tuple[float, int, int]:
    return row.arrival_s, row.tokens_in, row.tokens_out


def _request_rows(
    requests: Sequence[ServedRow], simulated: Iterable[RequestRecord]
) -> Iterator[tuple[str, str, float, float]]:
    """Yield the number, the metric, and the measured and the simulated latency of each request that was served by both."""
    for record in simulated:
        if record.outcome is not RequestOutcome.SERVED:
            continue
        row = requests[record.request_id]
        measured = latencies_between(*np.array([[row.arrival_s, row.first_token_s, row.end_s, row.tokens_out]]).T)
        for metric, values in measured.items():
            if len(values):
                yield str(record.request_id), metric, float(values[0]), record.latencies_s[metric]


def _settings(scheduling: Scheduling) -> dict[str, object]:
    return {"engine.host.scheduling": scheduling.value}


def _groups(kernels: Iterable[KernelRow]) -> Iterator[tuple[tuple[str, str, str], list[KernelRow]]]:
    groups = defaultdict[tuple[str, str, str], list[KernelRow]](list)
    for row in kernels:
        groups[*row.of, row.cell].append(row)
    yield from groups.items()


def _units(cell: CellRow, steps: Sequence[StepTimes]) -> list[list[StepTimes]]:
    """Return the steps whose times a cell's median is of, one by one, or those of each prompt together."""
    if not any(step.prompts for step in steps):
        return [[step] for step in steps if step.n_decode == cell.batch]
    if any(step.prompts and step.n_decode for step in steps):
        return [[step] for step in steps if step.prompts]
    prompts = list[list[StepTimes]]()
    for step in steps:
        if step.prompts and step.prompts[0][0] == 0:
            prompts.append([])
        if step.prompts and prompts:
            prompts[-1].append(step)
    return prompts


class Place(NamedTuple):
    """Where errors belong."""

    gpu: str
    engine: str
    block: str


def _by_place(rows: Iterable[Compared]) -> Iterator[tuple[Place, list[Compared]]]:
    groups = defaultdict[Place, list[Compared]](list)
    for row in rows:
        groups[Place(row.gpu, row.engine, row.block)].append(row)
    yield from sorted(groups.items(), key=lambda item: (item[0].gpu, BLOCKS.index(item[0].block), item[0].engine))


def _errors(rows: Iterable[Compared], part: str) -> EngineErrors | None:
    pairs = [(row.predicted_s, row.measured_s) for row in rows if row.part == part and row.measured_s]
    if not pairs:
        return None
    predicted, measured = np.array(pairs).T
    found = errors_of(predicted, measured)
    return EngineErrors(mape=found.mape, bias=found.bias, measured_s=float(measured.mean()))


def _cancelled(rows: Sequence[Compared]) -> tuple[float, float]:
    """Return the share of a cell's busy time that errors of parts hide from one another, and the largest part's error, as shares."""
    busy_s = next(row.measured_s for row in rows if row.part == "busy")
    errors = [(row.predicted_s - row.measured_s) / busy_s for row in rows if row.part != "busy"]
    return (sum(map(abs, errors)) - abs(sum(errors))) / 2, max(map(abs, errors))
