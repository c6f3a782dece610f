"""An iteration drafts, verifies, accepts and rolls back; what each part costs and yields."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest

from papisim import catalog
from papisim.catalog import Shelf
from papisim.config.experiment import RunOptions, load_experiment
from papisim.engine.drafting.base import DRAFTING, DraftContext, serial_steps
from papisim.engine.drafting.early_exit import Options as EarlyExitOptions
from papisim.engine.drafting.early_exit import Source as EarlyExit
from papisim.engine.run import Run
from papisim.engine.speculation import tree_of
from papisim.errors import DoesNotFit, InputError, NotModelled
from papisim.ops.kernel import FcRole, Linear
from papisim.ops.lower import decode_shape, lower, ragged_lengths, weight_bytes
from papisim.ops.trace import read_trace
from papisim.plan.build import build_placement
from papisim.plan.machine import HOST, build_machine
from papisim.plan.phase import Category, Phase
from papisim.plan.step import StepPlanner
from papisim.policies.speculation.base import NO_DRAFT, Draft
from papisim.results.metrics import summarise

Runner = Callable[..., Run]
HALF = ["acceptance={kind: geometric, alpha: 0.5}"]


def ints(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def context(hw: str = "gpu_only", trace: str = "llama7b", **options: object) -> tuple[object, DraftContext]:
    experiment = load_experiment(RunOptions(hw=hw, trace=trace, **options))  # type: ignore[arg-type]
    model, machine = read_trace(experiment.trace.path), build_machine(experiment.system)
    planner = StepPlanner(model, machine, build_placement(experiment), seed=0)
    made = DraftContext(machine, model, planner, 0)
    return DRAFTING.build(experiment.drafting, made), made


def seconds(phases: list[Phase]) -> float:
    return sum(phase.total_s for phase in phases)


@pytest.mark.parametrize("speculation", ["off", "{kind: fixed, tlp: 4}", "{kind: fixed, tlp: 9}"])
@pytest.mark.parametrize("drafting", ["free", "eagle_head", "llama68m", "ngram"])
def test_every_request_says_its_tokens_whoever_drafts(run: Runner, speculation: str, drafting: str):
    overrides = [*HALF, *([f"speculation={speculation}"] if speculation != "off" else [])]
    ledger = run(batch=5, draft=drafting, set=overrides).ledger
    assert all(row.emitted_tokens == row.output_tokens for row in ledger.requests)
    assert sum(step.tokens for step in ledger.steps) == sum(row.output_tokens for row in ledger.requests)


def test_drafting_nothing_is_no_speculation(run: Runner):
    off = run(batch=4, draft="eagle_head")
    none = run(batch=4, draft="eagle_head", set=[*HALF, "speculation={kind: fixed, tlp: 1}"])
    assert off.ledger.end_s == none.ledger.end_s
    assert summarise(none)["speculation_yield"]["drafted_tokens_per_round"] == 0


def test_emitted_is_accepted_and_one_more(run: Runner):
    lengths = "workload.lengths={kind: fixed, input_tokens: 20, output_tokens: 4000}"
    overrides = [*HALF, lengths, "speculation={kind: fixed, tlp: 4}"]
    figures = summarise(run(batch=4, set=overrides))["speculation_yield"]
    expected = 0.5 + 0.5**2 + 0.5**3
    assert figures["drafted_tokens_per_round"] == pytest.approx(3, rel=1e-3)  # fewer in the last round of a request
    assert figures["accepted_tokens_per_round"] == pytest.approx(expected, rel=0.03)
    assert figures["emitted_tokens_per_round"] == pytest.approx(expected + 1, rel=0.03)
    assert figures["acceptance_by_position_ratio"] == pytest.approx([0.5, 0.25, 0.125], abs=0.02)


def test_rejected_drafts_leave_no_kv(run: Runner):
    lengths = "workload.lengths={kind: fixed, input_tokens: 20, output_tokens: 100}"
    never = "acceptance={kind: geometric, alpha: 0.0001}"
    overrides = [never, lengths, "speculation={kind: fixed, tlp: 8}"]
    decode = run(batch=2, set=overrides).ledger.steps[1:-1]
    grown = [after.kv_tokens - before.kv_tokens for before, after in pairwise(decode)]
    assert set(grown) <= {2, 3}
    assert grown.count(2) > 90


def test_the_longest_draft_keeps_everyone_waiting():
    caches, steps = ints(10, 20, 30), serial_steps([Draft(1), Draft(3), NO_DRAFT], ints(10, 20, 30))
    assert len(steps) == 3
    assert [rows.tolist() for _, rows in steps] == [[1, 1], [1], [1]]
    assert [cached.tolist() for cached, _ in steps] == [[10, 20], [21], [22]]
    assert caches.tolist() == [10, 20, 30], "drafting leaves the caches as they are"


def test_a_tree_is_drafted_level_by_level():
    steps = serial_steps([Draft(2, tree=(3, 5))], ints(10))
    assert [(cached.tolist(), rows.tolist()) for cached, rows in steps] == [([10], [3]), ([13], [5])]
    assert Draft(2, tree=(3, 5)).rows == 9


def test_a_tree_of_given_widths_has_its_likeliest_paths():
    assert tree_of((2, 2)) == ((0,), (1,), (0, 0), (0, 1))
    assert tree_of((1, 1, 1)) == ((0,), (0, 0), (0, 0, 0)), "a chain"


def test_verification_computes_the_drafts_and_one_more_row_of_each_request():
    source, made = context()
    phases = source.verify([Draft(3), NO_DRAFT], ints(50, 60), ints(4, 1))
    expected = made.planner.decode(decode_shape(2, 5), ragged_lengths(ints(50, 60), ints(4, 1)))
    assert seconds(phases) == seconds(expected)


def test_a_draft_model_costs_one_step_of_its_own_for_each_token():
    one, _ = context(hw="papi", draft="llama68m")
    short, long = (seconds(one.draft([Draft(n)], ints(500))) for n in (1, 4))
    assert long == pytest.approx(4 * short, rel=0.01)
    assert {phase.category for phase in one.draft([Draft(2)], ints(10))} == {Category.DRAFT}
    assert {phase.resource for phase in one.draft([Draft(2)], ints(10))} == {"gpu"}


@pytest.mark.parametrize("device", ["gpu", "fc_pim", "attn_pim"])
def test_a_draft_model_may_stand_on_any_device(run: Runner, device: str):
    overrides = [*HALF, f"drafting.device={device}", "speculation={kind: fixed, tlp: 3}"]
    result = run(batch=2, draft="llama68m", set=overrides)
    assert summarise(result)["speculation_yield"]["draft_time_ratio"] > 0


def test_a_draft_model_takes_memory(run: Runner):
    alone = run("gpu_only", batch=1).ledger.kv_capacity_bytes
    beside = run("gpu_only", batch=1, draft="llama68m").ledger.kv_capacity_bytes
    draft = read_trace("traces/kernels/llama-68m/trace.yaml").model
    # on one of the six GPUs, whose room limits all: 6 of 32 heads of the target, and the whole draft model
    free, token_bytes = 80e9 - 6738415616 * 2 / 6 - draft.n_parameters * 2, 32 * 6 * 2 * 128 * 2
    draft_token_bytes = draft.n_layers * 2 * draft.n_kv_heads * draft.head_dim * 2
    assert alone == pytest.approx((80e9 - 6738415616 * 2 / 6) / token_bytes * 524288)
    assert beside == pytest.approx(free / (token_bytes + draft_token_bytes) * 524288)


def test_a_draft_head_takes_the_memory_of_one_layer_and_its_fusion(run: Runner):
    alone = run("gpu_only", trace="llama3-8b", batch=1).ledger.kv_capacity_bytes
    beside = run("gpu_only", trace="llama3-8b", batch=1, draft="eagle_head").ledger.kv_capacity_bytes
    layer = 4096 * (4096 * 2 + 1024 * 2 + 3 * 14336) + 2 * 4096
    weights = 2 * (layer + 2 * 4096**2)
    free = alone * 1.5 - weights  # eight heads on six GPUs: two on the fullest
    assert beside == pytest.approx(free / 1.5 * 32 / 33)


def test_a_draft_model_that_does_not_fit_is_refused(run: Runner):
    with pytest.raises(DoesNotFit, match="draft model"):
        run(
            batch=1,
            draft="llama68m",
            set=["drafting.trace=llama65b", "drafting.device=fc_pim", "devices.fc_pim.count=11"],
        )


def test_a_draft_device_that_is_not_there_is_refused(run: Runner):
    with pytest.raises(InputError, match="did you mean 'attn_pim'"):
        run(batch=1, draft="llama68m", set=["drafting.device=attn_pin"])


def test_self_speculation_loads_the_layers_that_its_cost_model_says():
    source, made = context(draft="early_exit")
    drafts, cached = [Draft(4, exit_layer=8)], ints(300)
    rows = ints(5)
    spent = seconds(source.draft(drafts, cached)) + seconds(source.verify(drafts, cached, rows))
    layer = seconds(made.planner.decode(decode_shape(1, 1), ragged_lengths(cached, ints(1)))) / 32
    assert spent / layer == pytest.approx(32 + 4 * 8, rel=0.06), "L + d·e layers, and d + 1 LM heads"


def test_self_speculation_without_an_exit_layer_is_refused(run: Runner):
    with pytest.raises(InputError, match="exit layer"):
        run(batch=1, draft="early_exit", set=["speculation={kind: fixed, tlp: 3}"])


def test_different_exit_layers_share_what_all_need():
    source, made = context(draft="early_exit")
    cached, rows = ints(100, 100), ints(3, 3)
    mixed = seconds(source.verify([Draft(2, exit_layer=4), Draft(2, exit_layer=12)], cached, rows))
    deep = seconds(source.verify([Draft(2, exit_layer=12)] * 2, cached, rows))
    none = seconds(made.planner.decode(decode_shape(2, 6), ragged_lengths(cached, rows)))
    assert deep <= mixed <= none


def test_a_draft_step_runs_common_layers_once_whatever_each_request_exits_from():
    source, _ = context(draft="early_exit")
    cached, four = ints(100, 100, 100, 100), (4, 8, 12, 16)

    def draft_s(*exits):
        return seconds(source.draft([Draft(2, exit_layer=layer) for layer in exits], cached[: len(exits)]))

    assert draft_s(*four) == pytest.approx(draft_s(16, 16, 16, 16), rel=0.02), "layers are bound by their weights"
    assert draft_s(*four) < 0.6 * sum(draft_s(layer) for layer in four)


def test_look_ups_keep_the_host_busy_and_no_device(run: Runner):
    source, _ = context(draft="ngram")
    (phase,) = source.draft([Draft(3), Draft(1), NO_DRAFT], ints(1, 1, 1))
    assert phase.resource == HOST
    assert phase.time_s == pytest.approx(0.2e-3 + 2 * 10e-6)
    assert source.draft([NO_DRAFT], ints(1)) == []
    summary = summarise(run(batch=2, draft="ngram", set=[*HALF, "speculation={kind: fixed, tlp: 3}"]))
    assert summary["busy_ratio"][HOST] > 0


def test_a_block_is_drafted_in_one_pass_however_few_drafts_are_verified():
    block, _ = context(draft="dflash_block")
    one, all_of_it = (seconds(block.draft([Draft(length)], ints(300))) for length in (1, 16))
    assert one == all_of_it
    assert block.draft([NO_DRAFT], ints(300)) == []
    head, _ = context(draft="eagle_head")
    assert all_of_it < seconds(head.draft([Draft(16)], ints(300)))
    wider, _ = context(draft="dflash_block", set=["drafting.width=512"])
    assert seconds(wider.draft([Draft(1)], ints(300))) > all_of_it


def test_a_block_is_no_tree_and_no_longer_than_its_width():
    block, _ = context(draft="dflash_block")
    with pytest.raises(InputError, match="a block has 16"):
        block.draft([Draft(17)], ints(300))
    with pytest.raises(NotModelled, match="one chain"):
        block.draft([Draft(2, tree=(2, 2))], ints(300))


def test_time_outside_a_heads_kernels_is_added_to_each_step():
    plain, slower = (context(draft="eagle_head", set=[f"drafting.step_s={s}"])[0] for s in (0, 1e-3))
    added = seconds(slower.draft([Draft(3)], ints(100))) - seconds(plain.draft([Draft(3)], ints(100)))
    assert added == pytest.approx(3e-3)


def test_a_quantised_head_takes_less_time():
    full, quantised = (context(draft=name)[0] for name in ("eagle_head", "eagle_head_int4"))
    ratio = seconds(quantised.draft([Draft(3)], ints(100))) / seconds(full.draft([Draft(3)], ints(100)))
    assert ratio == pytest.approx(0.83)


def test_padding_verifies_as_many_rows_for_all(run: Runner):
    schedule = "speculation={kind: fixed, tlp: 4}"
    ragged = run(batch=3, set=[*HALF, schedule]).ledger.steps[1]
    padded = run(batch=3, set=[*HALF, schedule, "verification.padding=true"]).ledger.steps[1]
    assert ragged.rows == padded.rows == 12, "equal drafts need no padding"


def test_overlapped_bookkeeping_costs_only_what_the_iteration_does_not_hide(run: Runner):
    def decode_s(*overrides: str) -> float:
        return summarise(run(batch=2, set=list(overrides)))["decode_s"]

    plain = decode_s()
    n = summarise(run(batch=2))["n_iterations"]
    serial = decode_s("verification.bookkeeping_s=100 us")
    hidden = decode_s("verification.bookkeeping_s=100 us", "verification.overlap_bookkeeping=true")
    assert serial == pytest.approx(plain + n * 100e-6, rel=1e-9)
    assert hidden == pytest.approx(plain, rel=1e-9)


def test_sampling_costs_time_for_every_row(run: Runner):
    plain = summarise(run(batch=1, tlp=4))
    sampled = summarise(run(batch=1, tlp=4, set=["verification.sampling_row_s=10 us"]))
    extra = sampled["decode_s"] - plain["decode_s"]
    assert extra == pytest.approx(plain["n_iterations"] * 4 * 10e-6, rel=1e-6)


@pytest.mark.parametrize(("batch", "turns"), [(1, 1), (8, 1), (9, 2), (16, 2)])
def test_sampling_is_dealt_out_over_ranks(run: Runner, batch: int, turns: int):
    lengths = "workload.lengths={kind: fixed, input_tokens: 5, output_tokens: 3}"

    def decode_s(*overrides: str) -> float:
        return summarise(run(batch=batch, set=[lengths, *overrides]))["decode_s"]

    extra = decode_s("verification.sampling_row_s=1 us", "verification.sampling_ranks=8") - decode_s()
    assert extra == pytest.approx(2 * turns * 1e-6, rel=1e-6)


def test_a_captured_head_fuses_features_of_its_target_once_per_round():
    source, made = context(hw="h100_single", trace="llama3-8b", draft="eagle3_llama3_8b")
    drafts, cached = [Draft(4)] * 3, ints(100, 200, 300)
    one, four = (source.draft([Draft(n)] * 3, cached) for n in (1, 4))
    fusion = Linear(FcRole.PROJECTION, 3, 3 * 4096, 4096, 2)
    alone = made.machine.compute(made.planner.place(fusion, 3, 3), Category.FC, fusion)
    serial = sum(seconds(source.draft([Draft(1)] * 3, cached + n)) for n in range(4))
    assert seconds(source.draft(drafts, cached)) == pytest.approx(serial - 3 * alone.total_s, rel=1e-3)
    assert seconds(one) < seconds(four) < 4 * seconds(one)


def test_a_head_takes_room_for_its_own_weights_and_cache_alone():
    h, vocabulary, element = 4096, 128_256, 2
    source, _ = context(trace="llama3-8b", draft="eagle3_llama3_8b")
    head = read_trace(catalog.find(Shelf.HEAD, "llama3-8b-eagle3").path)
    weights, cache = source.demands
    assert weights.weight_bytes == (head.model.n_parameters - vocabulary * h) * element, (
        "the embedding is the target's"
    )
    assert cache.kv_token_bytes >= 2 * 8 * 128 * element

    source, _ = context(trace="deepseek-v3", draft="mtp_deepseek_v3", set=["devices.gpu.count=16"])
    head = read_trace(catalog.find(Shelf.HEAD, "deepseek-v3-mtp").path)
    shared = 2 * head.model.vocab_size * head.model.hidden_size * element
    assert source.demands[0].weight_bytes == weight_bytes(head) - shared, "so is the LM head of its vocabulary"


def test_a_head_of_another_hidden_state_is_refused():
    with pytest.raises(
        InputError, match="head 'llama3-8b-eagle3' has a hidden state of 4096, but llama3-70b one of 8192"
    ):
        context(trace="llama3-70b", draft="eagle3_llama3_8b")


def states_written(trace: str, tlp: int, rlp: int = 8) -> int:
    """Bytes that the state kernels of a step write, all layers together."""
    model = read_trace(catalog.find(Shelf.TRACE, trace).path)
    shape = decode_shape(rlp, rlp * tlp)
    return sum(
        n * lower(k, model, shape.rows, requests=rlp, drafted_rows=shape.drafted_rows).write_bytes
        - n * (k.write_bytes.at({"RLP": 1, "TLP": rlp * tlp, "KV": 0}) - k.state_bytes)
        for k, n in model.kernels() if k.state_bytes
    )  # fmt: skip


def test_a_state_is_written_after_each_draft_as_any_of_them_may_be_the_last_that_is_accepted():
    of_request = 64 * (3 * 5376 * 2 + 80 * 64 * 128 * 4)
    assert states_written("mamba2-2.7b", tlp=1) == 8 * of_request
    assert states_written("mamba2-2.7b", tlp=4) == 8 * 4 * of_request


def test_drafts_take_the_room_of_states_and_the_time_of_writing_them(run: Runner):
    def verified(tlp: int) -> Run:
        return run("h100_single", "mamba2-2.7b", batch=64, set=[f"speculation={{kind: fixed, tlp: {tlp}}}"])

    one, four = verified(1), verified(4)
    of_request = 64 * (3 * 5376 * 2 + 80 * 64 * 128 * 4)
    peaks = [max(step.kv_bytes for step in each.ledger.steps) for each in (one, four)]
    assert peaks == [64 * of_request, 4 * 64 * of_request]
    _, made = context("h100_single", "mamba2-2.7b")
    cached = np.full(64, 100, dtype=np.int64)
    one_s, four_s = (
        seconds(made.planner.decode(decode_shape(64, 64 * tlp), ragged_lengths(cached, np.full(64, tlp))))
        for tlp in (1, 4)
    )
    assert four_s - one_s > 3 * 64 * of_request / 3.35e12, "three more states of each request at H100's bandwidth"


def test_drafts_that_states_cannot_follow_are_refused(run: Runner):
    with pytest.raises(NotModelled, match=r"trees of drafts.*granite4-h-small.*follows one chain"):
        run("gpu_only", "granite4-h-small", batch=4, speculation="meta_eagle", acceptance="always", draft="free")
    _, made = context("gpu_only", "granite4-h-small")
    with pytest.raises(NotModelled, match=r"drafting by the first layers.*granite4-h-small"):
        EarlyExit(EarlyExitOptions(kind="early_exit"), made)
