"""Several runs of the same requests side by side: ratios to the first, and frames with a column that names the run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from papisim.engine.run import Run
from papisim.results.frames import frame, frames
from papisim.results.metrics import summarise, tuning_notes
from papisim.results.schema import COMPARISON_SCHEMA, Figures
from papisim.results.store import manifest_head, origin, write_folder

if TYPE_CHECKING:
    import pandas as pd

#: frames of single runs that a comparison keeps, one below the other
_KEPT = ("runs", "requests", "energy")


@dataclass(frozen=True)
class Comparison:
    """Runs of the same requests, each with a label; ratios are to the first."""

    labels: tuple[str, ...]
    runs: tuple[Run, ...]

    @cached_property
    def summaries(self) -> list[Figures]:
        """The figures of each run."""
        return [summarise(run) for run in self.runs]

    @property
    def rows(self) -> list[Figures]:
        """One row per run; see :func:`ratios`."""
        return ratios(self.labels, self.summaries)

    @property
    def summary(self) -> dict[str, object]:
        """Ratios, and the figures of each run; see :class:`papisim.results.schema.ComparisonSummary`."""
        return {"schema": COMPARISON_SCHEMA, "comparison": self.rows, "runs": self.summaries}

    @cached_property
    def frames(self) -> dict[str, pd.DataFrame]:
        """``comparison``, and ``runs``, ``energy`` and, if kept, ``requests`` of all runs with a column ``machine``."""
        import pandas as pd  # noqa: PLC0415 - start-up time

        single = [(label, frames(run)) for label, run in zip(self.labels, self.runs, strict=True)]
        kept = {
            name: pd.concat([tables[name].assign(machine=label) for label, tables in single], ignore_index=True)
            for name in _KEPT
            if all(name in tables for _, tables in single)
        }
        return {"comparison": frame("comparison", self.rows), **kept}

    @property
    def manifest(self) -> dict[str, object]:
        """The origin of each run, from which it can be repeated."""
        runs = [
            {"machine": label, **origin(run.experiment)} for label, run in zip(self.labels, self.runs, strict=True)
        ]
        return {**manifest_head("comparison"), "runs": runs}

    def write(self, frames: Mapping[str, pd.DataFrame], folder: Path, *, force: bool = False) -> None:
        """Write frames, figures and manifest; the folder appears complete or not at all.

        Args:
            frames: the comparison's frames, usually those of :func:`papisim.pricing.frames.comparison_frames`.
            folder: where to write.
            force: replace results that are there.

        Raises:
            InputError: the folder may not be replaced or cannot be made.
        """
        write_folder(folder, self.manifest, frames, summary=self.summary, force=force)


def split_placement(machine: str) -> tuple[str, str | None]:
    """Split ``MACHINE[@PLACEMENT]`` into the machine and the placement policy."""
    hw, at, placement = machine.partition("@")
    return hw, placement if at else None


def label_of(machine: str, speculation: str | None) -> str:
    """Return the label of a run in a comparison."""
    return f"{machine} + {Path(speculation).stem}" if speculation else machine


def distinct(labels: Iterable[str]) -> tuple[str, ...]:
    """Return the labels without duplicates: a second ``papi`` becomes ``papi (2)``."""
    seen: Counter[str] = Counter()
    result = []
    for label in labels:
        seen[label] += 1
        result.append(f"{label} ({seen[label]})" if seen[label] > 1 else label)
    return tuple(result)


def ratios(labels: tuple[str, ...], summaries: list[Figures]) -> list[Figures]:
    """Return one row per run, with ratios to the first (:class:`papisim.results.schema.ComparisonRow`)."""
    first = summaries[0]
    return [
        {
            "machine": label,
            "n_served": summary["outcomes"]["served"],
            "throughput_tokens_per_s": summary["throughput_tokens_per_s"],
            "speed_up_ratio": improvement(work_of(first, "makespan_s"), work_of(summary, "makespan_s")),
            "decode_speed_up_ratio": improvement(first["decode_s"], summary["decode_s"]),
            "prefill_s": summary["prefill_s"],
            "decode_s": summary["decode_s"],
            "tpot_mean_s": summary["tpot_mean_s"],
            "energy_per_token_j": summary["energy_per_token_j"],
            "energy_efficiency_ratio": improvement(work_of(first, "energy_j"), work_of(summary, "energy_j")),
            "outside_fit_time_ratio": summary["outside_fit_time_ratio"],
            "tuning_note": "; ".join(tuning_notes(summary)) or None,
        }
        for label, summary in zip(labels, summaries, strict=True)
    ]


def work_of(summary: Figures, key: str) -> float | None:
    """Return the time or energy of a run; None where no token came of it, which is quick and cheap and no work."""
    value: float = summary[key]
    return value if summary["n_output_tokens"] else None


def improvement(first: float | None, this: float | None) -> float | None:
    """Return the time or energy of a first run over that of another; None where either has none."""
    return first / this if first and this else None
