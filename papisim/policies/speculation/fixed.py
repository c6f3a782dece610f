"""A constant speculation length."""

from __future__ import annotations

from typing import Literal

from papisim.policies.speculation.base import SpeculationOptions, SpeculationView
from papisim.spec.base import Count


class Options(SpeculationOptions):
    """The tokens per request and iteration."""

    kind: Literal["fixed"]
    tlp: Count


class Speculation:
    """TLP never changes."""

    def __init__(self, options: Options) -> None:
        self._tlp = options.tlp

    def tlp(self, view: SpeculationView) -> int:
        """Return the TLP of the options."""
        del view
        return self._tlp
