"""Systems and the device parts they are built of, read from ``hwconfigs/``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, model_validator

from papisim import catalog
from papisim.catalog import Found, Shelf
from papisim.config.base import Count, NonNegative, Positive, Spec, open_parts, parse, parts_of
from papisim.config.kinds import load_kind, parse_kind
from papisim.config.parallel import TENSOR_ONLY, Parallel
from papisim.config.sources import Source, load_sourced, without_overridden
from papisim.config.yaml import Assignment, Document, Override, Path_, apply_override, as_assignment, load_yaml
from papisim.errors import InputError, InputErrors, did_you_mean, one_or_all
from papisim.kinds import outside
from papisim.kinds.families import family

DEVICE_SCHEMA = "papisim/device/1"
SYSTEM_SCHEMA = "papisim/system/1"
#: schema of the files that fields of parts name, by shelf
TABLE_SCHEMAS = {Shelf.ENERGY: "papisim/energy/1", Shelf.DRAM: "papisim/dram/1"}

#: fields of placement policies that name the sides of a threshold, and mean the same in each
#: sections of an energy table that its ``band`` names
_BOUNDS = ("low", "high")
_SIDES = ("processing_unit", "pim")


class DeviceGroup(Spec):
    """So many identical devices or links; ``part`` holds the fields of the part once its file has been read."""

    part: object
    count: Count


class PrefillRoles(Spec):
    """Which devices compute the prompt."""

    fc: str
    attention: str


class TensorParallel(Spec):
    """Over how many ranks FC kernels are split, and over which links their partial sums are added.

    Attributes:
        ranks: how many. Where devices that are ranks themselves (GPUs) run FC kernels, it is their number in a stage, or in an
            attention group of :class:`~papisim.config.parallel.Parallel`, and may be left out.
        link: the links.
        reduced: devices whose partial sums are added over the links; None for all. A PIM pool that is not among them is
            taken to hand its host whole sums.
    """

    ranks: Count
    link: str
    reduced: list[str] | None = None


class PipelineParallel(Spec):
    """Into how many equal stages the machine is cut, each with its share of the layers, and what links one to the next.

    Counts of devices and links are those of the whole machine; ranks of tensor parallelism those of one stage.
    """

    stages: Annotated[int, Field(ge=2)]
    link: str


class Arbitration(Spec):
    """How devices on one memory take turns on it, where parts of a step overlap.

    Attributes:
        devices: the devices: a GPU, and the PIM units of its own stacks.
        kind: ``blocked``: while PIM units compute, their banks serve no ordinary reads, nor the other way round; so the devices take
            turns. ``dual_row_buffer``: each bank has a second row buffer for PIM, so that both go on (NeuPIMs, Heo et al.,
            ASPLOS 2024).
    """

    devices: Annotated[list[str], Field(min_length=2)]
    kind: Literal["blocked", "dual_row_buffer"]

    @property
    def exclusive(self) -> frozenset[str]:
        """Devices of which one works at a time."""
        return frozenset(self.devices if self.kind == "blocked" else ())


class Scheduler(Spec):
    """What placing the operators of a decoding iteration costs, and how far ahead it looks.

    Attributes:
        runs_on: where decisions are made: ``host``, or a device (the controller of a PIM pool).
        decision_s: seconds of a decision; there is one before each decoding iteration.
        drain_s: seconds until what is in flight has left the devices of the iteration before, where an operator moves.
        capture_s: seconds until the iteration is captured again with its operators on other devices; 0 where the graphs of every
            placement are captured beforehand.
        horizon_iterations: iterations over which a change must pay: caches move, and operators switch, where what they save in the next
            iteration, times this number, exceeds the cost. None follows the placement policy whatever a switch costs, and never moves
            caches.
    """

    runs_on: str = "host"
    decision_s: NonNegative = 0.0
    drain_s: NonNegative = 0.0
    capture_s: NonNegative = 0.0
    horizon_iterations: Positive | None = None

    @property
    def switch_s(self) -> float:
        """Seconds by which an iteration is longer whose operators are on other devices than those of the one before it."""
        return self.drain_s + self.capture_s

    @property
    def is_free(self) -> bool:
        """Whether nothing that the scheduler does takes time or is weighed."""
        return not (self.decision_s or self.switch_s) and self.horizon_iterations is None


class Roles(Spec):
    """Which device does what.

    Attributes:
        fc: devices that can run FC kernels; the placement policy chooses among them.
        attention: the home of attention: the device that runs it unless the placement policy chooses another.
        elementwise: the device that runs normalisation, activation and the like.
        prefill: the devices that compute prompts.
        weights: the device whose memory holds the weights.
        kv: the device whose memory holds the KV cache.
        tensor_parallel: ranks and links of the all-reduce after row-parallel FC kernels.
        attention_link: links to the attention device, where it is disaggregated.
        pipeline: stages of pipeline parallelism, if any.
        attention_elsewhere: further devices that can run attention of requests that decode; the placement policy chooses. They
            read the caches from the memory that these are in, over ``attention_link`` where there is one.
        arbitration: how devices on one memory take turns on it; None if each device has a memory of its own.
        kv_elsewhere: further homes of the caches: by the device that attends to them there, the device whose memory they are moved
            into over ``attention_link``, where that pays over the scheduler's horizon.
    """

    fc: list[str]
    attention: str
    elementwise: str
    prefill: PrefillRoles
    weights: str
    kv: str
    tensor_parallel: TensorParallel
    attention_link: str | None = None
    pipeline: PipelineParallel | None = None
    attention_elsewhere: list[str] = Field(default_factory=list)
    arbitration: Arbitration | None = None
    kv_elsewhere: dict[str, str] = Field(default_factory=dict)

    def with_caches_at(self, device: str) -> Roles:
        """Return the roles once the caches have been moved to where a device of ``kv_elsewhere`` attends to them."""
        moved = {"kv": self.kv_elsewhere[device], "attention": device, "attention_link": None}
        return self.model_copy(update={**moved, "attention_elsewhere": [], "kv_elsewhere": {}})

    @property
    def attends(self) -> tuple[str, ...]:
        """Every device that can run attention of requests that decode, its home first."""
        return (self.attention, *self.attention_elsewhere)

    @property
    def resources(self) -> frozenset[str]:
        """Every device and link that has a role; a link of one rank has none."""
        links = {self.attention_link} if self.attention_link else set()
        if self.tensor_parallel.ranks > 1:
            links.add(self.tensor_parallel.link)
        if self.pipeline is not None:
            links.add(self.pipeline.link)
        prefill = (self.prefill.fc, self.prefill.attention, *self.kv_elsewhere, *self.kv_elsewhere.values())
        return frozenset({*self.fc, *self.attends, self.elementwise, *prefill, self.weights, self.kv, *links})


class FaultSpec(Spec):
    """A device or link that stops during a run.

    Attributes:
        device: its name in the system.
        at_s: when it stops.
        stalled_s: for how long; None, if it is lost.
        lost: whether it never comes back.
    """

    device: str
    at_s: NonNegative
    stalled_s: Positive | None = None
    lost: bool = False

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if self.lost == (self.stalled_s is not None):
            raise ValueError("expected either 'stalled_s', the duration of the stall, or 'lost: true'")
        return self


class SystemSpec(Spec):
    """A machine: devices, links, roles, how ranks share a model, its placement policy, what that costs, and faults."""

    description: str
    devices: dict[str, DeviceGroup]
    links: dict[str, DeviceGroup]
    roles: Roles
    parallel: Parallel = TENSOR_ONLY
    placement: dict[str, object]
    scheduler: Scheduler = Field(default_factory=Scheduler)
    fault: list[FaultSpec] = Field(default_factory=list)


@dataclass(frozen=True)
class System:
    """A machine whose every field has been read and checked.

    Attributes:
        name: of the file, or of the shipped system.
        spec: the machine as its file describes it.
        parts: the part of each device and link, an instance of its kind's ``Part``.
        placement: the placement policy's options, an instance of its kind's ``Options``.
        sources: where the numbers come from.
        notes: what the user should know about how files were found.
    """

    name: str
    spec: SystemSpec
    parts: dict[str, Any]
    placement: Any
    sources: tuple[Source, ...]
    notes: tuple[str, ...]

    def for_model(self, name: str) -> System:
        """Return the machine as it is set up for one model."""
        return replace(self, placement=self.placement.for_model(name))

    def resolved(self) -> dict[str, object]:
        """Return every field of the machine as plain SI values."""
        tree = self.spec.model_dump()
        for group in (tree["devices"], tree["links"]):
            for name in group:
                group[name]["part"] = self.parts[name].model_dump()
        tree["placement"] = self.placement.model_dump()
        return tree


@dataclass(frozen=True)
class Opened:
    """A system or a part whose files have been read and put together, but not yet checked."""

    name: str
    document: Document
    sources: tuple[Source, ...]
    notes: tuple[str, ...]


def load_system(name_or_path: str, overrides: Sequence[Override] = (), placement: str | None = None) -> System:
    """Read a system, its parts and its placement policy.

    Args:
        name_or_path: a shipped name or a file.
        overrides: assignments such as ``devices.gpu.count=8``, applied before anything is checked.
        placement: replaces the file's placement policy: a kind, a reference to one from outside, or ``pinned:DEVICE``.

    Raises:
        InputError, InputErrors: everything that is wrong, with places.
    """
    assignments = [as_assignment(override) for override in overrides]
    of_placement = [each for each in assignments if each.path[0] == "placement"] if placement is not None else []
    opened = open_system(name_or_path, [each for each in assignments if each not in of_placement])
    document = opened.document
    if placement is not None:
        _choose_placement(document, placement)
        _apply(document, of_placement)
    _complete_ranks(document)
    spec = parse(SystemSpec, document)
    parts = _parse_parts(document)
    _check_roles(document, spec)
    _check_parallel(document, spec, parts)
    _check_ranks(document, spec, parts)
    sources = _in_use(opened.sources, document, [("devices", name, "part") for name in spec.devices])
    return System(opened.name, spec, parts, _parse_placement(document, spec), sources, opened.notes)


def open_system(name_or_path: str, overrides: Sequence[Override] = ()) -> Opened:
    """Read the files of a system, put the parts in their places and apply overrides.

    Raises:
        InputError, InputErrors: a file that cannot be read, a number without a source, an override of nothing.
    """
    found = catalog.find(Shelf.SYSTEM, name_or_path)
    document, sources, errors = load_sourced(found.path, SYSTEM_SCHEMA)
    notes = (found.note,) if found.note else ()
    if set(document.data) == {"alias_of"}:
        aliased = open_system(_aliased(document), overrides)
        return replace(aliased, notes=(*notes, f"{found.name} is another name for {aliased.name}", *aliased.notes))
    assignments = [as_assignment(override) for override in overrides]
    _apply(document, [each for each in assignments if _names_a_part(each)])
    others = [each for each in assignments if not _names_a_part(each)]
    overridden = {each.path: each.text for each in others}
    sources = without_overridden(sources, overridden) + _graft_parts(document, errors, overridden)
    if not errors:
        sources += _graft_tables(document, others, errors)
    if errors:
        raise one_or_all(errors)
    for each in others:
        open_parts(document.data, SystemSpec, each.path)
    _apply(document, others, parts_of(SystemSpec))
    return Opened(found.name, document, tuple(sources), notes)


def _aliased(document: Document) -> str:
    """Return the target of an alias; the file of that name must be no alias itself."""
    path, name = ("alias_of",), str(document.data["alias_of"])
    try:
        found = catalog.find(Shelf.SYSTEM, name)
        target = load_yaml(found.path)
    except InputError as error:
        raise document.error(path, str(error)) from None
    if "alias_of" in target.data:
        raise document.error(path, f"'{name}' is itself another name, expected a system")
    return name


@dataclass(frozen=True)
class Device:
    """One device part on its own, as ``papisim price`` takes it."""

    name: str
    part: Any
    sources: tuple[Source, ...]
    notes: tuple[str, ...]


def load_part(name_or_path: str, overrides: Sequence[Override] = ()) -> Device:
    """Read one device or link part.

    Args:
        name_or_path: a shipped name or a file.
        overrides: assignments to its fields, such as ``power_limited=false``.

    Raises:
        InputError, InputErrors: everything that is wrong, with places.
    """
    opened = open_part(name_or_path, overrides)
    part = parse(part_class(opened.document), opened.document)
    return Device(opened.name, part, _in_use(opened.sources, opened.document, [()]), opened.notes)


def open_part(name_or_path: str, overrides: Sequence[Override] = ()) -> Opened:
    """Read the files of one part and apply overrides.

    Raises:
        InputError, InputErrors: a file that cannot be read, a number without a source, an override of nothing.
    """
    found = catalog.find(Shelf.DEVICE, name_or_path)
    document, sources, errors = _read_part(found)
    if errors:
        raise one_or_all(errors)
    assignments = [as_assignment(override) for override in overrides]
    sources = without_overridden(sources, {each.path: each.text for each in assignments})
    sources += _graft_tables_of((), part_class(document), document, assignments, errors)
    if errors:
        raise one_or_all(errors)
    _apply(document, assignments)
    return Opened(found.name, document, tuple(sources), (found.note,) if found.note else ())


def _read_part(found: Found) -> tuple[Document, list[Source], list[InputError]]:
    """Read the file of a part, without the inherited fields that follow from the others."""
    document, sources, errors = load_sourced(found.path, DEVICE_SCHEMA)
    inherited = {name for name in document.data if document.mark((name,)).file != document.file}
    for name in inherited.intersection(getattr(part_class(document), "derives", ()) if inherited else ()):
        del document.data[name]
    return document, sources, errors


def part_class(document: Document) -> type[BaseModel]:
    """Return the class of the kind of device or link that a part's document names."""
    link = family("link")
    is_link = isinstance(document.data, dict) and link.has_own(str(document.data.get("kind")))
    return load_kind(document, link if is_link else family("device")).options


