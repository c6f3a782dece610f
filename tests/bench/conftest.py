"""Every benchmark is timed in CPU seconds, with a calibration loop around it that stands for this machine's speed."""

import time

import numpy as np
import pytest


def calibration_s():
    """CPU seconds of a loop that does what a simulation does: calls, dictionaries, floats and short arrays."""

    def loop():
        seen, total, short = {}, 0.0, np.arange(16.0)
        for number in range(4_000):
            key = (number % 61, number % 7)
            seen[key] = total = max(total, seen.get(key, 0.0)) + number * 1e-3
            if not number % 8:
                short = np.maximum(short, total) * 0.5
        return short

    best = float("inf")
    for _ in range(15):
        start = time.process_time()
        loop()
        best = min(best, time.process_time() - start)
    return best


@pytest.fixture(autouse=True)
def calibrate(request):
    """Note the calibration loop's time, from just before and just after, beside the benchmark's own."""
    if "benchmark" not in request.fixturenames:
        yield
        return
    benchmark, before_s = request.getfixturevalue("benchmark"), calibration_s()
    yield
    benchmark.extra_info["calibration_s"] = min(before_s, calibration_s())


def pytest_collection_modifyitems(items):
    """CPU seconds are not disturbed by other processes' turns."""
    for item in items:
        for mark in item.iter_markers("benchmark"):
            mark.kwargs.setdefault("timer", time.process_time)
