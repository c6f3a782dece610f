"""Results that others can make again and cite, as a user asks for them."""

import json
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from papisim import catalog
from papisim.cli import papisim
from papisim.results.folder import read_results
from papisim.results.seal import sha256_of

SHORT = "workload.lengths={kind: fixed, input_tokens: 16, output_tokens: 4}"


def call(*arguments: str, status: int = 0):
    done = CliRunner().invoke(papisim, arguments)
    assert done.exit_code == status, done.output
    return done


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """A folder with results of a machine whose file names a part beside it, and a part elsewhere."""
    shipped = catalog.data_folder() / "hwconfigs"
    (tmp_path / "home" / "parts").mkdir(parents=True)
    elsewhere = tmp_path / "lab" / "pcie.yaml"
    elsewhere.parent.mkdir()
    elsewhere.write_text((shipped / "devices/pcie5_x16.yaml").read_text())
    (tmp_path / "home/parts/link.yaml").write_text((shipped / "devices/nvlink3.yaml").read_text())
    machine = (shipped / "papi.yaml").read_text()
    machine = machine.replace("part: nvlink3", "part: parts/link.yaml").replace(
        "part: pcie5_x16", f"part: {elsewhere}"
    )
    (tmp_path / "home/mine.yaml").write_text(machine)
    monkeypatch.chdir(tmp_path / "home")
    mine = ("--hw", "mine.yaml", "--placement", "pinned:gpu", "--trace", "llama7b", "--batch", "2")
    call("run", *mine, "--set", SHORT, "--out", "res", "-q")
    return tmp_path / "home"


def test_a_manifest_records_the_command_without_its_output_and_every_file_that_was_read(home):
    manifest = read_results(home / "res").manifest
    asked = ["--hw", "mine.yaml", "--trace", "llama7b", "--batch", "2", "--placement", "pinned:gpu", "--set", SHORT]
    assert manifest["command"] == {"name": "run", "arguments": asked}
    read = {each["origin"]: set() for each in manifest["input_files"]}
    for each in manifest["input_files"]:
        read[each["origin"]].add(each["path"])
    assert read["user"] == {"mine.yaml", "parts/link.yaml", "../lab/pcie.yaml"}
    assert {"hwconfigs/devices/fc_pim.yaml", "traces/kernels/llama7b/trace.yaml"} <= read["shipped"]


def test_a_bundle_has_the_inputs_and_the_results_and_no_path_of_the_machine(home):
    call("bundle", "res", "-q")
    with zipfile.ZipFile("res.zip") as archive:
        contents = {name: archive.read(name).decode() for name in archive.namelist()}
    assert {
        "README.txt",
        "inputs/mine.yaml",
        "inputs/parts/link.yaml",
        "inputs/elsewhere/pcie.yaml",
    } <= contents.keys()
    assert "part: elsewhere/pcie.yaml" in contents["inputs/mine.yaml"]
    assert {f"results/{each.name}" for each in (home / "res").iterdir()} <= contents.keys()
    for name, text in contents.items():
        assert str(home.parent) not in text, name
        assert str(catalog.data_folder()) not in text, name
    assert "papisim run --hw mine.yaml" in contents["README.txt"]


def test_a_bundle_of_an_input_that_has_changed_since_is_refused(home):
    (home / "parts/link.yaml").write_text((home / "parts/link.yaml").read_text() + "# a remark\n")
    done = CliRunner().invoke(papisim, ["bundle", "res"])
    assert "parts/link.yaml: has changed since the results were made from it" in str(done.exception)
    assert not (home / "res.zip").exists()


@pytest.mark.slow
def test_a_rerun_proves_equal_results_and_shows_what_differs(home):
    call("bundle", "res", "-q")
    assert "equal: devices, energy" in call("rerun", "res.zip", "-q").stdout
    assert "equal: devices, energy" in call("rerun", "res", "-q").stdout
    text = (home / "mine.yaml").read_text()
    (home / "mine.yaml").write_text(text.replace("count: 6", "count: 5", 1))
    done = CliRunner().invoke(papisim, ["rerun", "res", "-q"])
    assert done.exit_code == 1
    assert "mine.yaml (user) has changed" in done.stderr
    assert "differences" in str(done.exception)
    assert "summary.throughput_tokens_per_s: " in done.stdout


def test_code_that_a_bundle_brings_is_not_run_unasked_nor_commands_that_write_elsewhere(home):
    call("bundle", "res", "-q")
    for old, new, said in (
        ("parts/link.yaml", "parts/link.py", "brings code: parts/link.py"),
        ('"--batch"', '"--timeline"', "expected a command that writes to --out alone"),
    ):
        with zipfile.ZipFile("res.zip") as archive, zipfile.ZipFile("other.zip", "w") as other:
            for name in archive.namelist():
                text = archive.read(name).decode()
                other.writestr(name, resealed(text.replace(old, new)) if name.endswith("manifest.json") else text)
        assert said in str(CliRunner().invoke(papisim, ["rerun", "other.zip"]).exception)


def resealed(text: str) -> str:
    manifest = json.loads(text)
    manifest.pop("manifest_sha256")
    return json.dumps({**manifest, "manifest_sha256": sha256_of(manifest)})


def test_citations_are_of_papisim_and_of_the_works_that_numbers_are_from(home):
    said = call("cite", "res").stdout
    assert said.startswith("@software{papisim,")
    assert "@inproceedings{papi2025," in said
    assert "@misc{h200_datasheet" not in said


def test_citations_of_a_sweep_are_those_of_the_files_it_read(home):
    asked = ("--hw", "gpu_only", "--trace", "llama7b", "--batch", "1,2", "--workers", "1", "--set", SHORT)
    call("sweep", *asked, "--frame", "csv", "--out", "swept", "-q")
    said = call("cite", "swept").stdout
    assert "@misc{a100_datasheet," in said
    assert "samsung_pimsimulator" not in said, "a machine without PIM rests on no simulator of one"
