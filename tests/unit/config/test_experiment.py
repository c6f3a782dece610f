import json

import pytest

from papisim.config.experiment import RunOptions, load_experiment
from papisim.config.sections import load_section
from papisim.errors import InputError, PapisimError

SHIPPED = load_section("workload", "creative_writing").options.n_requests


def load(**options):
    return load_experiment(RunOptions(**{"hw": "gpu_only", "trace": "llama7b"} | options))


def test_by_default_one_batch_of_the_workloads_requests_is_decoded_token_by_token():
    experiment = load()
    assert experiment.workload_name == "creative_writing"
    assert experiment.batching.batch_size == experiment.workload.n_requests == SHIPPED
    assert experiment.speculation.kind == "off"
    assert (experiment.seed, experiment.fold, experiment.notes) == (0, True, ())


@pytest.mark.parametrize(
    ("options", "batch_size", "n_requests"),
    [
        ({"batch": 8}, 8, 8),
        ({"requests": 8}, 8, 8),
        ({"batch": 4, "requests": 10}, 4, 10),
        ({"set": ["workload.n_requests=5"]}, 5, 5),
        ({"batch": 4, "set": ["workload.n_requests=5"]}, 4, 5),
        ({"set": ["batching.batch_size=3"]}, 3, SHIPPED),
    ],
)
def test_how_many_requests_there_are_and_how_many_run_together(options, batch_size, n_requests):
    experiment = load(**options)
    assert (experiment.batching.batch_size, experiment.workload.n_requests) == (batch_size, n_requests)


@pytest.mark.parametrize(("tlp", "speculation"), [(1, {"kind": "off"}), (4, {"kind": "fixed", "tlp": 4})])
def test_tlp_above_one_is_a_fixed_speculation_length(tlp, speculation):
    assert load(tlp=tlp).speculation.model_dump() == speculation


def test_each_override_reaches_its_section():
    experiment = load(
        set=[
            "devices.gpu.count=8",
            "workload.lengths={kind: fixed, input_tokens: 7, output_tokens: 9}",
            "batching.batch_size=2",
            "speculation={kind: fixed, tlp: 3}",
        ]
    )
    assert experiment.system.spec.devices["gpu"].count == 8
    assert experiment.workload.lengths.output_tokens == 9
    assert experiment.batching.batch_size == 2
    assert experiment.speculation.tlp == 3
    assert len(experiment.overrides) == 4


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("workload.n_request=8", "n_request: unknown field; did you mean 'n_requests'?"),
        ("workload.n_requests=0", "n_requests: found 0, expected greater than or equal to 1"),
        ("workload.lengths.kind=quantile", "lengths.kind: found 'quantile', did you mean 'quantiles'?"),
        ("workload.lengths.rank_correlation=1", "lengths.rank_correlation: found 1, expected less than 1"),
        ("workload.kind=open_batch", "kind: unknown workload 'open_batch'"),
        ("workload=0.5", "field 'kind' is missing"),
        ("batching.kind=statik", "kind: unknown batching policy 'statik'; did you mean 'static'?"),
        ("batching.batch_size=-1", "batch_size: found -1, expected greater than or equal to 1"),
        ("speculation.tlp=0", "unknown field"),
        ("speculation={kind: fixed, tlp: 0}", "tlp: found 0, expected greater than or equal to 1"),
        ("speculation=5", "field 'kind' is missing"),
    ],
)
def test_a_wrong_override_is_refused_in_the_words_it_was_given(override, said):
    with pytest.raises(PapisimError) as error:
        load(set=[override])
    assert str(error.value).startswith(f"--set {override}: ")
    assert said in str(error.value)


def test_the_resolved_experiment_is_plain_and_tells_seed_and_fold_apart():
    first = load(seed=1).resolved()
    assert json.loads(json.dumps(first)) == first
    sections = {
        "workload",
        "batching",
        "speculation",
        "acceptance",
        "drafting",
        "verification",
        "quantisation",
        "kv",
        "routing",
        "slo",
        "overlap",
        "engine",
        "experts",
    }
    assert {"system", "trace", "seed", "fold", "fast_forward", "metrics"} | sections == set(first)
    assert load(seed=2).resolved() != first != load(seed=1, fold=False).resolved()
    assert load(seed=1).resolved() == first


def test_a_shipped_system_by_the_path_of_papis_artifact_is_noted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (note,) = load(hw="configs/gpu_only.yaml").notes
    assert note == "configs/gpu_only.yaml does not exist; using the shipped gpu_only"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"hw": "nowhere/gpu_only.yaml"}, "no hardware 'nowhere/gpu_only.yaml': .* is 'gpu_only', without folder"),
        ({"hw": "gpu_only.yaml"}, "no hardware 'gpu_only.yaml'"),
        ({"hw": "configs/gpu_onli.yaml"}, "did you mean 'gpu_only'"),
        ({"trace": "t/llama7b"}, "no kernel trace 't/llama7b': .* is 'llama7b'"),
        ({"workload": "configs/general_qa.yaml"}, "no workload 'configs/general_qa.yaml': .* is 'general_qa'"),
        ({"speculation": "p/dsde.yaml"}, "no speculation policy 'p/dsde.yaml': .* is 'dsde'"),
    ],
)
def test_a_path_that_does_not_exist_is_refused_with_the_shipped_name(options, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=said):
        load(**options)


