import pickle

import pytest

from papisim.errors import (
    CheckFailed,
    DoesNotFit,
    InputError,
    InputErrors,
    MissingExtra,
    NotModelled,
    PapisimError,
    Place,
    did_you_mean,
    nearest,
    one_or_all,
)


@pytest.mark.parametrize(
    ("place", "text"),
    [
        (Place(), ""),
        (Place("a.yaml"), "a.yaml"),
        (Place("a.yaml", 3, 7), "a.yaml:3:7"),
        (Place("a.yaml", 3, 7, "gpu.count"), "a.yaml:3:7: gpu.count"),
        (Place(field="gpu.count"), "gpu.count"),
    ],
)
def test_a_place_reads_as_compilers_write_it(place, text):
    assert str(place) == text


def test_an_input_error_says_where_and_then_what():
    assert str(InputError("is wrong", file="a.yaml", line=1, column=2, field="x")) == "a.yaml:1:2: x: is wrong"
    assert str(InputError("is wrong")) == "is wrong"


def test_several_problems_are_told_one_a_line_and_one_problem_stays_itself():
    first, second = InputError("first", file="a.yaml"), InputError("second", file="b.yaml")
    assert one_or_all([first]) is first
    both = one_or_all([first, second])
    assert isinstance(both, InputErrors)
    assert str(both).splitlines() == ["a.yaml: first", "b.yaml: second"]


def test_what_does_not_fit_says_how_much_and_what_would_help():
    error = DoesNotFit("the cache does not fit", 12.5, 8, "GB", ["--batch 4", "more memory"])
    assert str(error) == "the cache does not fit: 12.5 GB needed, 8 GB there; try: --batch 4; more memory"
    assert "try" not in str(DoesNotFit("the cache does not fit", 12.5, 8, "GB", []))


@pytest.mark.parametrize("error", [DoesNotFit("s", 2, 1, "GB", ["l"]), NotModelled("x"), PapisimError("x")])
def test_what_the_engine_raises_survives_being_remade_from_its_arguments(error):
    """SimPy remakes an exception that leaves a process."""
    assert str(type(error)(*error.args)) == str(error)


def test_only_a_failed_check_ends_with_status_1():
    assert CheckFailed("x").exit_status == 1
    others = [InputError("x"), InputErrors([]), DoesNotFit("x", 1, 1, "GB", []), NotModelled("x")]
    assert {error.exit_status for error in [*others, MissingExtra("capture", "torch", "capture")]} == {2}


def test_a_missing_extra_says_what_to_install():
    assert str(MissingExtra("capture", "torch", "capture")).endswith("pip install 'papisim[capture]'")


def test_a_misspelt_name_finds_its_neighbour_and_a_strange_one_finds_none():
    assert nearest("paip", ["papi", "gpu_only"]) == "papi"
    assert nearest("zzz", ["papi", "gpu_only"]) is None
    assert did_you_mean("paip", ["papi", "gpu_only"]) == "did you mean 'papi'?"
    assert did_you_mean("zzz", ["papi", "gpu_only"]) == "known: gpu_only, papi"
    assert did_you_mean("zzz", ["papi", "gpu_only", "papi"]) == "known: gpu_only, papi"
    assert did_you_mean("zzz", []) == "none is known here"


def test_a_long_list_of_choices_is_cut():
    names = [f"n{i:02d}" for i in range(13)]
    assert did_you_mean("zzz", names[:12]).endswith("n11")
    assert did_you_mean("zzz", names).endswith("n11, …")


@pytest.mark.parametrize(
    ("value", "text"), [(14072.3, "14,072 GB"), (350.12, "350.1 GB"), (1.5, "1.5 GB"), (0.25, "0.25 GB")]
)
def test_what_does_not_fit_is_written_without_an_exponent(value: float, text: str):
    assert f"{text} needed" in str(DoesNotFit("a does not fit", value, 1.0, "GB", []))


@pytest.mark.parametrize(
    "error",
    [
        InputError("is wrong", file="a.yaml", line=3, column=1, field="x"),
        InputErrors([InputError("one", file="a.yaml"), InputError("two")]),
        DoesNotFit("it", 2.0, 1.0, "GB", ["more"]),
        MissingExtra("a thing", "package", "extra"),
        NotModelled("that"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_is_the_same_in_another_process(error):
    there = pickle.loads(pickle.dumps(error))
    assert (type(there), str(there), str(vars(there))) == (type(error), str(error), str(vars(error)))


def test_a_field_of_any_length_leaves_a_message_that_can_be_read():
    told = str(InputError("unknown source", file="f.yaml", line=12, field="sources." + "9" * 6000))
    assert told.startswith("f.yaml:12: sources.999")
    assert len(told) < 400
    told = str(InputError("is no number", file="--set x=" + "9" * 6000, line=1))
    assert told.endswith("9:1: is no number")
    assert len(told) < 400


@pytest.mark.parametrize(
    "place",
    [
        {"file": "f" * 5000, "line": 3},
        {"field": "--placement " + "9" * 5000},
        {"file": "f" * 5000, "line": 3, "column": 1, "field": "x" * 5000},
    ],
)
def test_a_line_that_quotes_long_words_stays_short(place):
    assert len(str(InputError("m" * 5000, **place))) < 980, "with the program's name before it, below a thousand"
