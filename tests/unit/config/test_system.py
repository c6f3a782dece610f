import json

import pytest

from papisim import catalog
from papisim.catalog import Shelf
from papisim.config.system import load_part, load_system
from papisim.errors import InputError, InputErrors, PapisimError
from papisim.kinds.families import family

SYSTEMS = sorted(catalog.shipped(Shelf.SYSTEM))


@pytest.fixture
def mine(tmp_path):
    """Return a function that writes the shipped gpu_only with some text replaced, and returns its path."""

    def write(*changes, name="mine.yaml"):
        text = catalog.shipped(Shelf.SYSTEM)["gpu_only"].read_text(encoding="utf-8")
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / name
        path.write_text(text)
        return str(path)

    return write


def refusal(*args, **options):
    with pytest.raises(PapisimError) as error:
        load_system(*args, **options)
    return str(error.value)


@pytest.mark.parametrize("name", SYSTEMS)
def test_every_shipped_system_loads_and_resolves_to_plain_values(name):
    system = load_system(name)
    tree = json.loads(json.dumps(system.resolved()))
    assert set(tree["devices"]) | set(tree["links"]) == set(system.parts)
    assert tree["placement"]["kind"] == system.placement.kind
    for section, kinds in (("devices", family("device").own()), ("links", family("link").own())):
        for group in tree[section].values():
            assert group["count"] >= 1
            assert group["part"]["kind"] in kinds


@pytest.mark.parametrize("name", SYSTEMS)
def test_ninety_memory_devices_at_most_as_in_the_paper(name):
    """GPU-only and the PIM-less baselines have five HBM stacks on each GPU; where a GPU's own stacks compute, they are devices."""
    system = load_system(name)
    stacks = {"gpu": 5 if system.spec.roles.weights == "gpu" else 0, "npu": 0}
    held = sum(group.count * stacks.get(device, 1) for device, group in system.spec.devices.items())
    others = {
        "gpu_only": 30,
        "a100_single": 5,
        "h100_single": 5,
        "h200_single": 5,
        "h200x8_ep": 40,
        "h100x16_ep": 80,
        "gb200x64_ep": 320,
        "h200_hbmpim": 48,
        "h100_hbmpim": 40,
        "saddle": 40,
        "saddle_recapture": 40,
        "neupims": 8,
        "h100_tiers": 5,
        "cent": 32,
        "cxl_pnm_x8": 8,
        "duplex": 20,
        "mi100_hbmpim": 4,
        "npu_lpddr5x_pim": 1,
        "tokenstack": 13,
    }
    assert held == others.get(name, 90)


def test_an_alias_is_the_system_it_names_and_says_so():
    alias, real = load_system("pim_only"), load_system("attacc_only")
    assert alias.name == "attacc_only"
    assert alias.resolved() == real.resolved()
    assert alias.notes == ("pim_only is another name for attacc_only",)
    assert load_system("pim_only", ["devices.fc_pim.count=7"]).spec.devices["fc_pim"].count == 7


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("gpu_onyl", "a.yaml:1:11: alias_of: no hardware 'gpu_onyl'.*did you mean 'gpu_only'"),
        ("a.yaml", "a.yaml:1:11: alias_of: 'a.yaml' is itself another name"),
        ("pim_only", "alias_of: 'pim_only' is itself another name"),
        ("./b.yaml", "a.yaml:1:11: alias_of: b.yaml:1:1: found 'text', expected a mapping"),
    ],
)
def test_an_alias_of_nothing_or_of_an_alias_is_refused(tmp_path, monkeypatch, target, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "b.yaml").write_text("text\n")
    (tmp_path / "a.yaml").write_text(f"alias_of: {target}\nschema: papisim/system/1\n")
    with pytest.raises(InputError, match=said):
        load_system("a.yaml")


def test_a_field_of_a_part_is_overridden_by_name_and_the_file_keeps_its_own():
    changed = load_system(
        "gpu_only", ["devices.gpu.part.static_w=75 W", "links.nvlink.part.collective.latency_s=9 us"]
    )
    assert changed.parts["gpu"].static_w == 75
    assert changed.parts["nvlink"].collective.latency_s == pytest.approx(9e-6)
    assert load_system("gpu_only").parts["gpu"].static_w != 75


