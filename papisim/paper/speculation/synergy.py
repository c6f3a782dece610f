"""Synergy (arXiv:2310.18813): the gain of speculation at the best length for each batch, and how that length falls."""

from __future__ import annotations

from collections.abc import Mapping

from papisim.calibration.speculation import Profile, profile, speculator_of
from papisim.config.experiment import load_experiment
from papisim.paper.claims import Study
from papisim.paper.figure import Explained, Figure, Table, View
from papisim.report.print.chart import Chart

CHART = Chart(
    kind="lines",
    x=("batch",),
    y="speed_up",
    series="length",
    x_label="batch",
    y_label="speed-up over no speculation",
    line=1.0,
)
_BISECTIONS = 40


def values(view: View) -> dict[str, Explained]:
    """Return the gains of the best and of the longest drafts on one GPU, and the change of the best length with the batch."""
    study, profiles = view.study, view.once(profiled)
    batches, longest = view.setting("batches"), view.setting("longest_draft")
    found, large = profiles["logged"], batches[-1]
    lengths = {batch: found.best(batch).length for batch in batches}
    claims = {"speed_up": "logged", "recalled": "recalled"}
    return {
        **{
            f"{claim}_{batch}": _gain(study, f"{claim}_{batch}", profiles[setup], setup, batch)
            for claim, setup in claims.items()
            for batch in (1, large)
        },
        "length_falls": Explained(
            lengths[large] / lengths[batches[0]],
            f"s*(b) = {', '.join(f'{length} at {batch}' for batch, length in lengths.items())}: the rows that the memory-bound "
            "pass has free are shared by the batch",
        ),
        f"long_hurts_{large}": Explained(
            found.speed_up(large, longest),
            f"{longest} drafts emit {found.at(large, longest).emitted:.2f} tokens in {found.cost(large, longest):.2f} plain iterations of "
            f"{large * (longest + 1)} rows; s* gains {found.speed_up(large):.2f}×",
        ),
        "traffic": _traffic(found),
    }


def profiled(study: Study) -> Mapping[str, Profile]:
    """Profile one GPU over batches and lengths, as the paper does offline, with each acceptance."""
    lengths = range(study.setting("longest_draft") + 1)
    return {
        name: profile(
            speculator_of(load_experiment(setup.options())), study.setting("batches"), lengths, setup.kv_tokens
        )
        for name, setup in study.published.setups.items()
    }


def _traffic(found: Profile) -> Explained:
    """Say between which values the mean under traffic lies, whatever the arrivals: those of full and of single batches."""
    gains = [found.speed_up(batch) for batch in {point.batch for point in found.points}]
    return Explained(
        None,
        "arrival rates, lengths and the two fixed lengths of its traffic experiment are not at hand",
        f"whatever the arrivals, the mean lies between the gains by batch, {min(gains):.2f} and {max(gains):.2f}",
    )


def table(view: View) -> Table:
    """Return the speed-up of the best and of the longest drafts at every batch."""
    found, longest = view.once(profiled)["logged"], view.setting("longest_draft")
    return [
        {"batch": batch, "length": name, "drafts": drafts, "speed_up": found.speed_up(batch, drafts)}
        for batch in view.setting("batches")
        for name, drafts in (("best", found.best(batch).length), (f"{longest} drafts", longest))
    ]


def _gain(study: Study, name: str, found: Profile, setup: str, batch: int) -> Explained:
    """Return the gain of the best drafts; beside it the time per draft step, or the cost of a draft, that the claim takes."""
    best, none = found.best(batch), found.at(batch, 0)
    claim = float(study.published.claims[name].claimed)
    slope = (found.at(batch, 1).round_s - none.round_s) / none.round_s
    overhead_s = _overhead_s(found, batch, claim)
    least = found.at(batch, 1).emitted / claim
    bound = (
        f"{1e3 * overhead_s:.1f} ms more per draft step make it the claim; launches of the host and the draft model of the paper, "
        "neither of which is published, may take them"
        if overhead_s
        else ""
    )
    if batch > 1:
        bound = (
            f"one draft alone gains more than the claim unless a round costs {least:.2f} plain iterations; {2 * batch} rows are below the "
            f"knee of an A100, and it costs {1 + slope:.2f}"
        )
    return Explained(
        found.speed_up(batch),
        f"{study.setup(setup).trace}: s* = {best.length} emits {best.emitted:.2f} tokens in {best.round_s * 1e3:.1f} ms, "
        f"against one in {none.round_s * 1e3:.1f} ms; one more draft costs {100 * slope:.1f} % of a pass",
        bound,
    )


def _overhead_s(found: Profile, batch: int, claimed: float) -> float | None:
    """Return the time that, added to each draft step, lowers the best speed-up to the claimed one; None if none does."""
    points = [point for point in found.points if point.batch == batch]
    none = found.at(batch, 0)

    def speed_up(extra_s: float) -> float:
        return none.token_s / min((p.round_s + p.length * extra_s) / p.emitted for p in points)

    low, high = 0.0, none.round_s
    if not speed_up(high) <= claimed < speed_up(low):
        return None
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if speed_up(middle) > claimed else (low, middle)
    return high


FIGURE = Figure(values=values, table=table, drawing=CHART)
