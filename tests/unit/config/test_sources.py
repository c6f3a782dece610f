from functools import partial

import pytest

from papisim import catalog
from papisim.catalog import Shelf
from papisim.config.sections import SECTIONS, load_section
from papisim.config.sources import EXTENDS, ORIGINS, bibliography, take_sources
from papisim.config.system import load_part, load_system
from papisim.config.yaml import load_yaml, parse_path, parse_yaml
from papisim.errors import InputError
from papisim.kinds.families import family

NUMBERS = "clock_hz: 666 MHz\nbanks: {n: 4, wide: true, name: x}\n"


def check(text, **options):
    sources, errors = take_sources(parse_yaml(text, "f.yaml"), **options)
    return sources, [str(error) for error in errors]


def test_a_source_covers_its_field_and_all_below_and_is_taken_out():
    document = parse_yaml(
        NUMBERS + "sources: {clock_hz: {papi2025: Section 7.1}, banks: {assumed: a guess}}", "f.yaml"
    )
    sources, errors = take_sources(document)
    assert errors == []
    assert [(s.path, s.origin, s.note) for s in sources] == [
        ("clock_hz", "papi2025", "Section 7.1"),
        ("banks", "assumed", "a guess"),
    ]
    assert [s.is_assumption for s in sources] == [False, True]
    assert "sources" not in document.data


def of(sources, path):
    return [(source.origin, source.note) for source in sources if source.path == path]


def test_an_overridden_number_of_a_part_loses_its_citation():
    shipped, changed = load_part("fc_pim"), load_part("fc_pim", ["fpu.fpus=2"])
    assert of(shipped.sources, "fpu.fpus") == [("papi2025", "Section 6.2: 4P1B")]
    assert of(changed.sources, "fpu.fpus") == [("override", "fpu.fpus=2")]
    others = [source for source in shipped.sources if source.path != "fpu.fpus"]
    assert [source for source in changed.sources if source.path != "fpu.fpus"] == others


def test_an_overridden_number_of_a_system_loses_its_citation_in_that_part_alone():
    override = "devices.fc_pim.part.fpu.fpus=2"
    shipped, changed = load_system("papi"), load_system("papi", [override])
    lost = [source for source in shipped.sources if source not in changed.sources]
    assert [(source.path, source.note) for source in lost] == [("fpu.fpus", "Section 6.2: 4P1B")]
    new = [source for source in changed.sources if source not in shipped.sources]
    assert [(source.path, source.origin, source.note) for source in new] == [("fpu.fpus", "override", override)]


def test_an_override_above_a_source_takes_away_all_citations_below():
    changed = load_part("nvlink3", ["collective={latency_s: 1 us, efficiency_ratio: 0.5}"])
    below = {source.origin for source in changed.sources if source.path.startswith("collective")}
    assert below == {"override"}


def test_no_file_may_call_its_own_number_overridden():
    assert "override" not in ORIGINS


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        ("", ["f.yaml:1:1: field 'sources' is missing: every number needs one"]),
        ("sources: 5", ["f.yaml:3:10: sources: found no mapping, expected one from field paths to sources"]),
        ("sources: {banks: {assumed: x}}", ["f.yaml:1:1: clock_hz: has no entry in 'sources'"]),
        ("sources: {clock_hz: {assumed: x}}", ["f.yaml:2:9: banks.n: has no entry in 'sources'"]),
        (
            "sources: {clock_hz: {assumed: x}, banks: {assumed: x}, banks.wide: {assumed: x}}",
            ["f.yaml:3:56: sources.banks.wide: covers no number of this file"],
        ),
        (
            "sources: {clock_hz: {assumed: x}, banks: {pappi2025: x}}",
            ["f.yaml:3:43: sources.banks.pappi2025: unknown source; did you mean 'papi2025'?"],
        ),
        (
            "sources: {clock_hz: {assumed: ''}, banks: {derived: [1]}}",
            ["sources.clock_hz.assumed: found '', expected the reason", "found [1], expected the formula"],
        ),
        (
            "sources: {clock_hz: papi2025, banks: {}}",
            ["sources.clock_hz: found no mapping, expected {SOURCE", "sources.banks: found no mapping"],
        ),
    ],
)
def test_what_is_wrong_with_sources_is_told_with_its_place(declared, said):
    _, errors = check(NUMBERS + declared)
    assert len(errors) == len(said)
    for error, part in zip(errors, said, strict=True):
        assert part in error


