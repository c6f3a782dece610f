"""How options are declared, named and read."""

from typing import Annotated, Literal

import numpy as np
import pytest
from pydantic import Field
from pydantic.fields import FieldInfo

from papisim.config.base import Spec, parse, plain_type
from papisim.config.experiment import RunOptions, options_of, read_assignments, section_types
from papisim.config.options import Option, accepts_former_names, present_names
from papisim.config.yaml import Document, as_assignment
from papisim.errors import InputError
from papisim.policies.speculation.fixed import Options as Fixed

RENAMED = {"old": "new"}
BASE = {"hw": "papi", "trace": "llama7b"}


def test_a_former_name_becomes_the_present_one_and_warns_where_it_is_written():
    with pytest.warns(DeprecationWarning, match="'old' is now called 'new'") as warned:
        assert present_names({"old": 1, "other": 2}, RENAMED) == {"new": 1, "other": 2}
    assert warned[0].filename == __file__
    assert present_names({"new": 3}, RENAMED) == {"new": 3}


def test_a_function_accepts_former_names_and_no_unknown_ones():
    @accepts_former_names(RENAMED)
    def double(first: int, *, new: int = 1) -> int:
        return first * 10 + new

    assert double(1, new=2) == 12
    with pytest.warns(DeprecationWarning, match="'old'") as warned:
        assert double(1, old=3) == 13  # type: ignore[call-arg]
    assert warned[0].filename == __file__
    with pytest.raises(TypeError, match=r"double\(\) has no parameter 'nwe'; did you mean 'new'"):
        double(1, nwe=3)  # type: ignore[call-arg]
    assert double.__name__ == "double"


def test_options_of_a_run_accept_former_names():
    with pytest.warns(DeprecationWarning, match="'n_requests' is now called 'requests'") as warned:
        assert RunOptions(**BASE, n_requests=3).requests == 3
    assert warned[0].filename == __file__


def test_a_field_without_a_description_is_a_mistake_in_the_code():
    with pytest.raises(TypeError, match="has no description"):
        Option.of(FieldInfo(annotation=int))
    assert Option.of(RunOptions.model_fields["draft"]).section == "drafting"


@pytest.mark.parametrize("choice", ["dsde", {"kind": "fixed", "tlp": 3}, Fixed(kind="fixed", tlp=3)])
def test_a_choice_is_kept_as_it_was_given(choice):
    assert options_of(**BASE, speculation=choice).speculation == choice


def test_a_class_is_a_choice_by_the_reference_to_it():
    assert options_of(**BASE, speculation=Fixed).speculation == f"{Fixed.__module__}:Options"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"speculation": ""}, "speculation: found '', expected a name, a file, or a mapping with a 'kind'"),
        ({"speculation": {"tlp": 3}}, "speculation: field 'kind' is missing"),
        ({"speculation": 3}, "speculation: found 3, expected a name"),
        ({"workload": None}, "workload: found nothing, expected a name"),
        ({"batch": 0}, "batch: found 0, expected greater than or equal to 1"),
        ({"batch": 1.5}, "batch: found 1.5, expected a whole number"),
        ({"seed": -1}, "seed: found -1, expected greater than or equal to 0"),
        ({"batch": True}, "batch: found true, expected a whole number"),
        ({"metrics": "all"}, "metrics: found 'all', expected 'exact' or 'streaming'"),
        ({"set": "a=1"}, "set: found 'a=1', expected a mapping or a list"),
        ({"set": 3}, "set: found 3, expected a mapping or a list"),
        ({"hw": ""}, "hw: found ''"),
        ({"bach": 3}, "bach: unknown field; did you mean 'batch'"),
    ],
)
def test_a_wrong_option_is_refused_by_its_name(options, said):
    with pytest.raises(InputError) as error:
        options_of(**{**BASE, **options})
    assert said in str(error.value)


def test_without_a_policy_none_stays_none_and_defaults_are_those_of_the_declaration():
    options = options_of(**BASE)
    assert (options.speculation, options.batching, options.batch, options.placement) == (None, None, None, None)
    assert (options.tlp, options.replicas, options.seed, options.set) == (1, 1, 0, ())


def test_fields_to_change_are_assignments_whatever_they_are_written_in():
    given = {"a.b": 3, "c": np.int64(4), "d": "text", "e": None, "f": {"x": [1.5]}, "g": Fixed(kind="fixed", tlp=2)}
    read = {each.path: each.value.data for each in map(as_assignment, read_assignments(given))}
    assert read == {
        ("a", "b"): 3, ("c",): 4, ("d",): "text", ("e",): None, ("f",): {"x": [1.5]}, ("g",): {"kind": "fixed", "tlp": 2},
    }  # fmt: skip
    assert read_assignments(["a=1"]) == ("a=1",)
    assert read_assignments(()) == ()


def test_the_sections_of_an_experiment_are_its_fields_that_are_specifications():
    names = list(section_types())
    assert names[:5] == ["workload", "batching", "speculation", "acceptance", "drafting"]
    assert {"kv", "slo", "routing", "overlap", "verification", "quantisation", "engine", "experts"} == set(names[5:])


@pytest.mark.parametrize(
    ("annotation", "plain"),
    [
        (int, int),
        (int | None, int),
        (Annotated[int, Field(ge=1)], int),
        (Annotated[Annotated[int, Field(ge=1)] | None, "words"], int),
        (int | str, int | str),
        (Literal["a"] | None, Literal["a"]),
    ],
)
def test_the_plain_type_is_that_without_none_and_constraints(annotation, plain):
    assert plain_type(annotation) == plain


def test_a_wrong_switch_names_the_choices_of_an_optional_literal():
    class Mode(Spec):
        mode: Annotated[Literal["a", "b"], Field()] | None = None
        ratio: Annotated[float, Field(ge=0)] | None = None

    with pytest.raises(InputError, match="mode: found true, expected 'a' or 'b'"):
        parse(Mode, Document({"mode": True}, "file"))
    with pytest.raises(InputError, match="ratio: found false, expected a number"):
        parse(Mode, Document({"ratio": False}, "file"))