def _names_a_part(assignment: Assignment) -> bool:
    path = assignment.path
    return len(path) == 3 and path[0] in ("devices", "links") and path[2] == "part"  # noqa: PLR2004


def _apply(document: Document, overrides: Sequence[Override], left_out: Iterable[str] = ()) -> None:
    for assignment in overrides:
        apply_override(document, assignment, left_out)


def _graft_parts(document: Document, errors: list[InputError], overridden: Mapping[Path_, str]) -> list[Source]:
    """Replace the name of each part by the fields of its file; errors are added to ``errors``.

    Returns:
        The sources of the parts, without those of overridden numbers.
    """
    sources: list[Source] = []
    for section in ("devices", "links"):
        groups = document.data.get(section)
        for name, group in groups.items() if isinstance(groups, dict) else ():
            if not isinstance(group, dict) or not isinstance(group.get("part"), str):
                continue
            path = (section, name, "part")
            try:
                part, part_sources, part_errors = _read_part(_part_file(document, path))
                misplaced = _misplaced(section, part)
            except InputError as error:
                misplaced = str(error)
            if misplaced:
                errors.append(document.error(path, misplaced))
                continue
            depth = len(path)
            own = {each[depth:]: text for each, text in overridden.items() if each[:depth] == path}
            sources += without_overridden(part_sources, own)
            errors += part_errors
            document.graft(path, part)
    return sources


