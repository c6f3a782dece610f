"""Several runs side by side: ratios, frames with a column that says which run, and which machine wins where."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from papisim.engine.run import Run
from papisim.ops.lower import decode_lengths, decode_shape, kv_bytes_per_token
from papisim.plan.build import build_placement
from papisim.plan.machine import plan_memory
from papisim.plan.phase import Category
from papisim.plan.pipeline import build_planner
from papisim.plan.step import StepPlanner
from papisim.results.frames import frames
from papisim.results.metrics import summarise
from papisim.results.store import manifest_head, origin, write_folder

if TYPE_CHECKING:
    import pandas as pd

COMPARISON_SCHEMA = "papisim/comparison/1"

#: batches and tokens in flight of each request at which machines are compared step by step
BATCHES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)
TLPS = (1, 2, 3, 4, 5, 6, 7, 8)

#: frames of single runs that a comparison keeps, one below the other
_KEPT = ("runs", "requests", "energy")


@dataclass(frozen=True)
class Comparison:
    """Runs of the same requests, and what each is called; ratios are to the first."""

    labels: tuple[str, ...]
    runs: tuple[Run, ...]

    @cached_property
    def summaries(self) -> list[dict[str, Any]]:
        """The figures of each run."""
        return [summarise(run) for run in self.runs]

    @property
    def rows(self) -> list[dict[str, Any]]:
        """One row a run; see :func:`ratios`."""
        return ratios(self.labels, self.summaries)

    @property
    def summary(self) -> dict[str, Any]:
        """Ratios, and the figures of each run."""
        return {"schema": COMPARISON_SCHEMA, "comparison": self.rows, "runs": self.summaries}

    @cached_property
    def frames(self) -> dict[str, pd.DataFrame]:
        """``comparison``, ``crossover``, and ``runs``, ``energy`` and, if kept, ``requests`` of all runs with their ``machine``."""
        import pandas as pd  # noqa: PLC0415 - start-up time

        single = [(label, frames(run)) for label, run in zip(self.labels, self.runs, strict=True)]
        kept = {
            name: pd.concat([tables[name].assign(machine=label) for label, tables in single], ignore_index=True)
            for name in _KEPT
            if all(name in tables for _, tables in single)
        }
        crossover = pd.DataFrame(crossover_rows(self.labels, self.runs))
        return {"comparison": pd.DataFrame(self.rows), **kept, "crossover": crossover}

    @property
    def manifest(self) -> dict[str, Any]:
        """What is needed to repeat each run."""
        runs = [
            {"machine": label, **origin(run.experiment)} for label, run in zip(self.labels, self.runs, strict=True)
        ]
        return {**manifest_head("comparison"), "runs": runs}

    def write(self, folder: Path, *, force: bool = False) -> None:
        """Write frames, figures and manifest; the folder appears complete or not at all.

        Raises:
            InputError: the folder may not be replaced or cannot be made.
        """
        write_folder(folder, self.manifest, self.frames, summary=self.summary, force=force)


def split_placement(machine: str) -> tuple[str, str | None]:
    """Return the machine and the placement policy that ``MACHINE[@PLACEMENT]`` names."""
    hw, at, placement = machine.partition("@")
    return hw, placement if at else None


def label_of(machine: str, speculation: str | None) -> str:
    """Return what a run is called beside others."""
    return f"{machine} + {Path(speculation).stem}" if speculation else machine


def distinct(labels: Iterable[str]) -> tuple[str, ...]:
    """Return labels of which no two are equal: a second ``papi`` becomes ``papi (2)``."""
    seen: Counter[str] = Counter()
    result = []
    for label in labels:
        seen[label] += 1
        result.append(f"{label} ({seen[label]})" if seen[label] > 1 else label)
    return tuple(result)


def ratios(labels: tuple[str, ...], summaries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return one row a run, with ratios to the first: above 1 is better than the first.

    - ``speed_up_ratio``: time of the first run over this one's, prefill included (the requests are the same).
    - ``decode_speed_up_ratio``: the same for decoding alone.
    - ``energy_efficiency_ratio``: energy of the first run over this one's.
    """
    first = summaries[0]
    return [
        {
            "machine": label,
            "throughput_tokens_per_s": summary["throughput_tokens_per_s"],
            "speed_up_ratio": first["makespan_s"] / summary["makespan_s"],
            "decode_speed_up_ratio": first["decode_s"] / summary["decode_s"] if summary["decode_s"] else None,
            "prefill_s": summary["prefill_s"],
            "decode_s": summary["decode_s"],
            "tpot_mean_s": summary.get("tpot_mean_s"),
            "energy_per_token_j": summary["energy_per_token_j"],
            "energy_efficiency_ratio": first["energy_j"] / summary["energy_j"],
        }
        for label, summary in zip(labels, summaries, strict=True)
    ]


def crossover_rows(labels: tuple[str, ...], runs: tuple[Run, ...]) -> list[dict[str, Any]]:
    """Price one decoding step of every machine at every batch and TLP, with caches as long as the first run's on average.

    No event is simulated; drafting and sampling are left out. Runs on the same machine, with other policies of
    speculation, are priced once.

    Returns:
        Rows with ``machine``, ``batch``, ``tlp``, ``kv_tokens`` of each request, ``step_s`` (None where the caches do not
        fit), and ``fc_device``, which computes most of FC.
    """
    kv_tokens = _mean_cache(runs[0])
    machines: dict[str, tuple[str, Run]] = {}
    for label, run in zip(labels, runs, strict=True):
        machines.setdefault(str(run.experiment.system.resolved()), (label, run))
    return [row for label, run in machines.values() for row in _steps(label, run, kv_tokens)]


def _mean_cache(run: Run) -> int:
    """Tokens in a request's cache, on average over requests and iterations; over time, where no rows are kept."""
    ledger = run.ledger
    if not ledger.keeps_rows:
        return max(1, round(ledger.kv_byte_s / kv_bytes_per_token(run.trace) / ledger.running_s))
    decode = [step for step in ledger.steps if step.kind == "decode"]
    requests = sum(step.rlp for step in decode)
    return round(sum(step.kv_tokens for step in decode) / requests) if requests else 1


def _steps(label: str, run: Run, kv_tokens: int) -> Iterator[dict[str, Any]]:
    experiment, memory = run.experiment, plan_memory(run.machine, run.trace)
    planner = build_planner(run.trace, run.machine, build_placement(experiment), seed=experiment.seed, fold=True)
    for batch in BATCHES:
        for tlp in TLPS:
            fits = batch * (kv_tokens + tlp) * memory.kv_token_bytes <= memory.kv_capacity_bytes
            step_s, fc_device = _price(planner, batch, tlp, kv_tokens) if fits else (None, None)
            yield {
                "machine": label, "batch": batch, "tlp": tlp, "kv_tokens": kv_tokens, "step_s": step_s, "fc_device": fc_device,
            }  # fmt: skip


def _price(planner: StepPlanner, batch: int, tlp: int, kv_tokens: int) -> tuple[float, str]:
    phases = planner.decode(
        decode_shape(batch, batch * tlp), decode_lengths(batch, tlp, batch * kv_tokens, kv_tokens)
    )
    fc_flop: dict[str, float] = {}
    for phase in phases:
        if phase.category is Category.FC:
            fc_flop[phase.resource] = fc_flop.get(phase.resource, 0.0) + phase.flop * phase.repeats
    return sum(phase.time_s * phase.repeats for phase in phases), max(fc_flop, key=fc_flop.__getitem__)
