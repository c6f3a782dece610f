"""One simulation as the user describes it: a machine, a model, requests, and how they are served."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from papisim import catalog
from papisim.catalog import Found, Shelf
from papisim.config.base import Count, Fraction, NonNegative, Positive, Spec, parse
from papisim.config.quantisation import QuantisationSpec
from papisim.config.sections import SECTIONS, SectionFile, kind_of, load_section, override_section, parse_kind
from papisim.config.sources import Source
from papisim.config.system import System, load_system
from papisim.config.yaml import Assignment, Document, Override, as_assignment
from papisim.errors import did_you_mean


class VerificationSpec(Spec):
    """How drafts are verified, and what the host does around it.

    Attributes:
        padding: give every request as many token-rows as the one with most, as kernels without ragged batches need.
        sampling_row_s: time of sampling from one token-row's logits, on one rank.
        sampling_ranks: ranks among which the requests to sample are dealt out.
        bookkeeping_s: host time of an iteration (acceptance, rollback, sending results).
        overlap_bookkeeping: do that while the next iteration computes; it then costs only what is longer than that.
    """

    padding: bool = False
    sampling_row_s: NonNegative = 0.0
    sampling_ranks: Count = 1
    bookkeeping_s: NonNegative = 0.0
    overlap_bookkeeping: bool = False


class KvSpec(Spec):
    """How KV caches are kept.

    Attributes:
        page_tokens: tokens of one request that a page holds (vLLM's ``block_size``).
        utilisation_ratio: share of the devices' memory that may be used, weights included (vLLM's
            ``gpu_memory_utilization``).
        watermark_ratio: share of the pages that admission leaves free for those who decode, unless nobody does (vLLM's
            ``watermark``); none where whole lengths are reserved.
        reserve: what admission takes pages for: a request's ``prompt``, or its ``whole`` length, after which the pages cannot
            run out. As the batching policy does, if None.
        on_exhaustion: what becomes of the request that came last when pages run out: ``recompute``, ``swap`` or ``refuse``.
        swap_link: link over which caches are swapped out and back; its other side is taken to have room for all.
    """

    page_tokens: Count = 16
    utilisation_ratio: Fraction = 1.0
    watermark_ratio: Annotated[float, Field(ge=0, lt=1)] = 0.01
    reserve: Literal["prompt", "whole"] | None = None
    on_exhaustion: Literal["recompute", "swap", "refuse"] = "recompute"
    swap_link: str | None = None

    @model_validator(mode="after")
    def _link_to_swap_over(self) -> Self:
        if (self.on_exhaustion == "swap") != (self.swap_link is not None):
            raise ValueError("'swap_link' names the link for 'on_exhaustion: swap', and stands with it only")
        return self


class SloSpec(Spec):
    """Targets for a request's latencies; goodput counts requests that meet all there are (DistServe, OSDI 2024).

    Attributes:
        ttft_s: for the time to first token.
        tpot_s: for the time per output token.
        e2e_s: for the time from arrival to end.
    """

    ttft_s: Positive | None = None
    tpot_s: Positive | None = None
    e2e_s: Positive | None = None

    @cached_property
    def targets(self) -> dict[str, float]:
        """The targets there are, by name."""
        targets = {"ttft": self.ttft_s, "tpot": self.tpot_s, "e2e": self.e2e_s}
        return {name: target for name, target in targets.items() if target is not None}

    def met_by(self, latencies_s: Mapping[str, float]) -> bool:
        """Tell whether latencies meet all targets; what a request does not have it cannot miss."""
        return all(latencies_s.get(name, 0.0) <= target for name, target in self.targets.items())


class OverlapSpec(Spec):
    """What of a step runs at the same time (see :mod:`papisim.engine.overlap`).

    Attributes:
        kind: ``off``, ``prompts``, ``sub_batches`` or ``heads``.
        pieces: into how many pieces ``heads`` cuts a layer's attention and what is around it.
    """

    kind: Literal["off", "prompts", "sub_batches", "heads"] = "off"
    pieces: Annotated[int, Field(ge=2)] = 4


_INLINE = ("verification", "quantisation", "kv", "routing", "slo", "overlap")
#: how much is kept of a run
Metrics = Literal["exact", "streaming"]
#: the batching policy where none is named and requests arrive over time
_OPEN = "chunked_prefill"


@dataclass(frozen=True)
class Experiment:
    """Everything that determines a run's result.

    Attributes:
        system: the machine.
        trace: the file of the kernel trace.
        workload_name: name of the workload's file.
        workload: options of the workload's kind.
        batching: options of the batching policy.
        speculation: options of the speculation policy.
        acceptance: options of the process that accepts drafts.
        drafting: options of the draft source.
        verification: how drafts are verified.
        quantisation: in what widths weights and caches are held.
        kv: how KV caches are kept.
        routing: how many replicas of the machine there are, and which of them serves a request.
        slo: targets for requests' latencies.
        overlap: what of a step runs at the same time.
        seed: the one seed of all random streams.
        fold: price identical layers once and multiply; off, every layer is simulated by itself.
        fast_forward: run iterations between which nothing changes at once; off, each is simulated by itself.
        metrics: ``exact``: a row for every step and request; ``streaming``: none, and percentiles from sketches.
        sources: where the workload's numbers come from (the machine's are in ``system``).
    """

    system: System
    trace: Found
    workload_name: str
    workload: Any
    batching: Any
    speculation: Any
    acceptance: Any
    drafting: Any
    verification: VerificationSpec
    quantisation: QuantisationSpec
    kv: KvSpec
    routing: Any
    slo: SloSpec
    overlap: OverlapSpec
    seed: int
    fold: bool
    fast_forward: bool
    metrics: Metrics
    sources: tuple[Source, ...]
    overrides: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def n_requests(self) -> int | None:
        """How many requests there will be, as far as the workload's options say."""
        return getattr(self.workload, "n_requests", None)

    def resolved(self) -> dict[str, Any]:
        """Return every field as plain values, for a manifest."""
        return {
            "system": {"name": self.system.name, **self.system.resolved()},
            "trace": self.trace.name,
            "workload": {"name": self.workload_name, **self.workload.model_dump()},
            "batching": self.batching.model_dump(),
            "speculation": self.speculation.model_dump(),
            "acceptance": self.acceptance.model_dump(),
            "drafting": self.drafting.model_dump(),
            "verification": self.verification.model_dump(),
            "quantisation": self.quantisation.model_dump(),
            "kv": self.kv.model_dump(),
            "routing": self.routing.model_dump(),
            "slo": self.slo.model_dump(),
            "overlap": self.overlap.model_dump(),
            "seed": self.seed,
            "fold": self.fold,
            "fast_forward": self.fast_forward,
            "metrics": self.metrics,
        }


