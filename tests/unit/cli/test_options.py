"""The options of a run have one declaration, one name and one default in every place."""

import inspect
import subprocess
import sys
from collections.abc import Iterator

import click
import pytest

import papisim
from papisim.cli import papisim as papisim_command
from papisim.cli._command import Command
from papisim.cli.compare import command as compare
from papisim.cli.explain import command as explain
from papisim.cli.run import command as run
from papisim.cli.sweep import command as sweep
from papisim.config.experiment import RunOptions
from papisim.config.options import Option
from papisim.exploration.grammar import OPTIONS, Sections

FIELDS = sorted(RunOptions.model_fields)


def flag(command: click.Command, name: str) -> click.Option:
    wanted = f"--{name.replace('_', '-')}"
    (found,) = (each for each in command.params if isinstance(each, click.Option) and wanted in each.opts)
    return found


@pytest.mark.parametrize("name", FIELDS)
def test_an_option_has_the_same_name_and_default_as_flag_as_parameter_and_in_the_file_of_a_sweep(name):
    field = RunOptions.model_fields[name]
    parameters = inspect.signature(papisim.run).parameters
    assert name in parameters
    assert Sections.model_fields["base"].annotation is RunOptions
    assert name in OPTIONS or name == "set"
    for command in (run, explain):
        assert flag(command, name).name == name
    shown = flag(run, name)
    assert shown.required == field.is_required()
    if field.is_required():
        assert parameters[name].default is inspect.Parameter.empty
    else:
        assert parameters[name].default == field.default
        given = run.make_context("run", ["--hw", "papi", "--trace", "llama7b"]).params
        assert given[name] == field.default


@pytest.mark.parametrize("name", FIELDS)
def test_compare_has_every_option_of_a_run(name):
    assert flag(compare, name).multiple
    assert name in inspect.signature(papisim.compare).parameters


@pytest.mark.parametrize("name", FIELDS)
def test_every_option_is_explained_on_the_command_line_and_in_python(name):
    option = Option.of(RunOptions.model_fields[name])
    assert option.help.endswith(".")
    assert option.help in (flag(run, name).help or "")
    assert f"\n        {name}: " in inspect.cleandoc(papisim.run.__doc__ or "").replace("\n    ", "\n        ")


def test_a_switch_is_a_bool_and_a_number_keeps_its_bound():
    context = click.Context(run)
    assert flag(run, "fold").type_cast_value(context, "off") is False
    assert flag(run, "fast_forward").type_cast_value(context, "on") is True
    for name, least in (("batch", 1), ("tlp", 1), ("replicas", 1), ("seed", 0)):
        assert flag(run, name).type_cast_value(context, str(least)) == least
        with pytest.raises(click.BadParameter):
            flag(run, name).type_cast_value(context, str(least - 1))


def test_values_of_compare_and_sweep_are_separated_by_commas_and_each_keeps_its_bound(tmp_path):
    context = click.Context(compare)
    assert flag(compare, "batch").type_cast_value(context, ["1,4", "16"]) == ((1, 4), (16,))
    assert flag(sweep, "fold").type_cast_value(context, ["on,off"]) == ((True, False),)
    with pytest.raises(click.BadParameter):
        flag(compare, "batch").type_cast_value(context, ["1,0"])
    with pytest.raises(click.BadParameter, match="has an empty value"):
        flag(compare, "trace").type_cast_value(context, ["llama7b,"])
    file = tmp_path / "mine,2.yaml"
    file.touch()
    assert flag(compare, "hw").type_cast_value(context, [str(file)]) == ((str(file),),)


def test_a_former_name_is_no_present_one():
    assert set(RunOptions.renamed).isdisjoint(RunOptions.model_fields)
    assert set(RunOptions.renamed.values()) <= set(RunOptions.model_fields)


def every_command() -> Iterator[tuple[str, click.Command]]:
    context = click.Context(papisim_command)
    for name in papisim_command.list_commands(context):
        command = papisim_command.get_command(context, name)
        inner = command.commands if isinstance(command, click.Group) else {"": command}
        yield from ((f"{name} {part}".strip(), each) for part, each in inner.items())


COMMANDS = dict(every_command())


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_refuses_an_option_of_one_value_that_is_given_twice(name):
    command = COMMANDS[name]
    assert isinstance(command, Command)
    single = [each for each in command.params if isinstance(each, click.Option) and takes_one_value(each)]
    for option in single:
        twice = [option.opts[0], "1"] * 2
        with pytest.raises(click.UsageError, match=f"{option.opts[0]} is given 2 times, expected once"):
            command.make_context(name, twice)


def test_a_command_may_be_spelt_in_the_other_way():
    context = click.Context(papisim_command)
    _, command, rest = papisim_command.resolve_command(context, ["optimize", "space.yaml"])
    assert (command, rest) == (COMMANDS["optimise"], ["space.yaml"])
    assert "optimize" not in papisim_command.list_commands(context)


def takes_one_value(option: click.Option) -> bool:
    return not (option.multiple or option.is_flag or option.count)


def test_an_option_of_several_values_and_a_switch_may_be_repeated():
    asked = ["--hw", "papi", "--trace", "llama7b", "--set", "a=1", "--set", "b=2", "-q", "-q"]
    given = run.make_context("run", asked).params
    assert given["set"] == ("a=1", "b=2")
    assert given["quiet"] is True


@pytest.mark.parametrize("name", COMMANDS)
def test_the_example_of_a_command_is_below_its_options(name):
    help_text = COMMANDS[name].get_help(click.Context(COMMANDS[name], info_name=name))
    assert 0 < help_text.index("Options:") < help_text.index("Example:")


def test_a_former_name_in_a_file_is_a_note_on_stderr(tmp_path):
    path = tmp_path / "space.yaml"
    path.write_text(
        "schema: papisim/sweep/1\ndescription: old\nbase: {hw: papi, trace: llama7b, batch_size: 2}\nspace: {tlp: [1]}\n"
    )
    check = [sys.executable, "-m", "papisim", "check", str(path)]
    done = subprocess.run(check, capture_output=True, text=True, check=True)
    assert "papisim: note: 'batch_size' is now called 'batch'" in done.stderr
