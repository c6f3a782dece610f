"""The sections on model accuracy and on sources and assumptions."""

from papisim.config.sources import bibliography
from papisim.report.html.accuracy import add_accuracy
from papisim.report.html.page import Listing, Section, Table
from papisim.report.html.sources import add_sources

WORK = next(iter(bibliography()))
SOURCES = [
    {"file": "a.yaml", "path": "static_w", "origin": "assumed", "note": "a guess"},
    {"file": "a.yaml", "path": "clock_hz", "origin": WORK, "note": "Table 1"},
    {"file": "a.yaml", "path": "linear.libraries.cublas", "origin": "fitted", "note": "MAPE 3 %"},
    {"file": "a.yaml", "path": "linear.libraries.roofline", "origin": "fitted", "note": "MAPE 9 %"},
    {"file": "a.yaml", "path": "launch_s", "origin": "fitted", "note": "MAPE 1 %"},
]
GPU = {"kind": "gpu", "linear": {"use": "cublas"}}


def items(section: Section, kind: type) -> dict:
    return {item.title: item for item in section.items if isinstance(item, kind)}


def test_works_assumptions_and_every_source_are_listed():
    section = Section("Sources and assumptions")
    add_sources(section, SOURCES)
    listings = items(section, Listing)
    assert listings["Works"].lines == [f"{WORK}: {bibliography()[WORK]}"]
    assert listings["Assumptions"].lines == ["a.yaml: static_w: a guess"]
    assert f"a.yaml: clock_hz: {WORK} (Table 1)" in listings["Source of every number"].lines
    assert len(listings["Source of every number"].lines) == len(SOURCES)
    origins = items(section, Table)["Origins of the numbers"].frame
    assert dict(origins.itertuples(index=False)) == {"fitted": 3, "assumed": 1, "published": 1}


def test_residuals_are_those_of_the_fits_in_use():
    section = Section("Model accuracy")
    add_accuracy(section, [{"devices": {"gpu": {"part": GPU}}}], SOURCES)
    (residuals,) = items(section, Table).values()
    assert residuals.frame["fitted quantity"].tolist() == ["linear.libraries.cublas", "launch_s"]
    assert residuals.frame["data and residual"].tolist() == ["MAPE 3 %", "MAPE 1 %"]


def test_a_machine_with_pim_has_the_published_figures_of_pim():
    section = Section("Model accuracy")
    add_accuracy(section, [{"devices": {"pim": {"part": {"kind": "pim"}}}}], [])
    table = items(section, Table)["PIM model and published figures"]
    assert "within it" in table.note
    assert set(table.frame["within its tolerance"]) <= {"yes", "no", "no tolerance"}
