"""The report of a folder of results."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil

from papisim.errors import InputError, did_you_mean
from papisim.report.html import pages
from papisim.report.html.page import Page
from papisim.results.folder import Results


def page_of(results: Results) -> Page:
    """Lay out the page of a folder of results: those of kind ``x`` are laid out by ``pages/x.py``.

    Raises:
        InputError: there is no page for the kind, or a file of the folder is missing or broken.
    """
    known = sorted(info.name for info in pkgutil.iter_modules(pages.__path__))
    if results.kind not in known:
        hint = did_you_mean(results.kind, known)
        raise InputError(
            f"no page for results of kind '{results.kind}'; {hint}", file=str(results.folder), field="kind"
        )
    try:
        page: Page = importlib.import_module(f"{pages.__name__}.{results.kind}").page(results)
    except KeyError as error:
        raise InputError(
            f"field or column {error} is missing; written by another version?", file=str(results.folder)
        ) from None
    return page
