"""The ledger by hand: arrivals and ends, Little's integral, drafts by position, and switches of FC."""

import numpy as np
import pytest

from papisim.config.experiment import SloSpec
from papisim.ops.cost import Energy
from papisim.plan.layout import StepLayout
from papisim.plan.phase import Category, Phase
from papisim.policies.placement.base import Operator
from papisim.record.ledger import DraftCount, Ledger
from papisim.record.requests import RequestOutcome, RequestRecord
from papisim.record.segment import Elapsed, PlannedStep, Segment, StepYield
from papisim.record.steps import StepKind

SERVED, REFUSED, FAILED, _ = RequestOutcome


def record(request_id: int, arrival_s: float, finish_s: float, outcome: RequestOutcome = SERVED) -> RequestRecord:
    emitted = 5 if outcome is SERVED else 2
    return RequestRecord(
        request_id, "s", arrival_s, arrival_s + 1, arrival_s + 2, finish_s, 10, 5, emitted, 1, outcome, ""
    )


def test_requests_are_kept_in_the_order_of_their_arrival_whichever_ends_first():
    ledger = Ledger()
    numbers = [ledger.arrived(float(at), 10, 5) for at in range(3)]
    assert numbers == [0, 1, 2]
    for number in (2, 0):
        ledger.ended(number, record(100 + number, number, 6.0))
    assert [each.request_id for each in ledger.requests] == [100, 102], "the second has not ended"
    ledger.ended(1, record(101, 1, 8.0))
    assert [each.request_id for each in ledger.requests] == [100, 101, 102]
    assert (ledger.start_s, ledger.end_s, ledger.makespan_s) == (0, 8, 8)


def test_requests_in_the_system_integrate_to_their_times_there():
    ledger = Ledger()
    for number, at in enumerate((1.0, 2.0, 4.0)):
        assert ledger.arrived(at, 10, 5) == number
    for number, (arrival_s, finish_s) in enumerate([(1, 6), (2, 7), (4, 9)]):
        ledger.ended(number, record(number, arrival_s, finish_s))
    assert ledger.in_system == 0
    assert ledger.in_system_s == ledger.sojourn_s == 15


def test_tokens_of_requests_that_were_not_served_are_lost():
    ledger = Ledger(slo=SloSpec(ttft_s=3.0))
    for number, outcome in enumerate((SERVED, REFUSED, FAILED)):
        ledger.arrived(0.0, 10, 5)
        ledger.ended(number, record(number, 0.0, 9.0, outcome))
    assert ledger.lost_tokens == 2 * 3
    assert ledger.outcomes == {SERVED: 1, REFUSED: 1, FAILED: 1}
    assert ledger.arrived_tokens == 45
    assert ledger.n_preemptions == 3
    assert ledger.met_slo == 1, "only served requests meet targets"
    assert ledger.latencies["ttft"].n_values == 1
    assert ledger.latencies["tpot"].mean == pytest.approx(7 / 4)


def test_drafts_are_counted_at_every_position_that_they_reach():
    ledger = Ledger()
    ledger.note_drafts([DraftCount(3, 1, 2), DraftCount(1, 1), DraftCount(2, 0)])
    assert ledger.drafted_at == {1: 4, 2: 3, 3: 2}
    assert ledger.accepted_at == {1: 3}


def step(index: int, device: str, server: str = "s", kind: StepKind = StepKind.DECODE) -> Segment:
    phases = (Phase(device, Category.FC, 1.0, Energy(), 1.0, operator=Operator.FC),)
    plan = PlannedStep(kind, server, index, 0.0, 4, 4, 8, 0, 100, np.array([1000]), np.ones(1), StepLayout(), phases)
    return Segment(plan, Elapsed.of(plan.times_s, 1), StepYield(4))


def test_a_switch_is_a_change_of_device_between_decoding_iterations_of_one_server():
    ledger = Ledger()
    for segment in (
        step(0, "gpu"),
        step(0, "pim", "other"),
        step(0, "pim", kind=StepKind.PREFILL),
        step(1, "gpu"),
        step(2, "pim"),
        step(1, "pim", "other"),
    ):
        ledger.record(segment)
    assert ledger.n_switches == 1
    assert ledger.switches == [{"iteration": 2, "rlp": 4, "rows": 8, "from": "gpu", "to": "pim"}]
    fc = ledger.visits[Operator.FC]
    assert (fc.iterations, fc.n_switches) == ({"gpu": 2, "pim": 3}, 1), "prefills are no iterations"
    assert fc.time_s == {"gpu": 2.0, "pim": 3.0}
    assert ledger.kv_byte_s == 6 * 100 * 10
    assert ledger.kv_token_s == 6 * 100
    assert ledger.running_s == 6 * 4
    assert ledger.busy_s == {"gpu": 2, "pim": 4}
    assert [row.index for row in ledger.steps] == [0, 0, 0, 1, 2, 1]


def test_peaks_are_per_server_and_added_up():
    ledger = Ledger()
    for server, in_use in (("a", 3.0), ("b", 5.0), ("a", 2.0)):
        ledger.note_kv(server, in_use)
    assert ledger.peak_kv_bytes == 8


def test_messages_between_servers_are_in_the_sums_of_everything_and_of_no_kind():
    ledger = Ledger()
    ledger.moved(Phase("nvlink", Category.COMMUNICATION, 2.0, Energy(link_j=3.0)))
    assert ledger.busy_s == {"nvlink": 2}
    assert ledger.energy_by_resource["nvlink"].link_j == 3
    assert ledger.sums(StepKind.DECODE).busy_by == {}


def test_without_rows_nothing_grows_with_the_run():
    pytest.importorskip("ddsketch")
    ledger = Ledger(keeps_rows=False)
    for number in range(50):
        ledger.arrived(float(number), 10, 5)
        ledger.record(step(number, "gpu"))
        ledger.ended(number, record(number, number, number + 2.0))
    assert (ledger.requests, ledger.segments, ledger.switches) == ([], [], [])
    assert ledger.outcomes[SERVED] == 50
    assert ledger.latencies["e2e"].percentile(50) == pytest.approx(2, rel=2e-3)
