"""The passing of a step's time, by hand: ends 1, 3 and 6 s after the start."""

import numpy as np
import pytest
import simpy

from papisim.engine.clock import StepClock
from papisim.engine.faults import Loss, Stall
from papisim.ops.cost import Energy
from papisim.plan.layout import StepLayout
from papisim.plan.phase import Category, Phase
from papisim.record.segment import Elapsed, PlannedStep
from papisim.record.steps import StepKind


def plan(*times_s: float, resource: str = "gpu") -> PlannedStep:
    phase = Phase(resource, Category.FC, 1.0, Energy())
    return PlannedStep(
        StepKind.DECODE, "s", 0, 0.0, 1, 1, 1, 0, 0, np.zeros(len(times_s), dtype=np.int64), np.array(times_s), StepLayout(),
        phases=(phase,), step_tokens=1,
    )  # fmt: skip


def run(steps: PlannedStep, *events: tuple[float, str], may_be_truncated: bool = True) -> tuple[Elapsed, float]:
    """Run steps while events happen at given times: ``truncate``, or a stall of a device by a number of seconds."""
    env = simpy.Environment()
    clock, done = StepClock(env), list[Elapsed]()

    def serve():
        done.append((yield from clock.run(steps, may_be_truncated=may_be_truncated)))

    process = env.process(serve())

    def happen(at_s: float, what: str):
        yield env.timeout(at_s)
        if what == "truncate":
            clock.truncate(process)
        else:
            device, seconds = what.split(":")
            clock.stall(Stall(device, env.now + float(seconds)), process)

    for event in events:
        env.process(happen(*event))
    env.run(process)
    return done[0], clock.now_s


def test_undisturbed_steps_take_their_planned_times():
    elapsed, now_s = run(plan(1, 2, 3))
    assert (elapsed.n_steps, elapsed.times_s.tolist(), elapsed.time_s, elapsed.stalled_s) == (3, [1, 2, 3], 6, 0)
    assert now_s == 6


@pytest.mark.parametrize(("at_s", "n", "end_s"), [(0.5, 1, 1), (2.0, 2, 3), (4.0, 3, 6)])
def test_a_truncated_stretch_ends_with_the_iteration_that_is_running(at_s: float, n: int, end_s: float):
    elapsed, now_s = run(plan(1, 2, 3), (at_s, "truncate"))
    assert (elapsed.n_steps, elapsed.time_s, now_s) == (n, end_s, end_s)


def test_a_truncation_at_the_very_end_of_an_iteration_ends_the_stretch_there():
    assert run(plan(1, 2, 3), (1.0, "truncate"))[0].n_steps == 1


def test_steps_that_no_arrival_may_truncate_run_on():
    assert run(plan(1, 2, 3), (0.5, "truncate"), may_be_truncated=False)[0].n_steps == 3


def test_a_stall_delays_the_step_that_is_running_and_ends_the_stretch_with_it():
    elapsed, now_s = run(plan(1, 2, 3), (2.0, "gpu:5"))
    assert (elapsed.n_steps, elapsed.times_s.tolist(), elapsed.stalled_s, now_s) == (2, [1, 7], 5, 8)


def test_a_second_stall_during_the_first_adds_what_it_lasts_longer():
    elapsed, now_s = run(plan(4), (1.0, "gpu:5"), (2.0, "gpu:6"))
    assert (elapsed.stalled_s, now_s) == (7, 11), "from 1 to 8 s"


def test_the_stall_of_a_device_without_a_part_changes_nothing():
    assert run(plan(4), (1.0, "pim:5"))[0].stalled_s == 0


def test_a_stall_before_the_step_delays_the_first_step_that_uses_the_device():
    env = simpy.Environment()
    clock, seen = StepClock(env), list[Elapsed]()

    def serve():
        for resource in ("pim", "gpu", "gpu"):
            seen.append((yield from clock.run(plan(1, 1, resource=resource))))

    process = env.process(serve())
    clock.stall(Stall("gpu", 5.0), process)
    env.run(process)
    assert [each.stalled_s for each in seen] == [0, 3, 0], "the second begins at 2 s"
    assert [each.n_steps for each in seen] == [2, 1, 2]


def test_a_loss_ends_the_step_without_a_record():
    env = simpy.Environment()
    clock = StepClock(env)

    def serve():
        with pytest.raises(simpy.Interrupt):
            yield from clock.run(plan(9))

    process = env.process(serve())

    def lose():
        yield env.timeout(1)
        process.interrupt(Loss("gpu", "gone"))

    env.process(lose())
    env.run(process)
    assert env.now == 1
