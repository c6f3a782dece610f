"""What every workload must do."""

from __future__ import annotations

from itertools import pairwise
from math import isfinite
from typing import TypeAlias

from papisim.config.experiment import load_experiment, options_of
from papisim.config.sections import load_section
from papisim.conformance.law import Subject, expect
from papisim.engine.run import simulate
from papisim.results.metrics import summarise
from papisim.workloads.base import WORKLOAD, ClosedLoop, Request, WorkloadOptions, WorkloadSource

Asking: TypeAlias = Subject[WorkloadOptions, WorkloadSource]

_SEEDS = (0, 11)


def everything(workload: WorkloadSource) -> list[Request]:
    """Return all requests of a workload; those of a closed loop as if each took a second."""
    requests = list(workload)
    if isinstance(workload, ClosedLoop):
        for request in requests:
            after = workload.follow(request, request.arrival_s + 1)
            requests += [after] if after else []
    return requests


def the_same_seed_gives_the_same_requests(subject: Asking) -> None:
    """The same seed gives the same requests, however often they are asked for."""
    for seed in _SEEDS:
        workload = subject.build(seed)
        first = everything(workload)
        expect(everything(workload) == first, "asked again, it gave other requests")
        expect(everything(subject.build(seed)) == first, "built again, it gave other requests")


def requests_arrive_in_order(subject: Asking) -> None:
    """Requests arrive one after another from time 0 on, and each has an id of its own, counted from 0."""
    for seed in _SEEDS:
        arrivals = [request.arrival_s for request in subject.build(seed)]
        expect(bool(arrivals), "there is no request")
        expect(arrivals[0] >= 0 and all(isfinite(at) for at in arrivals), f"the first arrives at {arrivals[0]} s")
        expect(
            all(one <= other for one, other in pairwise(arrivals)), "a request arrives before the one in front of it"
        )
        ids = sorted(request.request_id for request in everything(subject.build(seed)))
        expect(ids == list(range(len(ids))), f"the ids are {ids[:10]} …")


def requests_are_of_tokens(subject: Asking) -> None:
    """Each request has a prompt and an answer of at least one token, as plain Python numbers."""
    for request in everything(subject.build(0)):
        counts = (request.request_id, request.input_tokens, request.output_tokens)
        expect(all(type(count) is int for count in counts), f"found {request!r}, expected plain integers")
        expect(type(request.arrival_s) is float, f"found the arrival {request.arrival_s!r}, expected a float")
        expect(min(request.input_tokens, request.output_tokens) >= 1, f"found {request!r} without tokens")


def its_number_of_requests_is_that_of_its_options(subject: Asking) -> None:
    """Where options say ``n_requests``, there are that many; with fewer asked for, there are fewer."""
    wanted = getattr(subject.options, "n_requests", None)
    if wanted is None:
        return
    found = len(everything(subject.build(0)))
    expect(found == wanted, f"{found} requests, {wanted} in the options")
    fewer = load_section("workload", subject.options.model_dump(), fields={"n_requests": 3}).options
    found = len(everything(WORKLOAD.build(fewer, 0)))
    expect(found == 3, f"{found} requests, 3 were asked for")


def options_give_the_same_requests_when_read_again(subject: Asking) -> None:
    """Options written as JSON and read again give the same requests."""
    again = type(subject.options).model_validate_json(subject.options.model_dump_json())
    expect(everything(WORKLOAD.build(again, 0)) == everything(subject.build(0)), "they gave other requests")


def every_request_gets_all_its_tokens(subject: Asking) -> None:
    """A run serves a few of the requests to their last token."""
    few = {"n_requests": 4} if hasattr(subject.options, "n_requests") else {}
    workload = load_section("workload", subject.options.model_dump(), fields=few).options
    run = summarise(simulate(load_experiment(options_of(hw="papi", trace="llama7b", workload=workload))))
    outcomes = run["outcomes"]
    expect(outcomes["failed"] == outcomes["refused"] == 0 < outcomes["served"], f"outcomes {outcomes}")


LAWS = (
    the_same_seed_gives_the_same_requests,
    requests_arrive_in_order,
    requests_are_of_tokens,
    its_number_of_requests_is_that_of_its_options,
    options_give_the_same_requests_when_read_again,
    every_request_gets_all_its_tokens,
)
