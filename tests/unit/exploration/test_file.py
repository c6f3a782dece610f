"""What a file of a sweep may say, and what is said of it when it is wrong."""

import re

import pytest

from papisim.config.experiment import RunOptions
from papisim.errors import InputError, InputErrors
from papisim.exploration.grammar import OPTIONS
from papisim.exploration.preflight import check_space
from papisim.exploration.run import points


def column(file, name):
    return [point.get(name) for point in points(file)]


def test_every_option_of_a_run_can_be_declared():
    assert set(OPTIONS) == set(RunOptions.model_fields) - {"set"}


@pytest.mark.parametrize(
    ("axis", "values"),
    [
        ("batch: [1, 4]", [1, 4]),
        ("batch: {values: [1, 4]}", [1, 4]),
        ("batch: {range: [1, 4]}", None),
        ("batch: {range: [1, 4], step: 1}", [1, 2, 3, 4]),
        ("batch: {range: [1, 8], step: 3}", [1, 4, 7]),
        ("batch: {range: [1, 10], n: 4}", [1, 4, 7, 10]),
        ("batch: {log_range: [1, 64], factor: 4}", [1, 4, 16, 64]),
        ("batch: {log_range: [1, 1000], n: 4}", [1, 10, 100, 1000]),
        ("batch: {log_range: [1, 3], n: 9}", [1, 2, 3]),
        ("placement.alpha: {range: [0.5, 1.5], n: 3}", [0.5, 1.0, 1.5]),
        ("devices.fc_pim.part.power.budget_w: [116 W, 0.2 kW]", [116.0, 200.0]),
        ("links.pcie.part.latency_s: {range: [100 ns, 300 ns], step: 100 ns}", [1e-7, 2e-7, 3e-7]),
        ("links.pcie.part.bandwidth_bytes_per_s: {log_range: [16 GB/s, 64 GB/s], factor: 2}", [16e9, 32e9, 64e9]),
    ],
)
def test_an_axis_is_a_list_a_range_or_a_range_of_logarithms_in_si(declare, axis, values):
    file = declare(f"space: {{{axis}}}")
    if values is None:
        with pytest.raises(InputError, match="endlessly many values"):
            points(file)
        return
    found = column(file, axis.partition(":")[0])
    assert found == pytest.approx(values, rel=1e-12)
    assert list(map(type, found)) == list(map(type, values))


def test_the_grid_is_the_product_with_the_last_axis_fastest(declare):
    file = declare("space: {batch: [1, 2], tlp: [1, 2, 3]}")
    assert [(p["batch"], p["tlp"]) for p in points(file)] == [(1, 1), (1, 2), (1, 3), (2, 1), (2, 2), (2, 3)]


def test_zipped_axes_vary_together(declare):
    file = declare("space: {seed: [0, 1]}\nzip: [{batch: [1, 2], tlp: {values: [5, 6]}}]")
    assert [(p["seed"], p["batch"], p["tlp"]) for p in points(file)] == [(0, 1, 5), (0, 2, 6), (1, 1, 5), (1, 2, 6)]


def test_an_axis_whose_condition_does_not_hold_leaves_the_point_as_it_is(declare):
    file = declare("space: {batch: [1, 8], tlp: {values: [2, 4], when: batch < 4}}")
    assert points(file) == [{"batch": 1, "tlp": 2}, {"batch": 1, "tlp": 4}, {"batch": 8}]


def test_a_condition_may_ask_for_options_and_fields_that_do_not_vary(declare):
    file = declare("space: {tlp: {values: [2, 4], when: devices.gpu.count == 6 and hw == 'papi'}}")
    assert column(file, "tlp") == [2, 4]


@pytest.mark.parametrize("kind", ["random", "sobol", "lhs"])
def test_sampled_points_lie_in_the_space_and_follow_from_the_seed(declare, kind):
    rest = f"""
space:
  batch: {{range: [1, 4]}}
  hw: [papi, gpu_only]
  placement.alpha: {{log_range: [1.0, 100.0]}}
sample: {{kind: {kind}, n: 50, seed: 3}}
"""
    drawn = points(declare(rest))
    assert len(drawn) == 50
    assert {point["batch"] for point in drawn} == {1, 2, 3, 4}
    assert {point["hw"] for point in drawn} == {"papi", "gpu_only"}
    assert all(1 <= point["placement.alpha"] <= 100 for point in drawn)
    assert drawn == points(declare(rest))
    assert drawn != points(declare(rest.replace("seed: 3", "seed: 4")))


