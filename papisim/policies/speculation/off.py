"""No speculation: one token per request and iteration."""

from __future__ import annotations

from typing import Literal

from papisim.policies.speculation.base import SpeculationOptions, SpeculationView


class Options(SpeculationOptions):
    """Nothing to choose."""

    kind: Literal["off"]


class Speculation:
    """TLP is 1."""

    def __init__(self, options: Options) -> None:
        del options

    def tlp(self, view: SpeculationView) -> int:
        """Return 1."""
        del view
        return 1
