"""Which families there are, and where each is declared.

Rooms below a family's own, such as the reading of files, find it here by name and import it when it is first needed.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import TypeAlias

from pydantic import BaseModel

from papisim.errors import InputError
from papisim.kinds import outside
from papisim.kinds.family import Family

#: a family whose kinds are distinguished only when they are loaded
AnyFamily: TypeAlias = Family[BaseModel, object]

#: where each family is declared, by its name
DECLARED = {
    "placement": "papisim.policies.placement.base:PLACEMENT",
    "batching": "papisim.policies.batching.base:BATCHING",
    "routing": "papisim.policies.routing.base:ROUTING",
    "speculation": "papisim.policies.speculation.base:SPECULATION",
    "device": "papisim.devices.base:DEVICE",
    "link": "papisim.devices.link:LINK",
    "workload": "papisim.workloads.base:WORKLOAD",
    "format": "papisim.workloads.formats.base:FORMAT",
    "acceptance": "papisim.acceptance.base:ACCEPTANCE",
    "drafting": "papisim.engine.drafting.base:DRAFTING",
}


def family(name: str) -> AnyFamily:
    """Return the family of a name."""
    module, _, constant = DECLARED[name].partition(":")
    found: AnyFamily = getattr(importlib.import_module(module), constant)
    return found


def families() -> list[AnyFamily]:
    """Return all families."""
    return [family(name) for name in DECLARED]


def family_of(reference: str) -> AnyFamily:
    """Return the family that code from outside belongs to, by the base class of its options.

    Raises:
        InputError: it cannot be imported, or is of no family.
    """
    home = outside.load(reference)
    for each in families():
        if _is_of(each, home):
            return each
    bases = "; ".join(f"{each.base.__module__}.{each.base.__qualname__}" for each in families() if each.options)
    raise InputError(
        f"is no kind of anything: expected a class (or a module) with options that derive from one of {bases}",
        file=outside.code_of(home).path,
    )


def _is_of(family: AnyFamily, home: object) -> bool:
    if not family.options:
        return all(hasattr(home, name) for name in ("detect", "read"))
    if isinstance(home, ModuleType) and not hasattr(home, family.thing):
        return False
    options = getattr(home, family.options, None)
    return isinstance(options, type) and issubclass(options, family.base)
