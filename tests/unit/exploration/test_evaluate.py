"""A point becomes a row: run, or refused with the reason."""

import pytest

from papisim.config.experiment import RunOptions, load_experiment
from papisim.engine.run import simulate
from papisim.errors import InputError
from papisim.exploration import evaluate
from papisim.exploration.evaluate import Evaluator, Remembered
from papisim.exploration.preflight import check_space
from papisim.exploration.run import points
from papisim.results.metrics import summarise

BASE = """\
schema: papisim/sweep/1
description: a test
base:
  trace: llama7b
  batch: 2
  set: {workload.lengths: {kind: fixed, input_tokens: 16, output_tokens: 4}}
"""
LENGTHS = "workload.lengths={kind: fixed, input_tokens: 16, output_tokens: 4}"
BANKS = "devices.fc_pim.part.organisation.banks_per_group"


def rows(file):
    evaluator = Evaluator(file)
    return [evaluator.row(number, values) for number, values in enumerate(points(file))]


def test_a_row_has_the_figures_of_the_run_that_papisim_run_would_do(declare):
    """Machines and prices are remembered between points; that must not show."""
    file = declare("space: {devices.attn_pim.count: [40, 60], placement: ['pinned:gpu', papi], batch: [2, 3]}")
    for row in rows(file):
        options = RunOptions(
            hw="papi",
            trace="llama7b",
            batch=row.inputs["batch"],
            placement=row.inputs["placement"],
            set=[LENGTHS, f"devices.attn_pim.count={row.inputs['devices.attn_pim.count']}"],
        )
        expected = summarise(simulate(load_experiment(options)))
        for name in ("throughput_tokens_per_s", "energy_j", "tpot_p99_s", "makespan_s", "peak_kv_bytes"):
            assert row.figures[name] == expected[name]
        assert row.figures["busy_ratio.gpu"] == expected["busy_ratio"]["gpu"]


def test_points_of_several_engines_use_the_libraries_of_their_own(declare):
    def tpot_s(engines):
        file = declare(f"space: {{hw: [h100_single], engine: {engines}}}")
        return {row.inputs["engine"]: row.figures["tpot_mean_s"] for row in rows(file)}

    both = tpot_s("[trtllm, vllm]")
    assert both == tpot_s("[vllm, trtllm]")
    assert both["vllm"] == tpot_s("[vllm]")["vllm"] != both["trtllm"]


def test_a_derived_field_follows_the_axes_and_the_fields_of_the_machines_files(declare):
    file = declare(f"""
space:
  {BANKS}: [2, 4]
derive:
  devices.fc_pim.part.capacity_bytes: >-
    devices.fc_pim.part.capacity_bytes * {BANKS} / 4
  devices.attn_pim.count: {{value: "2 * devices.gpu.count", when: "{BANKS} == 2"}}
""")
    found = rows(file)
    assert [row.status for row in found] == ["ok", "ok"]
    assert [row.inputs.get("devices.attn_pim.count") for row in found] == [12, None]
    assert [row.figures["n_devices.attn_pim"] for row in found] == [12, 60]
    assert found[0].figures["capacity_bytes.fc_pim"] == found[1].figures["capacity_bytes.fc_pim"] / 2


def test_variables_are_names_of_no_field_that_others_follow_from(declare):
    file = declare("variables: {scale: [1, 2]}\nspace: {tlp: [1]}\nderive: {batch: 2 * scale}")
    assert [row.figures["batching.batch_size"] for row in rows(file)] == [2, 4]
    assert [row.as_cells()["scale"] for row in rows(file)] == [1, 2]


def test_a_constraint_on_the_design_spares_the_simulation(declare, monkeypatch):
    monkeypatch.setattr(evaluate, "simulate", None)
    (row,) = rows(declare("space: {batch: [1]}\nconstraints: {area: 'die_area_mm2(fc_pim) <= 100 mm2'}"))
    assert (row.status, row.constraint, row.constraint_kind) == ("infeasible", "area", "area")
    assert row.reason == "die_area_mm2(fc_pim) <= 100 mm2: found 119.04, the bound is 100"
    assert not row.simulated
    assert row.excess == [pytest.approx(1 - 100 / 119.04), 0.0]


def test_a_constraint_on_the_run_is_told_after_it_with_its_figures(declare):
    (row,) = rows(declare("space: {batch: [1]}\nconstraints: {latency: {kind: slo, require: tpot_p99_s <= 1 us}}"))
    assert (row.status, row.constraint, row.constraint_kind) == ("infeasible", "latency", "slo")
    assert row.simulated
    assert row.figures["tpot_p99_s"] > 1e-6
    assert "the bound is 1e-06" in row.reason


