"""papisim: LLM decoding on heterogeneous machines of GPUs and processing-in-memory.

``papisim.run``, ``papisim.compare`` and ``papisim.load`` are :mod:`papisim.api`, imported when they are first used.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from papisim.api import compare, load, run

__version__ = "0.2.0"
__all__ = ["__version__", "compare", "load", "run"]


def __getattr__(name: str) -> object:
    if name in __all__:
        from papisim import api  # noqa: PLC0415 - commands should start without all that an API needs

        return getattr(api, name)
    raise AttributeError(f"module 'papisim' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