def _graft_tables(document: Document, overrides: list[Assignment], errors: list[InputError]) -> list[Source]:
    """Replace the names of files in the parts of a system by the fields of these files; errors are added to ``errors``.

    Overrides that name such files are applied and taken out of ``overrides``.

    Returns:
        The sources of the files, without those of overridden numbers.
    """
    sources: list[Source] = []
    for section in ("devices", "links"):
        groups = document.data.get(section)
        for name, group in groups.items() if isinstance(groups, dict) else ():
            if not isinstance(group, dict) or not isinstance(group.get("part"), dict):
                continue
            path = (section, name, "part")
            try:
                kind = part_class(Document(group["part"], document.mark((*path, "kind")).file))
            except InputError:
                continue  # an unknown kind is refused when the part is parsed
            sources += _graft_tables_of(path, kind, document, overrides, errors)
    return sources


def _graft_tables_of(
    path: Path_, kind: type[BaseModel], document: Document, overrides: list[Assignment], errors: list[InputError]
) -> list[Source]:
    """Do the same for one part of a kind, which is at a path."""
    sources: list[Source] = []
    for field, shelf in getattr(kind, "named_files", {}).items():
        place = (*path, field)
        for naming in [each for each in overrides if each.path == place and isinstance(each.value.data, str)]:
            _apply(document, [naming])
            overrides.remove(naming)
        named = document.get(path).get(field)
        if not isinstance(named, str):
            continue
        try:
            found = catalog.find(shelf, named)
            table, table_sources, table_errors = load_sourced(found.path, TABLE_SCHEMAS[shelf])
        except InputError as error:
            errors.append(document.error(place, str(error)))
            continue
        own = {each.path[len(place) :]: each.text for each in overrides if each.path[: len(place)] == place}
        sources += without_overridden(table_sources, own)
        errors += table_errors
        table.data["name"] = found.name
        document.graft(place, table)
    return sources


