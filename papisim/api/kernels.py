"""Prices of kernels, and kernel traces of models."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Literal

from papisim import catalog
from papisim.api.hardware import is_part
from papisim.api.inputs import Overrides
from papisim.api.kernel_sizes import SIZES, STEP, kernel_of, point_of
from papisim.catalog import Shelf
from papisim.config.engine import NONE, EngineSpec, load_equipped_part
from papisim.config.experiment import Experiment, load_experiment, options_of, read_assignments
from papisim.config.yaml import Override
from papisim.devices.base import DevicePool
from papisim.errors import InputError
from papisim.ops.trace import Point, read_trace
from papisim.plan.unfused import UnfusedPool
from papisim.pricing.engine_step import Composition, StepPricer
from papisim.pricing.kernel import pool_of
from papisim.pricing.kernel import price as price_kernel
from papisim.pricing.schema import KernelPrice, MachineStepPrice, PartTime, StepPrice
from papisim.pricing.step import price_step
from papisim.results.schema import Figures

#: what ``papisim price --format json`` prints
Operation = Literal["attention", "linear", "prefill", "step"]


def price(
    hw: str,
    op: Operation,
    *,
    heads_per_stack: int | None = None,
    kv: int | None = None,
    tlp: int | None = None,
    dhead: int | None = None,
    group: int | None = None,
    m: int | None = None,
    k: int | None = None,
    n: int | None = None,
    weight_bits: int | None = None,
    activation_bits: int | None = None,
    kv_bits: int | None = None,
    batch_size: int | None = None,
    heads: int | None = None,
    kv_heads: int | None = None,
    tokens: int | None = None,
    rlp: int | None = None,
    trace: str | None = None,
    library: str | None = None,
    engine: str | None = None,
    count: int = 1,
    set: Overrides = (),
) -> Figures:
    """Price one kernel, or a whole decode iteration, on one device, as ``papisim price`` does.

    Args:
        hw: a device part: a shipped name or a file; for ``step`` also a machine, whose iteration is the one that a run simulates.
        op: ``attention``, ``linear``, ``prefill``, or ``step``, a whole decode iteration.
        heads_per_stack: attention: (request, KV head) pairs on each device.
        kv: attention and step: cached tokens of each pair or request.
        tlp: attention and step: query tokens of each request; 1, if None.
        dhead: attention: width of a head; 128, if None.
        group: attention: query heads per KV head; 1, if None.
        m: linear: token-rows.
        k: linear: inputs.
        n: linear: outputs.
        weight_bits: linear: bits of a weight: 16, 8 or 4; 16, if None.
        activation_bits: linear on a GPU: bits of an input: 16 or 8; 16, if None.
        kv_bits: attention: bits of an element of the cache: 16, 8 or 4; 16, if None.
        batch_size: attention and prefill of a batch: requests.
        heads: attention and prefill of a batch: query heads.
        kv_heads: attention and prefill of a batch: heads of the cache; ``heads``, if None.
        tokens: prefill: tokens of each prompt.
        rlp: step: requests.
        trace: step: kernel trace: a shipped name or a path.
        library: kernel library of a GPU, in place of the one that its part uses.
        engine: engine profile, whose libraries and, for a step, kernels and host are used; if None, ``eager`` for a step of a part.
        count: devices that share the kernel.
        set: fields of the device to change.

    Returns:
        Time, energy by part, power, traffic and what limits the kernel, units in the names.

    Raises:
        InputError, InputErrors: a size is missing or belongs to another operation; what is wrong with the device.
    """
    given = locals()
    sizes = {name: given[name] for name in (*sorted(SIZES), "rlp") if name in given}
    if is_step_of_machine(hw, op):
        if library is not None or count != 1:
            raise InputError(
                "is for a device part; of a machine, set its fields", field="library" if library else "count"
            )
        point, model = iteration_of(sizes, trace)
        return priced_on_machine(machine_experiment(hw, point, model, engine, read_assignments(set)), point)
    equipped = load_equipped_part(hw, engine or default_engine(op), read_assignments(set))
    pool = pool_of(equipped.device, count)
    return priced(pool if library is None else pool.with_library(library), op, sizes, trace, equipped.engine)


def is_step_of_machine(hw: str, op: str | None) -> bool:
    """Return whether what is priced is a decode iteration of a machine, rather than of a part.

    Raises:
        InputError: a step of something that is neither, with the nearest name.
    """
    return op == STEP and not is_part(hw)


def iteration_of(sizes: Mapping[str, int | None], trace: str | None) -> tuple[Point, str]:
    """Return the size of a decode iteration and its trace.

    Raises:
        InputError: a size or the trace is missing, or a size belongs to another operation.
    """
    if not trace:
        raise InputError("is missing: op step takes a trace", field="trace")
    return point_of(sizes), trace


def machine_experiment(
    hw: str, point: Point, trace: str, engine: str | None, overrides: Sequence[Override]
) -> Experiment:
    """Return the experiment whose decode iteration is priced.

    Args:
        hw: the machine.
        point: size of the iteration.
        trace: the kernel trace.
        engine: engine profile; ``none``, if None.
        overrides: fields to change, of any section.

    Raises:
        InputError, InputErrors: what is wrong with the machine, the trace or the engine.
    """
    return load_experiment(
        options_of(hw=hw, trace=trace, engine=engine or NONE, batch=point.rlp, set=list(overrides))
    )


def priced_on_machine(experiment: Experiment, point: Point) -> Figures:
    """Price a decode iteration on an experiment's machine, by part.

    Args:
        experiment: of :func:`machine_experiment`.
        point: size of the iteration.

    Raises:
        InputError: the machine cannot run the model.
    """
    pricer = StepPricer(experiment)
    step = pricer.price(Composition(point.rlp, point.rlp * point.tlp, point.rlp * point.kv))
    return MachineStepPrice(
        machine=experiment.system.name, trace=experiment.trace.name, engine=experiment.engine.name, time_s=step.time_s,
        energy_j=step.energy_j + pricer.static_w * step.time_s, n_launches=step.launches,
        parts=[PartTime(part=part.value, time_s=time_s) for part, time_s in step.by_part.items() if time_s],
        engine_notes=list(pricer.notes),
    ).as_json()  # fmt: skip


def default_engine(op: str | None) -> str:
    """Return the engine of an operation for which none is named: a step is that of eager torch, a kernel is its part's own."""
    return "eager" if op == STEP else NONE


