"""The words of the project are those of its field, and the page of terms speaks of what exists."""

import re
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
TERMS = (TOP / "docs" / "terms.md").read_text(encoding="utf-8")
SOURCE = "\n".join(
    path.read_text(encoding="utf-8")
    for folder, pattern in (("papisim", "*.py"), ("hwconfigs", "*.yaml"), ("traces", "*.yaml"))
    for path in sorted((TOP / folder).rglob(pattern))
)
WORDS = set(re.findall(r"\w+", SOURCE))


def rows():
    """Yield the cells of every row of the tables of terms."""
    for line in TERMS.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and not line.startswith("|---") and cells[0] not in ("term", "verb"):
            yield cells


@pytest.mark.parametrize("term", sorted(set(re.findall(r"`([^`]+)`", TERMS))))
def test_terms_in_code_font_exist(term):
    if "/" in term:
        assert (TOP / term).exists()
    elif term.startswith("--"):
        assert f'"{term}"' in SOURCE or term.removeprefix("--").replace("-", "_") in WORDS
    else:
        assert term in WORDS, f"nothing in the code or its files is called {term}"


def test_each_term_is_explained_once():
    names = [name.strip() for cells in rows() for name in re.split("[,;]", re.sub(r",? `[^`]*`", "", cells[0]))]
    assert len(names) > 60
    assert sorted({name for name in names if names.count(name) > 1}) == []


def test_each_term_has_a_meaning():
    assert [cells[0] for cells in rows() if len(cells) != 3 or not cells[1]] == []
