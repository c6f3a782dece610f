"""REPA's claim on PAPI: behind AttAcc where batches are large."""

from papisim.paper.claims import Verdict
from papisim.paper.figure import load_paper
from papisim.paper.reproduce import reproduce
from papisim.paper.runner import Lab

PAPER = load_paper("operators")


def test_papi_falls_behind_attacc_at_the_largest_batch_and_leads_at_small_ones():
    (each,) = reproduce(Lab(PAPER.choices, processes=1), PAPER.only(["repa"]), {})
    rows = dict(zip(each.study.published.claims, each.rows, strict=True))
    for name in ("7b", "13b"):
        assert rows[f"{name}_behind"].verdict is Verdict.DIRECTION_HOLDS
        assert rows[f"{name}_attention"].simulated > 1
        ratios = {
            (row["batch"], row["input_tokens"]): row["papi_over_attacc"] for row in each.table if row["model"] == name
        }
        assert ratios[16, 64] > 1 > ratios[128, 64]
        assert rows[f"{name}_falls"].simulated == ratios[128, 64] / ratios[128, 3840]
