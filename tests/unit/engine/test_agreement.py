"""What a speculation policy needs must be said and be there: no free lunch by default."""

import pytest

from papisim.errors import InputError
from papisim.results.metrics import summarise

LOG = '{"source": "chat", "draft_len": 2, "accepted": [2, 1, 2, 0, 2, 2]}\n'


@pytest.mark.parametrize("policy", ["dsde", "sssd", "gammatune", "synergy", "smartspec", "co_scheduled"])
def test_a_policy_alone_is_refused_with_what_would_do(run, policy):
    with pytest.raises(InputError, match="no --acceptance and no --draft") as refused:
        run(speculation=policy)
    assert all(
        name in str(refused.value) for name in ("meta_8b", "eagle_head", "--acceptance always", "--draft free")
    )


def test_self_speculation_is_not_free_unless_that_is_said(run):
    options = {"trace": "llama3-8b", "speculation": "del", "acceptance": "layerskip_llama3_8b", "batch": 1}
    short = "workload.lengths={kind: fixed, input_tokens: 16, output_tokens: 8}"
    with pytest.raises(InputError, match="'del_layer' with no --draft: drafting would be free"):
        run("gpu_only", **options)
    assert summarise(run("gpu_only", draft="free", set=[short], **options))["n_output_tokens"] == 8


def test_constant_drafts_need_nothing(run):
    assert summarise(run(tlp=2, batch=1))["speculation_yield"]["acceptance_ratio"] == 1.0
    assert summarise(run(speculation="off", batch=1))["speculation_yield"]["acceptance_ratio"] is None


@pytest.mark.parametrize(
    ("policy", "missing"),
    [("dsde", "kld"), ("adaedl", "entropy"), ("gammatune_plus", "confidence"), ("del", "layers")],
)
def test_a_policy_without_its_signals_is_refused(run, policy, missing):
    blind = "acceptance={kind: geometric, alpha: 0.5}"
    with pytest.raises(InputError, match=f"has no .*{missing}.*; expected a process"):
        run(speculation=policy, draft="free", set=[blind])


def test_exit_layers_of_a_model_of_another_depth_are_refused(run):
    options = {"speculation": "del", "acceptance": "layerskip_llama3_8b", "draft": "early_exit"}
    with pytest.raises(InputError, match="a model with 32 layers, expected 80, those of llama3-70b"):
        run("gpu_only", trace="llama3-70b", **options)


def test_positions_beyond_a_log_are_counted_as_extrapolated(run, tmp_path):
    """Two positions were logged; of drafts of four, half of the positions lie beyond."""
    (tmp_path / "log.jsonl").write_text(LOG)
    replay = {"kind": "replay", "log": str(tmp_path / "log.jsonl"), "source": "chat"}
    ratios = {
        tlp: summarise(run(tlp=tlp, batch=1, acceptance=replay))["speculation_yield"]["extrapolated_ratio"]
        for tlp in (1, 3, 5)
    }
    assert (ratios[1], ratios[3]) == (None, 0.0)
    assert ratios[5] == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("field", ["bookkeeping_s", "sampling_row_s"])
def test_the_work_of_a_host_and_of_sampling_is_counted_once(run, field):
    with pytest.raises(InputError, match=f"verification.{field}.*vllm"):
        run(engine="vllm", overrides=[f"verification.{field}=1 ms"])
    without = ["engine.host.step_s=0", "engine.sampling.kernels=0"]
    assert run(engine="vllm", overrides=[f"verification.{field}=1 ms", *without]).ledger.requests
