"""What a law is, and what it is tested on.

A law is a function of a :class:`Subject`, a kind with options, whose docstring is the claim. It calls :func:`expect`, which
raises :class:`Broken` with what was found. Laws draw their cases from a generator with a fixed seed, so that they need
nothing but papisim and find the same every time.
"""

from __future__ import annotations

import importlib
import inspect
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Generic, TypeAlias

from pydantic import BaseModel

from papisim import catalog
from papisim.config.base import KindOptions, parse
from papisim.config.kinds import parse_kind
from papisim.config.sections import SECTIONS, load_section
from papisim.config.system import load_part
from papisim.config.yaml import Document
from papisim.errors import InputError, PapisimError
from papisim.kinds.families import AnyFamily, family_of
from papisim.kinds.family import Family, Kind, OptionsT, ThingT
from papisim.kinds.outside import fault_in


class Broken(AssertionError):
    """A law does not hold; the message says what was found."""


def expect(holds: bool, found: str) -> None:
    """Raise :class:`Broken` unless something holds.

    Args:
        holds: what must be true.
        found: what was found instead.
    """
    if not holds:
        raise Broken(found)


@dataclass(frozen=True)
class Subject(Generic[OptionsT, ThingT]):
    """A kind with options.

    Attributes:
        family: the family that it is of.
        kind: the kind.
        label: of the options: the kind's name for its example, or the name of a shipped file.
        options: the options.
        beside: what else a run with the options needs, by the name of the option of a run.
    """

    family: Family[OptionsT, ThingT]
    kind: Kind[OptionsT, ThingT]
    label: str
    options: OptionsT
    beside: Mapping[str, object]

    def build(self, *arguments: object) -> ThingT:
        """Make the thing from the options and further arguments."""
        return self.family.make(self.kind, self.options, *arguments)


AnySubject: TypeAlias = Subject[BaseModel, object]
Law: TypeAlias = Callable[[AnySubject], None]


@dataclass(frozen=True)
class Verdict:
    """What became of a law.

    Attributes:
        claim: the first sentence of the law's docstring.
        broken: what was found instead; None where the law holds.
    """

    claim: str
    broken: str | None


def laws_of(family: AnyFamily) -> tuple[Law, ...]:
    """Return the laws of a family: those of its own and those of every family."""
    own = importlib.import_module(f"papisim.conformance.{family.name}")
    laws: tuple[Law, ...] = own.LAWS
    return (*laws, its_options_survive_being_written_and_read)


def random(subject: Subject[OptionsT, ThingT], *more: object) -> Random:
    """Return the generator of a law's cases."""
    return Random(f"{subject.label} {more}")


def example_of(family: AnyFamily, kind: Kind[BaseModel, object], folder: Path) -> AnySubject:
    """Return a kind with the options of its example.

    Args:
        family: the family.
        kind: the kind.
        folder: where the files that the example needs are written.

    Raises:
        InputError, InputErrors: the example is not what its options allow.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in kind.example.files.items():
        (folder / name).write_text(text, encoding="utf-8")
    fields = kind.example.fields
    if isinstance(fields, str):
        return Subject(family, kind, kind.name, _of_file(family, _beside(kind, fields)), kind.example.beside)
    options = _of_fields(family, kind.name, _with_folder(fields, kind.example.files, folder))
    return Subject(family, kind, kind.name, options, kind.example.beside)


def shipped_of(family: AnyFamily) -> Iterator[AnySubject]:
    """Yield the shipped files of a family with the kinds that they name."""
    for name in catalog.shipped(family.shelf) if family.shelf is not None else ():
        options = _of_file(family, name)
        if not isinstance(options, family.base) or not isinstance(options, KindOptions):
            continue  # a link among the devices
        if options.awaits_tuning:
            continue  # what a machine must give first, the kind's example has
        kind = family.load(options.kind)
        beside = {} if kind.example.fields == name else kind.example.beside
        yield Subject(family, kind, name, options, beside or kind.example.beside)


def subjects_of(family: AnyFamily, folder: Path) -> list[AnySubject]:
    """Return everything of a family that laws are tested on: the example of every kind, and every shipped file."""
    kinds = [family.load(name) for name in family.names()]
    examples = [example_of(family, kind, folder / family.name / kind.name) for kind in kinds]
    named = {kind.example.fields for kind in kinds if isinstance(kind.example.fields, str)}
    return [*examples, *(subject for subject in shipped_of(family) if subject.label not in named)]


def judge(reference: str, folder: Path) -> list[Verdict]:
    """Test the laws of its family on a kind from outside.

    Raises:
        InputError, InputErrors: it cannot be loaded, lacks something, or its example is wrong.
    """
    family = family_of(reference)
    subject = example_of(family, family.load(reference), folder)
    return [Verdict(_claim(law), verdict(law, subject)) for law in laws_of(family)]


def verdict(law: Law, subject: AnySubject) -> str | None:
    """Return the finding where a law does not hold; None where it holds."""
    try:
        law(subject)
    except Broken as broken:
        return str(broken)
    except PapisimError as error:
        return f"{type(error).__name__}: {error}"
    except Exception as error:  # whatever code of others raises
        fault = fault_in(error)
        if fault is not None:
            return str(fault)
        last = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__}: {error} ({last.filename}:{last.lineno})"
    return None


def its_options_survive_being_written_and_read(subject: Subject[OptionsT, ThingT]) -> None:
    """Options written as JSON and read again are the same, so that a manifest says what was run."""
    text = subject.options.model_dump_json()
    again = type(subject.options).model_validate_json(text)
    expect(again == subject.options, f"{text} became {again!r}")


def _claim(law: Law) -> str:
    return (inspect.getdoc(law) or law.__name__).partition("\n")[0]


def _beside(kind: Kind[BaseModel, object], name: str) -> str:
    """Return a file that stands beside the code of a kind; a shipped name as it is."""
    if kind.code is not None and (beside := Path(kind.code.path).parent / name).is_file():
        return str(beside)
    return name


def _of_file(family: AnyFamily, name: str) -> BaseModel:
    if family.name in SECTIONS:
        return load_section(family.name, name).options
    if family.options == "Part":
        part: BaseModel = load_part(name).part
        return part
    raise InputError(f"an example of a {family.noun} is a mapping of fields, found the name '{name}'")


def _of_fields(family: AnyFamily, kind: str, fields: Mapping[str, object]) -> BaseModel:
    if family.name in SECTIONS:
        return load_section(family.name, {"kind": kind, **fields}).options
    if not family.options:
        return parse(family.base, Document({**fields, family.name: kind}, "EXAMPLE"))
    return parse_kind(Document({"kind": kind, **fields}, "EXAMPLE"), family)


def _with_folder(value: object, files: Mapping[str, str], folder: Path) -> dict[str, object]:
    """Return fields whose paths to the example's files are absolute."""

    def place(node: object) -> object:
        if isinstance(node, Mapping):
            return {key: place(inner) for key, inner in node.items()}
        return str(folder / node) if isinstance(node, str) and node in files else node

    placed = place(value)
    assert isinstance(placed, dict)
    return placed
