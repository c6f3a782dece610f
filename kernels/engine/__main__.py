"""Measure an engine: ``python -m kernels.engine --model DIR --name llama7b --out logs``; see ``--help``."""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Sequence
from pathlib import Path

from kernels.engine.blocks import Arrival, Measurement, mode_name
from kernels.engine.log import LogFolder

BLOCKS = ("decode", "prefill", "mixed", "serve", "profile")
BATCHES, CONTEXTS = (1, 2, 4, 8, 16, 32, 64, 128), (256, 1024, 2048, 4096)
PROMPTS, CHUNKS = (128, 256, 512, 1024, 2048, 4096), (512, 2048)
PROFILED = ((1, 256), (1, 1024), (8, 1024), (32, 256), (32, 1024), (64, 1024), (16, 4096), (128, 256))


def main() -> int:
    """Measure what the arguments ask for and return the exit status."""
    arguments = _arguments(sys.argv[1:])
    import torch  # noqa: PLC0415 - takes seconds

    from kernels.engine.vllm import Settings, Vllm  # noqa: PLC0415 - needs the engine
    from kernels.machine_card import gpu_name  # noqa: PLC0415 - needs torch

    name = mode_name(arguments.name, is_async=arguments.is_async, drafts=arguments.drafts)
    engine = Vllm(
        Settings(
            arguments.model, arguments.is_async, arguments.drafts, arguments.max_requests, budget=arguments.budget,
            loads_weights=arguments.load_weights,
        )
    )  # fmt: skip
    log = LogFolder(arguments.out, arguments.gpu or gpu_name(torch.device("cuda")), name)
    log.describe("engine", **engine.facts())
    measurement = Measurement(engine, log, lambda line: print(line, file=sys.stderr, flush=True))
    for block in arguments.blocks:
        run(measurement, block, arguments)
    return 0


def run(measurement: Measurement, block: str, arguments: argparse.Namespace) -> None:
    """Run a block."""
    if block == "decode":
        measurement.decode(arguments.batches, arguments.contexts)
    elif block == "prefill":
        measurement.prefill(PROMPTS, CHUNKS)
    elif block == "mixed":
        measurement.mixed(32, 1024, CHUNKS)
    elif block == "profile":
        cells = [each for each in PROFILED if each[0] in arguments.batches and each[1] in arguments.contexts]
        measurement.profile(cells, () if arguments.drafts else PROMPTS)
    else:
        for path in arguments.requests:
            arrivals = read_arrivals(path, arguments.rate_scale)
            measurement.serve(path.stem, arrivals, arguments.service_budget, arguments.max_requests)


def read_arrivals(path: Path, rate_scale: float = 1.0) -> list[Arrival]:
    """Read requests: CSV with ``arrival_s``, ``input_tokens`` and ``output_tokens``.

    Args:
        path: the file.
        rate_scale: factor on the rate of arrivals.

    Raises:
        KeyError: a column is missing.
    """
    with path.open(newline="", encoding="utf-8") as file:
        rows = [
            Arrival(float(row["arrival_s"]) / rate_scale, int(row["input_tokens"]), int(row["output_tokens"]))
            for row in csv.DictReader(file)
        ]
    return sorted(rows)


def _whole_numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def _arguments(given: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/measure-engine", description=__doc__)
    parser.add_argument(
        "--model", required=True, help="folder of the model's config.json, or a name; weights are random"
    )
    parser.add_argument("--name", required=True, help="name of the model in the logs: that of its papisim trace")
    parser.add_argument("--out", type=Path, required=True, help="folder of the logs")
    parser.add_argument("--gpu", help="name of the GPU in the logs; default: as kernels/measured has it")
    parser.add_argument(
        "--blocks", type=lambda text: text.split(","), default=list(BLOCKS), help=f"any of {','.join(BLOCKS)}"
    )
    parser.add_argument("--async", dest="is_async", action="store_true", help="prepare a step while one runs")
    parser.add_argument("--drafts", type=int, default=0, help="drafted tokens per request, random ones")
    parser.add_argument("--batches", type=_whole_numbers, default=BATCHES)
    parser.add_argument("--contexts", type=_whole_numbers, default=CONTEXTS)
    parser.add_argument("--max-requests", type=int, default=128)
    parser.add_argument("--budget", type=int, default=8192, help="largest token budget of a step")
    parser.add_argument("--requests", type=Path, nargs="*", default=[], help="CSV of requests to serve in real time")
    parser.add_argument("--service-budget", type=int, default=2048, help="token budget of services")
    parser.add_argument("--rate-scale", type=float, default=1.0, help="factor on the rate of arrivals")
    parser.add_argument("--load-weights", action="store_true", help="load the model's weights")
    arguments = parser.parse_args(given)
    unknown = [block for block in arguments.blocks if block not in BLOCKS]
    if unknown:
        parser.error(f"found block '{unknown[0]}', expected any of {', '.join(BLOCKS)}")
    if "serve" in arguments.blocks and not arguments.requests:
        arguments.blocks.remove("serve")
        print("no --requests: services are left out", file=sys.stderr)
    return arguments


if __name__ == "__main__":
    sys.exit(main())
