"""Power of serving: what the meter of a board shows after steady steps, beside the energy of the steps that it has seen.

A board's meter shows the mean of the last second (NVML's ``power_draw``, Hopper). Steady steps of one composition take a tenth of
that, so it still shows what ran before: a reading is compared with the energy of all steps of the last second before the cell's
end, and idle power over the whole second.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Final, NamedTuple

import numpy as np

from papisim.calibration.engine.log import CellRow, StepTimes, composition_of
from papisim.calibration.errors import errors_of
from papisim.validation.engine import Comparison
from papisim.validation.schema import EngineWatts

#: seconds over which a meter averages
METER_S: Final = 1.0


class Metered(NamedTuple):
    """A reading of a meter, and its prediction.

    Attributes:
        gpu: the GPU.
        engine: the engine and its mode.
        block: kind of the steps.
        cell: composition of the last steps that the meter saw.
        measured_w: the reading.
        predicted_w: energy of the last second of steps, and idle power.
    """

    gpu: str
    engine: str
    block: str
    cell: str
    measured_w: float
    predicted_w: float


def metered(comparison: Comparison) -> Iterator[Metered]:
    """Yield the readings of all cells that have one and whose steps are logged with the times at which they began."""
    log = comparison.log
    for of, cells in groupby(log.cells, lambda cell: cell.of):
        steps = [step for step in log.steps if step.of == of]
        last = {(step.block, step.cell): place for place, step in enumerate(steps)}
        for cell in cells:
            place = last.get((cell.block, cell.cell))
            if cell.power_w is not None and place is not None and steps[place].t0_s is not None:
                yield _reading(comparison, cell, steps[: place + 1])


def _reading(comparison: Comparison, cell: CellRow, steps: Sequence[StepTimes]) -> Metered:
    energy_j = sum(
        share * comparison.pricer(*cell.of).price(composition_of(step)).energy_j
        for step, share in _last_second(steps)
        if step.sched_tokens
    )
    predicted_w = energy_j / METER_S + comparison.pricer(*cell.of).static_w
    assert cell.power_w is not None
    return Metered(*cell.of, cell.block, cell.cell, cell.power_w, predicted_w)


def _last_second(steps: Sequence[StepTimes]) -> Iterator[tuple[StepTimes, float]]:
    """Yield the steps of the last second, latest first, each with its share in that second; a clock that starts anew ends it."""
    last = steps[-1]
    assert last.t0_s is not None
    end_s = later_s = last.t0_s + last.dt_s
    for step in reversed(steps):
        start_s = step.t0_s
        if start_s is None or start_s > later_s or start_s + step.dt_s <= end_s - METER_S:
            return
        yield step, min(1.0, (start_s + step.dt_s - end_s + METER_S) / step.dt_s)
        later_s = start_s


def watts(comparison: Comparison) -> Iterator[EngineWatts]:
    """Yield the errors of readings, of each GPU, engine and kind of steps."""
    readings = sorted(metered(comparison), key=lambda each: each[:3])
    for (gpu, engine, block), group in groupby(readings, lambda each: each[:3]):
        measured, predicted = np.array([(each.measured_w, each.predicted_w) for each in group]).T
        errors = errors_of(predicted, measured)
        yield EngineWatts(
            gpu=gpu, engine=engine, block=block, n=errors.n, mape=errors.mape, bias=errors.bias, measured_w=float(measured.mean())
        )  # fmt: skip
