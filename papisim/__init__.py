"""papisim: LLM decoding on heterogeneous machines of GPUs and processing-in-memory.

The public functions are those of :mod:`papisim.api`; each is imported when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from papisim.api.runs import compare, explain, load, run
    from papisim.api.spaces import optimise, sweep

__version__ = "0.2.0"
__all__ = ["__version__", "compare", "explain", "load", "optimise", "run", "sweep"]

#: the module of papisim.api that has each public name
_HOMES = {
    "compare": "runs",
    "explain": "runs",
    "load": "runs",
    "optimise": "spaces",
    "run": "runs",
    "sweep": "spaces",
}


def __getattr__(name: str) -> object:
    if name in _HOMES:  # commands should start without all that the API needs
        return getattr(import_module(f"papisim.api.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'papisim' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
