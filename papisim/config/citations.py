"""Citations that were written for another number: a copied file whose number was changed and whose source was not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from papisim import catalog, units
from papisim.catalog import Shelf
from papisim.config.sources import covers, load_sourced
from papisim.config.yaml import load_yaml
from papisim.errors import InputError

#: a number's place in a file, and its source and the place in it
_Cited = tuple[str, str, str]
#: kinds of files whose numbers have sources
_WITH_SOURCES = (
    Shelf.DEVICE, Shelf.ENERGY, Shelf.DRAM, Shelf.SYSTEM, Shelf.REQUESTS, Shelf.ACCEPTANCE, Shelf.BATCHING, Shelf.SPECULATION, Shelf.DRAFTING, Shelf.ENGINE,
)  # fmt: skip


def stale_citations(path: str, schema: str) -> Iterator[str]:
    """Yield each number that has the citation of a shipped file and another value, in words.

    Args:
        path: the file of a part, a system, a workload, a policy, a process or an engine profile.
        schema: its schema.
    """
    shipped = dict(_shipped(schema))
    if Path(path).resolve() in {each.resolve() for each in shipped.values()}:
        return
    theirs: dict[_Cited, list[tuple[str, object]]] = {}
    for name, file in shipped.items():
        for cited, value in _cited(file, schema):
            theirs.setdefault(cited, []).append((name, value))
    for cited, value in _cited(Path(path), schema):
        known = theirs.get(cited, [])
        if known and all(_number(value) != _number(other) for _, other in known):
            place, origin, note = cited
            name, other = known[0]
            yield f"{path}: {place}: found {value} with the citation that {name} has for {other} ({origin}: {note})"


def _shipped(schema: str) -> Iterator[tuple[str, Path]]:
    """Yield the shipped files of a schema, by name."""
    for shelf in _WITH_SOURCES:
        for name, file in catalog.shipped(shelf).items():
            if load_yaml(file).data.get("schema") == schema:
                yield name, file


def _cited(path: Path, schema: str) -> Iterator[tuple[_Cited, object]]:
    document, sources, _ = load_sourced(path, schema)
    for place, value in document.leaves():
        if isinstance(_number(value), float):
            for source in sources:
                if covers(source, document, place) and not source.is_assumption:
                    yield (".".join(map(str, place)), source.origin, source.note), value


def _number(value: object) -> object:
    """Return a number, with or without a unit, as SI; anything else as it is."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return value
    for unit in units.UNITS:
        try:
            return units.parse(value, unit)
        except InputError:
            continue
    return value
