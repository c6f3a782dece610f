"""Engine profiles: what a serving engine adds to the kernels of a model, read from ``hwconfigs/engines/``.

A profile says which kernels an engine merges, which libraries compute them, which steps its CUDA graphs hold, what its
host costs, what it runs to sample a token, and how it schedules and keeps caches unless the user says otherwise.
The profile ``none`` is the captured kernels and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from papisim import catalog
from papisim.catalog import Shelf
from papisim.config.base import Count, Fraction, KindOptions, Name, NonNegative, Positive, Spec, parse
from papisim.config.sections import override_section
from papisim.config.sources import Source, load_sound, without_overridden
from papisim.config.system import Device, System, load_part, load_system
from papisim.config.yaml import Override, as_assignment

SCHEMA: Final = "papisim/engine/1"
#: the profile that adds nothing
NONE: Final = "none"


class FusionSpec(Spec):
    """The kernels that an engine merges (:mod:`papisim.ops.fusion`); what a model does not have is left as captured.

    Attributes:
        kernels: ``captured``: kernels as the trace has them; ``aten``: one kernel per operation that torch dispatched, as
            eager torch launches them.
        qkv: one product computes Q, K and V.
        gate_up: one product computes gate and up.
        add_norm: adding the residual and the norm that follows are one kernel.
        norm_pairs: norms of Q and of K are one kernel.
        rotary: rotary embeddings of Q and K are one kernel.
        rotary_append: the rotary embedding also writes K and V into the cache, where both run on the same device.
        activation: the activation and its product with up are one kernel.
        all_reduce_norm: the all-reduce also adds the residual and normalises, where both run on the same device.
        all_expert_rows: where every rank has all rows and its own experts, the small kernels around experts stream the rows of all.
        quantise: norms and activations write inputs of FC kernels in their eight or four bits.
    """

    kernels: Literal["captured", "aten"] = "captured"
    qkv: bool = False
    gate_up: bool = False
    add_norm: bool = False
    norm_pairs: bool = False
    rotary: bool = False
    rotary_append: bool = False
    activation: bool = False
    all_reduce_norm: bool = False
    all_expert_rows: bool = False
    quantise: bool = False

    @property
    def merges(self) -> bool:
        """Whether any kernels are merged."""
        return any((
            self.qkv, self.gate_up, self.add_norm, self.norm_pairs, self.rotary, self.rotary_append, self.activation,
        ))  # fmt: skip

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.kernels == "aten" and (self.merges or self.all_reduce_norm):
            raise ValueError("found kernels 'aten' with merged kernels; expected 'captured' where kernels are merged")
        if self.all_reduce_norm and not self.add_norm:
            raise ValueError("found all_reduce_norm without add_norm, which it extends to the all-reduce")
        return self


class LibrariesSpec(Spec):
    """The libraries that compute kernels, each a list in order of preference; the first that a GPU part has is used.

    Attributes:
        linear: FC kernels with inputs of 16 bits.
        linear_8bit: FC kernels with inputs of 8 bits.
        linear_4bit: FC kernels with weights of 4 bits.
        attention: attention.
        elementwise: streaming kernels.
        all_reduce: all-reduces over a link.
    """

    linear: list[Name] = Field(default_factory=list)
    linear_8bit: list[Name] = Field(default_factory=list)
    linear_4bit: list[Name] = Field(default_factory=list)
    attention: list[Name] = Field(default_factory=list)
    elementwise: list[Name] = Field(default_factory=list)
    all_reduce: list[Name] = Field(default_factory=list)


class GraphsSpec(Spec):
    """The steps that are captured in CUDA graphs.

    Attributes:
        captured: ``all``: no step launches kernels one by one, at no cost of the host; ``sizes``: steps of up to the largest
            size; ``none``: every step launches each kernel from the host.
        sizes: captured numbers of token-rows, ascending; a step is padded to the next one.
        batches: largest captured number of rows over those of a full batch; None for no such limit.
        mixed: steps with prompts: ``whole``, in one graph; ``pieces``, in graphs between attention kernels, which the host
            launches; ``none``, every kernel launched by the host.
    """

    captured: Literal["all", "sizes", "none"] = "all"
    sizes: list[Count] = Field(default_factory=list)
    batches: Count | None = None
    mixed: Literal["whole", "pieces", "none"] = "whole"

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        if (self.captured == "sizes") != bool(self.sizes):
            raise ValueError("'sizes' lists the captured numbers of rows, and is given with 'captured: sizes' only")
        if any(low >= high for low, high in zip(self.sizes, self.sizes[1:], strict=False)):
            raise ValueError("found sizes that do not ascend, expected each larger than the one before")
        return self


class Scheduling(StrEnum):
    """When the host prepares a step: after the one before has ended, or while it runs."""

    SYNCHRONOUS = "synchronous"
    ASYNCHRONOUS = "asynchronous"


class HostSpec(Spec):
    """Time of the host per step.

    Attributes:
        scheduling: ``synchronous``: the host's time is in series with the devices'; ``asynchronous``: the host prepares the next
            step while one runs, so that a step takes the longer of both, and a request that arrives joins one step later.
        step_s: time per step.
        request_s: time per request in a step.
        prompt_token_s: time per prompt token in a step.
        launch_s: time per kernel, or per graph, that the host launches in a step that no whole graph holds.
        draft_step_s: time per step that verifies drafts: to take them in, and to reject and accept.
        draft_token_s: time per drafted token in a step.
        exposed_ratio: share of the host's time, launches aside, that the devices wait for although the host prepares steps ahead.
    """

    scheduling: Scheduling = Scheduling.SYNCHRONOUS
    step_s: NonNegative = 0.0
    request_s: NonNegative = 0.0
    prompt_token_s: NonNegative = 0.0
    launch_s: NonNegative = 0.0
    draft_step_s: NonNegative = 0.0
    draft_token_s: NonNegative = 0.0
    exposed_ratio: Annotated[float, Field(ge=0, le=1)] = 0.0


class SamplingSpec(Spec):
    """Kernels after the LM head, which run on the rows whose logits were computed.

    Attributes:
        kernels: number of kernels.
        passes: readings of the logits, all kernels together, in 32-bit elements.
    """

    kernels: Annotated[int, Field(ge=0)] = 0
    passes: NonNegative = 0.0


class KernelTimesSpec(Spec):
    """Time of an engine's kernels over that of the libraries that compute them, where a log of the engine shows another one.

    Attributes:
        fc_ratio: FC kernels.
        attention_ratio: attention.
        small_ratio: all further kernels.
        communication_ratio: messages between devices.
    """

    fc_ratio: Positive = 1.0
    attention_ratio: Positive = 1.0
    small_ratio: Positive = 1.0
    communication_ratio: Positive = 1.0


class CachesSpec(Spec):
    """Defaults of the section ``kv``; a field that is None keeps papisim's default.

    Attributes:
        page_tokens: tokens per page.
        utilisation_ratio: usable share of the devices' memory, weights included.
        reserve: pages that admission allocates.
    """

    page_tokens: Count | None = None
    utilisation_ratio: Fraction | None = None
    reserve: Literal["prompt", "whole"] | None = None


class EngineSpec(Spec):
    """An engine profile.

    Attributes:
        name: name of the profile: a shipped name, or that of its file.
        description: the engine, its version, and the setting.
        fusion: the kernels that are merged.
        libraries: the libraries that compute them.
        graphs: the steps that CUDA graphs hold.
        host: time of the host.
        sampling: kernels after the LM head.
        kernels: time of kernels over that of their libraries.
        scheduler: the batching policy and its options, where the user names none; empty for papisim's default.
        kv: defaults of the management of KV caches.
    """

    name: Name
    description: str
    fusion: FusionSpec = FusionSpec()
    libraries: LibrariesSpec = LibrariesSpec()
    graphs: GraphsSpec = GraphsSpec()
    host: HostSpec = HostSpec()
    sampling: SamplingSpec = SamplingSpec()
    kernels: KernelTimesSpec = KernelTimesSpec()
    scheduler: dict[str, object] = Field(default_factory=dict)
    kv: CachesSpec = CachesSpec()

    @property
    def adds_nothing(self) -> bool:
        """Whether steps are those of the captured kernels, without a host."""
        changes = self.fusion, self.graphs, self.host, self.sampling, self.kernels
        return changes == (FusionSpec(), GraphsSpec(), HostSpec(), SamplingSpec(), KernelTimesSpec())

    @model_validator(mode="after")
    def _paced_kernels_are_merged_ones(self) -> Self:
        if self.fusion.kernels == "aten" and self.kernels != KernelTimesSpec():
            raise ValueError(
                "found 'kernels' with fusion.kernels 'aten', whose single operations have no library to be compared with"
            )
        return self


#: the profile ``none``, for callers that name no engine
CAPTURED: Final = EngineSpec(name=NONE, description="no engine")


@dataclass(frozen=True)
class EngineFile:
    """An engine profile, read and checked, with the origins of its numbers and notes on its file."""

    spec: EngineSpec
    sources: tuple[Source, ...] = ()
    notes: tuple[str, ...] = ()


def load_engine(name_or_path: str, overrides: Sequence[Override] = ()) -> EngineFile:
    """Read an engine profile.

    Args:
        name_or_path: a shipped name or a file.
        overrides: assignments such as ``engine.host.step_s=2 ms``.

    Raises:
        InputError, InputErrors: everything that is wrong, with places.
    """
    found = catalog.find(Shelf.ENGINE, name_or_path)
    document, sources = load_sound(found.path, SCHEMA)
    document.data["name"] = found.name
    document = override_section("engine", document, overrides)
    changed = {each.path[1:]: each.text for each in map(as_assignment, overrides)}
    spec = parse(EngineSpec, document)
    return EngineFile(spec, tuple(without_overridden(sources, changed)), (found.note,) if found.note else ())


def load_equipped(hw: str, engine: str, overrides: Sequence[Override]) -> tuple[System, EngineFile]:
    """Read a machine and an engine profile; the machine's parts use the engine's libraries.

    Args:
        hw: the machine: a shipped name or a file.
        engine: the profile: likewise.
        overrides: assignments to both, those to the profile beginning with ``engine``.

    Raises:
        InputError, InputErrors: everything that is wrong with one of them, with places.
    """
    of_engine, of_machine = _split(overrides)
    file = load_engine(engine, of_engine)
    return with_libraries(load_system(hw, of_machine), file.spec, of_machine), file


@dataclass(frozen=True)
class EquippedPart:
    """A device part that uses an engine's libraries."""

    device: Device
    engine: EngineSpec


