"""Coverage: whether 90 % intervals hold nine of ten measurements that had no part in them.

Kernels of a GPU are judged by the quantiles of the *other* GPUs' kernels of the same library and regime; iterations of an engine on a model
that nothing was fitted to, by the shipped factors of their parts; services, by the services of the other groups of engine, GPU, model and
precision.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from papisim.arrays import Floats
from papisim.calibration.gpu.tables import Measured
from papisim.config.engine import load_engine, part_with_libraries
from papisim.devices.gpu.part import Part
from papisim.pricing.engine_step import Part as StepPart
from papisim.uncertainty import evidence as evidences
from papisim.uncertainty.evidence import INSIDE, STEP, evidence
from papisim.uncertainty.factor import Factor, Factors, Quantity, Spread, estimate
from papisim.validation.effects import effects
from papisim.validation.engine import Compared
from papisim.validation.evidence import Judged, judge
from papisim.validation.schema import Coverage
from papisim.validation.serving import Predicted, log_errors_of


def kernel_coverage(parts: Mapping[str, Part], tables: Sequence[Measured]) -> Iterator[Coverage]:
    """Yield the coverage of kernels inside the fits of GPU parts, by family."""
    held: defaultdict[str, list[tuple[Judged, evidences.Measured]]] = defaultdict(list)
    for each in judge(parts, tables, elsewhere=False):
        other = _other_gpus(each)
        if each.of.where == INSIDE and other is not None:
            held[each.of.family].append((each, other))
    for family, pairs in sorted(held.items()):
        inside = np.concatenate([_inside(each.log_errors, other) for each, other in pairs])
        widths = [other.kernel[2] / other.kernel[0] for each, other in pairs for _ in range(len(each.rows))]
        parts_seen = {each.of.part for each, _ in pairs}
        yield Coverage(
            of=family,
            held_out="kernels of one GPU, by the errors of the same library on others",
            n=len(inside),
            groups=len(parts_seen),
            covered_ratio=float(inside.mean()),
            median_width_ratio=float(np.median(widths)),
        )


def _other_gpus(judged: Judged) -> evidences.Measured | None:
    """Return the errors of the same class on another GPU; None if there are none."""
    of = judged.of
    same = (of.family, of.library, of.regime, of.where)
    rows = [row for row in evidence().measured if (row.family, row.library, row.regime, row.where) == same]
    return max((row for row in rows if row.part != of.part), key=lambda row: row.kernels, default=None)


def _inside(log_errors: Floats, row: evidences.Measured) -> Floats:
    low, _, high = np.log(row.kernel)
    return np.asarray((log_errors >= low) & (log_errors <= high), dtype=np.float64)


def step_coverage(part: Part, profile: str, compared: Iterable[Compared]) -> Coverage:
    """Return the coverage of the busy time of profiled steps of an engine.

    Args:
        part: the GPU.
        profile: the engine's profile.
        compared: measured and predicted times of parts of steps, and their sums, ``busy``.
    """
    equipped, _ = part_with_libraries(part.description, part, load_engine(profile).spec)
    assert isinstance(equipped, Part)
    cells: defaultdict[tuple[str, str], list[Compared]] = defaultdict(list)
    for row in compared:
        cells[row.engine, row.cell].append(row)
    inside, widths = [], []
    for rows in cells.values():
        parts = [(_factors(equipped, row), row.predicted_s) for row in rows if row.part != "busy" and row.predicted_s]
        (busy,) = (row for row in rows if row.part == "busy")
        found = estimate(Quantity.of(parts))
        inside.append(found.low <= busy.measured_s <= found.high)
        widths.append(found.high / found.low)
    return Coverage(
        of="steps",
        held_out="busy time of an engine's steps with a model that nothing was fitted to",
        n=len(inside),
        groups=len({engine for engine, _ in cells}),
        covered_ratio=float(np.mean(inside)),
        median_width_ratio=float(np.median(widths)),
    )


def _factors(part: Part, row: Compared) -> Factors:
    """Return the factor of a part of a step, by the class of its kernels."""
    is_prompt = row.block.startswith("prompts")
    family, library, regime = {
        StepPart.FC: ("linear", part.linear.use, "compute" if is_prompt else "memory"),
        StepPart.ATTENTION: ("prefill" if is_prompt else "attention", part.attention.use, "all"),
        StepPart.SMALL: ("small", part.elementwise.use or "general", "many rows" if is_prompt else "few rows"),
    }[StepPart(row.part)]
    found = evidence().measured_of(part.description, family, library, regime, INSIDE)
    assert found is not None, "the profiled GPU has tables of its own"
    step = evidence().served_of(STEP)
    spreads = {f"{family} {regime}": found.group, "step": step.between}
    return frozenset({Factor(name, Spread(*spread), "measured", "") for name, spread in spreads.items()})


def serving_coverage(predictions: Sequence[Predicted]) -> Iterator[Coverage]:
    """Yield the coverage of services, by figure: each group by the effects of the others; none of fewer than four groups."""
    for figure, groups in log_errors_of(predictions).items():
        if len(groups) < 4:  # noqa: PLR2004 - of which three are the others
            continue
        inside, widths = [], []
        for group, errors in groups.items():
            others = effects([each for name, each in groups.items() if name != group])
            inside.append(others.holds(errors) * len(errors))
            widths.append(float(np.exp(2 * others.half_width)))
        n = sum(map(len, groups.values()))
        yield Coverage(
            of=f"serving {figure}",
            held_out="services of one group of engine, GPU, model and precision, by those of the others",
            n=n,
            groups=len(groups),
            covered_ratio=sum(inside) / n,
            median_width_ratio=float(np.median(widths)),
        )
