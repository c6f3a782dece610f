"""Which operator of a run would gain most from running elsewhere: every other place of each is simulated.

An operator is moved alone; all others are placed as the run placed them. Attention and operators of a draft model that have one
device are tried on the machine's further devices, by the fields that name these.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from papisim.config.experiment import RunOptions, load_experiment
from papisim.diagnosis.scope import Scope
from papisim.engine.drafting.model import Options as DraftModel
from papisim.engine.run import Run, simulate
from papisim.errors import PapisimError
from papisim.plan.build import build_placement
from papisim.policies.placement.base import Operator, PlacementPolicy, PlacementView
from papisim.record.steps import DECODING
from papisim.results.operators import candidates

#: gain in throughput below which an operator is as well off where it is
_WORTH_RATIO = 0.001
_DRAFTS = (Operator.DRAFT_FC, Operator.DRAFT_ATTENTION)


@dataclass(frozen=True)
class Moved:
    """A policy that places one operator by itself, and asks another policy about all others.

    Attributes:
        operator: the operator.
        device: its device in every iteration; None to choose the fastest anew in each.
        others: the policy for all others.
    """

    operator: Operator
    device: str | None
    others: PlacementPolicy

    def place(self, view: PlacementView) -> str:
        """Return the operator's device, or that of another operator."""
        if view.operator is not self.operator:
            return self.others.place(view)
        if self.device is not None:
            return self.device
        return min(view.candidates, key=lambda device: view.price(device, view.kernel).time_s)


@dataclass(frozen=True)
class Alternative:
    """An operator elsewhere.

    Attributes:
        device: its device in every iteration; None where the fastest was chosen anew in each.
        time_s: seconds of what is explained.
        speed_up_ratio: throughput over that of the run as it is.
    """

    device: str | None
    time_s: float
    speed_up_ratio: float


@dataclass(frozen=True)
class OperatorGain:
    """What a run would gain if one operator ran elsewhere.

    Attributes:
        operator: the operator.
        devices: devices that it may run on, its home first.
        kernel_s: seconds of its kernels in steps that decode.
        overrides: assignments for ``--set`` that let it run on further devices; empty where the machine does.
        whole: the best single device for the whole run, of those that differ from the run as it is; None if all are refused.
        each: the fastest device of every iteration; None if all others are refused.
        refused: why the machine is refused with further devices, by device.
    """

    operator: Operator
    devices: tuple[str, ...]
    kernel_s: float
    overrides: tuple[str, ...] = ()
    whole: Alternative | None = None
    each: Alternative | None = None
    refused: tuple[tuple[str, str], ...] = ()

    @property
    def speed_up_ratio(self) -> float:
        """Throughput with the better alternative over that of the run as it is; 1 without any."""
        return max((each.speed_up_ratio for each in (self.whole, self.each) if each is not None), default=1.0)

    @property
    def is_worth_it(self) -> bool:
        """Whether the operator gains from moving."""
        return self.speed_up_ratio > 1 + _WORTH_RATIO


def operator_gains(
    options: RunOptions, run: Run, scope: Scope, trying: Callable[[str], None] = lambda what: None
) -> list[OperatorGain]:
    """Return the gain of each operator of a run elsewhere, the most first.

    Args:
        options: what was run.
        run: the run.
        scope: the steps that count.
        trying: called with the name of the next simulation.
    """
    if scope is Scope.PREFILL:  # prompts are computed where the system says
        return []
    tried = _Tried(options, run, scope, trying)
    found = [
        tried.gain(operator, devices) for operator, devices in candidates(run).items() if _is_placed(run, operator)
    ]
    return sorted(found, key=lambda each: -each.speed_up_ratio)


def _is_placed(run: Run, operator: Operator) -> bool:
    """Whether an operator is placed by itself: drafting by the target's layers goes where the target's operators go."""
    return operator not in _DRAFTS or isinstance(run.experiment.drafting, DraftModel)


@dataclass(frozen=True)
class _Tried:
    """Simulates a run with operators elsewhere."""

    options: RunOptions
    run: Run
    scope: Scope
    trying: Callable[[str], None]

    def gain(self, operator: Operator, devices: tuple[str, ...]) -> OperatorGain:
        sums = self.run.ledger.sums(*DECODING)
        kernel_s = sum(time_s for (of, _), time_s in sums.operator_s.items() if of is operator)
        if len(devices) > 1:
            whole, each = self._alternatives(operator, devices, ())
            return OperatorGain(operator, devices, kernel_s, (), whole, each)
        return self._with_further(OperatorGain(operator, devices, kernel_s))

    def _alternatives(
        self, operator: Operator, devices: tuple[str, ...], overrides: tuple[str, ...]
    ) -> tuple[Alternative, Alternative]:
        visited = set(self.run.ledger.visits[operator].iterations)
        others = [device for device in devices if visited != {device}]
        whole = max(
            (self._with(operator, device, overrides) for device in others), key=lambda each: each.speed_up_ratio
        )
        return whole, self._with(operator, None, overrides)

    def _with_further(self, now: OperatorGain) -> OperatorGain:
        """Return the gain of the best further device that the machine accepts."""
        found, refused = [], []
        for device, override in _further(self.run, now):
            try:
                whole, each = self._alternatives(now.operator, (*now.devices, device), (override,))
            except PapisimError as error:
                refused.append((device, str(error)))
                continue
            found.append(OperatorGain(now.operator, now.devices, now.kernel_s, (override,), whole, each))
        if not found:
            return OperatorGain(now.operator, now.devices, now.kernel_s, refused=tuple(refused))
        return max(found, key=lambda each: each.speed_up_ratio)

    def _with(self, operator: Operator, device: str | None, overrides: tuple[str, ...]) -> Alternative:
        self.trying(f"{operator.value} on {device or 'the fastest device of each iteration'}")
        experiment = self.run.experiment
        if overrides:
            # the oracle needs no thresholds; the run's own policy places what does not move
            changed = {"set": (*self.options.set, *overrides), "placement": "cheapest"}
            experiment = load_experiment(self.options.model_copy(update=changed))
        policy = Moved(operator, device, build_placement(self.run.experiment))
        run = simulate(experiment, placement=policy)
        now, then = self.scope.tokens_per_s(self.run), self.scope.tokens_per_s(run)
        return Alternative(device, self.scope.time_s(run), then / now)


def _further(run: Run, now: OperatorGain) -> Iterator[tuple[str, str]]:
    """Yield devices that an operator could run on if the machine or the draft source named them, and the assignment that does."""
    field = {Operator.ATTENTION: "roles.attention_elsewhere"} | dict.fromkeys(_DRAFTS, "drafting.elsewhere")
    for device in run.machine.pools:
        if now.operator in field and device not in now.devices:
            yield device, f"{field[now.operator]}=[{device}]"
