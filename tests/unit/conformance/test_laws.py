"""A law that nothing can break says nothing: each is broken here by a kind that is wrong in one way."""

import itertools
import random
from dataclasses import replace

import numpy as np
import pytest

from papisim.acceptance import geometric
from papisim.acceptance.base import ACCEPTANCE, Outcome
from papisim.conformance import (
    acceptance,
    batching,
    device,
    drafting,
    format,
    link,
    placement,
    routing,
    running,
    speculation,
    workload,
)
from papisim.conformance.law import Subject, example_of, verdict
from papisim.devices import link as devices_link
from papisim.devices import pim
from papisim.devices.base import DEVICE
from papisim.devices.link import LINK
from papisim.engine.drafting import free
from papisim.engine.drafting.base import DRAFTING
from papisim.plan.memory import Demand
from papisim.policies.batching import continuous
from papisim.policies.batching.base import BATCHING, DECODE
from papisim.policies.placement import pinned
from papisim.policies.placement.base import PLACEMENT
from papisim.policies.routing import least_loaded
from papisim.policies.routing.base import ROUTING
from papisim.policies.speculation import feedback_step, fixed
from papisim.policies.speculation.base import SPECULATION, Draft
from papisim.workloads import poisson
from papisim.workloads.base import WORKLOAD
from papisim.workloads.formats.base import FORMAT


def judged(law, family, name, thing, folder):
    """Return what a law finds of a thing in the place of a kind's own."""
    kind = family.load(name)
    right = example_of(family, kind, folder)
    assert verdict(law, right) is None, "the kind itself is right"
    return verdict(law, Subject(family, replace(kind, thing=thing), name, right.options, right.beside))


class Elsewhere(pinned.Placement):
    def place(self, view):
        return "tpu"


class Moody(pinned.Placement):
    def __init__(self, options):
        self._turns = itertools.count()

    def place(self, view):
        return view.candidates[next(self._turns) % 2]


class Greedy(continuous.Batching):
    def plan(self, view):
        return replace(super().plan(view), admit=len(view.waiting))


class Overeager(continuous.Batching):
    def plan(self, view):
        plan = super().plan(view)
        return replace(plan, prefill=tuple(tokens + 1 for tokens in plan.prefill))


class Idle(continuous.Batching):
    def plan(self, view):
        return replace(DECODE, decode=False)


class Once(continuous.Batching):
    def plan(self, view):
        plan, self.plan = super().plan(view), lambda view: DECODE
        return plan


class Beyond(least_loaded.Routing):
    def choose(self, view):
        return len(view.replicas)


class Turning(least_loaded.Routing):
    def __init__(self, options):
        self._turns = itertools.count()

    def choose(self, view):
        return next(self._turns) % len(view.replicas)


class TooLong(fixed.Speculation):
    def plan(self, view):
        return [Draft(9)] * view.rlp


class Lengthens(fixed.Speculation):
    def cut(self, requests, drafts, proposals):
        return [draft.length + 1 for draft in drafts]


class Unsteady(fixed.Speculation):
    def plan(self, view):
        return [Draft(view.iteration % 2)] * view.rlp


class Remembers(feedback_step.Speculation):
    def leave(self, request_id):
        pass


class Gossips(feedback_step.Speculation):
    def learn(self, state, seen):
        for other in self._states.values():
            super().learn(other, seen)


class Punishes(feedback_step.Speculation):
    def learn(self, state, seen):
        super().learn(state, replace(seen, draft=replace(seen.draft, length=max(1, seen.draft.length))))


class Process(geometric.Acceptance):
    """Hands each outcome of the right process to a function that spoils it."""

    def start(self, request_id):
        sequence = super().start(request_id)
        right = sequence.round
        sequence.round = lambda drafted, exit_layer=None: self.spoil(right(drafted, exit_layer))
        return sequence


class Generous(Process):
    def spoil(self, outcome):
        return replace(outcome, accepted=outcome.drafted + 1)


class Biased(Process):
    """Long drafts have one fewer accepted than the same draft cut."""

    def spoil(self, outcome):
        return replace(outcome, accepted=max(0, outcome.accepted - (outcome.drafted > 6)))


