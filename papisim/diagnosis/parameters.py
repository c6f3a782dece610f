"""The numbers of the hardware that a run used: what they are called in ``--set``, and the hardware with one of them changed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from papisim import units
from papisim.diagnosis.recording import Repricing, Sees, Variant
from papisim.ops.kernel import Attention, Elementwise, KvAppend, Linear

#: fields that no time depends on, and widths that the rest of a bank's structure is built around
_LEFT_OUT = frozenset({"capacity_bytes", "static_w", "board_w", "bank_bytes", "column_bytes"})
#: counts of which hardware has fewer when it is better: banks that share an FPU, and its cycles for a column
_LESS_IS_BETTER = frozenset({"per_banks", "cycles_per_column"})
#: sections of a GPU part that say what it draws and not how fast it is; a PIM stack's power limits its rate
_GPU_ENERGY = frozenset({"energy", "fitted_energy"})
#: sections of a GPU part that are fitted to a kernel library, software and not hardware, and the kernels they speak of
_SOFTWARE: dict[str, tuple[type, ...]] = {
    "linear": (Linear,),
    "attention": (Attention,),
    "elementwise": (Elementwise, KvAppend),
}


@dataclass(frozen=True)
class Parameter:
    """One number of a device, a link or the machine.

    Attributes:
        path: its name in ``--set``.
        resource: the device or link whose time depends on it.
        value: what it is.
        whole: whether it counts something.
        software: whether it is a kernel library's and not the hardware's.
        field: where it stands in the part; empty for counts of the machine.
    """

    path: str
    resource: str
    value: float
    whole: bool
    software: bool
    field: tuple[str, ...]

    def variant(self, part: Any, value: float) -> Variant:
        """Return how the resource, whose part is given, differs with another value of it."""
        if self.field:
            return Variant(part=_with(part, self.field, value))
        return Variant(ranks=int(value)) if self.path == RANKS else Variant(count=int(value))

    @property
    def better_up(self) -> bool:
        """Whether hardware has more of it when it is better: rates and counts, but neither times nor energies."""
        name = self.path.rpartition(".")[2]
        if "timing" in self.field:
            return name == "refi"
        unit = units.unit_of(name) or ""
        return not (unit == "s" or unit.startswith("j") or name in _LESS_IS_BETTER)

    def shown(self, value: float) -> str:
        """Write a value of it for people."""
        unit = None if self.whole else units.unit_of(self.path.rpartition(".")[2])
        return f"{value:.4g}" if unit is None else units.format(value, unit, 4)

    @property
    def of(self) -> Sees | None:
        """Tells the work that may depend on it; None for all."""
        kinds = _SOFTWARE.get(self.field[0]) if self.field else None
        return None if kinds is None else lambda what: isinstance(what, kinds)


#: path of the number of tensor-parallel ranks
RANKS = "roles.tensor_parallel.ranks"


def parameters(repricing: Repricing, devices: frozenset[str], parallel_link: str) -> Iterator[Parameter]:
    """Yield every rate, latency, size and count of the devices and links that had work.

    Args:
        repricing: the work.
        devices: which of the resources are devices; the others are links.
        parallel_link: the link that tensor-parallel sums go over.
    """
    for resource in repricing.resources:
        unit = repricing.unit(resource)
        section = "devices" if resource in devices else "links"
        yield Parameter(f"{section}.{resource}.count", resource, unit.count, whole=True, software=False, field=())
        for field, value in _numbers(unit.part, ()):
            if unit.part.kind == "gpu" and field[0] in _GPU_ENERGY:
                continue
            path = f"{section}.{resource}.part.{'.'.join(field)}"
            whole, software = isinstance(value, int), field[0] in _SOFTWARE
            yield Parameter(path, resource, value, whole, software, field)
        if resource == parallel_link and repricing.ranks > 1:
            yield Parameter(RANKS, resource, repricing.ranks, whole=True, software=False, field=())


def _numbers(spec: BaseModel, above: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], float]]:
    """Yield the positive numbers of a part; of several kernel libraries, those of the one in use."""
    for name in type(spec).model_fields:
        value = getattr(spec, name)
        if isinstance(value, BaseModel):
            yield from _numbers(value, (*above, name))
        elif name == "libraries":
            used = getattr(spec, "use")  # noqa: B009 - only such sections have it
            yield from _numbers(value[used], (*above, name, used))
        elif isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0 and name not in _LEFT_OUT:
            yield (*above, name), value


def _with(spec: Any, field: tuple[str, ...], value: float) -> Any:
    """Return a part with one field replaced; it is only priced, so sizes that follow from others stay."""
    name, *deeper = field
    if isinstance(spec, dict):
        return {**spec, name: _with(spec[name], tuple(deeper), value)}
    inner = _with(getattr(spec, name), tuple(deeper), value) if deeper else value
    return spec.model_copy(update={name: inner})


def moved(parameter: Parameter, ratio: float) -> float:
    """Return the value raised by a ratio, or lowered by a negative one; whole numbers by at least one, down to one."""
    if not parameter.whole:
        return float(f"{parameter.value * (1 + ratio):.9g}")
    step = max(1, round(abs(ratio) * parameter.value))
    return parameter.value + step if ratio > 0 else max(1, parameter.value - step)
