"""How many equal machines a stream of requests needs for its latency targets, and the rate that they sustain.

The number of machines is found by doubling and bisection over runs with the same seed, so that every run has the same
requests and, up to the scale of their gaps, the same arrivals (common random numbers): two numbers of machines are compared on
equal traffic. Attainment is taken to grow with the number of machines, and to fall with the rate.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from papisim.config.experiment import Experiment, RunOptions, SloSpec, load_experiment
from papisim.engine.build import build_workload
from papisim.engine.run import Run, simulate
from papisim.errors import InputError
from papisim.exploration.design import describe
from papisim.plan.machine import Machine, build_machine
from papisim.results.frames import frames
from papisim.results.metrics import summarise

#: the knee is sought up to this many times the rate asked for, and found to this precision
_MOST_TIMES, _PRECISION = 64.0, 0.02

#: called with the number of machines and the rate of each run before it begins
Watch = Callable[[int, float], None]


@dataclass(frozen=True)
class Trial:
    """One run of a number of machines at a rate of arrivals.

    Attributes:
        machines: equal machines side by side.
        rate_per_s: mean rate of arrivals.
        attained_ratio: share of the requests that met every target.
        goodput_requests_per_s: rate of requests that met every target.
        missed_ratio: share of the requests that missed each target, and of those not served (``unserved``).
        output_tokens_per_s: throughput.
        energy_per_token_j: energy per output token.
    """

    machines: int
    rate_per_s: float
    attained_ratio: float
    goodput_requests_per_s: float
    missed_ratio: dict[str, float]
    output_tokens_per_s: float
    energy_per_token_j: float

    @property
    def is_in_vain(self) -> bool:
        """Whether requests are refused and all others meet every target, so that no more machines would serve more."""
        return self.missed_ratio["unserved"] > 0 and sum(self.missed_ratio.values()) == self.missed_ratio["unserved"]

    @property
    def worst(self) -> str | None:
        """The target that most requests missed; None if none was missed."""
        name = max(self.missed_ratio, key=self.missed_ratio.__getitem__)
        return name if self.missed_ratio[name] else None


@dataclass(frozen=True)
class Goal:
    """What machines are sized for.

    Attributes:
        slo: latency targets.
        attained_ratio: share of the requests that must meet all of them.
        most: machines that are tried at most.
    """

    slo: SloSpec
    attained_ratio: float
    most: int


@dataclass
class Sizing:
    """The sizing of one machine and its policies.

    Args:
        options: of the runs; their number of replicas is replaced.
        goal: targets.
        watch: called before each run.
    """

    options: RunOptions
    goal: Goal
    watch: Watch = lambda machines, rate: None
    trials: dict[tuple[int, float], Trial] = field(default_factory=dict)

    def __post_init__(self) -> None:
        first = load_experiment(self._with(1, None))
        if not hasattr(first.workload, "rate_per_s"):
            kind = first.workload.kind
            raise InputError(
                f"requests of kind '{kind}' have no rate of arrivals; expected an open loop such as poisson or replay"
            )
        self._machine: Machine = build_machine(first.system)
        self.n_devices = describe(first)["n_devices"]
        self.rate_per_s = first.workload.rate_per_s or _mean_rate(first)

    def machines(self) -> int | None:
        """Return the least number of machines that attains the goal; None if the most do not, or more would not help."""
        enough = 1
        while not self.attains(enough):
            if enough == self.goal.most or self.trial(enough).is_in_vain:
                return None
            enough = min(2 * enough, self.goal.most)
        few = enough // 2
        while enough - few > 1:
            middle = (few + enough) // 2
            few, enough = (few, middle) if self.attains(middle) else (middle, enough)
        return enough

    def knee_per_s(self, machines: int) -> float:
        """Return the largest rate of arrivals at which machines that attain the goal still do, to two per cent.

        It is infinite where the goal is attained at any rate that is tried.
        """
        low, high = self.rate_per_s, 2 * self.rate_per_s
        while self.attains(machines, high):
            if high >= _MOST_TIMES * self.rate_per_s:
                return math.inf
            low, high = high, 2 * high
        while high / low > 1 + _PRECISION:
            middle = math.sqrt(low * high)
            low, high = (middle, high) if self.attains(machines, middle) else (low, middle)
        return low

    def attains(self, machines: int, rate_per_s: float | None = None) -> bool:
        """Whether a number of machines attains the goal at a rate; that of the requests, if None."""
        return self.trial(machines, rate_per_s).attained_ratio >= self.goal.attained_ratio

    def trial(self, machines: int, rate_per_s: float | None = None) -> Trial:
        """Run a number of machines at a rate, once."""
        rate = rate_per_s or self.rate_per_s
        if (machines, rate) not in self.trials:
            self.watch(machines, rate)
            experiment = load_experiment(self._with(machines, rate_per_s))
            self.trials[machines, rate] = _trial(simulate(experiment, machine=self._machine), machines, rate)
        return self.trials[machines, rate]

    def in_order(self) -> Iterator[Trial]:
        """Yield all runs by number of machines and rate."""
        yield from (self.trials[key] for key in sorted(self.trials))

    def _with(self, machines: int, rate_per_s: float | None) -> RunOptions:
        targets = [f"slo.{name}_s={target!r}" for name, target in self.goal.slo.targets.items()]
        rate = [] if rate_per_s is None else [f"workload.rate_per_s={rate_per_s!r}"]
        return self.options.model_copy(update={"replicas": machines, "set": (*self.options.set, *targets, *rate)})


def row_of(label: str, sizing: Sizing, price_per_h: float | None = None) -> dict[str, object]:
    """Size a machine and return the result as one row, :class:`papisim.api.schema.SizeRow`.

    Args:
        label: name of the machine and its policies.
        sizing: the sizing.
        price_per_h: price of one machine for an hour.
    """
    machines = sizing.machines()
    row: dict[str, object] = {"machine": label, "rate_per_s": sizing.rate_per_s, "machines": machines}
    if machines is None:
        last = max(sizing.in_order(), key=lambda each: each.machines)
        return {**row, "attained_ratio": last.attained_ratio, "fails_first": last.worst} | dict.fromkeys(_OF_ENOUGH)
    at, knee = sizing.trial(machines), sizing.knee_per_s(machines)
    fewer = sizing.trial(machines - 1) if machines > 1 else None
    beyond = min((each for each in sizing.in_order() if each.machines == machines and each.rate_per_s > knee),
                 key=lambda each: each.rate_per_s, default=None)  # fmt: skip
    short = fewer or beyond
    price = None if price_per_h is None else price_per_h * machines
    return {
        **row,
        "attained_ratio": at.attained_ratio,
        "fails_first": short.worst if short else None,
        "devices": sizing.n_devices * machines,
        "attained_with_one_fewer_ratio": fewer.attained_ratio if fewer else None,
        "goodput_requests_per_s": at.goodput_requests_per_s,
        "knee_per_s": None if math.isinf(knee) else knee,
        "output_tokens_per_s": at.output_tokens_per_s,
        "energy_per_token_j": at.energy_per_token_j,
        "price_per_h": price,
        "price_per_million_tokens": None if price is None else price / (at.output_tokens_per_s * 3600) * 1e6,
    }


#: figures of a number of machines that attains the goal
_OF_ENOUGH = (
    "devices", "attained_with_one_fewer_ratio", "goodput_requests_per_s", "knee_per_s", "output_tokens_per_s", "energy_per_token_j",
    "price_per_h", "price_per_million_tokens",
)  # fmt: skip


def trial_rows(label: str, sizing: Sizing) -> list[dict[str, object]]:
    """Return every run of a sizing as a row: goodput and attainment against the rate and the number of machines."""
    return [
        {
            "machine": label,
            "machines": each.machines,
            "rate_per_s": each.rate_per_s,
            "attained_ratio": each.attained_ratio,
            "goodput_requests_per_s": each.goodput_requests_per_s,
            **{f"missed_{name}_ratio": share for name, share in each.missed_ratio.items()},
            "output_tokens_per_s": each.output_tokens_per_s,
            "energy_per_token_j": each.energy_per_token_j,
        }
        for each in sizing.in_order()
    ]


def _mean_rate(experiment: Experiment) -> float:
    """Return the mean rate at which the requests of a recorded stream arrive."""
    arrivals = [request.arrival_s for request in build_workload(experiment)]
    if len(arrivals) < 2 or arrivals[-1] == arrivals[0]:  # noqa: PLR2004
        raise InputError("all requests arrive at once, expected a rate of arrivals")
    return (len(arrivals) - 1) / (arrivals[-1] - arrivals[0])


def _trial(run: Run, machines: int, rate_per_s: float) -> Trial:
    summary, requests = summarise(run), frames(run)["requests"]
    served = requests["outcome"] == "served"
    missed = {
        name: float((served & (requests[f"{name}_s"] > target)).mean())
        for name, target in run.experiment.slo.targets.items()
    }
    return Trial(
        machines,
        rate_per_s,
        summary["slo_met_ratio"] or 0.0,
        summary["goodput_requests_per_s"] or 0.0,
        {**missed, "unserved": float((~served).mean())},
        summary["throughput_tokens_per_s"] or 0.0,
        summary["energy_per_token_j"] or 0.0,
    )
