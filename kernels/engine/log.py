"""The logs: CSV files of steps, cells, requests and kernels, as ``papisim validate --engine`` and ``papisim calibrate engine`` read them."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple, TextIO

import numpy as np

COLUMNS: Final = {
    "steps": (
        "gpu", "engine", "block", "cell", "step", "t0_s", "dt_s", "t_schedule_s", "t_execute_s", "t_sample_s", "t_update_s",
        "n_decode", "decode_tokens", "decode_ctx_sum", "n_prefill", "prefill_tokens", "prefill_list", "sched_tokens", "draft_tokens",
        "new_tokens", "running", "waiting", "preempted",
    ),
    "cells": (
        "gpu", "engine", "block", "cell", "batch", "ctx", "k", "n", "median_ms", "p10_ms", "p90_ms", "mean_ms", "sm_mhz", "mem_mhz",
        "power_w", "temp_c", "note",
    ),
    "requests": (
        "gpu", "engine", "block", "req", "arrival_s", "submit_s", "first_token_s", "end_s", "tokens_in", "tokens_out",
    ),
    "profile": (
        "gpu", "engine", "cell", "steps", "wall_ms_per_step", "span_ms_per_step", "busy_ms_per_step", "kernel", "count_per_step",
        "us_per_step",
    ),
}  # fmt: skip
#: characters of a kernel's name that are logged
_NAME: Final = 220


class Scheduled(NamedTuple):
    """What a step computes.

    Attributes:
        n_decode: requests that decode.
        decode_tokens: their token-rows, drafts included.
        decode_ctx_sum: their cached tokens.
        prompts: tokens computed and cached tokens of each prompt.
        draft_tokens: drafted tokens among the rows.
        running: requests admitted.
        waiting: requests that wait.
        preempted: requests preempted.
    """

    n_decode: int = 0
    decode_tokens: int = 0
    decode_ctx_sum: int = 0
    prompts: tuple[tuple[int, int], ...] = ()
    draft_tokens: int = 0
    running: int = 0
    waiting: int = 0
    preempted: int = 0

    @property
    def prompt_tokens(self) -> int:
        """Prompt tokens computed."""
        return sum(tokens for tokens, _ in self.prompts)


@dataclass(frozen=True)
class Step:
    """A step that has run.

    Attributes:
        start_s: start, on a clock of the process.
        time_s: wall time.
        schedule_s: time of scheduling.
        execute_s: time of preparing and launching.
        sample_s: time of waiting for the devices.
        update_s: time of taking in the result.
        scheduled: what it computed.
        new_tokens: tokens emitted, by request.
        ended: requests that ended.
    """

    start_s: float
    time_s: float
    schedule_s: float
    execute_s: float
    sample_s: float
    update_s: float
    scheduled: Scheduled
    new_tokens: dict[str, int] = field(default_factory=dict)
    ended: frozenset[str] = frozenset()


class Launch(NamedTuple):
    """A kernel that a profiler saw, in nanoseconds."""

    start_ns: int
    duration_ns: int
    name: str


class Readings(NamedTuple):
    """A reading of the GPU's sensors; empty without them."""

    sm_mhz: float | str = ""
    mem_mhz: float | str = ""
    power_w: float | str = ""
    temp_c: float | str = ""


