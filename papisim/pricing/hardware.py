"""What a machine or a part is before any run: area, power, memory, peaks, and the room that it has for models."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final, Literal

from pydantic import Field

from papisim.config.experiment import Experiment
from papisim.config.sources import EXTENDS, Source
from papisim.config.system import System
from papisim.devices.base import DevicePool
from papisim.errors import DoesNotFit, NotModelled
from papisim.ops.lower import weight_bytes
from papisim.ops.trace import read_trace
from papisim.plan.machine import build_machine
from papisim.plan.memory import plan_memory
from papisim.results.schema import Schema

HARDWARE_SCHEMA: Final = "papisim/hardware/1"


class DeviceFigures(Schema):
    """The devices of one name, all together; null is what their kind does not have."""

    name: str
    """name in the system, or of the part"""
    description: str
    """the part's description"""
    kind: str
    """kind of the part"""
    count: int
    """devices"""
    capacity_bytes: float
    """memory"""
    bandwidth_bytes_per_s: float | None
    """peak bandwidth of the memory that the devices compute from"""
    peak_flop_per_s: float | None
    """peak arithmetic"""
    ridge_flop_per_byte: float | None
    """arithmetic intensity at which both peaks are reached"""
    static_w: float
    """power with or without work"""
    budget_w: float | None
    """PIM: power that the stacks may draw for work"""
    die_area_mm2: float | None
    """PIM: banks and FPUs of one die (PAPI, equation 3)"""
    area_mm2: float | None
    """PIM: the same of all dies, and units of base dies"""
    units: list[UnitFigures]
    """PIM: units by level"""


class UnitFigures(Schema):
    """The arithmetic units of one level of a device."""

    level: str
    """where they sit"""
    units: float
    """units of one device"""
    unit_mm2: float | None
    """area of one unit with its share of buffers; null if the part does not say"""
    area_mm2: float | None
    """area of all units of one device"""
    node_nm: float | None
    """process node that the areas are of"""


class LinkFigures(Schema):
    """The links of one name."""

    name: str
    """name in the system, or of the part"""
    description: str
    """the part's description"""
    count: int
    """links"""
    bandwidth_bytes_per_s: float
    """payload bandwidth of all links in one direction"""
    latency_s: float
    """time of an empty message"""


class Shares(Schema):
    """How many ranks share a model."""

    tensor_ranks: int
    """ranks of tensor parallelism, of one stage or attention group"""
    stages: int
    """stages of the pipeline"""
    data_ranks: int
    """attention groups"""
    context_ranks: int
    """ranks over which a cache is split by tokens"""
    expert_ranks: int
    """ranks that experts are dealt out to"""


class ModelRoom(Schema):
    """What the machine is for one model, stored as captured."""

    trace: str
    """name of the kernel trace"""
    weight_bytes: float
    """weights"""
    kv_capacity_bytes: float | None
    """room for KV caches beside the weights; null where the weights do not fit"""
    kv_tokens: float | None
    """tokens that this room holds; null where the weights do not fit, or no layer appends to a cache"""
    tuned: dict[str, object]
    """values that belong to the machine and the model, α among them, by the path of the field"""
    origins: dict[str, str]
    """where each of them came from"""


class Hardware(Schema):
    """A machine or a part, ``papisim describe --format json``."""

    schema_: Literal["papisim/hardware/1"] = Field(default=HARDWARE_SCHEMA, alias="schema")
    """name and version of this schema"""
    name: str
    """name of the file, or shipped name"""
    description: str
    """the file's description"""
    extends: list[str]
    """files that the machine's and its parts' files extend, each as ``file: extended``"""
    devices: list[DeviceFigures]
    """devices by name"""
    links: list[LinkFigures]
    """links by name"""
    capacity_bytes: float
    """memory of all devices"""
    static_w: float
    """power of all devices with or without work"""
    pim_area_mm2: float
    """banks and FPUs of all dies of PIM stacks; GPU dies are in no part and so in no figure"""
    parallel: Shares | None
    """ranks that share a model; null for a part"""
    placement: str | None
    """kind of the placement policy; null for a part"""
    models: list[ModelRoom]
    """room and tuned values by model"""
    notes: list[str]
    """how files were found, where that is not as written"""
    area_sources: list[str]
    """where areas come from: file, field, origin and place"""
    n_sources: int
    """entries in the files' ``sources``"""
    n_assumptions: int
    """of them, those that papisim's authors chose for want of a published value"""


