"""A file that extends another says only what differs; the rest, and its sources, are the other file's."""

import pytest

from papisim.config.citations import stale_citations
from papisim.config.engine import load_engine
from papisim.config.experiment import load_experiment, options_of
from papisim.config.sections import load_section
from papisim.config.sources import EXTENDS
from papisim.config.system import DEVICE_SCHEMA, load_part, load_system
from papisim.errors import InputError, InputErrors
from papisim.results.store import origin

MINE = """\
schema: papisim/device/1
extends: fc_pim
organisation: {bank_groups: 2}
fpu:
  fpus: 2
  clock_hz: 1 GHz
sources:
  organisation: {choice: "two bank groups"}
  fpu: {assumed: "a design of one's own"}
"""


@pytest.fixture
def write(tmp_path):
    def written(text, name="mine.yaml"):
        (tmp_path / name).write_text(text)
        return str(tmp_path / name)

    return written


def leaves(value, path=()):
    if isinstance(value, dict):
        return {leaf: each for name, inner in value.items() for leaf, each in leaves(inner, (*path, name)).items()}
    return {".".join(map(str, path)): value}


def test_only_what_a_file_says_differs_and_the_capacity_follows(write):
    mine, shipped = (leaves(load_part(name).part.model_dump()) for name in (write(MINE), "fc_pim"))
    different = {name: mine[name] for name in mine if mine[name] != shipped[name]}
    assert different.pop("description") == "fc_pim with other organisation, fpu"
    assert different == {
        "organisation.bank_groups": 2,
        "fpu.fpus": 2,
        "fpu.clock_hz": 1e9,
        "capacity_bytes": 8 * 2**30,
        "static_w": pytest.approx(shipped["static_w"] * 2 / 3),  # of the capacity, by the energy table
    }


def test_a_number_has_the_source_of_the_file_that_says_it(write):
    sources = load_part(write(MINE)).sources
    assert [source.note for source in sources if source.origin == EXTENDS] == ["fc_pim"]
    assert {(source.path, source.origin) for source in sources if source.file.endswith("mine.yaml")} == {
        ("extends", EXTENDS),
        ("organisation", "choice"),
        ("fpu", "assumed"),
    }
    theirs = {source.path for source in sources if source.file.endswith("fc_pim.yaml")}
    assert "organisation.bank_groups" not in theirs
    assert "fpu.fpus" not in theirs
    assert {"organisation", "fpu.lanes", "logic"} <= theirs


def test_a_difference_needs_a_source_of_its_own(write):
    path = write(MINE.replace('  fpu: {assumed: "a design of one\'s own"}\n', ""))
    with pytest.raises(InputErrors) as caught:
        load_part(path)
    assert [(error.place.line, error.place.field) for error in caught.value.errors] == [
        (5, "fpu.fpus"),
        (6, "fpu.clock_hz"),
    ]


def test_the_citation_of_the_extended_file_for_another_value_is_told(write):
    path = write(
        MINE.replace(
            '{assumed: "a design of one\'s own"}', '{assumed: mine}\n  fpu.fpus: {papi2025: "Section 6.2: 4P1B"}'
        )
    )
    (told,) = stale_citations(path, DEVICE_SCHEMA)
    assert "fpu.fpus: found 2 with the citation that fc_pim has for 4" in told
    assert not list(stale_citations(write(MINE, "right.yaml"), DEVICE_SCHEMA))


def test_errors_are_at_the_line_of_the_file_that_says_what_is_wrong(write):
    path = write(MINE.replace("sources:", "capacity_bytes: 12 GiB\nsources:\n  capacity_bytes: {choice: mine}"))
    with pytest.raises(InputError, match=r"found 12 GiB, expected .* = 512 × 16 MiB = 8 GiB") as caught:
        load_part(path)
    assert (caught.value.place.file, caught.value.place.line, caught.value.place.field) == (path, 7, "capacity_bytes")
    with pytest.raises(InputError, match="did you mean 'fpus'") as caught:
        load_part(write(MINE.replace("fpus: 2", "fpuss: 2")))
    assert caught.value.place.line == 5