@dataclass(frozen=True)
class RunOptions:
    """What a user asks to be run, as the command line has it.

    Attributes:
        hw: a system's name or file.
        trace: a kernel trace's name or file.
        workload: a workload's name or file.
        batch_size: requests of a batch: of a static one, as many as the workload has, if None; of other batching policies the
            most.
        n_requests: how many requests; the workload's own number, or for a closed batch one batch when only ``batch_size`` is
            given.
        batching: who joins the batch: a shipped name, a file, or a kind. If None, ``static`` for a closed batch, else
            ``chunked_prefill``.
        tlp: tokens per request and iteration, where no speculation policy is named.
        speculation: a speculation policy: a shipped name, a file, or a kind; from ``tlp``, if None.
        acceptance: a process that accepts drafts: likewise.
        drafting: a draft source: likewise.
        replicas: equal machines side by side.
        router: which of them serves a request: a kind.
        placement: replaces the system's placement policy (``papi``, ``cheapest``, ``pinned:DEVICE``).
        overrides: assignments, or texts ``path=value`` of such.
        seed: the seed.
        fold: whether to fold identical layers.
        fast_forward: whether to run iterations between which nothing changes at once.
        metrics: ``exact`` or ``streaming``.
    """

    hw: str
    trace: str
    workload: str = "creative_writing"
    batch_size: int | None = None
    n_requests: int | None = None
    tlp: int = 1
    speculation: str | None = None
    acceptance: str = "always"
    drafting: str = "free"
    batching: str | None = None
    replicas: int = 1
    router: str = "round_robin"
    placement: str | None = None
    overrides: Sequence[Override] = ()
    seed: int = 0
    fold: bool = True
    fast_forward: bool = True
    metrics: Metrics = "exact"


