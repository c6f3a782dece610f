"""The contract of a placement policy: on which device each FC kernel runs.

A policy from outside is one class that has ``Options`` and ``EXAMPLE`` inside; a policy of papisim's own is one module with
``Options``, ``EXAMPLE`` and the class, called ``Placement`` (see :mod:`papisim.kinds`).

A policy

- names one of the view's candidates for each kernel;
- is a pure function of the view: it keeps no state, draws no random numbers, and chooses alike when asked again, since
  placements are remembered;
- must not change the view, nor keep it;
- may ask the view for prices, as an oracle does, and must not import devices.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, Self

from papisim.config.base import KindOptions
from papisim.kinds.family import Family
from papisim.ops.cost import Cost
from papisim.ops.kernel import Kernel, Linear


class PlacementOptions(KindOptions):
    """What every placement policy's options say."""

    def devices(self) -> dict[str, str]:
        """Return the options that name a device, by field; each must run FC kernels in the system."""
        return {}

    def for_model(self, name: str) -> Self:
        """Return the options as they are for one model, where they differ between models."""
        del name
        return self


@dataclass(frozen=True)
class PlacementView:
    """What a policy may see when it places one FC kernel.

    Attributes:
        rlp: requests decoded together.
        rows: token-rows in flight, RLP × TLP; their sum where requests have different numbers of tokens in flight.
        kernel: the kernel to place.
        candidates: names of the devices that can run it.
        price: the cost model, for an oracle: ``price(device_name, kernel)``.
    """

    rlp: int
    rows: int
    kernel: Linear
    candidates: tuple[str, ...]
    price: Callable[[str, Kernel], Cost]


class PlacementPolicy(Protocol):
    """Chooses the device of an FC kernel."""

    def place(self, view: PlacementView) -> str:
        """Return one of the view's candidates."""


PLACEMENT: Family[PlacementOptions, PlacementPolicy] = Family(
    name="placement",
    noun="placement policy",
    plural="placement policies",
    package="papisim.policies.placement",
    thing="Placement",
    base=PlacementOptions,
    contract=PlacementPolicy,
)
