"""The price of one step of a serving engine, by part: the requests that it decodes and the prompt tokens that it computes.

It is the step that a simulation of the same experiment would run, planned and lengthened by the host alike.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple

from papisim.config.experiment import Experiment
from papisim.engine.boards import Boards
from papisim.engine.build import build_host
from papisim.engine.host import StepSize
from papisim.ops.kernel import Attention, Linear
from papisim.ops.lower import KvLengths, Prompts, chunk_lengths, decode_shape
from papisim.ops.trace import read_trace
from papisim.plan.build import build_formats, planner_of
from papisim.plan.layout import StepLayout
from papisim.plan.machine import build_machine
from papisim.plan.phase import Message, Phase, Work, seconds
from papisim.plan.planner import StepWork
from papisim.plan.sums import Sums


class Part(StrEnum):
    """Parts of a step: the kernels of a GPU, messages, what a power limit adds to kernels, and the host."""

    FC = "fc"
    ATTENTION = "attention"
    SMALL = "small"
    COMMUNICATION = "communication"
    CLOCK = "clock"
    HOST = "host"


#: parts that occupy the devices and links at the full clock
OF_DEVICES = (Part.FC, Part.ATTENTION, Part.SMALL, Part.COMMUNICATION)


class Composition(NamedTuple):
    """What a step computes.

    Attributes:
        n_decode: requests that decode.
        decode_rows: their token-rows, drafts included.
        cached_tokens: their cached tokens before the step.
        prompts: cached tokens and tokens computed now of each prompt.
    """

    n_decode: int = 0
    decode_rows: int = 0
    cached_tokens: int = 0
    prompts: tuple[tuple[int, int], ...] = ()

    @property
    def prompt_tokens(self) -> int:
        """Prompt tokens computed."""
        return sum(tokens for _, tokens in self.prompts)

    @property
    def drafts(self) -> int:
        """Drafted tokens of each request that decodes."""
        return self.decode_rows // self.n_decode - 1 if self.n_decode else 0

    @property
    def size(self) -> StepSize:
        """What the host handles."""
        return StepSize(
            self.n_decode + len(self.prompts), self.decode_rows + self.prompt_tokens, self.prompt_tokens,
            drafts=self.decode_rows - self.n_decode,
        )  # fmt: skip


class StepTime(NamedTuple):
    """The time of a step.

    Attributes:
        time_s: seconds from its start to the start of the next.
        by_part: seconds of each part; those of the host may pass while the devices work.
        launches: kernels and messages that the devices execute.
        energy_j: joules of the devices' work, above idle power.
    """

    time_s: float
    by_part: dict[Part, float]
    launches: int
    energy_j: float

    @property
    def devices_s(self) -> float:
        """Seconds of kernels and messages at the full clock."""
        return sum(self.by_part.get(part, 0.0) for part in OF_DEVICES)

    @property
    def slowed_s(self) -> float:
        """Seconds of kernels and messages at the clock that the power limit sets."""
        return self.devices_s + self.by_part.get(Part.CLOCK, 0.0)


class StepPricer:
    """Prices steps of an experiment's model on its machine, as its engine runs them.

    Requests that decode are taken to be equally long: engines' logs tell the sum of their caches alone. Of every prompt in a step
    the logits of one row are computed, since engines do so for chunks as well.

    Args:
        experiment: the experiment.

    Attributes:
        static_w: idle power of the machine.
        notes: kernels that the engine merges and the model's cannot be.

    Raises:
        InputError, InputErrors: the trace cannot be read, or the machine cannot run it.
    """

    def __init__(self, experiment: Experiment) -> None:
        trace = read_trace(experiment.trace.path).stored_as(build_formats(experiment.quantisation))
        machine = build_machine(experiment.system)
        self._planner = planner_of(experiment, trace, machine)
        self._host, self._boards = build_host(experiment, self._planner, machine), Boards(machine)
        self._known: dict[Composition, StepTime] = {}
        self.static_w, self.notes = machine.static_w, self._planner.notes

    def price(self, step: Composition) -> StepTime:
        """Return the time of a step."""
        found = self._known.get(step)
        if found is None:
            found = self._known[step] = self._price(step)
        return found

    def _price(self, step: Composition) -> StepTime:
        work = self._work(step)
        devices, launches = by_part(_phases(work))
        devices_s, size = work.time_s, step.size
        host = self._host.phases(size, work.layout, work.phases)
        host_s = sum(phase.total_s for phase in host)
        wall_s = devices_s + host_s - self._host.hidden_s(size, host, devices_s)
        slowed = self._boards.phases(work.layout, work.phases, wall_s)
        clock_s = seconds(slowed)
        time_s = devices_s + clock_s + host_s - self._host.hidden_s(size, host, devices_s + clock_s)
        return StepTime(
            time_s,
            devices | {Part.CLOCK: clock_s, Part.HOST: host_s},
            launches,
            _energy_j(work) + sum(phase.energy.total_j for phase in slowed),
        )

    def _work(self, step: Composition) -> StepWork:
        prompts = Prompts(chunk_lengths(step.prompts), len(step.prompts)) if step.prompts else None
        if not step.n_decode:
            return (
                StepWork(StepLayout(), [])
                if prompts is None
                else self._planner.work(prompts.shape, None, prompts.lengths)
            )
        shape, lengths = decode_shape(step.n_decode, step.decode_rows), _lengths(step)
        if prompts is None:
            return self._planner.work(shape, lengths, None)
        return self._planner.work(shape.with_prompts(prompts), lengths, prompts.lengths)


def _lengths(step: Composition) -> KvLengths:
    """Return the caches of equally long requests, each token-row of which attends to the whole cache."""
    kv_tokens = step.cached_tokens + step.decode_rows
    longest = -(-kv_tokens // step.n_decode)
    pairs = step.decode_rows * kv_tokens // step.n_decode
    return KvLengths(step.n_decode, step.decode_rows, kv_tokens, longest, pairs)


def _energy_j(work: StepWork) -> float:
    sums = Sums(work.phases)
    for part in work.layout.parts:
        sums.add_scaled(part.sums)
    return sums.energy.total_j


def _phases(work: StepWork) -> list[Phase]:
    shared = [item for part in work.layout.parts for item in part.items if isinstance(item, Phase)]
    return [*shared, *work.phases]


def by_part(phases: Iterable[Phase]) -> tuple[dict[Part, float], int]:
    """Return the seconds of phases by part, and the number of kernels and messages in them."""
    times_s, launches = dict[Part, float](), 0
    for phase in phases:
        launches += phase.n_kernels
        for work in phase.work:
            part = _part_of(work)
            times = work.times * phase.repeats
            times_s[part] = times_s.get(part, 0.0) + work.time_s * times
    return times_s, launches


def _part_of(work: Work) -> Part:
    match work.item:
        case Linear():
            return Part.FC
        case Attention():
            return Part.ATTENTION
        case Message():
            return Part.COMMUNICATION
    return Part.SMALL
