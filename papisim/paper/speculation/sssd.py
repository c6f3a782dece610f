"""SSSD (arXiv:2411.05894): the table of verify rows, and what look-ups yield at large batch and long context."""

from __future__ import annotations

from papisim.calibration.speculation import Profile, profile, speculator_of
from papisim.config.experiment import load_experiment
from papisim.config.sections import load_section
from papisim.paper.study import Study
from papisim.paper.verdict import Row
from papisim.policies.speculation.base import Draft, SpeculationView
from papisim.policies.speculation.sssd import Options, Speculation, rows_per_request


def reproduce(study: Study) -> list[Row]:
    """Compare the table cell by cell, and price its drafts with long and short contexts."""
    return [
        _table(study),
        *(_gain(study, claim, setup, batch) for claim, (setup, batch) in study.figure("gains").items()),
        _long_context(study),
    ]


def options(ratio: float) -> Options:
    """Return the shipped policy for a machine's knee."""
    return load_section("speculation", "sssd", [f"speculation.ratio={ratio}"]).of(Options)


def _table(study: Study) -> Row:
    table: dict[str, list[int]] = study.figure("table")
    batches: list[int] = study.figure("table_batches")
    cells = [
        (knee, batch, rows, rows_per_request(options(knee), batch))
        for knee, row in ((int(key), row) for key, row in table.items())
        for batch, rows in zip(batches, row, strict=True)
    ]
    wrong = [f"knee {ratio}, b = {batch}: {got} for {rows}" for ratio, batch, rows, got in cells if rows != got]
    knees = sorted(map(int, table))
    right = 1 - len(wrong) / len(cells)
    return study.row("table", right, "; ".join(wrong) or f"all {len(cells)} cells, knees {knees[0]} to {knees[-1]}")


def _draft(study: Study, batch: int) -> Draft:
    """Return what the policy drafts for each request of a batch."""
    policy = Speculation(options(study.figure("knee")))
    return policy.plan(SpeculationView(0, tuple(range(batch)), lambda drafts: 0.0))[0]


def _profile(study: Study, setup: str, batch: int) -> tuple[Draft, Profile]:
    where, draft = study.setup(setup), _draft(study, batch)
    speculator = speculator_of(load_experiment(where.options()))
    return draft, profile(speculator, [batch], [draft.length], where.kv_tokens, lambda length: draft)


def _gain(study: Study, claim: str, setup: str, batch: int) -> Row:
    draft, found = _profile(study, setup, batch)
    none, point = found.at(batch, 0), found.at(batch, draft.length)
    needed = float(study.published.claims[claim].claimed) * point.round_s / none.round_s
    return study.row(
        claim,
        found.speed_up(batch, draft.length),
        f"batch {batch}, {study.setup(setup).kv_tokens} cached: {draft.rows} rows a request take {point.round_s / none.round_s:.2f} of a plain "
        f"iteration and emit {point.emitted:.2f} ({study.setup(setup).acceptance}); the claim needs {needed:.2f}",
    )


def _long_context(study: Study) -> Row:
    """Compare the gain with long caches against that with short ones, at the largest batch whose long caches fit."""
    batch = study.figure("large_batch")
    gains = {}
    for setup in ("short", "long"):
        draft, found = _profile(study, setup, batch)
        gains[setup] = found.speed_up(batch, draft.length)
    kv = {setup: study.setup(setup).kv_tokens for setup in gains}
    return study.row(
        "long_context_helps",
        gains["long"] / gains["short"],
        f"batch {batch}, {draft.rows} rows a request: {gains['short']:.2f}× with {kv['short']} cached tokens, {gains['long']:.2f}× with "
        f"{kv['long']}. Reading KV caches costs the same for {draft.rows} rows as for one, and is more of the iteration the longer they are",
    )
