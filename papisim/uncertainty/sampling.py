"""Drawn factors, and the run simulated again with each draw: slower than the budget of a run, and free of its linearity.

A draw multiplies the time of every kernel, message and the host by the value of its factor, so that batches, queues and placement policies
that look at times react; energies and powers are multiplied afterwards. Requests and drafts of each draw are those of another
seed, which the budget leaves out. Values of a factor come from the stream of its name: machines that share a factor have the same values,
and the same seeds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from papisim.arrays import Floats, Ints
from papisim.config.engine import EngineSpec
from papisim.config.experiment import Experiment
from papisim.devices.base import AttentionRun, DevicePool, OutsideFit
from papisim.devices.link import Links, Rows
from papisim.engine.run import Run, simulate
from papisim.ops.cost import Cost
from papisim.ops.kernel import Attention, Kernel
from papisim.plan.machine import Machine, build_machine
from papisim.results.comparison import ratios
from papisim.results.metrics import summarise
from papisim.results.schema import Figures, UncertaintyColumns
from papisim.streams import stream
from papisim.uncertainty.budget import Budget
from papisim.uncertainty.factor import Factor
from papisim.uncertainty.intervals import FIGURES

#: ratios to a first run
RATIOS = ("speed_up_ratio", "decode_speed_up_ratio", "energy_efficiency_ratio")
#: times of a run by the figure of a service whose factors they are subject to
_SERVED = {"makespan_s": "throughput", "ttft_mean_s": "ttft", "tpot_mean_s": "tpot", "decode_s": "tpot"}
_QUANTILES = (0.05, 0.5, 0.95)

#: value of a kernel's factor, by the kernel and the reason for which it is outside a fit
KernelFactor = Callable[[Kernel, "str | None"], float]


class Draw:
    """Values of factors in one draw, and standard normal numbers behind them.

    Args:
        seed: seed of all draws.
        number: number of the draw.
    """

    def __init__(self, seed: int, number: int) -> None:
        self._seed, self._number = seed, number
        self.normals: dict[str, float] = {}

    def value(self, factor: Factor) -> float:
        """Return the value of a factor; factors of equal names have equal values."""
        known = self.normals.get(factor.name)
        if known is None:
            known = float(stream(self._seed, "uncertainty", self._number, factor.name).standard_normal())
            self.normals[factor.name] = known
        return math.exp(factor.mu + factor.sigma * known)


def slower(pool: DevicePool, factor: KernelFactor) -> DevicePool:
    """Return a pool whose kernels take the time of this one's times their factor."""
    base: Any = type(pool)

    class Slower(base):  # type: ignore[misc]
        def price(self, kernel: Kernel) -> Cost:
            return _scaled(super().price(kernel), factor(kernel, self.outside(kernel)))

        def price_caches(self, kernel: Attention, kv_tokens: Ints, longest_kv: Ints) -> AttentionRun:
            run: AttentionRun = super().price_caches(kernel, kv_tokens, longest_kv)
            if base.price_caches is DevicePool.price_caches:
                return run  # of kernels priced one by one
            return _scaled_run(run, kernel, factor, self.outside_caches(kernel, kv_tokens, longest_kv))

        def price_growing(self, kernel: Attention, n: int) -> AttentionRun:
            run: AttentionRun = super().price_growing(kernel, n)
            if base.price_growing is DevicePool.price_growing:
                return run  # of price_caches
            return _scaled_run(run, kernel, factor, self.outside_growing(kernel, n))

    slow: DevicePool = Slower(pool.name, pool.part, pool.count)
    return slow


def _scaled(cost: Cost, by: float) -> Cost:
    return replace(cost, time_s=cost.time_s * by)


def _scaled_run(
    run: AttentionRun, kernel: Attention, factor: KernelFactor, outside: Sequence[OutsideFit]
) -> AttentionRun:
    by = np.full(len(run.time_s), factor(kernel, None))
    for stretch in outside:
        by[stretch.start : stretch.stop] = factor(kernel, stretch.reason)
    return replace(run, time_s=run.time_s * by)


class SlowerLinks(Links):
    """Links whose messages take longer by a factor, ``by``."""

    by = 1.0

    def transfer(self, payload_bytes: float) -> Cost:
        """Return the cost of moving a payload."""
        return _scaled(super().transfer(payload_bytes), self.by)

    def all_reduce(self, payload_bytes: float, ranks: int) -> Cost:
        """Return the cost of an all-reduce."""
        return _scaled(super().all_reduce(payload_bytes, ranks), self.by)

    def reduce_scatter(self, payload_bytes: float, ranks: int) -> Cost:
        """Return the cost of a reduce-scatter."""
        return _scaled(super().reduce_scatter(payload_bytes, ranks), self.by)

    def all_to_all(self, rows: Rows, *, back: bool) -> Cost:
        """Return the cost of sending token-rows to experts or back."""
        return _scaled(super().all_to_all(rows, back=back), self.by)