def priced(
    pool: DevicePool, op: str, sizes: Mapping[str, int | None], trace: str | None, engine: EngineSpec
) -> Figures:
    """Price one kernel or decode iteration on devices.

    Args:
        pool: the devices.
        op: the operation.
        sizes: of the operation; None where not given.
        trace: of a decode iteration, the kernel trace.
        engine: of a decode iteration, the engine.

    Raises:
        InputError: a size is missing or belongs to another operation; a step without a trace, or on devices that are no GPUs.
    """
    if op == STEP:
        return _step(pool, trace, sizes, engine)
    given = {name: size for name, size in sizes.items() if size is not None}
    what = {"device": pool.name, "count": pool.count, "op": op}
    kernel = kernel_of(op, sizes, pool.count)
    return KernelPrice.model_validate({**what, **given, **price_kernel(pool, kernel)}).as_json()


def _step(pool: DevicePool, trace: str | None, sizes: Mapping[str, int | None], engine: EngineSpec) -> Figures:
    if engine.fusion.kernels == "aten" and not isinstance(pool, UnfusedPool):
        raise InputError(f"'{STEP}' of the engine {engine.name} is for GPUs; choose another --engine", field="op")
    point, trace = iteration_of(sizes, trace)
    step = price_step(pool, read_trace(catalog.find(Shelf.TRACE, trace).path), point, engine)
    return StepPrice.model_validate({
        "device": pool.name, "count": pool.count, "trace": trace, "engine": engine.name, "time_s": step.time_s,
        "devices_s": step.devices_s, "host_s": step.host_s, "energy_j": step.energy_j,
        "n_kernels": step.n_kernels, "energy_model": getattr(pool.part, "energy_model", "per_access"),
        "outside_fit": list(step.outside), "engine_notes": list(step.notes),
        "classes": [asdict(each) for each in step.classes],
    }).as_json()  # fmt: skip


def capture(
    model: str,
    out: str | Path | None = None,
    *,
    force: bool = False,
    progress: Callable[[str], None] = lambda line: None,
) -> Path:
    """Record one decode iteration of a model on meta tensors and write it as a kernel trace, as ``papisim capture`` does.

    No weights are needed and none are allocated. The command alone profiles on a GPU and imports traces of profilers.

    Args:
        model: a shipped name, a ``config.json`` or its folder, or an architecture that transformers has.
        out: folder for ``trace.yaml`` and ``config.json``; ``traces/kernels/MODEL``, if None.
        force: replace the trace in ``out``.
        progress: called with what is done.

    Returns:
        The path of the trace, which ``trace`` of a run takes.

    Raises:
        InputError: an unknown model, or a trace that is already there.
        MissingExtra: the extra ``capture`` is not installed.
        NotModelled: an operation of the model that papisim does not simulate.
    """
    from papisim.tracing.models import require_torch, resolve  # noqa: PLC0415 - torch is optional

    require_torch()
    source = resolve(model)
    folder = Path(out) if out is not None else Path("traces/kernels") / source.name
    if (folder / "trace.yaml").exists() and not force:
        raise InputError("exists already; --force overwrites it", file=str(folder / "trace.yaml"))
    # these import torch, which takes seconds: not before the model and the folder are known to be good
    from papisim.tracing.run import capture as record  # noqa: PLC0415
    from papisim.tracing.write import write_trace  # noqa: PLC0415

    trace = record(source, shlex.join(["papisim", "capture", model]), progress)
    return write_trace(trace, source.config_json, folder, force=force)
