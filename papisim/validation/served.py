"""Requests that an engine served, beside a simulation of the same requests: times to first tokens, per token, and to the end."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from papisim.arrays import Floats
from papisim.config.experiment import Experiment, RunOptions, load_experiment
from papisim.errors import InputError
from papisim.record.distribution import Distribution
from papisim.validation.schema import ServedFigure

#: latencies by metric, in seconds, one per request
Latencies = Mapping[str, Floats]
#: statistics of latencies by metric and name, in seconds
Statistics = Mapping[tuple[str, str], float]

#: metrics and statistics of a service whose requests are logged one by one
METRICS, STATISTICS = ("tpot", "e2e", "ttft"), ("mean", "p50", "p99")


@dataclass(frozen=True)
class Simulator:
    """The simulated side of a comparison with an engine.

    Attributes:
        hw: the machine; None for one GPU of the kind that was measured.
        trace: the model; None for the one that was measured.
        engine: the engine profile.
        overrides: changed fields, as ``--set`` has them.
        seed: seed of the simulations.
    """

    hw: str | None
    trace: str | None
    engine: str
    overrides: tuple[str, ...] = ()
    seed: int = 0

    def experiment(self, gpu: str, model: str, settings: Mapping[str, object], workload: object = None) -> Experiment:
        """Return the experiment that stands for a measured engine.

        Args:
            gpu: name of the measured GPU.
            model: name of the measured model.
            settings: fields by path that the measurement fixes; the overrides come after them.
            workload: the requests, if any are served.

        Raises:
            InputError, InputErrors: as :func:`papisim.config.experiment.load_experiment`.
        """
        if not (self.hw or gpu):
            raise InputError("the measurement does not name its GPU; --hw names the machine")
        fixed = [f"{path}={json.dumps(value)}" for path, value in settings.items()]
        served = {} if workload is None else {"workload": workload}
        options = {
            "hw": self.hw or f"{gpu}_single", "trace": self.trace or model, "engine": self.engine, "seed": self.seed,
            "set": (*fixed, *self.overrides), **served,
        }  # fmt: skip
        return load_experiment(RunOptions.model_validate(options))


def listed(requests: Sequence[tuple[float, int, int]]) -> dict[str, object]:
    """Return the workload of requests with known arrivals.

    Args:
        requests: arrival in seconds, prompt tokens and answer tokens of each; their order is that of arrival.
    """
    return {"kind": "listed", "requests": [list(each) for each in sorted(requests)]}


def latencies_between(arrival_s: Floats, first_s: Floats, end_s: Floats, tokens_out: Floats) -> dict[str, Floats]:
    """Return the latencies of requests from their times, shape (n,) each; TPOT is that of requests with several tokens."""
    several = tokens_out > 1
    return {
        "ttft": first_s - arrival_s,
        "tpot": (end_s - first_s)[several] / (tokens_out[several] - 1),
        "e2e": end_s - arrival_s,
    }


def statistic(values: Floats, name: str) -> float:
    """Return a statistic of values: ``mean``, or ``p`` and a percentage, such as ``p99``."""
    if name == "mean":
        return float(np.mean(values))
    return float(np.percentile(values, float(name.removeprefix("p"))))


def statistics_of(latencies: Latencies, names: Sequence[str] = STATISTICS) -> dict[tuple[str, str], float]:
    """Return statistics of all metrics of which there are values."""
    return {
        (metric, name): statistic(values, name)
        for metric, values in latencies.items()
        if len(values)
        for name in names
    }


def figures_of(measured: Statistics, simulated: Mapping[str, Distribution]) -> Iterator[ServedFigure]:
    """Yield each measured statistic beside the simulated one; metrics that no simulated request has are left out.

    Args:
        measured: statistics, in seconds.
        simulated: latencies by metric, as a ledger has them.
    """
    for (metric, name), value in measured.items():
        values = simulated.get(metric)
        if values is not None and values.n_values and value > 0:
            predicted = values.mean if name == "mean" else values.percentile(float(name.removeprefix("p")))
            yield ServedFigure(
                metric=metric, statistic=name, measured_s=value, predicted_s=predicted, error=predicted / value - 1
            )