def load_experiment(options: RunOptions, read_system: Callable[..., System] = load_system) -> Experiment:
    """Read every file an experiment names.

    Args:
        options: what is to be run.
        read_system: reads the machine; many experiments on one machine may remember it.

    Raises:
        InputError, InputErrors: everything wrong with the first file that has anything wrong.
    """
    trace = catalog.find(Shelf.TRACE, options.trace)
    assignments = [as_assignment(override) for override in options.overrides]
    overrides = _by_section(assignments)
    system = read_system(options.hw, overrides[None], options.placement).for_model(trace.name)
    workload = _load_workload(options, overrides["workload"])
    parts = {
        "workload": workload,
        "batching": _load_batching(options, workload, overrides["batching"]),
        "speculation": load_section(
            "speculation", options.speculation or _from_tlp(options.tlp), overrides["speculation"]
        ),
        "acceptance": load_section("acceptance", options.acceptance, overrides["acceptance"]),
        "drafting": load_section("drafting", options.drafting, overrides["drafting"]),
    }
    trace_notes = (trace.note,) if trace.note else ()
    return Experiment(
        system=system,
        trace=trace,
        workload_name=workload.name,
        workload=workload.options,
        batching=parts["batching"].options,
        speculation=parts["speculation"].options,
        acceptance=parts["acceptance"].options,
        drafting=parts["drafting"].options,
        verification=parse(VerificationSpec, _inline("verification", {}, overrides["verification"])),
        quantisation=parse(QuantisationSpec, _inline("quantisation", {}, overrides["quantisation"])),
        kv=_parse_kv(system, overrides["kv"]),
        routing=_parse_routing(options, overrides["routing"]),
        slo=parse(SloSpec, _inline("slo", {}, overrides["slo"])),
        overlap=parse(OverlapSpec, _inline("overlap", {}, overrides["overlap"])),
        seed=options.seed,
        fold=options.fold,
        fast_forward=options.fast_forward,
        metrics=options.metrics,
        sources=tuple(source for part in parts.values() for source in part.sources),
        overrides=tuple(each.text for each in assignments),
        notes=(*system.notes, *trace_notes, *(note for part in parts.values() for note in part.notes)),
    )


def _load_workload(options: RunOptions, overrides: Sequence[Override]) -> SectionFile:
    wanted = {} if options.n_requests is None else {"n_requests": options.n_requests}
    workload = load_section("workload", options.workload, overrides, wanted)
    if workload.kind == "closed_batch" and options.n_requests is None and options.batch_size is not None:
        return load_section("workload", options.workload, overrides, {"n_requests": options.batch_size})
    return workload


def _load_batching(options: RunOptions, workload: SectionFile, overrides: Sequence[Override]) -> SectionFile:
    closed, size = workload.kind == "closed_batch", options.batch_size
    if options.batching is None and closed:
        batch = {"kind": "static", "batch_size": size or workload.options.n_requests}
        return load_section("batching", batch, overrides)
    choice = options.batching or _OPEN
    if size is None and closed:
        size = workload.options.n_requests
    fields = {} if size is None else {_size_field(kind_of("batching", choice)): size}
    return load_section("batching", choice, overrides, fields)


def _size_field(kind: str) -> str:
    """Return how a batching policy calls the number of requests in a batch."""
    options = catalog.load_kind(SECTIONS["batching"].package, kind).Options
    return "batch_size" if "batch_size" in options.model_fields else "max_batch"


def _parse_kv(system: System, overrides: Sequence[Override]) -> KvSpec:
    document = _inline("kv", {}, overrides)
    kv = parse(KvSpec, document)
    if kv.swap_link is not None and kv.swap_link not in system.spec.links:
        hint = did_you_mean(kv.swap_link, system.spec.links)
        raise document.error(("swap_link",), f"no link '{kv.swap_link}' in {system.name}; {hint}")
    return kv


def _parse_routing(options: RunOptions, overrides: Sequence[Override]) -> Any:
    chosen = {"kind": options.router, "replicas": options.replicas}
    return parse_kind(_inline("routing", chosen, overrides), "papisim.policies.routing")


def _from_tlp(tlp: int) -> dict[str, Any]:
    return {"kind": "off"} if tlp == 1 else {"kind": "fixed", "tlp": tlp}


def _inline(section: str, defaults: dict[str, Any], overrides: Sequence[Override]) -> Document:
    return override_section(section, Document(defaults, section), overrides)


def _by_section(assignments: Sequence[Assignment]) -> dict[str | None, list[Assignment]]:
    """Sort assignments by the section they start with; those of the machine are under None."""
    sorted_: dict[str | None, list[Assignment]] = {name: [] for name in (*SECTIONS, *_INLINE, None)}
    for each in assignments:
        head = each.path[0]
        sorted_[head if isinstance(head, str) and head in sorted_ else None].append(each)
    return sorted_
