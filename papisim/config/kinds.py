"""From the ``kind`` that a document names to the options of that kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from papisim.catalog import is_file
from papisim.config.base import KindOptions, parse
from papisim.config.yaml import Document, Path_
from papisim.errors import InputError
from papisim.kinds import outside
from papisim.kinds.families import family
from papisim.kinds.family import Family, Kind, OptionsT, ThingT


def parse_kind(document: Document, of: Family[OptionsT, ThingT], path: Path_ = ()) -> OptionsT:
    """Return the options that stand at a path of a document, of the kind of a family that they name.

    Raises:
        InputError, InputErrors: no such kind, or wrong options, with places.
    """
    options = load_kind(document, of, path).options
    return parse(options, document.subtree(path) if path else document)


def parse_options(document: Document, name: str) -> KindOptions:
    """Return the options that a document holds, of the kind of a named family that it names.

    Raises:
        InputError, InputErrors: no such kind, or wrong options, with places.
    """
    options = parse_kind(document, family(name))
    if not isinstance(options, KindOptions):
        raise TypeError(f"options of a {family(name).noun} say no kind")
    return options


def load_kind(document: Document, of: Family[OptionsT, ThingT], path: Path_ = ()) -> Kind[OptionsT, ThingT]:
    """Return the kind of a family that is named at a path of a document.

    A reference to code from outside is made absolute in the document; it is relative to the file in which it stands.

    Raises:
        InputError: the field is missing, there is no such kind, or it is not as it must be.
    """
    fields, place = document.get(path), (*path, "kind")
    if not isinstance(fields, dict) or fields.get("kind") is None:
        raise document.error(path, "field 'kind' is missing")
    name = fields["kind"] = absolute_kind(document, place)
    try:
        return of.load(name)
    except InputError as error:
        raise document.error(place, str(error)) from None


def absolute_kind(document: Document, place: Path_) -> str:
    """Return the kind that a document names, by a reference that is the same in every folder if it is from outside.

    A relative path is relative to the file in which it stands, or else to the working directory.
    """
    written_in = Path(document.mark(place).file)
    folder = written_in.parent if is_file(written_in) else Path()
    return outside.absolute(str(document.get(place)), folder)


def outside_code(chosen: Mapping[str, tuple[str, str]]) -> dict[str, dict[str, str | None]]:
    """Return where the code from outside is from, for a manifest; papisim's own kinds are left out.

    Args:
        chosen: family and kind by the place where the kind is named.
    """
    codes = {place: family(name).code(kind) for place, (name, kind) in chosen.items()}
    return {place: asdict(code) for place, code in codes.items() if code is not None}
