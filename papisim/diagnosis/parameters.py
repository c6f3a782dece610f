"""The numbers of the hardware that a run used: their names for ``--set``, and the hardware with one of them changed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from papisim import units
from papisim.diagnosis.recording import Repricing, Sees, Variant
from papisim.ops.kernel import Attention, Elementwise, KvAppend, Linear

#: fields that no time depends on, and widths that the rest of a bank's structure is built around
_LEFT_OUT = frozenset({
    "capacity_bytes", "static_w", "board_w", "bank_bytes", "column_bytes", "standby_w_per_byte", "refresh_w_per_byte"
})  # fmt: skip
#: sections of an energy table beside the terms in use
_NOT_USED = frozenset({"low", "high", "per_toggle"})
#: counts that are better when smaller: banks that share an FPU, and its cycles per column
_LESS_IS_BETTER = frozenset({"per_banks", "cycles_per_column"})
#: sections of a GPU part that determine its energy and not its speed; a PIM stack's power limits its rate
_GPU_ENERGY = frozenset({"energy", "fitted_energy"})
#: sections of a GPU part that are fitted to a kernel library, which is software, and the kernels they apply to
_SOFTWARE: dict[str, tuple[type, ...]] = {
    "linear": (Linear,),
    "attention": (Attention,),
    "elementwise": (Elementwise, KvAppend),
}


@dataclass(frozen=True)
class Parameter:
    """One number of a device, a link or the machine.

    Attributes:
        path: name of the number for ``--set``.
        resource: device or link whose time depends on the number.
        value: value of the number.
        whole: whether the number is a count.
        software: whether the number belongs to a kernel library rather than to the hardware.
        field: path of the number in the part; empty for counts of the machine.
    """

    path: str
    resource: str
    value: float
    whole: bool
    software: bool
    field: tuple[str, ...]

    def variant(self, part: object, value: float) -> Variant:
        """Return the variant of the resource, whose part is given, with another value of the number."""
        if self.field:
            return Variant(part=_with(part, self.field, value))
        return Variant(ranks=int(value)) if self.path == RANKS else Variant(count=int(value))

    @property
    def better_up(self) -> bool:
        """Whether a larger number is better: true of rates and counts, false of times and energies."""
        name = self.path.rpartition(".")[2]
        if "timing" in self.field:
            return name == "refi"
        unit = units.unit_of(name) or ""
        return not (unit == "s" or unit.startswith("j") or name in _LESS_IS_BETTER)

    def shown(self, value: float) -> str:
        """Format a value of the number, with its unit."""
        unit = None if self.whole else units.unit_of(self.path.rpartition(".")[2])
        return f"{value:.4g}" if unit is None else units.format(value, unit, 4)

    @property
    def of(self) -> Sees | None:
        """Predicate of the work that may depend on the number; None for all work."""
        kinds = _SOFTWARE.get(self.field[0]) if self.field else None
        return None if kinds is None else lambda what: isinstance(what, kinds)


#: fields of a section with libraries that name those in use
_USES = ("use", "use_8bit")
#: path of the number of tensor-parallel ranks
RANKS = "roles.tensor_parallel.ranks"


def parameters(repricing: Repricing, devices: frozenset[str], parallel_link: str) -> Iterator[Parameter]:
    """Yield every rate, latency, size and count of the devices and links that had work.

    Args:
        repricing: the work.
        devices: names of devices; the other resources are links.
        parallel_link: the link that carries tensor-parallel sums.
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
        tied = any(repricing.is_ranks(device) for device in devices)
        if resource == parallel_link and repricing.ranks > 1 and not tied:
            yield Parameter(RANKS, resource, repricing.ranks, whole=True, software=False, field=())


def _numbers(spec: BaseModel, above: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], float]]:
    """Yield the positive numbers of a part; of kernel libraries, those of the libraries in use."""
    for name in type(spec).model_fields:
        value = getattr(spec, name)
        if name in _NOT_USED:
            continue
        if isinstance(value, BaseModel):
            yield from _numbers(value, (*above, name))
        elif name == "libraries":
            for used in filter(None, dict.fromkeys(getattr(spec, use, None) for use in _USES)):
                yield from _numbers(value[used], (*above, name, used))
        elif name == "classes":
            for kernel_class, figures in value.items():
                yield from _numbers(figures, (*above, name, kernel_class))
        elif isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0 and name not in _LEFT_OUT:
            yield (*above, name), value


def _with(spec: Any, field: tuple[str, ...], value: float) -> Any:
    """Return a part with one field replaced; the part is only priced, so dependent sizes stay as they are."""
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
