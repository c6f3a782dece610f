"""What a machine or a part is, and how two of them differ."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final, Literal

from pydantic import Field

from papisim import catalog
from papisim.catalog import Shelf
from papisim.config.experiment import load_experiment, options_of
from papisim.config.sources import source_of
from papisim.config.system import DEVICE_SCHEMA, Device, System, load_part, load_system, open_part, open_system
from papisim.config.yaml import Override, Path_, dotted, load_yaml
from papisim.devices.base import DEVICE
from papisim.devices.link import Part as LinkPart
from papisim.errors import InputError, did_you_mean
from papisim.pricing.hardware import Hardware, LinkFigures, hardware, model_room
from papisim.pricing.kernel import pool_of
from papisim.results.schema import Schema

DIFFERENCE_SCHEMA: Final = "papisim/difference/1"
#: fields that say what something is called, where it is from, or (``calibrated``) what follows from the hardware
_SAID_ELSEWHERE: Final = frozenset({
    "schema", "name", "trace", "description", "extends", "n_sources", "n_assumptions", "notes", "origins", "calibrated",
})  # fmt: skip


class FieldDifference(Schema):
    """One field of the files whose value is not the same."""

    field: str
    """path of the field"""
    first: object
    """value in the first, in SI, a mapping where the second has none of its fields; null where there is none"""
    first_source: str | None
    """origin of the first value and the place in it; null for a default, or without a value"""
    second: object
    """value in the second"""
    second_source: str | None
    """origin of the second value"""


class FigureDifference(Schema):
    """One figure that follows from the fields and is not the same."""

    figure: str
    """path of the figure in the description"""
    first: object
    """value of the first, in SI; null where there is none"""
    second: object
    """value of the second"""
    ratio: float | None
    """second over first; null where either is no number, or the first is 0"""


class Difference(Schema):
    """How two machines or parts differ, ``papisim diff --format json``."""

    schema_: Literal["papisim/difference/1"] = Field(default=DIFFERENCE_SCHEMA, alias="schema")
    """name and version of this schema"""
    first: str
    """name of the first"""
    second: str
    """name of the second"""
    notes: list[str]
    """how files were found, where that is not as written"""
    fields: list[FieldDifference]
    """fields of the files"""
    figures: list[FigureDifference]
    """what follows from them, as :class:`~papisim.pricing.hardware.Hardware` has it"""


def describe(hw: str, *, traces: Sequence[str] = (), overrides: Sequence[Override] = ()) -> Hardware:
    """Describe a machine or a part: area, power, memory, peaks, and room and tuned values for models.

    Args:
        hw: a machine or a part: a shipped name or a file.
        traces: kernel traces of models; for a machine only.
        overrides: fields to change, as ``--set`` has them.

    Raises:
        InputError, InputErrors: what is wrong with the files; a model given for a part.
    """
    if not is_part(hw):
        return _machine(load_system(hw, overrides), hw, traces, overrides)
    if traces:
        raise InputError("is a part, which holds no model; expected a machine with --trace", file=hw)
    return _part(load_part(hw, overrides))


def is_part(hw: str) -> bool:
    """Return whether a name or file is that of a device or link part; a name of both is the machine's.

    Raises:
        InputError: it is neither, with the nearest name.
    """
    try:
        found = catalog.find(Shelf.SYSTEM, hw)
    except InputError:
        parts = catalog.shipped(Shelf.DEVICE)
        if catalog.is_path(hw):
            raise
        if hw not in parts:
            known = {*catalog.shipped(Shelf.SYSTEM), *parts}
            raise InputError(
                f"no machine or part '{hw}': neither a file nor a shipped name; {did_you_mean(hw, known)}"
            ) from None
        return True
    return bool(load_yaml(found.path).data.get("schema") == DEVICE_SCHEMA)


def _machine(system: System, hw: str, traces: Sequence[str], overrides: Sequence[Override]) -> Hardware:
    spec = system.spec
    pools = [pool_of(Device(name, system.parts[name], (), ()), group.count) for name, group in spec.devices.items()]
    links = [_link(name, group.count, system.parts[name]) for name, group in spec.links.items()]
    options = [options_of(hw=hw, trace=trace, set=list(overrides)) for trace in traces]
    models = [model_room(load_experiment(each)) for each in options]
    return hardware(
        system.name,
        spec.description,
        pools,
        links,
        system.sources,
        system=system,
        models=models,
        notes=system.notes,
    )


def _part(device: Device) -> Hardware:
    runs_kernels = isinstance(device.part, DEVICE.base)
    pools = [pool_of(device, 1)] if runs_kernels else []
    links = [] if runs_kernels else [_link(device.name, 1, device.part)]
    return hardware(device.name, device.part.description, pools, links, device.sources, notes=device.notes)


def _link(name: str, count: int, part: LinkPart) -> LinkFigures:
    return LinkFigures(
        name=name,
        description=part.description,
        count=count,
        bandwidth_bytes_per_s=count * part.bandwidth_bytes_per_s,
        latency_s=part.latency_s,
    )


def diff(first: str, second: str, *, traces: Sequence[str] = ()) -> Difference:
    """Return the differences of two machines, or of two parts: in the fields of their files, and in what follows from them.

    Descriptions and tables of calibrated values are left out; what models get of them is among the figures.

    Args:
        first: a machine or a part: a shipped name or a file.
        second: another one, likewise.
        traces: models whose room and tuned values are compared; for machines only.

    Raises:
        InputError, InputErrors: what is wrong with the files; one is a machine and the other a part.
    """
    if is_part(first) != is_part(second):
        part, machine = (first, second) if is_part(first) else (second, first)
        raise InputError(f"{part} is a part and {machine} a machine; expected two of one sort")
    described = [describe(each, traces=traces) for each in (first, second)]
    figures = [_figures(each) for each in described]
    return Difference(
        first=first,
        second=second,
        notes=[note for each in described for note in each.notes],
        fields=list(_fields(first, second)),
        figures=[
            FigureDifference(figure=dotted(path), first=one, second=other, ratio=_ratio(one, other))
            for path, one, other in _different(figures[0], figures[1])
        ],
    )


def _figures(described: Hardware) -> object:
    """Return the figures that descriptions are compared by: those of a machine by name, or those of a part alone."""
    found = described.as_json()
    if described.parallel is None:
        return (found["devices"] or found["links"])[0]
    named = {group: {each["name"]: each for each in found[group]} for group in ("devices", "links")}
    return {**found, **named, "models": {each["trace"]: each for each in found["models"]}}


def _fields(first: str, second: str) -> Iterator[FieldDifference]:
    """Yield the fields of two machines or parts that differ, as they were checked, with their sources."""
    (one, sources), (other, others) = _said(first), _said(second)
    for path, value, changed in _different(one, other):
        yield FieldDifference(
            field=dotted(path), first=value, first_source=sources(path), second=changed, second_source=others(path)
        )


def _said(hw: str) -> tuple[object, Callable[[Path_], str | None]]:
    """Return the checked fields of a machine or a part, and a function that returns the source of one."""
    if is_part(hw):
        opened, fields = open_part(hw), load_part(hw).part.model_dump(mode="json")
    else:
        opened, fields = open_system(hw), load_system(hw).resolved()

    def source(path: Path_) -> str | None:
        found = source_of(opened.document, opened.sources, path)
        return None if found is None else f"{found.origin}: {found.note}"

    return fields, source


def _different(first: object, second: object, path: Path_ = ()) -> Iterator[tuple[Path_, object, object]]:
    """Yield the paths at which two trees differ, and what each has there; None where it has nothing."""
    if isinstance(first, dict) and isinstance(second, dict):
        for name in dict.fromkeys((*first, *second)):
            if name not in _SAID_ELSEWHERE:
                yield from _different(first.get(name), second.get(name), (*path, name))
    elif first != second:
        yield path, first, second


def _ratio(first: object, second: object) -> float | None:
    numbers = [each for each in (first, second) if isinstance(each, (int, float)) and not isinstance(each, bool)]
    return numbers[1] / numbers[0] if len(numbers) == 2 and numbers[0] else None  # noqa: PLR2004