@pytest.mark.parametrize(
    ("axis", "kind", "reason"),
    [
        ("devices.fc_pim.count: [1]", "capacity", "the weights of llama7b do not fit"),
        ("devices.fc_pim.part.fpu.fpus: [8]", "area", "96 banks a die with 8P1B"),
    ],
)
def test_a_machine_too_small_is_infeasible_and_says_what_for(declare, axis, kind, reason):
    (row,) = rows(declare(f"space: {{{axis}}}"))
    assert (row.status, row.constraint_kind) == ("infeasible", kind)
    assert reason in row.reason
    assert row.excess[-1] > 0


def test_what_fails_at_one_point_is_that_rows_reason(declare):
    file = declare("space: {hw: [papi, attacc_only], placement: ['pinned:gpu']}")
    assert [row.status for row in rows(file)] == ["ok", "failed"]
    assert "'gpu' runs no FC kernels in this system" in rows(file)[1].reason


def test_columns_are_computed_from_figures_and_empty_where_there_are_none(declare):
    file = declare(
        "space: {hw: [papi, gpu_only]}\ncolumns: {tokens_per_j: 1 / energy_per_token_j, pim: busy_ratio.fc_pim}"
    )
    papi, gpu = rows(file)
    assert papi.columns["tokens_per_j"] == 1 / papi.figures["energy_per_token_j"]
    assert papi.columns["pim"] == papi.figures["busy_ratio.fc_pim"]
    assert gpu.columns["pim"] is None


def test_a_run_that_is_known_is_not_simulated_again_but_judged_anew(declare, monkeypatch):
    rest = "space: {batch: [1]}\nconstraints: {slo: tpot_p99_s <= 1 s}"
    (row,) = rows(declare(rest))
    monkeypatch.setattr(evaluate, "simulate", None)
    strict = Evaluator(declare(rest.replace("1 s", "1 us")))
    again = strict.row(0, {"batch": 1}, {row.run_sha256: Remembered(row.figures)}.get)
    assert (row.status, again.status) == ("ok", "infeasible")
    assert again.figures == row.figures
    assert again.simulated


def test_the_hash_of_a_run_tells_apart_all_that_changes_it_and_nothing_else(declare):
    space = "space: {seed: [0, 1], devices.gpu.count: [6, 7], trace: [llama7b, llama13b]}\n"
    hashes = [row.run_sha256 for row in rows(declare(space))]
    assert len(set(hashes)) == 8
    assert [row.run_sha256 for row in rows(declare(space + "columns: {x: 2 * seed}"))] == hashes


@pytest.mark.parametrize("hw", ["papi", "gpu_only", "attacc_only", "a100_hbmpim"])
def test_the_figures_of_a_design_add_up(declare, hw):
    (row,) = rows(declare(f"space: {{hw: [{hw}]}}"))
    figures = row.figures
    assert figures["n_devices"] == sum(value for name, value in figures.items() if name.startswith("n_devices."))
    assert figures["static_w"] >= 0
    dies = {name: value for name, value in figures.items() if name.startswith("die_area_mm2.")}
    assert (figures["pim_area_mm2"] > 0) is bool(dies)


def test_replicas_count_as_often_as_they_are(declare):
    one, three = rows(declare("space: {replicas: [1, 3]}"))
    for name in ("n_devices", "static_w", "pim_area_mm2", "capacity_bytes.fc_pim"):
        assert three.figures[name] == pytest.approx(3 * one.figures[name])
    assert three.figures["die_area_mm2.fc_pim"] == one.figures["die_area_mm2.fc_pim"]


def test_power_is_the_smaller_of_what_banks_deliver_and_fpus_take(declare):
    file = declare("""
space: {tlp: [1, 64]}
columns:
  fed_w: fed_w(fc_pim, tlp)
  streaming_w: streaming_w(fc_pim, tlp)
  sustained_w: sustained_w(fc_pim, tlp)
""")
    for row in rows(file):
        columns = row.columns
        assert columns["sustained_w"] == min(columns["fed_w"], columns["streaming_w"])
    first, last = (row.columns for row in rows(file))
    assert first["fed_w"] > last["fed_w"], "data used more often is fetched less often"
    assert first["streaming_w"] < last["streaming_w"], "FPU work comes on top of the same accesses"


def test_a_column_about_a_device_that_one_machine_lacks_is_an_empty_cell(declare):
    rest = "space: {hw: [papi, gpu_only]}\ncolumns: {area: die_area_mm2(fc_pim), per_gpu: die_area_mm2(gpu)}\n"
    evaluator = Evaluator(declare(rest, BASE))
    papi, gpu_only = (evaluator.row(0, {"hw": hw}) for hw in ("papi", "gpu_only"))
    assert (papi.status, gpu_only.status) == ("ok", "ok")
    assert papi.columns["area"] > 100
    assert gpu_only.columns["area"] is None
    assert papi.columns["per_gpu"] is None


def test_a_column_about_a_device_of_no_machine_is_an_error_of_the_file(declare):
    file = declare("space: {batch: [1]}\ncolumns: {area: die_area_mm2(fc_pin)}\n")
    with pytest.raises(InputError, match=r"no device 'fc_pin' on any machine; did you mean 'fc_pim'"):
        check_space(file, points(file))
