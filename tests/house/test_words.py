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


#: what an engineer of the field would not write, and what stands for it
AVOIDED = {
    r"whoever|somebody|nobody|everybody|everyone|anyone|anybody|someone": "name the subject: requests, devices, users",
    r"giv(?:e|es|en|ing) way": "preempt, be preempted",
    r"(?:those|requests?|devices?|processes) who": "requests that",
    r"so many|as many as|what all else": "a count, up to",
    r"(?:told|tell|tells) apart": "distinguish",
    r"stands? in": "is in",
    r"(?:Return|Yield) (?:what|how|who)": "Return the NOUN in UNITS",
    r"held against": "validated against, compared with",
    r"(?:rows?|tokens?|requests?|bytes?|FLOP|energy|joules|rounds?|steps?) an? "
    r"(?:request|step|row|token|iteration|bank|head|device|byte|second|layer|group|position|point|stack)": "per",
}
ANY_AVOIDED = re.compile(rf"\b(?:{'|'.join(AVOIDED)})\b")


def avoided():
    """Yield every place where a word to avoid is written: pages, code, messages and shipped files."""
    patterns = (
        ("docs", "*.md"),
        ("papisim", "*.py"),
        ("hwconfigs", "*.yaml"),
        ("traces", "*.yaml"),
        ("scripts", "*"),
    )
    files = [path for folder, pattern in patterns for path in sorted((TOP / folder).rglob(pattern)) if path.is_file()]
    for path in [*TOP.glob("*.md"), *files]:
        if "_build" in path.parts or "__pycache__" in path.parts:
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            for match in ANY_AVOIDED.finditer(line):
                yield f"{path.relative_to(TOP)}:{number}: {match[0]}"


@pytest.mark.parametrize(
    "text",
    ["rows a request", "Return how long it takes", "Yield who computes", "whoever came last gives way", "stand in"],
)
def test_words_to_avoid_are_found(text):
    assert ANY_AVOIDED.search(text)


def test_the_words_are_those_of_the_field():
    assert list(avoided()) == []
