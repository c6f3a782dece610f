"""One simulation as the user describes it: a machine, a model, requests, and how they are served."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from papisim import catalog
from papisim.catalog import Found, Shelf
from papisim.errors import InputError, one_or_all
from papisim.spec.base import parse
from papisim.spec.sources import Source, take_sources
from papisim.spec.system import System, check_schema, load_system
from papisim.spec.yaml import Document, apply_override, load_yaml

REQUESTS_SCHEMA = "papisim/requests/1"

#: overrides that start with one of these go to that part of the experiment; all others to the machine
_SECTIONS = ("workload", "batching", "speculation")


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
        tlp: tokens per request and iteration.
        placement: replaces the system's placement policy (``papi``, ``cheapest``, ``pinned:DEVICE``).
        overrides: assignments ``path=value``.
        seed: the seed.
        fold: whether to fold identical layers.

    """

    hw: str
    trace: str
    workload: str = "creative_writing"
    batch_size: int | None = None
    n_requests: int | None = None
    tlp: int = 1
    placement: str | None = None
    overrides: Sequence[str] = ()
    seed: int = 0
    fold: bool = True


@dataclass(frozen=True)
class WorkloadFile:
    """A workload's file, read and checked."""

    name: str
    options: Any
    sources: tuple[Source, ...]
    notes: tuple[str, ...]


def load_experiment(options: RunOptions) -> Experiment:
    """Read every file an experiment names.

    Raises:
        InputError, InputErrors: everything wrong with the first file that has anything wrong.

    """
    trace = catalog.find(Shelf.TRACE, options.trace)
    sections = {name: [a for a in options.overrides if _section(a) == name] for name in (*_SECTIONS, None)}
    system = load_system(options.hw, sections[None], options.placement).for_model(trace.name)
    workload = load_workload(options.workload, sections["workload"], options.n_requests or options.batch_size)
    batch_size = options.batch_size or workload.options.n_requests
    trace_notes = (trace.note,) if trace.note else ()
    return Experiment(
        system=system,
        trace=trace,
        workload_name=workload.name,
        workload=workload.options,
        batching=_policy("batching", {"kind": "static", "batch_size": batch_size}, sections["batching"]),
        speculation=_policy("speculation", _tlp_options(options.tlp), sections["speculation"]),
        seed=options.seed,
        fold=options.fold,
        sources=workload.sources,
        overrides=tuple(options.overrides),
        notes=(*system.notes, *trace_notes, *workload.notes),
    )


def _tlp_options(tlp: int) -> dict[str, Any]:
    return {"kind": "off"} if tlp == 1 else {"kind": "fixed", "tlp": tlp}


def load_workload(name_or_path: str, overrides: Sequence[str] = (), n_requests: int | None = None) -> WorkloadFile:
    """Read a workload.

    Args:
        name_or_path: a shipped name or a file.
        overrides: assignments such as ``workload.n_requests=8``.
        n_requests: replaces the file's number of requests.

    Raises:
        InputError, InputErrors: everything that is wrong, with places.

    """
    found = catalog.find(Shelf.REQUESTS, name_or_path)
    document = load_yaml(found.path)
    check_schema(document, REQUESTS_SCHEMA)
    sources, errors = take_sources(document)
    if errors:
        raise one_or_all(errors)
    if n_requests is not None:
        document.data["n_requests"] = n_requests
    options = _parse_kind(_override(document, "workload", overrides), "papisim.workloads")
    return WorkloadFile(found.name, options, tuple(sources), (found.note,) if found.note else ())


def _override(document: Document, section: str, overrides: Sequence[str]) -> Document:
    """Return a section's document, replaced by ``section={…}`` or changed by ``section.field=…``."""
    whole = Document({}, document.file)
    whole.graft((section,), document)
    for assignment in overrides:
        apply_override(whole, assignment)
    return whole.subtree((section,))


def _policy(section: str, defaults: dict[str, Any], overrides: Sequence[str]) -> Any:
    """Return a policy's options: the defaults with the overrides in them."""
    document = _override(Document(defaults, f"--set {section}"), section, overrides)
    return _parse_kind(document, f"papisim.policies.{section}")


def _parse_kind(document: Document, package: str) -> Any:
    kind = document.data.get("kind") if isinstance(document.data, dict) else None
    if kind is None:
        raise document.error((), "field 'kind' is missing")
    try:
        module = catalog.load_kind(package, str(kind))
    except InputError as error:
        raise document.error(("kind",), error.message) from None
    return parse(module.Options, document)


def _section(assignment: str) -> str | None:
    head = assignment.partition("=")[0].partition(".")[0].strip()
    return head if head in _SECTIONS else None