def test_a_part_is_overridden_by_another_and_then_by_field_whatever_the_order():
    overrides = ["devices.gpu.part.static_w=75", "devices.gpu.part=a100", "devices.gpu.count=8"]
    for given in (overrides, overrides[::-1]):
        system = load_system("gpu_only", given)
        assert system.parts["gpu"].memory_bandwidth_bytes_per_s == load_part("a100").part.memory_bandwidth_bytes_per_s
        assert system.parts["gpu"].static_w == 75
        assert system.spec.devices["gpu"].count == 8
    assert any(source.file.endswith("/a100.yaml") for source in system.sources)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("devices.gpu.part=a10", "devices.gpu.part: no device 'a10'.*did you mean 'a100'"),
        ("devices.gpu.part=5", "devices.gpu.part: expected the name of a part, or its fields"),
        ("devices.gpu.part.kind=gpuu", "kind: unknown device kind 'gpuu'; did you mean 'gpu'"),
        ("devices.gpu.part=nvlink3", "devices.gpu.part: a link cannot be used in 'devices'"),
        ("links.nvlink.part=a100", "links.nvlink.part: a gpu cannot be used in 'links'"),
        ("devices.gpu.count=0", "devices.gpu.count: found 0, expected greater than or equal to 1"),
        ("roles.attention=gpuu", "roles.attention: no device 'gpuu' in this system; did you mean 'gpu'"),
        ("roles.prefill.fc=nvlink", "roles.prefill.fc: no device 'nvlink'"),
        ("roles.fc[0]=x", r"roles.fc\[0\]: no device 'x'"),
        ("roles.fc=[]", "roles.fc: is empty"),
        ("roles.weights=x", "roles.weights: no device 'x'"),
        ("roles.kv=x", "roles.kv: no device 'x'"),
        ("roles.tensor_parallel.link=nvlnik", "no link 'nvlnik' in this system; did you mean 'nvlink'"),
        ("roles.attention_link=gpu", "roles.attention_link: no link 'gpu'"),
        ("placement.device=gpuu", "'gpuu' runs no FC kernels in this system; did you mean 'gpu'"),
        ("placement.kind=pined", "placement.kind: unknown placement policy 'pined'; did you mean 'pinned'"),
        ("placement={device: gpu}", "placement: field 'kind' is missing"),
        ("device=5", "device: unknown field; did you mean 'devices'"),
    ],
)
def test_an_impossible_override_is_refused_at_the_option(override, said):
    with pytest.raises(InputError, match=said) as error:
        load_system("gpu_only", [override])
    assert str(error.value).startswith(f"--set {override}")


def test_a_file_that_is_no_part_is_told_where_it_is_named(tmp_path):
    (tmp_path / "notes.txt").write_text("a: 1", encoding="utf-8")
    with pytest.raises(InputError, match=r"^--set .*: devices.gpu.part: .*notes.txt.*: field 'schema' is missing"):
        load_system("gpu_only", [f"devices.gpu.part={tmp_path}/notes.txt"])


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("attention: gpu\n  elementwise", "attention: gqu\n  elementwise", ":9:14: roles.attention: no device 'gqu'"),
        ("  kv: gpu", "  kv: gpu\n  kvv: gpu", ":14:3: roles.kvv: unknown field; did you mean 'kv'?"),
        ("  nvlink: {part", "  gpu: {part", ":6:3: links.gpu: is also the name of a device; names must differ"),
        ("part: a100_hbm3", "part: a100_hmb3", ":4:15: devices.gpu.part: no device 'a100_hmb3'"),
        (
            "papisim/system/1",
            "papisim/device/1",
            ":1:9: schema: found 'papisim/device/1', expected 'papisim/system/1'",
        ),
        ("schema: papisim/system/1\n", "", "field 'schema' is missing, expected schema: papisim/system/1"),
    ],
)
def test_a_wrong_file_is_refused_with_line_and_column(mine, old, new, said):
    assert said in refusal(mine((old, new)))


