"""What one kernel costs on the devices of one pool."""

from __future__ import annotations

from papisim.config.system import Device
from papisim.devices.base import DEVICE, DevicePool
from papisim.errors import InputError
from papisim.ops.kernel import Kernel


def pool_of(device: Device, count: int) -> DevicePool:
    """Return ``count`` devices of a part as a pool.

    Raises:
        InputError: the part runs no kernels, such as a link.
    """
    if not isinstance(device.part, DEVICE.base):
        raise InputError(
            f"is a {device.part.kind}, which runs no kernels; expected a device such as attn_pim or a100",
            file=device.name,
        )
    return DEVICE.make(DEVICE.load(device.part.kind), device.name, device.part, count)


def price(pool: DevicePool, kernel: Kernel) -> dict[str, object]:
    """Return a kernel's price: time, energy by part, power, and what the device kind adds (:class:`papisim.pricing.schema.KernelPrice`).

    Energy is a meter's: on a GPU whose energy model is fitted to its board it holds idle power while the kernel runs.
    """
    cost = pool.price(kernel)
    energy = pool.metered(cost)
    return {
        "time_s": cost.time_s,
        "bound": cost.bound,
        "energy_j": energy.total_j,
        "energy": dict(energy.items()),
        "power_w_per_device": energy.total_j / cost.time_s / pool.count,
        "flop": kernel.flop,
        "read_bytes": kernel.read_bytes,
        "write_bytes": kernel.write_bytes,
        **pool.explain(kernel),
    }
