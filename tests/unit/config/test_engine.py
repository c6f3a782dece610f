"""Engine profiles: what is shipped, what may be changed, and which libraries a machine then uses."""

from __future__ import annotations

import pytest

from papisim import catalog
from papisim.catalog import Shelf
from papisim.config.engine import EngineSpec, FusionSpec, GraphsSpec, Scheduling, load_engine
from papisim.config.experiment import Experiment, load_experiment, options_of
from papisim.errors import InputError

NAMES = sorted(catalog.shipped(Shelf.ENGINE))


def load(**options: object) -> Experiment:
    return load_experiment(options_of(**{"hw": "gpu_only", "trace": "llama7b", **options}))


@pytest.mark.parametrize("name", NAMES)
def test_every_shipped_profile_says_where_its_numbers_are_from(name):
    file = load_engine(name)
    assert file.spec.name == name
    assert file.spec.description
    has_numbers = file.spec.host.step_s > 0 or file.spec.graphs.sizes
    assert bool(file.sources) == bool(has_numbers)


def test_the_profile_none_adds_nothing_and_changes_no_default():
    without, named = load(), load(engine="none")
    assert without.engine.adds_nothing
    assert without.resolved() == named.resolved()
    assert (without.kv.page_tokens, without.kv.utilisation_ratio) == (16, 1.0)
    assert without.batching.kind == "static"
    assert without.system.parts == load(engine="eager").system.parts


def test_any_field_may_be_changed_and_loses_its_source():
    found = load(engine="vllm", set=["engine.host.step_s=2 ms", "engine.host.scheduling=synchronous"])
    assert (found.engine.host.step_s, found.engine.host.scheduling) == (2e-3, Scheduling.SYNCHRONOUS)
    assert any(source.path == "host.step_s" and source.origin == "override" for source in found.sources)
    with pytest.raises(InputError, match="steps_s"):
        load(engine="vllm", set=["engine.host.steps_s=2 ms"])


def test_the_user_wins_over_the_engines_scheduler_and_caches():
    plain = load(engine="vllm", workload="azure_conversation")
    assert (plain.batching.kind, plain.batching.max_batch, plain.batching.chunk_tokens) == (
        "chunked_prefill",
        1024,
        8192,
    )
    assert plain.kv.utilisation_ratio == 0.9
    named = load(
        engine="vllm",
        workload="azure_conversation",
        batching="prefill_priority",
        batch=7,
        set=["kv.utilisation_ratio=0.5"],
    )
    assert (named.batching.kind, named.batching.max_batch, named.kv.utilisation_ratio) == ("prefill_priority", 7, 0.5)


def test_the_first_library_that_a_part_has_is_used_unless_the_user_names_one():
    preferred = load(engine="vllm").engine.libraries.linear
    used = load(engine="vllm").system.parts["gpu"].linear
    assert used.use == next(name for name in preferred if name in used.libraries)
    other = next(name for name in used.libraries if name != used.use)
    chosen = load(engine="vllm", set=[f"devices.gpu.part.linear.use={other}"])
    assert chosen.system.parts["gpu"].linear.use == other


def test_a_part_without_the_engines_libraries_keeps_its_own_and_says_so():
    found = load(engine="vllm", set=['engine.libraries.attention=["mine"]'])
    assert found.system.parts["gpu"].attention.use == load().system.parts["gpu"].attention.use
    assert any("no attention library of the engine vllm (mine)" in note for note in found.notes)


@pytest.mark.parametrize(
    ("spec", "fields", "message"),
    [
        (GraphsSpec, {"captured": "sizes"}, "sizes"),
        (GraphsSpec, {"captured": "sizes", "sizes": [4, 4]}, "ascend"),
        (FusionSpec, {"kernels": "aten", "qkv": True}, "aten"),
        (FusionSpec, {"all_reduce_norm": True}, "add_norm"),
    ],
)
def test_contradictions_are_refused(spec, fields, message):
    with pytest.raises(ValueError, match=message):
        spec(**fields)


def test_a_profile_of_the_users_own_is_read_from_its_file(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        "schema: papisim/engine/1\ndescription: mine\nhost:\n  step_s: 3 ms\nsources:\n  host.step_s: {assumed: a guess}\n"
    )
    spec = load(engine=str(path)).engine
    assert (spec.name, spec.host.step_s) == ("mine", 3e-3)
    path.write_text("schema: papisim/engine/1\ndescription: mine\nhost:\n  step_s: 3 ms\nsources: {}\n")
    with pytest.raises(InputError, match="no entry in 'sources'"):
        load(engine=str(path))


def test_an_unknown_profile_is_refused_with_the_nearest_name():
    with pytest.raises(InputError, match="vllm"):
        load(engine="vlm")


def test_a_profile_is_a_plain_value():
    spec = load_engine("vllm").spec
    assert EngineSpec.model_validate(spec.model_dump(mode="json")) == spec
