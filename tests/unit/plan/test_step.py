from collections import Counter

import pytest

from papisim.config.experiment import RunOptions, load_experiment
from papisim.errors import InputError
from papisim.ops.kernel import Elementwise, Group, KernelClass, Linear
from papisim.ops.lower import StepShape, decode_lengths, decode_shape, prefill_lengths, prefill_shape
from papisim.ops.trace import KernelTrace, read_trace
from papisim.plan.build import build_placement, planner_of
from papisim.plan.machine import build_machine
from papisim.plan.phase import Category, Phase
from papisim.plan.step import StepPlanner


def planner(hw: str, trace: str = "llama7b", **options: object) -> tuple[StepPlanner, KernelTrace]:
    experiment = load_experiment(RunOptions(hw=hw, trace=trace, **options))  # type: ignore[arg-type]
    model = read_trace(experiment.trace.path)
    placement = build_placement(experiment)
    return StepPlanner(model, build_machine(experiment.system), placement, seed=0), model


def decode(
    hw: str, rlp: int = 4, tlp: int = 1, cached: int = 100, *, fold: bool = True, **options: object
) -> list[Phase]:
    plan, _ = planner(hw, **options)  # type: ignore[arg-type]
    return plan.decode(decode_shape(rlp, rlp * tlp), decode_lengths(rlp, tlp, rlp * cached, cached), fold=fold)


def seconds(phases: list[Phase], category: Category | None = None) -> float:
    return sum(p.total_s for p in phases if category in (None, p.category))


@pytest.mark.parametrize("hw", ["papi", "gpu_only", "attacc_only", "a100_attacc"])
@pytest.mark.parametrize("trace", ["llama7b", "mixtral-8x7b"])
def test_folding_layers_changes_neither_time_nor_energy_nor_work(hw: str, trace: str):
    folded, unfolded = (decode(hw, rlp=5, trace=trace, fold=fold) for fold in (True, False))
    assert len(folded) < len(unfolded)
    for category in Category:
        assert seconds(folded, category) == pytest.approx(seconds(unfolded, category), rel=1e-12)
    joules = [sum(p.energy.total_j * p.repeats for p in phases) for phases in (folded, unfolded)]
    assert joules[0] == pytest.approx(joules[1], rel=1e-12)
    work = [sum(p.flop * p.repeats for p in phases) for phases in (folded, unfolded)]
    assert work[0] == work[1]


def test_fc_work_of_a_decoding_step_is_two_flop_a_weight_and_row():
    plan, model = planner("gpu_only")
    phases = plan.decode(decode_shape(3, 6), decode_lengths(3, 2, 300, 100))
    fc = sum(p.flop * p.repeats for p in phases if p.category is Category.FC)
    assert fc == 2 * 6 * model.fc_weight_bytes / model.model.element_bytes


def test_two_all_reduces_and_two_messages_a_layer():
    resources = Counter(p.resource for p in decode("papi", fold=False) if p.category is Category.COMMUNICATION)
    assert resources == {"nvlink": 2 * 32, "pcie": 2 * 32}


@pytest.mark.parametrize(("placement", "all_reduces"), [("pinned:gpu", 2 * 32), ("pinned:fc_pim", 0)])
def test_only_devices_whose_sums_are_reduced_over_links_pay_for_it(placement: str, all_reduces: int):
    only_gpu = ["roles.tensor_parallel.reduced=[gpu]"]
    phases = decode("papi", fold=False, placement=placement, set=only_gpu)
    assert sum(p.resource == "nvlink" for p in phases) == all_reduces


def test_experts_on_a_device_that_hands_over_whole_sums_are_not_reduced():
    nowhere = ["roles.tensor_parallel.reduced=[]"]
    assert not [p for p in decode("attacc_only", trace="mixtral-8x7b", set=nowhere) if p.resource == "nvlink"]


def test_a_device_to_reduce_after_must_be_there():
    with pytest.raises(InputError, match=r"no device 'gpus' in this system; did you mean 'gpu'"):
        planner("papi", set=["roles.tensor_parallel.reduced=[gpus]"])


def test_a_machine_that_keeps_the_cache_with_the_gpus_sends_no_messages():
    resources = {p.resource for p in decode("gpu_only") if p.category is Category.COMMUNICATION}
    assert resources == {"nvlink"}


def test_prefill_on_gpus_sends_the_cache_away_and_attends_at_home():
    plan, _ = planner("papi")
    prompts = [7, 30]
    phases = plan.prefill(prefill_shape(prompts), prefill_lengths(prompts), fold=False)
    messages = [p for p in phases if p.resource == "pcie"]
    assert len(messages) == 32
    attention = {p.resource for p in phases if p.category is Category.ATTENTION}
    assert attention == {"gpu", "attn_pim"}, "attention itself on the GPU, the append on Attn-PIM"
    assert {p.resource for p in phases if p.category is Category.FC} == {"gpu"}


