"""Hostile inputs of every kind end as every command may: status 0, 1 or 2, one message with a place, no traceback, no rest.

``PAPISIM_FUZZ_CASES``, ``PAPISIM_FUZZ_MINUTES`` and ``PAPISIM_FUZZ_SEED`` (scripts/fuzz sets them) run more of them, or others.
"""

import math
import os
import random
import time
from collections import Counter
from pathlib import Path

import fuzz_inputs
import pytest
from fuzz_inputs import KINDS
from fuzz_oracle import Case, judge

SEED = int(os.environ.get("PAPISIM_FUZZ_SEED", "0"))
CASES = int(os.environ.get("PAPISIM_FUZZ_CASES", "3600"))
MINUTES = float(os.environ.get("PAPISIM_FUZZ_MINUTES", "inf"))
#: cases that take long are fewer: a fit, a page, a kernel trace
_SHARE = {"acceptance log": 0.15, "results": 0.3, "kernel trace": 0.5, "drafting": 0.6, "batching": 0.6}
_SHARES = sum(_SHARE.get(kind, 1.0) for kind in KINDS)
_SHOWN = 12


def case_of(kind: str, number: int) -> Case:
    """Return a case, the same for the same seed, kind and number."""
    return KINDS[kind](random.Random(f"{SEED} {kind} {number}"))


def outcome(status: int | None, fault: str) -> str:
    """Return how a case counts."""
    return fault.partition(":")[0] if fault else "accepted" if status == 0 else "refused"


@pytest.mark.parametrize("kind", KINDS)
def test_hostile_inputs_end_as_every_command_may(kind, tmp_path, record_property):
    counts: Counter[str] = Counter()
    faults: dict[str, list[str]] = {}
    share = _SHARE.get(kind, 1.0) / _SHARES
    end = time.monotonic() + 60 * MINUTES / len(KINDS)
    for number in range(math.ceil(CASES * share)):
        if time.monotonic() > end:
            break
        case = case_of(kind, number)
        verdict = judge(case, tmp_path)
        counts[outcome(verdict.status, verdict.fault)] += 1
        if verdict.fault:
            described = f"case {number}: papisim {' '.join(map(repr, case.arguments))[:300]}\n    {verdict.output.strip()[-300:]}"
            faults.setdefault(verdict.fault, []).append(described)
    summary = ", ".join(f"{count} {how}" for how, count in counts.most_common())
    record_property("outcomes", summary)
    print(f"{kind}: {sum(counts.values())} cases: {summary}")
    told = [f"{len(cases)} × {fault}\n  {cases[0]}" for fault, cases in faults.items()]
    assert not faults, f"seed {SEED}, {kind}: {summary}\n" + "\n".join(told[:_SHOWN])


def test_a_case_is_the_same_again():
    for kind in KINDS:
        assert case_of(kind, 7) == case_of(kind, 7), kind


def test_the_oracle_sees_a_traceback_a_rest_and_a_silent_refusal(tmp_path, monkeypatch):
    def ends(action):
        monkeypatch.setattr("fuzz_oracle.main", action)
        return judge(Case("k", [], {"in": b"1"}, place="in"), tmp_path).fault

    def leave(_):
        Path("rest").write_text("x")
        raise SystemExit(0)

    def change(_):
        Path("in").write_text("x")
        print("papisim: error: in: no", file=__import__("sys").stderr)
        raise SystemExit(2)

    def exits(status):
        def action(_):
            raise SystemExit(status)

        return action

    assert ends(lambda _: 1 / 0).startswith("traceback: ZeroDivisionError")
    assert ends(leave) == "left over: rest"
    assert ends(change) == "in was changed"
    assert ends(exits(2)) == "0 errors on stderr"
    assert ends(exits(3)) == "exit status 3"
    assert ends(exits(0)) == ""


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_damaged_was_good(kind, tmp_path, monkeypatch):
    for name in ("mutate_tree", "mutate_bytes", "mutate_table"):
        monkeypatch.setattr(fuzz_inputs, name, lambda rng, good: good)
    monkeypatch.setattr(fuzz_inputs, "HOSTILE", (1,))
    monkeypatch.setattr(fuzz_inputs, "CELLS", (1,))
    verdicts = []
    while len(verdicts) < 60 and not (len(verdicts) >= 12 and any(each.status == 0 for each in verdicts)):
        verdicts.append(judge(case_of(kind, len(verdicts)), tmp_path))
    assert not [verdict.fault for verdict in verdicts if verdict.fault]
    assert any(verdict.status == 0 for verdict in verdicts), verdicts[0].output
