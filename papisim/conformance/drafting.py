"""What every draft source must do."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from typing import TypeAlias

import numpy as np

from papisim import catalog
from papisim.arrays import Ints
from papisim.catalog import Shelf
from papisim.config.experiment import load_experiment, options_of
from papisim.conformance import running
from papisim.conformance.law import Subject, expect
from papisim.engine.drafting.base import DraftContext, DraftingOptions, DraftSource
from papisim.ops.trace import read_trace
from papisim.plan.build import planner_of
from papisim.plan.machine import HOST, build_machine
from papisim.plan.phase import Phase
from papisim.policies.speculation.base import Draft

Drafted: TypeAlias = Subject[DraftingOptions, DraftSource]

_EXIT_LAYER = 4


@cache
def _context(trace: str) -> DraftContext:
    """Return a machine and a model to draft on."""
    model = read_trace(catalog.find(Shelf.TRACE, trace).path)
    experiment = load_experiment(options_of(hw="papi", trace=trace))
    machine = build_machine(experiment.system)
    return DraftContext(machine, model, planner_of(experiment, model, machine), seed=0)


def _built(subject: Drafted) -> tuple[DraftContext, DraftSource]:
    context = _context(running.model_for(subject))
    return context, subject.build(context)


def _drafts(subject: Drafted, *lengths: int) -> list[Draft]:
    layer = _EXIT_LAYER if subject.beside.get("speculation") == "layerskip" else None
    return [Draft(length, exit_layer=layer if length else None) for length in lengths]


def _cached(*lengths: int) -> Ints:
    return np.array(lengths, dtype=np.int64)


def _seconds(phases: Sequence[Phase]) -> float:
    return sum(phase.time_s * phase.repeats for phase in phases)


def _verify_s(source: DraftSource, drafts: Sequence[Draft], cached: Ints) -> float:
    return _seconds(source.verify(drafts, cached, np.array([draft.rows for draft in drafts], dtype=np.int64)))


def work_takes_time_and_energy_on_what_the_machine_has(subject: Drafted) -> None:
    """Each phase takes no negative time or energy, on a device or link of the machine or on its host."""
    context, source = _built(subject)
    drafts, cached = _drafts(subject, 3, 0, 5), _cached(100, 7, 900)
    rows = np.array([draft.rows for draft in drafts], dtype=np.int64)
    resources = {*context.machine.pools, *context.machine.links, HOST}
    verifying = source.verify(drafts, cached, rows)
    for phase in [*source.draft(drafts, cached), *verifying]:
        expect(phase.resource in resources, f"a phase on {phase.resource!r}; there are {sorted(resources)}")
        expect(phase.time_s >= 0, f"a phase of {phase.time_s} s")
        expect(min(phase.energy) >= 0, f"a phase with the energy {phase.energy}")
    expect(_seconds(verifying) > 0, "verification takes no time")


def without_drafts_nothing_is_drafted(subject: Drafted) -> None:
    """Where no request drafts, drafting takes no time."""
    _, source = _built(subject)
    seconds = _seconds(source.draft(_drafts(subject, 0, 0), _cached(100, 200)))
    expect(seconds == 0, f"drafting nothing takes {seconds} s")


def more_drafts_never_take_less(subject: Drafted) -> None:
    """Longer drafts and more requests never take less time to draft; longer drafts never less to verify."""
    _, source = _built(subject)
    drafting = [_seconds(source.draft(_drafts(subject, n, n), _cached(64, 300))) for n in range(9)]
    expect(drafting == sorted(drafting), f"drafts of 0 to 8 tokens take {drafting} s")
    verifying = [_verify_s(source, _drafts(subject, n, n), _cached(64, 300)) for n in range(1, 9)]
    rising = all(one <= other * (1 + 1e-12) for one, other in pairwise(verifying))
    expect(rising, f"verifying drafts of 1 to 8 tokens takes {verifying} s")
    batches = [_seconds(source.draft(_drafts(subject, *[4] * n), _cached(*[200] * n))) for n in (1, 2, 4, 8)]
    expect(batches == sorted(batches), f"drafts of 1, 2, 4 and 8 requests take {batches} s")


def a_price_depends_on_the_drafts_alone(subject: Drafted) -> None:
    """A source is a pure function: the same drafts cost the same whatever was asked before."""
    _, source = _built(subject)
    drafts, cached = _drafts(subject, 3, 0, 5), _cached(100, 7, 900)
    first = _seconds(source.draft(drafts, cached)), _verify_s(source, drafts, cached)
    for length in (1, 8, 2):
        source.draft(_drafts(subject, length), _cached(50))
        _verify_s(source, _drafts(subject, length), _cached(50))
    again = _seconds(source.draft(drafts, cached)), _verify_s(source, drafts, cached)
    expect(again == first, f"{first} s at first, {again} s later")


def its_memory_is_on_a_device_of_the_machine(subject: Drafted) -> None:
    """Memory that a source needs is on a device of the machine, and not negative."""
    context, source = _built(subject)
    for demand in source.demands:
        expect(demand.device in context.machine.pools, f"memory on {demand.device!r}, which is no device")
        expect(demand.weight_bytes >= 0 and demand.kv_token_bytes >= 0, f"found {demand}")


def every_request_gets_all_its_tokens(subject: Drafted) -> None:
    """A run that drafts serves every request to its last token."""
    running.every_request_gets_all_its_tokens(subject, **_drafting(subject))


def runs_repeat(subject: Drafted) -> None:
    """The same run twice is the same."""
    running.runs_repeat(subject, **_drafting(subject))


def fast_runs_are_exact(subject: Drafted) -> None:
    """Layers folded and iterations run at once change no figure."""
    running.fast_runs_are_exact(subject, **_drafting(subject))


def _drafting(subject: Drafted) -> dict[str, object]:
    """Return options of a run that drafts, where the subject brings none."""
    return {} if "speculation" in subject.beside else {"speculation": {"kind": "fixed", "tlp": 4}}


LAWS = (
    work_takes_time_and_energy_on_what_the_machine_has,
    without_drafts_nothing_is_drafted,
    more_drafts_never_take_less,
    a_price_depends_on_the_drafts_alone,
    its_memory_is_on_a_device_of_the_machine,
    every_request_gets_all_its_tokens,
    runs_repeat,
    fast_runs_are_exact,
)
