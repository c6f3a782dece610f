"""Synergy (arXiv:2310.18813): the gain of speculation at the best length for each batch, and how that length falls."""

from __future__ import annotations

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
    study, found = view.study, view.once(profiled)
    batches, longest = view.setting("batches"), view.setting("longest_draft")
    lengths = {batch: found.best(batch).length for batch in batches}
    large = batches[-1]
    return {
        **{f"speed_up_{batch}": Explained(found.speed_up(batch), _why(found, batch, study)) for batch in (1, large)},
        "length_falls": Explained(
            lengths[large] / lengths[batches[0]],
            f"s*(b) = {', '.join(f'{length} at {batch}' for batch, length in lengths.items())}: the rows that the memory-bound "
            "pass has free are shared by the batch",
        ),
        f"long_hurts_{large}": Explained(
            found.speed_up(large, longest),
            f"{longest} drafts emit {found.at(large, longest).emitted:.2f} tokens on the recalled curve and hurt only if a round takes "
            f"longer than that many plain iterations; {large * (longest + 1)} rows take {found.cost(large, longest):.2f} plain iterations "
            f"here. They do fall behind s*, {found.speed_up(large):.2f}×",
        ),
        "traffic": Explained(
            None, "arrival rates, lengths and the two fixed lengths of its traffic experiment are not at hand"
        ),
    }


def profiled(study: Study) -> Profile:
    """Profile one GPU over batches and lengths, as the paper does offline."""
    setup = study.setup("one_gpu")
    speculator = speculator_of(load_experiment(setup.options()))
    lengths = range(study.setting("longest_draft") + 1)
    return profile(speculator, study.setting("batches"), lengths, setup.kv_tokens)


def table(view: View) -> Table:
    """Return the speed-up of the best and of the longest drafts at every batch."""
    found, longest = view.once(profiled), view.setting("longest_draft")
    return [
        {"batch": batch, "length": name, "drafts": drafts, "speed_up": found.speed_up(batch, drafts)}
        for batch in view.setting("batches")
        for name, drafts in (("best", found.best(batch).length), (f"{longest} drafts", longest))
    ]


def _why(found: Profile, batch: int, study: Study) -> str:
    best, none = found.best(batch), found.at(batch, 0)
    claim = study.published.claims[f"speed_up_{batch}"].claimed
    slope = (found.at(batch, 1).round_s - none.round_s) / none.round_s
    text = (
        f"{study.setup('one_gpu').trace}: s* = {best.length} emits {best.emitted:.2f} tokens in {best.round_s * 1e3:.1f} ms, "
        f"against one in {none.round_s * 1e3:.1f} ms; one more draft costs {100 * slope:.1f} % of a pass"
    )
    overhead_s = _overhead_s(found, batch, float(claim)) if isinstance(claim, (int, float)) else None
    if overhead_s:
        text += (
            f". The claim needs {100 * (slope + overhead_s / none.round_s):.0f} % per draft, {overhead_s * 1e3:.1f} ms more: launches by "
            "the host, a larger draft model, or kernels that do not share what the rows of a batch have in common; none is charged"
        )
    return text


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
