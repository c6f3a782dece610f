"""A run as tidy frames: one row per run, request, step, or part of a resource's energy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from papisim.engine.run import Run
from papisim.plan.phase import Category
from papisim.policies.placement.base import Operator
from papisim.results.metrics import resources, summarise, tpot_s
from papisim.results.schema import columns

if TYPE_CHECKING:
    import pandas as pd


def frames(run: Run) -> dict[str, pd.DataFrame]:
    """Return the frames ``runs`` and ``energy``, and, if the run kept their rows, ``requests`` and ``steps``.

    :data:`papisim.results.schema.FRAMES` describes their columns.
    """
    import pandas as pd  # noqa: PLC0415 - start-up time

    kept = {"runs": pd.DataFrame([_run_row(run)]), "energy": frame("energy", _energy(run))}
    if run.ledger.keeps_rows:
        kept |= {"requests": frame("requests", _requests(run)), "steps": frame("steps", _steps(run), _busy(run))}
    return kept


def frame(name: str, rows: Sequence[Mapping[str, object]], further: Iterable[str] = ()) -> pd.DataFrame:
    """Make a frame with all its columns, also where there are no rows.

    Args:
        name: of the frame, a key of :data:`papisim.results.schema.FRAMES`.
        rows: its rows; every row has every column.
        further: columns that depend on the machine, at the end.
    """
    import pandas as pd  # noqa: PLC0415 - a run that writes no frames should not wait for pandas

    return pd.DataFrame(rows, columns=[*columns(name), *further])


def uncertainty_frame(rows: Sequence[Mapping[str, object]]) -> dict[str, pd.DataFrame]:
    """Return the frame ``uncertainty`` by its name, or nothing where there are no rows."""
    return {"uncertainty": frame("uncertainty", rows)} if rows else {}


def _busy(run: Run) -> list[str]:
    return [f"busy_{resource}_s" for resource in resources(run)]


def _run_row(run: Run) -> dict[str, object]:
    """Flatten a summary: nested figures become ``outer.inner`` columns, lists become columns with their lengths."""
    row: dict[str, object] = {}
    for key, value in summarise(run).items():
        if isinstance(value, dict):
            row |= {f"{key}.{inner}": figure for inner, figure in value.items()}
        else:
            row[key] = len(value) if isinstance(value, list) else value
    return row


def _requests(run: Run) -> list[dict[str, object]]:
    return [
        {
            "request_id": row.request_id,
            "arrival_s": row.arrival_s,
            "admitted_s": row.admitted_s,
            "first_token_s": row.first_token_s,
            "finish_s": row.finish_s,
            "input_tokens": row.input_tokens,
            "output_tokens": row.output_tokens,
            "ttft_s": row.first_token_s - row.arrival_s,
            "tpot_s": tpot_s(row),
            "queueing_s": row.admitted_s - row.arrival_s,
            "e2e_s": row.finish_s - row.arrival_s,
            "emitted_tokens": row.emitted_tokens,
            "preemptions": row.preemptions,
            "outcome": row.outcome,
            "reason": row.reason,
            "server": row.server,
        }
        for row in run.ledger.requests
    ]


def _steps(run: Run) -> list[dict[str, object]]:
    machine = resources(run)
    return [
        {
            "kind": step.kind,
            "server": step.server,
            "index": step.index,
            "start_s": step.start_s,
            "time_s": step.time_s,
            "stalled_s": step.stalled_s,
            "overlapped_s": step.overlapped_s,
            "rlp": step.rlp,
            "tlp": step.tlp,
            "rows": step.rows,
            "kv_tokens": step.kv_tokens,
            "kv_bytes": step.kv_bytes,
            "prompt_tokens": step.prompt_tokens,
            "drafted": step.drafted,
            "accepted": step.accepted,
            "wasted": step.wasted,
            "tokens": step.tokens,
            "fc_device": step.fc_device,
            **{f"placed_{operator.value}": step.placed.get(operator) for operator in Operator},
            **{f"{category.value}_s": step.time_by[category] for category in Category},
            **dict(step.energy.items()),
            **{f"busy_{resource}_s": step.busy_by.get(resource, 0.0) for resource in machine},
        }
        for step in run.ledger.steps
    ]


def _energy(run: Run) -> list[dict[str, object]]:
    spent: list[dict[str, object]] = [
        {"resource": resource, "part": part, "energy_j": joules}
        for resource, energy in run.ledger.energy_by_resource.items()
        for part, joules in energy.items()
        if joules
    ]
    static: list[dict[str, object]] = [
        {
            "resource": name,
            "part": "static_j",
            "energy_j": pool.static_w * run.machine.stages * run.ledger.n_servers * run.ledger.makespan_s,
        }
        for name, pool in run.machine.pools.items()
    ]
    return spent + static