def test_where_there_is_a_folder_configs_a_path_into_it_must_exist(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").mkdir()
    with pytest.raises(InputError, match=r"no hardware 'configs/gpu_only\.yaml'"):
        load(hw="configs/gpu_only.yaml")


def test_a_workloads_sources_are_kept_and_required(tmp_path):
    assert {source.origin for source in load().sources} == {"choice", "dolly15k"}
    path = tmp_path / "w.yaml"
    path.write_text(
        "schema: papisim/requests/1\nkind: closed_batch\ndescription: two\nn_requests: 2\n"
        "lengths: {kind: fixed, input_tokens: 3, output_tokens: 4}\nsources: {n_requests: {choice: few}}\n"
    )
    with pytest.raises(PapisimError, match=r"w.yaml:5:24: lengths.input_tokens: has no entry in 'sources'"):
        load_section("workload", str(path))


def test_a_workload_without_a_kind_is_refused(tmp_path):
    path = tmp_path / "w.yaml"
    path.write_text("schema: papisim/requests/1\ndescription: none\nsources: {}\n")
    with pytest.raises(InputError, match=r"w.yaml:1:1: field 'kind' is missing"):
        load_section("workload", str(path))


def test_a_latency_equal_to_its_target_meets_it_and_one_that_is_not_there_cannot_miss():
    slo = load(set=["slo={ttft_s: 0.5, tpot_s: 20 ms}"]).slo
    assert slo.targets == {"ttft": 0.5, "tpot": 0.02}
    assert slo.met_by({"ttft": 0.5, "tpot": 0.02, "e2e": 1e9})
    assert slo.met_by({})
    assert not slo.met_by({"ttft": 0.5000001, "tpot": 0.02})
    assert not slo.met_by({"ttft": 0.1, "tpot": 0.021})


def test_every_device_and_link_with_a_role_is_a_resource():
    roles = load(hw="papi").system.spec.roles
    assert roles.pipeline is None
    assert roles.resources == {"gpu", "fc_pim", "attn_pim", "nvlink", "pcie"}
    piped = load(hw="gpu_only", set=["roles.pipeline={stages: 2, link: nvlink}"])
    assert "nvlink" in piped.system.spec.roles.resources
    alone = load(hw="gpu_only", set=["devices.gpu.count=1"])
    assert alone.system.spec.roles.resources == {"gpu"}


def test_a_link_to_swap_over_must_be_in_the_system_and_be_used():
    assert load(hw="papi", set=["kv={on_exhaustion: swap, swap_link: pcie}"]).kv.swap_link == "pcie"
    for kv, said in (
        ("{on_exhaustion: swap, swap_link: pcy}", "no link 'pcy' in papi; known: nvlink, pcie"),
        ("{on_exhaustion: swap}", "'swap_link' is missing: the link over which"),
        ("{swap_link: pcie}", "'swap_link' is for 'on_exhaustion: swap' only"),
    ):
        with pytest.raises(InputError, match=said):
            load(hw="papi", set=[f"kv={kv}"])


def test_batch_size_follows_requests_and_the_policy_that_has_it():
    open_loop = {"workload": "azure_code", "requests": 3}
    assert load(**open_loop, batch=7).batching.max_batch == 7
    assert load(**open_loop).batching.kind == "chunked_prefill"
    assert load(batch=3, batching="continuous").batching.max_batch == 3
    assert load(batching="continuous", requests=5).batching.max_batch == 5
    assert load(batch=3, batching="dynamic").batching.batch_size == 3


def test_a_part_of_a_workload_that_the_file_leaves_out_can_be_set_and_its_fields_are_checked():
    closed = {
        "kind": "closed_loop",
        "n_users": 2,
        "n_requests": 4,
        "lengths": {"kind": "fixed", "input_tokens": 8, "output_tokens": 2},
    }
    options = load_section("workload", closed, ["workload.think_time.mean_s=3"]).options
    assert options.think_time.mean_s == 3.0  # type: ignore[attr-defined]
    with pytest.raises(PapisimError, match=r"think_time\.mean: unknown field; did you mean 'mean_s'"):
        load_section("workload", closed, ["workload.think_time.mean=3"])
    with pytest.raises(InputError, match="no field 'think_tim' in workload; did you mean 'think_time'"):
        load_section("workload", closed, ["workload.think_tim.mean_s=3"])
