"""Print benchmarks as multiples of the calibration loop, beside the committed baseline: ``table.py RESULTS.json [--renew]``.

A ratio to the loop says how fast the code is; that to the baseline says what has changed. Both are nearly the same on a
slow and on a fast machine.
"""

import json
import sys
from pathlib import Path

BASELINE = Path(__file__).with_name("baseline.json")
#: a change beyond which is pointed at: as much as two runs of the same code differ by
NOTABLE = 1.25


def read(path):
    """Return (group, name) → (seconds of one, ratio to the calibration loop) of pytest-benchmark's results."""
    found = {}
    for each in json.loads(path.read_text(encoding="utf-8"))["benchmarks"]:
        seconds = each["stats"]["min"] / each["extra_info"].get("per", 1)
        name = each["name"].removeprefix("test_").replace("_", " ")
        found[each["group"], name] = seconds, seconds / each["extra_info"]["calibration_s"]
    return found


def written(seconds):
    """Return seconds with three digits."""
    scale, unit = next((s, u) for s, u in ((1, "s"), (1e-3, "ms"), (1e-6, "µs")) if seconds >= s or u == "µs")
    return f"{seconds / scale:.3g} {unit}"


def print_table(found, baseline):
    """Print a row for each benchmark, by group."""
    width = max(len(name) for _, name in found)
    for group in dict.fromkeys(group for group, _ in found):
        print(f"\n{group:{width}}  {'here':>9}  {'× loop':>9}  {'baseline':>9}  change")
        for name, (seconds, ratio) in ((name, each) for (of, name), each in found.items() if of == group):
            before = baseline.get(f"{group}: {name}")
            change = "" if before is None else f"{ratio / before:6.2f}"
            mark = "" if before is None or ratio < NOTABLE * before else "  slower"
            shown = f"{before:.4g}" if before is not None else "new"
            print(f"{name:{width}}  {written(seconds):>9}  {ratio:9.4g}  {shown:>9}  {change}{mark}")


def main(results, *options):
    """Print the table; with ``--renew`` the results become the baseline."""
    found = read(Path(results))
    baseline = json.loads(BASELINE.read_text(encoding="utf-8")) if BASELINE.exists() else {}
    print_table(found, baseline)
    if "--renew" in options:
        ratios = {f"{group}: {name}": float(f"{ratio:.4g}") for (group, name), (_, ratio) in found.items()}
        BASELINE.write_text(json.dumps(baseline | ratios, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        print(f"\nwrote {BASELINE}")


if __name__ == "__main__":
    main(*sys.argv[1:])
