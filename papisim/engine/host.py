"""Time of the host: it schedules a step, prepares and launches it, and takes in what came of it.

With synchronous scheduling the host works while the devices wait, but for kernels that it launches one by one, which the devices
run meanwhile: a step takes ``host + max(devices, launches)``. With asynchronous scheduling it prepares the next step while one
runs: a step takes ``max(devices, host + launches)``. An engine may expose a share of the host's time even then, such as what it
copies to the devices once the step before has ended: a step takes ``max(devices + exposed, host + launches)``.

The host's time is a phase of its own, whose whole length is reported; what the devices hide of it is a saving by overlap.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from papisim.arrays import Floats
from papisim.config.engine import HostSpec, Scheduling
from papisim.ops.cost import Energy
from papisim.ops.kernel import Attention
from papisim.plan.graphs import Graphs
from papisim.plan.layout import StepLayout
from papisim.plan.machine import HOST
from papisim.plan.phase import Category, Phase


class StepSize(NamedTuple):
    """What the host's time depends on.

    Attributes:
        requests: requests in the step.
        rows: token-rows of the step, those of prompts included.
        prompt_tokens: token-rows that belong to prompts.
        draft_steps: serial steps of a draft model before it.
        drafts: drafted tokens that it verifies.
    """

    requests: int
    rows: int
    prompt_tokens: int = 0
    draft_steps: int = 0
    drafts: int = 0


class Host:
    """The host of one server.

    Args:
        spec: the engine's times.
        graphs: the steps that the engine has captured.
        stages: stages of a pipeline; the host prepares each microbatch by itself.
    """

    def __init__(self, spec: HostSpec, graphs: Graphs, stages: int = 1) -> None:
        self._spec, self._graphs, self._stages = spec, graphs, stages
        self._is_asynchronous = spec.scheduling is Scheduling.ASYNCHRONOUS
        times_s = (
            spec.step_s,
            spec.request_s,
            spec.prompt_token_s,
            spec.launch_s,
            spec.draft_step_s,
            spec.draft_token_s,
        )
        self.is_free = not any(times_s)

    @property
    def looks_ahead(self) -> bool:
        """Whether a step is prepared while the one before it runs."""
        return self._is_asynchronous and not self.is_free

    def phases(self, size: StepSize, layout: StepLayout, phases: Iterable[Phase]) -> list[Phase]:
        """Return the host's phase of a step; none if it takes no time.

        Args:
            size: what the host handles.
            layout: phases that the step shares with others.
            phases: its other phases.
        """
        if self.is_free:
            return []
        return [Phase(HOST, Category.HOST, self._serial_s(size) + self._launch_s(size, layout, phases), Energy())]

    def hidden_s(self, size: StepSize, host: Iterable[Phase], devices_s: float) -> float:
        """Return the seconds of the host's phases that pass while the devices work.

        Args:
            size: what the host handles.
            host: the host's phases.
            devices_s: seconds of all other phases, overlap between them deducted.
        """
        own_s = sum(phase.total_s for phase in host)
        return min(devices_s, self._hideable_s(size, own_s)) if own_s else 0.0

    def hidden_of_many(self, size: StepSize, host: Iterable[Phase], devices_s: Floats) -> Floats:
        """Return the seconds of :meth:`hidden_s` for many steps whose devices take different times, shape (n,)."""
        own_s = sum(phase.total_s for phase in host)
        return np.minimum(devices_s, self._hideable_s(size, own_s))

    def added_s(self, size: StepSize, devices_s: float) -> float:
        """Return the seconds by which the host lengthens a step that launches nothing by itself."""
        own_s = self._serial_s(size)
        return max(own_s - devices_s, self._exposed_s(size))

    def _hideable_s(self, size: StepSize, own_s: float) -> float:
        return own_s - self._exposed_s(size)

    def _exposed_s(self, size: StepSize) -> float:
        """Return the seconds of the host that the devices always wait for."""
        return self._serial_s(size) * (self._spec.exposed_ratio if self._is_asynchronous else 1.0)

    def _serial_s(self, size: StepSize) -> float:
        spec, steps = self._spec, max(1, min(self._stages, size.requests))
        drafting_s = spec.draft_step_s + size.drafts * spec.draft_token_s if size.drafts else 0.0
        tokens_s = size.prompt_tokens * spec.prompt_token_s
        return steps * spec.step_s + size.requests * spec.request_s + tokens_s + drafting_s

    def _launch_s(self, size: StepSize, layout: StepLayout, phases: Iterable[Phase]) -> float:
        if not self._spec.launch_s or self._graphs.are_free:
            return 0.0
        found = _launched(layout, phases)
        is_mixed = 0 < size.prompt_tokens < size.rows  # decoding and prompts, which one call of an engine attends to
        attention = layout.n_attention or found.attention // (2 if is_mixed else 1)
        launches = self._graphs.launches(size.rows, size.prompt_tokens, found.kernels, attention)
        launches += self._graphs.draft_launches(size.requests, size.draft_steps, found.drafts)
        return launches * self._spec.launch_s


class _Launched(NamedTuple):
    """Kernels and messages of a step: all but those of drafting, the attention kernels among them, and those of drafting."""

    kernels: int
    attention: int
    drafts: int


def _launched(layout: StepLayout, phases: Iterable[Phase]) -> _Launched:
    kernels, attention, drafts = layout.n_kernels, 0, 0
    for phase in phases:
        if phase.category is Category.DRAFT:
            drafts += phase.n_kernels
            continue
        kernels += phase.n_kernels
        attention += phase.n_kernels if any(isinstance(each.item, Attention) for each in phase.work) else 0
    return _Launched(kernels if attention else kernels + layout.n_attention, attention, drafts)
