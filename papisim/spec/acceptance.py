"""Acceptance processes, read from ``traces/acceptance/``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from papisim import catalog
from papisim.catalog import Shelf
from papisim.errors import InputError, one_or_all
from papisim.spec.base import parse
from papisim.spec.sources import Source, take_sources
from papisim.spec.system import check_schema
from papisim.spec.yaml import Document, apply_override, load_yaml

ACCEPTANCE_SCHEMA = "papisim/acceptance/1"
SIGNALS_SCHEMA = "papisim/signals/1"

_PACKAGE = "papisim.workloads.acceptance"


@dataclass(frozen=True)
class AcceptanceFile:
    """An acceptance process as its file describes it.

    Attributes:
        name: of the file.
        kind: module of the process in ``papisim.workloads.acceptance``; its ``Acceptance(options, seed)`` makes it.
        options: the fields, an instance of the kind's ``Options``.
        sources: where the numbers come from, those of the signals included.
        notes: what the user should know about how files were found.

    """

    name: str
    kind: str
    options: Any
    sources: tuple[Source, ...]
    notes: tuple[str, ...]

    def build(self, seed: int) -> Any:
        """Return the process: a :class:`papisim.workloads.acceptance.base.AcceptanceProcess`."""
        return catalog.load_kind(_PACKAGE, self.kind).Acceptance(self.options, seed)


def load_acceptance(name_or_path: str, overrides: Sequence[str] = ()) -> AcceptanceFile:
    """Read an acceptance process.

    ``signals`` may be a name or file, whose fields then stand in its place; a relative ``log`` is sought next to the file.

    Args:
        name_or_path: a shipped name or a file.
        overrides: assignments such as ``acceptance.alpha=0.8``.

    Raises:
        InputError, InputErrors: everything that is wrong, with places.

    """
    found = catalog.find(Shelf.ACCEPTANCE, name_or_path)
    document = load_yaml(found.path)
    check_schema(document, ACCEPTANCE_SCHEMA)
    sources, errors = take_sources(document)
    if errors:
        raise one_or_all(errors)
    whole = Document({}, document.file)
    whole.graft(("acceptance",), document)
    for assignment in overrides:
        apply_override(whole, assignment)
    document = whole.subtree(("acceptance",))
    sources += _graft_signals(document)
    _resolve_log(document, found.path)
    kind, options = _parse(document)
    return AcceptanceFile(found.name, kind, options, tuple(sources), (found.note,) if found.note else ())


def load_signals(name_or_path: str) -> tuple[Document, list[Source]]:
    """Read the file of a process's signals: its fields and their sources."""
    document = load_yaml(catalog.find(Shelf.SIGNALS, name_or_path).path)
    check_schema(document, SIGNALS_SCHEMA)
    sources, errors = take_sources(document)
    if errors:
        raise one_or_all(errors)
    return document, sources


def _graft_signals(document: Document) -> list[Source]:
    name = document.data.get("signals") if isinstance(document.data, dict) else None
    if not isinstance(name, str):
        return []
    try:
        signals, sources = load_signals(name)
    except InputError as error:
        raise error if error.place.file else document.error(("signals",), error.message) from None
    document.graft(("signals",), signals)
    return sources


def _resolve_log(document: Document, path: Path) -> None:
    log = document.data.get("log") if isinstance(document.data, dict) else None
    if isinstance(log, str):
        document.data["log"] = str(path.parent / log)


def _parse(document: Document) -> tuple[str, Any]:
    kind = document.data.get("kind") if isinstance(document.data, dict) else None
    if kind is None:
        raise document.error((), "field 'kind' is missing")
    try:
        module = catalog.load_kind(_PACKAGE, str(kind))
    except InputError as error:
        raise document.error(("kind",), error.message) from None
    return str(kind), parse(module.Options, document)
