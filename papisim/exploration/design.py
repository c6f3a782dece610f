"""Figures of a machine that need no simulation: counts, memory, area and power."""

from __future__ import annotations

from papisim.config.experiment import Experiment
from papisim.config.system import System
from papisim.devices.pim import Part as PimPart
from papisim.devices.pim.energy import fed_w, streaming_w
from papisim.errors import InputError, NotModelled, did_you_mean
from papisim.exploration.expression import Function


class NoSuchDevice(InputError):
    """An expression asks about a device that this machine does not have."""


def describe(experiment: Experiment) -> dict[str, float]:
    """Return the figures of an experiment's machines by name, those of all replicas together.

    - ``n_devices``, ``n_devices.NAME``: devices, links not counted.
    - ``static_w``: power of all devices whether or not they work.
    - ``capacity_bytes.NAME``: memory of all devices of a name.
    - ``banks_per_die.NAME``, ``die_area_mm2.NAME``: of PIM stacks whose part has ``area``; the left side of PAPI's equation 3.
    - ``pim_area_mm2``: banks and FPUs of all dies of all such stacks. GPU dies are in no part and so in no figure.
    """
    system, replicas = experiment.system, experiment.routing.replicas
    groups = {name: (replicas * group.count, system.parts[name]) for name, group in system.spec.devices.items()}
    figures: dict[str, float] = {
        "n_devices": sum(count for count, _ in groups.values()),
        "static_w": sum(count * part.static_w for count, part in groups.values()),
        "pim_area_mm2": 0.0,
    }
    for name, (count, part) in groups.items():
        figures[f"n_devices.{name}"] = count
        figures[f"capacity_bytes.{name}"] = count * part.capacity_bytes
        if isinstance(part, PimPart) and part.area is not None:
            figures[f"banks_per_die.{name}"] = part.organisation.banks / part.area.dies
            figures[f"die_area_mm2.{name}"] = _die_mm2(part)
            figures["pim_area_mm2"] += count * part.area.dies * _die_mm2(part)
    return figures


def functions(system: System) -> dict[str, Function]:
    """Return the functions of expressions that concern the PIM stacks of a machine.

    - ``fed_w(NAME, reuse)``: power of one stack whose FPUs never wait for data (PAPI, Figure 7c).
    - ``streaming_w(NAME, reuse)``: power of one stack whose open rows stream a column of each bank every ``column_gap``,
      were its power not limited.
    - ``die_area_mm2(NAME)``: area of a die's banks and FPUs.
    - ``sustained_w(NAME, reuse)``: the smaller of ``fed_w`` and ``streaming_w``: FPUs or banks, the slower of the two.
    """

    def fed(name: str, reuse: float) -> float:
        part = _stack(system, name)
        return fed_w(reuse, part.energy, part.organisation, part.fpu)

    def streaming(name: str, reuse: float) -> float:
        part = _stack(system, name)
        gap_s = part.timing.column_gap * part.timing.tck_s
        return streaming_w(reuse, gap_s, part.energy, part.organisation, part.fpu)

    return {
        "fed_w": Function(fed, of_device=True),
        "streaming_w": Function(streaming, of_device=True),
        "sustained_w": Function(lambda name, reuse: min(fed(name, reuse), streaming(name, reuse)), of_device=True),
        "die_area_mm2": Function(lambda name: _die_mm2(_stack(system, name)), of_device=True),
    }


def _stack(system: System, name: str) -> PimPart:
    devices = system.spec.devices
    if name not in devices:
        raise NoSuchDevice(f"no device '{name}' in {system.name}; {did_you_mean(name, devices)}")
    part = system.parts[name]
    if not isinstance(part, PimPart):
        raise NotModelled(f"'{name}' of {system.name} is a {part.kind}; its area and power by reuse are in no part")
    return part


def _die_mm2(part: PimPart) -> float:
    if part.die_area_mm2 is None:
        raise NotModelled(f"no area is given for {part.description}")
    return part.die_area_mm2
