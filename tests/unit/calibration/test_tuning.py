"""α, Synergy's table and SSSD's knee belong to a machine and a model: found for these, kept, and marked where they are given."""

import json

import pytest

from papisim import catalog
from papisim.calibration import cache
from papisim.calibration.alpha import ROWS, Profile, best_alpha, calibrated, subject_of
from papisim.catalog import Shelf
from papisim.config.experiment import load_experiment, options_of
from papisim.config.quantisation import QuantisationSpec
from papisim.config.system import load_system
from papisim.config.yaml import dump, load_yaml
from papisim.engine.run import simulate
from papisim.ops.trace import read_trace
from papisim.results.metrics import summarise

#: an FC-PIM of half the units per bank, at a clock 1.5 times as high: PAPI's α is too high for it
SLOWER = ("devices.fc_pim.part.fpu.fpus=2", "devices.fc_pim.part.fpu.clock_hz=1 GHz")
SMALL = "llama-68m"


def experiment(*changes, hw="papi", trace=SMALL, **options):
    return load_experiment(options_of(hw=hw, trace=trace, set=changes, **options))


def tuning(*changes, **options):
    (found,) = experiment(*changes, **options).tunings
    return found


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PAPISIM_CACHE", str(tmp_path))
    cache._memory.clear()
    return tmp_path / "calibrations"


def test_the_shipped_alpha_is_that_of_the_shipped_machine_and_nothing_is_calibrated_for_it(own_cache):
    for name in catalog.shipped(Shelf.TRACE):
        found = tuning(trace=name)
        assert (found.origin, found.note) == ("calibrated for this machine", None), name
    assert not own_cache.exists()


@pytest.mark.parametrize("name", ["llama65b", SMALL])
def test_the_shipped_alpha_is_what_calibration_finds(name):
    system, trace = load_system("papi"), read_trace(catalog.find(Shelf.TRACE, name).path)
    assert best_alpha(calibrated(system, trace, QuantisationSpec())) == system.placement.calibrated[name].alpha


def test_a_slower_fc_pim_gets_an_alpha_of_its_own_that_no_other_beats():
    own = experiment(*SLOWER, trace="llama65b", batch=64)
    found = own.tunings[0]
    assert (found.origin, found.note) == ("calibrated on the fly", None)
    assert 56 / 3 < found.value < 56 * 0.8

    def rate(*changes):
        options = options_of(
            hw="papi", trace="llama65b", batch=64, workload={"kind": "closed_batch", "n_requests": 64,
            "lengths": {"kind": "listed", "pairs": [[16, 8 + i] for i in range(64)]}}, set=(*SLOWER, *changes),
        )  # fmt: skip
        return summarise(simulate(load_experiment(options)))["throughput_tokens_per_s"]

    best = rate()
    for alpha in (0, 8, 16, 24, 32, 40, 48, 56, 64):
        assert rate(f"placement.alpha={alpha}") <= best * (1 + 1e-9), alpha


def test_more_stacks_raise_alpha_and_fewer_lower_it():
    few, many = (tuning(f"devices.fc_pim.count={n}", trace="llama65b").value for n in (15, 60))
    assert few < 56 < many


@pytest.mark.parametrize(
    "change",
    ["devices.fc_pim.count=20", "devices.gpu.count=4", "devices.gpu.part.memory_bandwidth_bytes_per_s=2 TB/s", "quantisation.weight_bits=4"],
)  # fmt: skip
def test_whatever_fc_prices_depend_on_makes_the_stored_alpha_another_machines(change):
    changes = (change, "roles.tensor_parallel.ranks=4") if "gpu.count" in change else (change,)
    assert tuning(*changes).origin == "calibrated on the fly"


@pytest.mark.parametrize(
    "change", ["devices.attn_pim.count=80", "links.pcie.part=nvlink4", "links.nvlink.part=nvlink4", "quantisation.kv_bits=8"]
)  # fmt: skip
def test_attention_and_links_leave_alpha_alone(change):
    assert tuning(change).origin == "calibrated for this machine"


def test_a_given_alpha_is_used_and_its_note_has_the_right_one_and_the_loss():
    found = tuning("placement.alpha=20")
    assert (found.value, found.origin, found.calibrated) == (20, "given", 241)
    assert found.loss_ratio > 0.05
    assert "placement.alpha 20 is given" in found.note
    assert "241" in found.note
    assert f"{found.loss_ratio:.1%}" in found.note
    assert tuning("placement.alpha=241").note is None


def test_a_mapping_of_ones_own_is_given_too_and_its_default_serves_other_models():
    found = tuning("placement.alpha={default: 56, llama7b: 76}")
    assert (found.value, found.origin) == (56, "given")


def test_an_alpha_edited_by_hand_no_longer_has_the_stamp_of_the_machine():
    edited = "placement.calibrated.llama-68m.alpha=30"
    assert (tuning(edited).value, tuning(edited).origin) == (241, "calibrated on the fly")


