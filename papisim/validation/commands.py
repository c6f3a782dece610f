"""Command traces replayed by the simulators that read them, and by the command scheduler here.

AttAcc's Ramulator 2 writes a log of every command that it issued, which is compared cycle for cycle; of the AiM simulator the number of
cycles is compared.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from papisim import foreign
from papisim.config.yaml import dump
from papisim.devices.pim import Pool
from papisim.devices.pim.commands import Op
from papisim.devices.pim.mapping.attacc_released.mapping import controller_rules
from papisim.devices.pim.scheduler import PHYSICAL, Channel
from papisim.devices.pim.traces import FORMATS
from papisim.errors import InputError, NotModelled
from papisim.validation.schema import CommandErrors, CommandValidation

#: environment variables with the executables, by format
VARIABLES = {"ramulator": "PAPISIM_RAMULATOR", "aim": "PAPISIM_AIM_SIMULATOR"}
#: names of commands in the log of AttAcc's simulator; it refreshes by pseudo-channel, so that refreshes are not counted alike
_LOGGED = {
    "ACTAB": Op.ACTIVATE, "MACAB": Op.MAC, "PREA": Op.PRECHARGE, "WRGB": Op.WRITE_OPERANDS, "MVSB": Op.MOVE_RESULTS,
    "MVGB": Op.MOVE_SCORES, "SFM": Op.SOFTMAX,
}  # fmt: skip
_LOG_LINE = re.compile(r"\s*(\d+)\s*,\s*(\w+)\s*,")
_CYCLES = re.compile(r"^\s*memory_system_cycles:\s*(\d+)", re.MULTILINE)
_LONGEST_S = 600

#: cycle of each command of a kind, ascending
Cycles = Mapping[Op, Sequence[int]]


class Replayed(NamedTuple):
    """What a simulator made of a trace: the cycle of its end, and of every command if it says so."""

    cycles: int
    issued: Cycles | None


def scheduled(trace: Path, form: str, pool: Pool) -> Cycles:
    """Return when the scheduler here issues the commands of a trace, by the rules of the simulator that the format belongs to.

    Raises:
        InputError: a line of the trace is wrong.
        NotModelled: the stack's sizes do not fit the format, or the part has no constants of AttAcc's controller.
    """
    part = pool.part
    commands = FORMATS[form].read(trace, part.organisation, pool.spacing)
    if form == "ramulator" and part.generator is None:
        raise NotModelled("replaying as AttAcc's controller without its constants (field 'generator')")
    rules = controller_rules(part.generator) if form == "ramulator" and part.generator is not None else PHYSICAL
    channel = Channel(part.timing, rules)
    channel.run(commands)
    return _by_op((issued.cycle, issued.command.op) for issued in channel.issued)


def _by_op(issued: Iterable[tuple[int, Op]]) -> Cycles:
    cycles: defaultdict[Op, list[int]] = defaultdict(list)
    for cycle, op in sorted(issued):
        cycles[op].append(cycle)
    return cycles


def read_log(path: Path) -> Replayed:
    """Read the log of one channel that AttAcc's simulator has written.

    Raises:
        InputError: a line is no command of a log.
    """
    issued = []
    for line, text in enumerate(foreign.read_text(path, "log of commands").splitlines(), start=1):
        match = _LOG_LINE.match(text)
        if match is None:
            raise InputError(
                f"found '{text[:40]}', expected a cycle, a command and its address", file=str(path), line=line
            )
        if match[2] in _LOGGED:
            issued.append((int(match[1]), _LOGGED[match[2]]))
    if not issued:
        raise InputError("holds no commands of a channel", file=str(path))
    return Replayed(max(issued)[0], _by_op(issued))


def executable(form: str, given: Path | None) -> Path:
    """Return the executable of the simulator that reads a format.

    Args:
        form: the format.
        given: path of the executable; None for that in the environment.

    Raises:
        InputError: it is neither given nor in the environment, or is no executable.
    """
    variable = VARIABLES[form]
    named = str(given) if given is not None else os.environ.get(variable)
    if not named:
        raise InputError(
            f"no simulator reads the trace: give the executable with --simulator or in {variable}, or what it has written with --log"
        )
    found = shutil.which(named)
    if found is None:
        raise InputError("is no executable file, expected that of the simulator", file=named)
    return Path(found).resolve()


def replay(trace: Path, form: str, pool: Pool, program: Path) -> Replayed:
    """Run a simulator on a trace, set up as the part is.

    Raises:
        InputError: the simulator fails, or says no number of cycles.
    """
    with tempfile.TemporaryDirectory() as folder:
        logs = Path(folder, "log", "commands")
        setup = _ramulator_setup(pool, trace, logs) if form == "ramulator" else _aim_setup()
        file = Path(folder, "setup.yaml")
        file.write_text(dump(setup), encoding="utf-8")
        arguments = ["-f", str(file), *(["-t", str(trace.resolve())] if form == "aim" else [])]
        said = _run(program, arguments, folder)
        found = _CYCLES.findall(said)
        if not found:
            raise InputError("says no memory_system_cycles, expected a simulator of that kind", file=str(program))
        written = [path for path in logs.parent.glob("commands.ch*") if path.stat().st_size]
        if form == "ramulator" and not written:
            raise InputError("has logged no commands, expected AttAcc's simulator", file=str(program))
        if form == "ramulator":
            return read_log(max(written, key=lambda path: path.stat().st_size))._replace(cycles=int(found[-1]))
        return Replayed(int(found[-1]), None)


def _run(program: Path, arguments: list[str], folder: str) -> str:
    try:
        done = subprocess.run(
            [str(program), *arguments], cwd=folder, capture_output=True, text=True, timeout=_LONGEST_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise InputError(f"has not ended after {_LONGEST_S} s", file=str(program)) from None
    except OSError as error:
        raise InputError(f"cannot be run: {error.strerror}", file=str(program)) from None
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise InputError(
            f"ended with status {done.returncode}: {said[-1] if said else 'without a word'}", file=str(program)
        )
    return done.stdout


def _ramulator_setup(pool: Pool, trace: Path, logs: Path) -> dict[str, object]:
    """Return the configuration of AttAcc's simulator for a part: its preset with the part's sizes and timings."""
    organisation, timing = pool.part.organisation, pool.part.timing
    sizes = {
        "channel": organisation.channels, "pseudochannel": organisation.pseudo_channels, "rank": organisation.ranks,
        "bankgroup": organisation.bank_groups, "bank": organisation.banks_per_group,
        "row": int(organisation.bank_bytes // organisation.row_bytes), "column": organisation.columns_per_row,
        "density": int(organisation.banks_per_channel * organisation.bank_bytes * 8) >> 20,
    }  # fmt: skip
    cycles = {
        "nBL": timing.burst, "nCCDS": timing.burst, "nCCDL": timing.column_gap, "nCCDAB": pool.spacing.mac, "nRCDRD": timing.rcd,
        "nRP": timing.rp, "nRAS": timing.ras, "nRC": timing.rc, "nRTPL": timing.rtp, "nWR": timing.wr, "nCWL": timing.cwl,
        "nREFI": timing.refi, "nRFC": timing.rfc,
    }  # fmt: skip
    return {
        "Frontend": {
            "impl": "PIMLoadStoreTrace", "path": str(trace.resolve()), "clock_ratio": 1,
            "Translation": {"impl": "NoTranslation", "max_addr": 2147483648},
        },
        "MemorySystem": {
            "impl": "PIMDRAM", "clock_ratio": 1, "AddrMapper": {"impl": "HBM3-PIM"},
            "DRAM": {
                "impl": "HBM3-PIM", "org": {"preset": "HBM3_8Gb_2R", **sizes}, "timing": {"preset": "HBM3_5.2Gbps", **cycles},
            },
            "Controller": {
                "impl": "HBM3-PIM", "Scheduler": {"impl": "PIM"}, "RefreshManager": {"impl": "AllBankHBM3"},
                "plugins": [{"ControllerPlugin": {"impl": "HBM3TraceRecorder", "path": str(logs)}}],
            },
        },
    }  # fmt: skip


def _aim_setup() -> dict[str, object]:
    """Return the configuration of the AiM simulator: GDDR6 by its own presets, which its publication is about."""
    return {
        "Frontend": {
            "impl": "AiMTrace", "clock_ratio": 1, "Translation": {"impl": "NoTranslation", "max_addr": 2147483648},
        },
        "MemorySystem": {
            "impl": "AiMDRAM", "clock_ratio": 1, "AddrMapper": {"impl": "RoBaRaCoCh"},
            "DRAM": {
                "impl": "GDDR6", "org": {"preset": "GDDR6_AiM_org"}, "timing": {"preset": "GDDR6_AiM_timing"},
            },
            "Controller": {
                "impl": "AiM", "clock_ratio": 1, "Scheduler": {"impl": "FRFCFS"}, "RefreshManager": {"impl": "AllBank"},
                "plugins": [],
            },
        },
    }  # fmt: skip


def compared(ours: Cycles, theirs: Replayed) -> CommandValidation:
    """Return the differences of every kind of command, k-th by k-th, and of the ends."""
    end = max(cycles[-1] for cycles in ours.values())
    error = end / theirs.cycles - 1 if theirs.cycles else 0.0
    logged = theirs.issued or {}
    errors = [
        _errors(op, ours.get(op, ()), logged.get(op, ())) for op in _LOGGED.values() if op in ours or op in logged
    ]
    return CommandValidation(
        cycles=end, simulator_cycles=theirs.cycles, error=error, commands=errors if logged else []
    )


def _errors(op: Op, ours: Sequence[int], theirs: Sequence[int]) -> CommandErrors:
    apart = [abs(mine - other) for mine, other in zip(ours, theirs, strict=False)]
    return CommandErrors(
        command=op.value, n=len(ours), n_simulator=len(theirs), n_equal=sum(not each for each in apart),
        largest_cycles=max(apart, default=0),
    )  # fmt: skip
