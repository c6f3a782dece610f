"""A citation stands for the value that it was written for."""

from functools import reduce
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from papisim import catalog
from papisim.catalog import Shelf
from papisim.cli import papisim
from papisim.config.citations import _WITH_SOURCES, _cited, stale_citations
from papisim.config.experiment import load_experiment, options_of
from papisim.config.system import DEVICE_SCHEMA
from papisim.config.yaml import load_yaml, parse_path
from papisim.errors import CheckFailed

FIXED = "{kind: closed_batch, n_requests: 2, lengths: {kind: fixed, input_tokens: 8, output_tokens: 2}}"


@pytest.fixture
def edited(tmp_path: Path) -> Path:
    text = catalog.find(Shelf.DEVICE, "fc_pim").path.read_text()
    assert "fpus: 4" in text
    (tmp_path / "mine.yaml").write_text(text.replace("fpus: 4", "fpus: 2"))
    return tmp_path / "mine.yaml"


def test_a_changed_number_with_the_old_citation_is_told(edited):
    (told,) = stale_citations(str(edited), DEVICE_SCHEMA)
    assert "fpu.fpus: found 2 with the citation that fc_pim has for 4 (papi2025: Section 6.2: 4P1B)" in told


def test_another_citation_or_another_way_to_write_the_value_is_right(edited, tmp_path):
    text = edited.read_text()
    (tmp_path / "own.yaml").write_text(text.replace("Section 6.2: 4P1B", "Section 9: two of them"))
    assert not list(stale_citations(str(tmp_path / "own.yaml"), DEVICE_SCHEMA))
    (tmp_path / "same.yaml").write_text(text.replace("fpus: 2", "fpus: 4.0"))
    assert not list(stale_citations(str(tmp_path / "same.yaml"), DEVICE_SCHEMA))


def twice(value):
    """Return twice a number, in the unit that it is written in; None of what is no number, or zero."""
    number, _, unit = str(value).partition(" ")
    try:
        return f"{2 * float(number):g} {unit}".strip() if float(number) else None
    except ValueError:
        return None


@pytest.mark.parametrize("shelf", _WITH_SOURCES, ids=lambda shelf: shelf.noun)
def test_a_changed_number_of_any_kind_of_file_is_told(shelf, tmp_path):
    """The first number with a citation of the first shipped file that has one is written down doubled."""
    for file in catalog.shipped(shelf).values():
        document = yaml.safe_load(file.read_text())
        cited = [place for (place, *_), _ in _cited(file, document["schema"])]
        for place in cited:
            *path, last = [int(part) if str(part).isdecimal() else part for part in parse_path(place)]
            within = reduce(lambda node, part: node[part], path, document)
            doubled = twice(within[last])
            if doubled is not None:
                within[last] = doubled
                (tmp_path / "mine.yaml").write_text(yaml.safe_dump(document, allow_unicode=True))
                told = list(stale_citations(str(tmp_path / "mine.yaml"), document["schema"]))
                assert any(f": {place}: found {within[last]} with the citation" in each for each in told), told
                return
    pytest.skip(f"no shipped {shelf.noun} has a plain number with a citation")


def test_no_shipped_file_has_a_citation_of_another_value():
    for shelf in _WITH_SOURCES:
        for file in catalog.shipped(shelf).values():
            assert not list(stale_citations(str(file), str(load_yaml(file).data["schema"])))


def test_check_warns_and_fails_if_strict(edited):
    plain = CliRunner().invoke(papisim, ["check", str(edited)])
    assert plain.exit_code == 0
    assert "warning: " in plain.stderr
    assert "fpu.fpus" in plain.stderr
    strict = CliRunner().invoke(papisim, ["check", "--strict", str(edited)])
    assert isinstance(strict.exception, CheckFailed)


def test_a_workload_replaced_as_a_whole_has_no_name_and_no_sources_of_the_file():
    base = {"hw": "gpu_only", "trace": "llama7b"}
    kept = load_experiment(options_of(**base, batch=2))
    assert kept.workload_name == "creative_writing"
    assert "dolly15k" in {source.origin for source in kept.sources}
    replaced = load_experiment(options_of(**base, set=[f"workload={FIXED}"]))
    assert replaced.workload_name == "closed_batch"
    assert "dolly15k" not in {source.origin for source in replaced.sources}
