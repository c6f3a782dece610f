"""papisim: LLM decoding on heterogeneous machines of GPUs and processing-in-memory.

The public functions are those of :mod:`papisim.api`; each is imported when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from papisim.api.kernels import capture, price
    from papisim.api.literature import reproduce
    from papisim.api.logs import fit
    from papisim.api.runs import compare, explain, load, run
    from papisim.api.spaces import optimise, sweep

__version__ = "0.2.0"
__all__ = [
    "__version__",
    "capture",
    "compare",
    "explain",
    "fit",
    "load",
    "optimise",
    "price",
    "reproduce",
    "run",
    "sweep",
]

#: the module of papisim.api that has each public function
_HOMES = {
    "capture": "kernels",
    "compare": "runs",
    "explain": "runs",
    "fit": "logs",
    "load": "runs",
    "optimise": "spaces",
    "price": "kernels",
    "reproduce": "literature",
    "run": "runs",
    "sweep": "spaces",
}


if not TYPE_CHECKING:  # type checkers know the functions from the imports above, and no other names

    def __getattr__(name: str) -> object:
        if name in _HOMES:  # commands should start without all that the API needs
            return getattr(import_module(f"papisim.api.{_HOMES[name]}"), name)
        raise AttributeError(f"module 'papisim' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
