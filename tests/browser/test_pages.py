"""Reports in a browser: they load by themselves, show their data, and their controls work."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from papisim.cli import papisim
from papisim.config.experiment import RunOptions, load_experiment
from papisim.engine.run import Run, simulate
from papisim.pricing.frames import comparison_frames, run_frames
from papisim.report.html.charts import parallelism
from papisim.report.html.folder import page_of
from papisim.results.comparison import Comparison
from papisim.results.folder import read_results
from papisim.results.store import write_file, write_run

pytestmark = pytest.mark.browser

KINDS = ("run", "moving", "serving", "comparison", "sweep", "reproduction")

SPACE = """
schema: papisim/sweep/1
description: Placement and batch
base: {hw: papi, trace: llama7b}
space: {placement: [papi, "pinned:gpu"], batch: [1, 2, 4]}
"""


@pytest.fixture(scope="session")
def pages(tmp_path_factory) -> dict[str, Path]:
    """A page of each kind of results."""
    pytest.importorskip("plotly", reason="needs the [report] extra")
    folder = tmp_path_factory.mktemp("pages")
    write_simulated(folder / "run", trace="llama65b", batch=64, tlp=2)
    moving = {"trace": "llama3-8b", "placement": "cheapest"}  # FC and attention move
    write_run(run := simulated("papi_attached", batch=64, tlp=8, **moving), run_frames(run), folder / "moving")
    serving = {"workload": "azure_conversation", "requests": 40, "batch": 16}
    write_simulated(folder / "serving", trace="llama7b", **serving)
    machines = ("papi", "gpu_only", "pim_only")
    runs = tuple(simulated(machine, trace="llama7b", batch=8) for machine in machines)
    comparison = Comparison(machines, runs)
    comparison.write(comparison_frames(comparison), folder / "comparison")
    (folder / "space.yaml").write_text(SPACE)
    command("sweep", str(folder / "space.yaml"), "--frame", "csv", "--out", str(folder / "sweep"), "--quiet")
    command("reproduce", "fig6", "--out", str(folder / "reproduction"), "--quiet")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            parallelism, "_MOST_SPANS", 8
        )  # the serving run's placement changes more often than is drawn singly
        for kind in KINDS:
            write_file(folder / f"{kind}.html", page_of(read_results(folder / kind)).html())
    return {kind: folder / f"{kind}.html" for kind in KINDS}


def write_simulated(folder: Path, **options) -> None:
    run = simulated("papi", **options)
    write_run(run, run_frames(run), folder)


def command(*arguments: str) -> None:
    done = CliRunner().invoke(papisim, arguments)
    assert done.exit_code == 0, done.output


def simulated(hw: str, **options) -> Run:
    return simulate(load_experiment(RunOptions(hw=hw, **options)))


@pytest.fixture
def run_page(pages) -> Path:
    return pages["run"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (1280, "dark")])
def test_a_page_loads_without_a_complaint_and_asks_no_network_for_anything(opened, pages, kind, width, scheme):
    tab = opened(pages[kind], width=width, scheme=scheme)
    assert tab.complaints == []
    assert tab.requests == [pages[kind].as_uri()]
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= width, "it scrolls sideways"
    assert tab.page.evaluate("document.documentElement.dataset.theme") == scheme


@pytest.mark.parametrize("kind", KINDS)
def test_every_chart_has_drawn_its_data(opened, pages, kind):
    tab = opened(pages[kind])
    drawn = tab.page.evaluate(
        "[...document.querySelectorAll('.plot')].map(plot => [plot.getAttribute('aria-label'), plot.data.length,"
        " plot.querySelectorAll('.trace, .hm image, .bars .point').length, plot.getBoundingClientRect().height])"
    )
    assert drawn
    for label, traces, marks, height in drawn:
        assert label
        assert traces > 0, label
        assert marks > 0, label
        assert height > 80, label


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_offers_no_upload(opened, pages, kind):
    tab = opened(pages[kind])
    tools = tab.page.evaluate("[...document.querySelectorAll('.modebar-btn')].map(tool => tool.dataset.title)")
    assert "Zoom" in tools
    assert not [tool for tool in tools if any(word in tool.lower() for word in ("share", "cloud", "studio", "edit"))]
    tab.page.evaluate(
        "() => { const form = document.createElement('form'); form.action = 'http://127.0.0.1:9/';"
        " document.body.append(form); form.submit(); }"
    )
    tab.page.wait_for_timeout(300)
    assert tab.page.url == pages[kind].as_uri()


def test_the_theme_button_changes_the_colours_of_page_and_charts_and_is_remembered(opened, run_page):
    tab = opened(run_page)
    look = "[getComputedStyle(document.body).backgroundColor, document.querySelector('.plot')._fullLayout.font.color]"
    light = tab.page.evaluate(look)
    tab.page.click("#theme")
    dark = tab.page.evaluate(look)
    assert all(one != other for one, other in zip(light, dark, strict=True))
    assert tab.page.get_attribute("#theme", "aria-pressed") == "true"
    tab.page.reload()
    tab.page.wait_for_selector("html[data-ready=true]")
    assert tab.page.evaluate(look) == dark
    assert tab.complaints == []


def test_a_legend_button_hides_its_series_and_shows_it_again(opened, run_page):
    tab = opened(run_page)
    button = tab.page.locator(".legend button", has_text="TLP").first
    name = button.inner_text()
    shown = f"document.querySelector('.plot').data.find(trace => trace.name === {name!r}).visible"
    assert tab.page.evaluate(shown) is True
    button.focus()
    tab.page.keyboard.press("Enter")
    assert tab.page.evaluate(shown) is False
    assert button.get_attribute("aria-pressed") == "false"
    tab.page.keyboard.press("Space")
    assert tab.page.evaluate(shown) is True


def test_a_chart_zooms_moves_and_returns_by_keyboard(opened, run_page):
    tab = opened(run_page)
    plot = tab.page.locator(".plot").first
    axis = "document.querySelector('.plot')._fullLayout.xaxis.range.slice()"
    plot.focus()
    whole = tab.page.evaluate(axis)
    tab.page.keyboard.press("+")
    nearer = tab.page.evaluate(axis)
    assert nearer[1] - nearer[0] < whole[1] - whole[0]
    tab.page.keyboard.press("ArrowRight")
    assert tab.page.evaluate(axis)[0] > nearer[0]
    tab.page.keyboard.press("Escape")
    tab.page.wait_for_function(f"JSON.stringify({axis}) === JSON.stringify({whole})")


def test_tab_reaches_the_controls_in_reading_order_and_shows_where_it_is(opened, run_page):
    tab = opened(run_page)
    reached = []
    for _ in range(40):
        tab.page.keyboard.press("Tab")
        reached.append(
            tab.page.evaluate(
                "document.activeElement.className || document.activeElement.id || document.activeElement.tagName"
            )
        )
    assert reached[0] == "skip"
    assert reached.index("theme") < reached.index("A") < next(n for n, name in enumerate(reached) if "plot" in name)
    tab.page.locator("#theme").focus()
    assert tab.page.evaluate("getComputedStyle(document.activeElement).outlineStyle") in ("solid", "auto")


def test_the_numbers_of_a_chart_unfold(opened, run_page):
    tab = opened(run_page)
    details = tab.page.locator("figure details").first
    assert not details.locator("table").is_visible()
    details.locator("summary").click()
    assert details.locator("table").is_visible()
    assert details.locator("tbody tr").count() > 10


def test_a_printed_page_fits_its_paper_and_is_light(opened, run_page):
    tab = opened(run_page, scheme="dark")
    tab.page.emulate_media(media="print")
    tab.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    widest = tab.page.evaluate(
        "Math.max(...[...document.querySelectorAll('.main-svg')].map(svg => svg.getBoundingClientRect().width))"
    )
    assert widest <= 700
    assert tab.page.evaluate("document.documentElement.dataset.theme") == "light"
    tab.page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert tab.page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert len(tab.page.pdf(format="A4")) > 50_000
    assert tab.page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert tab.complaints == []
