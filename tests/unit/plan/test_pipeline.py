"""Pipeline parallelism against its closed form, with one stage as the reference."""

import pytest

from papisim.config.experiment import RunOptions, load_experiment
from papisim.errors import InputError, InputErrors, NotModelled
from papisim.ops.lower import decode_lengths, decode_shape
from papisim.ops.trace import read_trace
from papisim.plan.build import build_placement, build_planner
from papisim.plan.machine import build_machine
from papisim.plan.phase import Category
from papisim.results.metrics import summarise

STAGES, KV = 4, 1000
ONE = ("devices.gpu.count=2", "links.nvlink.count=2")
ALL = ("devices.gpu.count=8", "links.nvlink.count=8")
CUT = (*ALL, f"roles.pipeline={{stages: {STAGES}, link: nvlink}}")
LENGTHS = "workload.lengths={kind: fixed, input_tokens: 64, output_tokens: 24}"


def planner(overrides):
    experiment = load_experiment(RunOptions(hw="gpu_only", trace="llama7b", set=overrides))
    machine, trace = build_machine(experiment.system), read_trace(experiment.trace.path)
    return build_planner(trace, machine, build_placement(experiment), seed=0), machine, trace


def phases(overrides, rlp, fold=True):
    return planner(overrides)[0].decode(decode_shape(rlp, rlp), decode_lengths(rlp, 1, rlp * KV, KV), fold=fold)


def time_s(phases):
    return sum(phase.total_s for phase in phases)


def energy_j(phases):
    return sum(phase.energy.total_j * phase.repeats for phase in phases)


def message(rows):
    _, machine, trace = planner(CUT)
    return machine.links["nvlink"].transfer(rows * trace.model.hidden_size * 2)


def head_s(rows):
    unfolded = phases(ONE, rows, fold=False)
    fc = [phase for phase in unfolded if phase.category is Category.FC]
    return fc[-1].time_s


@pytest.mark.parametrize("rlp", [1, 2, 3])
def test_fewer_requests_than_stages_take_as_long_as_one_of_them_through_all_stages(rlp):
    assert time_s(phases(CUT, rlp)) == pytest.approx(time_s(phases(ONE, 1)) + STAGES * message(1).time_s)


@pytest.mark.parametrize("micro", [1, 8, 32])
def test_as_many_microbatches_as_stages_keep_all_at_work_and_wait_for_the_one_with_the_head(micro):
    round_s = time_s(phases(ONE, micro)) + (STAGES - 1) * head_s(micro) + STAGES * message(micro).time_s
    assert time_s(phases(CUT, STAGES * micro)) == pytest.approx(round_s)


def test_every_microbatch_reads_the_weights_anew():
    crossing_j = STAGES * STAGES * message(8).energy.total_j
    assert energy_j(phases(CUT, 32)) == pytest.approx(STAGES * energy_j(phases(ONE, 8)) + crossing_j)


def test_layers_that_do_not_divide_evenly_leave_stages_waiting():
    """32 layers on 8 stages are 4 a stage; on 10 the longest still have 4, so the round is a quarter longer."""

    def round_s(stages):
        count = (f"devices.gpu.count={stages}", f"links.nvlink.count={stages}")
        return time_s(phases((*count, f"roles.pipeline={{stages: {stages}, link: nvlink}}"), 10 * stages))

    assert 1.2 < round_s(10) / round_s(8) < 1.3


def test_decoding_gains_less_from_stages_than_from_ranks_because_each_microbatch_reads_the_weights(run):
    whole, cut = (
        summarise(run("gpu_only", "llama65b", batch=16, set=(*ALL[:2], *parallel, LENGTHS)))
        for parallel in (
            (),
            ("roles.pipeline={stages: 2, link: nvlink}",),
        )
    )
    assert cut["decode_s"] > whole["decode_s"]
    assert cut["kv_capacity_bytes"] == pytest.approx(
        whole["kv_capacity_bytes"], rel=1e-6
    )  # norms are on the last stage


def test_folding_and_fast_forward_change_nothing(run):
    def figures(**options):
        summary = summarise(run("gpu_only", batch=6, set=(*CUT, LENGTHS), **options))
        return [summary[name] for name in ("makespan_s", "energy_j", "ttft_mean_s", "tpot_mean_s")]

    oracle = figures(fold=False, fast_forward=False)
    assert figures() == pytest.approx(oracle, rel=1e-9)


def test_static_power_is_that_of_all_stages():
    assert planner(CUT)[1].static_w == planner(ALL)[1].static_w


def test_counts_must_divide_into_stages():
    with pytest.raises(InputErrors, match=r"devices\.gpu\.count: found 6, expected a multiple of 4 pipeline stages"):
        planner(("roles.pipeline={stages: 4, link: nvlink}",))


def test_drafting_with_some_layers_is_refused():
    with pytest.raises(NotModelled, match="early exit"):
        planner(CUT)[0].layout(decode_shape(1, 1, (0, 8)))


def test_a_stage_without_a_layer_is_refused(run):
    overrides = ("devices.gpu.count=48", "links.nvlink.count=48", "roles.pipeline={stages: 48, link: nvlink}")
    with pytest.raises(
        InputError, match=r"roles.pipeline.stages: found 48, expected at most the 32 layers of llama7b"
    ):
        run("gpu_only", batch=2, set=overrides)
