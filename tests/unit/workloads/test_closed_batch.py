from papisim.config.sections import load_section
from papisim.workloads.closed_batch import Workload

OPTIONS = load_section("workload", "creative_writing").options


def test_all_requests_are_there_at_time_zero_and_numbered_in_order():
    requests = list(Workload(OPTIONS, seed=0))
    assert len(requests) == OPTIONS.n_requests
    assert [request.request_id for request in requests] == list(range(OPTIONS.n_requests))
    assert {request.arrival_s for request in requests} == {0.0}


def test_every_iteration_yields_the_same_and_another_seed_another():
    workload = Workload(OPTIONS, seed=0)
    assert list(workload) == list(workload) == list(Workload(OPTIONS, seed=0))
    assert list(workload) != list(Workload(OPTIONS, seed=1))
