"""A sentence on a reproduction: verdicts are counted, and the farthest number is named."""

from papisim.report.meaning_of_claims import meaning_of_claims


def claim(name, claimed, simulated, verdict):
    rest = {"relative_error": None, "reason": "", "reliability": "stated", "source": ""}
    return {"system": "fig", "claim": name, "claimed": claimed, "simulated": simulated, "verdict": verdict, **rest}


def test_verdicts_are_counted_and_the_farthest_number_is_named():
    rows = [
        claim("a", 2.0, 2.1, "in range"), claim("b", 2.0, 0.9, "off"), claim("c", 2.0, 4.0, "direction holds"),
        claim("d", "above 1", 9.0, "in range"), claim("e", 2.0, None, "not testable"),
    ]  # fmt: skip
    assert meaning_of_claims(rows) == [
        "Of 5 values of the literature: 2 in range, 1 direction holds, 1 off, 1 not testable.",
        "Farthest from its number is fig, b: published 2, simulated 0.9.",
    ]
    assert meaning_of_claims([]) == []
