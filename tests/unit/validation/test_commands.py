"""Command traces beside the simulators that read them.

``tests/data/ramulator`` has logs of AttAcc's simulator (commit c600051 on Ramulator 2 b7c7027), run on traces that
``papisim price --commands-format ramulator`` wrote for its own mapping.
"""

import json
import stat
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from papisim.api.kernel_sizes import kernel_of
from papisim.cli import papisim
from papisim.config.system import load_part
from papisim.devices.pim import Pool
from papisim.devices.pim.commands import Op
from papisim.validation.commands import compared, read_log, scheduled

DATA = Path(__file__).parents[2] / "data" / "ramulator"
LOGS = {(777, 16): DATA / "attention_kv777_heads16.log", (100, 20): DATA / "attention_kv100_heads20.log"}


@pytest.fixture
def trace(tmp_path):
    pool = Pool("attacc", load_part("attacc", ["mapping=attacc_released"]).part, 1)

    def write(kv, heads, form="ramulator"):
        path = tmp_path / "attention.trace"
        with path.open("w", encoding="utf-8") as file:
            pool.write_commands(kernel_of("attention", {"heads_per_stack": heads, "kv": kv}, 1), file, form)
        return path

    return write


def stack(*overrides):
    return Pool("attacc", load_part("attacc", overrides).part, 1)


def simulator(folder, body):
    """An executable that is called as Ramulator 2 is: ``-f SETUP``, its working directory a folder of its own."""
    path = folder / f"simulator{len(list(folder.glob('simulator*')))}"
    path.write_text(
        f"#!{sys.executable}\nimport pathlib, re, sys\nsetup = pathlib.Path(sys.argv[2]).read_text()\n{body}",
        encoding="utf-8",
    )
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def copying(folder, log, cycles):
    return simulator(
        folder,
        "logs = pathlib.Path(re.findall(r'path: (.*commands)', setup)[0])\nlogs.parent.mkdir()\n"
        f"pathlib.Path(f'{{logs}}.ch0').write_text(pathlib.Path({str(log)!r}).read_text())\npathlib.Path(f'{{logs}}.ch1').touch()\n"
        f"print('  memory_system_cycles: {cycles}')\n",
    )


def validate(*arguments):
    return CliRunner().invoke(papisim, ["validate", "--commands", *map(str, arguments)])


@pytest.mark.parametrize(("kv", "heads"), sorted(LOGS))
def test_commands_are_issued_within_a_cycle_of_attaccs_simulator_but_for_few(kv, heads, trace):
    found = compared(scheduled(trace(kv, heads), "ramulator", stack()), read_log(LOGS[kv, heads]))
    assert abs(found.error) < 0.01
    by_name = {row.command: row for row in found.commands}
    assert all(row.n == row.n_simulator for row in found.commands), "each command once, in both"
    macs = by_name[Op.MAC.value]
    assert macs.largest_cycles <= 2
    assert by_name[Op.WRITE_OPERANDS.value].n_equal > 0


def test_another_spacing_than_the_simulators_shows(trace):
    faster = stack("power_limited=false")
    found = compared(scheduled(trace(777, 16), "ramulator", faster), read_log(LOGS[777, 16]))
    assert found.error < -0.2
    assert {row.command: row for row in found.commands}["MACAB"].largest_cycles > 100


def test_the_command_line_compares_with_a_log_and_with_a_simulator(trace, tmp_path):
    path, log = trace(777, 16), LOGS[777, 16]
    from_log = validate(path, "--part", "attacc", "--log", log, "--format", "json")
    end = json.loads(from_log.stdout)["simulator_cycles"]
    assert from_log.exit_code == 0, from_log.output
    program = copying(tmp_path, log, end)
    run = validate(path, "--part", "attacc", "--simulator", program, "--format", "json")
    assert json.loads(run.stdout) == json.loads(from_log.stdout)
    shown = validate(path, "--part", "attacc", "--simulator", program)
    assert f"simulator {end:,}" in shown.stdout
    assert "MACAB" in shown.stdout


def test_the_simulator_is_set_up_with_the_sizes_and_timings_of_the_part(trace, tmp_path):
    program = simulator(tmp_path, f"pathlib.Path({str(tmp_path / 'setup')!r}).write_text(setup)\nsys.exit(3)\n")
    failed = validate(trace(100, 20), "--part", "attacc", "--simulator", program, "--set", "timing.rfc=400")
    assert "ended with status 3" in str(failed.exception)
    setup = (tmp_path / "setup").read_text(encoding="utf-8")
    for line in ("nCCDAB: 6", "nRCDRD: 19", "nRFC: 400", "density: 8192", "row: 16384", "channel: 16"):
        assert line in setup


def test_cycles_of_the_aim_simulator_are_compared_alone(trace, tmp_path):
    program = simulator(tmp_path, "assert sys.argv[3] == '-t'\nprint('memory_system_cycles: 1560')\n")
    found = validate(
        trace(777, 16, "aim"),
        "--part",
        "attacc",
        "--commands-format",
        "aim",
        "--simulator",
        program,
        "--format",
        "json",
    )
    document = json.loads(found.stdout)
    assert document["simulator_cycles"] == 1560
    assert document["commands"] == []


def test_ends_that_are_apart_fail(trace, tmp_path):
    result = validate(trace(777, 16), "--part", "attacc", "--simulator", copying(tmp_path, LOGS[777, 16], 1000))
    assert "+53.1% apart, more than 2%" in str(result.exception)


def test_without_a_simulator_or_with_something_else_the_comparison_is_refused(trace, tmp_path, monkeypatch):
    path = trace(100, 20)
    monkeypatch.delenv("PAPISIM_RAMULATOR", raising=False)
    for arguments, message in (
        ([path, "--part", "attacc"], "give the executable with --simulator or in PAPISIM_RAMULATOR"),
        ([path, "--part", "attacc", "--simulator", path], "is no executable file"),
        ([path, "--part", "attacc", "--simulator", simulator(tmp_path, "")], "says no memory_system_cycles"),
        (
            [path, "--part", "attacc", "--simulator", simulator(tmp_path, "print('memory_system_cycles: 3')")],
            "has logged no commands",
        ),
        ([path, "--part", "h100", "--log", LOGS[777, 16]], "is a gpu, expected PIM stacks"),
        (
            [path, "--part", "hbm_pim", "--log", LOGS[777, 16]],
            "without its constants (field 'generator')",
        ),
        ([path, "--part", "attacc", "--log", path], "expected a cycle, a command and its address"),
    ):
        result = validate(*arguments)
        assert result.exit_code
        assert message in f"{result.exception}{result.output}"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--part", "attacc", "--commands-format", "aim", "--log", "x"],
            "--log is what AttAcc's simulator has written",
        ),
        ([], "--commands needs --part"),
        (["--part", "attacc", "--fetch"], "--fetch has no meaning with --commands"),
        (["--part", "attacc", "--workers", "2"], "--workers has no meaning with --commands"),
    ],
)
def test_options_without_effect_are_refused(arguments, message, trace):
    result = validate(trace(100, 20), *arguments)
    assert result.exit_code == 2
    assert message in result.output


def test_options_of_command_traces_need_one():
    result = CliRunner().invoke(papisim, ["validate", "--part", "attacc"])
    assert result.exit_code == 2
    assert "--part has a meaning with --commands alone" in result.output
