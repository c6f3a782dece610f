"""Write a trace as YAML that is readable and gives small diffs: one line per aten kernel."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from papisim.errors import InputError
from papisim.ops.trace import KernelTrace

TRACE_FILE: Final = "trace.yaml"
CONFIG_FILE: Final = "config.json"
#: text that YAML reads as itself without quotes: it begins with a letter or a dimension's coefficient
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./ +*-]*|[0-9]+\*[A-Z_*]+( [+-] [A-Z0-9_*]+)*|[0-9]+-[0-9]+")
_RESERVED = re.compile(r"(?i)null|true|false|yes|no|on|off|y|n")
#: mappings of these fields stand on one line
_ON_ONE_LINE = frozenset({"aten", "fc", "attention", "captured_at", "verified_at"})
_HEADER = (
    "# Kernels of one decode iteration, captured with papisim capture. Do not edit: capture again.\n"
    "# RLP requests, TLP new tokens of each, KV tokens of each in the cache, EXPERT_ROWS rows of an expert.\n"
)


def trace_text(trace: KernelTrace) -> str:
    """Return the text of a trace file that :func:`papisim.ops.trace.read_trace` reads as this trace."""
    fields = trace.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    ordered = {"schema": trace.schema_name, **fields}
    return _HEADER + "".join(f"{line}\n" for line in _mapping(ordered, ""))


def write_trace(trace: KernelTrace, config_json: bytes, folder: Path, *, force: bool) -> Path:
    """Write a trace and the configuration it was captured from into a folder.

    Each file appears whole or not at all.

    Raises:
        InputError: there is a trace already and ``force`` is not set, or the folder cannot be written.
    """
    path = folder / TRACE_FILE
    if path.exists() and not force:
        raise InputError("exists already; --force overwrites it", file=str(path))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _replace(folder / CONFIG_FILE, config_json)
        _replace(path, trace_text(trace).encode())
    except OSError as error:
        raise InputError(f"cannot be written ({error.strerror})", file=str(error.filename or folder)) from None
    return path


def _replace(path: Path, content: bytes) -> None:
    if path.exists() and path.read_bytes() == content:
        return
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        # mkstemp makes private files; a trace is readable where its folder is
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _mapping(fields: dict[str, Any], indent: str) -> Iterator[str]:
    for name, value in fields.items():
        one_line = name in _ON_ONE_LINE
        if isinstance(value, dict) and not one_line:
            yield f"{indent}{name}:"
            yield from _mapping(value, indent + "  ")
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            yield f"{indent}{name}:"
            for item in value:
                yield from _item(item, indent, one_line=one_line)
        else:
            yield f"{indent}{name}: {_flow(value)}"


def _item(item: dict[str, Any], indent: str, *, one_line: bool) -> Iterator[str]:
    if one_line:
        yield f"{indent}- {_flow(item)}"
        return
    lines = _mapping(item, indent + "  ")
    yield f"{indent}- {next(lines).lstrip()}"
    yield from lines


def _flow(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {_flow(inner)}" for name, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_flow(inner) for inner in value) + "]"
    if isinstance(value, str) and _PLAIN.fullmatch(value) and not _RESERVED.fullmatch(value):
        return value
    return json.dumps(value, ensure_ascii=False)
