"""What files of acceptance processes say beyond their own fields: the signals they show, the log they replay."""

from __future__ import annotations

from pathlib import Path

from papisim import catalog
from papisim.catalog import Shelf
from papisim.config.sources import Source, load_sound
from papisim.config.yaml import Document
from papisim.errors import InputError

SIGNALS_SCHEMA = "papisim/signals/1"


def load_signals(name_or_path: str) -> tuple[Document, list[Source]]:
    """Read the file of a process's signals: its fields and their sources."""
    return load_sound(catalog.find(Shelf.SIGNALS, name_or_path).path, SIGNALS_SCHEMA)


def resolve_acceptance(document: Document) -> list[Source]:
    """Put what an acceptance process names in its place.

    ``signals`` may be a name or file, whose fields then stand there; a relative ``log`` is sought next to the file.

    Returns:
        The sources of the signals.
    """
    if not isinstance(document.data, dict):
        return []  # the section's own check says what was expected
    log, signals = document.data.get("log"), document.data.get("signals")
    if isinstance(log, str):
        document.data["log"] = str(Path(document.mark(("log",)).file).parent / log)
    if not isinstance(signals, str):
        return []
    try:
        fields, sources = load_signals(signals)
    except InputError as error:
        raise document.error(("signals",), str(error)) from None
    fields.data.pop("description", None)
    document.graft(("signals",), fields)
    return sources
