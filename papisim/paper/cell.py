"""One experiment of a figure, and what is kept of its run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from papisim.engine.build import Machine, build_machine
from papisim.engine.ledger import StepRow
from papisim.engine.phase import Category
from papisim.engine.run import simulate
from papisim.errors import DoesNotFit
from papisim.paper.readings import Protocol
from papisim.spec.experiment import RunOptions, load_experiment
from papisim.spec.sections import load_section
from papisim.workloads.lengths.listed import Listed
from papisim.workloads.lengths.quantiles import Quantiles
from papisim.workloads.streams import stream

Floats = npt.NDArray[np.float64]
Pairs = tuple[tuple[int, int], ...]

#: phases of a run, in the order of a record's rows
PHASES = ("prefill", "decode")
#: parts of a record, in the order of its columns: seconds, then joules without static power
PARTS = ("fc", "attention", "all_reduce", "messages", "other", "energy", "link_energy")


class Case(NamedTuple):
    """A model, requests like those of a category of the data set, how many at once, and tokens of each in flight.

    With ``equal``, every request is as long as its batch's mean, so that the batch stays full to the end.
    """

    model: str
    category: str
    batch: int
    tlp: int
    equal: bool = False


class Cell(NamedTuple):
    """A case on a machine."""

    system: str
    case: Case


class Job(NamedTuple):
    """A cell as a reading has it: assignments to the machine's fields, and each request's prompt and answer."""

    system: str
    overrides: tuple[str, ...]
    case: Case
    lengths: Pairs


class Record(NamedTuple):
    """What is kept of a run.

    Attributes:
        parts: by phase and part, shape (2, 7); see :data:`PHASES` and :data:`PARTS`.
        static_w: power that the machine draws whether or not it works.
        iterations: of decoding.
        fc_pim_ratio: share of decoding's FC FLOP that PIM computes.
    """

    parts: Floats
    static_w: float
    iterations: int
    fc_pim_ratio: float


def request_lengths(case: Case, protocol: Protocol) -> Pairs:
    """Return prompt and answer of each request of a case, in tokens."""
    return _lengths(case.category, case.batch, case.equal, protocol.simulated)


@lru_cache(maxsize=1024)
def _lengths(category: str, batch: int, equal: bool, protocol: Protocol) -> Pairs:
    tables: Quantiles = load_section("workload", category).options.lengths
    if protocol.composition == "typical":
        pairs = _typical(tables, batch)
    else:
        pairs = tables.draw(batch, stream(protocol.seed, "lengths"))
    if protocol.padding == "longest":
        pairs[:] = pairs.max(axis=0)
    if equal:
        pairs[:] = np.rint(pairs.mean(axis=0))
    if protocol.prompt_tokens is not None:
        pairs[:, 0] = protocol.prompt_tokens
    return tuple((int(prompt), int(answer)) for prompt, answer in pairs)


def _typical(tables: Quantiles, batch: int) -> npt.NDArray[np.int64]:
    """Return lengths at the middles of ``batch`` equal shares of the records, long prompts with long answers."""
    middles = (np.arange(batch) + 0.5) / batch
    lengths = [
        np.interp(middles, tables.probabilities, table) for table in (tables.input_tokens, tables.output_tokens)
    ]
    return np.rint(lengths).astype(np.int64).T


def run_jobs(jobs: Iterable[Job]) -> list[Record | None]:
    """Simulate jobs of one machine, which keeps its prices from one to the next; None where memory does not hold one."""
    machine: Machine | None = None
    records: list[Record | None] = []
    for job in jobs:
        options = RunOptions(
            hw=job.system,
            trace=job.case.model,
            workload=job.case.category,
            batch_size=job.case.batch,
            tlp=job.case.tlp,
            overrides=job.overrides,
        )
        experiment = load_experiment(options)
        listed = Listed(kind="listed", pairs=list(job.lengths))
        experiment = replace(experiment, workload=experiment.workload.model_copy(update={"lengths": listed}))
        machine = machine or build_machine(experiment.system)
        try:
            steps = simulate(experiment, machine=machine).ledger.steps
        except DoesNotFit:
            records.append(None)
            continue
        records.append(_record(steps, machine))
    return records


def _record(steps: list[StepRow], machine: Machine) -> Record:
    parts = np.zeros((len(PHASES), len(PARTS)))
    iterations, pim_flop, flop = 0, 0.0, 0.0
    reducing = machine.roles.tensor_parallel.link
    for step in steps:
        row = parts[PHASES.index(step.kind)]
        all_reduce_s = step.busy_by.get(reducing, 0.0)
        row += (
            step.time_by[Category.FC],
            step.time_by[Category.ATTENTION],
            all_reduce_s,
            step.time_by[Category.COMMUNICATION] - all_reduce_s,
            step.time_by[Category.OTHER],
            step.energy.total_j - step.energy.static_j - step.energy.link_j,
            step.energy.link_j,
        )
        if step.kind == "decode":
            iterations += 1
            flop += sum(step.fc_flop_by.values())
            pim_flop += sum(work for device, work in step.fc_flop_by.items() if device != "gpu")
    return Record(parts, machine.static_w, iterations, pim_flop / flop if flop else 0.0)
