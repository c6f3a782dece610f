"""A search finds what no other point beats, with fewer trials than chance, and nothing is lost or done twice."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from papisim.errors import InputError
from papisim.exploration import evaluate
from papisim.exploration.optimise import front_of, optimise
from papisim.exploration.pareto import as_losses, best, front
from papisim.exploration.run import sweep
from papisim.exploration.workers import Here, Processes

pytest.importorskip("optuna", reason="needs the extra [sweep]")

#: ZDT1 (Zitzler, Deb and Thiele, 2000) in three variables: its front is f2 = 1 − √f1, where y = z = 0
ZDT1 = """
variables: {x: {range: [0.0, 1.0]}, y: {range: [0.0, 1.0]}, z: {range: [0.0, 1.0]}}
optimise:
  objectives:
    f1: {minimise: x}
    f2: {minimise: "(1 + 4.5 * (y + z)) * (1 - sqrt(x / (1 + 4.5 * (y + z))))"}
  sampler: SAMPLER
  population: 12
  batch: 4
  seed: 0
"""
REAL = """
space: {devices.fc_pim.count: {range: [1, 40]}, placement: [papi, "pinned:gpu"], tlp: {values: [2, 4], when: placement == 'papi'}}
constraints: {slo: tpot_p99_s <= 2 ms}
optimise:
  objectives: {rate: {maximise: throughput_tokens_per_s}, devices: {minimise: n_devices}}
  population: 8
"""


class Interrupted(Exception):
    """Stands for a kill."""


@pytest.fixture(autouse=True)
def no_waiting_for_disks(monkeypatch):
    """Let a study's journal be written when the system likes: no test here loses its power."""
    monkeypatch.setattr("os.fsync", lambda descriptor: None)


@pytest.fixture
def one_run(monkeypatch):
    """Simulate once only, where points differ in variables alone."""
    simulate, known = evaluate.simulate, []

    def once(experiment, **options):
        known.extend([] if known else [simulate(experiment, **options)])
        return known[0]

    monkeypatch.setattr(evaluate, "simulate", once)


@pytest.fixture
def simulated(monkeypatch):
    """Return a list that grows by one with each simulation."""
    done, simulate = [], evaluate.simulate

    def counted(experiment, **options):
        done.append(experiment)
        return simulate(experiment, **options)

    monkeypatch.setattr(evaluate, "simulate", counted)
    return done


def hypervolume(points, reference):
    """Return the area between a front of two losses and a reference point that is worse than all that counts."""
    area, height = 0.0, reference[1]
    for first, second in sorted(points):
        if first < reference[0] and second < height:
            area += (reference[0] - first) * (height - second)
            height = second
    return area


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["nsga2", "tpe"])
def test_a_search_beats_chance_at_the_same_number_of_trials(declare, tmp_path, one_run, sampler):
    def covered(name, seed):
        file = declare(ZDT1.replace("SAMPLER", name).replace("seed: 0", f"seed: {seed}"))
        found = optimise(file, tmp_path / f"{name}{seed}", Here(), trials=96).front
        return hypervolume(zip(found["f1"], found["f2"], strict=True), (1.1, 6.0))

    ideal = 1.1 * 6.0 - 1 / 3  # all but what lies under 1 − √f1
    for seed in range(5):
        searched, drawn = covered(sampler, seed), covered("random", seed)
        assert drawn < searched <= ideal


@pytest.mark.slow
def test_the_seed_decides_and_not_who_computes(declare, tmp_path):
    file = declare(REAL)
    one = optimise(file, tmp_path / "one", Here(), trials=16)
    with Processes(2) as processes:
        two = optimise(file, tmp_path / "two", processes, trials=16)
    other = optimise(declare(REAL + "  seed: 7"), tmp_path / "other", Here(), trials=16)
    pd.testing.assert_frame_equal(one.frame, two.frame)
    pd.testing.assert_frame_equal(one.front, two.front)
    assert not one.frame["devices.fc_pim.count"].equals(other.frame["devices.fc_pim.count"])


def test_a_search_that_goes_on_is_the_search_that_did_not_stop(declare, tmp_path, simulated):
    file = declare(REAL)
    whole = optimise(file, tmp_path / "whole", Here(), trials=24)
    n_whole = len(simulated)
    simulated.clear()
    optimise(file, tmp_path / "out", Here(), trials=16)
    again = optimise(file, tmp_path / "out", Here(), trials=24, resume=True)
    assert len(simulated) == n_whole
    pd.testing.assert_frame_equal(again.frame, whole.frame)


def test_an_interrupt_in_a_batch_loses_no_simulation(declare, tmp_path, simulated):
    file = declare(REAL)
    seen = Counter()

    def interrupt(tally):
        seen.update(tally)
        if seen["ok"] + seen["infeasible"] == 12:
            raise Interrupted

    with pytest.raises(Interrupted):
        optimise(file, tmp_path / "out", Here(), trials=16, progress=interrupt)
    before = len(simulated)
    frame = optimise(file, tmp_path / "out", Here(), trials=16, resume=True).frame
    assert len(frame) == 16
    assert before + len(simulated[before:]) == frame["run_sha256"].nunique()


