"""Measure tables: ``python -m kernels --out kernels/measured``; see ``--help``."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from kernels import (
    all_reduce,
    attention,
    decode_step,
    elementwise,
    engine_layer,
    gemm_kernels,
    linear,
    paged_attention,
    power,
    sampling,
    sustained,
)
from kernels.harness import Bench, open_bench
from kernels.machine_card import gpu_name, write_card
from kernels.tables import Row, rows_measured, write_table

CARD = "machine"


@dataclass(frozen=True)
class Table:
    """A program and the points of one of its tables; ``extra`` tables are measured only when they are named, ``packed`` ones are large."""

    program: ModuleType
    points: Callable[..., Sequence[Any]]
    extra: bool = False
    measure: Callable[..., Iterator[Row]] | None = None
    packed: bool = False


TABLES = {
    "linear": Table(linear, linear.points),
    "linear_other": Table(linear, linear.other_points),
    "gemm_kernels": Table(gemm_kernels, gemm_kernels.points),
    "attention": Table(attention, attention.points),
    "elementwise": Table(elementwise, elementwise.points),
    "elementwise_energy": Table(elementwise, elementwise.energy_points),
    "all_reduce": Table(all_reduce, all_reduce.points),
    "all_reduce_vllm": Table(all_reduce, all_reduce.own_points, measure=all_reduce.measure_own),
    "engine_layer": Table(engine_layer, engine_layer.points, packed=True),
    "paged_attention": Table(paged_attention, paged_attention.points),
    "sampling": Table(sampling, sampling.points),
    "sustained": Table(sustained, sustained.points),
    "power": Table(power, power.points),
    "step": Table(decode_step, decode_step.points),
    "step_heldout": Table(decode_step, decode_step.held_out_points),
    "repeat_linear": Table(linear, linear.repeat_points, extra=True),
    "repeat_attention": Table(attention, attention.repeat_points, extra=True),
}
NAMES = (CARD, *TABLES)


def main() -> int:
    """Measure what the arguments ask for and return the exit status."""
    arguments = _arguments()
    bench = open_bench(arguments.device, smoke=arguments.smoke)
    folder = arguments.out / gpu_name(bench.device)
    folder.mkdir(parents=True, exist_ok=True)
    for table in arguments.tables:
        path = folder / _file(table)
        if path.exists() and not arguments.force:
            print(f"{path}: kept; --force measures it again", file=sys.stderr)
            continue
        start = time.perf_counter()
        done = _measure(table, path, bench, smoke=arguments.smoke)
        print(f"{path}: {done}, {time.perf_counter() - start:.0f} s", file=sys.stderr)
    print(folder)
    return 0


def _file(table: str) -> str:
    if table == CARD:
        return f"{CARD}.yaml"
    return f"{table}.csv.gz" if TABLES[table].packed else f"{table}.csv"


def _measure(table: str, path: Path, bench: Bench, *, smoke: bool) -> str:
    if table == CARD:
        write_card(path, bench, smoke=smoke)
        return "written"
    program = TABLES[table].program
    points = TABLES[table].points(smoke=smoke)
    measure = TABLES[table].measure or program.measure
    rows = measure(bench, points[rows_measured(path) :])
    n_rows = write_table(path, program.COLUMNS, rows)
    if not n_rows:
        path.unlink()
    return f"{n_rows} rows" if n_rows else "nothing to measure on this machine"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m kernels", description=__doc__)
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).parent / "measured", help="a folder per GPU goes here"
    )
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--smoke", action="store_true", help="tiny shapes: do the programs run?")
    parser.add_argument("--force", action="store_true", help="measure again what is there")
    usual = [CARD, *(name for name, table in TABLES.items() if not table.extra)]
    parser.add_argument("tables", nargs="*", default=usual, metavar="TABLE", help=f"one of {', '.join(NAMES)}")
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.tables) - set(NAMES))
    if unknown:
        parser.error(f"unknown table {unknown[0]}; there are {', '.join(NAMES)}")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
