"""A page of tiles, charts and tables as one HTML file that needs no network.

A page consists of sections with values: :class:`Tile`, :class:`Chart`, :class:`Table`. A chart is a plotly figure as plain
dictionaries, with its message in words, for screen readers, and the table of its data. Colours in a figure are names such as
``$c0`` or ``$ink``, which the page replaces by those of its light or dark theme (:data:`SERIES`).
"""

from __future__ import annotations

import base64
import gzip
import json
import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from papisim import __version__, units
from papisim.errors import MissingExtra

if TYPE_CHECKING:
    import jinja2
    import pandas as pd

#: a trace, an axis or a layout of plotly, as plain values
Plotly = dict[str, Any]

#: colours of consecutive series, distinguishable in both themes and by colour-blind readers
SERIES = tuple(f"${name}" for name in ("c0", "c1", "c2", "c3", "c4", "c5", "c6", "c7"))
#: rows of a table that are shown; the files beside the page have all
_MOST_ROWS = 200
_DIGITS = 5


@dataclass(frozen=True)
class Tile:
    """A value in large type, with a note on its meaning or spread."""

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Table:
    """A frame with the units of its columns' suffixes, of at most :data:`_MOST_ROWS` rows."""

    title: str
    frame: pd.DataFrame
    note: str = ""

    @property
    def columns(self) -> list[str]:
        """Headings: the frame's columns without the suffix of their unit."""
        return [heading(str(column)) for column in self.frame.columns]

    @property
    def rows(self) -> list[list[str]]:
        """Cells as text."""
        named = [(str(column), self.frame[column].head(_MOST_ROWS).tolist()) for column in self.frame.columns]
        return [
            list(row)
            for row in zip(*([cell(name, value) for value in values] for name, values in named), strict=True)
        ]

    @property
    def numeric(self) -> list[bool]:
        """Whether each column holds numbers, which are aligned right."""
        return [self.frame[column].dtype.kind in "iuf" for column in self.frame.columns]

    @property
    def left_out(self) -> int:
        """Rows that are not shown."""
        return max(0, len(self.frame) - _MOST_ROWS)


@dataclass(frozen=True)
class Chart:
    """A figure, its message in words, and its data.

    Attributes:
        title: title of the figure.
        figure: a plotly figure: ``data`` and ``layout``.
        alt: message of the figure.
        table: data of the figure.
        note: how to read the figure, or what it leaves out.
        wide: whether the figure takes the page's whole width.
        height: height in pixels.
    """

    title: str
    figure: Plotly
    alt: str
    table: pd.DataFrame
    note: str = ""
    wide: bool = False
    height: int = 340

    @property
    def data(self) -> Table:
        """The data as a table."""
        return Table(f"Data of “{self.title}”", self.table)

    @property
    def json(self) -> str:
        """The figure as JSON that is safe inside a script element."""
        text = json.dumps(_rounded(self.figure), separators=(",", ":"), allow_nan=False)
        return as_script(text)


@dataclass(frozen=True)
class Listing:
    """Lines of text under a title, folded away."""

    title: str
    lines: Sequence[str]


@dataclass(frozen=True)
class Picture:
    """A picture from a file, and its message in words."""

    title: str
    png: bytes
    alt: str

    @property
    def url(self) -> str:
        """The picture as a ``data:`` address."""
        return f"data:image/png;base64,{base64.b64encode(self.png).decode()}"


Item = Chart | Table | Listing | Picture


@dataclass
class Section:
    """A part of the page under a heading: tiles, then other items in the order of adding."""

    title: str
    intro: str = ""
    tiles: list[Tile] = field(default_factory=list)
    items: list[Item] = field(default_factory=list)

    @property
    def anchor(self) -> str:
        """Identifier that links use."""
        return "".join(letter if letter.isalnum() else "-" for letter in self.title.lower())

    def add(self, *items: Item | None) -> None:
        """Add charts, tables, pictures and listings; None is skipped."""
        self.items += [item for item in items if item is not None]


@dataclass
class Page:
    """A page: its title, a line below it, what it means in sentences, and sections.

    Example:
        >>> page = Page("Sweep", "64 points")
        >>> section = page.section("Best designs", "By tokens per joule.")
        >>> section.tiles.append(Tile("points", "64"))
    """

    title: str
    subtitle: str = ""
    written: str = ""
    meaning: Sequence[str] = ()
    sections: list[Section] = field(default_factory=list)

    def section(self, title: str, intro: str = "") -> Section:
        """Begin a section."""
        self.sections.append(Section(title, intro))
        return self.sections[-1]

    def html(self) -> str:
        """Return the page as one self-contained HTML document.

        Raises:
            MissingExtra: plotly or Jinja is not installed.
        """
        environment, texts, plotly = libraries()
        environment.filters["kind"] = lambda item: type(item).__name__
        document: str = environment.get_template("page.html").render(
            page=self,
            title=self.title,
            css=texts("page.css"),
            script=texts("page.js"),
            plotly=plotly,
            version=__version__,
        )
        return document


def libraries() -> tuple[jinja2.Environment, Callable[[str], str], str]:
    """Return the environment of templates, a reader of their texts by name, and plotly as a page unpacks it.

    Raises:
        MissingExtra: plotly or Jinja is not installed.
    """
    try:
        import jinja2  # noqa: PLC0415 - only a report needs it
        from plotly.offline import get_plotlyjs  # noqa: PLC0415
    except ImportError as error:
        raise MissingExtra("an HTML report", str(error.name), "report") from None
    folder = files("papisim.report.html") / "templates"

    def text(name: str) -> str:
        return (folder / name).read_text(encoding="utf-8")

    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(text),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment, text, _packed(get_plotlyjs())


def as_script(text: str) -> str:
    """Return JSON that is safe inside a script element."""
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


#: tags other than those of papisim's own texts; plotly would follow a link in a text
_FOREIGN_TAG = re.compile(r"<(?!/?(?:b|br|extra|i|sub|sup)>)")


def _packed(script: str) -> str:
    """Compress a script, which the page unpacks; that halves the size of a page."""
    return base64.b64encode(gzip.compress(script.encode(), 9, mtime=0)).decode()


def _rounded(value: object) -> object:
    """Return a figure with numbers rounded to five digits, null for NaN, and no tags but papisim's."""
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(inner) for inner in value]
    if hasattr(value, "tolist"):
        return _rounded(value.tolist())
    if isinstance(value, str):
        return _FOREIGN_TAG.sub("&lt;", value)
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None
    return value


def heading(column: str) -> str:
    """Return a column's name as a heading: ``ttft_mean_s`` becomes ``ttft mean``."""
    unit = units.unit_of(column)
    name = column if unit is None else column[: -len(unit)].rstrip("_")
    if "." in name:  # a field's path is written as --set takes it
        return name
    return name.replace("_", " ").strip() or column


def cell(column: str, value: object) -> str:
    """Return a value as text, in the unit of its column's suffix."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "—"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    unit = units.unit_of(column)
    if unit == "ratio" and not column.endswith(_SHARES):
        return f"{value:.4g}×"
    if unit is not None:
        return units.format(float(value), unit)
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"


#: ratios that are shares of a whole, written in per cent; the others are quotients
_SHARES = ("busy_ratio", "share_ratio", "acceptance_ratio", "error_ratio", "flop_ratio", "time_ratio")


def rows_frame(rows: Iterable[Sequence[object]], *columns: str) -> pd.DataFrame:
    """Return a frame of rows."""
    import pandas as pd  # noqa: PLC0415 - start-up time

    return pd.DataFrame(list(rows), columns=list(columns))
