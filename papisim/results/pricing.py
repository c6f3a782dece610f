"""What one kernel costs on one device part, as ``papisim price`` shows it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TextIO

from papisim import catalog
from papisim.devices import pim
from papisim.devices.pim.commands import export
from papisim.devices.pim.energy import Activity
from papisim.devices.pim.scheduler import Channel
from papisim.errors import InputError, NotModelled
from papisim.ops.kernel import Attention, FcRole, Linear
from papisim.spec.system import Device

#: the options that describe a kernel, by operation: name → default (None: must be given)
OPERATIONS: dict[str, dict[str, int | None]] = {
    "attention": {"heads_per_stack": None, "kv": None, "tlp": 1, "dhead": 128, "group": 1},
    "linear": {"m": None, "k": None, "n": None},
}


def pool_of(device: Device, count: int) -> Any:
    """Return ``count`` devices of a part as a pool.

    Raises:
        InputError: the part computes nothing, as a link.

    """
    module = catalog.load_kind("papisim.devices", device.part.kind)
    if not hasattr(module, "Pool"):
        raise InputError(
            f"is a {device.part.kind}, which runs no kernels; expected a device such as attn_pim or a100",
            file=device.name,
        )
    return module.Pool(device.name, device.part, count)


def kernel_of(op: str, sizes: Mapping[str, int | None], count: int) -> Linear | Attention:
    """Make a kernel from the options that describe it.

    ``heads_per_stack`` counts attention pairs, a head of the cache of one request each; ``group`` query heads share it.

    Raises:
        InputError: a size is missing, belongs to another operation, or is not positive.

    """
    known = OPERATIONS[op]
    foreign = sorted(name for name, size in sizes.items() if size is not None and name not in known)
    if foreign:
        raise InputError(f"is no size of op {op}, which takes {', '.join(known)}", field=foreign[0])
    size = {name: sizes[name] if sizes.get(name) is not None else default for name, default in known.items()}
    for name, value in size.items():
        if value is None:
            raise InputError(f"is missing: op {op} takes {', '.join(known)}", field=name)
        if value < 1:
            raise InputError(f"found {value}, expected at least 1", field=name)
    if op == "linear":
        return Linear(FcRole.QKV, size["m"] or 0, size["k"] or 0, size["n"] or 0)
    pairs, kv, tlp = (size["heads_per_stack"] or 0) * count, size["kv"] or 0, size["tlp"] or 0
    return Attention(pairs, pairs * tlp, pairs * kv, kv, pairs * kv * tlp, size["group"] or 0, 1, size["dhead"] or 0)


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
    return priced | (_on_pim(pool, kernel) if isinstance(pool, pim.Pool) else {})


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
