"""SSSD (arXiv:2411.05894): the table of verify rows, and what look-ups yield at large batch and long context."""

from __future__ import annotations

from collections.abc import Mapping

from papisim.calibration.speculation import Point, Profile, profile, speculator_of
from papisim.config.experiment import load_experiment
from papisim.config.sections import load_section
from papisim.paper.claims import Study
from papisim.paper.figure import Explained, Figure, Table, View
from papisim.plan.phase import Category
from papisim.policies.speculation.base import Draft, SpeculationView
from papisim.policies.speculation.sssd import Options, Speculation, rows_per_request, tree_shape
from papisim.report.print.chart import Chart

CHART = Chart(
    kind="lines",
    x=("batch",),
    y="rows",
    series="knee",
    x_label="batch",
    y_label="rows per request",
    log=True,
)


def values(view: View) -> dict[str, Explained]:
    """Return the share of the table's cells that agree, and the gains of drafts with long and short contexts."""
    study = view.study
    return {
        "table": _agreement(view),
        **{claim: _gain(study, claim, *where) for claim, where in view.setting("gains").items()},
        "long_context_helps": _long_context(study),
        "throughput_short": _throughput(study),
    }


def table(view: View) -> Table:
    """Return rows per request by knee and batch, those of the policy and those of the released code."""
    published: Mapping[str, list[int]] = view.setting("table")
    return [
        {"knee": knee, "batch": batch, "rows": rows_per_request(options(knee), batch), "published_rows": rows}
        for knee, row in ((int(key), row) for key, row in published.items())
        for batch, rows in zip(view.setting("table_batches"), row, strict=True)
    ]


def options(ratio: float) -> Options:
    """Return the shipped policy for a machine's knee, FLOP/B."""
    return load_section("speculation", "sssd", [f"speculation.ratio={ratio}"]).of(Options)


def _agreement(view: View) -> Explained:
    cells = table(view)
    wrong = [
        f"knee {cell['knee']}, b = {cell['batch']}: {cell['rows']} for {cell['published_rows']}"
        for cell in cells
        if cell["rows"] != cell["published_rows"]
    ]
    knees = sorted(cell["knee"] for cell in cells)
    return Explained(
        1 - len(wrong) / len(cells), "; ".join(wrong) or f"all {len(cells)} cells, knees {knees[0]} to {knees[-1]}"
    )


def _draft(study: Study, batch: int) -> Draft:
    """Return the draft length of each request of a batch."""
    policy = Speculation(options(study.setting("knee")))
    return policy.plan(SpeculationView(0, tuple(range(batch)), lambda drafts: 0.0))[0]


def _profile(study: Study, setup: str, batch: int) -> tuple[Draft, Profile]:
    draft = _draft(study, batch)
    return draft, _profiled(study, setup, batch, draft)


def _profiled(study: Study, setup: str, batch: int, draft: Draft) -> Profile:
    where = study.setup(setup)
    speculator = speculator_of(load_experiment(where.options()))
    return profile(speculator, [batch], [draft.length], where.kv_tokens, lambda length: draft)


def _gain(study: Study, claim: str, setup: str, batch: int) -> Explained:
    draft, found = _profile(study, setup, batch)
    none, point = found.at(batch, 0), found.at(batch, draft.length)
    needed = float(study.published.claims[claim].claimed) * point.round_s / none.round_s
    where = study.setup(setup)
    return Explained(
        found.speed_up(batch, draft.length),
        f"batch {batch}, {where.kv_tokens} cached: {draft.rows} rows per request take {point.round_s / none.round_s:.2f} of a plain "
        f"iteration and emit {point.emitted:.2f} ({where.acceptance})",
        f"the machine is known and acceptance is not; the claim follows from {needed:.2f} tokens per round",
    )


def _long_context(study: Study) -> Explained:
    """Compare the gain with long caches with that with short ones, where a step has more rows than FC has free."""
    batch, rows = (study.setting("beyond_knee")[name] for name in ("batch", "rows"))
    shape = tree_shape(options(study.setting("knee")), rows)
    draft, gains = Draft(len(shape), shape), {}
    for setup in ("short", "long"):
        found = _profiled(study, setup, batch, draft)
        gains[setup] = found.speed_up(batch, draft.length)
    one, all_rows = (found.at(batch, length).time_by[Category.ATTENTION] for length in (0, draft.length))
    kv = {setup: study.setup(setup).kv_tokens for setup in gains}
    return Explained(
        gains["long"] / gains["short"],
        f"batch {batch}, {draft.rows} rows per request: {gains['short']:.2f}× with {kv['short']} cached tokens, {gains['long']:.2f}× with "
        f"{kv['long']}. Attention of {draft.rows} rows over the long caches takes {all_rows / one:.2f} times that of one: rows of a request "
        "share the reading of its cache",
        cause_holds=all_rows < study.setting("shares_cache_ratio") * one,
    )


def _throughput(study: Study) -> Explained:
    """Compare decoding with the largest batch that takes no longer per token with drafts."""
    limits, gains = study.setting("at_latency"), {}
    for batch in limits["batches"]:
        _, found = _profile(study, "short", batch)
        limit_s = found.at(batch, 0).token_s
        larger = [each for each in range(batch, limits["largest"] + 1) if each % batch == 0]
        points = (_point(study, each) for each in larger)
        gains[batch] = (
            max(point.tokens_per_s for point in points if point.token_s <= limit_s) / found.at(batch, 0).tokens_per_s
        )
    return Explained(
        max(gains.values()),
        "; ".join(f"{gain:.1f}× over plain batches of {batch}" for batch, gain in gains.items())
        + f"; batches to {limits['largest']} are tried, and what is gained is the larger batch, as the claim has it",
    )


def _point(study: Study, batch: int) -> Point:
    draft, found = _profile(study, "short", batch)
    return found.at(batch, draft.length)


FIGURE = Figure(values=values, table=table, drawing=CHART)
