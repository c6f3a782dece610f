"""The shipped evidence: quantiles ascend, and the nearest row of a class is found."""

import pytest

from papisim.uncertainty.evidence import INSIDE, OTHER_BOARD, Assumed, evidence, regime_of

H200 = "NVIDIA H200-SXM-141GB with HBM3E"


def test_quantiles_ascend_and_hold_the_model_or_say_that_it_is_biased():
    for row in evidence().measured:
        assert sorted(row.group) == row.group, row
        assert row.kernels >= row.groups > 0, row
        assert row.tables, row


def test_a_fit_is_surer_inside_than_on_another_board():
    for library, family in (("cublas_vllm", "linear"), ("flash_attn", "attention")):
        inside, outside = (
            evidence().measured_of(H200, family, library, "memory", where) for where in (INSIDE, OTHER_BOARD)
        )
        assert inside.group[2] / inside.group[0] < outside.group[2] / outside.group[0]


def test_another_library_or_place_is_no_evidence_but_another_regime_and_part_are():
    known = evidence().measured_of(H200, "linear", "cublas13", "memory", INSIDE)
    assert (known.part, known.regime) == (H200, "memory")
    assert evidence().measured_of("a part of one's own", "linear", "cublas13", "compute", INSIDE).regime == "compute"
    assert evidence().measured_of(H200, "linear", "another", "memory", INSIDE) is None


def test_regimes_follow_the_balance_of_the_peaks():
    assert [regime_of("linear", rows, 100) for rows in (1, 49, 100, 201)] == [
        "memory", "memory", "transition", "compute",
    ]  # fmt: skip
    assert [regime_of("small", rows, 100) for rows in (256, 257)] == ["few rows", "many rows"]
    assert regime_of("attention", 10_000, 100) == "all"


def test_assumed_ranges_ascend():
    assert evidence().assumed_of("messages of a kind that is not listed", "messages").range[0] < 1
    with pytest.raises(ValueError, match="do not ascend"):
        Assumed(what="x", range=[1.0, 0.9, 1.1], source="y")