def load_equipped_part(hw: str, engine: str, overrides: Sequence[Override]) -> EquippedPart:
    """Read a device part and an engine profile; the part uses the engine's libraries.

    Args:
        hw: the part: a shipped name or a file.
        engine: the profile: likewise.
        overrides: assignments to both, those to the profile beginning with ``engine``.

    Raises:
        InputError, InputErrors: everything that is wrong with one of them, with places.
    """
    of_engine, of_part = _split(overrides)
    file, device = load_engine(engine, of_engine), load_part(hw, of_part)
    chosen = [as_assignment(each).path for each in of_part]
    part, notes = part_with_libraries(device.name, device.part, file.spec, chosen)
    return EquippedPart(replace(device, part=part, notes=(*device.notes, *file.notes, *notes)), file.spec)


def _split(overrides: Sequence[Override]) -> tuple[list[Override], list[Override]]:
    """Return the assignments to the engine, and those to the hardware."""
    of_engine = [each for each in overrides if as_assignment(each).path[0] == "engine"]
    return of_engine, [each for each in overrides if each not in of_engine]


#: fields of a part that name the library in use, by the engine's list; a part may lack some
_USED: Final = {
    "linear": ("linear", "use"),
    "linear_8bit": ("linear", "use_8bit"),
    "linear_4bit": ("linear", "use_4bit"),
    "attention": ("attention", "use"),
    "elementwise": ("elementwise", "use"),
    "all_reduce": ("collective", "use"),
}