class Swayed(Process):
    """A round accepts nothing if more than one token was ever drafted before."""

    swayed = False

    def spoil(self, outcome):
        swayed, self.swayed = self.swayed, self.swayed or outcome.drafted > 1
        return replace(outcome, accepted=0) if swayed else outcome


class Shared(geometric.Acceptance):
    """All requests take their rounds from one sequence."""

    def start(self, request_id):
        self.only = getattr(self, "only", None) or super().start(0)
        return self.only


class Narrow(geometric.Acceptance):
    """Accepts nothing of a bushy tree."""

    def start(self, request_id):
        sequence = super().start(request_id)
        sequence.round_tree = lambda tree: Outcome(2, 2 if len(tree) < 4 else 0)
        return sequence


class Workload(poisson.Workload):
    def __iter__(self):
        return self.spoil(list(super().__iter__()))


class Late(Workload):
    def spoil(self, requests):
        return iter([*requests[1:], requests[0]])


class Doubled(Workload):
    def spoil(self, requests):
        return iter([*requests, requests[-1]])


class NumPy(Workload):
    def spoil(self, requests):
        return (replace(request, input_tokens=np.int64(request.input_tokens)) for request in requests)


class Silent(Workload):
    def spoil(self, requests):
        return (replace(request, output_tokens=0) for request in requests)


class Random(Workload):
    def spoil(self, requests):
        return (replace(request, output_tokens=random.randint(1, 10**6)) for request in requests)


class Fewer(Workload):
    def spoil(self, requests):
        return iter(requests[:2])


class Source(free.Source):
    def draft(self, drafts, cached):
        phases = self.verify(drafts, cached, np.array([draft.rows for draft in drafts]))
        return self.spoil(phases, sum(draft.length for draft in drafts))


class Backwards(Source):
    def spoil(self, phases, drafted):
        return [phase._replace(time_s=-phase.time_s) for phase in phases]


class Nowhere(Source):
    def spoil(self, phases, drafted):
        return [phase._replace(resource="tpu") for phase in phases]


class Always(Source):
    def spoil(self, phases, drafted):
        return phases


class Shrinks(Source):
    def spoil(self, phases, drafted):
        return [phase._replace(time_s=phase.time_s / drafted**2) for phase in phases] if drafted else []


class Tiring(Source):
    def spoil(self, phases, drafted):
        self.calls = getattr(self, "calls", 0) + 1
        return [phase._replace(time_s=phase.time_s * self.calls) for phase in phases] if drafted else []


class Homeless(free.Source):
    demands = (Demand("tpu", 1, 1),)


class Pool(pim.Pool):
    def price(self, kernel):
        return self.spoil(super().price(kernel), kernel)


class Free(Pool):
    def spoil(self, cost, kernel):
        return replace(cost, time_s=0.0)


class Hidden(Pool):
    """A microsecond that no field of the part says."""

    def spoil(self, cost, kernel):
        return replace(cost, time_s=cost.time_s + 1e-6)


class Reversed(Pool):
    def spoil(self, cost, kernel):
        return replace(cost, time_s=1e-12 / cost.time_s)


class Cooling(Pool):
    def spoil(self, cost, kernel):
        return replace(cost, energy=(1e-12 / cost.energy.total_j**2) * cost.energy)


class Warming(Pool):
    def spoil(self, cost, kernel):
        self.calls = getattr(self, "calls", 0) + 1
        return replace(cost, time_s=cost.time_s * self.calls)


class Crowded(Pool):
    def spoil(self, cost, kernel):
        return replace(cost, time_s=cost.time_s * self.count**2)


class Vectorised(pim.Pool):
    def price_growing(self, kernel, n):
        run = super().price_growing(kernel, n)
        return replace(run, time_s=run.time_s[::-1])


class Unlimited(pim.Pool):
    capacity_bytes = 1e12


class Links(devices_link.Links):
    def transfer(self, payload_bytes):
        return self.spoil(super().transfer(payload_bytes))


class Instant(Links):
    def spoil(self, cost):
        return replace(cost, time_s=0.0)


class Hurried(Links):
    def spoil(self, cost):
        return replace(cost, time_s=1e-12 / cost.time_s)


class Congested(Links):
    def spoil(self, cost):
        return replace(cost, time_s=cost.time_s * self.count**2)


