"""One simulation as the user describes it: a machine, a model, requests, and how they are served."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Annotated, Any, ClassVar, Literal, Self, get_type_hints

from pydantic import Field, PlainValidator, model_validator

from papisim import catalog
from papisim.catalog import Found, Shelf
from papisim.config.base import (
    Count,
    Fraction,
    KindOptions,
    Name,
    NonNegative,
    Positive,
    Replicas,
    Spec,
    Width,
    parse,
    shown,
)
from papisim.config.engine import EngineFile, EngineSpec, load_engine, with_libraries
from papisim.config.experts import ExpertsSpec
from papisim.config.kinds import outside_code, parse_options
from papisim.config.options import Choice, Named, Option, present_names
from papisim.config.quantisation import QuantisationSpec
from papisim.config.sections import SECTIONS, SectionFile, kind_of, load_section, override_section
from papisim.config.sources import Source
from papisim.config.system import System, load_system
from papisim.config.tuning import Tuning, tuned
from papisim.config.yaml import Assignment, Document, Override, as_assignment
from papisim.errors import InputError, did_you_mean
from papisim.kinds.families import family


class VerificationSpec(Spec):
    """Verification of drafts, and the host's work around it.

    Attributes:
        padding: pad the token-rows of every request to those of the longest one, as kernels without ragged batches need.
        sampling_row_s: time of sampling from the logits of one token-row, on one rank, in seconds.
        sampling_ranks: ranks over which the requests to sample are distributed.
        bookkeeping_s: host time per iteration (acceptance, rollback, sending results), in seconds.
        overlap_bookkeeping: do the bookkeeping while the next iteration computes; only the excess over that iteration costs
            time.
    """

    padding: bool = False
    sampling_row_s: NonNegative = 0.0
    sampling_ranks: Count = 1
    bookkeeping_s: NonNegative = 0.0
    overlap_bookkeeping: bool = False


class PrefixCacheSpec(Spec):
    """Reuse of the KV caches of prompts that begin alike (see :mod:`papisim.engine.prefix`).

    Attributes:
        kind: ``off``: every prompt is computed in full; ``block``: whole blocks are reused, as vLLM does; ``radix``: every token is, as
            SGLang does, with pages of one token.
        block_tokens: of ``block``: tokens of a block; a multiple of ``kv.page_tokens``, and equal to it if None.
        eviction: the first block to leave, of those that no request holds and no other follows: the least recently used
            (``lru``), the least often used (``lfu``), or the oldest (``fifo``).
    """

    kind: Literal["off", "block", "radix"] = "off"
    block_tokens: Count | None = None
    eviction: Literal["lru", "lfu", "fifo"] = "lru"


class TierSpec(Spec):
    """A memory or drive below the device that keeps blocks of the prefix cache (see :mod:`papisim.engine.tiers`).

    Attributes:
        name: name in results.
        capacity_bytes: room for blocks, of each replica.
        link: link of the machine over which its blocks come and go.
        fetch: blocks that a prompt begins with are fetched ``always``, or ``when_faster`` than computing them.
    """

    name: Name
    capacity_bytes: Positive
    link: Name
    fetch: Literal["always", "when_faster"] = "always"


class KvSpec(Spec):
    """Management of KV caches.

    Attributes:
        page_tokens: tokens per page (vLLM's ``block_size``).
        utilisation_ratio: usable share of the devices' memory, weights included (vLLM's ``gpu_memory_utilization``).
        watermark_ratio: share of the pages that admission leaves free while requests decode (vLLM's ``watermark``); none
            where whole lengths are reserved.
        reserve: the pages that admission allocates: those of the ``prompt``, or of the ``whole`` length, after which pages
            cannot run out. If None, the batching policy decides.
        on_exhaustion: when pages run out, the most recently admitted request is preempted and recomputed (``recompute``),
            preempted and swapped out (``swap``), or refused (``refuse``).
        swap_link: link over which caches are swapped out and in; the memory behind it is assumed large enough.
        beyond_positions: a request longer than a model's table of learned positions is refused (``refuse``), or served as if the
            table were longer (``run``), as papers do that serve GPT-3 beyond its 2,048 tokens.
        prefix_cache: reuse of the caches of prompts that begin alike.
        tiers: where blocks of the prefix cache go that the device has no room for, in this order.
    """

    page_tokens: Count = 16
    utilisation_ratio: Fraction = 1.0
    watermark_ratio: Annotated[float, Field(ge=0, lt=1)] = 0.01
    reserve: Literal["prompt", "whole"] | None = None
    on_exhaustion: Literal["recompute", "swap", "refuse"] = "recompute"
    swap_link: str | None = None
    beyond_positions: Literal["refuse", "run"] = "refuse"
    prefix_cache: PrefixCacheSpec = PrefixCacheSpec()
    tiers: list[TierSpec] = Field(default_factory=list)

    @property
    def block_tokens(self) -> int:
        """Tokens of a block of the prefix cache."""
        return self.prefix_cache.block_tokens or self.page_tokens

    @model_validator(mode="after")
    def _blocks_of_whole_pages(self) -> Self:
        kind, given = self.prefix_cache.kind, self.prefix_cache.block_tokens
        if given is not None and kind != "block":
            raise ValueError(f"'prefix_cache.block_tokens' is for 'prefix_cache.kind: block' only, found '{kind}'")
        if kind == "radix" and self.page_tokens != 1:
            raise ValueError(f"found 'page_tokens' {self.page_tokens}, expected 1 with 'prefix_cache.kind: radix'")
        if self.block_tokens % self.page_tokens:
            raise ValueError(
                f"found 'prefix_cache.block_tokens' {given}, expected a multiple of 'page_tokens' {self.page_tokens}"
            )
        return self

    @model_validator(mode="after")
    def _tiers_of_a_prefix_cache(self) -> Self:
        if not self.tiers:
            return self
        if self.prefix_cache.kind == "off":
            raise ValueError("found 'tiers' and 'prefix_cache.kind: off', expected 'block' or 'radix'")
        if self.on_exhaustion == "swap":
            raise ValueError(
                "found 'tiers' and 'on_exhaustion: swap', expected 'recompute', which finds its blocks in the tiers"
            )
        names = ["device", *(tier.name for tier in self.tiers)]
        if len(set(names)) < len(names):
            raise ValueError(f"found tiers of the names {', '.join(names)}, expected different ones")
        return self

    @model_validator(mode="after")
    def _link_to_swap_over(self) -> Self:
        if self.on_exhaustion == "swap" and self.swap_link is None:
            raise ValueError("'swap_link' is missing: the link over which 'on_exhaustion: swap' moves caches")
        if self.on_exhaustion != "swap" and self.swap_link is not None:
            raise ValueError("'swap_link' is for 'on_exhaustion: swap' only")
        return self


class SloSpec(Spec):
    """Latency targets of requests; goodput counts the requests that meet every target given (DistServe, OSDI 2024).

    Attributes:
        ttft_s: time to first token, in seconds.
        tpot_s: time per output token, in seconds.
        e2e_s: end-to-end latency, in seconds.
    """

    ttft_s: Positive | None = None
    tpot_s: Positive | None = None
    e2e_s: Positive | None = None

    @cached_property
    def targets(self) -> dict[str, float]:
        """The given targets in seconds, by name."""
        targets = {"ttft": self.ttft_s, "tpot": self.tpot_s, "e2e": self.e2e_s}
        return {name: target for name, target in targets.items() if target is not None}

    def met_by(self, latencies_s: Mapping[str, float]) -> bool:
        """Return whether latencies meet all targets; a latency that a request does not have cannot miss its target."""
        return all(latencies_s.get(name, 0.0) <= target for name, target in self.targets.items())


class OverlapSpec(Spec):
    """Overlap of the phases of a step (see :mod:`papisim.engine.overlap`).

    Attributes:
        kind: ``off``, ``prompts``, ``sub_batches`` or ``heads``.
        pieces: number of pieces that ``heads`` divides the attention of a layer and its neighbouring kernels into.
    """

    kind: Literal["off", "prompts", "sub_batches", "heads"] = "off"
    pieces: Annotated[int, Field(ge=2)] = 4


class RoutingSpec(KindOptions):
    """Replicas of the machine and the routing of requests to them.

    Attributes:
        replicas: number of equal machines side by side.
    """

    replicas: Replicas = 1


#: speculation policies whose lengths the user gives, and which decide nothing
_GIVEN = frozenset({"off", "fixed", "schedule"})
#: records kept of a run
Metrics = Literal["exact", "streaming"]
#: the batching policy where none is named and requests arrive over time
_OPEN = "chunked_prefill"


@dataclass(frozen=True)
class Experiment:
    """Everything that determines the result of a run. Each field whose type is a :class:`Spec` is a section.

    Attributes:
        system: the machine.
        trace: the file of the kernel trace.
        workload_name: name of the workload's file.
        workload: options of the workload's kind.
        batching: options of the batching policy.
        speculation: options of the speculation policy.
        acceptance: options of the acceptance process.
        drafting: options of the draft source.
        verification: verification of drafts.
        quantisation: widths of weights and caches.
        kv: management of KV caches.
        routing: replicas of the machine and the routing of requests to them.
        slo: latency targets.
        overlap: overlap of the phases of a step.
        engine: the engine profile.
        experts: choices of the router of a mixture of experts.
        seed: the one seed of all random streams.
        fold: price identical layers once and multiply; off, every layer is simulated by itself.
        fast_forward: run steady iterations at once; off, each is simulated by itself.
        metrics: ``exact``: a row per step and request; ``streaming``: no rows, and percentiles from sketches.
        sources: origins of the numbers in the sections (those of the machine are in ``system``).
        overrides: changed fields, as ``--set`` has them.
        notes: remarks on the files that were read.
        tunings: values that belong to the machine and the model, and their origins.
    """

    system: System
    trace: Found
    workload_name: str
    workload: KindOptions
    batching: KindOptions
    speculation: KindOptions
    acceptance: KindOptions
    drafting: KindOptions
    verification: VerificationSpec
    quantisation: QuantisationSpec
    kv: KvSpec
    routing: RoutingSpec
    slo: SloSpec
    overlap: OverlapSpec
    engine: EngineSpec
    experts: ExpertsSpec
    seed: int
    fold: bool
    fast_forward: bool
    metrics: Metrics
    sources: tuple[Source, ...]
    overrides: tuple[str, ...]
    notes: tuple[str, ...]
    tunings: tuple[Tuning, ...] = ()

    @property
    def n_requests(self) -> int | None:
        """Number of requests, as far as the workload's options tell."""
        return getattr(self.workload, "n_requests", None)

    @property
    def most_rows(self) -> int | None:
        """Token-rows of a full batch with the longest drafts, as far as the policies' options tell."""
        requests = getattr(self.batching, "max_batch", None) or getattr(self.batching, "batch_size", None)
        return (
            requests * (1 + (getattr(self.speculation, "longest", None) or 0)) if isinstance(requests, int) else None
        )

    @property
    def sections(self) -> dict[str, Spec]:
        """The sections by name."""
        return {name: getattr(self, name) for name in section_types()}

    def resolved(self) -> dict[str, Any]:
        """Return every field as plain values, for a manifest."""
        sections = {name: section.model_dump() for name, section in self.sections.items()}
        return {
            "system": {"name": self.system.name, **self.system.resolved()},
            "trace": self.trace.name,
            **sections,
            "workload": {"name": self.workload_name, **sections["workload"]},
            "seed": self.seed,
            "fold": self.fold,
            "fast_forward": self.fast_forward,
            "metrics": self.metrics,
            **({"code": code} if (code := outside_code(self._kinds())) else {}),
        }

    def _kinds(self) -> dict[str, tuple[str, str]]:
        """Return the family and the kind of everything that is of one, by the place where the kind is named."""
        sections = {name: (name, getattr(self, name).kind) for name in (*SECTIONS, "routing")}
        parts = {
            f"devices.{name}.part": ("device", self.system.parts[name].kind) for name in self.system.spec.devices
        }
        format_ = getattr(self.workload, "format", None)
        formats = {"workload.format": ("format", format_)} if isinstance(format_, str) else {}
        return {**sections, **parts, **formats, "placement": ("placement", self.system.placement.kind)}


@cache
def section_types() -> dict[str, type[Spec]]:
    """Return the type of each section of an :class:`Experiment`, by name."""
    hints = get_type_hints(Experiment)
    return {name: hint for name, hint in hints.items() if isinstance(hint, type) and issubclass(hint, Spec)}


def read_assignments(value: object) -> Sequence[Override]:
    """Return fields to change as assignments; of a mapping, the values are written as JSON, which is YAML.

    Raises:
        InputError: neither a mapping nor a list of assignments.
    """
    if isinstance(value, Mapping):
        return tuple(f"{path}={json.dumps(inner, default=_plain)}" for path, inner in value.items())
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise InputError(f"found {shown(value)}, expected a mapping or a list of assignments", field="set")
    return tuple(value)


def _read_set(value: object) -> Sequence[Override]:
    try:
        return read_assignments(value)
    except InputError as error:
        raise ValueError(error.message) from None


def _plain(value: object) -> object:
    """Return a NumPy scalar as the plain number that it holds, a configuration value as a mapping, other objects as text."""
    if isinstance(value, Spec):
        return value.model_dump()
    return value.item() if hasattr(value, "item") else str(value)


#: fields to change: a mapping of paths to values, or assignments; kept as assignments (JSON is YAML)
Assignments = Annotated[Sequence[Override], PlainValidator(_read_set)]
Seed = Annotated[int, Field(ge=0, le=2**63 - 1)]


class RunOptions(Spec):
    """The options of a run: the one declaration of their names, types, defaults and help.

    The command line has them as flags, ``papisim.run`` as parameters, and the ``base`` of a sweep's file as fields. The former
    names in ``renamed`` are accepted with a DeprecationWarning.
    """

    renamed: ClassVar[Mapping[str, str]] = {
        "batch_size": "batch",
        "n_requests": "requests",
        "drafting": "draft",
        "overrides": "set",
    }

    hw: Annotated[Name, Option("Machine: a shipped name or a path.", "NAME|FILE", shelf=Shelf.SYSTEM)]
    trace: Annotated[Name, Option("Kernel trace: a shipped name or a path.", "NAME|DIR|FILE", shelf=Shelf.TRACE)]
    workload: Annotated[Choice, Option("Requests: a shipped name or a path.", "NAME|FILE", section="workload")] = (
        "creative_writing"
    )
    engine: Annotated[
        Name, Option("Engine profile: none, eager, vllm, sglang, trtllm, or a path.", "NAME|FILE", shelf=Shelf.ENGINE)
    ] = "none"
    batch: Annotated[Count | None, Option("Batch size; the maximum under continuous batching.", default="all")] = None
    requests: Annotated[Count | None, Option("Number of requests.", default="--batch, or the workload's")] = None
    tlp: Annotated[Width, Option("Tokens per request and iteration, where no speculation policy is named.")] = 1
    speculation: Annotated[
        Choice | None, Option("Speculation policy.", "NAME|FILE", default="from --tlp", section="speculation")
    ] = None
    acceptance: Annotated[
        Choice | None,
        Option("Acceptance process of drafts.", "NAME|FILE", default="always, with --tlp", section="acceptance"),
    ] = None
    draft: Annotated[
        Choice | None, Option("Draft source.", "NAME|FILE", default="free, with --tlp", section="drafting")
    ] = None
    batching: Annotated[
        Choice | None,
        Option(
            "Batching policy.",
            "NAME|FILE",
            default="static for a closed batch, else chunked_prefill",
            section="batching",
        ),
    ] = None
    replicas: Annotated[Replicas, Option("Equal machines side by side.")] = 1
    router: Annotated[
        Named, Option("Routing policy over replicas: round_robin, least_loaded, kv_aware, prefix_aware.", "KIND")
    ] = "round_robin"
    placement: Annotated[
        Named | None,
        Option("Placement of FC kernels: papi, cheapest, pinned:DEVICE.", "KIND[:DEVICE]", default="the machine's"),
    ] = None
    set: Annotated[
        Assignments,
        Option(
            "Change any field, e.g. devices.fc_pim.count=20 or workload.n_requests=8; may be repeated.", "PATH=VALUE"
        ),
    ] = ()
    seed: Annotated[Seed, Option("Random seed.")] = 0
    fold: Annotated[bool, Option("Price identical layers once; off simulates each.")] = True
    fast_forward: Annotated[
        bool, Option("Run iterations between which nothing changes at once; off simulates each.")
    ] = True
    metrics: Annotated[Metrics, Option("Keep a row per step and request, or none and sketches for percentiles.")] = (
        "exact"
    )

    @model_validator(mode="before")
    @classmethod
    def _present_names(cls, data: object) -> object:
        return present_names(data, cls.renamed, stacklevel=4) if isinstance(data, dict) else data


def options_of(**values: object) -> RunOptions:
    """Return options of a run from values that a caller gives.

    Raises:
        InputError, InputErrors: an unknown name or a wrong value.
    """
    return parse(RunOptions, Document(dict(values), "options"))


def load_experiment(options: RunOptions, read_system: Callable[..., System] = load_system) -> Experiment:
    """Read every file that an experiment names, and tune what belongs to its machine and model.

    Args:
        options: the options of the run.
        read_system: reads the machine; many experiments on one machine may cache it.

    Raises:
        InputError, InputErrors: everything wrong with the first file that has anything wrong.
    """
    trace = catalog.find(Shelf.TRACE, options.trace)
    assignments = [as_assignment(override) for override in options.set]
    overrides = _by_section(assignments)
    engine = load_engine(options.engine, overrides["engine"])
    system = read_system(options.hw, overrides[None], options.placement).for_model(trace.name)
    system = with_libraries(system, engine.spec, overrides[None])
    files = _load_files(options, engine.spec, overrides)
    sections: dict[str, Any] = {name: file.options for name, file in files.items()} | {"engine": engine.spec}
    for name in section_types().keys() - sections.keys():
        sections[name] = _load_inline(name, options, engine.spec, overrides[name])
    _check_links(sections["kv"], system, overrides["kv"])
    trace_notes = (trace.note,) if trace.note else ()
    read: tuple[SectionFile | EngineFile, ...] = (*files.values(), engine)
    experiment = Experiment(
        system=system,
        trace=trace,
        workload_name=files["workload"].name,
        seed=options.seed,
        fold=options.fold,
        fast_forward=options.fast_forward,
        metrics=options.metrics,
        sources=tuple(source for file in read for source in file.sources),
        overrides=tuple(each.text for each in assignments),
        notes=(*system.notes, *trace_notes, *(note for file in read for note in file.notes)),
        **sections,
    )
    return tuned(experiment)


def _load_files(
    options: RunOptions, engine: EngineSpec, overrides: Mapping[str | None, Sequence[Override]]
) -> dict[str, SectionFile]:
    """Read the sections that files of their own describe, in the order in which their sources are listed."""
    workload = _load_workload(options, overrides["workload"])
    files = {"workload": workload, "batching": _load_batching(options, engine, workload, overrides["batching"])}
    for name, field in RunOptions.model_fields.items():
        section = Option.of(field).section
        if section is not None and section not in files:
            choice = getattr(options, name)
            files[section] = load_section(
                section, _unnamed(section, options.tlp) if choice is None else choice, overrides[section]
            )
    _check_is_said(options, overrides, files)
    return files


def _unnamed(section: str, tlp: int) -> Choice:
    """Return the choice for a section of which nothing is named."""
    return _from_tlp(tlp) if section == "speculation" else {"acceptance": "always", "drafting": "free"}[section]


def _check_is_said(
    options: RunOptions, overrides: Mapping[str | None, Sequence[Override]], files: Mapping[str, SectionFile]
) -> None:
    """Refuse a policy of which nothing says how many drafts are accepted or what they cost: all of them, and nothing.

    Lengths that the user gives, all of them accepted for free, are the accounting of the PAPI paper, and need neither.
    """
    kind = files["speculation"].kind
    unsaid = {
        flag: (section, meaning)
        for flag, section, meaning in (
            ("--acceptance", "acceptance", "every draft would be accepted"),
            ("--draft", "drafting", "drafting would be free of charge"),
        )
        if getattr(options, flag.strip("-")) is None and not overrides[section]
    }
    if kind in _GIVEN or not unsaid:
        return
    would_do = "; ".join(
        f"{flag} {', '.join(_suitable(section))}, or {flag} {_unnamed(section, 1)} if that is meant"
        for flag, (section, _) in unsaid.items()
    )
    meanings = " and ".join(meaning for _, meaning in unsaid.values())
    raise InputError(
        f"'{kind}' with no {' and no '.join(unsaid)}: {meanings}; expected {would_do}", field="speculation"
    )


def _suitable(section: str) -> list[str]:
    """Return the shipped files of a section, and its kinds that need no options, the default aside."""
    found = family(section)
    assert found.shelf is not None
    alone = [name for name in ("early_exit",) if section == "drafting" and name in found.names()]
    return [*catalog.shipped(found.shelf), *alone]


def _load_inline(name: str, options: RunOptions, engine: EngineSpec, overrides: Sequence[Override]) -> Spec:
    """Read a section that assignments alone describe, and defaults of the engine."""
    if name == "routing":
        chosen = {"kind": options.router, "replicas": options.replicas}
        return parse_options(_inline(name, chosen, overrides), "routing")
    defaults = engine.kv.model_dump(exclude_none=True) if name == "kv" else {}
    return parse(section_types()[name], _inline(name, defaults, overrides))


def _load_workload(options: RunOptions, overrides: Sequence[Override]) -> SectionFile:
    wanted = {} if options.requests is None else {"n_requests": options.requests}
    workload = load_section("workload", options.workload, overrides, wanted)
    if workload.kind == "closed_batch" and options.requests is None and options.batch is not None:
        return load_section("workload", options.workload, overrides, {"n_requests": options.batch})
    return workload


def _load_batching(
    options: RunOptions, engine: EngineSpec, workload: SectionFile, overrides: Sequence[Override]
) -> SectionFile:
    """Read the batching policy: the user's, the engine's, or papisim's default for the workload."""
    closed, size = workload.kind == "closed_batch", options.batch
    if size is None and closed:
        size = getattr(workload.options, "n_requests", None)
    if options.batching is None and closed and not engine.scheduler:
        return load_section("batching", {"kind": "static", "batch_size": size}, overrides)
    choice = options.batching or engine.scheduler or _OPEN
    fields = {} if size is None else {_size_field(kind_of("batching", choice)): size}
    return load_section("batching", choice, overrides, fields)


def _size_field(kind: str) -> str:
    """Return the field of a batching policy that has the number of requests in a batch."""
    options = family("batching").load(kind).options
    return "batch_size" if "batch_size" in options.model_fields else "max_batch"


def _check_links(kv: KvSpec, system: System, overrides: Sequence[Override]) -> None:
    """Refuse links that the machine does not have."""
    links: dict[tuple[str | int, ...], str | None] = {("swap_link",): kv.swap_link}
    links |= {("tiers", index, "link"): tier.link for index, tier in enumerate(kv.tiers)}
    for path, link in links.items():
        if link is not None and link not in system.spec.links:
            document = _inline("kv", {}, overrides)
            raise document.error(path, f"no link '{link}' in {system.name}; {did_you_mean(link, system.spec.links)}")


def _from_tlp(tlp: int) -> dict[str, object]:
    return {"kind": "off"} if tlp == 1 else {"kind": "fixed", "tlp": tlp}


def _inline(section: str, defaults: dict[str, object], overrides: Sequence[Override]) -> Document:
    return override_section(section, Document(defaults, section), overrides, section_types()[section])


def _by_section(assignments: Sequence[Assignment]) -> dict[str | None, list[Assignment]]:
    """Sort assignments by the section they start with; those of the machine are under None."""
    by_section: dict[str | None, list[Assignment]] = {name: [] for name in (*section_types(), None)}
    for each in assignments:
        head = each.path[0]
        by_section[head if isinstance(head, str) and head in by_section else None].append(each)
    return by_section