def test_what_breaks_a_constraint_is_never_on_the_front(declare, tmp_path):
    found = optimise(declare(REAL), tmp_path / "out", Here(), trials=24)
    assert set(found.frame["status"]) == {"ok", "infeasible"}
    assert set(found.front["status"]) == {"ok"}
    assert (found.front["tpot_p99_s"] <= 2e-3).all()
    missed = found.frame[found.frame["status"] == "infeasible"]
    assert (missed["violation_ratio"] > 0).all()


def test_the_front_has_no_point_twice_and_none_that_another_beats(declare, tmp_path):
    found = optimise(declare(REAL), tmp_path / "out", Here(), trials=32).front
    assert not found.duplicated(["rate", "devices"]).any()
    for _, row in found.iterrows():
        better = (found["rate"] >= row["rate"]) & (found["devices"] <= row["devices"])
        assert better.sum() == 1, "only itself"


def test_a_warm_start_begins_with_a_sweeps_best_and_simulates_none_of_them(declare, tmp_path, simulated):
    grid = REAL.replace("{range: [1, 40]}", "[2, 5, 10, 20, 40]")
    swept = sweep(declare(grid), tmp_path / "sweep", Here())
    simulated.clear()
    file = declare(REAL)
    found = optimise(file, tmp_path / "out", Here(), trials=8, warm_start=tmp_path / "sweep")
    assert simulated == []
    known = swept.frame[swept.frame["status"] == "ok"]
    on_front = front(as_losses(known[["rate", "devices"]].to_numpy(), [True, False]))
    expected = known[on_front].drop_duplicates(["rate", "devices"])
    assert set(found.front["rate"]) == set(expected["rate"])


@pytest.mark.slow
def test_machines_that_share_a_study_search_together(declare, tmp_path):
    file = declare(REAL)
    for storage in (str(tmp_path / "shared.journal"), f"sqlite:///{tmp_path}/shared.db"):
        name = storage[-3:]
        first = optimise(file, tmp_path / f"a{name}", Here(), trials=8, storage=storage)
        second = optimise(file, tmp_path / f"b{name}", Here(), trials=16, storage=storage)
        assert len(first.frame) == 8
        assert len(second.frame) == 16
        pd.testing.assert_series_equal(second.frame["rate"].head(8), first.frame["rate"])


def test_a_study_of_another_file_is_not_gone_on_with(declare, tmp_path):
    optimise(declare(REAL), tmp_path / "out", Here(), trials=8)
    optimise(declare(REAL + "  seed: 3"), tmp_path / "out", Here(), trials=10, resume=True)
    with pytest.raises(InputError, match="of a file with another space, constraints or objectives"):
        optimise(declare(REAL.replace("2 ms", "3 ms")), tmp_path / "out", Here(), trials=10, resume=True)


@pytest.mark.parametrize(
    ("rest", "options", "said"),
    [
        ("space: {batch: [1]}", {}, "has no 'optimise'"),
        (REAL, {"storage": "nowhere/at/all.journal"}, "its folder is not there"),
        (REAL, {"warm_start": "nowhere"}, "no such file"),
    ],
)
def test_a_search_that_cannot_begin_says_why(declare, tmp_path, rest, options, said):
    options = {name: tmp_path / value if name == "warm_start" else value for name, value in options.items()}
    with pytest.raises(InputError, match=said):
        optimise(declare(rest), tmp_path / "out", Here(), **options)


def test_a_sweep_with_no_point_of_the_space_is_no_warm_start(declare, tmp_path):
    sweep(declare("space: {batch: [1]}"), tmp_path / "sweep", Here())
    with pytest.raises(InputError, match="no point of this space"):
        optimise(declare(REAL), tmp_path / "out", Here(), warm_start=tmp_path / "sweep")


def test_a_trial_that_fails_is_a_row_and_the_search_goes_on(declare, tmp_path):
    file = declare("""
space: {hw: [papi, attacc_only], placement: [papi, "pinned:fc_pim"], batch: {range: [1, 3]}}
optimise: {objectives: {rate: {maximise: throughput_tokens_per_s}}, sampler: random, trials: 20}
""")
    found = optimise(file, tmp_path / "out", Here(), "csv")
    assert set(found.frame["status"]) == {"ok", "failed"}
    assert len(found.front) == 1
    assert found.front["rate"][0] == found.frame["rate"].max()


losses_ = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=25)


@given(losses_)
def test_the_front_is_what_no_row_dominates(rows):
    losses = np.array(rows, dtype=float)

    def dominates(a, b):
        return all(x <= y for x, y in zip(a, b, strict=True)) and a != b

    assert front(losses).tolist() == [not any(dominates(other, row) for other in rows) for row in rows]


@given(losses_, st.integers(1, 30))
def test_the_best_rows_are_taken_front_by_front(rows, count):
    losses = np.array(rows, dtype=float)
    chosen = best(losses, count)
    assert len(chosen) == len(set(chosen)) == min(count, len(rows))
    left_out = losses[[index for index in range(len(rows)) if index not in chosen]]
    if len(left_out):
        worst = losses[chosen]
        assert not any((np.all(other <= row) and np.any(other < row)) for other in left_out for row in worst[:1])


def test_a_front_of_nothing_is_empty(declare):
    file = declare(REAL)
    assert front_of(file.search, [{"status": "infeasible"}]) == []