CASES = [
    (link.a_message_takes_time_and_energy, LINK, "link", Instant, "takes 0.0 s"),
    (link.more_bytes_are_never_faster, LINK, "link", Hurried, "payloads"),
    (link.more_links_are_never_slower, LINK, "link", Congested, "s over more"),
    (placement.a_kernel_goes_to_a_candidate, PLACEMENT, "pinned", Elsewhere, "placed on 'tpu'"),
    (placement.a_choice_depends_on_the_view_alone, PLACEMENT, "pinned", Moody, "chose otherwise"),
    (batching.it_admits_no_more_than_wait_and_fit, BATCHING, "continuous", Greedy, "in a batch of 8"),
    (batching.it_computes_prompts_that_are_there, BATCHING, "continuous", Overeager, "prompt tokens computed of"),
    (batching.a_machine_does_not_idle_for_nothing, BATCHING, "continuous", Idle, "nothing is done"),
    (batching.a_plan_depends_on_the_view_alone, BATCHING, "continuous", Once, "planned otherwise"),
    (routing.a_request_goes_to_a_replica_that_is_there, ROUTING, "least_loaded", Beyond, "chose "),
    (routing.a_choice_depends_on_the_view_alone, ROUTING, "least_loaded", Turning, "chose otherwise"),
    (speculation.drafts_stay_within_their_bounds, SPECULATION, "fixed", TooLong, "at most 3 are allowed"),
    (speculation.drafts_stay_within_their_bounds, SPECULATION, "fixed", Lengthens, "was cut to 4"),
    (speculation.what_is_steady_does_not_change, SPECULATION, "fixed", Unsteady, "said 4 tokens in flight"),
    (speculation.a_request_that_has_left_is_forgotten, SPECULATION, "feedback_step", Remembers, "after it had left"),
    (speculation.requests_are_independent, SPECULATION, "feedback_step", Gossips, "the other request changed"),
    (speculation.no_draft_is_no_evidence, SPECULATION, "feedback_step", Punishes, "after a round without drafts"),
    (acceptance.accepted_is_at_most_what_was_drafted, ACCEPTANCE, "geometric", Generous, "accepted of"),
    (acceptance.a_cut_changes_nothing_but_the_cut, ACCEPTANCE, "geometric", Biased, "of the long one"),
    (acceptance.rounds_do_not_depend_on_earlier_drafts, ACCEPTANCE, "geometric", Swayed, "after rounds of one draft"),
    (acceptance.requests_are_independent, ACCEPTANCE, "geometric", Shared, "in another order"),
    (acceptance.a_larger_tree_never_has_fewer_accepted, ACCEPTANCE, "geometric", Narrow, "of a larger one"),
    (workload.requests_arrive_in_order, WORKLOAD, "poisson", Late, "arrives"),
    (workload.requests_arrive_in_order, WORKLOAD, "poisson", Doubled, "the ids are"),
    (workload.requests_are_of_tokens, WORKLOAD, "poisson", NumPy, "expected plain integers"),
    (workload.requests_are_of_tokens, WORKLOAD, "poisson", Silent, "without tokens"),
    (workload.the_same_seed_gives_the_same_requests, WORKLOAD, "poisson", Random, "other requests"),
    (
        workload.its_number_of_requests_is_that_of_its_options,
        WORKLOAD,
        "poisson",
        Fewer,
        "2 requests, 50 in the options",
    ),
    (drafting.work_takes_time_and_energy_on_what_the_machine_has, DRAFTING, "free", Backwards, "a phase of -"),
    (drafting.work_takes_time_and_energy_on_what_the_machine_has, DRAFTING, "free", Nowhere, "a phase on 'tpu'"),
    (drafting.without_drafts_nothing_is_drafted, DRAFTING, "free", Always, "drafting nothing takes"),
    (drafting.more_drafts_never_take_less, DRAFTING, "free", Shrinks, "drafts of 0 to 8 tokens take"),
    (drafting.a_price_depends_on_the_drafts_alone, DRAFTING, "free", Tiring, "s later"),
    (drafting.its_memory_is_on_a_device_of_the_machine, DRAFTING, "free", Homeless, "which is no device"),
    (device.work_takes_time_and_energy, DEVICE, "pim", Free, "takes 0.0 s"),
    (device.a_price_is_a_pure_function, DEVICE, "pim", Warming, "at first"),
    (device.more_work_is_never_faster, DEVICE, "pim", Reversed, "takes"),
    (device.more_work_never_takes_less_energy, DEVICE, "pim", Cooling, " J"),
    (device.more_devices_are_never_slower, DEVICE, "pim", Crowded, "devices takes"),
    (device.time_scales_with_every_rate, DEVICE, "pim", Hidden, "with twice every rate"),
    (device.wider_matrices_are_never_faster, DEVICE, "pim", Reversed, "takes"),
    (device.longer_caches_are_never_faster, DEVICE, "pim", Reversed, "takes"),
    (device.prices_of_many_caches_are_the_prices_of_each, DEVICE, "pim", Vectorised, "one by one"),
    (device.capacity_and_static_power_grow_with_the_count, DEVICE, "pim", Unlimited, "capacity_bytes: 1"),
]