def test_a_calibration_is_kept_and_a_damaged_one_is_made_again(own_cache):
    first = tuning(*SLOWER).value
    (entry,) = own_cache.glob("*.json")
    good = entry.read_bytes()
    stored = json.loads(good)
    stored["columns"][2][0] *= 2
    for damaged in (b"", b"[]", b"\xff\x00", good[: len(good) // 2], json.dumps(stored).encode()):
        entry.write_bytes(damaged)
        cache._memory.clear()
        assert tuning(*SLOWER).value == first
        assert entry.read_bytes() == good
    entry.unlink()
    cache._memory.clear()
    assert tuning(*SLOWER).value == first


def test_a_kept_calibration_is_not_computed_again(own_cache, monkeypatch):
    tuning(*SLOWER)
    cache._memory.clear()
    monkeypatch.setattr("papisim.calibration.alpha.wide_profile", None)
    assert tuning(*SLOWER).origin == "calibrated on the fly"


def test_the_cache_is_bounded_and_drops_what_was_not_used_for_longest(own_cache, monkeypatch):
    monkeypatch.setattr(cache, "_MOST", 2)
    for what in "abc":
        cache.remembered(what, lambda: [[1.0]])
    assert len(list(own_cache.glob("*.json"))) == 2


def test_a_cache_that_cannot_be_written_costs_time_alone(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PAPISIM_CACHE", str(tmp_path / "file"))
    assert cache.remembered("what", lambda: [[1.0, 2.0]]) == [[1.0, 2.0]]


@pytest.mark.slow
def test_a_crossing_beyond_the_first_rows_is_found_in_coarser_steps():
    """Sixteen experts see a sixteenth of the rows each: FC-PIM stays the faster side far longer than for a dense model."""
    system = load_system("papi", ["devices.fc_pim.count=40"])
    trace = read_trace(catalog.find(Shelf.TRACE, "mixtral-8x7b").path)
    found = calibrated(system, trace, QuantisationSpec())
    alpha = best_alpha(found)
    assert ROWS < alpha < found.levels[-1]
    step = int((found.levels[1:] - found.levels[:-1]).max())
    at = {
        int(rows): (units, pim)
        for rows, units, pim in zip(found.levels, found.processing_unit_s, found.pim_s, strict=True)
    }
    assert at[alpha][1] <= at[alpha][0]
    assert at[alpha + step][1] > at[alpha + step][0]


def test_loss_is_the_mean_over_rows_whatever_the_levels():
    """A coarse profile of two spans, rows 1 to 2 and 3 to 4, against one with each row."""
    import numpy as np  # noqa: PLC0415

    fine = Profile("fine", np.array([2.0, 2.0, 2.0, 2.0]), np.array([1.0, 1.0, 4.0, 4.0]))
    coarse = Profile("coarse", np.array([2.0, 2.0]), np.array([1.0, 4.0]), np.array([2, 4]))
    for alpha in (0, 2, 4):
        assert fine.loss(alpha, 2) == pytest.approx(coarse.loss(alpha, 2))
    assert fine.loss(0, 2) == pytest.approx(0.5)


def test_the_subject_is_plain_and_the_same_each_time():
    system, trace = load_system("papi"), read_trace(catalog.find(Shelf.TRACE, SMALL).path)
    first, second = (subject_of(system, trace, QuantisationSpec()) for _ in range(2))
    assert first == second


DRAFTED = {"trace": "llama3-8b", "draft": "llama32_1b", "acceptance": "geometric", "batch": 4}


def speculating(policy, *changes, hw="papi"):
    return experiment("acceptance.alpha=0.8", *changes, hw=hw, speculation=policy, **DRAFTED).tunings[-1]


def test_synergys_table_is_profiled_on_the_machine_at_hand():
    papi, gpus = speculating("synergy"), speculating("synergy", hw="gpu_only")
    assert papi.origin == gpus.origin == "calibrated on the fly"
    assert papi.field == "speculation.table"
    assert papi.value != gpus.value


def test_a_given_table_is_used_and_marked_unless_it_says_the_same():
    best = speculating("synergy").value
    rows = ", ".join(f"{{up_to_batch: {row['up_to_batch']}, length: {row['length']}}}" for row in best)
    assert speculating("synergy", f"speculation.table=[{rows}]").note is None
    wrong = speculating("synergy", "speculation.table=[{up_to_batch: 64, length: 16}]")
    assert wrong.origin == "given"
    assert wrong.loss_ratio > 0
    assert "expected loss" in wrong.note


def test_sssds_knee_is_that_of_the_processing_units():
    found = speculating("sssd")
    assert found.value == found.calibrated
    assert 100 < found.value < 200, "an A100 with HBM3: 312 TFLOP/s over 3.35 TB/s is 93, each at its reachable share"
    other = speculating("sssd", "speculation.ratio=20")
    assert (other.value, other.calibrated) == (20, found.value)
    assert "speculation.ratio 20 is given" in other.note


@pytest.mark.slow
def test_a_new_mixture_of_experts_gets_an_alpha_of_its_own(tmp_path):
    """Mixtral with one expert per token instead of two: each expert sees half the rows, so FC-PIM stays the faster side longer."""
    document = load_yaml(catalog.find(Shelf.TRACE, "mixtral-8x7b").path).data
    document["model"]["n_experts_per_token"] = 1
    del document["provenance"]["structure_sha256"]
    (tmp_path / "new.yaml").write_text(dump(document))
    found = tuning(trace=str(tmp_path / "new.yaml"))
    assert found.origin == "calibrated on the fly"
    assert 1.5 * 195 < found.value < 2.5 * 195
