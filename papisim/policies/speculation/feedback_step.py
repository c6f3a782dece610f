"""Finite-step feedback (FS): a length that grows after a fully accepted draft and shrinks after any other.

It is one of the baselines in the released code of DEL (Entezari Zarch et al., COLM 2025), there for self-speculation
with a fixed exit layer; without an exit layer it serves any draft source.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from papisim.config.base import Count
from papisim.kinds import Example
from papisim.policies.speculation.base import Draft, SpeculationView
from papisim.policies.speculation.stepping import StepOptions, Stepping


class Options(StepOptions):
    """Start, steps and limits of the length, and the layers that draft.

    Attributes:
        exit_layer: layers that draft, for self-speculation.
    """

    kind: Literal["feedback_step"]
    exit_layer: Count | None = None

    @property
    def signals(self) -> frozenset[str]:
        """Signals that the policy decides by."""
        return frozenset() if self.exit_layer is None else frozenset({"layers"})


EXAMPLE = Example(
    "feedback_step", beside={"trace": "llama3-8b", "draft": "early_exit", "acceptance": "layerskip_llama3_8b"}
)


class Speculation(Stepping[Options]):
    """Each request has a length of its own."""

    def plan(self, view: SpeculationView) -> list[Draft]:
        """Draft each request's length with the exit layer."""
        return [replace(draft, exit_layer=self._options.exit_layer) for draft in super().plan(view)]
