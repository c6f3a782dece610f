"""One simulation as the user describes it: a machine, a model, requests, and how they are served."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from papisim import catalog
from papisim.catalog import Found, Shelf
from papisim.spec.base import Count, NonNegative, Spec, parse
from papisim.spec.quantisation import QuantisationSpec
from papisim.spec.sections import SECTIONS, load_section, override_section, parse_kind
from papisim.spec.sources import Source
from papisim.spec.system import System, load_system
from papisim.spec.yaml import Assignment, Document, Override, as_assignment


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


_INLINE = ("batching", "verification", "quantisation")


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
        seed: the one seed of all random streams.
        fold: price identical layers once and multiply; off, every layer is simulated by itself.
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
    seed: int
    fold: bool
    sources: tuple[Source, ...]
    overrides: tuple[str, ...]
    notes: tuple[str, ...]

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
            "seed": self.seed,
            "fold": self.fold,
        }


@dataclass(frozen=True)
class RunOptions:
    """What a user asks to be run, as the command line has it.

    Attributes:
        hw: a system's name or file.
        trace: a kernel trace's name or file.
        workload: a workload's name or file.
        batch_size: requests of a static batch; as many requests as the workload has, if None.
        n_requests: how many requests; the workload's own number, or one batch when only ``batch_size`` is given.
        tlp: tokens per request and iteration, where no speculation policy is named.
        speculation: a speculation policy: a shipped name, a file, or a kind; from ``tlp``, if None.
        acceptance: a process that accepts drafts: likewise.
        drafting: a draft source: likewise.
        placement: replaces the system's placement policy (``papi``, ``cheapest``, ``pinned:DEVICE``).
        overrides: assignments, or texts ``path=value`` of such.
        seed: the seed.
        fold: whether to fold identical layers.
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
    placement: str | None = None
    overrides: Sequence[Override] = ()
    seed: int = 0
    fold: bool = True


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
    parts = {
        "workload": load_section("workload", options.workload, overrides["workload"], _requests_wanted(options)),
        "speculation": load_section(
            "speculation", options.speculation or _from_tlp(options.tlp), overrides["speculation"]
        ),
        "acceptance": load_section("acceptance", options.acceptance, overrides["acceptance"]),
        "drafting": load_section("drafting", options.drafting, overrides["drafting"]),
    }
    workload = parts["workload"]
    batching = {"kind": "static", "batch_size": options.batch_size or workload.options.n_requests}
    trace_notes = (trace.note,) if trace.note else ()
    return Experiment(
        system=system,
        trace=trace,
        workload_name=workload.name,
        workload=workload.options,
        batching=parse_kind(_inline("batching", batching, overrides["batching"]), "papisim.policies.batching"),
        speculation=parts["speculation"].options,
        acceptance=parts["acceptance"].options,
        drafting=parts["drafting"].options,
        verification=parse(VerificationSpec, _inline("verification", {}, overrides["verification"])),
        quantisation=parse(QuantisationSpec, _inline("quantisation", {}, overrides["quantisation"])),
        seed=options.seed,
        fold=options.fold,
        sources=tuple(source for part in parts.values() for source in part.sources),
        overrides=tuple(each.text for each in assignments),
        notes=(*system.notes, *trace_notes, *(note for part in parts.values() for note in part.notes)),
    )


def _requests_wanted(options: RunOptions) -> dict[str, Any]:
    wanted = options.n_requests or options.batch_size
    return {} if wanted is None else {"n_requests": wanted}


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
