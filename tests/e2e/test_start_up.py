"""What commands import: a designer waits for it every time."""

import subprocess
import sys

import pytest

#: runs a command and prints, after all else, what was imported
COMMAND = """
import sys
from papisim.cli import main
try:
    main()
finally:
    print("imported", *sys.modules)
"""
RUN = ("run", "--hw", "papi", "--trace", "llama7b", "--batch", "2")


def imported_by(*arguments):
    call = [sys.executable, "-c", COMMAND, *arguments]
    done = subprocess.run(call, capture_output=True, text=True, check=True)
    title, *modules = done.stdout.splitlines()[-1].split()
    assert (title, "papisim.cli" in modules) == ("imported", True)
    return set(modules)


def test_a_run_needs_neither_torch_nor_pandas():
    assert not imported_by(*RUN) & {"torch", "transformers", "pandas", "scipy", "matplotlib"}


def test_help_lists_the_commands_without_importing_what_they_need():
    assert not imported_by("--help") & {"numpy", "pydantic", "rich", "simpy", "yaml", "pandas", "torch"}


@pytest.mark.parametrize("kind", ["off", "gammatune"])
def test_a_kind_chosen_by_its_name_is_imported_without_the_others_of_its_family(kind):
    imported = imported_by(*RUN, "--tlp", "2", "--speculation", kind, "--acceptance", "always", "--draft", "free")
    assert f"papisim.policies.speculation.{kind}" in imported
    assert "papisim.policies.speculation.smartspec" not in imported
