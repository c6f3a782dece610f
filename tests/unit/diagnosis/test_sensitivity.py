"""What-if derivatives against closed forms, against Euler's theorem, and against differences of whole simulations."""

import pytest

from papisim.config.experiment import RunOptions, load_experiment
from papisim.diagnosis.explanation import by_repricing, by_simulation
from papisim.diagnosis.parameters import Parameter, moved, parameters
from papisim.diagnosis.recording import Recording, Repricing
from papisim.diagnosis.sensitivity import elasticities
from papisim.engine.run import simulate
from papisim.ops.kernel import Elementwise, KvAppend

SHORT = "workload.lengths={kind: fixed, input_tokens: 32, output_tokens: 24}"


class Explored:
    """A short run, what it hangs on, and how its time follows a number."""

    def __init__(self, hw, *overrides, **options):
        asked = {"trace": "llama7b", "batch": 8, **options}
        self.recording = Recording()
        experiment = load_experiment(RunOptions(hw=hw, set=(SHORT, *overrides), **asked))
        self.run = simulate(experiment, probe=self.recording)
        self.repricing = Repricing(self.recording, self.run.machine)
        machine = self.run.machine
        link = machine.roles.tensor_parallel.link
        self.known = list(parameters(self.repricing, frozenset(machine.pools), link))
        self.time_with = by_repricing(self.repricing, self.run.ledger.end_s)

    def found(self):
        return {each.parameter.path: each for each in elasticities(self.time_with, self.known)}


@pytest.fixture(scope="module")
def papi():
    return Explored("papi")


@pytest.fixture(scope="module")
def gpu_only():
    return Explored("gpu_only")


@pytest.mark.parametrize("hw", ["papi", "gpu_only", "a100_attacc"])
def test_every_derivative_is_the_difference_of_two_whole_simulations(hw):
    """All numbers of the hardware, over the same step; what runs where does not depend on it."""
    explored = Explored(hw, trace="llama-68m", batch=2)
    found = explored.found()
    simulated = by_simulation(explored.run.experiment, lambda what: None)
    again = elasticities(simulated, [each.parameter for each in found.values()])
    assert {each.parameter.path: each.elasticity for each in again} == pytest.approx(
        {path: each.elasticity for path, each in found.items()}, rel=1e-6, abs=1e-9
    )
    silent = [parameter for parameter in explored.known if parameter.path not in found]
    for parameter in silent[::5]:
        assert simulated(parameter, moved(parameter, 0.1)) == pytest.approx(explored.run.ledger.end_s, rel=1e-12)


def test_the_name_of_a_number_is_what_set_takes(papi):
    for path in (
        "devices.gpu.part.memory_bandwidth_bytes_per_s",
        "devices.attn_pim.part.fpu.clock_hz",
        "devices.gpu.count",
    ):
        (parameter,) = (each for each in papi.known if each.path == path)
        value = moved(parameter, 0.1)
        other = Explored("papi", f"{path}={value!r}")
        assert papi.time_with(parameter, value) == pytest.approx(other.run.ledger.end_s, rel=1e-12)


def test_a_links_latency_and_bandwidth_have_the_elasticities_of_their_shares_of_the_run(papi):
    """T = latency·n + bytes/bandwidth + rest, so the elasticities are the first two over T."""
    messages = {item: times for item, times in papi.recording.times.items() if item.resource == "pcie"}
    part, end_s, found = papi.run.machine.links["pcie"].part, papi.run.ledger.end_s, papi.found()
    latency_s = sum(messages.values()) * part.latency_s
    payload = sum(item.what.payload_bytes * times for item, times in messages.items())
    stream_s = payload / part.bandwidth_bytes_per_s / papi.run.machine.links["pcie"].count
    assert found["links.pcie.part.latency_s"].elasticity == pytest.approx(-latency_s / end_s, rel=1e-3)
    assert found["links.pcie.part.bandwidth_bytes_per_s"].elasticity == pytest.approx(stream_s / end_s, rel=1e-3)


def test_rates_less_latencies_add_up_to_one_where_nothing_is_rounded(gpu_only):
    """Time is homogeneous of degree one in latencies and inverse rates (Euler)."""
    found = gpu_only.found()
    assert all(each.smooth for path, each in found.items() if path.endswith("_s"))
    assert sum(each.elasticity * (1 if path.endswith("_per_s") else -1) for path, each in found.items() if path.endswith("_s")) == pytest.approx(1, abs=2e-3)  # fmt: skip