def _in_use(sources: Iterable[Source], document: Document, parts: Iterable[Path_]) -> tuple[Source, ...]:
    """Return the sources that figures rest on: without those of bands of energy tables that no part at the given paths uses."""
    used: dict[tuple[str, str], bool] = {}
    for path in parts:
        table = document.get(path).get("energy")
        if not isinstance(table, dict):
            continue
        for section in _BOUNDS:
            for term in table.get(section) or {}:
                key = document.mark((*path, "energy", section, term)).file, section
                used[key] = used.get(key, False) or table.get("band") == section
    return tuple(each for each in sources if used.get((each.file, each.path.partition(".")[0]), True))


def _part_file(document: Document, path: Path_) -> Found:
    """Return the file of a part that a system names: a path is relative to the system's file, or else to the working directory."""
    name = str(document.get(path))
    beside = Path(document.mark(path).file).parent / name
    return catalog.find(Shelf.DEVICE, str(beside) if catalog.is_path(name) and catalog.is_file(beside) else name)


def _misplaced(section: str, part: Document) -> str | None:
    """Return why a part cannot be used in a section; None if it can."""
    if issubclass(part_class(part), family("link").base) == (section == "links"):
        return None
    return f"a {part.data['kind']} cannot be used in '{section}'"


def _parse_parts(document: Document) -> dict[str, BaseModel]:
    parts: dict[str, BaseModel] = {}
    errors: list[InputError] = []
    part_at = document.subtrees(3)
    for section in ("devices", "links"):
        for name, group in document.data[section].items():
            try:
                if not isinstance(group["part"], dict):
                    raise document.error((section, name, "part"), "expected the name of a part, or its fields")
                inner = part_at((section, name, "part"))
                if misplaced := _misplaced(section, inner):
                    raise document.error((section, name, "part"), misplaced)
                parts[name] = parse(part_class(inner), inner)
            except InputErrors as several:
                errors += several.errors
            except InputError as error:
                errors.append(error)
    if errors:
        raise one_or_all(errors)
    return parts


