"""The parts of an engine's step, and the rules that tell a kernel's part by its name: ``papisim/calibration/engine/parts.yaml``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import AfterValidator, Field

from papisim.config.base import Name, Spec, parse
from papisim.config.yaml import check_schema, load_yaml
from papisim.pricing.engine_step import Part

SCHEMA = "papisim/kernel-parts/1"


def _is_pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"found {text!r}, no regular expression: {error}") from None
    return text


class Rule(Spec):
    """Kernels of one part.

    Attributes:
        part: the part.
        pattern: regular expression that is searched in a kernel's name, whatever its case.
        why: the kernels that it is for.
    """

    part: Literal["fc", "attention", "small", "communication"]
    pattern: Annotated[str, AfterValidator(_is_pattern)]
    why: Name


class Rules(Spec):
    """The rules, in the order in which they are tried."""

    description: Name
    rules: Annotated[list[Rule], Field(min_length=1)]


@cache
def rules() -> tuple[tuple[re.Pattern[str], Part], ...]:
    """Read the rules."""
    document = load_yaml(Path(__file__).with_name("parts.yaml"))
    check_schema(document, SCHEMA)
    found = parse(Rules, document).rules
    return tuple((re.compile(rule.pattern, re.IGNORECASE), Part(rule.part)) for rule in found)


def part_of(kernel: str) -> Part | None:
    """Return the part of a kernel; None if no rule knows its name."""
    return next((part for pattern, part in rules() if pattern.search(kernel)), None)


class BusyTime(NamedTuple):
    """Time of kernels by part, in seconds, and the names of those that no rule knows, whose time is in no part."""

    by_part: dict[Part, float]
    unknown: tuple[str, ...]
    unknown_s: float


def busy_time(kernels: Iterable[tuple[str, float]]) -> BusyTime:
    """Return the time of kernels by part.

    Args:
        kernels: name and seconds of each.
    """
    by_part, unknown, unknown_s = dict[Part, float](), dict[str, None](), 0.0
    for name, time_s in kernels:
        part = part_of(name)
        if part is None:
            unknown[name] = None
            unknown_s += time_s
        else:
            by_part[part] = by_part.get(part, 0.0) + time_s
    return BusyTime(by_part, tuple(unknown), unknown_s)