def test_a_latin_hypercube_has_one_point_in_every_slice(declare):
    drawn = column(
        declare("space: {placement.alpha: {range: [0.0, 20.0]}}\nsample: {kind: lhs, n: 20}"), "placement.alpha"
    )
    assert sorted(int(value) for value in drawn) == list(range(20))


@pytest.mark.parametrize(
    ("rest", "said"),
    [
        ("spcae: {}", r":8:1: spcae: unknown field; did you mean 'space'"),
        ("space: {bacth: [1]}", r":8:9: space.bacth: .*did you mean 'batch'"),
        ("space: {batch: []}", r":8:16: space.batch: .*expected a list of values"),
        ("space: {batch: [1, 1]}", r":8:20: space.batch\[1\]: found 1, which is in this list already"),
        ("space: {batch: [1, many]}", r":8:20: batch: found 'many', expected a whole number"),
        ("space: {batch: {range: [1]}}", r":8:24: space.batch.range: expected \[from, to\]"),
        ("space: {batch: {range: [4, 1]}}", r"the smaller number first"),
        ("space: {batch: {log_range: [0, 4]}}", r"two positive numbers"),
        (
            "space: {batch: {range: [1, 4], factor: 2}}",
            r"batch.factor: has no meaning here; a range takes 'n' or 'step'",
        ),
        ("space: {batch: {range: [1, 4], n: 2, step: 1}}", r"beside a step"),
        ("space: {batch: {vales: [1]}}", r"vales: unknown field; did you mean 'values'"),
        ("space: {batch: {n: 4}}", r"expected one of 'values', 'range' and 'log_range'"),
        ("space: {hw: [papy]}", r":8:14: space.hw\[0\]: no hardware 'papy'.*did you mean 'papi'"),
        (
            "space: {speculation: [dsd]}",
            r":8:23: space.speculation\[0\]: no speculation policy 'dsd'.*did you mean 'dsde'",
        ),
        (
            "space: {tlp: {values: [1], when: tlp +}}",
            r":8:34: space.tlp.when: found 'tlp \+', which is no expression",
        ),
        ("space: {batch: [1]}\nzip: [{batch: [2]}]", r":9:8: zip\[0\].batch: is given values twice"),
        ("zip: [{batch: [1, 2], tlp: [1]}]", r"tlp: has 1 values, expected 2 as batch has"),
        ("variables: {batch: [1]}", r":8:13: variables.batch: is no free name"),
        ("constraints: {slo: 1 +}", r":8:20: constraints.slo: found '1 \+'"),
        ("constraints: {slo: {kind: area}}", r"field 'require' is missing"),
        ("sample: {kind: soboll, n: 4}", r"sample.kind: found 'soboll'"),
        ("optimise: {objectives: {a: {maximise: x, minimise: y}}}", r"expected one of 'maximise' and 'minimise'"),
        ("optimise: {objectives: {}}", r"expected at least one"),
        ("space: {links.pcie.part.latency_s: [3 GB]}", r"found '3 GB', which is a quantity in bytes"),
    ],
)
def test_a_mistake_is_told_with_its_place_and_the_nearest_name(declare, rest, said):
    with pytest.raises((InputError, InputErrors)) as caught:
        declare(rest)
    assert re.search(said, str(caught.value)), str(caught.value)


