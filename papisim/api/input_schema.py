"""JSON Schemas of files that users write: from the configuration values and their docstrings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaValue

from papisim import units
from papisim.config.base import Spec, plain_type
from papisim.config.engine import SCHEMA as ENGINE_SCHEMA
from papisim.config.engine import EngineSpec
from papisim.devices.pim.energy import SCHEMA as ENERGY_SCHEMA
from papisim.devices.pim.energy import EnergyTable
from papisim.devices.pim.timing import SCHEMA as DRAM_SCHEMA
from papisim.devices.pim.timing import Timing

#: files by the name of their schema, without ``papisim/`` and version: the values that they hold, and the schema's version
FILES: Final[dict[str, tuple[type[Spec], str]]] = {
    "engine": (EngineSpec, ENGINE_SCHEMA),
    "energy": (EnergyTable, ENERGY_SCHEMA),
    "dram": (Timing, DRAM_SCHEMA),
}
#: fields that the reader of a file fills in
_NOT_WRITTEN: Final = frozenset({"name"})
#: roles of references in docstrings
_ROLE = re.compile(r":\w+:(?=`)")
_ATTRIBUTE = re.compile(r"^ {8}(\w+): (.*(?:\n {12}.*)*)", re.MULTILINE)


def file_schema(name: str) -> JsonSchemaValue:
    """Return the JSON Schema of a file, its ``schema`` and ``sources`` included; numbers with units may be texts.

    Mappings within the file may lack fields, since a file that extends another says only what differs there, too.
    """
    model, version = FILES[name]
    schema = model.model_json_schema(mode="validation")
    models = {each.__name__: each for each in _models(model)}
    _inline_choices(schema)
    for part, of in ((schema, model), *((inner, models.get(key)) for key, inner in schema.get("$defs", {}).items())):
        if of is not None:
            part["description"] = _ROLE.sub("", str(of.__doc__).partition("\n\n")[0])
            _describe(part, of)
    for part in schema.get("$defs", {}).values():
        part.pop("required", None)
    written = {key: value for key, value in schema["properties"].items() if key not in _NOT_WRITTEN}
    head = {
        "schema": {"const": version, "description": "name and version of this schema"},
        "sources": {"type": "object", "description": "origin of each number, by the path of its field"},
        "extends": {"type": "string", "description": "file whose fields hold where this file does not say them"},
    }
    complete = {"required": [key for key in schema.get("required", []) if key not in _NOT_WRITTEN]}
    one_of = {"anyOf": [{"required": ["extends"]}, complete]}
    return {**schema, "properties": head | written, "required": ["schema", "sources"], **one_of}


def _inline_choices(schema: JsonSchemaValue) -> None:
    """Put the words of each enumeration where a field refers to it."""
    parts = schema.get("$defs", {})
    choices = {f"#/$defs/{key}": parts.pop(key)["enum"] for key in [k for k, part in parts.items() if "enum" in part]}
    for part in (schema, *parts.values()):
        for value in part["properties"].values():
            words = choices.get(value.get("$ref", ""))
            if words is not None:
                del value["$ref"]
                value["enum"] = words


def _models(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """Yield a model and those of its fields, at any depth."""
    yield model
    for field in model.model_fields.values():
        inner = plain_type(field.annotation)
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from _models(inner)


def _describe(schema: JsonSchemaValue, model: type[BaseModel]) -> None:
    """Add the meaning of each field, as the model's docstring has it, and let texts with a unit be numbers."""
    meanings = {
        name: text for each in reversed(model.__mro__) for name, text in _ATTRIBUTE.findall(str(each.__doc__))
    }
    for name, value in schema.get("properties", {}).items():
        value["description"] = " ".join(meanings.get(name, "").split()).removesuffix(".")
        if units.unit_of(name) is not None:
            for each in (value, *value.get("anyOf", [])):
                if each.get("type") in ("number", "integer"):
                    each["type"] = [each["type"], "string"]
