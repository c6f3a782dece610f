"""What holds for every command: what exists is tested."""

import re
import sys

import click
import pytest

from papisim import cli


def commands(group=cli.papisim, words=("papisim",)):
    """Yield every command that does something, with the words that call it."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from commands(command, (*words, name))
        else:
            yield (*words, name), command


COMMANDS = list(commands())
every_command = pytest.mark.parametrize(
    ("words", "command"), COMMANDS, ids=[" ".join(words) for words, _ in COMMANDS]
)


def say(words, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", list(words))
    with pytest.raises(SystemExit) as ended:
        cli.main()
    said = capsys.readouterr()
    return ended.value.code or 0, said.out, said.err


@every_command
def test_help_says_what_it_does_and_ends_with_an_example(words, command, monkeypatch, capsys):
    code, out, _ = say((*words, "--help"), monkeypatch, capsys)
    assert code == 0
    assert f" {' '.join(words[1:])} " in out.partition("\n")[0]
    assert (command.help or "").partition("\n")[0].rstrip().endswith((".", ",", ":")) or "." in command.help
    assert " ".join(words) in out.partition("Example:")[2], "the example calls this command"


@every_command
def test_every_option_has_help_and_an_unknown_one_is_refused(words, command, monkeypatch, capsys):
    silent = [option.name for option in command.params if isinstance(option, click.Option) and not option.help]
    assert silent == []
    code, out, err = say((*words, "--no-such-option"), monkeypatch, capsys)
    assert code == 2
    assert out == ""
    assert "--no-such-option" in err


@every_command
def test_the_example_uses_options_that_there_are(words, command):
    example = command.epilog or ""
    known = {name for option in command.params for name in (*option.opts, *option.secondary_opts)}
    lines = example.replace("\\\n", " ").splitlines()
    for line in lines:
        call = line.strip()
        if call.startswith(" ".join(words)):
            given = {word.partition("=")[0] for word in call.split() if re.match(r"--?[a-z]", word)}
            assert given <= known | {"--help"}
