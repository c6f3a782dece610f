"""The parts of an experiment that files of their own describe: requests, acceptance, speculation, drafting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from pydantic import BaseModel

from papisim import catalog
from papisim.catalog import YAML_SUFFIXES, Shelf
from papisim.config.acceptance import resolve_acceptance
from papisim.config.base import KindOptions, open_parts, parts_of
from papisim.config.kinds import parse_options
from papisim.config.options import Choice
from papisim.config.sources import OVERRIDE, Source, load_sound, without_overridden
from papisim.config.workload import resolve_workload
from papisim.config.yaml import Document, Override, apply_override, as_assignment
from papisim.errors import InputError, did_you_mean
from papisim.kinds import outside
from papisim.kinds.families import AnyFamily, family

#: the parts of an experiment besides the machine that files describe: their names in overrides, and of their families
SECTIONS = ("workload", "batching", "speculation", "acceptance", "drafting")

OptionsT = TypeVar("OptionsT", bound=KindOptions)


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
        choice: a shipped name, a file, a kind that needs no options, a reference to one from outside, its class, or the options
            themselves; of workloads also a request trace, which is then replayed.
        overrides: assignments such as ``workload.n_requests=8``.
        fields: replace those of the file.

    Raises:
        InputError, InputErrors: everything that is wrong, with places.
    """
    found = family(section)
    name, document, sources, note = _open_section(found, choice)
    document.data.update(fields or {})
    document = override_section(section, document, overrides)
    changed = {each.path[1:]: each.text for each in map(as_assignment, overrides)}
    if changed:
        sources = without_overridden(sources, changed)
    is_replaced = () in changed or (bool(sources) and all(source.origin == OVERRIDE for source in sources))
    if section == "acceptance":
        sources += resolve_acceptance(document)
    elif section == "workload":
        resolve_workload(document)
    options = parse_options(document, section)
    notes: tuple[str, ...] = (note,) if note else ()
    options, told = options.settled()
    notes += told
    if is_replaced:
        name = options.kind  # nothing that the file says is left
    return SectionFile(name, options, tuple(sources), notes)


def kind_of(section: str, choice: Choice) -> str:
    """Return the kind that a part of an experiment is of.

    Raises:
        InputError, InputErrors: what is wrong with the choice, with places.
    """
    _, document, _, _ = _open_section(family(section), choice)
    return str(document.data.get("kind"))


def _open_section(found: AnyFamily, choice: Choice) -> tuple[str, Document, list[Source], str | None]:
    assert found.shelf is not None
    if isinstance(choice, KindOptions):
        choice = choice.model_dump()
    if not isinstance(choice, str):
        return choice["kind"], Document(dict(choice), found.name), [], None
    if outside.is_reference(choice):
        return choice, Document({"kind": choice}, found.name), [], None
    try:
        file = catalog.find(found.shelf, choice)
    except InputError:
        if found.names_kind(choice):
            return choice, Document({"kind": choice}, found.name), [], None
        if catalog.is_path(choice):
            raise
        hint = did_you_mean(choice, [*catalog.shipped(found.shelf), *found.names()])
        raise InputError(
            f"no {found.shelf.noun} '{choice}': neither a file, a shipped name nor a kind; {hint}"
        ) from None
    if found.shelf is Shelf.REQUESTS and file.path.suffix not in YAML_SUFFIXES:
        return file.name, Document({"kind": "replay", "path": choice}, f"--workload {choice}"), [], None
    document, sources = load_sound(file.path, found.schema)
    document.data.pop("description", None)  # for readers and papisim list
    return file.name, document, sources, file.note


def override_section(
    section: str, document: Document, overrides: Sequence[Override], model: type[BaseModel] | None = None
) -> Document:
    """Apply ``section={…}``, which replaces the whole, and ``section.field=…``.

    Args:
        section: name of the section in overrides.
        document: the section.
        overrides: assignments.
        model: the class that the section becomes; that of its kind, if None.
    """
    if not overrides:
        return document
    whole = Document({}, document.file)
    whole.data[section] = None
    whole.graft((section,), document)
    for assignment in map(as_assignment, overrides):
        options = model or _options_class(section, whole.data[section])
        if options is not None:
            open_parts(whole.data[section], options, assignment.path[1:])
        apply_override(whole, assignment, () if options is None else parts_of(options))
    return whole.subtree((section,))


def _options_class(section: str, options: object) -> type[BaseModel] | None:
    """Return the class of the options of the kind that a part of an experiment names; None if it names none that is known."""
    kind = options.get("kind") if isinstance(options, dict) and section in SECTIONS else None
    found = family(section) if isinstance(kind, str) else None
    return None if found is None or not found.names_kind(str(kind)) else found.load(str(kind)).options
