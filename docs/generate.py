"""Reference pages made from the shipped files and the code: what hardware there is, and what a file may say."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from papisim import catalog
from papisim.catalog import Shelf
from papisim.cli import papisim
from papisim.config.base import Spec
from papisim.config.sections import SECTIONS
from papisim.config.sources import bibliography
from papisim.config.system import SystemSpec
from papisim.config.yaml import load_yaml
from papisim.kinds.families import family

REFERENCE = Path(__file__).parent / "reference"
#: files that the site has as they are
EXTRA = Path(__file__).parent / "_extra"

#: families whose kinds an experiment names
FAMILIES = sorted((*SECTIONS, "placement"))


def write() -> None:
    """Write the generated pages into ``docs/reference``, and a page to explore into ``docs/_extra``."""
    (REFERENCE / "hardware.md").write_text("\n".join(hardware()) + "\n", encoding="utf-8")
    (REFERENCE / "files.md").write_text("\n".join(files()) + "\n", encoding="utf-8")
    explorer()


def explorer() -> None:
    """Write the page that explores shipped machines; it takes some seconds to simulate."""
    EXTRA.mkdir(exist_ok=True)
    space = str(Path(__file__).parents[1] / "scripts" / "explore" / "machines.yaml")
    fewer = ("--trace", "llama7b,llama65b", "--tlp", "1,2,4")
    papisim.main(
        ["explore", space, *fewer, "-o", str(EXTRA / "explore.html"), "--force", "-q"], standalone_mode=False
    )


def hardware() -> Iterator[str]:
    """Yield the page of shipped systems and parts, with the source of every number."""
    yield "# Shipped hardware\n"
    yield "## Systems\n"
    yield from _index(Shelf.SYSTEM)
    yield "\n## Parts\n"
    yield from _sourced(Shelf.DEVICE)
    yield "\n## Energy tables\n"
    yield from _sourced(Shelf.ENERGY)
    yield "\n## DRAM timing tables\n"
    yield from _sourced(Shelf.DRAM)
    yield "\n## Works cited\n"
    yield from (f"- **{key}**: {work}" for key, work in sorted(bibliography().items()))


def _sourced(shelf: Shelf) -> Iterator[str]:
    """Yield the files of a shelf, and the source of every number of each."""
    yield from _index(shelf)
    for name, path in catalog.shipped(shelf).items():
        yield f"\n### {name}\n"
        yield "| field | source |\n|---|---|"
        for field, origin in (load_yaml(path).data.get("sources") or {}).items():
            yield f"| `{field}` | {_origin(origin)} |"


def _index(shelf: Shelf) -> Iterator[str]:
    yield "| name | what it is |\n|---|---|"
    for name, path in catalog.shipped(shelf).items():
        yield f"| `{name}` | {load_yaml(path).data.get('description', '')} |"


def _origin(origin: Any) -> str:
    if isinstance(origin, dict):
        return "; ".join(f"**{key}**: {note}" for key, note in origin.items()).replace("|", "\\|")
    return str(origin)


def files() -> Iterator[str]:
    """Yield the page of the fields that a system file and every kind may have."""
    yield "# Files\n"
    yield "A field's suffix is its unit; values may be written with units (`3.35 TB/s`). Unknown fields are refused.\n"
    yield "## A system\n"
    yield from _fields(SystemSpec)
    for section in FAMILIES:
        yield f"\n## `{section}`\n"
        for name in family(section).own():
            kind = family(section).load(name)
            yield f"\n### kind `{name}`\n\n{kind.summary}\n"
            yield from _fields(kind.options)


def _fields(spec: type[Spec]) -> Iterator[str]:
    said = _attributes(spec)
    yield "| field | type | default | meaning |\n|---|---|---|---|"
    for name, field in spec.model_fields.items():
        meaning = said.get(name, "")
        yield f"| `{name}` | {_type(field)} | {_default(field)} | {meaning} |".replace("\n", " ")


def _attributes(spec: type[BaseModel]) -> dict[str, str]:
    """Return the description of each field from the docstrings of a specification and its bases."""
    said: dict[str, str] = {}
    for cls in reversed(spec.__mro__):
        text = inspect.cleandoc(cls.__doc__ or "").partition("Attributes:\n")[2]
        for match in re.finditer(r"^    (\w+): (.*(?:\n {8}.*)*)", text, re.MULTILINE):
            said[match[1]] = " ".join(match[2].split())
    return said


def _type(field: FieldInfo) -> str:
    text = field.annotation.__name__ if isinstance(field.annotation, type) else str(field.annotation)
    text = re.sub(r"\b(?:\w+\.)+", "", text).split("Annotated[", maxsplit=1)[0] or "value"
    return f"`{text}`".replace("|", "\\|")


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=not field.default_factory_takes_validated_data)
    return f"`{value}`".replace("|", "\\|")
