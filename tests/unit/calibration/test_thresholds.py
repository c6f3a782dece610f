"""Thresholds that machines have in their files: read as they were written, and taken where the stamp fits."""

from dataclasses import replace

import pytest

from papisim import catalog
from papisim.calibration import thresholds as module
from papisim.calibration.operators import Subject, subjects
from papisim.calibration.thresholds import COLUMNS, calibrate, read_table, rows_of, stored
from papisim.catalog import Shelf
from papisim.config.experiment import RunOptions, load_experiment
from papisim.config.system import load_system
from papisim.errors import InputError
from papisim.ops.kernel import FcRole
from papisim.policies.placement.base import Operator
from papisim.policies.placement.papi_operators import Level

#: machines with thresholds in their files
MACHINES = ("papi_attached", "papi_attn_2p1b", "papi_attn_4p1b", "h100_hbmpim", "h200_hbmpim", "saddle")


def subject(hw: str = "papi_attached", trace: str = "llama3-8b", *changes: str) -> Subject:
    return next(subjects(load_experiment(RunOptions(hw=hw, trace=trace, placement="cheapest", set=changes))))


def with_policy(of: Subject, hw: str = "papi_attached") -> Subject:
    """The subject on its machine with the machine's own policy, which is not tuned."""
    system = replace(of.experiment.system, placement=load_system(hw).placement)
    return replace(of, experiment=replace(of.experiment, system=system))


def test_a_table_is_read_as_it_was_written(tmp_path):
    found = {
        Operator.FC: {FcRole.QKV: {4096: 21.0, 65536: 104.5}, FcRole.PROJECTION: 9.0},
        Operator.EXPERTS: 1.2345678901234567,
        Operator.ATTENTION: [
            Level(intensity=4.0, tokens=128.0, requests=[71, 97]),
            Level(intensity=4.0, tokens=512.0, requests=None),
        ],
    }
    file = tmp_path / "table.csv"
    lines = [COLUMNS, *(("model", *row) for row in rows_of(found))]
    file.write_text("\n".join(",".join(line) for line in lines), encoding="utf-8")
    assert read_table(str(file)) == {"model": found}


def test_a_file_that_is_no_table_is_refused_by_name(tmp_path):
    file = tmp_path / "table.csv"
    file.write_text("model,operator\nllama7b,fx\n", encoding="utf-8")
    with pytest.raises(InputError, match="no table of thresholds"):
        read_table(str(file))
    with pytest.raises(InputError, match="cannot be read"):
        read_table(str(tmp_path / "none.csv"))


@pytest.mark.parametrize("hw", MACHINES)
def test_a_run_of_a_model_in_the_files_calibrates_nothing(hw, monkeypatch):
    monkeypatch.setattr(module, "calibrate", lambda subject: pytest.fail("calibrated on the fly"))
    (tuning,) = load_experiment(RunOptions(hw=hw, trace="llama3-8b")).tunings
    assert tuning.origin == "calibrated for this machine"
    assert next(row for row in tuning.value if row["operator"] == "attention")["rows"] > 100


def test_thresholds_belong_to_the_devices_links_model_and_quantisation_that_they_were_found_for():
    assert stored(with_policy(subject())) is not None
    others = (
        "devices.attn_pim.count=30",
        "links.nvlink.count=7",
        "quantisation.weight_bits=8",
        "devices.gpu.part=h100",
    )
    assert [stored(with_policy(subject("papi_attached", "llama3-8b", each))) for each in others] == [None] * len(
        others
    )
    assert stored(with_policy(subject("papi_attached", "llama3-8b", "scheduler.decision_s=1 ms"))) is not None
    assert stored(with_policy(subject(trace="llama32-1b"))) is None, "a model without a stamp"


@pytest.mark.slow
@pytest.mark.parametrize("hw", MACHINES)
def test_the_thresholds_in_the_files_are_those_that_calibration_finds(hw):
    for model in read_table(load_system(hw).placement.calibrated.file):
        own = with_policy(subject(hw, model), hw)
        assert stored(own) == calibrate(own), model


def test_every_machine_whose_operators_have_thresholds_has_them_in_its_files():
    found = {name for name in catalog.shipped(Shelf.SYSTEM) if load_system(name).placement.kind == "papi_operators"}
    assert found == {*MACHINES, "saddle_recapture"}