def _devices_of_roles(roles: Roles) -> dict[Path_, str]:
    """Return every device that a role names, by the place of its name in the roles."""
    shared = roles.arbitration.devices if roles.arbitration else ()
    return {
        **{("fc", index): name for index, name in enumerate(roles.fc)},
        **{
            ("tensor_parallel", "reduced", index): name
            for index, name in enumerate(roles.tensor_parallel.reduced or [])
        },
        ("attention",): roles.attention,
        **{("attention_elsewhere", index): name for index, name in enumerate(roles.attention_elsewhere)},
        **{("arbitration", "devices", at): name for at, name in enumerate(shared)},
        ("elementwise",): roles.elementwise,
        ("prefill", "fc"): roles.prefill.fc,
        ("prefill", "attention"): roles.prefill.attention,
        ("weights",): roles.weights,
        ("kv",): roles.kv,
        **{("kv_elsewhere", name): name for name in roles.kv_elsewhere},
    }


def _check_roles(document: Document, spec: SystemSpec) -> None:
    roles, devices = spec.roles, _devices_of_roles(spec.roles)
    links: dict[tuple[str | int, ...], str] = {("tensor_parallel", "link"): roles.tensor_parallel.link}
    if roles.attention_link is not None:
        links[("attention_link",)] = roles.attention_link
    if roles.pipeline is not None:
        links[("pipeline", "link")] = roles.pipeline.link
    errors = [
        document.error(("roles", *path), f"no {noun} '{name}' in this system; {did_you_mean(name, there)}")
        for noun, wanted, there in (("device", devices, spec.devices), ("link", links, spec.links))
        for path, name in wanted.items()
        if name not in there
    ]
    errors += _misplaced_caches(document, roles, spec)
    if spec.scheduler.runs_on not in ("host", *spec.devices):
        message = (
            f"no '{spec.scheduler.runs_on}' here; {did_you_mean(spec.scheduler.runs_on, ('host', *spec.devices))}"
        )
        errors.append(document.error(("scheduler", "runs_on"), message))
    errors += [
        document.error(("links", name), "is also the name of a device; names must differ", at_key=True)
        for name in spec.links
        if name in spec.devices
    ]
    errors += _uneven_stages(document, spec)
    nodes = spec.parallel.nodes
    if nodes is not None and nodes.link not in spec.links:
        message = f"no link '{nodes.link}' in this system; {did_you_mean(nodes.link, spec.links)}"
        errors.append(document.error(("parallel", "nodes", "link"), message))
    stops = (*spec.devices, *spec.links)
    errors += [
        document.error(("fault", index, "device"), f"no '{fault.device}' here; {did_you_mean(fault.device, stops)}")
        for index, fault in enumerate(spec.fault)
        if fault.device not in stops
    ]
    if not roles.fc:
        errors.append(document.error(("roles", "fc"), "is empty, expected at least one device"))
    for index, name in enumerate(roles.attention_elsewhere):
        if name in roles.attends[: index + 1]:
            errors.append(document.error(("roles", "attention_elsewhere", index), f"names '{name}' a second time"))
    if errors:
        raise one_or_all(errors)


