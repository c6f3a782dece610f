"""All systems of a subject, one after another."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator

from papisim.errors import NotModelled, did_you_mean
from papisim.paper.study import load_studies
from papisim.paper.verdict import Row

#: what can be reproduced: a package of :mod:`papisim.paper` with one module a system, and a file of published values
SUBJECTS = ("speculation",)


def check_subject(subject: str) -> None:
    """Refuse what cannot be reproduced.

    Raises:
        NotModelled: it says what can be.
    """
    if subject not in SUBJECTS:
        raise NotModelled(f"'{subject}' is not reproduced; {did_you_mean(subject, SUBJECTS)}")


def systems(subject: str) -> dict[str, Callable[..., list[Row]]]:
    """Return the function ``reproduce`` of each module of a subject that has one, by the module's name."""
    package = importlib.import_module(f"papisim.paper.{subject}")
    modules = {
        info.name: importlib.import_module(f"{package.__name__}.{info.name}")
        for info in pkgutil.iter_modules(package.__path__)
    }
    return {name: module.reproduce for name, module in modules.items() if hasattr(module, "reproduce")}


def rows(subject: str) -> Iterator[Row]:
    """Yield the rows of every system that something is published of."""
    check_subject(subject)
    reproduce = systems(subject)
    for name, study in load_studies(subject).items():
        yield from reproduce[name](study)
