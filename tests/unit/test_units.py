import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from papisim import units
from papisim.errors import InputError


@pytest.mark.parametrize(
    ("text", "unit", "si"),
    [
        ("3.35 TB/s", "bytes_per_s", 3.35e12),
        ("5.2375 Gb/s", "bytes_per_s", 5.2375e9 / 8),
        ("100 Gbps", "bytes_per_s", 100e9 / 8),
        ("16 GiB/s", "bytes_per_s", 16 * 2**30),
        ("312 TFLOP/s", "flop_per_s", 312e12),
        ("312 TFLOPS", "flop_per_s", 312e12),
        ("3.9 pJ/b", "j_per_byte", 3.9e-12 * 8),
        ("3.9 pJ/bit", "j_per_byte", 3.9e-12 * 8),
        ("3.68 pJ/B", "j_per_byte", 3.68e-12),
        ("0.16 pJ/FLOP", "j_per_flop", 0.16e-12),
        ("80 GB", "bytes", 80e9),
        ("80 GiB", "bytes", 80 * 2**30),
        ("1 KiB", "bytes", 1024),
        ("45 ns", "s", 45e-9),
        ("3us", "s", 3e-6),
        ("3 µs", "s", 3e-6),
        ("2 min", "s", 120),
        ("1 h", "s", 3600),
        ("666 MHz", "hz", 666e6),
        ("909 pJ", "j", 909e-12),
        ("116 W", "w", 116),
        ("121 mm²", "mm2", 121),
        ("85 %", "ratio", 0.85),
        ("0.85", "ratio", 0.85),
        ("1_000", "bytes", 1000),
        ("-1.5e-3 s", "s", -1.5e-3),
        (312e12, "flop_per_s", 312e12),
        (7, "bytes", 7),
    ],
)
def test_a_quantity_reads_as_si(text, unit, si):
    assert units.parse(text, unit) == pytest.approx(si, rel=1e-12)


def test_a_gigabyte_is_not_a_gibibyte_and_a_bit_is_an_eighth_of_a_byte():
    assert units.parse("1 GB", "bytes") == 10**9
    assert units.parse("1 GiB", "bytes") == 2**30
    assert units.parse("8 Gb/s", "bytes_per_s") == units.parse("1 GB/s", "bytes_per_s")


@pytest.mark.parametrize("unit", units.UNITS)
def test_every_symbol_belongs_to_its_unit_and_is_refused_by_name_elsewhere(unit):
    other = "hz" if unit != "hz" else "mm2"
    for symbol, factor in units.UNITS[unit].items():
        assert units.parse(f"2 {symbol}", unit) == pytest.approx(2 * factor)
        with pytest.raises(InputError, match=rf"which is a quantity in \w+; expected a quantity in {other}"):
            units.parse(f"2 {symbol}", other)


@pytest.mark.parametrize("unit", units.UNITS)
def test_the_example_in_a_message_is_itself_accepted(unit):
    with pytest.raises(InputError) as error:
        units.parse("nonsense", unit)
    example = re.search(r"such as (.*)$", str(error.value))[1].partition(" or ")[0]
    assert units.parse(example, unit) > 0


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("3 parsecs", "'parsecs' is no unit known here"),
        ("fast", "found 'fast', expected a quantity"),
        ("", "found '', expected a quantity"),
        (True, "found True"),
        (None, "found None"),
        ([1], r"found \[1\]"),
        (float("nan"), "expected a finite quantity"),
        (float("inf"), "expected a finite quantity"),
        ("1e999 s", "expected a finite quantity"),
        (10**400, "expected a finite quantity"),
    ],
)
def test_what_is_no_finite_quantity_is_refused(value, said):
    with pytest.raises(InputError, match=said):
        units.parse(value, "s")


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("bandwidth_bytes_per_s", "bytes_per_s"),
        ("capacity_bytes", "bytes"),
        ("latency_s", "s"),
        ("energy_j_per_byte", "j_per_byte"),
        ("hz", "hz"),
        ("n_requests", None),
        ("lanes", None),
        ("alpha", None),
    ],
)
def test_the_suffix_of_a_name_is_its_unit(name, unit):
    assert units.unit_of(name) == unit


@settings(max_examples=100, deadline=None)
@given(unit=st.sampled_from(sorted(units.UNITS)), value=st.floats(1e-20, 1e20) | st.just(0.0))
def test_what_is_written_reads_back(unit, value):
    assert units.parse(units.format(value, unit, digits=17), unit) == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (3.35e12, "bytes_per_s", "3.35 TB/s"),
        (1e9, "bytes", "1 GB"),
        (45e-9, "s", "45 ns"),
        (0.0, "j", "0 J"),
        (0.256, "ratio", "25.6 %"),
        (-2e-3, "s", "-2 ms"),
        (5e-16, "s", "0.5 fs"),
        (float("inf"), "s", "inf s"),
    ],
)
def test_people_read_the_prefix_that_fits(value, unit, text):
    assert units.format(value, unit) == text


def test_the_denominator_of_an_unknown_unit_is_no_unit():
    assert units.unit_of("arrivals_requests_per_s") is None
    assert units.unit_of("bandwidth_bytes_per_s") == "bytes_per_s"
