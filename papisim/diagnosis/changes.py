"""Changes that a designer could make, and their yield: each is simulated, and written as options of ``papisim run``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from papisim import catalog
from papisim.catalog import Shelf
from papisim.config.experiment import RunOptions, load_experiment
from papisim.config.system import load_part
from papisim.diagnosis.parameters import RANKS, Parameter, moved
from papisim.diagnosis.recording import Repricing, Variant
from papisim.diagnosis.scope import Scope
from papisim.diagnosis.sensitivity import Elasticity
from papisim.engine.run import Run, simulate
from papisim.errors import NotModelled, PapisimError
from papisim.plan.machine import Machine


@dataclass(frozen=True)
class Change:
    """One change of a machine.

    Attributes:
        kind: ``number`` (a field of the hardware), ``count``, ``placement``, or the kind of the part that is replaced.
        was: what the machine has now.
        overrides: assignments for ``--set``.
        placement: value for ``--placement``.
        expected_s: seconds of the run by pricing the same work again; None if work would move.
    """

    kind: str
    was: str
    overrides: tuple[str, ...] = ()
    placement: str | None = None
    expected_s: float | None = None

    def apply(self, options: RunOptions) -> RunOptions:
        """Return a run's options with the change."""
        changed = {
            "set": (*options.set, *self.overrides),
            "placement": self.placement or options.placement,
        }
        return options.model_copy(update=changed)


@dataclass(frozen=True)
class Yield:
    """The effect of a change.

    Attributes:
        change: the change.
        throughput_tokens_per_s: throughput with the change, simulated; None if the machine is refused.
        speed_up_ratio: throughput with the change over throughput without; None if the machine is refused.
        refused: why the machine is refused.
    """

    change: Change
    throughput_tokens_per_s: float | None
    speed_up_ratio: float | None
    refused: str | None = None

    @property
    def gain_ratio(self) -> float:
        """Throughput gained, as a share; −1 if the machine is refused."""
        return (self.speed_up_ratio or 0.0) - 1.0


@dataclass(frozen=True)
class Explored:
    """A run, and the means to price its work again."""

    options: RunOptions
    run: Run
    repricing: Repricing
    scope: Scope = Scope.RUN

    def expected_s(self, resource: str, variant: Variant) -> float:
        """Return the seconds of the explained steps with one resource changed and all work where it ran."""
        return self.scope.machine_s(self.run) + self.repricing.added_s(resource, variant)


def numbers(explored: Explored, found: Sequence[Elasticity], step_ratio: float) -> Iterator[Change]:
    """Yield each number of the hardware improved by a step: rates and counts raised, latencies lowered by the same factor."""
    for each in found:
        parameter = each.parameter
        if parameter.software or parameter.path == RANKS:
            continue
        value = moved(parameter, step_ratio if parameter.better_up else 1 / (1 + step_ratio) - 1)
        part = explored.repricing.unit(parameter.resource).part
        yield Change(
            kind="number" if parameter.field else "count",
            was=parameter.shown(parameter.value),
            overrides=(f"{parameter.path}={value!r}", *_with_it(explored, parameter, value)),
            expected_s=explored.expected_s(parameter.resource, parameter.variant(part, value)),
        )


def _with_it(explored: Explored, parameter: Parameter, value: float) -> Iterator[str]:
    """Yield further assignments without which the machine would be inconsistent."""
    name, machine = parameter.resource, explored.run.machine
    if not parameter.field:
        # a further GPU is a further rank with lanes of its own
        if name in machine.pools and machine.roles.tensor_parallel.ranks == parameter.value == _gpus(machine, name):
            alike = [link for link, links in machine.links.items() if links.count == parameter.value]
            yield from (f"links.{link}.count={value!r}" for link in alike)
    elif parameter.field[0] == "organisation" and parameter.field[1] in _BANKS:
        capacity_bytes = machine.pools[name].part.capacity_bytes / parameter.value * value
        yield f"devices.{name}.part.capacity_bytes={capacity_bytes!r}"


#: counts whose product is the number of banks of a stack
_BANKS = frozenset({"channels", "pseudo_channels", "ranks", "bank_groups", "banks_per_group"})


def _gpus(machine: Machine, name: str) -> int | None:
    pool = machine.pools[name]
    return pool.count if pool.part.kind == "gpu" else None


def choices(explored: Explored) -> Iterator[Change]:
    """Yield other parts and links for those that had work, and other placements of operators."""
    for resource in explored.repricing.resources:
        yield from _parts(explored, resource)
    machine, placement = explored.run.machine, explored.run.experiment.system.placement
    if machine.roles.attention_elsewhere and placement.kind == "papi":
        yield Change("placement", "papi", placement="papi_operators")
    if len(machine.roles.fc) > 1:
        pinned = [f"pinned:{device}" for device in machine.roles.fc]
        now = placement.kind + (f":{placement.device}" if placement.kind == "pinned" else "")
        for other in ["cheapest", *pinned]:
            if other != now:
                yield Change("placement", now, placement=other)


def _parts(explored: Explored, resource: str) -> Iterator[Change]:
    there = explored.repricing.unit(resource).part
    section = "devices" if resource in explored.run.machine.pools else "links"
    for name in catalog.shipped(Shelf.DEVICE):
        part = load_part(name).part
        if part.kind != there.kind or part == there:
            continue
        try:
            expected_s = explored.expected_s(resource, Variant(part=part))
        except NotModelled:
            continue  # a link without figures for sums, say
        was = there.description.partition(",")[0]
        yield Change(part.kind, was, (f"{section}.{resource}.part={name}",), expected_s=expected_s)


def best(explored: Explored, changes: Iterable[Change], wanted: int, trying: Callable[[str], None]) -> list[Yield]:
    """Simulate the changes whose yield cannot be predicted, then the most promising, until ``wanted`` of these are not refused.

    Args:
        explored: the run.
        changes: changes to consider.
        wanted: number of predicted changes to find.
        trying: called with the name of the next simulation.

    Returns:
        The changes that were simulated, the greatest yield first, refused machines last.
    """
    as_it_is_s = explored.scope.machine_s(explored.run)
    unpredicted, predicted = [], []
    for change in changes:
        if change.expected_s is None:
            unpredicted.append(change)
        elif change.expected_s < as_it_is_s:
            predicted.append((change.expected_s, change))
    found = [_try(explored, change, trying) for change in unpredicted]
    n_accepted = 0
    for _, change in sorted(predicted, key=lambda pair: pair[0]):
        if n_accepted == wanted:
            break
        found.append(_try(explored, change, trying))
        n_accepted += found[-1].refused is None
    return sorted(found, key=lambda each: -each.gain_ratio)


def _try(explored: Explored, change: Change, trying: Callable[[str], None]) -> Yield:
    trying(change.placement or ", ".join(change.overrides))
    try:
        run = simulate(load_experiment(change.apply(explored.options)))
    except PapisimError as error:
        return Yield(change, None, None, refused=str(error))
    rate, before = explored.scope.tokens_per_s(run), explored.scope.tokens_per_s(explored.run)
    return Yield(change, rate, rate / before)
