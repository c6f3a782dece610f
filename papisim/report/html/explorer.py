"""The page that explores a space: controls for its axes, and charts around the point that they choose."""

from __future__ import annotations

import json

from papisim import __version__
from papisim.report.html.page import as_script, libraries
from papisim.results.folder import Json


def explorer_page(title: str, data: Json) -> str:
    """Return the page as one HTML document that needs no network but, where it is live, the server that it is from.

    Args:
        title: title of the page.
        data: ``axes``, ``across``, ``second``, ``lines`` and ``figures`` of :meth:`papisim.exploration.explorer.Explorer.page`; the points
            as ``rows``; and ``live``, the word with which the page asks its server, or None.

    Raises:
        MissingExtra: plotly or Jinja is not installed.
    """
    environment, texts, plotly = libraries()
    document: str = environment.get_template("explore.html").render(
        title=title,
        live=data["live"] is not None,
        data=as_script(json.dumps(data, separators=(",", ":"), allow_nan=False)),
        css=texts("page.css"),
        own_css=texts("explore.css"),
        script=texts("page.js"),
        own_script=texts("explore.js"),
        plotly=plotly,
        version=__version__,
    )
    return document
