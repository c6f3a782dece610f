"""An engine profile fitted to an engine's logs: the host's times, and how long its kernels take beside those of the libraries.

Host
    In a synchronous engine the time in which the host does not wait for the GPU is linear in the terms of a profile: so much per step,
    per request, per prompt token and per launch outside graphs. Each composition of the log counts once, with the median of its
    steps, and residuals are relative. Terms are not negative.

Kernels
    Of each part, the factor between measured busy times and those of the libraries, by least squares of relative residuals.

Every composition is also predicted by a fit to all others.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from papisim.arrays import Floats
from papisim.calibration.engine.log import EngineLog, StepTimes, composition_of
from papisim.config.engine import GraphsSpec, Scheduling
from papisim.config.experiment import Experiment
from papisim.config.yaml import Inline, dump
from papisim.errors import InputError
from papisim.pricing.engine_step import Composition, Part, StepPricer

#: terms of the host, fields of a profile's section ``host``: of every step, and of steps that verify drafts
_EVERY: Final = ("step_s", "request_s", "prompt_token_s", "launch_s")
_OF_DRAFTS: Final = ("draft_step_s", "draft_token_s")
TERMS: Final = (*_EVERY, *_OF_DRAFTS)

#: an experiment with fields changed
Variant = Callable[[Mapping[str, object]], Experiment]


class Explained(NamedTuple):
    """What a fit explains.

    Attributes:
        n: compositions.
        r2_ratio: explained share of the variance of times.
        mape_before: mean absolute relative error of the profile as it was.
        mape_after: of the fitted one.
        mape_left_out: of each composition by a fit to the others.
    """

    n: int
    r2_ratio: float
    mape_before: float
    mape_after: float
    mape_left_out: float


@dataclass(frozen=True)
class HostFit:
    """Times of the host.

    Attributes:
        before: the profile's values by term.
        after: the fitted values; terms that no composition of the log has keep their values.
        explained: what the fit explains.
    """

    before: dict[str, float]
    after: dict[str, float]
    explained: Explained


@dataclass(frozen=True)
class Observed:
    """Times of the host by composition.

    Attributes:
        features: times of each term in each composition if the term were one second, shape (n, terms).
        times_s: measured times, shape (n,).
        n_later: trailing terms that are fitted after the others, to the compositions that have one of them.
        start: values of the terms before the fit, which those keep that no composition shows, shape (terms,).
    """

    features: Floats
    times_s: Floats
    n_later: int
    start: Floats

    def without(self, index: int) -> Observed:
        """Return all compositions but one."""
        others = np.arange(len(self.times_s)) != index
        return Observed(self.features[others], self.times_s[others], self.n_later, self.start)


def synchronous(log: EngineLog) -> list[tuple[str, str]]:
    """Return the GPUs and engines of a log whose host is fitted: synchronous ones, those that draft included."""
    return [of for of in log.engines if log.mode(of[1]).scheduling is Scheduling.SYNCHRONOUS]


def fit_host(log: EngineLog, variant: Variant) -> HostFit:
    """Fit the host's times to the synchronous engines of a log.

    Args:
        log: the log.
        variant: makes the experiment whose steps are those of the log, with fields changed.

    Raises:
        InputError: no engine is synchronous, or there are fewer compositions than terms that they have.
    """
    compositions = _host_times(log)
    times_s = np.array(list(compositions.values()))
    start = variant({}).engine.host
    point = np.array([getattr(start, term) for term in TERMS])
    observed = Observed(_features(list(compositions), variant), times_s, len(_OF_DRAFTS), point)
    n_terms = int(observed.features.any(axis=0).sum()) if compositions else 1
    if len(compositions) <= n_terms:
        raise InputError(
            f"has {len(compositions)} compositions of steady synchronous steps, expected more than {n_terms}",
            file=str(log.folder),
        )
    fitted = _fit(observed)
    before, after = (dict(zip(TERMS, each.tolist(), strict=True)) for each in (point, fitted))
    return HostFit(before, after, _explained(observed, point, fitted))


def _host_times(log: EngineLog) -> dict[Composition, float]:
    """Return the median time of the host in each composition of steady steps; decoding counts with its first lengths."""
    used = set(synchronous(log))
    groups = defaultdict[tuple[str, ...], list[StepTimes]](list)
    for step in log.steps:
        if step.of in used and step.is_steady and not (step.prompts and step.decode_tokens > step.n_decode):
            chunk = str(step.prompt_tokens) if step.prompts else ""
            groups[*step.of, step.block, step.cell, str(step.n_decode), chunk].append(step)
    return {composition_of(steps[0]): median(step.host_s for step in steps) for steps in groups.values()}


def _features(compositions: Sequence[Composition], variant: Variant) -> Floats:
    """Return the host's time in each composition if one term were a second and all others none, shape (n, terms)."""
    nothing = {f"engine.host.{term}": 0.0 for term in TERMS} | {
        "engine.host.scheduling": Scheduling.SYNCHRONOUS.value
    }
    graphs, found = variant({}).engine.graphs, np.empty((len(compositions), len(TERMS)))
    for drafts in {each.drafts for each in compositions}:
        fields = nothing | graphs_of_drafts(graphs, drafts)
        pricers = [StepPricer(variant(fields | {f"engine.host.{term}": 1.0})) for term in TERMS]
        for row, composition in enumerate(compositions):
            if composition.drafts == drafts:
                found[row] = [pricer.price(composition).by_part[Part.HOST] for pricer in pricers]
    return found


