"""The time and the energy of a run, split by the factors that they are subject to.

The ledger adds up seconds and joules by device or link, category and kind of step, and the seconds priced outside a fit. The error of a
class of kernels multiplies its seconds, so that its share of the time is the sensitivity of the time to it: nothing is priced
or simulated again.

Where steps follow one another the time of a run is the sum of its phases. Where phases overlap, or a machine waits for arrivals, the
rest of the makespan is taken as certain, and what overlap hides is taken from all phases alike.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from papisim.devices import gpu, pim
from papisim.engine.run import Run
from papisim.ops.kernel import Attention, Kernel, KvAppend, Linear
from papisim.plan.machine import HOST
from papisim.plan.phase import Category
from papisim.plan.sums import Sums
from papisim.record.steps import StepKind
from papisim.uncertainty.evidence import INSIDE, OTHER_BOARD, OUT_OF_RANGE, OWN_LIBRARY, STEP, evidence, regime_of
from papisim.uncertainty.factor import Factor, Factors, Quantity, Spread

CERTAIN: Factors = frozenset()
#: families of kernels by category; attention of prompts has its own
_FAMILIES = {Category.FC: "linear", Category.ATTENTION: "attention", Category.OTHER: "small"}
#: families of kernels in words
_NAMES = {
    "linear": "matrix products",
    "attention": "attention",
    "prefill": "attention of prompts",
    "small": "small kernels",
}
#: query tokens of a request that drafts may have; more are a prompt
_MOST_DRAFTED = 16
#: ranges that are assumed of a library, or else a family, that was not measured
_INSTEAD = {"roofline": ("kernels on roofline",), "small": ("small kernels",)}
#: reasons for which kernels are priced outside a fit that mean another board, as a device states them
_ANOTHER_BOARD = re.compile("another board|power limit")


class Place(NamedTuple):
    """Kernels that share a factor: kind of step, device or link, category, and the place inside or outside the fit."""

    kind: StepKind
    resource: str
    category: Category
    where: str


@dataclass(frozen=True)
class Budget:
    """The factors of a run's time and energy.

    Attributes:
        run: the run.
    """

    run: Run

    @cached_property
    def seconds(self) -> dict[Place, float]:
        """Seconds of all phases by place, over all servers."""
        return {
            place: time_s
            for kind, totals in self.run.ledger.totals.items()
            for place, time_s in _places(kind, totals.sums())
        }

    def time(self, *kinds: StepKind) -> Quantity:
        """Return the seconds of the steps of some kinds, or, if none is named, the makespan."""
        totals = [self.run.ledger.totals[kind] for kind in kinds or StepKind]
        steps_s = sum(each.time_s for each in totals) / self.run.ledger.n_servers
        return Quantity.of(self._spread(steps_s if kinds else self.run.ledger.makespan_s, steps_s, kinds or StepKind))

    def _spread(self, whole_s: float, busy_s: float, kinds: Iterable[StepKind]) -> Iterator[tuple[Factors, float]]:
        """Yield the parts of a time, of which some is spent in steps and the rest is certain."""
        chosen = frozenset(kinds)
        places = {place: time_s for place, time_s in self.seconds.items() if place.kind in chosen}
        phases_s = sum(places.values())
        busy_s = min(busy_s, whole_s)
        for place, time_s in places.items():
            yield self.factors(place), time_s / phases_s * busy_s
        yield CERTAIN, whole_s - busy_s

    @cached_property
    def energy(self) -> Quantity:
        """Joules of all machines over the makespan."""
        return Quantity.of([*self._dynamic(), *self._static()])

    def _dynamic(self) -> Iterator[tuple[Factors, float]]:
        for resource, energy in self.run.ledger.energy_by_resource.items():
            for part, joules in energy.items():
                if joules:
                    yield frozenset({self._energy_factor(resource, part)}), joules

    def _static(self) -> Iterator[tuple[Factors, float]]:
        makespan = self.time()
        for name, pool in self.run.machine.pools.items():
            watts = pool.static_w * self.run.machine.stages * self.run.ledger.n_servers
            power = self._assumed(
                f"static power: {self._part_name(name)}", f"static power of {pool.part.kind}", "static power"
            )
            for factors, time_s in makespan.amounts.items():
                yield factors | {power}, watts * time_s

    def factors(self, place: Place) -> Factors:
        """Return the factors of the time of kernels or messages at a place."""
        return frozenset({self._factor(place), *self.step_factors(place.resource)})

    def step_factors(self, resource: str) -> Factors:
        """Return the factors of all kernels of a GPU as steps run them, one after another; none of other devices and links."""
        pool = self.run.machine.pools.get(resource)
        if pool is None or not isinstance(pool.part, gpu.Part):
            return CERTAIN
        found = evidence().served_of(STEP)
        name, source = f"steps: {self._part_name(resource)}", ", ".join(found.tables)
        return frozenset({Factor(name, Spread(*found.between), "measured", source)})

    def _factor(self, place: Place) -> Factor:
        if place.resource == HOST or place.category is Category.HOST:
            return self.host_factor
        if place.category is Category.DRAFT:
            return self._assumed(f"drafting: {self._part_name(place.resource)}", "drafting")
        if place.resource in self.run.machine.links:
            return self.link_factor(place.resource)
        family = _FAMILIES[place.category]
        if family == "attention" and place.kind is StepKind.PREFILL:
            family = "prefill"
        return self._kernel_factor(place.resource, family, self._token_rows(place.kind), place.where)

    def kernel_factor(self, resource: str, kernel: Kernel, outside: str | None) -> Factor:
        """Return the factor of the time of one kernel on a device.

        Args:
            resource: the device.
            kernel: the kernel.
            outside: the limit of a fit that it passes, in words; None inside.
        """
        where = INSIDE if outside is None else where_of(outside)
        match kernel:
            case Linear():
                return self._kernel_factor(resource, "linear", kernel.m, where)
            case Attention():
                is_prompt = kernel.query_tokens > _MOST_DRAFTED * kernel.n_requests
                return self._kernel_factor(resource, "prefill" if is_prompt else "attention", 0, where)
            case KvAppend():
                return self._kernel_factor(resource, "attention", 0, where)
        return self._kernel_factor(resource, "small", self._token_rows(StepKind.DECODE), where)

    def _kernel_factor(self, resource: str, family: str, rows: float, where: str) -> Factor:
        part = self.run.machine.pools[resource].part
        if isinstance(part, gpu.Part):
            return self._gpu_factor(resource, family, rows, where)
        return self._other_factor(resource, "attention" if family == "prefill" else family)

    def _gpu_factor(self, resource: str, family: str, rows: float, where: str) -> Factor:
        part, name = self.run.machine.pools[resource].part, self._part_name(resource)
        regime = regime_of(family, rows, part.peak_flop_per_s / part.memory_bandwidth_bytes_per_s)
        library = self._library(part, family)
        found = evidence().measured_of(name, family, library, regime, where)
        told = (library, regime if regime != "all" else "", where if where != INSIDE else "")
        what = f"{_NAMES[family]} ({', '.join(filter(None, told))}): {name}"
        if found is None:
            return self._assumed(what, *_INSTEAD.get(library, ()), *_INSTEAD.get(family, ()), "kernels")
        return Factor(what, Spread(*found.group), "measured", ", ".join(found.tables))

    def _library(self, part: gpu.Part, family: str) -> str:
        if family == "small":
            return part.elementwise.use or "general"
        if family != "linear":
            return part.attention.use
        bits = self.run.experiment.quantisation.activation_bits
        return part.linear.used_for((bits or 16) / 8)

    def _token_rows(self, kind: StepKind) -> float:
        """Return the mean token-rows of a step."""
        totals = self.run.ledger.totals[kind]
        rows = totals.rounds + totals.drafted + totals.prompt_tokens
        return rows / totals.n_steps if totals.n_steps else 0.0

    def _other_factor(self, resource: str, family: str) -> Factor:
        """Return the factor of kernels of a PIM stack, common to all stacks that the same mapping prices, or of a roofline."""
        part, name = self.run.machine.pools[resource].part, self._part_name(resource)
        if not isinstance(part, pim.Part):
            return self._assumed(f"kernels: {name}", f"kernels on {part.kind}", "kernels")
        if family == "small":
            return self._assumed(f"small kernels: {name}", "small kernels")
        return self._assumed(f"{family} on PIM: mapping {part.mapping}", f"{family} on pim")

    @cached_property
    def host_factor(self) -> Factor:
        """The factor of the time of the engine's host."""
        return self._assumed(f"host of {self.run.experiment.engine.name}", "host")

    def link_factor(self, resource: str) -> Factor:
        """Return the factor of the time of messages over a link."""
        links, name = self.run.machine.links[resource], self._part_name(resource)
        if links.part.collective is None:
            return self._assumed(f"messages: {name}", "messages")
        library = links.part.collective.use or OWN_LIBRARY
        boards = [self._part_name(each) for each, pool in self.run.machine.pools.items() if pool.part.kind == "gpu"]
        found = evidence().measured_of(boards[0] if boards else "", "all_reduce", library, "all", INSIDE)
        what = f"all-reduces ({library}): {name}"
        if found is None:
            return self._assumed(what, "all_reduce")
        return Factor(what, Spread(*found.group), "measured", ", ".join(found.tables))

    def served(self, figure: str) -> Factors:
        """Return the factors of a figure of a service as a whole, which engines' clients saw beyond the errors of kernels; none without an engine.

        What differs within a group of services is taken as common to machines under one engine, which serve the same requests; what differs
        between groups as common to machines of the same parts.
        """
        engine = self.run.experiment.engine
        if engine.adds_nothing:
            return CERTAIN
        found, parts = (
            evidence().served_of(figure),
            ", ".join(self._part_name(name) for name in self.run.machine.pools),
        )
        source = ", ".join(found.tables)
        return frozenset({
            Factor(f"{figure} of requests under {engine.name}", Spread(*found.within), "measured", source),
            Factor(f"{figure} of services under {engine.name}: {parts}", Spread(*found.between), "measured", source),
        })  # fmt: skip

    @cached_property
    def energy_factors(self) -> Factors:
        """Factors of energies and powers, which no time depends on."""
        return frozenset(self.energy.sensitivities) - frozenset(self.time().sensitivities)

    def _energy_factor(self, resource: str, part: str) -> Factor:
        if resource in self.run.machine.links:
            return self._assumed(f"energy of messages: {self._part_name(resource)}", "energy of links", "energy")
        device = self.run.machine.pools[resource].part
        if isinstance(device, pim.Part):
            return self._term_factor(device, part)
        model = f"energy of {device.kind}, {device.energy_source}"
        return self._assumed(f"{model}: {self._part_name(resource)}", model, "energy")

    def _term_factor(self, device: pim.Part, part: str) -> Factor:
        """Return the factor of an energy term of a stack, from the band of its table."""
        table, term = device.energy, _TERMS.get(part)
        name = f"energy of {part.removesuffix('_j').replace('_', ' ')}: {table.name}"
        if term is None or table.low is None or table.high is None or not getattr(table, term):
            return self._assumed(name, "energy")
        used = getattr(table.used, term)
        low, high = (getattr(band, term) / used for band in (table.low, table.high))
        return Factor(name, Spread(low, 1.0, high), "assumed", f"band of {table.name}")

    def _part_name(self, resource: str) -> str:
        """Return the description of the part of a device or link, which identifies it whatever its name in the machine."""
        there = self.run.machine.pools.get(resource) or self.run.machine.links.get(resource)
        return resource if there is None else str(there.part.description)

    def _assumed(self, name: str, *whats: str) -> Factor:
        found = evidence().assumed_of(*whats)
        return Factor(name, Spread(*found.range), "assumed", found.source)


#: main term of an energy table by the part of the energy
_TERMS = {
    "dram_activation_j": "activation_j",
    "dram_access_j": "column_j_per_byte",
    "dram_transfer_j": "data_path_j_per_byte",
    "pim_compute_j": "fpu_j_per_flop",
}


def where_of(reason: str) -> str:
    """Return the place outside a fit that a device's reason means."""
    return OTHER_BOARD if _ANOTHER_BOARD.search(reason) else OUT_OF_RANGE


def _places(kind: StepKind, sums: Sums) -> Iterator[tuple[Place, float]]:
    """Yield the seconds of each place, those outside a fit apart."""
    outside: dict[Place, float] = {}
    for (resource, category, reason), time_s in sums.outside_s.items():
        place = Place(kind, resource, category, where_of(reason))
        outside[place] = outside.get(place, 0.0) + time_s
    yield from outside.items()
    for (resource, category), row in sums.rows.items():
        without = sum(s for place, s in outside.items() if (place.resource, place.category) == (resource, category))
        inside_s = row.item(0) - without
        if inside_s > 0:
            yield Place(kind, resource, category, INSIDE), inside_s
