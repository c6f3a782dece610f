"""What one kernel costs on one device part, as ``papisim price`` shows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any, TextIO

from papisim import catalog
from papisim.catalog import Shelf
from papisim.config.base import parse
from papisim.config.quantisation import AS_TRACED_BITS, QuantisationSpec
from papisim.config.system import Device
from papisim.config.yaml import Document
from papisim.devices import gpu, pim
from papisim.devices.base import DEVICE
from papisim.devices.pim.commands import export
from papisim.devices.pim.energy import Activity
from papisim.devices.pim.scheduler import Channel
from papisim.errors import InputError, NotModelled, did_you_mean
from papisim.ops.formats import Formats
from papisim.ops.kernel import Attention, FcRole, Linear
from papisim.ops.lower import KvLengths, prefill_lengths
from papisim.ops.trace import Point, read_trace
from papisim.plan.build import build_formats
from papisim.pricing.step import price_step

#: the operation that is a whole decode iteration
STEP = "step"
#: heads of the cache default to those of the queries
_AS_HEADS = 0

#: the options that describe a kernel, by operation: name → default (None: must be given)
OPERATIONS: dict[str, dict[str, int | None]] = {
    "attention": {"heads_per_stack": None, "kv": None, "tlp": 1, "dhead": 128, "group": 1, "kv_bits": AS_TRACED_BITS},
    "linear": {"m": None, "k": None, "n": None, "weight_bits": AS_TRACED_BITS, "activation_bits": AS_TRACED_BITS},
    "prefill": {"batch_size": None, "heads": None, "kv_heads": _AS_HEADS, "tokens": None, "dhead": 128},
}
#: attention of a whole batch, as on a GPU; told from pairs on a stack by its sizes
_BATCH_ATTENTION: dict[str, int | None] = {
    "batch_size": None, "heads": None, "kv_heads": _AS_HEADS, "kv": None, "tlp": 1, "dhead": 128,
    "kv_bits": AS_TRACED_BITS,
}  # fmt: skip
#: every size that some operation takes
SIZES = frozenset(name for sizes in (*OPERATIONS.values(), _BATCH_ATTENTION) for name in sizes)


def pool_of(device: Device, count: int) -> Any:
    """Return ``count`` devices of a part as a pool.

    Raises:
        InputError: the part computes nothing, as a link.
    """
    if not isinstance(device.part, DEVICE.base):
        raise InputError(
            f"is a {device.part.kind}, which runs no kernels; expected a device such as attn_pim or a100",
            file=device.name,
        )
    return DEVICE.make(DEVICE.load(device.part.kind), device.name, device.part, count)


def kernel_of(op: str, sizes: Mapping[str, int | None], count: int) -> Linear | Attention:
    """Make a kernel from the options that describe it.

    ``heads_per_stack`` counts attention pairs, a head of the cache of one request each; ``group`` query heads share it.
    With ``batch_size`` and ``heads`` attention is that of a whole batch. ``prefill`` attends to whole prompts. Weights and
    caches of fewer than 16 bits have scales of 16 bits for groups of 128.

    Raises:
        InputError: a size is missing, belongs to another operation, or is not positive.
    """
    known = OPERATIONS[op]
    if op == "attention" and any(sizes.get(name) is not None for name in ("batch_size", "heads", "kv_heads")):
        known = _BATCH_ATTENTION
    size = _sizes(op, sizes, known)
    formats = _formats(size)
    if op == "linear":
        return Linear(
            FcRole.QKV, size["m"], size["k"], size["n"], weights=formats.weights, input_bits=formats.input_bits
        )
    if op == "prefill" or known is _BATCH_ATTENTION:
        return replace(_batch_attention(op, size), kv=formats.kv)
    pairs, kv, tlp = size["heads_per_stack"] * count, size["kv"], size["tlp"]
    return Attention(
        pairs, pairs * tlp, pairs * kv, kv, pairs * kv * tlp, size["group"], 1, size["dhead"], kv=formats.kv
    )


def _formats(size: Mapping[str, int]) -> Formats:
    """Return what a kernel's operands are stored in, with scales as an experiment has them where it says nothing else.

    Raises:
        InputError: a width that is not modelled.
    """
    widths = {name: bits for name, bits in size.items() if name.endswith("_bits")}
    return build_formats(parse(QuantisationSpec, Document(widths, "widths")))


def _sizes(op: str, sizes: Mapping[str, int | None], known: Mapping[str, int | None]) -> dict[str, int]:
    """Return every size of an operation, given or by default."""
    foreign = sorted(name for name, size in sizes.items() if size is not None and name not in known)
    if foreign:
        raise InputError(f"is no size of op {op}, which takes {', '.join(known)}", field=foreign[0])
    found: dict[str, int] = {}
    for name, default in known.items():
        value = sizes.get(name)
        if value is None:
            value = found["heads"] if default == _AS_HEADS else default
        if value is None:
            raise InputError(f"is missing: op {op} takes {', '.join(known)}", field=name)
        if value < 1:
            raise InputError(f"found {value}, expected at least 1", field=name)
        found[name] = value
    return found


def _batch_attention(op: str, size: Mapping[str, int]) -> Attention:
    requests, heads, kv_heads = size["batch_size"], size["heads"], size["kv_heads"]
    if heads % kv_heads:
        raise InputError(f"found {kv_heads}, expected a divisor of the {heads} query heads", field="kv_heads")
    if op == "prefill":
        lengths = prefill_lengths([size["tokens"]] * requests)
    else:
        lengths = KvLengths(
            requests, requests * size["tlp"], requests * size["kv"], size["kv"], requests * size["tlp"] * size["kv"]
        )
    return Attention(
        lengths.n_requests, lengths.query_tokens, lengths.kv_tokens, lengths.longest_kv, lengths.pairs, heads, kv_heads,
        size["dhead"], causal=lengths.causal,
    )  # fmt: skip


def with_library(pool: Any, name: str) -> Any:
    """Return GPUs that use another kernel library, by its name in the part or in measured tables.

    Raises:
        InputError: not a GPU, or it has no such library.
    """
    if not isinstance(pool, gpu.Pool):
        raise InputError(f"{pool.name} has no kernel libraries; --library is for GPUs", field="library")
    changes: dict[str, Any] = {}
    for family in ("linear", "attention"):
        kernels = getattr(pool.part, family)
        for known, library in kernels.libraries.items():
            if name == known or name in library.measured_as:
                changes[family] = kernels.model_copy(update={"use": known})
    if not changes:
        known_names = [*pool.part.linear.libraries, *pool.part.attention.libraries]
        raise InputError(f"found '{name}'; {did_you_mean(name, known_names)}", field="library")
    return replace(pool, part=pool.part.model_copy(update=changes))


def step_of(pool: Any, trace: str | None, sizes: Mapping[str, int | None]) -> dict[str, Any]:
    """Return the price of a decode iteration, by kernel class.

    Raises:
        InputError: not a GPU, no trace, a size that is missing, or one that does not belong.
    """
    if not isinstance(pool, gpu.Pool):
        raise InputError(f"'{STEP}' is for GPUs; simulate other machines with papisim run", field="op")
    if not trace:
        raise InputError("is missing: op step takes a trace", field="trace")
    size = _sizes(STEP, sizes, {"rlp": None, "tlp": 1, "kv": None})
    model = read_trace(catalog.find(Shelf.TRACE, trace).path)
    step = price_step(pool, model, Point(rlp=size["rlp"], tlp=size["tlp"], kv=size["kv"]))
    return {
        "time_s": step.time_s,
        "energy_j": step.energy_j,
        "n_kernels": step.n_kernels,
        "energy_model": pool.part.energy_model,
        "outside_fit": list(step.outside),
        "classes": [asdict(each) for each in step.classes],
    }


def price(pool: Any, kernel: Linear | Attention) -> dict[str, Any]:
    """Return a kernel's price: time, energy by part, power and, on PIM stacks, cycles and traffic."""
    cost = pool.price(kernel)
    energy_j = cost.energy.total_j
    priced: dict[str, Any] = {
        "time_s": cost.time_s,
        "bound": cost.bound,
        "energy_j": energy_j,
        "energy": {part: joules for part, joules in cost.energy.items() if joules},
        "power_w_per_device": energy_j / cost.time_s / pool.count,
        "flop": kernel.flop,
        "read_bytes": kernel.read_bytes,
        "write_bytes": kernel.write_bytes,
    }
    if isinstance(pool, gpu.Pool):
        return priced | _on_gpu(pool, kernel, priced)
    return priced | (_on_pim(pool, kernel) if isinstance(pool, pim.Pool) else {})