def graphs_of_drafts(graphs: GraphsSpec, drafts: int) -> dict[str, object]:
    """Return the fields that set the graphs of an engine that verifies drafts: its batches have more rows.

    Args:
        graphs: the graphs of its profile.
        drafts: drafted tokens per request.
    """
    return {} if graphs.batches is None or not drafts else {"engine.graphs.batches": graphs.batches * (1 + drafts)}


def _fit(observed: Observed) -> Floats:
    """Return the terms of least squared relative residuals, none negative; later terms given the others."""
    features, times_s = observed.features, observed.times_s
    n_first = features.shape[1] - observed.n_later
    is_later = np.any(features[:, n_first:] != 0, axis=1)
    point = observed.start.copy()
    for terms, rows in ((slice(n_first), ~is_later), (slice(n_first, None), is_later)):
        others = point.copy()
        others[terms] = 0.0
        rest_s = times_s - features @ others
        point[terms] = _least(features[rows, terms] / times_s[rows, None], rest_s[rows] / times_s[rows], point[terms])
    return point


def _least(scaled: Floats, target: Floats, start: Floats) -> Floats:
    """Return the terms of least squares: negative ones are set to 0, the others fitted again; start without any feature."""
    shown = np.any(scaled != 0, axis=0)
    free: NDArray[np.bool_] = shown.copy()
    while True:
        found = np.where(shown, 0.0, start)
        found[free] = np.linalg.lstsq(scaled[:, free], target, rcond=None)[0]
        if (found >= 0).all():
            return found
        free &= found > 0


def _explained(observed: Observed, before: Floats, after: Floats) -> Explained:
    times_s = observed.times_s
    left_out = np.empty(len(times_s))
    for index in range(len(times_s)):
        left_out[index] = observed.features[index] @ _fit(observed.without(index))
    predicted = observed.features @ after
    unexplained = float(((times_s - predicted) ** 2).sum() / ((times_s - times_s.mean()) ** 2).sum())
    return Explained(
        len(times_s),
        1 - unexplained,
        _mape(observed.features @ before, times_s),
        _mape(predicted, times_s),
        _mape(left_out, times_s),
    )


def _mape(predicted: Floats, measured: Floats) -> float:
    return float(np.abs(predicted / measured - 1).mean())


class KernelFit(NamedTuple):
    """The time of a part's kernels beside that of the library.

    Attributes:
        part: the part.
        factor: measured over predicted time.
        explained: what the factor explains.
    """

    part: Part
    factor: float
    explained: Explained

    @property
    def helps(self) -> bool:
        """Whether compositions that the fit has not seen come closer by the factor."""
        return self.explained.mape_left_out < self.explained.mape_before


def fit_kernels(part: Part, predicted_s: Floats, measured_s: Floats) -> KernelFit:
    """Fit the factor between busy times and those that libraries predict.

    Args:
        part: the part.
        predicted_s: predicted times, one per composition.
        measured_s: measured ones.
    """
    observed = Observed(predicted_s[:, None], measured_s, 0, np.ones(1))
    factor = _fit(observed)
    return KernelFit(part, float(factor[0]), _explained(observed, np.ones(1), factor))


def write_profile(document: Mapping[str, object], fit: HostFit, kernels: Sequence[KernelFit], log: EngineLog) -> str:
    """Return the file of a profile with the fitted times of the host, factors of kernels that help, and their origin.

    Args:
        document: the fields of the profile's file.
        fit: the fit of the host.
        kernels: factors over the times of the profile, by part.
        log: the log that it was fitted to.
    """
    host, paced, sources = (_section(document, name) for name in ("host", "kernels", "sources"))
    engines = ", ".join(" ".join(of).strip() for of in log.engines)
    origin = f"papisim calibrate engine {log.folder.name}: {engines}"
    found = {f"host.{term}": _origin(origin, fit.explained) for term in TERMS}
    for kernel in kernels:
        if kernel.helps:
            field = f"{kernel.part.value}_ratio"
            before = paced.get(field, 1.0)
            assert isinstance(before, int | float)
            paced[field] = before * kernel.factor
            found[f"kernels.{field}"] = _origin(origin, kernel.explained)
    kept = {path: Inline(each) for path, each in sources.items() if path not in found and isinstance(each, dict)}
    return dump({
        **document,
        "host": {**host, **fit.after},
        **({"kernels": paced} if paced else {}),
        "sources": {**kept, **found},
    })  # fmt: skip


def _section(document: Mapping[str, object], name: str) -> dict[str, object]:
    section = document.get(name)
    return dict(section) if isinstance(section, dict) else {}


def _origin(text: str, explained: Explained) -> Inline:
    errors = f"mean error {explained.mape_after:.1%}, left out {explained.mape_left_out:.1%}"
    return Inline(calibrated=f"{text}; {explained.n} compositions, {errors}")
