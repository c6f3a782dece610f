"""The contract of a speculation policy.

A policy is one module with two names: ``Options`` and ``Speculation``, built from them. TLP, the tokens decoded per request
and iteration, is a register of the machine: the host may write it between iterations (PAPI, Section 5), and what the policy
returns before an iteration is what the register then holds. Every token in flight is accepted and drafting takes no
time, which is the accounting that the paper's figures are consistent with.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from papisim.spec.base import Spec


class SpeculationOptions(Spec):
    """What every speculation policy's options say."""

    kind: str


@dataclass(frozen=True)
class SpeculationView:
    """What a policy may see before an iteration.

    Attributes:
        iteration: number of the iteration, from 0.
        rlp: requests that will be decoded in it.

    """

    iteration: int
    rlp: int


class SpeculationPolicy(Protocol):
    """Writes the TLP register."""

    def tlp(self, view: SpeculationView) -> int:
        """Return the tokens per request of the next iteration, at least 1."""
