"""Find PAPI's threshold α offline: run FC on both sides over all parallelism levels (PAPI, Section 5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from papisim.config.system import System
from papisim.ops.lower import decode_shape
from papisim.ops.trace import KernelTrace
from papisim.plan.build import build_planner
from papisim.plan.machine import build_machine
from papisim.policies.placement.pinned import Options as PinnedOptions
from papisim.policies.placement.pinned import Placement as Pinned


@dataclass(frozen=True)
class Profile:
    """Time of one model's FC kernels at RLP × TLP = 1, 2, …, on both sides of the threshold.

    Attributes:
        trace_name: the model.
        processing_unit_s: seconds per step on the processing units, shape (levels,); entry 0 is for one token-row.
        pim_s: seconds per step on FC-PIM, shape (levels,).
    """

    trace_name: str
    processing_unit_s: np.ndarray
    pim_s: np.ndarray

    def slowdown(self) -> np.ndarray:
        """Return the mean relative slow-down against the faster side, for each α from 0 to the largest level."""
        best = np.minimum(self.processing_unit_s, self.pim_s)
        levels = len(best)
        chosen = np.where(
            np.arange(1, levels + 1)[None, :] > np.arange(levels + 1)[:, None], self.processing_unit_s, self.pim_s
        )
        mean: np.ndarray = (chosen / best).mean(axis=1) - 1
        return mean


@dataclass(frozen=True)
class ModelAlpha:
    """One model's own threshold, and the mean slow-down against the faster side with it and with the default."""

    alpha: int
    slowdown_ratio: float
    default_slowdown_ratio: float


@dataclass(frozen=True)
class AlphaFit:
    """The threshold that follows the faster side best over several models, and each model's own."""

    alpha: int
    models: dict[str, ModelAlpha]


def profile(system: System, trace: KernelTrace, max_rows: int, *, seed: int = 0) -> Profile:
    """Price a model's FC kernels at every level up to ``max_rows`` token-rows on both sides.

    The system's placement must be ``papi``, which names the sides.
    """
    machine = build_machine(system)

    def times(device: str) -> np.ndarray:
        pinned = Pinned(PinnedOptions(kind="pinned", device=device))
        planner = build_planner(trace, machine, pinned, seed=seed)
        return np.array([planner.fc_time_s(decode_shape(rows, rows)) for rows in range(1, max_rows + 1)])

    return Profile(trace.name, times(system.placement.processing_unit), times(system.placement.pim))


def fit(profiles: Sequence[Profile], together: Sequence[str]) -> AlphaFit:
    """Return the α of least mean slow-down, for the models named in ``together`` and for each by itself.

    The smallest of several equal ones is taken.

    Args:
        profiles: times of every model.
        together: names of the models that the common α is fitted to.
    """
    slowdowns = {each.trace_name: each.slowdown() for each in profiles}
    common = [slowdown for name, slowdown in slowdowns.items() if name in together] or list(slowdowns.values())
    alpha = int(np.mean(common, axis=0).argmin())
    models = {
        name: ModelAlpha(int(slowdown.argmin()), float(slowdown.min()), float(slowdown[alpha]))
        for name, slowdown in slowdowns.items()
    }
    return AlphaFit(alpha, models)
