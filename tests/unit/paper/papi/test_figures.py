"""The PAPI paper's figures: closed forms of their values, and the orders that hold as machines are."""

import numpy as np
import pytest

from papisim.paper.choices import Protocol
from papisim.paper.claims import Verdict
from papisim.paper.experiment import PARTS, PHASES, Case, Cell
from papisim.paper.figure import View, load_paper
from papisim.paper.outcomes import Outcomes, Ratio, Run, largest
from papisim.paper.reproduce import orders_kept, reproduce, scores
from papisim.paper.runner import Bench, Lab
from papisim.paper.sensitivity import effects

PAPI = load_paper("papi")
KERNELS = ("fig2", "fig4", "fig6", "fig7", "eq4")


@pytest.fixture(scope="module")
def lab():
    return Lab(PAPI.choices, processes=1)


def some(*names):
    return PAPI.only(names)


def test_figures_are_in_the_order_of_the_paper():
    numbers = [int("".join(filter(str.isdigit, name))) for name in PAPI.figures if name.startswith("fig")]
    assert numbers == sorted(numbers)


def test_every_claim_is_the_papers_and_says_how_sure_it_is():
    for study in PAPI.studies.values():
        for claim in study.published.claims.values():
            assert claim.source.startswith("papi2025")
            assert claim.reliability in ("text", "figure")
            assert claim.reliability == "text" or claim.tolerance_ratio == 0.15


@pytest.mark.parametrize("name", PAPI.choices.named)
def test_figures_of_single_kernels_hold_in_every_named_interpretation(lab, name):
    for each in reproduce(lab, some(*KERNELS), PAPI.choices.interpretation(name)):
        assert all(row.verdict is not Verdict.OFF for row in each.rows), each.name


def test_bars_of_figure_12_are_the_times_of_a_full_iteration(lab):
    """One 32-byte column of 1P1B at 16 uses, 4 tCK each, over 30 stacks (papi.md's closed form), without padding."""
    (each,) = reproduce(lab, some("fig12"), {})
    weights = 80 * (8192 * 3 * 8192 + 8192 * 8192 + 3 * 8192 * 22016) * 2
    columns = weights / 32 / (30 * 1024)
    least_ms = 1e3 * columns * 16 * 4 * 0.769e-9
    assert least_ms < each.values["attacc_fc_ms"] < 1.25 * least_ms


def test_orders_are_those_of_figures_whose_orders_count(lab):
    assert orders_kept(reproduce(lab, some("fig2", "fig4", "fig6"), {})) == {"fig2": True, "fig4": True}


def test_a_reproduction_is_scored_on_the_numbers_it_has(lab):
    found = scores(reproduce(lab, some("fig7"), {}))
    assert set(found) == {"stated", "stated_and_read_off"}
    assert found["stated"] < 1e-3, "both shares are fitted"


def test_moving_an_assumed_constant_moves_what_depends_on_it(lab):
    found = {(e.constant, e.claim): e for e in effects(lab, some("fig12", "fig7"), {})}
    latency = found["latency of PCIe", "communication"]
    assert latency.smaller < latency.larger
    pace = found["FPU clock", "attacc_fc_ms"]
    assert pace.smaller > pace.larger, "a slower FPU takes longer"
    assert found["a GPU's idle power", "fc_faster"].span == 0
    energy = found["energy of a column access", "share_64"]
    assert energy.smaller < energy.larger


# made-up runs, whose times and energies are known


def run(seconds: float, joules: float = 0.0, *, iterations: int = 1, prefill: float = 0.0) -> Run:
    """Return a run that takes ``seconds`` of FC in decoding, ``prefill`` before, and ``joules`` of devices."""
    parts = {part: np.zeros(len(PHASES)) for part in PARTS}
    parts["fc"] = np.array([prefill, seconds])
    parts["device_energy"] = np.array([0.0, joules])
    return Run(parts, static_w=0.0, iterations=iterations, fc_pim_ratio=0.25)


def view(name: str, runs: dict[str, dict[Case, Run]], **protocol: str) -> View:
    flat = {Cell(system, case): one for system, cases in runs.items() for case, one in cases.items()}
    return View(PAPI.studies[name], Outcomes(flat, Protocol(**protocol)), Bench(PAPI.choices, {}))


