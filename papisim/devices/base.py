"""The contract of every device kind.

A device kind is one module (or package) of :mod:`papisim.devices` with two names:

``Part``
    a :class:`papisim.spec.base.Spec` with the numbers of one device, read from ``hwconfigs/devices/*.yaml``;
``Pool``
    ``count`` identical devices that work together on every kernel, and what a kernel costs on them.
"""

from __future__ import annotations

from typing import Any, Protocol

from papisim.ops.cost import Cost
from papisim.ops.kernel import Kernel
from papisim.spec.base import NonNegative, Spec


class DevicePart(Spec):
    """What every device part says, whatever its kind."""

    kind: str
    description: str
    capacity_bytes: NonNegative
    static_w: NonNegative


class DevicePool(Protocol):
    """``count`` identical devices that share every kernel among them."""

    name: str
    part: Any
    count: int

    def __init__(self, name: str, part: Any, count: int) -> None:
        """Take ``count`` devices, each as the part says."""

    @property
    def capacity_bytes(self) -> float:
        """Memory of the whole pool."""

    @property
    def static_w(self) -> float:
        """Power that the whole pool draws whether or not it works."""

    def price(self, kernel: Kernel) -> Cost:
        """Return the time and energy of one kernel shared among all devices of the pool.

        Raises:
            NotModelled: this kind of device does not run this kind of kernel.
        """
