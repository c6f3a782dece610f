import dataclasses
import json
import re
import sys
from importlib.resources import files

import pandas as pd
import pytest

from papisim.errors import InputError, MissingExtra
from papisim.report.html.folder import page_of
from papisim.report.html.page import SERIES, Chart, Listing, Page, Table, Tile, cell, heading

objects = pytest.importorskip("plotly.graph_objects", reason="needs the [report] extra")

SCRIPT = "<script>alert('x')</script>"


def small_chart(**more) -> Chart:
    figure = {"data": [{"type": "scatter", "x": [1.0, 2.0], "y": [3.0, float("nan")], "name": SCRIPT}], "layout": {}}
    return Chart(
        **{
            "title": "A chart",
            "figure": figure,
            "alt": "It rises.",
            "table": pd.DataFrame({"time_s": [1e-3]}),
            **more,
        }
    )


def small_page() -> Page:
    page = Page(f"Title {SCRIPT}", "below")
    section = page.section("One part", SCRIPT)
    section.tiles.append(Tile("Throughput", "12 tokens/s", "mean"))
    section.add(
        small_chart(),
        Table("A table", pd.DataFrame({"name": [SCRIPT], "energy_j": [2.0]})),
        Listing("Works", [SCRIPT]),
        None,
    )
    return page


def our_part(html: str) -> str:
    """Return a page without the packed plotting library."""
    return re.sub(r'<script type="text/plain" id="plotly">.*?</script>', "", html, flags=re.DOTALL)


def test_nothing_in_a_page_comes_from_elsewhere():
    html = our_part(small_page().html())
    assert re.findall(r"""(?:src|href|action)\s*=\s*["'](?!#|data:,)""", html) == []
    assert re.findall(r"https?://|@import|url\(|fetch\(|XMLHttpRequest", html) == []
    assert "default-src 'none'" in html, "the browser itself is told to load nothing"


def test_text_from_outside_is_shown_and_never_run():
    html = our_part(small_page().html())
    assert SCRIPT not in html
    assert html.count("&lt;script&gt;alert") >= 4


def test_a_page_can_neither_send_forms_nor_ask_a_network():
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', small_page().html())
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert {rules[name] for name in ("default-src", "form-action", "base-uri")} == {"'none'"}
    assert set(rules) == {"default-src", "form-action", "base-uri", "style-src", "script-src", "img-src"}
    assert not any("http" in rule for rule in rules.values())


def test_a_chart_has_the_tools_that_we_name_and_no_other():
    script = (files("papisim.report.html") / "templates" / "page.js").read_text(encoding="utf-8")
    assert "modeBarButtons: TOOLS" in script
    tools = re.findall(r'"(\w+)"', re.search(r"const TOOLS = (.*);", script)[1])
    assert tools == ["toImage", "zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "autoScale2d", "resetScale2d"]
    assert re.search(r'showSendToCloud: false, showEditInChartStudio: false, plotlyServerURL: ""', script)


@pytest.mark.parametrize("name", ['<a href="http://x">n</a>', "<span style='font-size:99px'>n", "a < b", "<script>"])
def test_tags_in_a_name_are_no_tags_in_a_chart(name):
    figure = {
        "data": [{"type": "bar", "x": [name], "y": [1], "hovertemplate": "%{x}<br><extra></extra>"}],
        "layout": {},
    }
    drawn = json.loads(small_chart(figure=figure).json)["data"][0]
    assert drawn["x"] == [name.replace("<", "&lt;")]
    assert drawn["hovertemplate"] == "%{x}<br><extra></extra>"


def test_every_chart_says_in_words_what_it_shows_and_has_its_numbers_in_a_table():
    html = small_page().html()
    assert 'role="img" tabindex="0" aria-label="A chart. It rises."' in html
    assert "<caption>Data of “A chart”</caption>" in html
    assert '<th scope="col"' in html


def test_numbers_that_are_none_leave_a_gap_in_the_line():
    figure = json.loads(small_chart().json)
    assert figure["data"][0]["y"] == [3.0, None]


def test_a_table_is_cut_where_nobody_would_read_on_and_says_so():
    page = Page("t")
    page.section("s").add(Table("Long", pd.DataFrame({"a": range(1000)})))
    assert "800 more rows are in the files" in page.html()


@pytest.mark.parametrize(
    ("column", "value", "name", "text"),
    [
        ("ttft_mean_s", 0.0125, "ttft mean", "12.5 ms"),
        ("kv_bytes", 2e9, "kv", "2 GB"),
        ("speed_up_ratio", 1.5, "speed up", "1.5×"),
        ("busy_ratio", 0.25, "busy", "25 %"),
        ("rows", 12345, "rows", "12,345"),
        ("tpot_s", float("nan"), "tpot", "—"),
        ("fc_device", "gpu", "fc device", "gpu"),
        ("devices.fc_pim.count", 12, "devices.fc_pim.count", "12"),
    ],
)
def test_the_suffix_of_a_column_is_the_unit_of_its_cells(column, value, name, text):
    assert heading(column) == name
    assert cell(column, value) == text


def test_without_the_extra_the_message_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    with pytest.raises(MissingExtra, match=r"papisim\[report\]"):
        small_page().html()


def luminance(colour: str) -> float:
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted([luminance(one), luminance(other)])
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("selector", [":root", ':root[data-theme="dark"]'])
def test_text_and_graphics_have_the_contrast_that_wcag_aa_asks_for(selector: str):
    css = (files("papisim.report.html") / "templates" / "page.css").read_text()
    block = css[css.index(selector + " {") :].split("}")[0]
    colours = dict(re.findall(r"--(\w+): (#\w{6});", block))
    for text in ("ink", "muted", "accent"):
        assert min(contrast(colours[text], colours[ground]) for ground in ("paper", "ground")) >= 4.5
    for series in SERIES:
        assert contrast(colours[series[1:]], colours["paper"]) >= 3


def charts(page: Page) -> list[Chart]:
    return [item for section in page.sections for item in section.items if isinstance(item, Chart)]


@pytest.mark.parametrize(("kind", "n"), [("papi_results", 9), ("compared", 9), ("swept", 5), ("reproduced", 1)])
def test_every_figure_is_one_that_plotly_accepts(kind, n, request):
    page = page_of(request.getfixturevalue(kind))
    assert len(charts(page)) >= n
    for chart in charts(page):
        figure = re.sub(r'"\$\w+(/\d+)?"', '"#123456"', chart.json)
        assert objects.Figure(json.loads(figure)).data, chart.title


def test_a_run_that_left_no_page_kind_is_refused(papi_results):
    with pytest.raises(InputError, match=r"no page for results of kind 'rum'; did you mean 'run'"):
        page_of(dataclasses.replace(papi_results, kind="rum"))


def test_a_missing_column_is_an_error_that_names_the_folder(papi_results):
    class WithoutAlpha(type(papi_results)):
        @property
        def summary(self):
            return {"trace": "t"}

    broken = WithoutAlpha(**{f.name: getattr(papi_results, f.name) for f in dataclasses.fields(papi_results)})
    with pytest.raises(InputError, match="is missing; written by another version"):
        page_of(broken)
