"""Compare every speculation policy with the best fixed length in hindsight: ``speculation_policies.py docs/dse/speculation_policies.csv``.

A batch stays full: a request that has its tokens leaves, and the next one joins. Iterations are priced once per machine, model, batch, sum of
drafts and longest draft, by the same draft source and planner as in a run, at one context; so policies differ in their drafts alone, and all meet
the same requests. ``oracle`` knows what each request's process knows before a round is drawn: its level, and its state one round ago; it drafts what
has the most expected tokens per second then. It bounds policies that learn from outcomes and search for the best rate of the coming iteration.
"""

from __future__ import annotations

import argparse
import csv
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import NormalDist, fmean
from typing import Any

import numpy as np

from papisim.acceptance.base import ACCEPTANCE
from papisim.calibration.speculation import speculator_of
from papisim.config.experiment import load_experiment, options_of
from papisim.config.sections import load_section
from papisim.engine.speculation import Speculator, round_of, shorten
from papisim.policies.speculation.base import (
    SPECULATION,
    Draft,
    Proposal,
    SpeculationPolicy,
    SpeculationView,
    Stateless,
)

MACHINES = ("papi", "gpu_only", "a100_attacc")
MODELS = ("llama3-8b", "llama65b", "llama3-70b")
LOGS = (
    "eagle2_chain6_llama3_8b",
    "dflash_chain7_qwen3_4b_T1",
    "dspark_chain7_qwen3_4b_T0",
    "sps_adaptive_vicuna7b",
)
#: batch sizes, each with a seed of its own
CASES = ((1, 0), (4, 1), (16, 2))
#: no policy drafts more: the logs have drafts of 6 or 7, but for one
LONGEST = 8
POLICIES = (
    "off",
    "co_scheduled",
    "smartspec",
    "sglang_adaptive",
    "sglang_throughput",
    "bandit_epsilon",
    "bandit_ucb",
    "nightjar",
    "cascade",
    "dspark",
    "gammatune",
    "gammatune_plus",
    "dsde",
    "adaedl",
    "hf_heuristic",
    "vllm_schedule",
)
_CACHED, _ANSWER, _ITERATIONS = 1024, 256, 300
_NORMAL = NormalDist()

COLUMNS = [
    "machine",
    "model",
    "acceptance",
    "batch",
    "seed",
    "policy",
    "tokens_per_s",
    "over_best_fixed",
    "time_over_fixed",
]

Price = Callable[[Sequence[Draft]], float]
#: builds a policy, given the sequences of the running requests
Make = Callable[[dict[int, Any]], SpeculationPolicy]


class Prices:
    """Seconds of iterations by batch, sum of drafts and longest draft, each priced once."""

    def __init__(self, speculator: Speculator) -> None:
        self._speculator = speculator
        self._known: dict[tuple[int, int, int], float] = {}

    def __call__(self, drafts: Sequence[Draft]) -> float:
        """Return the seconds of an iteration with given drafts, priced with the sum spread over the batch from its first request."""
        longest, total = max(draft.length for draft in drafts), sum(draft.length for draft in drafts)
        key = len(drafts), total, longest
        if key not in self._known:
            lengths = [longest] + [0] * (len(drafts) - 1)
            left = total - longest
            for place in range(1, len(drafts)):
                lengths[place] = min(longest, math.ceil(left / (len(drafts) - place)))
                left -= lengths[place]
            cached = np.full(len(drafts), _CACHED, dtype=np.int64)
            self._known[key] = self._speculator.price_s([Draft(length) for length in lengths], cached)
        return self._known[key]


class Oracle(Stateless):
    """Drafts what has the most expected tokens per second, knowing each request's process."""

    learns_from_all = True

    def __init__(self, sequences: dict[int, Any]) -> None:
        self._sequences = sequences

    def survival(self, request: int) -> list[float]:
        """Return the chance that at least 1, 2, … drafts of the coming round are right, given all before it."""
        sequence = self._sequences[request]
        sequence._right(0)  # the oracle looks into the process
        while len(sequence._thresholds) < LONGEST:
            sequence._extend()
        memory, slow, fast = sequence._memory, sequence._slow, sequence._fast
        before = getattr(sequence, "state_before", 0.0)
        mean, deviation = slow * memory * before, math.sqrt(fast**2 + slow**2 * (1 - memory**2))
        return [1 - _NORMAL.cdf((threshold - mean) / deviation) for threshold in sequence._thresholds[:LONGEST]]

    def plan(self, view: SpeculationView) -> list[Draft]:
        """Search sums and longest drafts, giving rows to the likeliest tokens."""
        survival = [self.survival(request) for request in view.requests]
        best = [0] * view.rlp
        rate = view.rlp / view.price_s([Draft(0)] * view.rlp)
        for longest in range(1, LONGEST + 1):
            gains = sorted(
                (
                    (-chance, depth, place)
                    for place, row in enumerate(survival)
                    for depth, chance in enumerate(row[:longest], 1)
                )
            )
            lengths, emitted = [0] * view.rlp, float(view.rlp)
            for gain, depth, place in gains:
                lengths[place], emitted = depth, emitted - gain
                found = emitted / view.price_s([Draft(length) for length in lengths])
                if found > rate:
                    best, rate = list(lengths), found
        return [Draft(length) for length in best]