def _slower_links(links: Links, by: float) -> Links:
    kind = type("SlowerLinks", (SlowerLinks,), {"by": by})
    return kind(links.name, links.part, links.count, links.devices)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Sampler:
    """Draws of one experiment.

    Attributes:
        experiment: the experiment.
        budget: its run as modelled, which has the factors.
        reseed: whether each draw has requests and drafts of its own.
    """

    experiment: Experiment
    budget: Budget
    reseed: bool = True

    def run(self, draw: Draw, number: int) -> Run:
        """Return the run of a draw."""
        seed = self.experiment.seed + number if self.reseed else self.experiment.seed
        experiment = replace(self.experiment, seed=seed, engine=self._engine(draw))
        return simulate(experiment, machine=self._machine(draw))

    def _machine(self, draw: Draw) -> Machine:
        machine, budget = build_machine(self.experiment.system), self.budget

        def slowed(name: str, pool: DevicePool) -> DevicePool:
            in_steps = math.prod(draw.value(each) for each in budget.step_factors(name))
            return slower(
                pool, lambda kernel, outside: in_steps * draw.value(budget.kernel_factor(name, kernel, outside))
            )

        pools = {name: slowed(name, pool) for name, pool in machine.pools.items()}
        links = {
            name: _slower_links(links, draw.value(budget.link_factor(name))) for name, links in machine.links.items()
        }
        return replace(machine, pools=pools, links=links)

    def _engine(self, draw: Draw) -> EngineSpec:
        engine, by = self.experiment.engine, draw.value(self.budget.host_factor)
        times = {
            name: by * getattr(engine.host, name) for name in ("step_s", "request_s", "prompt_token_s", "launch_s")
        }
        return engine.model_copy(update={"host": engine.host.model_copy(update=times)})

    def figures(self, draw: Draw, number: int) -> Figures:
        """Return the figures of a draw, with its energies and powers."""
        run = self.run(draw, number)
        summary = summarise(run)
        joules = sum(
            amount * math.prod(draw.value(factor) for factor in factors if factor in self.budget.energy_factors)
            for factors, amount in Budget(run).energy.amounts.items()
        )
        served = {
            figure: math.prod(draw.value(factor) for factor in self.budget.served(figure))
            for figure in ("throughput", "ttft", "tpot")
        }
        for name, figure in _SERVED.items():
            if summary[name]:
                summary[name] *= served[figure]
        summary["throughput_tokens_per_s"] /= served["throughput"]
        per_token = joules / summary["n_output_tokens"] if summary["n_output_tokens"] else None
        return summary | {"energy_j": joules, "energy_per_token_j": per_token}


def sampled_rows(
    labels: Sequence[str],
    runs: Sequence[Run],
    draws: int,
    *,
    reseed: bool = True,
    advance: Callable[[], None] = lambda: None,
) -> list[Figures]:
    """Return the rows of the frame ``uncertainty`` from simulations with drawn factors.

    Args:
        labels: label of each run.
        runs: the runs as modelled; ratios are to the first.
        draws: number of draws; each run is simulated once per draw.
        reseed: whether each draw has requests and drafts of its own, the same on all machines.
        advance: called after every draw.
    """
    samplers = [Sampler(run.experiment, Budget(run), reseed=reseed) for run in runs]
    seed = runs[0].experiment.seed
    drawn, sampled = [Draw(seed, number) for number in range(draws)], []
    for number, draw in enumerate(drawn):
        summaries = [sampler.figures(draw, number) for sampler in samplers]
        found = ratios(tuple(labels), summaries)
        sampled.append([summary | row for summary, row in zip(summaries, found, strict=True)])
        advance()
    modelled = [summarise(run) for run in runs]
    modelled = [summary | row for summary, row in zip(modelled, ratios(tuple(labels), modelled), strict=True)]
    return [row for at, label in enumerate(labels) for row in _rows(label, at, modelled[at], sampled, drawn)]


def _rows(
    label: str, at: int, modelled: Figures, sampled: Sequence[Sequence[Figures]], drawn: Sequence[Draw]
) -> Iterator[Figures]:
    for name in (*FIGURES, *(RATIOS if at else ())):
        values = [each[at][name] for each in sampled]
        if not modelled[name] or not all(values):
            continue
        low, mid, high = (float(each) for each in np.quantile(values, _QUANTILES))
        better = float(np.mean(np.asarray(values) > 1)) if name in RATIOS else None
        factor, share = _dominant(np.log(values), drawn)
        yield UncertaintyColumns(
            machine=label, figure=name, value=modelled[name], low=low, mid=mid, high=high, better_probability=better,
            dominant_factor=factor, dominant_variance_ratio=share, dominant_source=f"sampled: {len(drawn)} draws",
        ).as_json()  # fmt: skip


def _dominant(logs: Floats, drawn: Sequence[Draw]) -> tuple[str | None, float | None]:
    """Return the factor whose values explain most of the variance of a figure, and the squared correlation."""
    if not logs.std():
        return None, None
    names = set.intersection(*(set(draw.normals) for draw in drawn))
    shares = {
        name: float(np.corrcoef(logs, [draw.normals[name] for draw in drawn])[0, 1] ** 2) for name in sorted(names)
    }
    name = max(shares, key=shares.__getitem__)
    return name, shares[name]
