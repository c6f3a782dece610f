"""Text of users on the console: printed as it is, whatever it holds."""

import pytest
from rich.table import Table

from papisim.errors import InputError, printable
from papisim.report.console.console import console, writing


@pytest.mark.parametrize("text", ["[/x]", "n[red].yaml", "[bold]loud[/bold]", ":boom:", "[link=http://x]y[/link]"])
def test_brackets_are_no_markup(capsys, text):
    table = Table(text, title=text, box=None)
    table.add_row(text)
    console().print(table)
    console().print(text, style="bold")
    assert capsys.readouterr().out.count(text) == 4


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("a\rb", "a\\rb"),
        ("\u202edlrow", "\\u202edlrow"),
        ("\x9b31m", "\\x9b31m"),
        ("\udcff", "\\udcff"),
    ],
)
def test_control_characters_are_written_as_escapes(capsys, text, shown):
    console().print(text)
    assert capsys.readouterr().out == shown + "\n"
    assert str(InputError(text, file=text, field=text)) == f"{shown}: {shown}: {shown}"


def test_plain_text_in_any_language_stays():
    for text in ("α = 28 · µs", "日本語", "two\nlines", "👩\u200d🔬"):
        assert printable(text) == text


def test_a_message_never_repeats_all_of_a_long_input():
    message = InputError("found '" + "x" * 100_000 + "', expected a number").message
    assert len(message) <= 700
    assert message.startswith("found 'xxx")
    assert message.endswith("x', expected a number")


def test_a_console_is_as_wide_as_columns_says(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    assert console().width == 40
    monkeypatch.delenv("COLUMNS")
    assert console().width == 120


WIDE = ("machine", "a very_long_heading", "another_long_heading")


@pytest.mark.parametrize("width", ["40", "44", "200"])
def test_no_cell_of_a_table_is_cut_short(capsys, monkeypatch, width):
    """What does not fit side by side stands one below the other."""
    monkeypatch.setenv("COLUMNS", width)
    table = Table(*WIDE, title="Machines", box=None)
    table.add_row("papi", "1,234.5 tokens/s", "12")
    table.add_row("gpu_only", "3 tokens/s", "—")
    console().print(table)
    printed = capsys.readouterr().out
    assert "…" not in printed
    for word in (*WIDE[1].split(), WIDE[2], "gpu_only", "1,234.5", "—", "Machines"):
        assert word in printed
    lines = [line.split() for line in printed.splitlines() if line.strip()]
    assert max(map(len, printed.splitlines())) <= int(width)
    if width == "200":
        assert lines[2:] == [["papi", "1,234.5", "tokens/s", "12"], ["gpu_only", "3", "tokens/s", "—"]]
    else:
        assert lines[1:4] == [["machine", "papi"], [*WIDE[1].split(), "1,234.5", "tokens/s"], [WIDE[2], "12"]]


def test_tables_are_written_for_papers_and_pages_and_other_text_stays_out_of_the_way(capsys):
    table = Table("machine", "tokens/s", title="speed")
    table.add_row("gpu_only", "1.5")
    with writing("latex"):
        console().print(table)
        console().print("ratios to papi")
    assert r"gpu\_only & 1.5 \\" in capsys.readouterr().out
    with writing("markdown"):
        console().print(table)
    assert "| gpu_only | 1.5 |" in capsys.readouterr().out
    console().print(table)
    assert "\\" not in capsys.readouterr().out
