"""What one step of the model consists of on a machine: phases, each on one device or link.

A step computes every block of the trace, layer after layer. Its kernels follow one another, since each needs the last
one's result; a message to or from another device is a phase of its own on the link between.

A step decodes, computes prompts, or does both (a mixed step):

- FC and elementwise kernels see all token-rows at once, since they share one pass over the weights. A pure prefill runs
  them on the device that the system names for prompts. In a mixed step the placement policy decides, and the rows that
  it sees in flight (PAPI's RLP × TLP) are all of them: a prompt's tokens raise the arithmetic intensity of the FC kernel
  as draft tokens do, so under PAPI's rule a step with a few prompt tokens stays on FC-PIM, one with a chunk goes to the
  processing units.
- Attention of the decoding requests and of the prompts are two kernels, each on its own device. A chunk attends to the
  part of its prompt that is cached already; where the caches are on another device than the one that computes prompts,
  that part is fetched over the link, layer by layer.
- Where attention of the decoding requests has several devices, the placement policy chooses for each shape of attention
  (:mod:`papisim.plan.placing`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from papisim.arrays import Ints
from papisim.bounded import BoundedDict
from papisim.config.engine import CAPTURED, EngineSpec
from papisim.config.experts import BALANCED, ExpertsSpec
from papisim.devices.base import AttentionRun, DevicePool, runs_together
from papisim.errors import NotModelled
from papisim.ops.cost import Energy
from papisim.ops.experts import Routing, even_groups
from papisim.ops.fusion import fuse
from papisim.ops.kernel import Attention, Linear
from papisim.ops.lower import KvLengths, StepShape, cached_bytes, expansion, lower, lower_attention
from papisim.ops.router_log import read_router_log
from papisim.ops.trace import KernelTrace
from papisim.plan.graphs import Graphs
from papisim.plan.kernels import ModelKernels, SectionPlanner, StepKernel, linear
from papisim.plan.layout import (
    PARTS_KEPT,
    AttentionSlot,
    BodyKey,
    HeadKey,
    StepKey,
    StepLayout,
    StepPart,
    merge,
)
from papisim.plan.machine import Machine
from papisim.plan.phase import Category, Phase, together
from papisim.plan.placing import Placing, grown
from papisim.plan.planner import Planner
from papisim.plan.sharing import SharedMachines
from papisim.plan.transfers import fetch
from papisim.policies.placement.base import Operator, PlacementPolicy


def build_routing(trace: KernelTrace, experts: ExpertsSpec, seed: int) -> Routing:
    """Return the routing of a model in an experiment with a seed.

    Raises:
        InputError: the log of a router is not that of the model.
    """
    log = None if experts.log is None else read_router_log(Path(experts.log))
    if log is not None:
        log.check(trace)
    return Routing(seed, experts.zipf_exponent, experts.popularity, experts.repeat_ratio, log)


class Places(NamedTuple):
    """Where the operators of a decoding step are.

    Attributes:
        body: device of each FC kernel of the layers.
        head: device of each FC kernel of the LM head; empty where no logits are wanted.
        attention: device of each shape of attention; empty if all are at home.
        experts: device of each FC kernel of experts with equal shares of the rows; empty if there are none.
    """

    body: tuple[str, ...]
    head: tuple[str, ...]
    attention: tuple[str, ...]
    experts: tuple[str, ...] = ()


class StepPlanner(Planner):
    """Turns steps into phases, and remembers the layouts of shapes and the parts of keys.

    Args:
        trace: the model.
        machine: the hardware.
        placement: the placement of the operators of decoding steps.
        seed: seed of the experts' router.
        engine: the engine, which merges kernels, captures steps, and samples.
        most_rows: token-rows of a full batch, drafts included; None if unknown.
        experts: choices of the router of a mixture of experts.
        drafts: whether the model is a draft model.

    Attributes:
        graphs: the steps that the engine has captured.
        notes: kernels that the engine merges and the model's cannot be.
        placing: asks the placement policy.
    """

    def __init__(
        self,
        trace: KernelTrace,
        machine: Machine,
        placement: PlacementPolicy,
        *,
        seed: int,
        engine: EngineSpec = CAPTURED,
        most_rows: int | None = None,
        experts: ExpertsSpec = BALANCED,
        drafts: bool = False,
    ) -> None:
        self._trace, self.notes = fuse(trace, engine.fusion)
        shared = SharedMachines(machine.paced(engine.kernels), experts.copies)
        self._shared, self._machine = shared, (machine := shared.group)
        self.graphs = Graphs(engine.graphs, most_rows)
        self._kernels = ModelKernels(self._trace, engine.fusion)
        self._repeats = bool(experts.repeat_ratio)
        if machine.roles.attention_elsewhere and self._shares_attention:
            raise NotModelled(
                "attention elsewhere (roles.attention_elsewhere) of several attention groups or of contexts that are split"
            )
        routing = build_routing(trace, experts, seed)
        self.placing = Placing(self._trace, machine, placement, self._kernels.attention, drafts)
        self._sections = SectionPlanner(self._kernels, machine, self.placing.experts, routing, engine, shared)
        self._candidates = tuple(machine.roles.fc)
        self._layouts = BoundedDict[tuple[StepShape, bool, tuple[str, ...], Places | None], StepLayout](PARTS_KEPT)
        self._parts = BoundedDict[BodyKey | HeadKey | StepKey, StepPart](PARTS_KEPT)

    def layout(
        self,
        shape: StepShape,
        decode: KvLengths | None = None,
        *,
        fold: bool = True,
        places: Places | None = None,
    ) -> StepLayout:
        """Return all of a step but its attention; arguments as of :meth:`Planner.layout`.

        Args:
            shape: shape of the whole step.
            decode: caches of the requests that decode.
            fold: whether identical layers are multiplied.
            places: where operators are, whatever the policy says.
        """
        attention = self.placing.attention_devices(shape, decode) if places is None else places.attention
        layout = self._layouts.get((shape, fold, attention, places))
        if layout is None:
            layout = StepLayout(self._layout_parts(self._placed(self.key(shape, attention), places), fold=fold))
            self._layouts[shape, fold, attention, places] = layout
        return layout

    def places(self, shape: StepShape, decode: KvLengths) -> Places:
        """Return where the policy places the operators of a decoding step."""
        attention = self.placing.attention_devices(shape, decode)
        body, head = self.key(shape, attention)
        return Places(body.devices, () if head is None else head.devices, attention, self._expert_devices(body))

    def _placed(self, key: StepKey, places: Places | None) -> StepKey:
        """Return a key with operators elsewhere; experts that are not moved are where the policy has those of each layer."""
        if places is None:
            return key
        head = None if key.head is None else key.head._replace(devices=places.head)
        experts = () if places.experts == self._expert_devices(key.body) else places.experts
        return StepKey(key.body._replace(devices=places.body, experts=experts), head)

    def _expert_devices(self, body: BodyKey) -> tuple[str, ...]:
        """Return where the policy places FC of experts if those that are expected to get any rows get equal shares."""
        if body.expert_rlp is None or len(self._candidates) == 1:
            return ()
        groups = even_groups(body.rows, self._trace.model.n_experts, self._trace.model.n_experts_per_token)
        lowered = ((each, lower(each.kernel, self._trace, body.rows, groups)) for each in self._kernels.expert_fc)
        return tuple(
            self.placing.experts(kernel, body.expert_rlp, body.rows, self._kernels.narrowed_ratio[each.class_id])
            for each, kernel in lowered
            if isinstance(kernel, Linear)
        )

    def placed_alike(self, shape: StepShape, lengths: KvLengths, n: int) -> int:
        """Return the number of the first of ``n`` decoding iterations whose operators are where those of the first are."""
        return self.placing.alike(lengths, n)

    def _layout_parts(self, key: StepKey, *, fold: bool) -> Iterator[StepPart]:
        body, head = key
        if not fold:
            yield self._part(key, lambda: self._sections.unfolded(key))
            return
        yield self._part(body, lambda: merge(self._sections.body(body)))
        if head is not None:
            yield self._part(head, lambda: merge(self._sections.head(head)))

    def _part(
        self, key: BodyKey | HeadKey | StepKey, items: Callable[[], Iterable[Phase | AttentionSlot]]
    ) -> StepPart:
        part = self._parts.get(key)
        if part is None:
            part = self._parts[key] = StepPart(items())
        return part

    def key(self, shape: StepShape, attention: tuple[str, ...] = ()) -> StepKey:
        """Return all that the kernels of a step depend on, attention aside.

        Args:
            shape: shape of the step.
            attention: device of each shape of decoding attention; empty if all are at home.
        """
        parts = shape.dealt(self._shared.parallel.data_ranks) if self._shares_attention else ()
        body = self._body_key(shape)._replace(
            attention=attention, decoding_rows=shape.rows - shape.prompt_rows if attention else 0
        )
        heads = tuple((part.logit_rows, n) for part, n in parts if part.logit_rows)
        if parts:
            groups = tuple((self._body_key(part), n) for part, n in parts)
            body = body._replace(rows=sum(own.rows * n for own, n in groups), groups=groups)
        if not (shape.logit_rows and self._kernels.head_fc):
            return StepKey(body, None)
        rows, devices = shape.logit_rows, self._devices(self._kernels.head_fc, shape, shape.logit_rows)
        return StepKey(body, HeadKey(rows, devices, heads))

    @property
    def _shares_attention(self) -> bool:
        """Whether there are several attention groups, or some ranks of a group have parts of the caches' tokens."""
        parallel = self._shared.parallel
        return parallel.data_ranks > 1 or parallel.context_ranks > 1

    def _body_key(self, shape: StepShape) -> BodyKey:
        roles, kernels = self._machine.roles, self._kernels
        by_policy = kernels.has_experts and not shape.is_prefill
        # a GPU attends to a prompt itself, since it has just computed it, and ranks of a context have all of its tokens
        local = roles.prefill.attention != roles.attention or self._shared.context_ranks > 1
        return BodyKey(
            rows=self.graphs.padded(shape.rows),
            appended_rows=shape.rows,
            layers=shape.layers,
            wants_logits=shape.logit_rows > 0,
            query_rows=shape.rows - (shape.prompt_rows if local else 0),
            devices=self._devices(kernels.body_fc, shape, self.graphs.padded(shape.rows)),
            expert_rlp=shape.rlp if by_policy else None,
            requests=shape.rlp if kernels.has_states else 0,
            drafted_rows=shape.drafted_rows if kernels.has_states else 0,
            drafting=shape.rlp if self._repeats and not shape.prompt_rows else None,
        )

    def _devices(self, kernels: tuple[StepKernel, ...], shape: StepShape, rows: int) -> tuple[str, ...]:
        """Return the devices of FC kernels that see ``rows`` token-rows of a step."""
        if shape.is_prefill:
            return (self._machine.roles.prefill.fc,) * len(kernels)
        if len(self._candidates) == 1:
            return self._candidates * len(kernels)
        ratios = self._kernels.narrowed_ratio
        return tuple(
            self.placing.fc(linear(each, self._trace, rows), shape.rlp, shape.rows, ratios[each.class_id])
            for each in kernels
        )

    def place(self, kernel: Linear, rlp: int, rows: int) -> str:
        """Return the device on which the policy places an FC kernel of a decoding step."""
        return self.placing.fc(kernel, rlp, rows)

    def attention(self, slot: AttentionSlot, decode: KvLengths | None, prompts: KvLengths | None) -> Iterator[Phase]:
        """Yield the attention of decoding requests and of prompts, and the message with the prompts' cached part."""
        roles = self._machine.roles
        groups = self._shared.parallel.data_ranks
        if decode is not None:
            if slot.device == roles.attention:
                phases = [
                    (self._attention(slot, kernel, roles.attention, self._shared.heads), n * times)
                    for lengths, n in decode.dealt(groups)
                    for kernel, times in self._in_context(lower_attention(slot.kernel, self._trace, lengths))
                ]
                yield together(phases)._replace(operator=Operator.ATTENTION)
            else:
                for phase in self.placing.fetched(slot.kernel, slot.device, decode):
                    yield phase._replace(repeats=slot.repeats)
                phase = self._attention(slot, lower_attention(slot.kernel, self._trace, decode), slot.device)
                yield phase._replace(operator=Operator.ATTENTION)
        if prompts is not None:
            parts = prompts.dealt(groups)
            each = [(list(self._cached_part(slot, lengths)), n) for lengths, n in parts]
            for at in range(max(len(phases) for phases, _ in each)):
                yield together([(phases[at], n) for phases, n in each if phases])._replace(repeats=slot.repeats)
            kernels = ((lower_attention(slot.kernel, self._trace, lengths), n) for lengths, n in parts)
            yield together([(self._attention(slot, own, roles.prefill.attention), n) for own, n in kernels])

    def _in_context(self, kernel: Attention) -> list[tuple[Attention, int]]:
        """Return the attention of ranks that have parts of the caches' tokens, the fullest first, and the number of ranks with each.

        Tokens are dealt out to the ranks one by one, those of each request from where those of the one before it end.
        """
        ranks = self._shared.context_ranks
        if ranks == 1:
            return [(kernel, 1)]
        least, more = divmod(kernel.kv_tokens, ranks)
        longest = -(-kernel.longest_kv // ranks)
        return [
            (replace(kernel, kv_tokens=own, longest_kv=longest, pairs=-(-kernel.pairs * own // kernel.kv_tokens)), n)
            for own, n in ((least + 1, more), (least, ranks - more))
            if own and n
        ]

    def _cached_part(self, slot: AttentionSlot, prompts: KvLengths) -> Iterator[Phase]:
        """Yield the message and the kernel that bring the cached part of prompts, as far as it is seen, to where it is attended to."""
        shape, machine = slot.shape, self._machine
        tokens = prompts.within(shape.reach).prefix_tokens
        if tokens:
            yield from fetch(machine, machine.roles.prefill.attention, cached_bytes(shape, self._trace, tokens))
            expanded = expansion(shape, self._trace, tokens)
            if expanded is not None:
                yield machine.compute(machine.roles.prefill.fc, Category.FC, expanded)

    def _attention(
        self, slot: AttentionSlot, kernel: Attention, device: str, machine: Machine | None = None
    ) -> Phase:
        # caches hardly ever have the same lengths again
        ranks = self._machine if machine is None else machine
        return ranks.compute_once(device, Category.ATTENTION, kernel, repeats=slot.repeats)

    def growing(self, layout: StepLayout, lengths: KvLengths, n: int) -> list[tuple[Phase, AttentionRun]]:
        """Return the attention of ``n`` decoding iterations, each of which lengthens every cache by its new tokens."""
        device, runs = self._machine.roles.attention, []
        for slot in layout.slots:
            if slot.device != device:
                moved = self.placing.growing(slot.kernel, slot.device, lengths, n)
                runs += [(phase._replace(repeats=slot.repeats), run) for phase, run in moved]
                continue
            parts = lengths.dealt(self._shared.parallel.data_ranks)
            each = [(*self._growing(slot, part, n), groups) for part, groups in parts]
            flop = sum(kernel.flop * groups for kernel, _, groups in each)
            run = runs_together([(run, groups) for _, run, groups in each])
            phase = Phase(device, Category.ATTENTION, 0.0, Energy(), flop, slot.repeats, operator=Operator.ATTENTION)
            runs.append((phase, self._machine.paced_run(run)))
        return runs

    def _growing(self, slot: AttentionSlot, lengths: KvLengths, n: int) -> tuple[Attention, AttentionRun]:
        """Return the attention of an attention group and its costs in ``n`` iterations."""
        pool = self._shared.heads.pools[self._machine.roles.attention]
        kernel = lower_attention(slot.kernel, self._trace, lengths)
        if self._shared.context_ranks > 1:
            return kernel, self._growing_in_context(pool, kernel, lengths.growing(slot.shape.reach, n))
        return kernel, grown(pool, kernel, slot.shape, lengths, n)

    def _growing_in_context(self, pool: DevicePool, kernel: Attention, caches: tuple[Ints, Ints]) -> AttentionRun:
        """Return the costs over caches whose tokens are dealt out to ranks, as :meth:`_in_context` deals them out."""
        ranks, (kv_tokens, longest) = self._shared.context_ranks, caches
        least, more = kv_tokens // ranks, kv_tokens % ranks
        fullest, longest = -(-kv_tokens // ranks), -(-longest // ranks)
        run = pool.price_caches(kernel, fullest, longest)
        energy_j = run.energy_j * np.where(more, more, ranks)
        if more.any() and least.all():
            energy_j += pool.price_caches(kernel, least, longest).energy_j * np.where(more, ranks - more, 0)
        return AttentionRun(run.time_s, energy_j, pool.outside_caches(kernel, fullest, longest))