def _misplaced_caches(document: Document, roles: Roles, spec: SystemSpec) -> list[InputError]:
    """Return the errors in the further homes of caches."""
    errors = []
    for device, memory in roles.kv_elsewhere.items():
        path = ("roles", "kv_elsewhere", device)
        if memory not in spec.devices:
            errors.append(
                document.error(path, f"no device '{memory}' in this system; {did_you_mean(memory, spec.devices)}")
            )
        if roles.attention_link is None:
            errors.append(document.error(path, "caches move over roles.attention_link, of which there is none"))
        if memory == roles.kv or device == roles.attention:
            errors.append(
                document.error(path, f"'{memory}' and '{device}' are where caches are and attention is already")
            )
        if device in spec.devices and roles.prefill.attention != device:
            message = f"attention of prompts on '{roles.prefill.attention}' to caches that '{device}' attends to is not implemented"
            errors.append(document.error(path, message))
    if roles.kv_elsewhere and roles.pipeline is not None:
        errors.append(document.error(("roles", "kv_elsewhere"), "not implemented in a pipeline"))
    if roles.kv_elsewhere and spec.scheduler.horizon_iterations is None:
        message = "caches move where that pays over scheduler.horizon_iterations, which is not given"
        errors.append(document.error(("roles", "kv_elsewhere"), message))
    return errors