def _on_gpu(pool: gpu.Pool, kernel: Linear | Attention, priced: Mapping[str, Any]) -> dict[str, Any]:
    """Add which library and energy model speak, and, where energy is the board's, what it draws idle meanwhile."""
    part = pool.part
    library = part.linear.used if isinstance(kernel, Linear) else part.attention.used
    said = {
        "library": library.description,
        "source": _source(pool, kernel),
        "outside_fit": pool.outside(kernel) or "no",
        "energy_model": part.energy_model,
    }
    if part.energy_model != "fitted":
        return said
    static_j = pool.static_w * priced["time_s"]
    energy_j = priced["energy_j"] + static_j
    return said | {
        "energy_j": energy_j,
        "energy": priced["energy"] | {"static_j": static_j},
        "power_w_per_device": energy_j / priced["time_s"] / pool.count,
    }


def _source(pool: gpu.Pool, kernel: Linear | Attention) -> str:
    """Say what a kernel's time is from."""
    if pool.measured(kernel):
        return "measured table"
    return "corrected model" if pool.corrected(kernel) else "model"


def _on_pim(pool: pim.Pool, kernel: Linear | Attention) -> dict[str, Any]:
    part, priced = pool.part, pool.priced(kernel)
    return {
        "cycles": priced.cycles,
        "cycles_from_idle": priced.cycles_from_idle,
        "refreshes_from_idle": priced.refreshes,
        "tck_s": part.timing.tck_s,
        "column_gap_cycles": pool.column_gap(1),
        "power_budget_w": part.power.budget_w,
        "mapping": part.mapping,
        **_traffic(priced.activity, part.organisation.column_bytes),
    }


def _traffic(activity: Activity, column_bytes: float) -> dict[str, float]:
    return {
        "bank_bytes": activity.columns * column_bytes,
        "data_path_bytes": activity.data_path_bytes,
        "activations": activity.activations,
    }


def write_commands(pool: Any, kernel: Linear | Attention, file: TextIO) -> tuple[int, int]:
    """Issue a kernel's command stream literally and write it; return how many commands, and the cycle they end at.

    Raises:
        NotModelled: the device has no command stream.
    """
    if not isinstance(pool, pim.Pool):
        raise NotModelled(f"{pool.name} has no DRAM command stream; --commands is for PIM stacks")
    commands, rules = pool.commands(kernel)
    channel = Channel(pool.part.timing, rules)
    cycles = channel.run(commands)
    return export(sorted(channel.issued), file), cycles
