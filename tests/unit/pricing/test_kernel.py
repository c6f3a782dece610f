"""The price of one kernel: figures that anybody can work out from the shape, and what each kind of device adds."""

import io
import json

import pytest

from papisim.api.kernel_sizes import kernel_of
from papisim.config.system import load_part
from papisim.errors import InputError, NotModelled
from papisim.ops.kernel import Elementwise, FcRole, KernelClass, Linear
from papisim.pricing.kernel import pool_of, price
from papisim.pricing.schema import KernelPrice

PRODUCT = Linear(FcRole.QKV, 4, 8192, 1024)


def pool(name, count=1, *overrides):
    return pool_of(load_part(name, overrides), count)


@pytest.mark.parametrize("name", ["h200", "a100", "fc_pim", "attacc"])
def test_a_product_multiplies_each_input_with_each_weight_and_moves_each_operand_once(name):
    priced = price(pool(name), PRODUCT)
    assert priced["flop"] == 2 * 4 * 8192 * 1024
    assert priced["read_bytes"] == 2 * (4 * 8192 + 8192 * 1024)
    assert priced["write_bytes"] == 2 * 4 * 1024


@pytest.mark.parametrize(("name", "count"), [("h200", 1), ("h200", 4), ("a100", 2), ("fc_pim", 3)])
def test_power_is_what_each_device_spends_in_the_kernels_time(name, count):
    priced = price(pool(name, count), PRODUCT)
    assert priced["power_w_per_device"] * count * priced["time_s"] == pytest.approx(priced["energy_j"])
    assert sum(priced["energy"].values()) == pytest.approx(priced["energy_j"])


def test_a_board_that_is_metered_draws_its_idle_power_on_every_card_and_one_that_is_summed_does_not():
    fitted, summed = (price(pool("h200", 2, f"energy_model={model}"), PRODUCT) for model in ("fitted", "per_access"))
    assert fitted["energy"]["static_j"] == pytest.approx(2 * 79.2 * fitted["time_s"])
    assert summed["energy"]["static_j"] == 0
    assert (fitted["energy_model"], summed["energy_model"]) == ("fitted", "per_access")


def test_a_stack_explains_its_cycles_and_its_columns():
    """1P1B: each of 4 · 8192 inputs meets every weight, a column of 32 bytes holds 16 weights."""
    stack = pool("attacc")
    priced = price(stack, PRODUCT)
    assert priced["time_s"] == pytest.approx(priced["cycles"] * priced["tck_s"], rel=1e-12)
    assert priced["cycles"] >= priced["cycles_from_idle"] > 0
    column_bytes = stack.part.organisation.column_bytes
    assert priced["bank_bytes"] % column_bytes == 0
    assert priced["bank_bytes"] >= 2 * 8192 * 1024, "every weight leaves its bank"
    assert priced["power_budget_w"] == 116
    assert priced["column_gap_cycles"] == 6


def test_twice_the_stacks_hold_the_same_weights():
    one, two = (price(pool("fc_pim", count), PRODUCT)["bank_bytes"] for count in (1, 2))
    assert two == pytest.approx(one, rel=0.1)


def test_a_link_runs_no_kernels():
    with pytest.raises(InputError, match="is a link, which runs no kernels"):
        pool("nvlink3")


@pytest.mark.parametrize("name", ["h200", "fc_pim"])
def test_every_device_kind_has_the_same_keys_in_json(name):
    priced = KernelPrice.model_validate({"device": name, "count": 1, "op": "linear", **price(pool(name), PRODUCT)})
    assert list(priced.as_json()) == [field.alias or key for key, field in KernelPrice.model_fields.items()]
    assert json.loads(json.dumps(priced.as_json())) == priced.as_json()


def test_what_a_kind_does_not_have_is_null():
    on = {
        name: KernelPrice.model_validate({"device": name, "count": 1, "op": "linear", **price(pool(name), PRODUCT)})
        for name in ("h200", "fc_pim")
    }
    assert on["h200"].cycles is on["h200"].bank_bytes is None
    assert on["fc_pim"].library is on["fc_pim"].outside_fit is None


def test_another_library_is_found_by_its_own_name_and_by_that_of_its_tables():
    gpu = pool("h200")
    assert gpu.with_library("cublas_vllm").part.linear.use == "cublas_vllm"
    packed = gpu.with_library("sdpa-cudnn-packed").part
    assert (packed.attention.use, packed.linear.use) == ("sdpa_packed", "cublas13")
    assert gpu.part.attention.use == "flash_attn3", "the pool itself is as it was"
    assert gpu.with_library("cublas").part.linear.use == "cublas13", "as torch's tables call it"
    with pytest.raises(InputError, match="did you mean 'cublas13'"):
        gpu.with_library("cublas12")
    with pytest.raises(InputError, match="fc_pim has no kernel libraries"):
        pool("fc_pim").with_library("cublas")


def test_elementwise_kernels_are_explained_by_the_library_that_runs_them():
    gpu = pool("h200")
    norm = Elementwise(KernelClass.NORMALISATION, 10, 100, 100)
    explained = gpu.explain(norm)
    assert explained["library"] == gpu.part.elementwise.libraries["vllm"].description
    assert (explained["source"], explained["outside_fit"]) == ("model", "no")


def test_only_stacks_have_a_command_stream_and_only_for_kernels_over_banks():
    file = io.StringIO()
    count, cycles = pool("attacc").write_commands(kernel_of("attention", {"heads_per_stack": 1, "kv": 256}, 1), file)
    lines = [line for line in file.getvalue().splitlines() if not line.startswith("#")]
    assert len(lines) == count
    issued = [int(line.split()[0]) for line in lines]
    assert issued == sorted(issued)
    assert issued[-1] < cycles
    with pytest.raises(NotModelled, match="PIM stacks"):
        pool("h200").write_commands(PRODUCT, io.StringIO())
    with pytest.raises(NotModelled, match="normalisation"):
        pool("attacc").write_commands(Elementwise(KernelClass.NORMALISATION, 10, 100, 100), io.StringIO())
