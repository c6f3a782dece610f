"""A kind is a name, options, a thing and an example; what is missing is said when it is loaded."""

import pytest

from papisim.errors import InputError
from papisim.kinds.families import DECLARED, families, family, family_of
from papisim.ops.kernel import FcRole, Linear
from papisim.policies.placement.base import PLACEMENT, PlacementView


def view(rows, *candidates):
    return PlacementView(1, rows, Linear(FcRole.QKV, rows, 8, 8), candidates, lambda device, kernel: None)


@pytest.mark.parametrize("name", DECLARED)
def test_every_family_is_found_by_its_name_and_has_kinds_that_load(name):
    found = family(name)
    assert found.name == name
    assert found.own()
    for kind in found.own():
        loaded = found.load(kind)
        assert loaded.name == kind
        assert loaded.code is None
        assert loaded.summary
        assert issubclass(loaded.options, found.base)


def test_no_module_of_a_package_that_is_no_kind_is_taken_for_one():
    for each in families():
        assert {"base", "limits", "batch_table", "draws", "chain", "describe", "part"}.isdisjoint(each.own())


@pytest.mark.parametrize("kind", ["papy", "base", "", "os", "../papi", "papi.Options", "__init__", "1"])
def test_what_is_no_kind_is_refused_with_the_nearest_name(kind):
    with pytest.raises(InputError, match=r"^unknown placement policy '.*'; (did you mean 'papi'|known: cheapest)"):
        PLACEMENT.load(kind)


def test_a_class_from_outside_is_a_kind_like_any_other(policy):
    path = policy()
    kind = PLACEMENT.load(f"{path}:Turns")
    options = kind.options(kind=kind.name, every=2)
    built = PLACEMENT.build(options)
    assert [built.place(view(rows, "gpu", "pim")) for rows in range(5)] == ["gpu", "gpu", "pim", "pim", "gpu"]
    assert kind.summary == "FC kernels go to the candidates by turns of rows."
    assert kind.code.path == str(path)
    assert family_of(f"{path}:Turns") is PLACEMENT


def test_a_module_from_outside_is_a_kind_in_the_form_of_papisims_own(as_module):
    kind = PLACEMENT.load(str(as_module))
    assert PLACEMENT.build(kind.options(kind=kind.name)).place(view(1, "gpu", "pim")) == "pim"
    assert family_of(str(as_module)) is PLACEMENT


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "def place(",
            "def plase(",
            r"mine.py:7: Turns: no method 'place\(self, view\)', which every placement policy has "
            r"\(see papisim.policies.placement.base.PlacementPolicy\); did you mean 'plase'\?",
        ),
        ("def place(self, view: PlacementView)", "def place(self)", r"found 'place\(self\).*expected 'place\(self, view\)'"),
        ("def place(self, view", "place = 3\n\n    def other(self, view", "Turns: 'place' is no method"),
        ("EXAMPLE =", "EXAMPEL =", "Turns: no 'EXAMPLE', which every placement policy has"),
        ('Example({"every": 3})', '{"every": 3}', "Turns: no 'EXAMPLE'"),
        ("Options(P", "Optoins(P", "Turns: no 'Options', which every placement policy has; did you mean 'Optoins'"),
        ("(PlacementOptions)", "", "must derive from papisim.policies.placement.base.PlacementOptions"),
        ("every: int = 2", 'kind: Literal["turns"]', "leave the field to the base class"),
        ("self, options", "self", r"Turns: cannot be built from \(options\) as every placement policy is"),
    ],
)  # fmt: skip
def test_what_a_kind_lacks_is_said_with_file_line_and_the_nearest_name(policy, old, new, said):
    path = policy((old, new), ("from papisim.kinds", "from typing import Literal\nfrom papisim.kinds"))
    with pytest.raises(InputError, match=said.replace(":7:", ":8:")) as raised:
        PLACEMENT.load(f"{path}:Turns")
    assert raised.value.place.file == str(path)


def test_a_method_that_only_the_protocol_has_is_missing(policy):
    inherits = (
        "class Turns:",
        "from papisim.policies.placement.base import PlacementPolicy\nclass Turns(PlacementPolicy):",
    )
    with pytest.raises(InputError, match="no method 'place"):
        PLACEMENT.load(f"{policy(inherits, ('def place(', 'def plase('))}:Turns")


SPECULATION = '''
from papisim.kinds import Example
from papisim.policies.speculation.base import Draft, SpeculationOptions, Stateless


class Two(Stateless):
    """Two drafts each."""

    class Options(SpeculationOptions):
        """None."""

    EXAMPLE = Example()

    def __init__(self, options):
        pass

    def plan(self, view):
        return [Draft(2)] * view.rlp
'''


def test_an_attribute_that_only_the_built_thing_can_have_is_looked_for_there(policy):
    speculation = family("speculation")
    path = policy(text=SPECULATION)
    kind = speculation.load(f"{path}:Two")
    assert speculation.build(kind.options(kind=kind.name))
    alone = policy(("(Stateless)", ""), text=SPECULATION.replace("def plan", """def cut(self, requests, drafts, proposals):
        return [draft.length for draft in drafts]

    def observe(self, rounds):
        pass

    def leave(self, request_id):
        pass

    def plan"""))  # fmt: skip
    kind = speculation.load(f"{alone}:Two")
    with pytest.raises(
        InputError, match=r"Two: no 'steady_tlp' once it is built, which every speculation policy has"
    ):
        speculation.build(kind.options(kind=kind.name))


def test_what_is_of_no_family_is_told_which_bases_there_are(policy):
    path = policy(text="class Nothing:\n    pass\n")
    with pytest.raises(InputError, match=r"is no kind of anything.*policies.placement.base.PlacementOptions"):
        family_of(f"{path}:Nothing")
