"""Meta's EAGLE serving (arXiv:2508.08192): tokens per call of a chain of three, and the change of its gain with the batch."""

from __future__ import annotations

from collections.abc import Mapping

from papisim.calibration.speculation import Profile, profile, speculator_of
from papisim.config.experiment import load_experiment
from papisim.paper.claims import Study
from papisim.paper.figure import Explained, Figure, Table, View
from papisim.paper.speculation.play import mean_emitted, play
from papisim.report.print.chart import Chart

CHART = Chart(
    kind="lines",
    x=("batch",),
    y="speed_up",
    series="model",
    x_label="batch",
    y_label="speed-up over no speculation",
    line=1.0,
)
_REQUESTS, _ROUNDS = 40, 200


def profiled(study: Study) -> Mapping[str, Profile]:
    """Profile the chain on a dense and a mixture-of-experts model, over batches."""
    return {
        model: profile(
            speculator_of(load_experiment(setup.options())),
            study.setting("batches"),
            [study.setting("chain")],
            setup.kv_tokens,
        )
        for model, setup in study.published.setups.items()
    }


def values(view: View) -> dict[str, Explained]:
    """Return the chain's tokens per call, the change of its gain with the batch, and the gain at large batch."""
    study, found = view.study, view.once(profiled)
    return {
        **{f"tokens_per_call_{model}": _tokens_per_call(study, model) for model in view.setting("acceptance")},
        **{f"trend_{model}": _trend(study, model, profile) for model, profile in found.items()},
        "large_batch": _large_batch(study, found["dense"]),
    }


def table(view: View) -> Table:
    """Return the chain's speed-up for both models at every batch."""
    return [
        {"batch": batch, "model": model, "speed_up": found.speed_up(batch, view.setting("chain"))}
        for model, found in view.once(profiled).items()
        for batch in view.setting("batches")
    ]


def _tokens_per_call(study: Study, model: str) -> Explained:
    name, overrides = study.setting("acceptance")[model]
    chain = f"speculation={{kind: fixed, tlp: {study.setting('chain') + 1}}}"
    rounds = play("off", name, [*overrides, chain], requests=_REQUESTS, rounds=_ROUNDS)
    return Explained(
        mean_emitted(rounds),
        f"{len(rounds)} rounds of a process whose α solves 1 + α + α² + α³ = the claim: arithmetic, not a prediction",
    )


def _trend(study: Study, model: str, found: Profile) -> Explained:
    chain = study.setting("chain")
    gains = {batch: found.speed_up(batch, chain) for batch in study.setting("batches")}
    first, *_, last = gains
    why = {
        "dense": "drafting reads one layer and the LM head again, verification shares the reading of long caches",
        "experts": f"{chain + 1} rows activate experts that one row would not, above all at small batch, so the gain grows once all are "
        "active. The published fall needs many small experts whose rows stay few, or compute-bound FC at large batch; "
        "mixtral-8x7b's eight experts take the place of 128",
    }[model]
    setup = study.setup(model)
    return Explained(
        gains[last] / gains[first],
        f"{setup.trace}, {setup.kv_tokens} cached: {', '.join(f'{gain:.2f}× at {batch}' for batch, gain in gains.items())}; an "
        f"iteration takes {added(found, first, chain)} longer at batch {first}, {added(found, last, chain)} at {last}: {why}",
    )


def _large_batch(study: Study, found: Profile) -> Explained:
    chain = study.setting("chain")
    large = [batch for batch in study.setting("batches") if batch >= study.setting("large_batch")]
    gains = [found.speed_up(batch, chain) for batch in large]
    return Explained(
        sum(gains) / len(gains),
        f"{study.setup('dense').trace} at batch {', '.join(map(str, large))}: an iteration takes {added(found, large[-1], chain)} longer; "
        "production adds sampling, scheduling and traffic, none of which is charged here",
    )


def added(found: Profile, batch: int, length: int) -> str:
    """Return the relative time that drafts add to an iteration, and its largest components, in words."""
    shares = found.added(batch, length)
    most = ", ".join(f"{category} {100 * share:.0f}" for category, share in list(shares.items())[:2] if share > 0)
    return f"{100 * sum(shares.values()):.0f} % ({most})"


FIGURE = Figure(values=values, table=table, drawing=CHART)
