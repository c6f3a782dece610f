"""No draft is verified or counted beyond a request's end: a round emits one token more than it accepts, whatever the length."""

from itertools import product
from typing import ClassVar

import pytest

from papisim.config.sections import load_section
from papisim.kinds import Example
from papisim.policies.speculation.base import SPECULATION, Draft, SpeculationOptions, SpeculationView, Stateless
from papisim.results.metrics import summarise

ALWAYS = ["speculation={kind: fixed, tlp: 8}"]
HALF = [*ALWAYS, "acceptance={kind: geometric, alpha: 0.5}"]
HOW = [{"fast_forward": on, "metrics": metrics} for on, metrics in product((True, False), ("exact", "streaming"))]


def rounds(summary):
    return {
        key: summary["speculation_yield"][f"{key}_tokens_per_round"] for key in ("drafted", "accepted", "emitted")
    }


@pytest.mark.parametrize("how", HOW)
def test_ten_tokens_take_two_rounds_of_seven_drafts_and_none(serve, how):
    """The prompt yields the first token, eight in flight the next eight, and the last token needs no draft."""
    summary = summarise(serve([(0.0, 50, 10)], set=ALWAYS, **how))
    assert rounds(summary) == {"drafted": 3.5, "accepted": 3.5, "emitted": 4.5}
    assert summary["speculation_yield"]["acceptance_ratio"] == 1.0
    assert summary["n_iterations"] == 2


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("options", [ALWAYS, HALF, [*HALF, "verification.padding=true"]])
def test_a_round_emits_one_more_than_it_accepts(serve, options, how):
    requests = [(0.001 * n, 20 + n, 1 + n) for n in range(24)]
    found = rounds(summarise(serve(requests, set=options, **how)))
    assert found["emitted"] == pytest.approx(1 + found["accepted"], rel=1e-12)
    assert found["accepted"] <= found["drafted"] < 7


def test_what_is_run_at_once_is_what_is_run_step_by_step(serve):
    requests = [(0.0, 20 + n, 5 + 3 * n) for n in range(6)]
    fast, slow = (summarise(serve(requests, set=ALWAYS, fast_forward=on)) for on in (True, False))
    for key in ("makespan_s", "energy_j", "peak_kv_bytes", "tpot_mean_s"):
        assert fast[key] == pytest.approx(slow[key], rel=1e-9), key
    assert rounds(fast) == rounds(slow)


@pytest.mark.parametrize("kind", ["sub_batches", "prompts"])
def test_overlapped_iterations_count_no_further(serve, kind):
    requests = [(0.0, 20 + n, 5 + 3 * n) for n in range(6)]
    plain, together = (
        rounds(summarise(serve(requests, "a100_attacc", set=[*ALWAYS, *more])))
        for more in ([], [f"overlap.kind={kind}"])
    )
    assert together == plain


def test_the_last_iteration_verifies_a_single_row(serve):
    steps = serve([(0.0, 50, 10)], set=ALWAYS).ledger.steps
    assert [(step.rows, step.drafted, step.tokens) for step in steps if step.kind == "decode"] == [
        (8, 7, 8),
        (1, 0, 1),
    ]


class Curious(Stateless):
    """Drafts three tokens, and notes what it is told."""

    class Options(SpeculationOptions):
        """Nothing to choose."""

    EXAMPLE = Example()
    seen: ClassVar[list[tuple[int, ...]]] = []

    def __init__(self, options: Options) -> None:
        del options

    def plan(self, view: SpeculationView) -> list[Draft]:
        self.seen.append(view.tokens_left)
        return [Draft(3)] * view.rlp


def test_a_policy_sees_the_tokens_left(serve):
    Curious.seen.clear()
    serve([(0.0, 50, 10)], speculation=Curious, acceptance="always", draft="free")
    assert Curious.seen == [(9,), (5,), (1,)]


def test_the_released_code_of_dsde_limits_lengths_to_the_tokens_left():
    """The paper does not say so; a request of two tokens drafts two, and its verification no more than one."""
    plans = {}
    for name in ("dsde", "dsde_code"):
        options = load_section("speculation", name).options
        view = SpeculationView(0, (0, 1), lambda drafts: 0.0, tokens_left=(100, 2))
        plans[name] = [draft.length for draft in SPECULATION.build(options).plan(view)]
    assert plans["dsde_code"] == [plans["dsde_code"][0], 2]
    assert plans["dsde"][0] == plans["dsde"][1] > 2
