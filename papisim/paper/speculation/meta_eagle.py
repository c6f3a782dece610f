"""Meta's EAGLE serving (arXiv:2508.08192): tokens per call of a chain of three, the change of its gain with the batch, and Maverick's time per token."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean

from papisim.calibration.speculation import Profile, profile, speculator_of
from papisim.config.experiment import load_experiment
from papisim.paper.claims import Study
from papisim.paper.figure import Explained, Figure, Table, View
from papisim.paper.speculation.play import mean_emitted, play
from papisim.plan.phase import Category
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
        "maverick_token_s": _alone(study, found["experts"]),
        **_large_batch(study, found),
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
    setup, cause = study.setup(model), Category(study.setting("cause")[model])
    shares = {batch: _share(found, batch, cause) for batch in (first, last)}
    return Explained(
        gains[last] / gains[first],
        f"{setup.trace}, {setup.kv_tokens} cached: {', '.join(f'{gain:.2f}× at {batch}' for batch, gain in gains.items())}; an "
        f"iteration takes {added(found, first, chain)} longer at batch {first}, {added(found, last, chain)} at {last}. The share of "
        f"{cause.value} in a plain iteration goes from {100 * shares[first]:.0f} to {100 * shares[last]:.0f} %",
        cause_holds=_caused(found, model, (first, last), chain, shares),
    )


def _share(found: Profile, batch: int, category: Category) -> float:
    none = found.at(batch, 0)
    return none.time_by[category] / none.round_s


def _caused(found: Profile, model: str, ends: tuple[int, int], chain: int, shares: Mapping[int, float]) -> bool:
    """Return whether the published cause is seen: attention's share grows (dense), or drafts cost FC ever more (experts)."""
    first, last = ends
    if model == "dense":
        return shares[last] > shares[first]
    fc = Category.FC.value
    return found.added(last, chain)[fc] > found.added(first, chain)[fc]


def _alone(study: Study, found: Profile) -> Explained:
    """Return the milliseconds of a token at batch 1, with those of an engine that hides no work of its host beside them."""
    chain = study.setting("chain")
    point, host_s = found.at(1, chain), study.setting("host_step_s")
    exposed_s = (point.round_s + (chain + 1) * host_s) / point.emitted
    return Explained(
        1e3 * point.token_s,
        f"a round of {1e3 * point.round_s:.1f} ms emits {point.emitted:.2f} tokens; without drafts a token takes {1e3 * found.at(1, 0).token_s:.1f} "
        f"ms. The claim is a round of {4.0 * point.emitted:.0f} ms",
        f"a host whose {1e3 * host_s:.2f} ms are waited for before each of {chain + 1} passes makes it {1e3 * exposed_s:.1f} ms: how much "
        "of its host the engine hides is not published",
    )


def _large_batch(study: Study, found: Mapping[str, Profile]) -> dict[str, Explained]:
    chain = study.setting("chain")
    large = [batch for batch in study.setting("batches") if batch >= study.setting("large_batch")]
    means = {model: fmean(each.speed_up(batch, chain) for batch in large) for model, each in found.items()}
    reason = (
        f"batch {', '.join(map(str, large))}: {', '.join(f'{study.setup(model).trace} {gain:.2f}×' for model, gain in means.items())}; "
        f"an iteration takes {', '.join(added(each, large[-1], chain) for each in found.values())} longer"
    )
    emitted = found["dense"].at(large[-1], chain).emitted
    bound = (
        f"{means['dense']:.2f}× are left of {emitted:.2f} tokens per call on MT-Bench; production traffic, whose acceptance is not published, "
        f"reaches the claim with {2.0 * emitted / means['dense']:.2f}"
    )
    return {
        "large_batch_least": Explained(min(means.values()), reason),
        "large_batch_most": Explained(max(means.values()), reason, bound),
    }


def added(found: Profile, batch: int, length: int) -> str:
    """Return the relative time that drafts add to an iteration, and its largest components, in words."""
    shares = found.added(batch, length)
    most = ", ".join(f"{category} {100 * share:.0f}" for category, share in list(shares.items())[:2] if share > 0)
    return f"{100 * sum(shares.values()):.0f} % ({most})"


FIGURE = Figure(values=values, table=table, drawing=CHART)
