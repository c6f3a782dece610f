"""Expressions compute what they say, and can do nothing else."""

import pytest

from papisim.errors import InputError
from papisim.exploration.expression import Expression, Function, UnknownName

NAMES = {
    "batch": 16,
    "tlp": 3,
    "hw": "papi",
    "devices.gpu.count": 6,
    "blocks[0].n": 7,
    "tpot_p99_s": 0.06,
    "kv_bytes": 1e9,
}


def lookup(name):
    if name not in NAMES:
        raise UnknownName(name)
    return NAMES[name]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2 * batch + 1", 33),
        ("devices.gpu.count // 4", 1),
        ("batch % 5", 1),
        ("-tlp ** 2", -9),
        ("blocks[0].n / 2", 3.5),
        ("batch if hw == 'papi' else tlp", 16),
        ("1 if batch > 100 or tlp == 3 else 0", 1),
        ("hw in ('gpu_only', 'papi')", True),
        ("1 < tlp < 3", False),
        ("not tlp < 3 and batch >= 16", True),
        ("max(batch, tlp, 20)", 20),
        ("sqrt(batch) + log2(8) + ceil(0.5)", 8),
        ("50 ms", 0.05),
        ("3.35 TB/s / 2", 1.675e12),
        ("121 mm2 + 1 mm²", 122),
        ("2 GiB", 2 * 2**30),
        ("'2 GiB'", "2 GiB"),
        (7, 7),
    ],
)
def test_an_expression_is_pythons_arithmetic_over_names_and_quantities(text, value):
    assert Expression.read(text).evaluate(lookup) == pytest.approx(value) if not isinstance(value, str) else value


@pytest.mark.parametrize(
    "text",
    [
        "lambda: 1", "[x for x in batch]", "{1: 2}", "f'{batch}'", "(lambda: 1)()", "batch.count()", "max(key=1)", "a := 1",
        "batch @ tlp", "1j", "None", "batch[tlp]", "max()", "*batch",
    ],
)  # fmt: skip
def test_what_is_no_arithmetic_is_refused_before_anything_is_computed(text):
    with pytest.raises(InputError, match=r"may not contain|no expression|expected a name"):
        Expression.read(text)


@pytest.mark.parametrize("text", ["", "1 +", "batch tlp", "2 *" * 3000])
def test_what_cannot_be_read_is_refused(text):
    with pytest.raises(InputError, match=r"no expression|longer than"):
        Expression.read(text)


@pytest.mark.parametrize("text", ["__import__('os')", "open('x')", "batch.__class__", "missing + 1", "print(1)"])
def test_names_and_functions_that_are_not_given_are_unknown(text):
    with pytest.raises(UnknownName):
        Expression.read(text).evaluate(lookup)


@pytest.mark.parametrize("text", ["1 / 0", "batch + hw", "10 ** 10 ** 10", "'x' * 10 ** 9", "sqrt(-1)", "3 // 0"])
def test_arithmetic_that_fails_says_which(text):
    with pytest.raises(InputError, match="has no value"):
        Expression.read(text).evaluate(lookup)


@pytest.mark.parametrize("text", ["tpot_p99_s <= 50 GB", "2 ms > kv_bytes"])
def test_a_quantity_of_another_dimension_than_the_name_beside_it_is_an_error(text):
    with pytest.raises(InputError, match=r"is in .*the quantity beside it in"):
        Expression.read(text).evaluate(lookup)


@pytest.mark.parametrize(
    ("text", "ratio", "holds"),
    [
        ("tpot_p99_s <= 50 ms", 1 / 6, False),
        ("tpot_p99_s <= 120 ms", -0.5, True),
        ("batch >= 32", 0.5, False),
        ("batch >= 8", -0.5, True),
        ("batch <= 16", 0, True),
        ("batch >= 32 and tlp <= 1", 2 / 3, False),
        ("hw == 'papi'", 0, True),
        ("hw == 'gpu_only'", 1, False),
    ],
)
def test_the_excess_of_a_condition_is_its_relative_distance_from_the_bound(text, ratio, holds):
    excess = Expression.read(text).excess(lookup)
    assert excess.ratio == pytest.approx(ratio)
    assert excess.holds is holds


def test_a_strict_bound_that_is_just_met_is_missed_by_something():
    excess = Expression.read("batch < 16").excess(lookup)
    assert not excess.holds
    assert excess.ratio > 0


def test_a_function_of_a_device_takes_its_name_as_it_stands():
    functions = {"power_w": Function(lambda device, reuse: f"{device} at {reuse}", of_device=True)}
    assert Expression.read("power_w(fc_pim, tlp + 1)").evaluate(lookup, functions) == "fc_pim at 4"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("round(5, -10**8)", "digits are beyond ±300"),
        ("round(5, 10**8)", "digits are beyond ±300"),
        ("9**9**9", "is beyond ±1024"),
        ("1024**1024", "is not finite"),
        ("10**300 * 10**300", "is not finite"),
        ("exp(10**6)", "has no value"),
        ("ceil(10**308 * 17.0)", "is not finite"),
    ],
)
def test_numbers_beyond_a_float_have_no_value(text, said):
    with pytest.raises(InputError, match="has no value") as caught:
        Expression.read(text).evaluate(lookup)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("-" * 1990 + "1", "no expression|nested deeper"),
        ("(" * 150 + "1" + ")" * 150 + "+1" * 150, "nested deeper than 100"),
        ("not " * 400 + "1", "nested deeper than 100"),
        ("1" * 400, "not finite"),
        ("1e999", "not finite"),
        ("1" * 1990, "not finite|no expression"),
    ],
)
def test_expressions_out_of_all_proportion_are_refused_when_read(text, said):
    with pytest.raises(InputError, match=said) as caught:
        Expression.read(text)
    assert len(str(caught.value)) < 1000


def test_functions_round_as_python_does():
    assert Expression.read("round(2.567, 1)").evaluate(lookup) == 2.6
    assert Expression.read("round(1234, -2)").evaluate(lookup) == 1200
    assert isinstance(Expression.read("round(2.5)").evaluate(lookup), int)
