"""Points of a space as a page that explores it has them: figures, parts of time and energy, a roofline, and how to repeat each."""

from __future__ import annotations

import shlex
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property

from papisim.config.experiment import RunOptions
from papisim.config.yaml import dump
from papisim.engine.run import Run, simulate
from papisim.errors import InputError, PapisimError, did_you_mean
from papisim.exploration.evaluate import Evaluator
from papisim.exploration.file import SCHEMA, SweepFile
from papisim.exploration.grammar import OPTIONS
from papisim.exploration.space import Axis, Choices, Values, as_cell, is_number
from papisim.pricing.kernels import device_rows, kernel_rows
from papisim.report.facets import LINES, line_label
from papisim.results.folder import Json
from papisim.results.metrics import summarise

#: figures of a point, in the order of the page
FIGURES = (
    "throughput_tokens_per_s",
    "tpot_mean_s",
    "ttft_mean_s",
    "e2e_mean_s",
    "energy_per_token_j",
    "makespan_s",
    "energy_j",
)
#: values of a number that a live page offers between the smallest and the largest of its axis
_FINEST = 64
#: inputs that are the horizontal axis of charts, and the second one of the map, in this order
_ACROSS = ("batch", "tlp", "requests", "replicas")


@dataclass(frozen=True)
class Explorer:
    """A space whose points are shown one by one.

    Attributes:
        file: the space.
        live: offer values between those of the file's axes: each point is simulated when it is asked for.
    """

    file: SweepFile
    live: bool = False

    @cached_property
    def _evaluator(self) -> Evaluator:
        return Evaluator(self.file)

    def page(self) -> Json:
        """Return the controls of the page, and the parts that they play in its charts."""
        axes = [self._control(axis) for axis in self.file.axes]
        numeric = [index for index, axis in enumerate(axes) if axis["numeric"] and len(axis["stops"]) > 1]
        first = sorted(numeric, key=lambda index: _rank(axes[index]["names"][0]))
        if not first:
            raise InputError("no axis of the space has several numbers; charts need one, such as the batch size")
        lines = [index for index, axis in enumerate(axes) if set(axis["names"]) & {*LINES}]
        return {
            "axes": axes,
            "across": first[0],
            "second": first[1] if len(first) > 1 else None,
            "lines": lines,
            "figures": list(FIGURES),
        }

    def point(self, values: Values) -> Json:
        """Simulate a point; what cannot run has a reason in place of figures."""
        told = {"values": values, "command": self.command(values), "yaml": self.yaml(values)}
        try:
            point = self._evaluator.resolver.point(values)
            run = simulate(self._evaluator.experiment(point))
        except PapisimError as error:
            return {**told, "reason": str(error)}
        return {**told, **_shown(run)}

    def asked(self, given: object) -> Values:
        """Return the values that a request names for each axis, those aside whose condition does not hold.

        Raises:
            InputError: an axis that is none, or a value that its control does not offer.
        """
        if not isinstance(given, dict):
            raise InputError("found no mapping, expected values of axes")
        values: Values = {}
        for axis in self.file.axes:
            chosen = {name: given[name] for name in axis.names if name in given}
            if chosen not in [choice["values"] for choice in self._control(axis)["choices"]]:
                raise InputError(f"{axis.title}: found {chosen}, expected one of the values offered")
            values |= chosen if self._evaluator.resolver.holds(axis, values) else {}
        for name in given.keys() - set(self.file.axis_names()):
            raise InputError(f"no axis '{name}'; {did_you_mean(str(name), self.file.axis_names())}")
        return values

    def command(self, values: Values) -> str:
        """Return the command line that runs a point, in the folder of the space's file."""
        options, assignments = self._written(values)
        words = ["papisim", "run"]
        for name, value in options.items():
            text = ("off", "on")[value] if isinstance(value, bool) else str(as_cell(value))
            words += [f"--{name.replace('_', '-')}", text]
        for name, value in assignments.items():
            words += ["--set", f"{name}={as_cell(value)}"]
        return shlex.join(words)

    def yaml(self, values: Values) -> str:
        """Return the file of a sweep whose one point is this one."""
        options, assignments = self._written(values)
        base = {**options, **({"set": assignments} if assignments else {})}
        return dump({"schema": SCHEMA, "description": "A point that was explored", "base": base})

    def _written(self, values: Values) -> tuple[dict[str, object], dict[str, object]]:
        """Return the options of a point that are not the defaults, and the fields that it sets, as its file writes them."""
        named = dict(values)
        with suppress(PapisimError):  # the command says what is wrong as well
            named = dict(self._evaluator.resolver.point(values).named)
        base, defaults = self.file.base, RunOptions.model_fields
        options = {name: named.get(name, getattr(base, name)) for name in OPTIONS}
        kept = {
            name: value
            for name, value in options.items()
            if defaults[name].is_required() or value != defaults[name].default
        }
        fields = [name for name in named if name not in OPTIONS and name not in self.file.variables]
        return kept, {**self.file.fixed, **{name: named[name] for name in fields}}

    def _control(self, axis: Axis) -> Json:
        if not isinstance(axis.domain, Choices):
            raise InputError(f"axis {axis.title} has endlessly many values; give n or step")
        listed: list[Values] = [dict(zip(axis.names, values, strict=True)) for values in axis.domain.values]
        numeric = len(axis.names) == 1 and all(is_number(each[axis.names[0]]) for each in listed)
        offered = sorted(listed, key=lambda each: each[axis.names[0]]) if numeric else listed
        if numeric and self.live:
            offered = _between(axis.names[0], offered)
        return {
            "names": list(axis.names),
            "numeric": numeric,
            "choices": [{"label": _label(each), "values": each} for each in offered],
            "stops": sorted(offered.index(each) for each in listed),
            "start": offered.index(listed[0]),
        }


