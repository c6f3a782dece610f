"""A verdict follows from the claim and the simulated value alone."""

import pytest

from papisim.errors import NotModelled
from papisim.paper.reproduce import check_subject, systems
from papisim.paper.study import load_studies
from papisim.paper.verdict import Claim, Verdict, judge


def claim(claimed: float | str, **fields: object) -> Claim:
    return Claim(what="x", claimed=claimed, reliability="code", source="here", **fields)


@pytest.mark.parametrize(
    ("simulated", "verdict"),
    [
        (2.0, Verdict.IN_RANGE),
        (2.19, Verdict.IN_RANGE),
        (2.21, Verdict.DIRECTION_HOLDS),
        (1.01, Verdict.DIRECTION_HOLDS),
        (1.0, Verdict.OFF),
        (0.9, Verdict.OFF),
        (None, Verdict.NOT_TESTABLE),
    ],
)
def test_a_speed_up_of_two(simulated: float | None, verdict: Verdict):
    assert judge(claim(2.0, tolerance_ratio=0.1, neutral=1), simulated)[1] is verdict


def test_a_figure_without_direction_is_in_range_or_off():
    assert judge(claim(4.0), 4.3) == (pytest.approx(0.075), Verdict.IN_RANGE)
    assert judge(claim(4.0), 5.0) == (0.25, Verdict.OFF)


def test_a_trend_has_no_error():
    assert judge(claim("falls"), 0.5) == (None, Verdict.DIRECTION_HOLDS)
    assert judge(claim("falls"), 1.0) == (None, Verdict.OFF)
    assert judge(claim("rises"), 1.1) == (None, Verdict.DIRECTION_HOLDS)
    assert judge(claim("rises"), 1.001) == (None, Verdict.OFF), "no change to speak of"


def test_every_published_system_has_a_module_and_every_module_is_published():
    assert set(load_studies("speculation")) == set(systems("speculation"))


def test_what_is_not_reproduced_is_said_with_what_is():
    with pytest.raises(NotModelled, match="speculation"):
        check_subject("figure8")
