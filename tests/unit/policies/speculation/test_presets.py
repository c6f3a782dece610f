"""What holds for every speculation policy, by existing."""

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from papisim import catalog
from papisim.config.sections import load_section
from papisim.config.sources import take_sources
from papisim.config.yaml import load_yaml
from papisim.policies.speculation.base import SPECULATION, Proposal, Round

FOLDER = catalog.data_folder() / "hwconfigs" / "policies" / "speculation"
PRESETS = sorted(path.stem for path in FOLDER.glob("*.yaml"))
N_LAYERS = 8

every_preset = pytest.mark.parametrize("name", PRESETS)
#: policies that also learn about all requests together
SHARED = {"smartspec", "co_scheduled"}
every_lonely_preset = pytest.mark.parametrize("name", sorted(set(PRESETS) - SHARED))


def longest(options):
    """Return the longest draft that options allow."""
    if hasattr(options, "max_length"):
        return options.max_length
    if hasattr(options, "depths"):
        return max(limit.depth for limit in options.depths)
    if hasattr(options, "table"):
        return max(len(row.tree) if hasattr(row, "tree") else row.length for row in options.table)
    return options.length


def price_s(drafts):
    return 1.0 + 0.01 * sum(draft.rows for draft in drafts) + 0.1 * max(draft.length for draft in drafts)


def signal(rng, length):
    return tuple(rng.random() for _ in range(length))


def verify(rng, request_id, draft, proposal):
    layers = range(N_LAYERS - 1) if draft.exit_layer else ()
    return Round(
        request_id,
        draft,
        rng.choice((0, draft.length, rng.randint(0, draft.length))),
        proposal.confidence[: draft.length],
        signal(rng, draft.length),
        tuple(tuple(x > 0.5 for x in signal(rng, draft.length + 1)) for _ in layers),
        tuple(signal(rng, draft.length + 1) for _ in layers),
    )


def shorten(draft, length):
    return replace(draft, length=length, tree=draft.tree[:length] if draft.tree else None)


def iterate(rng, policy, view):
    """Run one iteration and return the drafts as planned and their lengths as cut."""
    drafts = policy.plan(view)
    proposals = [
        Proposal(signal(rng, draft.length), tuple(3 * x for x in signal(rng, draft.length))) for draft in drafts
    ]
    kept = policy.cut(view.requests, drafts, proposals)
    drafted = [shorten(draft, length) for draft, length in zip(drafts, kept, strict=True)]
    outcomes = zip(view.requests, drafted, proposals, strict=True)
    policy.observe([verify(rng, request_id, draft, proposal) for request_id, draft, proposal in outcomes])
    return drafts, kept


def test_there_is_a_preset_for_every_policy_that_needs_options(preset):
    kinds = {preset(name).kind for name in PRESETS}
    assert set(SPECULATION.own()) - kinds == {"off", "fixed", "schedule"}
    assert len(PRESETS) == 17


@every_preset
def test_a_preset_loads_says_what_it_is_and_has_a_source_for_every_number(name):
    document = load_yaml(FOLDER / f"{name}.yaml")
    assert document.data["schema"] == "papisim/speculation/1"
    assert document.data["description"]
    sources, errors = take_sources(document)
    assert errors == []
    assert sources
    assert load_section("speculation", name).options.kind == document.data["kind"]


@every_preset
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_drafts_stay_within_their_bounds_whatever_happens(*, policy, preset, view, name, seed):
    rng, subject, most = Random(seed), policy(name), longest(preset(name))
    for iteration in range(12):
        requests = rng.sample(range(6), rng.randint(1, 4))
        drafts, kept = iterate(rng, subject, view(*requests, price_s=price_s, iteration=iteration, n_layers=N_LAYERS))
        assert len(drafts) == len(requests)
        for draft, length in zip(drafts, kept, strict=True):
            assert 0 <= draft.length <= most
            assert draft.tree is None or (len(draft.tree) == draft.length and min(draft.tree) >= 1)
            assert min(draft.length, 1) <= length <= draft.length
            assert draft.exit_layer is None or 1 <= draft.exit_layer < N_LAYERS


@every_lonely_preset
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_a_request_that_has_left_is_a_stranger_when_its_id_returns(policy, view, name, seed):
    rng, subject, alone = Random(seed), policy(name), view(7, price_s=price_s, n_layers=N_LAYERS)
    first = subject.plan(alone)
    for _ in range(8):
        iterate(rng, subject, alone)
    subject.leave(7)
    assert subject.plan(alone) == first


@every_preset
def test_leaving_frees_what_was_known_and_may_be_said_twice(policy, view, name):
    subject = policy(name)
    subject.plan(view(7, 8, price_s=price_s, n_layers=N_LAYERS))
    for request_id in (7, 8, 7):
        subject.leave(request_id)
    assert not getattr(subject, "_states", {})


@every_lonely_preset
def test_what_one_request_does_leaves_the_others_alone(policy, view, seen, name):
    fields = {"cap": False} if name.startswith("dsde") else {}  # the cap is meant to join requests
    together, alone = policy(name, **fields), policy(name, **fields)
    klds = {"kld": (0.9, 0.1, 0.5, 0.2)}
    for _ in range(30):
        together.observe([seen(0, 4, request_id=1, **klds), seen(4, 4, request_id=2, **klds)])
        alone.observe([seen(4, 4, request_id=2, **klds)])
    requests = view(1, 2, n_layers=N_LAYERS)
    assert together.plan(requests)[1] == alone.plan(requests)[1]


@every_preset
def test_a_round_without_drafts_is_no_evidence_of_rejection(policy, view, seen, name):
    subject, alone = policy(name), view(0, price_s=price_s, n_layers=N_LAYERS)
    before = subject.plan(alone)
    subject.observe([seen(0, 0)])
    assert subject.plan(alone) == before