def _complete_ranks(document: Document) -> None:
    """Fill in the ranks of tensor parallelism where the file leaves them out: the devices of a stage that are ranks."""
    data = document.data
    try:
        roles, devices, parallel = data["roles"], data["devices"], data["roles"]["tensor_parallel"]
        if "ranks" in parallel:
            return
        parallel["ranks"] = 1
        stages = (roles.get("pipeline") or {}).get("stages", 1)
        names = [name for name in (*roles["fc"], roles["prefill"]["fc"]) if _is_rank(document, name)]
        if names:
            groups = (data.get("parallel") or {}).get("data_ranks", 1)
            parallel["ranks"] = max(1, devices[names[0]]["count"] // stages // groups)
    except (AttributeError, KeyError, TypeError, InputError, ZeroDivisionError):
        return  # whatever is wrong is reported with its place when the system is parsed


def _is_rank(document: Document, device: str) -> bool:
    path = ("devices", device, "part")
    part = Document(document.get(path), document.mark((*path, "kind")).file)  # a kind is a path relative to its file
    return bool(getattr(part_class(part), "is_rank", False))


def _check_ranks(document: Document, spec: SystemSpec, parts: Mapping[str, Any]) -> None:
    """Refuse GPUs that share FC kernels without being ranks: their partial sums would be added for free."""
    roles, stages = spec.roles, _stages(spec)
    for name in dict.fromkeys((*roles.fc, roles.prefill.fc)):
        devices = spec.devices[name].count // stages // spec.parallel.data_ranks
        if parts[name].is_rank and devices != roles.tensor_parallel.ranks:
            of_stage = (
                " of an attention group" if spec.parallel.data_ranks > 1 else " of a stage" if stages > 1 else ""
            )
            raise document.error(
                ("roles", "tensor_parallel", "ranks"),
                f"found {roles.tensor_parallel.ranks}, expected {devices}: each of the {devices} '{name}'{of_stage} is a rank of "
                f"every FC kernel (leave 'ranks' out to follow devices.{name}.count; independent groups are replicas)",
            )


def _check_parallel(document: Document, spec: SystemSpec, parts: Mapping[str, Any]) -> None:
    """Refuse numbers of ranks that contradict each other, and those that are not implemented on a machine of several devices."""
    parallel, roles = spec.parallel, spec.roles
    names = dict.fromkeys(
        (
            *roles.fc,
            roles.attention,
            roles.elementwise,
            roles.prefill.fc,
            roles.prefill.attention,
            roles.weights,
            roles.kv,
        )
    )
    used = [*parallel.shares, *(["nodes"] if parallel.nodes is not None else [])]
    first, *others = names
    if used and (others or roles.attention_link or not parts[first].is_rank):
        raise document.error(
            ("parallel", used[0]),
            f"not implemented where several devices, or PIM stacks, share a model (here {', '.join(names)}): expected GPUs, or other "
            "devices that are ranks, which do everything and hold everything",
        )
    found = next(parallel.contradictions(spec.devices[first].count // _stages(spec)), None) if used else None
    if found is not None:
        field, message = found
        raise document.error(("parallel", *field.split(".")), message)


def _stages(spec: SystemSpec) -> int:
    return 1 if spec.roles.pipeline is None else spec.roles.pipeline.stages


def _uneven_stages(document: Document, spec: SystemSpec) -> list[InputError]:
    stages = _stages(spec)
    return [
        document.error(
            (section, name, "count"), f"found {group.count}, expected a multiple of {stages} pipeline stages"
        )
        for section, groups in (("devices", spec.devices), ("links", spec.links))
        for name, group in groups.items()
        if group.count % stages
    ]


def _choose_placement(document: Document, option: str) -> None:
    kind, _, device = option.partition(":")
    if outside.is_reference(option) and not family("placement").has_own(kind):
        kind, device = option, ""
    if kind in (document.data.get("devices") or {}) and not family("placement").has_own(kind):
        raise InputError(f"--placement {option}: names a device, expected a policy; did you mean 'pinned:{kind}'?")
    shipped = document.data.get("placement")
    if isinstance(shipped, dict) and shipped.get("kind") == kind and not device:
        return
    chosen = {"kind": kind, **({"device": device} if device else _same_sides(shipped, kind))}
    document.replace(("placement",), Document(chosen, f"--placement {option}"))


def _same_sides(shipped: object, kind: str) -> dict[str, object]:
    """Return the sides that a system's own policy names, as far as the chosen policy names them, too."""
    placement = family("placement")
    if not isinstance(shipped, dict) or not placement.has_own(kind):
        return {}
    fields = placement.load(kind).options.model_fields
    return {name: shipped[name] for name in _SIDES if name in shipped and name in fields}


def _parse_placement(document: Document, spec: SystemSpec) -> Any:
    path = ("placement",)
    options: Any = parse_kind(document, family("placement"), path)
    for field, device in options.devices().items():
        if device not in spec.roles.fc:
            hint = did_you_mean(device, spec.roles.fc)
            raise document.error((*path, field), f"'{device}' runs no FC kernels in this system; {hint}")
    return options
