"""The contract of a placement policy: on which device each operator runs.

The operators are FC, attention and experts of the target model, and FC and attention of a draft model. Each has candidates: devices
that hold its data, or can fetch them. The policy is asked before every iteration, for each operator with several candidates.

A policy from outside is one class that has ``Options`` and ``EXAMPLE`` inside; a policy of papisim's own is one module with
``Options``, ``EXAMPLE`` and the class, called ``Placement`` (see :mod:`papisim.kinds`).

A policy

- names one of the view's candidates for each kernel; the first of the candidates is the operator's home, where a policy leaves
  the operators that it has no opinion about;
- is a pure function of the view: it keeps no state, draws no random numbers, and chooses alike when asked again, since
  placements are remembered;
- must not change the view, nor keep it;
- may ask the view for prices, as an oracle does, and must not import devices.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, Self

from papisim.config.base import KindOptions
from papisim.kinds.family import Family
from papisim.ops.cost import Cost
from papisim.ops.kernel import Attention, Kernel, Linear


class PlacementOptions(KindOptions):
    """What every placement policy's options say."""

    def devices(self) -> dict[str, str]:
        """Return the options that name a device, by field; each must run FC kernels in the system."""
        return {}

    def for_model(self, name: str) -> Self:
        """Return the options as they are for one model, where they differ between models."""
        del name
        return self


class Operator(StrEnum):
    """The operators of a decoding iteration that are placed by themselves.

    ``fc`` are the FC kernels of the target model, those of experts aside; the FC kernels of a draft model are all one operator.
    """

    FC = "fc"
    ATTENTION = "attention"
    EXPERTS = "experts"
    DRAFT_FC = "draft_fc"
    DRAFT_ATTENTION = "draft_attention"

    @property
    def is_of_target_fc(self) -> bool:
        """Whether the operator computes FC kernels of the target model, experts' among them: what PAPI moves."""
        return self in (Operator.FC, Operator.EXPERTS)

    @property
    def of_draft(self) -> Operator:
        """The operator of a draft model that computes kernels of the same kind."""
        is_attention = self in (Operator.ATTENTION, Operator.DRAFT_ATTENTION)
        return Operator.DRAFT_ATTENTION if is_attention else Operator.DRAFT_FC


@dataclass(frozen=True)
class PlacementView:
    """What a policy may see when it places one kernel.

    Attributes:
        rlp: requests decoded together.
        rows: token-rows in flight, RLP × TLP; their sum where requests have different numbers of tokens in flight.
        kernel: the kernel to place.
        candidates: names of the devices that can run it, its home first.
        price: the cost model, for an oracle: ``price(device_name, kernel)``, messages that the choice decides included.
        operator: the operator that the kernel belongs to.
        estimate: estimated arithmetic intensity, where that is not the token-rows in flight.
    """

    rlp: int
    rows: int
    kernel: Linear | Attention
    candidates: tuple[str, ...]
    price: Callable[[str, Kernel], Cost]
    operator: Operator = Operator.FC
    estimate: float | None = None

    @property
    def intensity(self) -> float:
        """Estimated arithmetic intensity, in token-rows per number read (FLOP per byte at 16 bits), known before the kernel runs.

        That of FC is RLP × TLP (PAPI, eq. 2); of attention, TLP × query heads per KV head; of experts, the expected rows of each.
        """
        return float(self.rows) if self.estimate is None else self.estimate


class PlacementPolicy(Protocol):
    """Chooses the device of a kernel."""

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
