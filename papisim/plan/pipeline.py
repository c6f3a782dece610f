"""Pipeline parallelism: equal groups of devices, each with a share of the layers, that work on microbatches in turn.

A machine with ``roles.pipeline`` is cut into S stages. A step's requests are dealt out into m = min(S, requests) microbatches,
which go round the stages one behind the other. A token of a request needs the one before it, so a microbatch starts its next
round when its last one is through; with as many microbatches as stages every stage is always at work. A round takes

    ``max(m · slowest stage, all stages) + S · message``

(GPipe, Huang et al., NeurIPS 2019, Section 2.3, with the ring closed). With equal layers, of which the first stages hold
``⌈L/S⌉``, and the LM head on the last stage, that is for m = S

    ``S·⌈L/S⌉/L · layers(microbatch) + S · head(microbatch) + S · message``

and for fewer microbatches the time of one of them through all stages. The largest microbatch stands for all; each reads the
weights anew, so energy and FLOP are m times its own. A device counts as busy while any of its stages is.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Iterator

import numpy as np

from papisim.config.system import PipelineParallel
from papisim.devices.base import AttentionRun
from papisim.errors import NotModelled
from papisim.ops.kernel import FcRole, Linear
from papisim.ops.lower import KvLengths, StepShape
from papisim.ops.trace import KernelTrace
from papisim.plan.machine import Machine
from papisim.plan.phase import Phase
from papisim.plan.step import AttentionSlot, Layout, Part, StepPlanner, message_phase
from papisim.policies.placement.base import PlacementPolicy


def build_planner(
    trace: KernelTrace, machine: Machine, placement: PlacementPolicy, *, seed: int, fold: bool
) -> StepPlanner:
    """Return what turns a model's steps into phases on a machine, in a pipeline if it has one."""
    pipeline = machine.roles.pipeline
    if pipeline is None:
        return StepPlanner(trace, machine, placement, seed=seed, fold=fold)
    return PipelinePlanner(trace, machine, placement, pipeline, seed=seed, fold=fold)


class PipelinePlanner(StepPlanner):
    """Turns steps into phases of the whole pipeline: those of a microbatch, stretched.

    Args:
        trace: the model.
        machine: one stage of the hardware.
        placement: where FC kernels of decoding steps run, as it decides for a microbatch.
        pipeline: stages and the links between.
        seed: the seed of the experts' router.
        fold: price identical layers once and multiply.
    """

    def __init__(
        self,
        trace: KernelTrace,
        machine: Machine,
        placement: PlacementPolicy,
        pipeline: PipelineParallel,
        *,
        seed: int,
        fold: bool,
    ) -> None:
        super().__init__(trace, machine, placement, seed=seed, fold=fold)
        self._pipeline = pipeline
        self._stretched: dict[Hashable, Part] = {}

    def layout(self, shape: StepShape) -> Layout:
        """Return all of a step but its attention.

        Raises:
            NotModelled: only some layers run.
        """
        if shape.layers is not None:
            raise NotModelled("drafting with some of the layers (early exit) in a pipeline is not modelled")
        m = self._microbatches(shape.rlp)
        micro = shape.microbatch(m)
        parts = super().layout(micro)
        return Layout([*(self._stretched_part(part, m) for part in parts), self._crossing(micro, m)])

    def growing(self, layout: Layout, lengths: KvLengths, n: int) -> list[tuple[Phase, AttentionRun]]:
        """Return the attention of ``n`` decoding iterations, in each of which every cache is longer by its new tokens."""
        m = self._microbatches(lengths.n_requests)
        stretch = self._stretch(m)
        return [
            (phase._replace(flop=phase.flop * m), AttentionRun(run.time_s * stretch, np.asarray(run.energy_j * m)))
            for phase, run in super().growing(layout, lengths.microbatch(m), n)
        ]

    def _attend(self, slot: AttentionSlot, decode: KvLengths | None, prompts: KvLengths | None) -> Iterator[Phase]:
        m = self._microbatches(sum(lengths.n_requests for lengths in (decode, prompts) if lengths is not None))
        micro = (None if lengths is None else lengths.microbatch(m) for lengths in (decode, prompts))
        for phase in super()._attend(slot, *micro):
            yield self._stretched_phase(phase, m)

    def _microbatches(self, requests: int) -> int:
        return min(self._pipeline.stages, max(1, requests))

    def _stretch(self, m: int, *, head: bool = False) -> float:
        """Return the time of a round over that of one microbatch."""
        stages, layers = self._pipeline.stages, self._trace.model.n_layers
        if m < stages:
            return 1.0
        return float(stages) if head else stages * math.ceil(layers / stages) / layers

    def _stretched_part(self, part: Part, m: int) -> Part:
        items = (item if isinstance(item, AttentionSlot) else self._stretched_phase(item, m) for item in part.items)
        return self._memoised((part, m), items)

    def _crossing(self, micro: StepShape, m: int) -> Part:
        """Return the messages from each stage to the next, the last one's to the first included."""
        payload = micro.rows * self._trace.model.hidden_size * self._trace.model.element_bytes
        message = message_phase(self._machine, self._pipeline.link, payload)
        crossing = message._replace(energy=message.energy * m, repeats=self._pipeline.stages)
        return self._memoised((micro.rows, m), (crossing,))

    def _memoised(self, key: Hashable, items: Iterable[Phase | AttentionSlot]) -> Part:
        part = self._stretched.get(key)
        if part is None:
            part = self._stretched[key] = Part(items)
        return part

    def _stretched_phase(self, phase: Phase, m: int) -> Phase:
        stretch = self._stretch(m, head=_is_head(phase))
        work = tuple(each._replace(time_s=each.time_s * stretch) for each in phase.work)
        return phase._replace(time_s=phase.time_s * stretch, energy=phase.energy * m, flop=phase.flop * m, work=work)


def _is_head(phase: Phase) -> bool:
    return any(isinstance(work.item, Linear) and work.item.role is FcRole.LM_HEAD for work in phase.work)
