"""What holds for every shipped preset of a speculation policy, besides the laws of the family."""

import pytest

from papisim import catalog
from papisim.catalog import Shelf
from papisim.config.sections import load_section
from papisim.config.sources import take_sources
from papisim.config.yaml import load_yaml
from papisim.policies.speculation.base import SPECULATION

PRESETS = catalog.shipped(Shelf.SPECULATION)
#: values that are measured when an experiment is loaded
MEASURED = {"sssd": {"ratio": 100}, "synergy": {"table": [{"up_to_batch": 4, "length": 3}]}}
every_preset = pytest.mark.parametrize("name", PRESETS)


@every_preset
def test_a_preset_loads_says_what_it_is_and_has_a_source_for_every_number(name):
    document = load_yaml(PRESETS[name])
    assert document.data["schema"] == SPECULATION.schema
    assert document.data["description"]
    sources, errors = take_sources(document)
    assert errors == []
    assert sources or name == "synergy", "whose table is profiled on the machine"
    assert load_section("speculation", name).options.kind == document.data["kind"]


@pytest.mark.parametrize("kind", SPECULATION.own())
def test_every_policy_knows_its_longest_draft(kind):
    """Laws of bounds are tested on those that say one; all of papisim's do."""
    assert SPECULATION.load(kind).options.longest is not SPECULATION.base.longest


@every_preset
def test_leaving_frees_what_was_known(policy, view, name):
    subject = policy(name, **MEASURED.get(name, {}))
    subject.plan(view(7, 8, price_s=lambda drafts: 1.0 + sum(draft.rows for draft in drafts), n_layers=8))
    for request_id in (7, 8, 7):
        subject.leave(request_id)
    assert not getattr(subject, "_states", {})


def test_what_one_request_does_leaves_the_others_alone_without_the_cap(policy, view, seen):
    """With the cap, which is meant to join requests, the law of the family does not apply."""
    together, alone = policy("dsde", cap=False), policy("dsde", cap=False)
    klds = {"kld": (0.9, 0.1, 0.5, 0.2)}
    for _ in range(30):
        together.observe([seen(0, 4, request_id=1, **klds), seen(4, 4, request_id=2, **klds)])
        alone.observe([seen(4, 4, request_id=2, **klds)])
    requests = view(1, 2, n_layers=8)
    assert together.plan(requests)[1] == alone.plan(requests)[1]
