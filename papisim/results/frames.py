"""A run as tidy frames: one row a run, a request, a step, or a resource's energy part."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from papisim.engine.run import Run
from papisim.ops.lower import kv_bytes_per_token
from papisim.plan.phase import Category
from papisim.results.metrics import resources, summarise, tpot_s

if TYPE_CHECKING:
    import pandas as pd


def frames(run: Run) -> dict[str, pd.DataFrame]:
    """Return the frames ``runs`` and ``energy``, and ``requests`` and ``steps`` where the run kept their rows."""
    import pandas as pd  # noqa: PLC0415 - a run that writes no frames should not wait for pandas

    tables = {"runs": [_run_row(run)], "energy": _energy(run)}
    if run.ledger.keeps_rows:
        tables |= {"requests": _requests(run), "steps": _steps(run)}
    return {name: pd.DataFrame(rows) for name, rows in tables.items()}


def _run_row(run: Run) -> dict[str, Any]:
    """Flatten a summary: nested figures become ``outer_inner`` columns, lists their length."""
    row: dict[str, Any] = {}
    for key, value in summarise(run).items():
        if isinstance(value, dict):
            row |= {f"{key}.{inner}": figure for inner, figure in value.items()}
        else:
            row[key] = len(value) if isinstance(value, list) else value
    return row


def _requests(run: Run) -> list[dict[str, Any]]:
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


def _steps(run: Run) -> list[dict[str, Any]]:
    kv_token_bytes, machine = kv_bytes_per_token(run.trace), resources(run)
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
            "kv_bytes": step.kv_tokens * kv_token_bytes,
            "prompt_tokens": step.prompt_tokens,
            "drafted": step.drafted,
            "accepted": step.accepted,
            "tokens": step.tokens,
            "fc_device": step.fc_device,
            **{f"{category.value}_s": step.time_by[category] for category in Category},
            **{f"busy_{resource}_s": step.busy_by.get(resource, 0.0) for resource in machine},
            **dict(step.energy.items()),
        }
        for step in run.ledger.steps
    ]


def _energy(run: Run) -> list[dict[str, Any]]:
    spent = [
        {"resource": resource, "part": part, "energy_j": joules}
        for resource, energy in run.ledger.energy_by_resource.items()
        for part, joules in energy.items()
        if joules
    ]
    static = [
        {
            "resource": name,
            "part": "static_j",
            "energy_j": pool.static_w * run.machine.stages * run.ledger.n_servers * run.ledger.makespan_s,
        }
        for name, pool in run.machine.pools.items()
    ]
    return spent + static
