"""What files of workloads say beyond their own fields: the request traces they read."""

from __future__ import annotations

from pathlib import Path

from papisim.catalog import is_file
from papisim.config.kinds import absolute_kind
from papisim.config.yaml import Document

#: where a workload names a file: the trace it replays, the requests whose lengths it draws
_PATHS = (("path",), ("lengths", "path"))


def resolve_workload(document: Document) -> None:
    """Resolve a relative path in a file against the folder of that file; a path on the command line is unchanged."""
    if isinstance(document.data, dict) and isinstance(document.data.get("format"), str):
        document.data["format"] = absolute_kind(document, ("format",))
    for place in _PATHS:
        try:
            path = document.get(place)
        except (KeyError, TypeError):
            continue
        written_in = Path(document.mark(place).file)
        if isinstance(path, str) and is_file(written_in):
            document.get(place[:-1])[place[-1]] = str(written_in.parent / path)
