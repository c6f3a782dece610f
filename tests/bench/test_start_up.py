"""What the command line takes from the first key to the last line, imports included, in CPU seconds of the process."""

import resource
import subprocess
import sys

import pytest


def children_s():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


pytestmark = [pytest.mark.bench, pytest.mark.benchmark(group="command line", timer=children_s)]


@pytest.mark.parametrize(
    "arguments", ["--help", "run --hw papi --trace llama7b", "run --hw papi --trace gpt3-175b --format json"]
)
def test_a_command(benchmark, arguments):
    call = [sys.executable, "-m", "papisim", *arguments.split()]
    benchmark.pedantic(subprocess.run, (call,), {"check": True, "capture_output": True}, rounds=5, warmup_rounds=1)