@pytest.mark.parametrize(
    ("rest", "said"),
    [
        ("space: {devices.gpu.cuont: [1]}", r":8:9: devices.gpu.cuont: unknown field; did you mean 'count'"),
        ("space: {devices.gpo.count: [1]}", r":8:9: no field 'gpo' in devices; did you mean 'gpu'"),
        ("space: {devices.gpu.count: [1, 0]}", r"devices.gpu.count: found 0, expected greater than or equal to 1"),
        ("space: {batch: [1]}\nconstraints: {slo: tpot_p9_s < 1}", r":9:20: constraints.slo: .*'tpot_p9_s'; did you mean 'tpot_p9[09]_s'"),
        ("space: {batch: [1]}\ncolumns: {x: busy_ratio.gpo}", r":9:14: columns.x: .*did you mean 'busy_ratio.gpu'"),
        ("space: {batch: [1]}\nconstraints: {power: \"feed_w(fc_pim, 1) < 1\"}", r"no function 'feed_w'; did you mean 'fed_w'"),
        ("space: {batch: [1]}\nderive: {tlp: bacth * 2}", r":9:15: derive.tlp: no 'bacth' here; did you mean 'batch'"),
        ("space: {placement: [pinned:gpo]}", r"'gpo' runs no FC kernels"),
        ("space: {devices..gpu.count: [1]}", r":8:9: space.devices..gpu.count: expected a field such as devices.gpu.count"),
    ],
)  # fmt: skip
def test_what_only_the_machine_can_tell_is_told_before_the_sweep(declare, rest, said):
    file = declare(rest)
    with pytest.raises((InputError, InputErrors)) as caught:
        check_space(file, points(file))
    assert re.search(said, str(caught.value)), str(caught.value)


HEAD = "schema: papisim/sweep/1\ndescription: a test\nbase: "


def test_a_fixed_field_without_a_name_is_refused_where_it_stands(declare):
    file = declare("space: {batch: [1]}", base=HEAD + "{hw: papi, trace: llama7b, set: {'': 1}}\n")
    with pytest.raises(InputError, match=r"space.yaml:3:40: base.set.: expected a field such as"):
        check_space(file, points(file))


def test_a_file_that_is_no_machine_is_told_by_the_sweep_that_names_it(declare, tmp_path):
    (tmp_path / "notes.txt").write_text("a: 1", encoding="utf-8")
    file = declare("space: {batch: [1]}", base=HEAD + f"{{hw: {tmp_path}/notes.txt, trace: llama7b}}\n")
    with pytest.raises(InputError, match=r"space.yaml: none of the points tried can be built; .*notes.txt"):
        check_space(file, points(file))


def test_a_name_that_only_some_machines_have_is_no_mistake(declare):
    file = declare("space: {hw: [gpu_only, papi]}\ncolumns: {x: busy_ratio.fc_pim, y: devices.attn_pim.count}")
    check_space(file, points(file))


def test_a_file_beside_the_sweep_is_found_from_anywhere(declare, tmp_path, monkeypatch):
    from papisim import catalog  # noqa: PLC0415

    shipped = catalog.shipped(catalog.Shelf.SYSTEM)["gpu_only"].read_text()
    (tmp_path / "mine.yaml").write_text(shipped)
    monkeypatch.chdir("/")
    file = declare("space: {hw: [mine.yaml, papi]}")
    check_space(file, points(file))


@pytest.mark.parametrize(("axis", "said"), [
    ("tlp: {range: [1, 2147483648], step: 1}", "makes 2.15e+09 values, expected at most 1,000,000"),
    ("placement.alpha: {range: [1, 2], step: 1.0e-9}", "makes 1e+09 values"),
    ("placement.alpha: {log_range: [1, 2], factor: 1.000000001}", "makes 6.93e+08 values"),
    ("tlp: {range: [1, 2]}", "endlessly many values"),
    ("seed: {range: [1, 2000], step: 1}, batch: {range: [1, 2000], step: 1}", "makes 4,000,000 points"),
])  # fmt: skip
def test_a_space_that_cannot_be_listed_is_refused_with_its_place(declare, axis, said):
    def read():
        return points(declare(f"space: {{{axis}}}"))

    with pytest.raises(InputError) as caught:
        read()
    assert said in str(caught.value)
    assert caught.value.place.file is not None
    assert caught.value.place.field.startswith("space")


def test_axes_that_vary_together_may_have_a_value_again_but_not_all_of_them(declare):
    file = declare("zip: [{batch: [1, 1, 2], tlp: [2, 4, 2]}]")
    assert points(file) == [{"batch": 1, "tlp": 2}, {"batch": 1, "tlp": 4}, {"batch": 2, "tlp": 2}]
    with pytest.raises(InputError, match=r"zip\[0\].batch\[2\]: its values are together in this group already"):
        declare("zip: [{batch: [1, 2, 1], tlp: [2, 4, 2]}]")