def hardware(
    name: str,
    description: str,
    pools: Iterable[DevicePool],
    links: Iterable[LinkFigures],
    sources: Sequence[Source],
    *,
    system: System | None = None,
    models: Sequence[ModelRoom] = (),
    notes: Sequence[str] = (),
) -> Hardware:
    """Return the figures of a machine, or of one part.

    Args:
        name: name of the file.
        description: its description.
        pools: all devices.
        links: figures of the links.
        sources: sources of all files.
        system: the machine; None for a part.
        models: figures by model.
        notes: how files were found.
    """
    devices = [device_figures(pool) for pool in pools]
    return Hardware(
        name=name,
        description=description,
        extends=[f"{_file(each)}: {each.note}" for each in sources if each.origin == EXTENDS],
        devices=devices,
        links=list(links),
        capacity_bytes=sum(each.capacity_bytes for each in devices),
        static_w=sum(each.static_w for each in devices),
        pim_area_mm2=sum(each.area_mm2 or 0.0 for each in devices),
        parallel=None if system is None else shares(system),
        placement=None if system is None else system.placement.kind,
        models=list(models),
        notes=list(notes),
        area_sources=[
            f"{_file(each)} {each.path}: {each.origin}, {each.note}"
            for each in sources
            if each.path.split(".")[0] == "area"
        ],
        n_sources=sum(each.origin != EXTENDS for each in sources),
        n_assumptions=sum(each.is_assumption for each in sources),
    )


def _file(source: Source) -> str:
    return source.file.rpartition("/")[2]


def device_figures(pool: DevicePool) -> DeviceFigures:
    """Return the figures of the devices of one pool."""
    flop, rate = _known(lambda: pool.peak_flop_per_s), _known(lambda: pool.bandwidth_bytes_per_s)
    part = pool.part
    return DeviceFigures(
        name=pool.name,
        description=part.description,
        kind=part.kind,
        count=pool.count,
        capacity_bytes=pool.capacity_bytes,
        bandwidth_bytes_per_s=rate,
        peak_flop_per_s=flop,
        ridge_flop_per_byte=flop / rate if flop and rate else None,
        static_w=pool.static_w,
        budget_w=None if part.budget_w is None else pool.count * part.budget_w,
        die_area_mm2=part.die_area_mm2,
        area_mm2=None if part.area_mm2 is None else pool.count * part.area_mm2,
        units=[
            UnitFigures(
                level=str(level), units=n, unit_mm2=one, area_mm2=None if one is None else n * one, node_nm=node
            )
            for level, n, one, node in part.unit_areas
        ],
    )


def _known(figure: Callable[[], float]) -> float | None:
    try:
        return figure()
    except NotModelled:
        return None


def shares(system: System) -> Shares:
    """Return the numbers of ranks of a machine that share a model."""
    roles, parallel = system.spec.roles, system.spec.parallel
    return Shares(
        tensor_ranks=roles.tensor_parallel.ranks,
        stages=1 if roles.pipeline is None else roles.pipeline.stages,
        data_ranks=parallel.data_ranks,
        context_ranks=parallel.context_ranks,
        expert_ranks=parallel.expert_ranks,
    )


def model_room(experiment: Experiment) -> ModelRoom:
    """Return the room of an experiment's machine for its model, and the values tuned for both."""
    trace = read_trace(experiment.trace.path)
    room = tokens = None
    try:
        plan = plan_memory(build_machine(experiment.system), trace)
        room = plan.kv_capacity_bytes
        tokens = room / plan.kv_token_bytes if plan.kv_token_bytes else None
    except DoesNotFit:
        pass  # said by null
    return ModelRoom(
        trace=experiment.trace.name,
        weight_bytes=weight_bytes(trace),
        kv_capacity_bytes=room,
        kv_tokens=tokens,
        tuned={each.field: each.value for each in experiment.tunings},
        origins={each.field: each.origin for each in experiment.tunings},
    )