def test_prefill_without_gpus_runs_on_pim():
    plan, _ = planner("attacc_only")
    phases = plan.prefill(prefill_shape([12, 5]), prefill_lengths([12, 5]))
    assert {p.resource for p in phases if p.category is Category.FC} == {"fc_pim"}
    assert {p.resource for p in phases if p.category is Category.ATTENTION} == {"attn_pim"}


def test_the_lm_head_of_a_prefill_computes_one_row_a_request():
    plan, model = planner("gpu_only")
    shape = prefill_shape([100, 50, 50])
    phases = plan.prefill(shape, prefill_lengths([100, 50, 50]))
    fc = sum(p.flop * p.repeats for p in phases if p.category is Category.FC)
    head = model.model.vocab_size * model.model.hidden_size
    layers = model.fc_weight_bytes / model.model.element_bytes - head
    assert fc == 2 * 200 * layers + 2 * 3 * head


def test_a_longer_cache_costs_attention_and_nothing_else():
    short, long = decode("papi", cached=100), decode("papi", cached=4000)
    assert seconds(long, Category.ATTENTION) > seconds(short, Category.ATTENTION)
    for category in (Category.FC, Category.COMMUNICATION, Category.OTHER):
        assert seconds(long, category) == seconds(short, category)


@pytest.mark.parametrize(("rlp", "device"), [(1, "fc_pim"), (256, "gpu")])
def test_papi_sends_small_batches_to_pim_and_large_ones_to_the_gpus(rlp: int, device: str):
    assert {p.resource for p in decode("papi", rlp=rlp) if p.category is Category.FC} == {device}


def test_only_the_experts_that_got_tokens_are_read():
    plan, model = planner("gpu_only", "mixtral-8x7b")

    def expert_flop(rows: int) -> float:
        phases = plan.decode(decode_shape(rows, rows), decode_lengths(rows, 1, rows, 1))
        return sum(p.flop * p.repeats for p in phases if p.category is Category.FC)

    shared = expert_flop(2) - expert_flop(1)
    assert expert_flop(1) == pytest.approx(shared, rel=1e-12), "every token pays for two experts, whoever they are"
    dense = 2 * model.fc_weight_bytes / model.model.element_bytes
    assert expert_flop(1) < dense / 2, "far fewer than all eight"


def test_layers_can_run_in_parts_that_add_up():
    plan, _ = planner("gpu_only", "llama7b")
    lengths = decode_lengths(4, 2, 400, 100)
    whole = plan.decode(decode_shape(4, 8), lengths)
    first = plan.decode(StepShape(4, 8, 0, (0, 10)), lengths)
    rest = plan.decode(StepShape(4, 8, 8, (10, 32)), lengths)
    assert seconds(first) + seconds(rest) == pytest.approx(seconds(whole), rel=1e-12)
    assert seconds(first, Category.ATTENTION) == pytest.approx(10 / 32 * seconds(whole, Category.ATTENTION))


def is_grouped(item: object) -> bool:
    return isinstance(item, Linear) and bool(item.groups)


def test_the_experts_of_a_layer_are_one_kernel_per_projection():
    """One launch per layer for what gathers, activates and adds up; grouped FC has a weight for each awake expert."""
    work = [w.item for p in decode("gpu_only", rlp=6, trace="mixtral-8x7b", fold=False) for w in p.work]
    experts = [item for item in work if isinstance(item, Linear) and item.groups]
    assert len(experts) == 2 * 32
    for kernel in experts:
        assert kernel.m == 6 * 2, "every token goes to two experts"
        assert 2 <= kernel.n_weights <= 8
        assert kernel.weight_bytes == kernel.n_weights * kernel.k * kernel.n * 2
    activations = [i for i in work if isinstance(i, Elementwise) and i.kernel_class is KernelClass.ACTIVATION]
    assert len(activations) == 32
    assert activations[0].flop == 6 * 2 * 14336 * 2


def test_one_token_wakes_two_experts_of_one_row_each():
    phases = decode("gpu_only", rlp=1, trace="mixtral-8x7b")
    assert {w.item.groups for p in phases for w in p.work if is_grouped(w.item)} == {(Group(1, 2),)}


def test_skew_and_drafts_that_repeat_read_fewer_experts():
    """Mixtral with four requests of four rows: balanced rows wake nearly all eight experts."""

    def weights(*choices: str) -> float:
        experiment = load_experiment(RunOptions(hw="gpu_only", trace="mixtral-8x7b", set=list(choices)))
        plan = planner_of(experiment, read_trace(experiment.trace.path), build_machine(experiment.system))
        phases = plan.decode(decode_shape(4, 16), decode_lengths(4, 4, 400, 100), fold=False)
        return sum(w.item.weight_bytes for p in phases for w in p.work if is_grouped(w.item))

    balanced = weights()
    assert weights("experts.zipf_exponent=2") < 0.9 * balanced
    assert weights("experts.repeat_ratio=1") < 0.9 * balanced
    assert weights("experts.repeat_ratio=0") == balanced
    assert weights("experts.popularity=[1,1,0,0,0,0,0,0]") == pytest.approx(balanced / 4, rel=0.1)
