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

from papisim.bounded import BoundedDict
from papisim.config.system import PipelineParallel
from papisim.devices.base import AttentionRun
from papisim.errors import NotModelled
from papisim.ops.kernel import FcRole, Linear
from papisim.ops.lower import KvLengths, StepShape
from papisim.ops.trace import ModelFacts
from papisim.plan.layout import PARTS_KEPT, AttentionSlot, StepLayout, StepPart
from papisim.plan.machine import Machine
from papisim.plan.phase import Phase
from papisim.plan.planner import Planner
from papisim.plan.step import StepPlanner


class PipelinePlanner(Planner):
    """Turns steps into phases of the whole pipeline: those of a microbatch, stretched.

    Args:
        stage: plans the steps of a microbatch; its placement policy decides for a microbatch.
        machine: one stage of the hardware.
        model: the model.
        pipeline: stages and the links between them.
    """

    def __init__(self, stage: StepPlanner, machine: Machine, model: ModelFacts, pipeline: PipelineParallel) -> None:
        self.graphs, self.notes = stage.graphs, stage.notes
        self._stage, self._machine, self._model, self._pipeline = stage, machine, model, pipeline
        self._layouts = BoundedDict[tuple[StepShape, tuple[StepPart, ...]], StepLayout](PARTS_KEPT)
        self._parts = BoundedDict[Hashable, StepPart](PARTS_KEPT)

    def layout(self, shape: StepShape, decode: KvLengths | None = None, *, fold: bool = True) -> StepLayout:
        """Return all of a step but its attention; arguments as of :meth:`Planner.layout`.

        Raises:
            NotModelled: only some layers run.
        """
        if shape.layers is not None:
            raise NotModelled("drafting with some of the layers (early exit) in a pipeline is not modelled")
        m = self._microbatches(shape.rlp)
        parts = self._stage.layout(shape.microbatch(m), decode and decode.microbatch(m), fold=fold).parts
        layout = self._layouts.get((shape, parts))
        if layout is None:
            micro = shape.microbatch(m)
            layout = StepLayout([*(self._stretched_part(part, m) for part in parts), self._crossing(micro.rows, m)])
            self._layouts[shape, parts] = layout
        return layout

    def placed_alike(self, shape: StepShape, lengths: KvLengths, n: int) -> int:
        """Return the number of the first of ``n`` decoding iterations whose operators are where those of the first are."""
        m = self._microbatches(shape.rlp)
        return self._stage.placed_alike(shape.microbatch(m), lengths.microbatch(m), n)

    def attention(self, slot: AttentionSlot, decode: KvLengths | None, prompts: KvLengths | None) -> Iterator[Phase]:
        """Yield the attention of a microbatch, stretched."""
        m = self._microbatches(sum(lengths.n_requests for lengths in (decode, prompts) if lengths is not None))
        micro = (None if lengths is None else lengths.microbatch(m) for lengths in (decode, prompts))
        for phase in self._stage.attention(slot, *micro):
            yield self._stretched(phase, m)

    def growing(self, layout: StepLayout, lengths: KvLengths, n: int) -> list[tuple[Phase, AttentionRun]]:
        """Return the attention of ``n`` decoding iterations, each of which lengthens every cache by its new tokens."""
        m = self._microbatches(lengths.n_requests)
        stretch = self._stretch(m)
        return [
            (phase._replace(flop=phase.flop * m), run.scaled(stretch, m))
            for phase, run in self._stage.growing(layout, lengths.microbatch(m), n)
        ]

    def place(self, kernel: Linear, rlp: int, rows: int) -> str:
        """Return the device on which the policy places an FC kernel of a decoding step."""
        return self._stage.place(kernel, rlp, rows)

    def _microbatches(self, requests: int) -> int:
        return min(self._pipeline.stages, max(1, requests))

    def _stretch(self, m: int, *, head: bool = False) -> float:
        """Return the time of a round over that of one microbatch."""
        stages, layers = self._pipeline.stages, self._model.n_layers
        if m < stages:
            return 1.0
        return float(stages) if head else stages * math.ceil(layers / stages) / layers

    def _stretched_part(self, part: StepPart, m: int) -> StepPart:
        items = (item if isinstance(item, AttentionSlot) else self._stretched(item, m) for item in part.items)
        return self._part((part, m), items)

    def _crossing(self, rows: int, m: int) -> StepPart:
        """Return the messages from each stage to the next, the last one's to the first included."""
        message = self._machine.send(self._pipeline.link, rows * self._model.hidden_size * self._model.element_bytes)
        crossing = message._replace(energy=message.energy * m, repeats=self._pipeline.stages)
        return self._part((rows, m), (crossing,))

    def _part(self, key: Hashable, items: Iterable[Phase | AttentionSlot]) -> StepPart:
        part = self._parts.get(key)
        if part is None:
            part = self._parts[key] = StepPart(items)
        return part

    def _stretched(self, phase: Phase, m: int) -> Phase:
        stretch = self._stretch(m, head=_is_head(phase))
        work = tuple(each._replace(time_s=each.time_s * stretch) for each in phase.work)
        return phase._replace(time_s=phase.time_s * stretch, energy=phase.energy * m, flop=phase.flop * m, work=work)


def _is_head(phase: Phase) -> bool:
    return any(isinstance(work.item, Linear) and work.item.role is FcRole.LM_HEAD for work in phase.work)