def with_libraries(system: System, spec: EngineSpec, overrides: Iterable[Override]) -> System:
    """Return a machine whose parts use the engine's libraries, with a note for each list of which a part has none.

    Libraries that the user has chosen stay.

    Args:
        system: the machine.
        spec: the engine.
        overrides: assignments that were applied to the machine.
    """
    chosen = {each.path[1:] for each in map(as_assignment, overrides) if each.path[0] in ("devices", "links")}
    parts, notes = dict(system.parts), list[str]()
    for name, part in system.parts.items():
        own = {path[2:] for path in chosen if path[:2] == (name, "part")}
        parts[name], told = part_with_libraries(name, part, spec, own)
        notes += told
    return replace(system, parts=parts, notes=(*system.notes, *notes))


def part_with_libraries(
    name: str, part: KindOptions, spec: EngineSpec, chosen: Iterable[tuple[str | int, ...]] = ()
) -> tuple[KindOptions, list[str]]:
    """Return a part that uses the engine's libraries, and a note for each list of which the part has none.

    Args:
        name: name of the part, for notes.
        part: numbers of a device or link.
        spec: the engine.
        chosen: fields of the part that the user has chosen.
    """
    notes, kept = list[str](), set(chosen)
    for kind, (section, use) in _USED.items():
        kernels, wanted = getattr(part, section, None), getattr(spec.libraries, kind)
        libraries = getattr(kernels, "libraries", None)
        is_chosen = {(section,), (section, use)} & kept
        if not isinstance(kernels, Spec) or libraries is None or not hasattr(kernels, use) or not wanted or is_chosen:
            continue
        library = next((each for each in wanted if each in libraries), None)
        if library is None:
            used = getattr(kernels, use) or "its default"
            notes.append(
                f"{name} has no {section} library of the engine {spec.name} ({', '.join(wanted)}); it uses {used}"
            )
        elif library != getattr(kernels, use):
            part = part.model_copy(update={section: kernels.model_copy(update={use: library})})
    return part, notes
