"""The drawing of rates by batch and policy."""

import pytest

from papisim.report.print.batch_by_policy import BatchByPolicy

pytest.importorskip("matplotlib")

RATES = {"off": 100.0, "co_scheduled": 150.0}
ROWS = [
    {"machine": machine, "batch": batch, "policy": policy, "tokens_per_s": batch * rate, "fc_pim_ratio": pim}
    for machine in ("papi", "gpu_only")
    for batch, pim in ((4, 0.0), (1, 1.0), (2, 0.6))
    for policy, rate in RATES.items()
]


@pytest.fixture(scope="module")
def page():
    return BatchByPolicy().page(ROWS, "rates")


def test_a_machine_has_rates_above_and_their_ratio_to_no_speculation_below(page):
    upper, lower = [ax for ax in page.axes if ax.get_subplotspec().colspan.start == 0]
    assert upper.get_title() == "papi"
    rates = {line.get_label(): list(line.get_ydata()) for line in upper.lines}
    assert rates == {"off": [100, 200, 400], "co_scheduled": [150, 300, 600]}
    assert list(upper.lines[0].get_xdata()) == [1, 2, 4], "sorted by batch"
    ratios = {line.get_label(): list(line.get_ydata()) for line in lower.lines if line.get_label() in RATES}
    assert ratios == {"off": [1, 1, 1], "co_scheduled": [1.5, 1.5, 1.5]}


def test_markers_are_filled_where_pim_computes_most_of_fc(page):
    upper = page.axes[0]
    faces = [tuple(face) for face in upper.collections[0].get_facecolors()]
    white = (1.0, 1.0, 1.0, 1.0)
    assert [face == white for face in faces] == [False, False, True]


def test_axes_are_logarithmic_in_batch_and_rate_and_linear_in_the_ratio(page):
    upper, lower = page.axes[0], page.axes[2]
    assert (upper.get_xscale(), upper.get_yscale(), lower.get_yscale()) == ("log", "log", "linear")
    assert (upper.get_ylabel(), lower.get_ylabel()) == ("tokens/s of a full batch", "over no speculation")
    assert [text.get_text() for text in page.legends[0].get_texts()] == list(RATES)


def test_every_machine_has_its_column(page):
    assert [axes.get_title() for axes in page.axes[:2]] == ["papi", "gpu_only"]
    assert page.get_suptitle().startswith("rates\nfilled: PIM")
