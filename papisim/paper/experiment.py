"""The experiments of a paper with machines: cases, machines, and the record that is kept of each run.

Stored runs depend on this module and on everything that a run of the simulator does (:func:`papisim.paper.archive.fingerprint`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from papisim.arrays import Floats
from papisim.config.experiment import Experiment, RunOptions, load_experiment
from papisim.config.sections import load_section
from papisim.config.system import Roles
from papisim.devices.pim import Pool as PimPool
from papisim.engine.run import simulate
from papisim.errors import DoesNotFit, InputError
from papisim.ops.cost import Energy
from papisim.ops.trace import read_trace
from papisim.paper.choices import Part, Protocol
from papisim.plan.build import planner_of
from papisim.plan.machine import Machine, build_machine
from papisim.plan.phase import Category
from papisim.plan.planner import Planner
from papisim.plan.sums import Sums
from papisim.record.ledger import Ledger
from papisim.record.steps import StepKind
from papisim.streams import stream
from papisim.workloads import closed_batch
from papisim.workloads.lengths.listed import Listed
from papisim.workloads.lengths.quantiles import Quantiles

Pairs = tuple[tuple[int, int], ...]

#: phases of a run, in the order of a record's rows
PHASES = (StepKind.PREFILL, StepKind.DECODE)
#: parts of a record, in the order of its columns: seconds, then joules without static power
PARTS: tuple[Part, ...] = (
    "fc",
    "attention",
    "all_reduce",
    "messages",
    "other",
    "device_energy",
    "attention_energy",
    "link_energy",
)
#: the parts that are seconds
TIMES = PARTS[:5]


class Case(NamedTuple):
    """A model and its load.

    Attributes:
        model: a kernel trace's name.
        category: category of the data set whose lengths the requests have.
        batch: requests decoded together.
        tlp: tokens per request and iteration.
        equal: whether every request is as long as its batch's mean, so that the batch stays full to the end.
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
    """A cell in one interpretation.

    Attributes:
        system: the machine's name.
        overrides: assignments to the machine's fields.
        case: model and load.
        lengths: prompt and answer of each request, in tokens.
    """

    system: str
    overrides: tuple[str, ...]
    case: Case
    lengths: Pairs


class Record(NamedTuple):
    """The times and energies of a run.

    Attributes:
        parts: seconds and joules by phase and part, shape (2, 8); see :data:`PHASES` and :data:`PARTS`.
        static_w: static power of the machine.
        iterations: decoding iterations.
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
    tables = load_section("workload", category).of(closed_batch.Options).lengths
    if not isinstance(tables, Quantiles):
        raise InputError(f"the lengths of {category} are {tables.kind}, expected quantiles")
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
    """Simulate jobs of one machine and model, which share prices and layouts.

    Returns:
        A record per job; None for a job that does not fit the machine's memory.
    """
    machine: Machine | None = None
    planner: Planner | None = None
    records: list[Record | None] = []
    for job in jobs:
        experiment = experiment_of(job)
        if machine is None or planner is None:
            machine = build_machine(experiment.system)
            planner = planner_of(experiment, read_trace(experiment.trace.path), machine)
        try:
            ledger = simulate(experiment, machine=machine, planner=planner).ledger
        except DoesNotFit:
            records.append(None)
        else:
            records.append(_record(ledger, machine))
    return records


#: the paper serves GPT-3 beyond the 2,048 positions that it has learned (PAPI, Section 3.1: 2,048 + 2,048 tokens)
_LONG_GPT3 = "kv.beyond_positions=run"


def experiment_of(job: Job) -> Experiment:
    """Return the experiment of a job, with the α that its machine has in the job's interpretation."""
    case = job.case
    options = RunOptions(
        hw=job.system,
        trace=case.model,
        workload=case.category,
        batch=case.batch,
        tlp=case.tlp,
        set=(*job.overrides, _LONG_GPT3),
    )
    experiment = load_experiment(options)
    listed = Listed(kind="listed", pairs=list(job.lengths))
    return replace(experiment, workload=experiment.workload.model_copy(update={"lengths": listed}))


def _record(ledger: Ledger, machine: Machine) -> Record:
    parts = np.array([_parts(ledger.totals[kind].sums(), machine.roles) for kind in PHASES])
    decode = ledger.totals[StepKind.DECODE]
    flop = decode.sums().fc_flop_by
    on_pim = sum(work for device, work in flop.items() if isinstance(machine.pools[device], PimPool))
    return Record(parts, machine.static_w, decode.n_steps, on_pim / sum(flop.values()) if flop else 0.0)


def _parts(sums: Sums, roles: Roles) -> list[float]:
    """Return seconds and joules of some steps, in the order of :data:`PARTS`."""
    all_reduce_s = sums.busy_by.get(roles.tensor_parallel.link, 0.0)
    attention_j = sums.energy_by.get(roles.attention, Energy()).total_j
    return [
        sums.time_by.get(Category.FC, 0.0),
        sums.time_by.get(Category.ATTENTION, 0.0),
        all_reduce_s,
        sums.time_by.get(Category.COMMUNICATION, 0.0) - all_reduce_s,
        sums.time_by.get(Category.OTHER, 0.0),
        sums.energy.total_j - attention_j - sums.energy.link_j,
        attention_j,
        sums.energy.link_j,
    ]