def test_a_chain_of_files_in_several_folders(write, tmp_path):
    write(MINE, "mine.yaml")
    (tmp_path / "deeper").mkdir()
    path = write(
        'schema: papisim/device/1\nextends: ../mine.yaml\nfpu: {fpus: 1}\nsources: {fpu: {choice: "fewer"}}',
        "deeper/one.yaml",
    )
    device = load_part(path, ["fpu.lanes=8"])
    assert (device.part.fpu.fpus, device.part.fpu.lanes, device.part.fpu.clock_hz) == (1, 8, 1e9)
    assert device.part.capacity_bytes == 8 * 2**30
    assert [source.note for source in device.sources if source.origin == EXTENDS] == ["mine", "fc_pim"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("fc_pimm", "did you mean 'fc_pim'"),
        ("nowhere.yaml", "there is no such file"),
        ("mine.yaml", "extends itself: mine.yaml → mine.yaml"),
        ("3", "found 3, expected a shipped name"),
        ("papi", "no device 'papi'"),
    ],
)
def test_what_cannot_be_extended_is_refused_at_its_place(name, message, write):
    with pytest.raises(InputError, match=message) as caught:
        load_part(write(f"schema: papisim/device/1\nextends: {name}\nsources: {{}}\n"))
    assert (caught.value.place.line, caught.value.place.field) == (2, "extends")


def test_a_longer_cycle_names_every_file(write):
    text = "schema: papisim/device/1\nextends: {}\nsources: {{}}\n"
    write(text.format("b.yaml"), "a.yaml")
    write(text.format("a.yaml"), "b.yaml")
    with pytest.raises(InputError, match=r"a\.yaml → b\.yaml → a\.yaml"):
        load_part(write(text.format("a.yaml"), "c.yaml"))


def test_another_kind_is_refused_and_a_part_of_another_kind_replaces_the_inherited_one(write):
    with pytest.raises(InputError, match="found 'pim', expected 'gpu', the kind of a100"):
        load_part(write("schema: papisim/device/1\nextends: a100\nkind: pim\nsources: {}\n"))
    text = "schema: papisim/system/1\nextends: papi\nplacement: {kind: pinned, device: gpu}\nsources: {}\n"
    assert load_system(write(text)).placement.model_dump() == {"kind": "pinned", "device": "gpu"}


def test_null_removes_an_inherited_field(write):
    assert load_part("fc_pim").part.area is not None
    assert load_part(write("schema: papisim/device/1\nextends: fc_pim\narea: null\nsources: {}\n")).part.area is None


def test_systems_find_parts_beside_them_and_results_record_the_chain(write):
    write(MINE)
    path = write(
        "schema: papisim/system/1\nextends: papi\ndevices: {fc_pim: {part: mine.yaml, count: 20}}\n"
        "sources: {devices.fc_pim.count: {choice: fewer}}\n",
        "machine.yaml",
    )
    options = options_of(hw=path, trace="llama7b", batch=2, set=["devices.attn_pim.count=30"])
    recorded = origin(load_experiment(options))
    devices = recorded["experiment"]["system"]["devices"]
    assert {name: group["count"] for name, group in devices.items()} == {"gpu": 6, "fc_pim": 20, "attn_pim": 30}
    assert devices["fc_pim"]["part"]["fpu"]["clock_hz"] == 1e9
    chain = [(each["file"], each["note"]) for each in recorded["sources"] if each["origin"] == EXTENDS]
    assert chain == [("machine.yaml", "papi"), ("mine.yaml", "fc_pim")]


def test_an_alias_is_extended_as_the_system_that_it_names(write):
    path = write("schema: papisim/system/1\nextends: pim_only\nsources: {}\n")
    assert load_system(path).spec.devices == load_system("attacc_only").spec.devices


def test_policies_and_engines_extend_too(write):
    engine = load_engine(write("schema: papisim/engine/1\nextends: none\ndescription: mine\nsources: {}\n")).spec
    assert engine.adds_nothing
    text = "schema: papisim/speculation/1\nextends: dsde\nsources: {}\n"
    assert load_section("speculation", write(text)).options == load_section("speculation", "dsde").options
