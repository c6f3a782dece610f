"""Files that say only what differs from another file: ``extends:``.

``extends: fc_pim`` at the top of a file takes every field and every source of another file of the same schema: a shipped name, or a path
relative to the file that extends it. What the file itself says replaces what it extends: mappings field by field; numbers, texts and lists as
a a whole. A mapping with another ``kind`` than the inherited one replaces it as a whole, and ``null`` removes an inherited field. A
``description`` is not inherited. Every number of the file needs a source in the file; a number that is replaced takes its source with it.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from papisim import catalog
from papisim.catalog import Found, Shelf
from papisim.config.yaml import Document, Path_, load_yaml
from papisim.errors import InputError

FIELD = "extends"
_KIND = "kind"


def take_extended(document: Document, schema: str) -> Found | None:
    """Take ``extends`` out of a document and return the file that it names; None where the document extends nothing.

    Another name of a system (``alias_of``) is the system.

    Raises:
        InputError: the field is no name, or there is no such file, with the nearest shipped name.
    """
    name = document.data.pop(FIELD, None)
    if name is None:
        return None
    if not isinstance(name, str):
        raise document.error((FIELD,), f"found {name!r}, expected a shipped name or the path of a file")
    beside, shelf = Path(document.file).parent / name, Shelf[schema.split("/")[1].upper()]
    try:
        found = catalog.find(shelf, str(beside) if catalog.is_path(name) else name)
    except InputError as error:
        raise document.error((FIELD,), error.message) from None
    alias = load_yaml(found.path).data.get("alias_of")
    return catalog.find(shelf, str(alias)) if alias is not None else found


def check_acyclic(document: Document, file: Path, below: Iterable[Path]) -> None:
    """Refuse a file that extends itself, directly or through others.

    Args:
        document: the file that extends.
        file: the file that it extends.
        below: the files whose reading led here, the extending one included, resolved.

    Raises:
        InputError: ``file`` is one of them.
    """
    if file.resolve() in (chain := list(below)):
        names = " → ".join(each.name for each in (*chain[chain.index(file.resolve()) :], file))
        raise document.error((FIELD,), f"extends itself: {names}")


def merge(base: Document, own: Document, name: str) -> None:
    """Put what a document says into the one that it extends; values keep the places where they were written.

    Args:
        base: the document that is extended; it becomes the merged one.
        own: the document that extends it.
        name: name of the extended file.

    Raises:
        InputError: ``own`` is of another kind.
    """
    theirs, ours = base.data.get(_KIND), own.data.get(_KIND)
    if None not in (theirs, ours) and theirs != ours:
        raise own.error((_KIND,), f"found '{ours}', expected '{theirs}', the kind of {name}, which this file extends")
    base.data["description"] = f"{name} with other {', '.join(own.data) or 'name'}"
    _merge(base, own, ())
    base.file = own.file
    base.values[()] = own.mark(())


def _merge(base: Document, own: Document, path: Path_) -> None:
    target = base.get(path)
    for name, value in own.get(path).items():
        inner = (*path, name)
        if name in target and value is None:
            del target[name]
        elif _is_refined(target.get(name), value):
            _merge(base, own, inner)
        else:
            base.take(inner, own)


def _is_refined(inherited: object, value: object) -> bool:
    """Return whether a mapping is merged with the inherited one rather than put in its place."""
    if not isinstance(inherited, dict) or not isinstance(value, dict):
        return False
    return _KIND not in value or value[_KIND] == inherited.get(_KIND)
