"""Numbers on the command line: plain decimal digits, finite, and within bounds that can be computed with."""

from __future__ import annotations

import re
from typing import Any

import click

from papisim.errors import shortened

_WHOLE = re.compile(r"[-+]?[0-9]{1,300}")
_NUMBER = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")
_SHOWN = 60  # characters


def _check(
    form: re.Pattern[str], expected: str, value: object, param: click.Parameter | None, ctx: click.Context | None
) -> None:
    """Refuse texts that Python takes for numbers and people do not: ``1_000``, ``nan``, digits of other scripts."""
    if isinstance(value, str) and not form.fullmatch(value):
        raise click.BadParameter(f"found '{shortened(value, _SHOWN)}', expected {expected}", ctx, param)


class Whole(click.IntRange):
    """A whole number from ``least`` to ``most``."""

    def __init__(self, least: int = 1, most: int | None = 10**7) -> None:
        super().__init__(least, most)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read the number."""
        _check(_WHOLE, "a whole number", value, param, ctx)
        return super().convert(value, param, ctx)


class Number(click.FloatRange):
    """A number between two bounds."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read the number."""
        _check(_NUMBER, "a number", value, param, ctx)
        return super().convert(value, param, ctx)