def cases(name: str) -> list[Case]:
    """Return the cases of a figure on PAPI's own machine."""
    cells = PAPI.figures[name].cells(PAPI.studies[name])
    return [cell.case for cell in cells if cell.system == cells[0].system]


SLOWER = {"papi": 1.0, "a100_attacc": 2.0, "a100_hbmpim": 3.0, "attacc_only": 4.0}


class TestEndToEnd:
    def test_figure_8_has_27_settings_on_four_machines(self):
        assert len(cases("fig8")) == 27
        assert len(PAPI.figures["fig8"].cells(PAPI.studies["fig8"])) == 4 * 27
        assert cases("fig8")[0] == Case("llama65b", "creative_writing", 4, 1)

    def test_speed_ups_and_efficiencies_are_the_baselines_over_papi(self):
        runs = {s: {case: run(t, 10 * t * t) for case in cases("fig8")} for s, t in SLOWER.items()}
        values = PAPI.figures["fig8"].values(view("fig8", runs))
        assert values["speed_attacc"] == pytest.approx(2)
        assert values["speed_hbmpim"] == pytest.approx(3)
        assert values["speed_pim"] == values["peak_pim"] == pytest.approx(4)
        assert values["energy_attacc"] == pytest.approx(4)
        assert values["energy_pim"] == pytest.approx(16)

    def test_peaks_are_of_the_best_setting_and_means_of_all(self):
        first, *_ = cases("fig8")
        runs = {s: {case: run(t, t) for case in cases("fig8")} for s, t in SLOWER.items()}
        runs["a100_attacc"][first] = run(29.0)
        values = PAPI.figures["fig8"].values(view("fig8", runs))
        assert values["peak_attacc"] == pytest.approx(29)
        assert values["speed_attacc"] == pytest.approx((29 + 26 * 2) / 27)

    def test_the_table_says_where_papi_ran_fc(self):
        runs = {s: {case: run(t, t) for case in cases("fig8")} for s, t in SLOWER.items()}
        rows = PAPI.figures["fig8"].table(view("fig8", runs))
        assert len(rows) == 27 * 3
        assert {row["papi_fc_pim_ratio"] for row in rows} == {0.25}
        assert {row["over"]: row["speed_up"] for row in rows} == {
            "a100_attacc": 2,
            "a100_hbmpim": 3,
            "attacc_only": 4,
        }
        assert {row["papi_s"] for row in rows} == {1}

    def test_figure_9_is_figure_8_of_one_model_and_other_requests(self):
        assert PAPI.figures["fig9"] is PAPI.figures["fig8"]
        assert {(case.model, case.category) for case in cases("fig9")} == {("gpt3-175b", "general_qa")}