def test_all_unknown_devices_are_told_at_once(mine):
    path = mine(("prefill: {fc: gpu, attention: gpu}", "prefill: {fc: x, attention: y}"), ("kv: gpu", "kv: z"))
    with pytest.raises(InputErrors) as error:
        load_system(path)
    fields = [problem.place.field for problem in error.value.errors]
    assert fields == ["roles.prefill.fc", "roles.prefill.attention", "roles.kv"]


def test_problems_in_two_parts_are_told_at_once_each_in_its_own_file():
    message = refusal("gpu_only", ["devices.gpu.part.static_w=-1", "links.nvlink.part.latency_s=1 GB"])
    assert "static_w: found -1.0" in message
    assert "latency_s: found '1 GB'" in message


@pytest.mark.parametrize(
    ("name", "option", "kind", "device"),
    [
        ("gpu_only", "pinned:gpu", "pinned", "gpu"),
        ("gpu_only", "pinned", "pinned", "gpu"),
        ("gpu_only", "cheapest", "cheapest", None),
        ("papi", "pinned:fc_pim", "pinned", "fc_pim"),
        ("papi", "cheapest", "cheapest", None),
    ],
)
def test_the_placement_option_replaces_the_files_policy(name, option, kind, device):
    placement = load_system(name, placement=option).placement
    assert (placement.kind, getattr(placement, "device", None)) == (kind, device)


def test_the_placement_option_keeps_the_files_options_of_the_same_kind():
    assert load_system("papi", placement="papi").placement == load_system("papi").placement


@pytest.mark.parametrize(
    ("name", "option", "said"),
    [
        ("gpu_only", "pinned:fc_pim", "placement.device: 'fc_pim' runs no FC kernels in this system"),
        ("papi", "pinned:attn_pim", "placement.device: 'attn_pim' runs no FC kernels in this system"),
        ("papi", "pinned", "field 'device' is missing"),
        ("papi", "cheapest:gpu", "device: unknown field"),
        ("papi", "gpu", "--placement gpu: names a device, expected a policy; did you mean 'pinned:gpu'?"),
        ("papi", "papy", "placement.kind: unknown placement policy 'papy'; did you mean 'papi'?"),
        ("gpu_only", "papi", "field 'processing_unit' is missing"),
    ],
)
def test_a_wrong_placement_option_is_refused_at_the_option(name, option, said):
    message = refusal(name, placement=option)
    assert said in message
    assert all(line.startswith(f"--placement {option}: ") for line in message.splitlines())


@pytest.mark.parametrize("name", sorted(catalog.shipped(Shelf.DEVICE)))
def test_every_shipped_part_loads_by_itself(name):
    device = load_part(name)
    assert device.name == name
    assert device.sources


def test_a_part_takes_overrides_and_refuses_other_kinds_of_files():
    assert load_part("a100", ["static_w=5 W"]).part.static_w == 5
    with pytest.raises(InputError, match="--set static=5: static: unknown field; did you mean 'static_w'"):
        load_part("a100", ["static=5"])
    with pytest.raises(InputError, match="found 'papisim/system/1', expected 'papisim/device/1'"):
        load_part(str(catalog.shipped(Shelf.SYSTEM)["gpu_only"]))


def test_a_part_of_the_plan_that_the_file_leaves_out_can_be_set_and_keeps_its_other_defaults():
    parallel = load_system("gpu_only", ["parallel.dispatch.bits=8"]).spec.parallel
    assert (parallel.dispatch.bits, parallel.dispatch.group, parallel.combine.bits) == (8, 128, 16)


def test_sources_of_an_energy_band_that_is_not_in_use_are_not_cited():
    def cited(*overrides):
        return {each.path.partition(".")[0] for each in load_system("papi", overrides).sources}

    assert not cited() & {"low", "high"}
    assert cited("devices.fc_pim.part.energy.band=high") & {"low", "high"} == {"high"}
