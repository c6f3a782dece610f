import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

CHROMIUM = os.environ.get("PAPISIM_CHROMIUM") or next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
#: nothing that a browser does on its own may reach a network
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def browser() -> Iterator[object]:
    """A headless Chromium."""
    api = pytest.importorskip("playwright.sync_api", reason="needs playwright, of the [dev] extra")
    if CHROMIUM is None and os.environ.get("PAPISIM_BROWSER") == "required":
        pytest.fail("there is no Chromium on the PATH, and PAPISIM_BROWSER says that there must be")
    if CHROMIUM is None:
        pytest.skip("needs Chromium; none is on the PATH")
    with api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=FLAGS)
        yield chromium
        chromium.close()


class Opened:
    """A page that is open in the browser, and everything that went wrong or onto a network while it was."""

    def __init__(self, browser, file: Path | str, *, width: int = 1280, scheme: str = "light") -> None:
        self.context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(file if isinstance(file, str) else file.as_uri())
        self.page.wait_for_selector("html[data-ready=true]", timeout=30_000)


@pytest.fixture
def opened(browser):
    """Open a file in the browser."""
    everything: list[Opened] = []

    def go(file: Path | str, **how: object) -> Opened:
        everything.append(Opened(browser, file, **how))
        return everything[-1]

    yield go
    for each in everything:
        each.context.close()
