"""A machine's phases, power and remembered prices."""

import pytest

from papisim.config.experiment import RunOptions, load_experiment
from papisim.ops.cost import Cost
from papisim.ops.kernel import FcRole, Kernel, Linear
from papisim.plan.collectives import all_reduce
from papisim.plan.machine import Machine, build_machine
from papisim.plan.phase import Category

FC = Linear(FcRole.QKV, 4, 4096, 4096, 2)


def machine(hw: str = "papi", *assignments: str) -> Machine:
    return build_machine(load_experiment(RunOptions(hw=hw, trace="llama7b", set=list(assignments))).system)


def test_a_price_is_computed_once(monkeypatch: pytest.MonkeyPatch):
    made, asked = machine(), list[Kernel]()
    price = made.pools["gpu"].price

    def counted(kernel: Kernel) -> Cost:
        asked.append(kernel)
        return price(kernel)

    monkeypatch.setattr(made.pools["gpu"], "price", counted)
    assert made.price("gpu", FC) == made.price("gpu", Linear(FcRole.QKV, 4, 4096, 4096, 2)) == price(FC)
    assert asked == [FC], "equal kernels have one price"
    assert made.price("fc_pim", FC) != made.price("gpu", FC), "each device its own"


def test_a_computing_phase_is_shared_by_all_units_of_the_device():
    made = machine()
    phase = made.compute("fc_pim", Category.FC, FC, repeats=3)
    (work,) = phase.work
    assert (phase.resource, phase.category, phase.repeats) == ("fc_pim", Category.FC, 3)
    assert (work.item, work.units) == (FC, made.pools["fc_pim"].count)
    assert phase.time_s == work.time_s == made.pools["fc_pim"].price(FC).time_s
    assert phase.flop == 2 * 4 * 4096 * 4096


def test_a_message_and_a_sum_over_ranks_are_what_the_link_charges():
    made = machine()
    parallel = made.roles.tensor_parallel
    sent, summed = made.send("pcie", 1e6), next(all_reduce(made, 1e6, parallel.ranks))
    assert sent.time_s == made.links["pcie"].transfer(1e6).time_s
    assert summed.time_s == made.links[parallel.link].all_reduce(1e6, parallel.ranks).time_s
    assert {sent.category, summed.category} == {Category.COMMUNICATION}
    assert (sent.resource, summed.resource) == ("pcie", parallel.link)
    assert [phase.work[0].item.ranks for phase in (sent, summed)] == [1, parallel.ranks]  # type: ignore[union-attr]


def test_stages_share_the_devices_and_all_draw_power():
    whole = machine("gpu_only", "devices.gpu.count=8", "links.nvlink.count=8")
    cut = machine(
        "gpu_only", "devices.gpu.count=8", "links.nvlink.count=8",
        "roles.pipeline={stages: 4, link: nvlink}",
    )  # fmt: skip
    assert (whole.stages, cut.stages) == (1, 4)
    assert (whole.pools["gpu"].count, cut.pools["gpu"].count) == (8, 2)
    assert cut.static_w == whole.static_w > 0
