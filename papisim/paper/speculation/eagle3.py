"""EAGLE-3 (arXiv:2503.01840): how the gain of its draft head falls with the batch on a card that is soon bound by compute."""

from __future__ import annotations

from papisim.calibration.speculation import Profile, profile, speculator_of
from papisim.config.experiment import load_experiment
from papisim.paper.claims import Study
from papisim.paper.figure import Explained, Figure, Table, View
from papisim.paper.speculation.meta_eagle import added
from papisim.report.print.chart import Chart

CHART = Chart(
    kind="lines",
    x=("batch",),
    y="speed_up",
    series="source",
    x_label="batch",
    y_label="speed-up over no speculation",
    line=1.0,
)


def profiled(study: Study) -> Profile:
    """Profile the chain on the card over the published batches."""
    setup = study.setup("chain")
    speculator = speculator_of(load_experiment(setup.options()))
    return profile(speculator, study.setting("batches"), [study.setting("chain")], setup.kv_tokens)


def values(view: View) -> dict[str, Explained]:
    """Return the gain at each batch, and its change from the smallest to the largest."""
    found, batches = view.once(profiled), view.setting("batches")
    gains = {batch: found.speed_up(batch, view.setting("chain")) for batch in batches}
    first, last = batches[0], batches[-1]
    return {
        **{f"speed_up_{batch}": _gain(view, found, batch) for batch in batches},
        "gain_falls": Explained(
            gains[last] / gains[first], f"{', '.join(f'{gain:.2f}× at {batch}' for batch, gain in gains.items())}"
        ),
    }


def table(view: View) -> Table:
    """Return simulated and published gains at every batch."""
    found, chain = view.once(profiled), view.setting("chain")
    return [
        {"batch": batch, "source": source, "speed_up": value}
        for batch in view.setting("batches")
        for source, value in (("simulated", found.speed_up(batch, chain)), ("published", _claim(view, batch)))
    ]


def _claim(view: View, batch: int) -> float:
    return float(view.study.published.claims[f"speed_up_{batch}"].claimed)


def _gain(view: View, found: Profile, batch: int) -> Explained:
    chain, claim = view.setting("chain"), _claim(view, batch)
    point, none = found.at(batch, chain), found.at(batch, 0)
    more_s = point.emitted * none.round_s / claim - point.round_s
    slower = f", or from {1e3 * more_s / chain:.1f} ms more per draft step" if more_s > 0 else ""
    return Explained(
        found.speed_up(batch, chain),
        f"{chain + 1} rows per request emit {point.emitted:.2f} tokens and take {added(found, batch, chain)} longer",
        f"the head's own acceptance on this card is not published; the claim follows from {claim * point.round_s / none.round_s:.2f} tokens per "
        f"round{slower}",
    )


FIGURE = Figure(values=values, table=table, drawing=CHART)