@dataclass(frozen=True)
class Setting:
    """What is decoded: the acceptance process, the batch size and the seed."""

    log: str
    batch: int
    seed: int


def play(make: Make, setting: Setting, prices: Price) -> tuple[float, float]:
    """Return the tokens per second of a policy, and the seconds of our time that an iteration took.

    Args:
        make: builds the policy, given the sequences of the running requests.
        setting: log, batch and seed.
        prices: of iterations.
    """
    process = ACCEPTANCE.build(load_section("acceptance", setting.log).options, setting.seed)
    running, left, sequences, joined = [], {}, {}, 0
    policy = make(sequences)
    tokens, time_s, began = 0, 0.0, time.perf_counter()
    for iteration in range(_ITERATIONS):
        while len(running) < setting.batch:
            running.append(joined)
            # the first requests end at different times, as in a batch that has been full for long
            left[joined] = _ANSWER if joined >= setting.batch else math.ceil(_ANSWER * (joined + 1) / setting.batch)
            sequences[joined] = process.start(joined)
            joined += 1
        view = SpeculationView(iteration, tuple(running), prices, cached=(_CACHED,) * len(running))
        planned = [shorten(draft, min(draft.length, LONGEST)) for draft in policy.plan(view)]
        shown = [sequences[request].proposal(draft.length) for request, draft in zip(running, planned, strict=True)]
        kept = policy.cut(running, planned, [Proposal(each.confidence, each.entropy) for each in shown])
        drafts = [shorten(draft, length) for draft, length in zip(planned, kept, strict=True)]
        rounds = []
        for request, draft in zip(running, drafts, strict=True):
            sequences[request].state_before = getattr(sequences[request], "_state", 0.0)
            rounds.append(round_of(request, draft, sequences[request].round(draft.length)))
        policy.observe(rounds)
        time_s += prices(drafts)
        for seen in rounds:
            emitted = min(left[seen.request_id], seen.accepted + 1)
            tokens, left[seen.request_id] = tokens + emitted, left[seen.request_id] - emitted
            if not left[seen.request_id]:
                running.remove(seen.request_id)
                policy.leave(seen.request_id)
                del sequences[seen.request_id]
    return tokens / time_s, (time.perf_counter() - began) / _ITERATIONS


def policies(names: Sequence[str]) -> dict[str, Make]:
    """Return the makers of the policies: fixed lengths, those named, and the oracle."""
    options = {
        f"fixed {length}": load_section("speculation", {"kind": "fixed", "tlp": length + 1}).options
        for length in range(LONGEST + 1)
    }
    options |= {name: load_section("speculation", name).options for name in names}
    built = {name: (lambda _, chosen=chosen: SPECULATION.build(chosen)) for name, chosen in options.items()}
    return built | {"oracle": Oracle}


def main() -> None:
    """Play every policy in every setting, and write a row each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--policy", action="append", default=[])
    parser.add_argument("--machine", action="append", default=[])
    parser.add_argument("--model", action="append", default=[])
    chosen = parser.parse_args()
    made = policies(chosen.policy or POLICIES)
    with chosen.out.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for machine, model in product(chosen.machine or MACHINES, chosen.model or MODELS):
            writer.writerows(rows_of(machine, model, made))
            file.flush()
            print(machine, model, flush=True)


def rows_of(machine: str, model: str, made: Mapping[str, Make]) -> Iterator[list[object]]:
    """Yield the rows of one machine and model."""
    options = options_of(hw=machine, trace=model, draft="eagle_head", acceptance=LOGS[0], speculation="smartspec")
    prices = Prices(speculator_of(load_experiment(options)))
    for log, (batch, seed) in product(LOGS, CASES):
        found = {name: play(make, Setting(log, batch, seed), prices) for name, make in made.items()}
        best = max(rate for name, (rate, _) in found.items() if name.startswith("fixed"))
        own_s = fmean(own for name, (_, own) in found.items() if name.startswith("fixed"))
        for name, (rate, took_s) in found.items():
            ratios = f"{rate / best:.4f}", f"{took_s / own_s:.1f}"
            yield [machine, model, log, batch, seed, name, f"{rate:.5g}", *ratios]


if __name__ == "__main__":
    main()
