"""The page that explores a space, in a browser: sliders change charts, and what it exports repeats what it shows."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from papisim.cli import papisim

pytestmark = [pytest.mark.browser, pytest.mark.slow]

SPACE = ("--hw", "papi,gpu_only", "--trace", "llama7b,opt1.3b", "--batch", "1,4,16", "--tlp", "1,4",
         "--set", "workload.lengths={kind: fixed, input_tokens: 16, output_tokens: 4}")  # fmt: skip
EXPLORED = "html[data-explored=true]"
CHARTS = ("throughput", "latency", "energy", "time", "parts", "map", "roofline")


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    pytest.importorskip("plotly", reason="needs the [report] extra")
    file = tmp_path_factory.mktemp("explorer") / "explore.html"
    done = CliRunner().invoke(papisim, ["explore", *SPACE, "-o", str(file), "-q"])
    assert done.exit_code == 0, done.output
    return file


def drawn(tab, chart: str) -> object:
    return tab.page.evaluate(
        f"document.querySelector('#{chart} .plot').data.map(trace => [trace.x, trace.y, trace.z])"
    )


def shown(tab) -> dict[str, float]:
    cells = (
        "[...document.querySelectorAll('[data-exact]')].map(cell => [cell.dataset.exact, Number(cell.textContent)])"
    )
    return dict(tab.page.evaluate(cells))


def move(tab, label: str, value: int) -> None:
    tab.page.evaluate(
        "([label, value]) => { const input = document.getElementById([...document.querySelectorAll('.control label')]"
        ".find(each => each.textContent === label).htmlFor); input.value = value; input.dispatchEvent(new Event('input')); }",
        [label, value],
    )
    tab.page.wait_for_selector(EXPLORED, timeout=60_000)


def exported(tab) -> dict[str, float]:
    """Run the command that the page exports."""
    _, *arguments = shlex.split(tab.page.input_value("#command"))
    done = CliRunner().invoke(papisim, [*arguments, "--format", "json", "-q"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_draws_every_chart_without_a_complaint_or_a_network(opened, page, width):
    tab = opened(page, width=width)
    tab.page.wait_for_selector(EXPLORED, timeout=60_000)
    assert tab.complaints == []
    assert tab.requests == [page.as_uri()]
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= width, "it scrolls sideways"
    for chart in CHARTS:
        assert drawn(tab, chart), chart


def test_a_control_changes_the_charts_and_the_exported_command_prints_the_figures_to_all_digits(opened, page):
    tab = opened(page)
    tab.page.wait_for_selector(EXPLORED, timeout=60_000)
    before = {chart: drawn(tab, chart) for chart in CHARTS}
    move(tab, "trace", 1)
    after = {chart: drawn(tab, chart) for chart in CHARTS}
    assert [chart for chart in CHARTS if before[chart] == after[chart] and chart != "map"] == []
    move(tab, "hw", 1)
    move(tab, "batch", 2)
    move(tab, "tlp", 1)
    command = tab.page.input_value("#command")
    assert all(part in command for part in ("--hw gpu_only", "--trace opt1.3b", "--batch 16", "--tlp 4"))
    summary, figures = exported(tab), shown(tab)
    assert {name: summary[name] for name in figures} == figures
    assert tab.complaints == []


def test_a_live_page_simulates_values_that_are_not_in_the_space(opened, tmp_path):
    server = subprocess.Popen([sys.executable, "-m", "papisim", "explore", *SPACE, "--serve", "-q"], stdout=subprocess.PIPE,
                              text=True, cwd=tmp_path)  # fmt: skip
    try:
        url = server.stdout.readline().strip()
        assert url.startswith("http://127.0.0.1:")
        tab = opened(url)
        tab.page.wait_for_selector(EXPLORED, timeout=120_000)
        move(tab, "batch", 4)
        assert "--batch 5" in tab.page.input_value("#command")
        summary, figures = exported(tab), shown(tab)
        assert {name: summary[name] for name in figures} == figures
        assert tab.complaints == []
        assert all(each.startswith(url) for each in tab.requests)
    finally:
        server.terminate()
        server.wait(30)
