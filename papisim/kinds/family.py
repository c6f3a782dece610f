"""What a family of kinds is, and what a kind must have to be one of it.

A *family* is a set of things that may replace one another and that a file or an option names by ``kind``:
placement policies, draft sources, formats of request traces. It is declared once, beside its contract.

A *kind* is one of them: its options (a frozen :class:`~papisim.config.base.Spec`), the thing that is built from them, and
an example. It is written in one of two forms:

- as a module, whose names are those that the family says (``Options``, ``Placement``, ``EXAMPLE``);
- as a class, which is the thing itself and has ``Options`` and ``EXAMPLE`` inside.

A kind of papisim's own is a module of its family's package and is found by being there. One from outside is named by a
reference (see :mod:`papisim.kinds.outside`) or by an entry point of the family's group in an installed package.
Either way the same is required of it, and checked when it is loaded.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from types import ModuleType
from typing import Generic, Protocol, TypeVar

from pydantic import BaseModel

from papisim.catalog import Shelf
from papisim.errors import InputError, did_you_mean
from papisim.kinds import outside
from papisim.kinds.outside import Code

OptionsT = TypeVar("OptionsT", bound=BaseModel)
ThingT = TypeVar("ThingT")

#: dunder methods that a contract may ask for
_PUBLIC_DUNDERS = frozenset({"__iter__", "__call__"})


class Chosen(Protocol):
    """Options that say their kind."""

    @property
    def kind(self) -> str:
        """Name of the kind, or the reference to it."""


@dataclass(frozen=True)
class Example:
    """An example of a kind, on which its family's laws are tested.

    Attributes:
        fields: its options as a file would have them, without ``kind``; or the name of a shipped file.
        files: files that the options name, by path relative to the folder in which the example is read: their texts.
        beside: what else a run with the example needs, by the name of the option (``{"acceptance": "layerskip_llama3_8b"}``).
    """

    fields: Mapping[str, object] | str = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    beside: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Kind(Generic[OptionsT, ThingT]):
    """One kind of a family.

    Attributes:
        name: what ``kind`` says: a name, or a reference that means the same in every folder.
        options: the class of its options.
        thing: makes the thing, from options and whatever else the family's things are made of.
        example: an example of it.
        summary: the first line of its docstring.
        code: where it is from; None for papisim's own.
    """

    name: str
    options: type[OptionsT]
    thing: Callable[..., ThingT]
    example: Example
    summary: str
    code: Code | None


@dataclass(frozen=True, eq=False)
class Family(Generic[OptionsT, ThingT]):
    """A family of kinds.

    Attributes:
        name: of the family: of the section that names its kinds, and, after ``papisim.``, of the entry points' group.
        noun: what one of them is called.
        plural: what several are called.
        package: where papisim's own kinds are modules.
        thing: name in a module of what is built; empty where the module itself is the thing.
        base: class from which the options of each kind derive.
        contract: class whose public members the thing must have.
        arguments: what the thing is built from.
        options: name of the class of options; empty where all kinds have those of ``base``.
        shelf: where shipped files with such options are; None where there are none.
        schema: of such files.
    """

    name: str
    noun: str
    plural: str
    package: str
    thing: str
    base: type[OptionsT]
    contract: type
    arguments: tuple[str, ...] = ("options",)
    options: str = "Options"
    shelf: Shelf | None = None
    schema: str = ""

    @property
    def group(self) -> str:
        """Group of entry points through which installed packages add kinds."""
        return f"papisim.{self.name}"

    def own(self) -> list[str]:
        """Return the names of papisim's own kinds, sorted."""
        package = importlib.import_module(self.package)
        names = [info.name for info in pkgutil.iter_modules(package.__path__) if not info.name.startswith("_")]
        return sorted(name for name in names if self.has_own(name))

    def names(self) -> list[str]:
        """Return the names of all kinds there are: papisim's own, then those of installed packages."""
        own = self.own()
        return [*own, *(name for name in outside.entry_points_of(self.group) if name not in own)]

    @cache  # noqa: B019 - families live as long as the program
    def has_own(self, name: str) -> bool:
        """Return whether papisim has a kind of a name; imports no other module than that."""
        if not name.isidentifier() or importlib.util.find_spec(f"{self.package}.{name}") is None:
            return False
        module = importlib.import_module(f"{self.package}.{name}")
        return any(hasattr(module, each) for each in self._telling)

    def code(self, name: str) -> Code | None:
        """Return where the code of a kind is from; None for papisim's own."""
        return None if self.has_own(name) else self.load(name).code

    def names_kind(self, text: str) -> bool:
        """Return whether a text names a kind, be it by a reference."""
        if self.has_own(text) or outside.is_reference(text) or text in outside.entry_points_of(self.group):
            return True
        return outside.is_module(text)

    def load(self, name: str) -> Kind[OptionsT, ThingT]:
        """Return the kind of a name or reference.

        Raises:
            InputError: there is none, or it lacks what the family requires; with file, line and nearest name.
        """
        if self.has_own(name):
            return self._kind(name, importlib.import_module(f"{self.package}.{name}"), None)
        entry_point = outside.entry_points_of(self.group).get(name)
        if entry_point is not None:
            home = outside.load(entry_point.value)
            return self._kind(name, home, outside.code_of(home, entry_point))
        if outside.is_reference(name) or outside.is_module(name):
            home = outside.load(name)
            return self._kind(name, home, outside.code_of(home))
        raise InputError(f"unknown {self.noun} '{name}'; {did_you_mean(name, self.names())}")

    def build(self, options: Chosen, *arguments: object) -> ThingT:
        """Make the thing of the kind that options name.

        Raises:
            InputError: as :meth:`load`, or the thing lacks attributes once it is built.
        """
        return self.make(self.load(options.kind), options, *arguments)

    def make(self, kind: Kind[OptionsT, ThingT], *arguments: object) -> ThingT:
        """Make the thing of a kind, and check that it has all attributes of the contract.

        Raises:
            InputError: it has not.
        """
        thing = kind.thing(*arguments)
        for name in _members(self.contract):
            if not hasattr(thing, name):
                raise _Home(kind.thing).error(f"no '{name}' once it is built{self._of_contract}")
        return thing

    @property
    def _telling(self) -> tuple[str, ...]:
        """Names of which a module of the package has at least one if it is meant to be a kind."""
        if self.thing:
            return (self.thing, "Options")
        return tuple(name for name, value in _members(self.contract).items() if inspect.isfunction(value))

    @property
    def _of_contract(self) -> str:
        return f", which every {self.noun} has (see {self.contract.__module__}.{self.contract.__qualname__})"

    @cache  # noqa: B019 - families live as long as the program
    def _kind(self, name: str, home: object, code: Code | None) -> Kind[OptionsT, ThingT]:
        holder = _Home(home)
        thing = self._thing(holder)
        options = self._options(holder, is_own=code is None)
        example = holder.get("EXAMPLE")
        if not isinstance(example, Example):
            raise holder.error(f"no 'EXAMPLE', which every {self.noun} has: a papisim.kinds.Example of its options")
        summary = (inspect.getdoc(home) or "").partition("\n")[0]
        return Kind(name, options, thing, example, summary, code)

    def _thing(self, holder: _Home) -> Callable[..., ThingT]:
        """Return the maker of the thing, once its methods and its constructor have been found to be as required."""
        home = holder.home
        found: object = home
        if isinstance(home, ModuleType) and self.thing:
            found = holder.required(self.thing, self.noun)
        if not callable(found) and not isinstance(found, ModuleType):
            raise holder.error(f"found '{self.thing or home}' that is no class, expected a {self.noun}")
        problems = list(_problems(found, self.contract))
        if problems:
            raise _Home(found).error(f"{problems[0][0]}{self._of_contract}{problems[0][1]}")
        if not self.thing:
            return lambda: found  # type: ignore[return-value] # checked above to have all members
        self._check_constructor(found)
        return found  # type: ignore[return-value] # likewise

    def _check_constructor(self, thing: object) -> None:
        assert callable(thing)
        try:
            inspect.signature(thing).bind(*self.arguments)
        except TypeError as error:
            wanted = ", ".join(self.arguments)
            raise _Home(thing).error(f"cannot be built from ({wanted}) as every {self.noun} is: {error}") from None

    def _options(self, holder: _Home, *, is_own: bool) -> type[OptionsT]:
        if not self.options:
            return self.base
        options = holder.required(self.options, self.noun)
        base = f"{self.base.__module__}.{self.base.__qualname__}"
        if not (isinstance(options, type) and issubclass(options, self.base)):
            raise holder.error(f"'{self.options}' of a {self.noun} must derive from {base}")
        if not is_own and options.model_fields["kind"].annotation is not str:
            raise _Home(options).error(
                "'kind' is the reference by which it is named; leave the field to the base class"
            )
        return options


