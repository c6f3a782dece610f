"""The kernels of a few steps of a run, each with its price, and the ceilings of the devices that ran them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from papisim.arrays import Ints
from papisim.engine.run import Run
from papisim.ops.kernel import Attention, Elementwise, Kernel, KvAppend, Linear
from papisim.ops.lower import decode_shape, prefill_lengths, prefill_shape, ragged_lengths
from papisim.plan.build import planner_of
from papisim.plan.phase import Message, Phase
from papisim.plan.planner import Planner
from papisim.record.steps import StepRow

#: changes of placement whose steps on both sides are shown
_CHANGES_SHOWN = 3


def kernel_rows(run: Run) -> list[dict[str, object]]:
    """Price every kernel and message of the steps that :func:`telling_steps` selects, one row each.

    A step's record keeps only the sum of its cached tokens, so the steps are priced again with caches of equal lengths of that
    sum; drafting is left out.

    Returns:
        Rows of the frame ``kernels`` (:class:`papisim.results.schema.KernelColumns`).
    """
    planner = planner_of(run.experiment, run.trace, run.machine)
    return [
        {"kind": step.kind, "index": step.index, "rlp": step.rlp, "rows": step.rows, **row}
        for step in telling_steps(run.ledger.steps)
        for phase in _phases(planner, step)
        for row in _rows(phase)
    ]


def telling_steps(steps: list[StepRow]) -> list[StepRow]:
    """Return the first prefill, the first, middle and last decoding iteration, and those around changes of placement."""
    prefill = [step for step in steps if step.kind == "prefill"][:1]
    decode = [step for step in steps if step.kind == "decode"]
    changes = [number for number, (a, b) in enumerate(pairwise(decode)) if a.fc_device != b.fc_device]
    wanted = {0, len(decode) // 2, len(decode) - 1, *(n + side for n in changes[:_CHANGES_SHOWN] for side in (0, 1))}
    return prefill + [decode[number] for number in sorted(wanted) if 0 <= number < len(decode)]


def device_rows(run: Run) -> list[dict[str, object]]:
    """Return one row per device pool (:class:`papisim.results.schema.DeviceColumns`), with the ceilings of its roofline."""
    return [
        {
            "device": name,
            "kind": pool.part.kind,
            "n_units": pool.count,
            "description": pool.part.description,
            "peak_flop_per_s": pool.peak_flop_per_s,
            "bandwidth_bytes_per_s": pool.bandwidth_bytes_per_s,
            "capacity_bytes": pool.capacity_bytes,
            "static_w": pool.static_w,
            "refresh_w": None if pool.part.refresh_w is None else pool.count * pool.part.refresh_w,
            "energy_model": pool.part.energy_source,
        }
        for name, pool in run.machine.pools.items()
    ]


def _phases(planner: Planner, step: StepRow) -> list[Phase]:
    tokens = _spread(step.rows, step.rlp)
    if step.kind == "prefill":
        return planner.prefill(prefill_shape(tokens.tolist()), prefill_lengths(tokens.tolist()))
    return planner.decode(
        decode_shape(step.rlp, step.rows), ragged_lengths(_spread(step.kv_tokens, step.rlp), tokens)
    )


def _spread(total: int, parts: int) -> Ints:
    """Split a total into parts as equal as whole numbers allow."""
    return np.full(parts, total // parts, dtype=np.int64) + (np.arange(parts) < total % parts)


def _rows(phase: Phase) -> Iterator[dict[str, object]]:
    for work in phase.work:
        name, shape = describe(work.item)
        yield {
            "resource": phase.resource,
            "category": phase.category.value,
            "kernel": name,
            "shape": shape,
            "n_units": work.units,
            "n_times": work.times * phase.repeats,
            "time_s": work.time_s,
            "bound": work.bound,
            "flop": 0 if isinstance(work.item, Message) else work.item.flop,
            "moved_bytes": moved_bytes(work.item),
            "outside_fit": work.outside,
        }


def describe(item: Kernel | Message) -> tuple[str, str]:
    """Return the name and the shape of a kernel or message, for display."""
    match item:
        case Message():
            return (item.exchange.value, f"{item.ranks} ranks") if item.ranks > 1 else ("transfer", "")
        case Linear():
            weights = f" weights={item.n_weights}" if item.groups else ""
            return item.role.value, f"m={item.m} k={item.k} n={item.n}{weights}"
        case Attention():
            heads = f"heads={item.n_heads}/{item.n_kv_heads}×{item.head_dim}"
            return "attention", f"requests={item.n_requests} queries={item.query_tokens} kv={item.kv_tokens} {heads}"
        case KvAppend() | Elementwise():
            return item.kernel_class.value, ""


def moved_bytes(item: Kernel | Message) -> float:
    """Return the bytes that a kernel reads and writes, or that a message carries."""
    return item.payload_bytes if isinstance(item, Message) else item.read_bytes + item.write_bytes