@pytest.mark.parametrize("number", ["5", "0.5", "5 GB", "85 %", "45 ns", "3.9 pJ/b"])
def test_whatever_reads_as_a_number_needs_a_source(number):
    _, errors = check(f"x: {number}\nsources: {{}}")
    assert errors == ["f.yaml:1:1: x: has no entry in 'sources'"]


@pytest.mark.parametrize("other", ["true", "physical", "null", "a100", "5 apples"])
def test_what_is_no_number_needs_none(other):
    assert check(f"x: {other}\nsources: {{}}") == ([], [])


def test_a_number_gone_wrong_is_left_to_the_message_about_its_unit():
    sources, errors = check("x_s: 5 parsecs\nsources: {x_s: {assumed: far}}")
    assert len(sources) == 1
    assert errors == []


def test_numbers_in_ignored_fields_need_none():
    assert check("n: 5\nsources: {}", ignore=frozenset({"n"})) == ([], [])


def test_the_bibliography_names_title_author_and_year_of_each_work():
    assert bibliography()["papi2025"].title.startswith("PAPI: Exploiting Dynamic Parallelism")
    for key, work in bibliography().items():
        assert key == work.key
        assert key not in ORIGINS
        assert work.title
        assert work.author
        assert work.year.isdigit()
        assert str(work).endswith(f"({work.year})")
        assert "{" not in str(work)


def test_every_entry_of_the_bibliography_is_read():
    text = (catalog.data_folder() / "hwconfigs" / "sources.bib").read_text(encoding="utf-8")
    assert text.count("\n@") + text.startswith("@") == len(bibliography())


LOADERS = [
    *[(load_system, name) for name in catalog.shipped(Shelf.SYSTEM)],
    *[(load_part, name) for name in catalog.shipped(Shelf.DEVICE)],
    *[(partial(load_section, kind), name) for kind in SECTIONS for name in catalog.shipped(family(kind).shelf)],
]


@pytest.mark.parametrize(("load", "name"), LOADERS, ids=lambda value: value if isinstance(value, str) else None)
def test_every_shipped_file_is_covered_by_works_that_exist(load, name):
    loaded = load(name)
    sources = loaded.sources
    assert sources or not any(isinstance(value, (int, float)) for value in loaded.options.model_dump().values())
    assert {source.origin for source in sources} <= {*bibliography(), *ORIGINS, EXTENDS}


@pytest.mark.parametrize("shelf", [Shelf.SYSTEM, Shelf.DEVICE, *(family(name).shelf for name in SECTIONS)])
def test_taking_any_source_away_from_a_shipped_file_uncovers_a_number(shelf):
    for path in catalog.shipped(shelf).values():
        declared = load_yaml(path).data.get("sources", {})
        for field in declared:
            document = load_yaml(path)
            del document.data["sources"][field]
            _, errors = take_sources(document)
            covered_twice = any(
                parse_path(field)[: len(parse_path(other))] == parse_path(other) != parse_path(field)
                for other in declared
            )
            assert covered_twice or any("has no entry" in str(error) for error in errors), f"{path.name}: {field}"


def test_a_system_rests_on_its_own_sources_and_on_those_of_its_parts():
    files = {source.file.rpartition("/")[2] for source in load_system("gpu_only").sources}
    assert files == {"gpu_only.yaml", "a100_hbm3.yaml", "nvlink3.yaml"}


def test_a_system_with_an_uncovered_number_is_refused(tmp_path):
    path = tmp_path / "mine.yaml"
    text = catalog.shipped(Shelf.SYSTEM)["papi_pim_only"].read_text(encoding="utf-8")
    path.write_text("\n".join(line for line in text.splitlines() if "roles.tensor_parallel" not in line))
    with pytest.raises(
        InputError, match=r"mine.yaml:\d+:\d+: roles.tensor_parallel.ranks: has no entry in 'sources'"
    ):
        load_system(str(path))