class TestSweeps:
    def test_figure_10a_compares_papi_with_its_best_rival_and_the_ends_of_two(self):
        settings = cases("fig10a")
        runs = {s: {case: run(t) for case in settings} for s, t in SLOWER.items()}
        runs["a100_hbmpim"][settings[2]] = run(0.5)
        runs["attacc_only"][settings[0]], runs["attacc_only"][settings[-1]] = run(1.0), run(8.0)
        values = PAPI.figures["fig10a"].values(view("fig10a", runs))
        assert values == {"papi_best": 0.5, "pim_wins": 2.0, "pim_loses": 0.25}

    def test_figure_10a_leaves_out_what_does_not_fit(self):
        settings = cases("fig10a")
        runs = {s: {case: run(t) for case in settings} for s, t in SLOWER.items()}
        runs["papi"][settings[1]] = Run.of(None)
        assert PAPI.figures["fig10a"].values(view("fig10a", runs))["papi_best"] == 2.0

    def test_figure_10b_says_how_the_gain_changes_with_speculation(self):
        settings = cases("fig10b")
        runs = {s: {case: run(t) for case in settings} for s, t in SLOWER.items()}
        runs["a100_attacc"][settings[-1]] = run(1.0)
        values = PAPI.figures["fig10b"].values(view("fig10b", runs))
        assert values["gain_falls"] == 0.5
        assert values["speed_attacc"] == pytest.approx((2 + 2 + 2 + 1) / 4)
        assert values["speed_pim"] == pytest.approx(4)

    def test_figure_11_counts_decoding_alone(self):
        settings = cases("fig11")
        runs = {
            "papi_pim_only": {case: run(1.0, prefill=100.0) for case in settings},
            "attacc_only": {case: run(2.0) for case in settings},
        }
        runs["attacc_only"][settings[0]], runs["attacc_only"][settings[-1]] = run(1.5), run(3.0)
        values = PAPI.figures["fig11"].values(view("fig11", runs))
        assert (values["small"], values["large"]) == (1.5, 3.0)
        assert values["mean"] == pytest.approx((1.5 + 7 * 2 + 3) / 9)

    def test_figure_12_is_milliseconds_per_iteration(self):
        (setting,) = cases("fig12")
        hybrid, baseline = run(1.0, iterations=10), run(3.0, iterations=10)
        for each, scale in ((hybrid, 2.0), (baseline, 1.0)):
            each.parts["attention"][1] = scale
            each.parts["all_reduce"][1], each.parts["messages"][1] = 0.75, 0.25
        values = PAPI.figures["fig12"].values(
            view("fig12", {"papi_pim_only": {setting: hybrid}, "attacc_only": {setting: baseline}})
        )
        assert (values["fc_faster"], values["attention_slower"]) == (3, 2)
        assert values["communication"] == pytest.approx(1 / 4)
        assert values["attacc_fc_ms"] == pytest.approx(300)
        assert values["papi_communication_ms"] == pytest.approx(100)


class TestOutcomes:
    CASE = Case("llama65b", "creative_writing", 4, 1)

    def outcomes(self, **protocol: str) -> Outcomes:
        papi, other = run(2.0, 8.0, prefill=1.0), run(6.0, 16.0, prefill=1.0)
        papi.parts["device_energy"][0] = 4.0
        runs = {"papi": papi, "other": Run(other.parts, 10.0, 1, 0.0)}
        return Outcomes({Cell(name, self.CASE): each for name, each in runs.items()}, Protocol(**protocol))

    def test_speed_ups_count_the_phases_that_the_protocol_counts(self):
        assert self.outcomes().speed_up(self.CASE, "other").value == pytest.approx(7 / 3)
        assert self.outcomes(counted="decode").speed_up(self.CASE, "other").value == pytest.approx(3)

    def test_energy_may_count_other_phases_than_time_and_static_power_or_not(self):
        outcomes = self.outcomes()
        assert outcomes.energy_j("papi", self.CASE) == 12
        assert outcomes.energy_j("other", self.CASE) == 16 + 10 * 7
        assert self.outcomes(static_power="none").energy_j("other", self.CASE) == 16
        assert self.outcomes(energy_counted="decode").energy_j("papi", self.CASE) == 8
        assert self.outcomes(counted="decode").energy_j("other", self.CASE) == 16 + 10 * 6
        assert self.outcomes(static_power="none").energy_gain(self.CASE, "other").value == pytest.approx(16 / 12)

    @pytest.mark.parametrize(
        ("mean", "value"), [("arithmetic", 5 / 2), ("geometric", 2.0), ("of_times", (4 + 3) / (1 + 3))]
    )
    def test_averages_are_those_of_the_protocol(self, mean, value):
        ratios = [Ratio(4.0, 1.0), Ratio(3.0, 3.0)]
        assert self.outcomes(mean=mean).mean(ratios) == pytest.approx(value)
        assert largest(ratios) == 4

    def test_a_run_that_did_not_fit_has_no_values(self):
        nothing = Run.of(None)
        assert np.isnan(nothing.time_s(slice(None)))
        assert np.isnan(nothing.working_j(slice(None)))


def test_an_experiment_that_does_not_fit_is_not_testable(lab):
    """Its row says so, in place of a number."""
    paper = some("fig11")
    nothing = {cell: Run.of(None) for cell in paper.cells}
    lab_of_nothing = type("Full", (), {"outcomes": lambda self, *_: Outcomes(nothing, Protocol())})()
    (each,) = reproduce(lab_of_nothing, paper, {})
    assert {row.verdict for row in each.rows} == {Verdict.NOT_TESTABLE}
    assert {row.simulated for row in each.rows} == {None}
