"""One row per step, for analyses of single steps."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from papisim.ops.cost import Energy
from papisim.plan.phase import Category
from papisim.policies.placement.base import Operator


class StepKind(StrEnum):
    """What a step does: compute prompts, decode, or both."""

    PREFILL = "prefill"
    DECODE = "decode"
    MIXED = "mixed"


#: kinds of steps in which requests decode
DECODING = (StepKind.DECODE, StepKind.MIXED)


@dataclass(frozen=True, slots=True)
class StepRow:
    """One step of the model: a prefill, a decoding iteration, or an iteration with prompts beside it.

    Attributes:
        index: number of the step, from 0; prefills are counted by themselves, steps with decoding too.
        kind: ``prefill``, ``decode`` or ``mixed``.
        server: server that ran the step.
        start_s: start of the step.
        rlp: requests in the step.
        rows: token-rows of the FC kernels: per decoding request its drafts and one more, and the prompts' tokens.
        kv_tokens: tokens in the KV caches at the start.
        kv_bytes: bytes in the KV caches at the start.
        prompt_tokens: token-rows that belong to prompts.
        drafted: draft tokens verified.
        accepted: draft tokens accepted.
        wasted: draft tokens made and never verified, as found when the step ends.
        tokens: tokens emitted.
        time_s: duration of the step.
        stalled_s: seconds of the duration in which the step waited for a stalled device.
        overlapped_s: seconds saved by overlap: sum of phase times minus duration, stalls aside.
        time_by: seconds by category.
        busy_by: seconds by device or link.
        fc_flop_by: FLOP of FC kernels by device.
        placed: device of each operator that has kernels in the step, or ``mixed`` if several ran it.
        energy: energy by part, static energy included.
    """

    index: int
    kind: StepKind
    server: str
    start_s: float
    rlp: int
    rows: int
    kv_tokens: int
    kv_bytes: int
    prompt_tokens: int
    drafted: int
    accepted: int
    wasted: int
    tokens: int
    time_s: float
    stalled_s: float
    overlapped_s: float
    time_by: Mapping[Category, float]
    busy_by: Mapping[str, float]
    fc_flop_by: Mapping[str, float]
    placed: Mapping[Operator, str]
    energy: Energy

    @property
    def tlp(self) -> float:
        """Token-rows per request, on average."""
        return self.rows / self.rlp

    @property
    def fc_device(self) -> str:
        """The device that ran the FC kernels, or ``mixed`` if several did."""
        return only_device(self.fc_flop_by)


def placements(placed: Iterable[tuple[Operator, str]]) -> dict[Operator, str]:
    """Return the one device of each operator, or ``mixed``, in the order of :class:`Operator`.

    Args:
        placed: operators and the devices that run them; several devices of an operator one after another.
    """
    devices: dict[Operator, set[str]] = {}
    for operator, device in placed:
        devices.setdefault(operator, set()).add(device)
    return {operator: only_device(devices[operator]) for operator in Operator if operator in devices}


def only_device(devices: Collection[str]) -> str:
    """Return the one device of a collection, or ``mixed``."""
    return next(iter(devices)) if len(devices) == 1 else "mixed"
