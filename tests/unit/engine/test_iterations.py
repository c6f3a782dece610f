"""Strategies of decoding iterations, and the length of stretches."""

from collections.abc import Callable

import numpy as np
import pytest

from papisim.config.experiment import RunOptions, load_experiment
from papisim.engine.batch import Batch
from papisim.engine.build import build_speculator
from papisim.engine.drafting.base import DraftContext
from papisim.engine.iterations import (
    Drawn,
    IterationStrategy,
    Overlapped,
    Steady,
    Stretch,
    accept_all,
    choose_strategy,
)
from papisim.engine.overlap import Overlap
from papisim.engine.request import Request
from papisim.errors import NotModelled
from papisim.ops.trace import read_trace
from papisim.plan.build import planner_of
from papisim.plan.machine import build_machine
from papisim.record.ledger import DraftCount


def strategy(
    *assignments: str, tlp: int = 1, fast_forward: bool = True, is_watched: bool = False
) -> IterationStrategy:
    experiment = load_experiment(RunOptions(hw="a100_attacc", trace="llama7b", tlp=tlp, set=list(assignments)))
    machine, trace = build_machine(experiment.system), read_trace(experiment.trace.path)
    planner = planner_of(experiment, trace, machine)
    speculator = build_speculator(experiment, DraftContext(machine, trace, planner, 0))
    overlap = Overlap(experiment.overlap, planner, machine, trace)
    return choose_strategy(planner, speculator, overlap, fast_forward=fast_forward, is_watched=is_watched)


def batch(*lengths: tuple[int, int]) -> Batch:
    made = Batch()
    made.join([Request(i, 0.0, prompt, answer) for i, (prompt, answer) in enumerate(lengths)])
    return made


HALF = "acceptance={kind: geometric, alpha: 0.5}"


@pytest.mark.parametrize(
    ("made", "kind", "stretches"),
    [
        (strategy, Steady, True),
        (lambda: strategy(tlp=4), Steady, True),
        (lambda: strategy(HALF, tlp=4), Drawn, False),
        (lambda: strategy(fast_forward=False), Drawn, False),
        (lambda: strategy(is_watched=True), Drawn, False),
        (lambda: strategy("overlap.kind=prompts"), Overlapped, True),
        (lambda: strategy("overlap.kind=prompts", fast_forward=False), Overlapped, False),
        (lambda: strategy("overlap.kind=sub_batches"), Overlapped, False),
        (lambda: strategy("overlap.kind=heads"), Overlapped, False),
    ],
)
def test_each_experiment_has_its_strategy(made: Callable[[], IterationStrategy], kind: type, stretches: bool):
    chosen = made()
    assert type(chosen) is kind
    assert (chosen.stretch is not None) is stretches


def test_overlap_with_changing_drafts_or_watched_is_refused():
    for options in ({"is_watched": True}, {"tlp": 4}):
        with pytest.raises(NotModelled, match="overlap with drafts that may change"):
            strategy("overlap.kind=prompts", HALF, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("tlp", [1, 4])
def test_a_drawn_iteration_of_certain_drafts_is_the_steady_one(tlp: int):
    requests = batch((100, 50), (300, 50))
    steady, drawn = (strategy(tlp=tlp, fast_forward=on) for on in (True, False))
    one, other = (each.prepare(0, requests, None, fold=True) for each in (steady, drawn))
    assert one.work.time_s == pytest.approx(other.work.time_s, rel=1e-12)
    assert one.total_rows(2) == other.total_rows(2) == 2 * tlp
    first, second = steady.verify(requests, one), drawn.verify(requests, other)
    assert np.broadcast_to(first.tokens, 2).tolist() == np.broadcast_to(second.tokens, 2).tolist()
    assert (first.drafted, first.accepted) == (second.drafted, second.accepted) == (2 * (tlp - 1),) * 2


def test_a_stretch_is_its_iterations_one_by_one():
    chosen, requests = strategy(tlp=2), batch((100, 50), (300, 50))
    assert chosen.stretch is not None
    times_s = chosen.stretch.prepare(requests, 5, fold=True).times_s
    for time_s in times_s.tolist():
        assert chosen.prepare(0, requests, None, fold=True).work.time_s == pytest.approx(time_s, rel=1e-12)
        requests.emit(2)
    assert (np.diff(times_s) > 0).all(), "caches grow"


def test_a_stretch_ends_with_the_first_request_and_is_short_where_arrivals_truncate_it():
    stretch, requests = strategy(tlp=3).stretch, batch((100, 1000), (300, 5000))
    assert isinstance(stretch, Stretch)

    def planned() -> int:
        return stretch.iterations(requests, may_be_truncated=True)

    assert (
        stretch.iterations(requests, may_be_truncated=False) == 1000 // 3
    )  # the last token is emitted by an iteration with fewer rows
    assert planned() == 16
    stretch.ran(16, 16)
    assert planned() == 32, "undisturbed: twice as long"
    stretch.ran(20, 32)
    assert planned() == 40, "twice as long as until the arrival"
    stretch.ran(1, 40)
    assert planned() == 16, "never shorter than the first"


def test_steady_drafts_are_all_accepted_in_every_iteration():
    assert accept_all(4, 3, 10).counts == [DraftCount(2, 2, 40)]
    assert (accept_all(4, 3, 10).drafted, accept_all(4, 3, 10).tokens) == (8, 3)
    assert accept_all(4, 1).counts == []
