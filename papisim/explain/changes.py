"""What a designer could change, and what it would yield: each change is simulated, and written as options of ``papisim run``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from papisim import catalog
from papisim.catalog import Shelf
from papisim.config.experiment import RunOptions, load_experiment
from papisim.config.system import load_part
from papisim.engine.run import Run, simulate
from papisim.errors import NotModelled, PapisimError
from papisim.explain.parameters import RANKS, Parameter, moved
from papisim.explain.recording import Repricing, Variant
from papisim.explain.scope import Scope
from papisim.explain.sensitivity import Elasticity
from papisim.plan.machine import Machine


@dataclass(frozen=True)
class Change:
    """One thing done otherwise.

    Attributes:
        kind: ``number`` (a field of the hardware), ``count``, ``placement``, or the kind of the part that is replaced.
        was: what is there now.
        overrides: what to pass to ``--set``.
        placement: what to pass to ``--placement``.
        expected_s: seconds that the run would take by pricing the same work again; None where work would move.
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
    """What a change yields.

    Attributes:
        change: the change.
        throughput_tokens_per_s: with it, simulated; None where it is refused.
        speed_up_ratio: over the throughput without it.
        refused: why it cannot be.
    """

    change: Change
    throughput_tokens_per_s: float | None
    speed_up_ratio: float | None
    refused: str | None = None


@dataclass(frozen=True)
class Explored:
    """A run and what prices its work again: where changes are looked for."""

    options: RunOptions
    run: Run
    repricing: Repricing
    scope: Scope = Scope.RUN

    def expected_s(self, resource: str, variant: Variant) -> float:
        """Return the seconds of what is explained if one resource differed and everything ran where it did."""
        return self.scope.machine_s(self.run) + self.repricing.added_s(resource, variant)


def numbers(explored: Explored, found: Sequence[Elasticity], step_ratio: float) -> Iterator[Change]:
    """Yield each number of the hardware made better by a step: rates and counts raised, latencies lowered by as much."""
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
    """Yield assignments of what must go with a number for the machine to make sense."""
    name, machine = parameter.resource, explored.run.machine
    if not parameter.field:
        # a further GPU is a further rank and has lanes of its own
        if name in machine.pools and machine.roles.tensor_parallel.ranks == parameter.value == _gpus(machine, name):
            yield f"{RANKS}={value!r}"
            alike = [link for link, links in machine.links.items() if links.count == parameter.value]
            yield from (f"links.{link}.count={value!r}" for link in alike)
    elif parameter.field[0] == "organisation" and parameter.field[1] in _BANKS:
        capacity_bytes = machine.pools[name].part.capacity_bytes / parameter.value * value
        yield f"devices.{name}.part.capacity_bytes={capacity_bytes!r}"


#: what the banks of a stack are counted by
_BANKS = frozenset({"channels", "pseudo_channels", "ranks", "bank_groups", "banks_per_group"})


def _gpus(machine: Machine, name: str) -> int | None:
    pool = machine.pools[name]
    return pool.count if pool.part.kind == "gpu" else None


def choices(explored: Explored) -> Iterator[Change]:
    """Yield other parts and links in the place of those that had work, and other placements of FC kernels."""
    for resource in explored.repricing.resources:
        yield from _parts(explored, resource)
    machine, placement = explored.run.machine, explored.run.experiment.system.placement
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
    """Simulate the changes that promise most, and those nobody can foresee, until so many have held.

    Args:
        explored: the run.
        changes: what could be done.
        wanted: how many are to be found.
        trying: told what is simulated next.

    Returns:
        What was tried, the greatest yield first, refusals last.
    """
    as_it_is_s = explored.scope.machine_s(explored.run)
    unforeseen, foreseen = [], []
    for change in changes:
        if change.expected_s is None:
            unforeseen.append(change)
        elif change.expected_s < as_it_is_s:
            foreseen.append((change.expected_s, change))
    found = [_try(explored, change, trying) for change in unforeseen]
    held = 0
    for _, change in sorted(foreseen, key=lambda pair: pair[0]):
        if held == wanted:
            break
        found.append(_try(explored, change, trying))
        held += found[-1].refused is None
    return sorted(found, key=lambda each: -(each.speed_up_ratio or 0.0))


def _try(explored: Explored, change: Change, trying: Callable[[str], None]) -> Yield:
    trying(change.placement or ", ".join(change.overrides))
    try:
        run = simulate(load_experiment(change.apply(explored.options)))
    except PapisimError as error:
        return Yield(change, None, None, refused=str(error))
    rate, before = explored.scope.tokens_per_s(run), explored.scope.tokens_per_s(explored.run)
    return Yield(change, rate, rate / before)