class LogFolder:
    """Writes logs; rows are added to those that are there.

    Args:
        folder: the folder, made if it is not there.
        gpu: name of the GPU.
        engine: name of the model and mode of the engine, such as ``llama7b_sync``.
    """

    def __init__(self, folder: Path, gpu: str, engine: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._of, self._n_steps = folder, (gpu, engine), 0
        self._files: dict[str, TextIO] = {}

    def describe(self, kind: str, **facts: object) -> None:
        """Add a record to ``meta.jsonl``."""
        record = {"kind": kind, "gpu": self._of[0], "engine": self._of[1], **facts}
        with (self._folder / "meta.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(record, default=str) + "\n")

    def step(self, block: str, cell: str, step: Step) -> None:
        """Log a step."""
        did = step.scheduled
        times = (step.time_s, step.schedule_s, step.execute_s, step.sample_s, step.update_s)
        prompts = ";".join(f"{tokens}@{cached}" for tokens, cached in did.prompts)
        rows = did.decode_tokens + did.prompt_tokens
        self._add(
            "steps", block, cell, self._n_steps, f"{step.start_s:.6f}", *(f"{each:.7f}" for each in times), did.n_decode,
            did.decode_tokens, did.decode_ctx_sum, len(did.prompts), did.prompt_tokens, prompts, rows, did.draft_tokens,
            sum(step.new_tokens.values()), did.running, did.waiting, did.preempted,
        )  # fmt: skip
        self._n_steps += 1

    def cell(
        self,
        place: tuple[str, str],
        shape: tuple[int, int, int],
        times_s: Sequence[float],
        sensors: Readings,
        note: str = "",
    ) -> None:
        """Log the steps of one composition.

        Args:
            place: block and name of the composition.
            shape: requests, cached tokens of each, and drafts of each.
            times_s: times of the steps, or of all steps of each prompt.
            sensors: read just after.
            note: a remark.
        """
        ms = np.array(times_s) * 1e3
        figures = (*np.percentile(ms, (50, 10, 90)).tolist(), float(ms.mean()))
        self._add("cells", *place, *shape, len(ms), *(f"{each:.4f}" for each in figures), *sensors, note)

    def request(
        self, block: str, number: int, times_s: tuple[float, float, float, float], tokens: tuple[int, int]
    ) -> None:
        """Log a served request: arrival, submission, first token and end, and tokens in and out."""
        self._add("requests", block, number, *(f"{each:.6f}" for each in times_s), *tokens)

    def kernels(self, cell: str, n_steps: int, wall_s: float, launches: Iterable[Launch]) -> None:
        """Log the kernels of profiled steps by name, with the time in which any of them ran."""
        found = sorted(launches)
        busy_ms, span_ms = (each / n_steps / 1e6 for each in busy_and_span_ns(found))
        totals: dict[str, tuple[int, int]] = {}
        for launch in found:
            count, total_ns = totals.get(launch.name, (0, 0))
            totals[launch.name] = count + 1, total_ns + launch.duration_ns
        for name, (count, total_ns) in sorted(totals.items(), key=lambda item: -item[1][1]):
            figures = (f"{wall_s / n_steps * 1e3:.4f}", f"{span_ms:.4f}", f"{busy_ms:.4f}")
            self._add(
                "profile",
                cell,
                n_steps,
                *figures,
                name[:_NAME],
                f"{count / n_steps:.2f}",
                f"{total_ns / n_steps / 1e3:.2f}",
            )

    def flush(self) -> None:
        """Write what is buffered."""
        for file in self._files.values():
            file.flush()

    def _add(self, name: str, *values: object) -> None:
        file = self._files.get(name)
        if file is None:
            path = self._folder / f"{name}.csv"
            is_new = not path.exists() or not path.stat().st_size
            file = self._files[name] = path.open("a", newline="", encoding="utf-8")
            if is_new:
                csv.writer(file, lineterminator="\n").writerow(COLUMNS[name])
        row = (*self._of, *values)
        if len(row) != len(COLUMNS[name]):
            raise ValueError(f"found {len(row)} values for {name}.csv, expected {len(COLUMNS[name])}")
        csv.writer(file, lineterminator="\n").writerow(row)


def busy_and_span_ns(launches: Sequence[Launch]) -> tuple[int, int]:
    """Return the time in which any kernel ran, and the time from the first start to the last end, in nanoseconds.

    Args:
        launches: kernels in the order of their starts.
    """
    busy = end = 0
    for launch in launches:
        stop = launch.start_ns + launch.duration_ns
        busy += max(0, stop - max(end, launch.start_ns))
        end = max(end, stop)
    return busy, end - launches[0].start_ns if launches else 0
