"""Figures as text."""

import pytest

from papisim.report.figures import count


@pytest.mark.parametrize(
    ("number", "noun", "text"),
    [
        (0, "rank", "0 ranks"),
        (1, "rank", "1 rank"),
        (2000, "rank", "2,000 ranks"),
        (1, "switch", "1 switch"),
        (2, "switch", "2 switches"),
    ],
)
def test_one_thing_is_singular(number, noun, text):
    assert count(number, noun) == text
