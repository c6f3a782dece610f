"""A draft model whose operators move among the devices on its memory."""

import pytest

from papisim.config.experiment import RunOptions, load_experiment
from papisim.engine.run import Run, simulate
from papisim.errors import InputError
from papisim.plan.phase import Category

HALF = ["acceptance={kind: geometric, alpha: 0.5}"]


def moving(placement: str, *overrides: str) -> Run:
    """Return a run whose draft model has its home on the GPUs, and may move to FC-PIM on the same memory."""
    drafting = "drafting={kind: model, trace: llama32-1b, device: gpu, elsewhere: [fc_pim]}"
    options = RunOptions(
        hw="papi",
        trace="llama3-8b",
        batch=8,
        requests=8,
        placement=placement,
        set=[drafting, "speculation={kind: fixed, tlp: 4}", *HALF, *overrides],
    )
    return simulate(load_experiment(options))


def devices_of_drafts(run: Run) -> set[str]:
    rows = (segment.plan.phases for segment in run.ledger.segments)
    drafting = (phase.resource for phases in rows for phase in phases if phase.category is Category.DRAFT)
    return {device for device in drafting if device in run.machine.pools}


def test_a_draft_model_moves_where_its_operators_are_faster_and_papi_leaves_it_at_home():
    paper, ours, oracle = (moving(placement) for placement in ("papi", "papi_operators", "cheapest"))
    assert devices_of_drafts(paper) == {"gpu"}
    assert "fc_pim" in devices_of_drafts(ours)
    rates = [run.ledger.end_s for run in (oracle, ours, paper)]
    assert rates == sorted(rates)
    assert rates[2] > 1.2 * rates[1], "eight rows of a draft model are far below its threshold"


@pytest.mark.parametrize(
    ("elsewhere", "message"),
    [
        ("device: gpu, elsewhere: [attn_pim]", r"'attn_pim' is no other device on the memory of 'gpu', found \['fc_pim'\]"),
        ("device: gpu, elsewhere: [gpu]", "is no other device"),
        ("device: gpu, count: 1, elsewhere: [fc_pim]", "found beside 'count'"),
    ],
)  # fmt: skip
def test_a_draft_model_runs_only_where_its_memory_is_in_reach(elsewhere: str, message: str):
    with pytest.raises(InputError, match=message):
        moving("papi", f"drafting={{kind: model, trace: llama-68m, {elsewhere}}}")
