"""One decoding step of each machine at every batch and TLP: which machine is fastest where."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from papisim.engine.run import Run
from papisim.ops.lower import decode_lengths, decode_shape
from papisim.plan.build import planner_of
from papisim.plan.memory import plan_memory
from papisim.plan.phase import Category, seconds
from papisim.plan.planner import Planner

#: batches and token-rows per request at which machines are compared
BATCHES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)
TLPS = (1, 2, 3, 4, 5, 6, 7, 8)


def crossover_rows(labels: Sequence[str], runs: Sequence[Run]) -> list[dict[str, object]]:
    """Price one decoding step of every machine at every batch and TLP, with KV caches of the first run's mean length.

    No event is simulated; drafting and sampling are left out. A machine that several runs share, with different speculation
    policies, is priced once, under the label of its first run.

    Returns:
        Rows of the frame ``crossover`` (:class:`papisim.results.schema.CrossoverColumns`).
    """
    kv_tokens = _mean_cache(runs[0])
    machines: dict[str, tuple[str, Run]] = {}
    for label, run in zip(labels, runs, strict=True):
        machines.setdefault(str(run.experiment.system.resolved()), (label, run))
    return [row for label, run in machines.values() for row in _steps(label, run, kv_tokens)]


def _mean_cache(run: Run) -> int:
    """Return the tokens in a request's KV cache, averaged over requests and iterations; over time, if no rows are kept."""
    ledger = run.ledger
    if not ledger.keeps_rows:
        return max(1, round(ledger.kv_token_s / ledger.running_s)) if ledger.running_s else 1
    decode = [step for step in ledger.steps if step.kind == "decode"]
    requests = sum(step.rlp for step in decode)
    return round(sum(step.kv_tokens for step in decode) / requests) if requests else 1


def _steps(label: str, run: Run, kv_tokens: int) -> Iterator[dict[str, object]]:
    experiment, memory = run.experiment, plan_memory(run.machine, run.trace)
    planner = planner_of(experiment, run.trace, run.machine)
    for batch in BATCHES:
        for tlp in TLPS:
            fits = batch * memory.held.of_request(kv_tokens + tlp) <= memory.room_bytes(batch)
            step_s, fc_device = _price(planner, batch, tlp, kv_tokens) if fits else (None, None)
            yield {
                "machine": label, "batch": batch, "tlp": tlp, "kv_tokens": kv_tokens, "step_s": step_s, "fc_device": fc_device,
            }  # fmt: skip


def _price(planner: Planner, batch: int, tlp: int, kv_tokens: int) -> tuple[float, str]:
    """Return the seconds of a step, and the device that computes most of its FC."""
    lengths = decode_lengths(batch, tlp, batch * kv_tokens, kv_tokens)
    phases = planner.decode(decode_shape(batch, batch * tlp), lengths)
    fc_flop: dict[str, float] = defaultdict(float)
    for phase in phases:
        if phase.category is Category.FC:
            fc_flop[phase.resource] += phase.flop * phase.repeats
    return seconds(phases), max(fc_flop, key=fc_flop.__getitem__)