def _between(name: str, listed: Sequence[Values]) -> list[Values]:
    """Return the numbers of an axis, which are in order, and others between them."""
    numbers = [each[name] for each in listed]
    low, high = numbers[0], numbers[-1]
    whole = all(isinstance(each, int) for each in numbers)
    if whole and high - low <= _FINEST:
        found = list(range(low, high + 1))
    else:
        spread = [low + (high - low) * step / _FINEST for step in range(_FINEST + 1)]
        found = sorted({*numbers, *(round(each) if whole else each for each in spread)})
    return [{name: each} for each in found]


def _label(values: Mapping[str, object]) -> str:
    if "hw" in values or set(values) & {*LINES}:
        return line_label(dict(values), list(values))
    return ", ".join(f"{value:g}" if isinstance(value, float) else str(as_cell(value)) for value in values.values())


def _rank(name: str) -> int:
    return _ACROSS.index(name) if name in _ACROSS else len(_ACROSS)


def _shown(run: Run) -> Json:
    """Return the figures of a run, and what charts are drawn from."""
    summary = summarise(run)
    operators = {each["operator"]: each for each in summary["operators"]}
    fc = operators.get("fc", {"on": []})
    return {
        "figures": {name: summary[name] for name in FIGURES},
        "time_s": {name: seconds for name, seconds in summary["decode_time_by_category_s"].items() if seconds},
        "energy_j": {name: joules for name, joules in summary["energy_per_token_by_part_j"].items() if joules},
        "fc": {each["device"]: each["step_time_ratio"] for each in fc["on"]},
        "kernels": _kernels(run),
        "roofs": [
            [row["device"], row["peak_flop_per_s"], row["bandwidth_bytes_per_s"]]
            for row in device_rows(run)
            if row["peak_flop_per_s"]
        ],
    }


def _kernels(run: Run) -> list[list[object]]:
    """Return intensity, FLOP/s and share of time of the kernels of the middle iteration, by device and category."""
    rows = [row for row in kernel_rows(run) if row["kind"] == "decode"]
    indices = sorted({int(str(row["index"])) for row in rows})
    if not indices:
        return []
    middle = indices[len(indices) // 2]
    sums: dict[tuple[str, str], list[float]] = defaultdict(lambda: [0.0, 0.0, 0.0])
    for row in rows:
        if row["index"] == middle:
            numbers = (
                float(str(row[name])) * float(str(row["n_times"])) for name in ("flop", "moved_bytes", "time_s")
            )
            key = str(row["resource"]), str(row["category"])
            sums[key] = [before + more for before, more in zip(sums[key], numbers, strict=True)]
    total = sum(time_s for _, _, time_s in sums.values())
    return [
        [device, category, flop / moved, flop / time_s, time_s / total]
        for (device, category), (flop, moved, time_s) in sums.items()
        if flop and moved and time_s
    ]