class _Home:
    """The module or class that holds the names of a kind."""

    def __init__(self, home: object) -> None:
        self.home = home

    def get(self, name: str) -> object:
        return getattr(self.home, name, None)

    def required(self, name: str, noun: str) -> object:
        found = self.get(name)
        if found is None:
            public = [each for each in vars(self.home) if not each.startswith("_")]
            raise self.error(f"no '{name}', which every {noun} has; {did_you_mean(name, public)}")
        return found

    def error(self, message: str) -> InputError:
        """Make an error that points at the module, or at the line where the class begins."""
        home = self.home
        label = "" if isinstance(home, ModuleType) else f"{getattr(home, '__qualname__', home)}: "
        try:
            file = inspect.getsourcefile(home)  # type: ignore[arg-type] # TypeError for what has no source
            line = None if isinstance(home, ModuleType) else inspect.getsourcelines(home)[1]  # type: ignore[arg-type]
        except (TypeError, OSError):
            file, line = getattr(home, "__module__", None), None
        return InputError(f"{label}{message}", file=file, line=line)


@cache
def _members(contract: type) -> dict[str, object]:
    """Return the public members that a contract declares: functions, properties, or annotations of attributes."""
    members: dict[str, object] = {}
    for base in reversed(contract.__mro__):
        if base in (object, Protocol, Generic) or base.__module__ == "typing":
            continue
        declared = {**inspect.get_annotations(base), **vars(base)}
        members |= {
            name: value for name, value in declared.items() if not name.startswith("_") or name in _PUBLIC_DUNDERS
        }
    return members


