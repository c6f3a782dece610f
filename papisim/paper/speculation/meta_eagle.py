"""Meta's EAGLE serving (arXiv:2508.08192): tokens per call of a chain of three, and how its gain changes with the batch."""

from __future__ import annotations

from papisim.calibration.speculation import Profile, profile, speculator_of
from papisim.config.experiment import load_experiment
from papisim.paper.speculation.play import mean_emitted, play
from papisim.paper.study import Study
from papisim.paper.verdict import Row

_REQUESTS, _ROUNDS = 40, 200


def reproduce(study: Study) -> list[Row]:
    """Play the chain, and profile dense and mixture-of-experts models over batches."""
    found = {model: _profile(study, model) for model in ("dense", "experts")}
    return [
        *(_tokens_per_call(study, model) for model in study.figure("acceptance")),
        *(_trend(study, model, found[model]) for model in found),
        _large_batch(study, found["dense"]),
    ]


def _tokens_per_call(study: Study, model: str) -> Row:
    name, overrides = study.figure("acceptance")[model]
    chain = f"speculation={{kind: fixed, tlp: {study.figure('chain') + 1}}}"
    rounds = play("off", name, [*overrides, chain], requests=_REQUESTS, rounds=_ROUNDS)
    return study.row(
        f"tokens_per_call_{model}",
        mean_emitted(rounds),
        f"{len(rounds)} rounds of a process whose α solves 1 + α + α² + α³ = the claim: arithmetic, not a prediction",
    )


def _profile(study: Study, model: str) -> Profile:
    setup = study.setup(model)
    speculator = speculator_of(load_experiment(setup.options()))
    return profile(speculator, study.figure("batches"), [study.figure("chain")], setup.kv_tokens)


def _trend(study: Study, model: str, found: Profile) -> Row:
    chain = study.figure("chain")
    gains = {batch: found.speed_up(batch, chain) for batch in study.figure("batches")}
    first, *_, last = gains
    why = {
        "dense": "drafting reads a layer and the LM head again, verification shares the reading of long caches",
        "experts": f"{chain + 1} rows wake experts that one row would not, at small batch above all, so the gain grows once all are awake. "
        "The published fall needs many small experts that keep sharing rows out, or compute-bound FC at large batch; "
        "mixtral-8x7b's eight experts stand in for 128",
    }[model]
    return study.row(
        f"trend_{model}",
        gains[last] / gains[first],
        f"{study.setup(model).trace}, {study.setup(model).kv_tokens} cached: "
        f"{', '.join(f'{gain:.2f}× at {batch}' for batch, gain in gains.items())}; an iteration takes {added(found, first, chain)} longer at batch "
        f"{first}, {added(found, last, chain)} at {last}: {why}",
    )


def _large_batch(study: Study, found: Profile) -> Row:
    chain = study.figure("chain")
    large = [batch for batch in study.figure("batches") if batch >= study.figure("large_batch")]
    gains = [found.speed_up(batch, chain) for batch in large]
    return study.row(
        "large_batch",
        sum(gains) / len(gains),
        f"{study.setup('dense').trace} at batch {', '.join(map(str, large))}: an iteration takes {added(found, large[-1], chain)} longer; "
        "production adds sampling, scheduling and traffic, none of which is charged here",
    )


def added(found: Profile, batch: int, length: int) -> str:
    """Say by how much an iteration is longer with drafts, and what takes most of it."""
    shares = found.added(batch, length)
    most = ", ".join(f"{category} {100 * share:.0f}" for category, share in list(shares.items())[:2] if share > 0)
    return f"{100 * sum(shares.values()):.0f} % ({most})"
