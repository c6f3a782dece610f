"""Checksums of results: what is read back is what was written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from papisim.config.yaml import while_unchanged
from papisim.errors import InputError

MANIFEST = "manifest.json"
#: manifests with checksums; those of schema 1 have none
MANIFEST_SCHEMA, UNSEALED_SCHEMA = "papisim/manifest/2", "papisim/manifest/1"
_OWN = "manifest_sha256"


def sha256_of(value: object) -> str:
    """Return the SHA-256 of plain values, regardless of the order of their keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


@while_unchanged
def file_sha256(path: Path | str) -> str:
    """Return the SHA-256 of a file's content."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def sealed(manifest: Mapping[str, object], folder: Path) -> dict[str, object]:
    """Return a manifest with the hashes of the files in its folder, and of itself."""
    paths = sorted(path for path in folder.iterdir() if path.is_file() and path.name != MANIFEST)
    # as it will be read: without tuples, and with text for keys
    body = json.loads(json.dumps({**manifest, "files": {path.name: file_sha256(path) for path in paths}}))
    return {**body, _OWN: sha256_of(body)}


def check_manifest(manifest: Mapping[str, object], path: Path) -> None:
    """Refuse a manifest that is not as it was written.

    Raises:
        InputError: another schema, or another hash.
    """
    schema = manifest.get("schema")
    if schema == UNSEALED_SCHEMA:
        return
    if schema != MANIFEST_SCHEMA:
        raise InputError(f"found {schema!r}, expected '{MANIFEST_SCHEMA}'", file=str(path), field="schema")
    body = {name: value for name, value in manifest.items() if name != _OWN}
    if manifest.get(_OWN) != sha256_of(body) or not isinstance(manifest.get("files"), dict):
        raise _changed(path)


def check_file(manifest: Mapping[str, object], path: Path) -> None:
    """Refuse a file of results that is not as it was written.

    Raises:
        InputError: it has another hash than the manifest says.
    """
    if manifest.get("schema") != MANIFEST_SCHEMA:
        return
    files = manifest["files"]
    assert isinstance(files, dict)  # see check_manifest
    expected = files.get(path.name)
    if expected is not None and path.is_file() and file_sha256(path) != expected:
        raise _changed(path)


def _changed(path: Path) -> InputError:
    return InputError("was changed after papisim wrote it; results are read as they were written", file=str(path))
