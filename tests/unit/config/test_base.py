from typing import Annotated, Literal

import pytest
from pydantic import Discriminator, Field, Tag

from papisim.config.base import Count, Fraction, Name, NonNegative, Positive, Spec, parse
from papisim.config.yaml import parse_yaml
from papisim.errors import InputError, InputErrors


class Energy(Spec):
    access_j_per_byte: NonNegative


class Cat(Spec):
    kind: Literal["cat"]
    lives: Count


class Dog(Spec):
    kind: Literal["dog"]
    legs: Count


Pet = Annotated[
    Annotated[Cat, Tag("cat")] | Annotated[Dog, Tag("dog")], Discriminator(lambda value: value.get("kind"))
]


class Machine(Spec):
    name: Name = "m"
    bandwidth_bytes_per_s: Positive = 1.0
    latency_s: NonNegative = 0.0
    efficiency_ratio: Fraction = 1.0
    alpha: NonNegative = 0.0
    count: Count = 1
    limited: bool = False
    energy: Energy | None = None
    parts: dict[str, Energy] = Field(default_factory=dict)
    names: list[str] = Field(default_factory=list)
    pet: Pet | None = None


def read(text):
    return parse(Machine, parse_yaml(text, "f.yaml"))


def refusal(text):
    with pytest.raises((InputError, InputErrors)) as error:
        read(text)
    return str(error.value)


def test_a_field_named_after_a_unit_takes_that_unit_or_si():
    machine = read("bandwidth_bytes_per_s: 3.35 TB/s\nlatency_s: 45 ns\nefficiency_ratio: 85 %\n")
    assert machine.bandwidth_bytes_per_s == 3.35e12
    assert machine.latency_s == pytest.approx(45e-9)
    assert machine.efficiency_ratio == 0.85
    assert read("latency_s: 45e-9").latency_s == 45e-9


def test_units_reach_nested_fields():
    machine = read("energy: {access_j_per_byte: 1 pJ/b}\nparts: {a: {access_j_per_byte: 2 pJ/B}}\n")
    assert machine.energy.access_j_per_byte == pytest.approx(8e-12)
    assert machine.parts["a"].access_j_per_byte == pytest.approx(2e-12)


def test_a_value_is_frozen():
    with pytest.raises(ValueError, match="frozen"):
        read("count: 2").count = 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("latency: 1", "f.yaml:1:1: latency: unknown field; did you mean 'latency_s'?"),
        (
            "energy: {acces_j_per_byte: 1, access_j_per_byte: 1}",
            "f.yaml:1:10: energy.acces_j_per_byte: unknown field",
        ),
        (
            "parts: {a: {access: 1, access_j_per_byte: 1}}",
            "f.yaml:1:13: parts.a.access: unknown field; known: access_j_per_byte",
        ),
        ("energy: {}", "f.yaml:1:9: energy: field 'access_j_per_byte' is missing"),
        (
            "latency_s: 5 GB",
            "f.yaml:1:12: latency_s: found '5 GB', which is a quantity in bytes; expected a quantity",
        ),
        ("bandwidth_bytes_per_s: 5 GB", "bandwidth_bytes_per_s: found '5 GB', which is a quantity in bytes"),
        ("latency_s: 5 parsec", "latency_s: found '5 parsec', 'parsec' is no unit known here"),
        ("latency_s: true", "f.yaml:1:12: latency_s: found true, expected a number"),
        ("count: true", "count: found true, expected a whole number"),
        ("name: true", "name: found true, expected text"),
        ("count: 2.5", "count: found 2.5, expected a whole number"),
        ("count: many", "count: found 'many', expected a whole number"),
        ("count: null", "count: found nothing, expected a whole number"),
        ("count: 0", "count: found 0, expected greater than or equal to 1"),
        ("latency_s: -1 ns", "latency_s: found -1e-09, expected greater than or equal to 0"),
        ("bandwidth_bytes_per_s: 0", "bandwidth_bytes_per_s: found 0.0, expected greater than 0"),
        ("efficiency_ratio: 120 %", "efficiency_ratio: found 1.2, expected less than or equal to 1"),
        ("efficiency_ratio: 0", "efficiency_ratio: found 0.0, expected greater than 0"),
        ("latency_s: .inf", "expected a finite quantity"),
        ("alpha: .nan", "alpha: found nan, expected"),
        ("name: 5", "name: found 5, expected text"),
        ("name: ''", "name: found ''"),
        ("latency_s: [1]", "latency_s: found a list, expected a number"),
        ("energy: 5", "energy: found 5, expected a mapping"),
        ("parts: [1]", "parts: found a list, expected a mapping"),
        ("names: x", "names: found 'x', expected a list"),
        ("names: [x, 5]", "f.yaml:1:12: names[1]: found 5, expected text"),
        ("limited: 5", "limited: found 5, expected true or false"),
        ("pet: {kind: cta, lives: 9}", "f.yaml:1:13: pet.kind: found 'cta', did you mean 'cat'?"),
        ("pet: {lives: 9}", "f.yaml:1:6: pet: field 'kind' is missing"),
        ("pet: {kind: cat, lives: 0}", "f.yaml:1:25: pet.lives: found 0, expected greater than or equal to 1"),
    ],
)
def test_a_wrong_field_is_told_with_its_place_and_what_was_expected(text, said):
    message = refusal(text)
    assert said in message
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize(
    ("edge", "beyond"),
    [
        ("count: 1", "count: 0"),
        ("efficiency_ratio: 1", "efficiency_ratio: 1.001"),
        ("latency_s: 0", "latency_s: -1e-30"),
    ],
)
def test_bounds_hold_on_both_sides(edge, beyond):
    read(edge)
    assert "expected" in refusal(beyond)


def test_all_that_is_wrong_is_told_at_once():
    lines = refusal("counts: 1\ncount: 0\nlatency_s: 1 GB\nenergy: {}\n").splitlines()
    assert sorted(line.split(": ")[0] for line in lines) == ["f.yaml:1:1", "f.yaml:2:8", "f.yaml:3:12", "f.yaml:4:9"]
