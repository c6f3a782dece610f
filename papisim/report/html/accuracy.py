"""The section on model accuracy: residuals of the fits in use, and the PIM model beside published figures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from papisim.report.html.page import Section, Table, rows_frame
from papisim.results.folder import Json
from papisim.validation.pim import published

_LIBRARIES = ("linear", "attention", "elementwise", "collective")


def add_accuracy(section: Section, systems: Sequence[Json], sources: list[dict[str, str]]) -> None:
    """Add the residuals of the fits that a result used, and the PIM model beside published figures.

    Args:
        section: the section that is added to.
        systems: the machines, with every field resolved.
        sources: sources of all their numbers.
    """
    parts = [group["part"] for system in systems for group in system["devices"].values()]
    fits = list(dict.fromkeys(_fits(parts, sources)))
    if fits:
        frame = rows_frame(fits, "file", "fitted quantity", "data and residual")
        section.add(
            Table(
                "Residuals of the fits in use",
                frame,
                "MAPE is the mean absolute percentage error; 95 % of the errors are below p95.",
            )
        )
    if any(part["kind"] == "pim" for part in parts):
        section.add(_pim_table())


def _fits(parts: list[Json], sources: list[dict[str, str]]) -> Iterator[tuple[str, str, str]]:
    """Yield file, quantity and note of the fits in use; a library that no device uses is left out."""
    used = {
        (family, part[family].get(use))
        for part in parts
        for family in _LIBRARIES
        for use in ("use", "use_8bit")
        if isinstance(part.get(family), dict)
    }
    for source in sources:
        path = source["path"].split(".")
        of_library = len(path) > 2 and path[0] in _LIBRARIES and path[1] == "libraries"  # noqa: PLR2004
        if source["origin"] == "fitted" and (not of_library or (path[0], path[2]) in used):
            yield source["file"], source["path"], source["note"]


def _pim_table() -> Table:
    found = published()
    frame = rows_frame(
        [(each.what, each.published, each.predicted, _error(each.error), _within(each.within), each.source) for each in found],
        "what", "published", "predicted", "error", "within its tolerance", "source",
    )  # fmt: skip
    promised = [each.within for each in found if each.within is not None]
    note = f"{sum(promised)} of {len(promised)} figures with a tolerance are within it. The predictions are those of this version of papisim."
    return Table("PIM model and published figures", frame, note)


def _error(error: float | None) -> str:
    return "—" if error is None else f"{error:+.1%}"


def _within(within: bool | None) -> str:
    return {None: "no tolerance", True: "yes", False: "no"}[within]