@pytest.mark.parametrize(
    ("law", "family", "name", "thing", "said"),
    CASES,
    ids=[f"{case[0].__name__}-{case[3].__name__}" for case in CASES],
)
def test_a_kind_that_is_wrong_in_one_way_breaks_the_law(law, family, name, thing, said, tmp_path):
    assert said in (judged(law, family, name, thing, tmp_path) or "nothing was found")


class Claims:
    TAKES = frozenset({"colour"})

    @staticmethod
    def detect(head):
        return True

    @staticmethod
    def read(reading):
        yield 0.0, 1, 1


@pytest.mark.parametrize(
    ("law", "said"),
    [
        (format.it_claims_its_own_files, "it claims ''"),
        (format.it_names_fields_that_there_are, "it takes ['colour']"),
    ],
)
def test_a_format_that_claims_too_much_breaks_the_law(law, said, tmp_path):
    assert said in (judged(law, FORMAT, "azure", lambda: Claims, tmp_path) or "nothing was found")


def test_every_law_of_a_familys_own_is_broken_by_something():
    """Those of formats and whole runs aside."""
    broken = {case[0] for case in CASES}
    of_runs = ("runs", "every_request", "fast_runs", "requests_on_two")
    for module in (placement, batching, routing, speculation, acceptance, drafting, device, link):
        laws = [law for law in module.LAWS if not law.__name__.startswith(of_runs)]
        assert set(laws) <= broken


def figures(**changed):
    return {
        "outcomes": {"served": 6, "refused": 0, "failed": 0, "timed_out": 0},
        "n_output_tokens": 111,
        "makespan_s": 0.5,
    } | changed


@pytest.mark.parametrize(
    ("law", "one", "other", "said"),
    [
        (running.every_request_gets_all_its_tokens, {"n_output_tokens": 110}, {}, "110 tokens emitted of 111"),
        (
            running.every_request_gets_all_its_tokens,
            {"outcomes": {"served": 5, "refused": 1, "failed": 0, "timed_out": 0}},
            {},
            "outcomes {'served': 5",
        ),
        (running.runs_repeat, {"makespan_s": 0.5}, {"makespan_s": 0.5 * (1 + 1e-8)}, "makespan_s is 0.5, then 0.5"),
        (running.fast_runs_are_exact, {}, {"fold": 3.0}, "figures ['fold'] are in one alone"),
    ],
)
def test_a_run_that_loses_tokens_or_changes_breaks_the_law(law, one, other, said, tmp_path, monkeypatch):
    runs = iter([figures(**one), figures(**other)])
    monkeypatch.setattr(running, "summary", lambda subject, **options: next(runs))
    subject = example_of(PLACEMENT, PLACEMENT.load("cheapest"), tmp_path)
    assert said in (verdict(law, subject) or "nothing was found")


def test_an_exception_of_a_kind_is_told_with_its_place(tmp_path):
    class Crashes(pinned.Placement):
        def place(self, view):
            return view.colour

    found = judged(placement.a_kernel_goes_to_a_candidate, PLACEMENT, "pinned", Crashes, tmp_path)
    assert "AttributeError: 'PlacementView' object has no attribute 'colour'" in found
    assert "test_laws.py:" in found