def test_launches_are_a_kernel_librarys_and_not_the_hardwares(gpu_only):
    found = gpu_only.found()
    assert found["devices.gpu.part.elementwise.fused.launch_s"].parameter.software
    assert not found["devices.gpu.part.memory_bandwidth_bytes_per_s"].parameter.software


def test_a_fused_launch_costs_its_time_once_a_kernel(gpu_only):
    small = [
        times for item, times in gpu_only.recording.times.items() if isinstance(item.what, (Elementwise, KvAppend))
    ]
    launch_s = gpu_only.run.machine.pools["gpu"].part.elementwise.fused.launch_s
    expected = -sum(small) * launch_s / gpu_only.run.ledger.end_s
    found = gpu_only.found()["devices.gpu.part.elementwise.fused.launch_s"]
    assert found.elasticity == pytest.approx(expected, rel=1e-3)
    assert found.smooth


def test_a_clock_that_only_acts_through_whole_cycles_is_said_to_move_in_steps(papi):
    """Two turns of an FPU of 666 MHz take 7.8 cycles of 0.769 ns: 8, and also at 1 % more or less."""
    found = papi.found()["devices.fc_pim.part.fpu.clock_hz"]
    assert not found.smooth
    parameter = found.parameter
    as_it_is_s = papi.run.ledger.end_s
    assert papi.time_with(parameter, 1.01 * parameter.value) == pytest.approx(as_it_is_s, rel=1e-9)
    assert found.raised_ratio >= 0 > found.lowered_ratio


def test_what_cannot_be_felt_is_left_out(papi):
    found = papi.found()
    assert "devices.gpu.part.elementwise.eager.other.launch_s" not in found, "fused kernels run"
    assert all(each.lowered_ratio or each.raised_ratio for each in found.values())
    order = [abs(each.elasticity) for each in found.values()]
    assert order == sorted(order, reverse=True)


def test_numbers_are_those_of_what_worked_and_of_the_library_in_use(papi):
    paths = [each.path for each in papi.known]
    assert len(paths) == len(set(paths))
    assert {path.split(".")[1] for path in paths} == {
        "gpu",
        "fc_pim",
        "attn_pim",
        "nvlink",
        "pcie",
    }
    used = papi.run.machine.pools["gpu"].part.linear.use
    libraries = {path.split(".")[5] for path in paths if ".part.linear.libraries." in path}
    assert libraries == {used}


@pytest.mark.parametrize(("value", "whole", "ratio", "expected"), [
    (30, True, 0.2, 36), (30, True, -0.1, 27), (4, True, 0.1, 5), (1, True, -0.1, 1), (2.0, False, 0.1, 2.2),
])  # fmt: skip
def test_whole_numbers_move_by_at_least_one_and_stay_positive(value, whole, ratio, expected):
    parameter = Parameter("x", "x", value, whole=whole, software=False, field=("x",))
    assert moved(parameter, ratio) == pytest.approx(expected)


@pytest.mark.parametrize(("path", "field", "up"), [
    ("devices.gpu.part.peak_flop_per_s", ("peak_flop_per_s",), True),
    ("devices.gpu.part.linear.libraries.a.launch_s", ("linear", "launch_s"), False),
    ("devices.pim.part.timing.rcd", ("timing", "rcd"), False),
    ("devices.pim.part.timing.refi", ("timing", "refi"), True),
    ("devices.pim.part.energy.column_j_per_byte", ("energy", "column_j_per_byte"), False),
    ("devices.pim.part.fpu.per_banks", ("fpu", "per_banks"), False),
    ("devices.pim.count", (), True),
])  # fmt: skip
def test_rates_and_counts_are_better_higher_and_times_and_energies_lower(path, field, up):
    assert Parameter(path, "x", 1, whole=False, software=False, field=field).better_up is up


def test_numbers_of_an_engines_small_kernels_are_those_of_the_classes_in_use():
    found = {each.path: each for each in Explored("h200_single", trace="llama-68m").known}
    classes = "devices.gpu.part.elementwise.libraries.vllm.classes"
    assert {f"{classes}.normalisation.launch_s", f"{classes}.activation.on_chip_bytes_per_s"} <= set(found)
    assert not any("libraries.sdpa" in path or "trtllm" in path for path in found), "of libraries in use alone"
    assert moved(found[f"{classes}.rotary.launch_s"], 0.1) > found[f"{classes}.rotary.launch_s"].value
