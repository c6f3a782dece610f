"""A description is what the files and the papers' equations say; a difference is what was written, and what follows."""

import math

import pytest
from click.testing import CliRunner

from papisim.api.hardware import describe, diff
from papisim.cli import papisim
from papisim.errors import InputError

MINE = """\
schema: papisim/device/1
extends: fc_pim
organisation: {bank_groups: 2}
sources: {organisation: {choice: two bank groups}}
"""


@pytest.fixture
def mine(tmp_path):
    (tmp_path / "mine.yaml").write_text(MINE)
    return str(tmp_path / "mine.yaml")


def figures(found):
    return {each.figure: each for each in found.figures}


def test_stages_of_a_pipeline_are_all_counted(tmp_path):
    (tmp_path / "two.yaml").write_text(
        "schema: papisim/system/1\nextends: gpu_only\nroles: {pipeline: {stages: 2, link: nvlink}}\n"
        "sources: {roles.pipeline.stages: {choice: two}}\n"
    )
    whole, cut = describe("gpu_only"), describe(str(tmp_path / "two.yaml"))
    assert cut.capacity_bytes == whole.capacity_bytes
    assert (cut.parallel.stages, cut.parallel.tensor_ranks) == (2, 3)


def test_room_and_alpha_of_models():
    found = describe("papi", traces=["llama65b", "gpt3-175b"])
    tokens = {each.trace: each.kv_tokens for each in found.models}
    attn_pim = next(each for each in found.devices if each.name == "attn_pim")
    assert tokens["llama65b"] == pytest.approx(attn_pim.capacity_bytes / (2 * 80 * 8192 * 2))
    assert found.models[0].tuned["placement.alpha"] == 56
    assert found.models[0].origins["placement.alpha"] == "calibrated for this machine"
    (small,) = describe(
        "gpu_only", traces=["gpt3-175b"], overrides=["devices.gpu.count=1", "links.nvlink.count=1"]
    ).models
    assert (small.kv_capacity_bytes, small.kv_tokens) == (None, None)


def test_set_changes_fields_before_the_description():
    (half,), (whole,) = describe("fc_pim", overrides=["fpu.fpus=2"]).devices, describe("fc_pim").devices
    assert half.peak_flop_per_s == pytest.approx(whole.peak_flop_per_s / 2)


def test_a_difference_has_both_values_both_sources_and_what_follows(mine):
    found = diff("fc_pim", mine)
    changed = {each.field: each for each in found.fields}
    assert set(changed) == {"organisation.bank_groups", "capacity_bytes", "static_w"}
    groups = changed["organisation.bank_groups"]
    assert (groups.first, groups.second) == (3, 2)
    assert groups.first_source == "papi2025: Section 6.2: three of four bank groups stay"
    assert groups.second_source == "choice: two bank groups"
    assert figures(found)["capacity_bytes"].ratio == pytest.approx(2 / 3)
    assert figures(found)["bandwidth_bytes_per_s"].ratio == pytest.approx(2 / 3, rel=1e-3)


def test_the_reverse_of_a_difference_has_the_inverse_ratios(mine):
    there, back = figures(diff("fc_pim", mine)), figures(diff(mine, "fc_pim"))
    assert set(there) == set(back)
    numbers = [name for name in there if name != "units"]
    assert len(numbers) > 3
    assert all(math.isclose(there[name].ratio * back[name].ratio, 1) for name in numbers)


def test_what_one_machine_lacks_is_one_row():
    found = diff("papi", "gpu_only")
    (lacking,) = [each for each in found.fields if each.field.startswith("devices.fc_pim")]
    assert lacking.field == "devices.fc_pim"
    assert lacking.second is None
    assert not diff("papi", "papi").fields


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: describe("pappi"), "did you mean 'papi'"),
        (lambda: describe("fc_pin"), "did you mean 'fc_pim'"),
        (lambda: describe("nowhere.yaml"), "there is no such file"),
        (lambda: describe("fc_pim", traces=["llama7b"]), "is a part, which holds no model"),
        (lambda: diff("papi", "fc_pim"), "fc_pim is a part and papi a machine"),
    ],
)
def test_what_cannot_be_described_or_compared_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_the_commands_print_units_and_notes(mine):
    described = CliRunner().invoke(papisim, ["describe", "pim_only"])
    assert "another name for attacc_only" in described.stderr
    assert "GB" in described.stdout
    differences = CliRunner().invoke(papisim, ["diff", "fc_pim", mine]).stdout
    assert "12.88 GB" in differences
    assert "choice: two bank groups" in differences