def _problems(thing: object, contract: type) -> Iterator[tuple[str, str]]:
    """Yield the members of a contract that a class or module lacks, with a hint; what only instances have is checked on one."""
    is_protocol = getattr(contract, "_is_protocol", False)
    for name, declared in _members(contract).items():
        found, hint = getattr(thing, name, None), f"; {did_you_mean(name, _public(thing))}"
        if not inspect.isfunction(declared):
            if not hasattr(thing, name) and (not isinstance(thing, type) or _is_of_class(declared)):
                yield f"no '{name}'", hint
        elif found is None or (found is declared and (is_protocol or _is_abstract(declared))):
            yield f"no method '{name}{_parameters(declared, thing)}'", hint
        elif not callable(found):
            yield f"'{name}' is no method", ""
        elif not _accepts(found, declared, thing):
            yield f"found '{name}{inspect.signature(found)}', expected '{name}{_parameters(declared, thing)}'", ""


def _is_abstract(declared: object) -> bool:
    return bool(getattr(declared, "__isabstractmethod__", False))


def _public(thing: object) -> list[str]:
    names = [name for name in dir(thing) if not name.startswith("_")]
    return [name for name in names if not _is_abstract(inspect.getattr_static(thing, name))]


def _is_of_class(declared: object) -> bool:
    return isinstance(declared, str) and declared.startswith("ClassVar")


def _parameters(declared: object, thing: object) -> str:
    """Return the parameters of a method as they are declared, without types."""
    assert callable(declared)
    plain = [
        each.replace(annotation=inspect.Parameter.empty) for each in inspect.signature(declared).parameters.values()
    ]
    return str(inspect.Signature(plain if isinstance(thing, type) else plain[1:]))


def _accepts(found: Callable[..., object], declared: object, thing: object) -> bool:
    """Return whether a method takes everything that the contract's method does."""
    assert callable(declared)
    wanted = list(inspect.signature(declared).parameters.values())
    is_static = isinstance(thing, type) and isinstance(
        inspect.getattr_static(thing, found.__name__, None), staticmethod
    )
    if is_static or not isinstance(thing, type):
        wanted = wanted[1:]
    by_name = {each.name: None for each in wanted if each.kind is inspect.Parameter.KEYWORD_ONLY}
    try:
        inspect.signature(found).bind(*[None] * (len(wanted) - len(by_name)), **by_name)
    except TypeError:
        return False
    return True
