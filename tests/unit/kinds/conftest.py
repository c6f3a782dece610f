import pytest

POLICY = '''"""A policy from outside."""

from papisim.kinds import Example
from papisim.policies.placement.base import PlacementOptions, PlacementView


class Turns:
    """FC kernels go to the candidates by turns of rows."""

    class Options(PlacementOptions):
        """How many rows a turn has."""

        every: int = 2

    EXAMPLE = Example({"every": 3})

    def __init__(self, options) -> None:
        self._every = options.every

    def place(self, view: PlacementView) -> str:
        return view.candidates[view.rows // self._every % len(view.candidates)]
'''

MODULE = '''"""A policy from outside, in the form of papisim's own."""

from papisim.kinds import Example
from papisim.policies.placement.base import PlacementOptions


class Options(PlacementOptions):
    """Nothing to choose."""


EXAMPLE = Example()


class Placement:
    """The last."""

    def __init__(self, options):
        pass

    def place(self, view):
        return view.candidates[-1]
'''


@pytest.fixture
def policy(tmp_path):
    """Return a function that writes the policy, parts of its text replaced, and returns its file."""

    def write(*replaced, text=POLICY, name="mine.py"):
        for old, new in replaced:
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.fixture
def as_module(policy):
    """Return the file of a policy that is a module."""
    return policy(text=MODULE, name="module.py")
