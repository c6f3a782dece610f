"""The parts of an experiment that files of their own describe: requests, acceptance, speculation, drafting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from papisim import catalog
from papisim.catalog import YAML_SUFFIXES, Shelf
from papisim.config.acceptance import resolve_acceptance
from papisim.config.base import KindOptions, parse
from papisim.config.options import Choice
from papisim.config.sources import Source, load_sourced
from papisim.config.workload import resolve_workload
from papisim.config.yaml import Document, Override, apply_override
from papisim.errors import InputError, did_you_mean, one_or_all

OptionsT = TypeVar("OptionsT", bound=KindOptions)


@dataclass(frozen=True)
class Section:
    """A part of an experiment that a file of its own describes: where such files are, and what their kinds are."""

    shelf: Shelf
    schema: str
    package: str


#: the parts of an experiment besides the machine, by the name they have in overrides
SECTIONS = {
    "workload": Section(Shelf.REQUESTS, "papisim/requests/1", "papisim.workloads"),
    "batching": Section(Shelf.BATCHING, "papisim/batching/1", "papisim.policies.batching"),
    "speculation": Section(Shelf.SPECULATION, "papisim/speculation/1", "papisim.policies.speculation"),
    "acceptance": Section(Shelf.ACCEPTANCE, "papisim/acceptance/1", "papisim.acceptance"),
    "drafting": Section(Shelf.DRAFTING, "papisim/drafting/1", "papisim.engine.drafting"),
}


@dataclass(frozen=True)
class SectionFile:
    """A part of an experiment, read and checked."""

    name: str
    options: KindOptions
    sources: tuple[Source, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """The kind of the options."""
        return self.options.kind

    def of(self, options: type[OptionsT]) -> OptionsT:
        """Return the options, which must be those of one kind.

        Raises:
            InputError: they are of another kind.
        """
        if not isinstance(self.options, options):
            raise InputError(
                f"{self.name} is of the kind {self.kind}, expected {options.__module__.rpartition('.')[2]}"
            )
        return self.options


def load_section(
    section: str,
    choice: Choice,
    overrides: Sequence[Override] = (),
    fields: Mapping[str, object] | None = None,
) -> SectionFile:
    """Read a part of an experiment.

    Args:
        section: a key of :data:`SECTIONS`.
        choice: a shipped name, a file, a kind that needs no options, or the options themselves; of workloads also a request trace,
            which is then replayed.
        overrides: assignments such as ``workload.n_requests=8``.
        fields: replace those of the file.

    Raises:
        InputError, InputErrors: everything that is wrong, with places.
    """
    described = SECTIONS[section]
    name, document, sources, note = _open_section(section, described, choice)
    document.data.update(fields or {})
    document = override_section(section, document, overrides)
    if section == "acceptance":
        sources += resolve_acceptance(document)
    elif section == "workload":
        resolve_workload(document)
    options = parse_kind(document, described.package)
    settle = getattr(catalog.load_kind(described.package, options.kind), "settle", None)
    notes: tuple[str, ...] = (note,) if note else ()
    if settle is not None:
        options, found = settle(options)
        notes += found
    return SectionFile(name, options, tuple(sources), notes)


def kind_of(section: str, choice: Choice) -> str:
    """Return the kind that a part of an experiment is of.

    Raises:
        InputError, InputErrors: what is wrong with the choice, with places.
    """
    _, document, _, _ = _open_section(section, SECTIONS[section], choice)
    return str(document.data.get("kind"))


def _open_section(section: str, described: Section, choice: Choice) -> tuple[str, Document, list[Source], str | None]:
    if isinstance(choice, KindOptions):
        choice = choice.model_dump()
    if not isinstance(choice, str):
        return choice["kind"], Document(dict(choice), section), [], None
    try:
        found = catalog.find(described.shelf, choice)
    except InputError:
        if catalog.is_path(choice):
            raise
        if catalog.is_kind(described.package, choice):
            return choice, Document({"kind": choice}, section), [], None
        hint = did_you_mean(choice, [*catalog.shipped(described.shelf), *catalog.kinds(described.package)])
        raise InputError(
            f"no {described.shelf.noun} '{choice}': neither a file, a shipped name nor a kind; {hint}"
        ) from None
    if section == "workload" and found.path.suffix not in YAML_SUFFIXES:
        return found.name, Document({"kind": "replay", "path": choice}, f"--workload {choice}"), [], None
    document, sources, errors = load_sourced(found.path, described.schema)
    if errors:
        raise one_or_all(errors)
    document.data.pop("description", None)  # for readers and papisim list
    return found.name, document, sources, found.note


def override_section(section: str, document: Document, overrides: Sequence[Override]) -> Document:
    """Apply ``section={…}``, which replaces the whole, and ``section.field=…``."""
    if not overrides:
        return document
    whole = Document({}, document.file)
    whole.data[section] = None
    whole.graft((section,), document)
    for assignment in overrides:
        apply_override(whole, assignment)
    return whole.subtree((section,))


def parse_kind(document: Document, package: str) -> KindOptions:
    """Return the options that a document holds, of the kind that it names in a package."""
    kind = document.data.get("kind") if isinstance(document.data, dict) else None
    if kind is None:
        raise document.error((), "field 'kind' is missing")
    try:
        module = catalog.load_kind(package, str(kind))
    except InputError as error:
        raise document.error(("kind",), error.message) from None
    options: KindOptions = parse(module.Options, document)
    return options
