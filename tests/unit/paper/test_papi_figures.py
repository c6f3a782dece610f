"""The PAPI paper's figures: which of its orders and closed forms hold as machines are, and how rows are made."""

import pytest

from papisim.errors import NotModelled
from papisim.paper.figure import choose, figures
from papisim.paper.lab import Lab
from papisim.paper.readings import load_readings
from papisim.paper.reproduction import distances, orders, reproduce
from papisim.paper.score import numbers
from papisim.paper.sensitivity import effects
from papisim.paper.study import load_studies
from papisim.paper.verdict import Verdict

FIGURES, STUDIES, READINGS = figures("papi"), load_studies("papi"), load_readings("papi")
KERNELS = ("fig2", "fig4", "fig6", "fig7", "eq4")


def some(*names):
    return {name: FIGURES[name] for name in names}


@pytest.fixture(scope="module")
def lab():
    return Lab(READINGS, processes=1)


def test_every_figure_has_an_entry_and_every_entry_a_figure():
    assert set(FIGURES) == set(STUDIES)
    assert list(FIGURES) == [
        "fig2",
        "fig4",
        "fig6",
        "fig7",
        "fig8",
        "fig9",
        "fig10a",
        "fig10b",
        "fig11",
        "fig12",
        "eq4",
    ]


def test_every_claim_says_where_it_is_from_and_how_sure_it_is():
    for study in STUDIES.values():
        for claim in study.published.claims.values():
            assert claim.source.startswith("papi2025")
            assert claim.reliability in ("text", "figure")
            assert claim.reliability == "text" or claim.tolerance_ratio == 0.15


def test_numbers_read_off_figures_count_only_where_asked():
    stated, all_ = numbers(STUDIES), numbers(STUDIES, read_off=True)
    assert ("fig8", "speed_pim") in stated
    assert ("fig8", "peak_pim") in all_.keys() - stated.keys()
    assert not any(figure in ("fig2", "fig4", "fig6", "eq4") for figure, _ in all_)


@pytest.mark.parametrize("stance", READINGS.stances)
def test_figures_of_single_kernels_hold_in_every_stance(lab, stance):
    for each in reproduce(lab, READINGS.stance(stance), some(*KERNELS), STUDIES):
        assert all(row.verdict is not Verdict.OFF for row in each.rows), each.name
        assert each.table


def test_a_reproduction_has_a_row_a_claim_and_data(lab):
    (each,) = reproduce(lab, {}, some("fig12"), STUDIES)
    assert [row.claim for row in each.rows] == [claim.what for claim in STUDIES["fig12"].published.claims.values()]
    parts = {row["part"] for row in each.table}
    assert parts == {"fc", "attention", "communication", "other"}


def test_bars_of_figure_12_are_what_a_full_iteration_takes(lab):
    """One 32-byte column of 1P1B at 16 uses, 4 tCK each, over 30 stacks (papi.md's closed form), without padding."""
    (each,) = reproduce(lab, {}, some("fig12"), STUDIES)
    weights = 80 * (8192 * 3 * 8192 + 8192 * 8192 + 3 * 8192 * 22016) * 2
    columns = weights / 32 / (30 * 1024)
    least_ms = 1e3 * columns * 16 * 4 * 0.769e-9
    assert least_ms < each.values["attacc_fc_ms"] < 1.25 * least_ms


def test_scores_need_all_numbers_and_orders_their_figures(lab):
    kept = orders(reproduce(lab, {}, some("fig2", "fig4"), STUDIES))
    assert kept == {"fig2": True, "fig4": True}


def test_a_perfect_reproduction_scores_nothing(lab):
    (each,) = reproduce(lab, {}, some("fig7"), STUDIES)
    published = {claim: entry.claimed for claim, entry in STUDIES["fig7"].published.claims.items()}
    exact = type(each)(each.name, each.study, published, each.rows, each.table)
    assert distances([exact])["stated"] == 0
    assert distances([each])["stated"] < 1e-3


def test_moving_an_assumed_constant_moves_what_rests_on_it(lab):
    found = {(e.constant, e.claim): e for e in effects(lab, {}, some("fig12", "fig7"), STUDIES)}
    latency = found["latency of PCIe", "communication"]
    assert latency.smaller < latency.larger
    pace = found["an FPU's pace", "attacc_fc_ms"]
    assert pace.smaller > pace.larger, "a slower FPU takes longer"
    assert found["a GPU's idle power", "fc_faster"].span == 0
    energy = found["energy of a column access", "share_64"]
    assert energy.smaller < energy.larger


def test_unknown_figures_are_refused_with_the_nearest():
    with pytest.raises(NotModelled, match=r"'fig13' is not reproduced; did you mean 'fig1"):
        choose(FIGURES, ("fig13",))
    assert choose(FIGURES, ()) == list(FIGURES)
    assert choose(FIGURES, ("eq4", "fig2")) == ["fig2", "eq4"]
