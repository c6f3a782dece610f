"""Options of a run that take several values: each is an axis of a grid."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from papisim.cli._options import run_option, stack
from papisim.config.experiment import RunOptions
from papisim.errors import InputError
from papisim.results.comparison import split_placement

F = TypeVar("F", bound=Callable[..., object])

#: the values of each option that was given
Axes = dict[str, list[Any]]


class Listed(click.ParamType[tuple[object, ...]]):
    """Values separated by commas, each of the type of the option; the path of a file that is there is one value."""

    name = "list"

    def __init__(self, of: click.ParamType[Any]) -> None:
        self._of = of

    def convert(
        self, value: str | tuple[object, ...], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[object, ...]:
        """Return the values.

        Raises:
            UsageError: one of them is empty or none of the type.
        """
        if isinstance(value, tuple):
            return value
        texts = [value] if Path(value).exists() else [each.strip() for each in value.split(",")]
        if "" in texts:
            self.fail(f"'{value}' has an empty value", param, ctx)
        return tuple(self._of.convert(each, param, ctx) for each in texts)

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str | None:
        """Return the form of a value, and that several may be given."""
        one = (
            "N" if isinstance(self._of, click.IntRange) else self._of.get_metavar(param, ctx) or self._of.name.upper()
        )
        return f"{one}[,…]"


def axis_option(name: str, **changes: object) -> Callable[[F], F]:
    """Return the flag of a field of :class:`RunOptions` that takes several values; arguments as of :func:`run_option`."""

    def decorate(function: F) -> F:
        decorated = run_option(name, **changes)(function)
        option: click.Option = decorated.__click_params__[-1]  # type: ignore[attr-defined] # set by click
        if option.default is not None and option.show_default:
            option.help = f"{option.help}  [default: {option.default}]"
        if option.metavar is not None and "metavar" not in changes:
            option.metavar = f"{option.metavar}[,…]"
        option.type, option.multiple, option.default, option.show_default = Listed(option.type), True, None, False
        return decorated

    return decorate


def axis_options(*without: str, **changes: object) -> Callable[[F], F]:
    """Return the flags of all fields of :class:`RunOptions` that can be axes but some."""
    return stack(*(axis_option(name, **changes) for name in RunOptions.model_fields if name not in {"set", *without}))


def given(options: Mapping[str, Iterable[tuple[object, ...]]]) -> Axes:
    """Return the values of the options that were given."""
    return {name: [value for values in lists for value in values] for name, lists in options.items() if lists}


def is_grid(axes: Axes) -> bool:
    """Whether more than machines and speculation policies have several values."""
    return any(len(values) > 1 for name, values in axes.items() if name not in {"hw", "speculation"})


def with_placements(axes: Axes) -> tuple[Axes, list[dict[str, list[object]]]]:
    """Return the axes, and those that vary together: machines and their placements, where some are ``MACHINE@PLACEMENT``.

    Raises:
        InputError: placements are given in both ways.
    """
    machines = [split_placement(each) for each in axes.get("hw", [])]
    if all(placement is None for _, placement in machines):
        return axes, []
    if len(axes.get("placement", [])) > 1:
        raise InputError("--placement has several values, expected one where --hw names placements with @")
    (otherwise,) = axes.get("placement") or (None,)
    together: dict[str, list[object]] = {
        "hw": [hw for hw, _ in machines],
        "placement": [own or otherwise for _, own in machines],
    }
    others = {name: values for name, values in axes.items() if name not in together}
    return others, [together]
