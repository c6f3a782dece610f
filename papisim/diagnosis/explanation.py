"""Why a run takes as long as it does: where its time goes, which numbers it is sensitive to, and which changes help."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace

from papisim.config.experiment import Experiment, RunOptions, load_experiment
from papisim.config.system import SystemSpec
from papisim.diagnosis.changes import Explored, Yield, best, choices, numbers
from papisim.diagnosis.operators import OperatorGain, operator_gains
from papisim.diagnosis.parameters import RANKS, Parameter, parameters
from papisim.diagnosis.recording import Recording, Repricing, Row
from papisim.diagnosis.scope import Scope
from papisim.diagnosis.sensitivity import Elasticity, TimeWith, elasticities
from papisim.engine.run import Run, simulate
from papisim.errors import InputError

#: relative difference up to which the seconds of all phases are those of the run
_SAME = 1e-9


@dataclass(frozen=True)
class Explanation:
    """A run explained.

    Attributes:
        run: the run.
        scope: the steps that are explained.
        rows: time by what it was spent on, most first.
        other_s: explained time, over all replicas, less that of its phases: positive where nothing worked, negative where
            several worked at once.
        method: ``repricing`` if elasticities come from pricing the run's work again; ``simulation`` if steps depend on time,
            so that the run was repeated.
        elasticities: sensitivity of throughput to the hardware's numbers.
        step_ratio: by how much numbers were improved.
        numbers: yields of single numbers improved.
        choices: yields of other parts, links and placements.
        operators: what each operator would gain elsewhere, the most first.
    """

    run: Run
    scope: Scope
    rows: list[Row]
    other_s: float
    method: str
    elasticities: list[Elasticity]
    step_ratio: float
    numbers: list[Yield]
    choices: list[Yield]
    operators: list[OperatorGain]

    @property
    def throughput_tokens_per_s(self) -> float:
        """Tokens over the time of what is explained."""
        return self.scope.tokens_per_s(self.run)

    @property
    def time_s(self) -> float:
        """Seconds of what is explained."""
        return self.scope.time_s(self.run)

    @property
    def machine_s(self) -> float:
        """Seconds of what is explained, summed over replicas: the whole that shares of time are of."""
        return self.scope.machine_s(self.run)

    @property
    def critical(self) -> tuple[str, float]:
        """The resource that was busy longest, and its share of the time."""
        busy: dict[str, float] = defaultdict(float)
        for row in self.rows:
            busy[row.resource] += row.time_s
        name = max(busy, key=busy.__getitem__)
        return name, busy[name] / self.machine_s

    @property
    def best(self) -> list[Yield]:
        """The changes that raise throughput, most first."""
        helpful = [each for each in (*self.numbers, *self.choices) if each.gain_ratio > 0]
        return sorted(helpful, key=lambda each: -each.gain_ratio)

    @property
    def rejected(self) -> list[Yield]:
        """The changes that do not raise throughput, or whose machine is refused."""
        return [each for each in (*self.numbers, *self.choices) if each.gain_ratio <= 0]


def explain(
    options: RunOptions, *, scope: Scope = Scope.RUN, wanted: int = 3, top: int = 10, step_ratio: float = 0.2,
    trying: Callable[[str], None] = lambda what: None,
) -> Explanation:  # fmt: skip
    """Simulate a run and explain it.

    Args:
        options: what to run.
        scope: the steps to explain.
        wanted: number of changes of numbers, and of other choices, to find.
        top: number of numbers for which the run is repeated, if repricing does not apply.
        step_ratio: by how much numbers are improved.
        trying: called with the name of the next simulation.

    Raises:
        InputError, InputErrors, DoesNotFit: as the run itself; no step is of the scope's kind.
    """
    recording = Recording(scope)
    trying("the run")
    run = simulate(load_experiment(options), probe=recording)
    repricing = Repricing(recording, run.machine)
    known = list(parameters(repricing, frozenset(run.machine.pools), run.machine.roles.tensor_parallel.link))
    total_s = scope.machine_s(run)
    if not recording.time_s or not scope.tokens_per_s(run):
        raise _nothing_to_explain(run, scope)
    other_s = total_s - recording.time_s
    repriced = abs(other_s) <= _SAME * total_s
    found = elasticities(by_repricing(repricing, total_s), known)
    if not repriced:
        leading = [each.parameter for each in found[:top]]
        found = elasticities(by_simulation(run.experiment, trying, scope), leading)
    explored = Explored(options, run, repricing, scope)
    return Explanation(
        run=run,
        scope=scope,
        rows=recording.rows(),
        other_s=0.0 if repriced else other_s,
        method="repricing" if repriced else "simulation",
        elasticities=found,
        step_ratio=step_ratio,
        numbers=best(explored, numbers(explored, found, step_ratio), wanted, trying),
        choices=best(explored, choices(explored), wanted, trying),
        operators=operator_gains(options, run, scope, trying),
    )


def _nothing_to_explain(run: Run, scope: Scope) -> InputError:
    if scope is not Scope.RUN and any(kind.tokens for kind in run.ledger.totals.values()):
        return InputError(f"no step of this run is of the kind '{scope}'", field="of")
    outcomes = ", ".join(f"{count:,} {outcome.value}" for outcome, count in run.ledger.outcomes.items() if count)
    return InputError(
        f"no token was emitted, so there is no throughput to explain: {outcomes or 'no request arrived'}"
    )


def by_repricing(repricing: Repricing, total_s: float) -> TimeWith:
    """Return a function for the time of the run's work where it was placed; an upper bound if work would move elsewhere."""

    def time_with(parameter: Parameter, value: float) -> float:
        if value == parameter.value:
            return total_s
        variant = parameter.variant(repricing.unit(parameter.resource).part, value)
        return total_s + repricing.added_s(parameter.resource, variant, parameter.of)

    return time_with


def by_simulation(experiment: Experiment, trying: Callable[[str], None], scope: Scope = Scope.RUN) -> TimeWith:
    """Return a function for the time of the run, or of its steps of one kind, simulated again."""

    def time_with(parameter: Parameter, value: float) -> float:
        trying(f"{parameter.path} = {value:.4g}")
        return scope.time_s(simulate(_changed(experiment, parameter, value)))

    return time_with


def _with_ranks(spec: SystemSpec, ranks: int | None) -> SystemSpec:
    parallel = spec.roles.tensor_parallel.model_copy(update={"ranks": ranks})
    return spec.model_copy(update={"roles": spec.roles.model_copy(update={"tensor_parallel": parallel})})


def _changed(experiment: Experiment, parameter: Parameter, value: float) -> Experiment:
    """Return an experiment whose hardware has another value of one number."""
    system, name = experiment.system, parameter.resource
    variant = parameter.variant(system.parts[name], value)
    parts, spec = system.parts, system.spec
    if variant.part is not None:
        parts = {**parts, name: variant.part}
    elif parameter.path == RANKS:
        spec = _with_ranks(spec, variant.ranks)
    else:
        if (
            name in spec.devices
            and parts[name].is_rank
            and spec.devices[name].count == spec.roles.tensor_parallel.ranks
        ):
            spec = _with_ranks(spec, variant.count)
        section = "devices" if name in spec.devices else "links"
        groups = getattr(spec, section)
        group = groups[name].model_copy(update={"count": variant.count})
        spec = spec.model_copy(update={section: {**groups, name: group}})
    return replace(experiment, system=replace(system, parts=parts, spec=spec))
