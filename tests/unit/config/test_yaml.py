import math

import pytest
import yaml as pyyaml
from hypothesis import given, settings
from hypothesis import strategies as st

from papisim.catalog import data_folder
from papisim.config import yaml
from papisim.config.yaml import Inline, Mark, apply_override, dotted, dump, load_yaml, parse_path, parse_yaml
from papisim.errors import InputError


def read(text):
    return parse_yaml(text, "f.yaml").data


def refusal(text):
    with pytest.raises(InputError) as error:
        parse_yaml(text, "f.yaml")
    return str(error.value)


@pytest.mark.parametrize("text", ["no", "yes", "on", "off", "NO", "12:30", "1_000", "0b11", "2025-01-01", "=", "<<"])
def test_yaml_1_1_surprises_are_text(text):
    assert read(f"a: {text}") == {"a": text}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("312e12", 312e12), ("1e5", 1e5), ("1.", 1.0), (".5", 0.5), ("-3", -3), ("+3", 3), ("0o17", 15), ("0x1F", 31),
        ("010", 10), ("true", True), ("FALSE", False), ("null", None), ("~", None), ("", None), (".inf", math.inf),
        ("-.INF", -math.inf), ("'3'", "3"), ('"true"', "true"), ("1e", "1e"), ("3.35 TB/s", "3.35 TB/s"),
    ],
)  # fmt: skip
def test_scalars_follow_the_yaml_1_2_core_schema(text, value):
    data = read(f"a: {text}")["a"]
    assert data == value
    assert type(data) is type(value)


def test_not_a_number_is_one():
    assert math.isnan(read("a: .nan")["a"])


@settings(max_examples=60, deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**30), 10**30))
def test_python_numbers_read_back(number):
    assert read(f"a: {number!r}") == {"a": number}


def test_the_second_of_two_equal_fields_is_refused_where_it_stands():
    assert refusal("a: 1\nb:\n  c: 2\n  c: 3\n") == "f.yaml:4:3: b.c: stands twice (first in line 3)"


@pytest.mark.parametrize(
    "tagged",
    [
        "a: !!python/object/apply:os.system [echo]",
        "a: !!python/object:builtins.dict {}",
        "a: !!python/name:os.system",
        "a: !x:str hi",
        "a: !!str 5",
        "a: !!int abc",
        "a: !!binary aGk=",
        "a: !!set {b}",
        "!!python/name:os.system a: 1",
    ],
)
def test_no_tag_is_accepted(tagged):
    assert "tags are not accepted here" in refusal(tagged)


def test_no_alias_is_accepted():
    assert refusal("a: &x [1]\nb: *x\n").startswith("f.yaml:2:4: is not valid YAML: found the alias '*x'")


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ("{a: ", "}")])
def test_nesting_has_a_bottom(opening, closing):
    deepest = 40
    read(f"a: {opening * (deepest - 1)}{closing * (deepest - 1)}")
    assert "nesting deeper than 40 levels" in refusal(f"a: {opening * (deepest + 1)}{closing * (deepest + 1)}")
    assert "nesting deeper than 40 levels" in refusal(f"a: {opening * 5000}")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [1", "f.yaml:1:6: is not valid YAML"),
        ("a: 1\n b: 2", "f.yaml:2:3: is not valid YAML"),
        ("a: 1\n---\nb: 2", "f.yaml:2:1: is not valid YAML"),
        ("? [a]\n: 1", "has a list or mapping as a field name"),
        ("a: " + "9" * 301, "f.yaml:1:4: a: is a whole number of more than 300 digits"),
        ("a: \x00", "f.yaml: is not valid YAML"),
        ("%YAML 3.0\n---\na: 1", "is not valid YAML"),
    ],
)
def test_what_is_not_yaml_is_refused_with_its_place(text, said):
    assert said in refusal(text)


def test_a_number_of_300_digits_is_the_longest():
    assert read("a: " + "9" * 300) == {"a": int("9" * 300)}


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet="ab:-[]{}!&*?|>'\"%@`#,\n 01.e~<\t\x00\x85", max_size=40))
def test_any_text_is_read_or_refused_with_one_typed_error(text):
    try:
        parse_yaml(text, "f.yaml")
    except InputError as refused:
        files = {refused.place.file}
    else:
        files = {"f.yaml"}
    assert files == {"f.yaml"}


json_like = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**9), 10**9)
    | st.floats(-1e9, 1e9)
    | st.text("abc no:#-'", max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", min_size=1, max_size=3), inner),
    max_leaves=10,
)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.text("abc", min_size=1, max_size=3), json_like))
def test_what_pyyaml_writes_without_aliases_reads_back(tree):
    class Plain(pyyaml.SafeDumper):
        def ignore_aliases(self, data):
            return True

    assert read(pyyaml.dump(tree, Dumper=Plain, default_style='"' if not tree else None)) == tree


any_value = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.text(max_size=6), any_value, min_size=1, max_size=4))
def test_what_is_dumped_reads_back_whoever_reads_it(tree):
    text = dump(tree)
    assert read(text) == tree
    assert pyyaml.safe_load(text) == tree, "a reader of YAML 1.1"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1e12, "1000000000000.0"), (1e16, "1.0e+16"), (-2.5e-9, "-2.5e-09"), (math.inf, ".inf"), (-math.inf, "-.inf"),
        ("no", "'no'"), ("1e3", "'1e3'"), ("312e12", "'312e12'"), ("12:30", "'12:30'"), ("", "''"), ("3.35 TB/s", "3.35 TB/s"),
        (None, "null"), (True, "true"), ([1, [2.0, "x"]], "[1, [2.0, x]]"),
    ],
)  # fmt: skip
def test_scalars_are_plain_where_they_read_back_and_quoted_where_not(value, text):
    assert dump({"a": value}) == f"a: {text}\n"
    assert read(f"a: {text}") == {"a": value}


def test_not_a_number_is_written_as_such():
    assert dump({"a": math.nan}) == "a: .nan\n"


def test_equal_values_are_written_twice_and_not_referred_to():
    same = [1, 2]
    assert dump({"a": same, "b": same}) == "a: [1, 2]\nb: [1, 2]\n"


@pytest.mark.parametrize("name", ["a100", "h100", "h200", "fc_pim", "attacc", "nvlink4"])
def test_a_shipped_part_dumped_is_its_file_byte_for_byte(name):
    path = data_folder() / "hwconfigs" / "devices" / f"{name}.yaml"
    document = load_yaml(path).data
    sources = {path: Inline(source) for path, source in document["sources"].items()}
    assert dump(document | {"sources": sources}) == path.read_text(encoding="utf-8")


def test_without_libyaml_every_shipped_file_reads_the_same(monkeypatch):
    files = [path for folder in ("hwconfigs", "traces") for path in (data_folder() / folder).rglob("*.yaml")]
    fast = [load_yaml(path) for path in files]
    monkeypatch.setattr(yaml, "_FASTEST", yaml._SPEAKING)
    assert [load_yaml(path) for path in files] == fast


def test_every_value_and_field_remembers_its_place():
    document = parse_yaml("a:\n  b: [10, 20]\n", "f.yaml")
    assert document.mark(("a", "b"), at_key=True) == Mark("f.yaml", 2, 3)
    assert document.mark(("a", "b")) == Mark("f.yaml", 2, 6)
    assert document.mark(("a", "b", 1)) == Mark("f.yaml", 2, 11)
    assert document.mark(("a", "zzz")) == document.mark(("a",)), "what is missing is shown at its parent"


def test_the_leaves_are_the_scalars_in_file_order():
    document = parse_yaml("b: {y: 1, x: [2, {z: 3}]}\na: 4\n", "f.yaml")
    assert list(document.leaves()) == [(("b", "y"), 1), (("b", "x", 0), 2), (("b", "x", 1, "z"), 3), (("a",), 4)]


def test_a_grafted_tree_keeps_its_own_places_and_a_subtree_loses_the_way_to_it():
    outer, inner = parse_yaml("a: {b: name}", "outer.yaml"), parse_yaml("c: 5", "inner.yaml")
    outer.graft(("a", "b"), inner)
    assert outer.data == {"a": {"b": {"c": 5}}}
    assert str(outer.error(("a", "b", "c"), "bad")) == "inner.yaml:1:4: a.b.c: bad"
    assert str(outer.subtree(("a", "b")).error(("c",), "bad")) == "inner.yaml:1:4: c: bad"


def test_a_replaced_tree_forgets_the_places_it_had():
    document = parse_yaml("a: {b: 1}\nc: 2", "f.yaml")
    document.replace(("a",), parse_yaml("{d: 3}", "--set a={d: 3}"))
    assert document.data == {"a": {"d": 3}, "c": 2}
    assert document.mark(("a", "b")) == document.mark(("a", "d")) == Mark("--set a={d: 3}")
    assert document.mark(("c",)) == Mark("f.yaml", 2, 4)


@pytest.mark.parametrize("text", ["a", "devices.gpu.count", "blocks[0].name", "a[0][1]"])
def test_a_path_reads_and_writes_the_same(text):
    assert dotted(parse_path(text)) == text


@pytest.fixture
def document():
    return parse_yaml("gpu: {count: 6, part: {clock: 1}}\nroles: {fc: [a, b]}\n", "f.yaml")


@pytest.mark.parametrize(
    ("assignment", "path", "value"),
    [
        ("gpu.count=8", ("gpu", "count"), 8),
        (" gpu.count = 8", ("gpu", "count"), 8),
        ("gpu.part={clock: 2}", ("gpu", "part"), {"clock": 2}),
        ("roles.fc[1]=c", ("roles", "fc", 1), "c"),
        ("roles.fc=[x]", ("roles", "fc"), ["x"]),
        ("gpu.count=", ("gpu", "count"), None),
        ("gpu.name=a=b", ("gpu", "name"), "a=b"),
        ("new=1", ("new",), 1),
    ],
)
def test_an_override_sets_one_field_and_marks_itself_as_the_place(document, assignment, path, value):
    apply_override(document, assignment)
    assert document.get(path) == value
    assert document.mark(path).file == document.mark(path, at_key=True).file == f"--set {assignment}"


@pytest.mark.parametrize(
    ("assignment", "said"),
    [
        ("gpu.count", "expected PATH=VALUE"),
        ("=8", "expected PATH=VALUE"),
        ("gpu[count]=8", "expected PATH=VALUE"),
        ("gpu..count=8", "expected PATH=VALUE"),
        ("gpus.count=8", "no field 'gpus' in the file; did you mean 'gpu'?"),
        ("gpu.prt.clock=8", "no field 'prt' in gpu; did you mean 'part'?"),
        ("gpu.count.x=8", "gpu.count is a single value; nothing can be set in it"),
        ("gpu.count.x.y=8", "gpu.count is a single value; nothing can be set in it"),
        ("gpu[0]=8", "gpu is no list"),
        ("[0]=8", "the file is no list"),
        ("roles.fc.x=8", "roles.fc is a list"),
        ("roles.fc[2]=c", "the list ends at [1]"),
        ("roles.fc[2].x=c", "no entry [2] in roles.fc"),
        ("gpu.count=[", "is not valid YAML"),
        ("gpu.count=!!int 3x", "tags are not accepted"),
    ],
)
def test_an_override_that_cannot_be_applied_says_why_and_changes_nothing(document, assignment, said):
    before = str(document.data)
    with pytest.raises(InputError) as error:
        apply_override(document, assignment)
    assert str(error.value).startswith(f"--set {assignment}:")
    assert said in str(error.value)
    assert str(document.data) == before


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "no such file"),
        (b"", "is empty, expected a YAML mapping"),
        (b"# nothing\n", "is empty, expected a YAML mapping"),
        (b"- 1\n", "found a list, expected a mapping of fields"),
        (b"5\n", "found 5, expected a mapping of fields"),
        (b"a: \xff\xfe", "is not UTF-8 text"),
    ],
)
def test_a_file_that_holds_no_fields_is_refused(tmp_path, content, said):
    path = tmp_path / "f.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError) as error:
        load_yaml(path)
    assert said in str(error.value)
    assert str(error.value).startswith(str(path))


def test_a_folder_and_an_impossible_name_are_no_files(tmp_path):
    with pytest.raises(InputError, match="is a folder, expected a YAML file"):
        load_yaml(tmp_path)
    with pytest.raises(InputError, match="may not be read"):
        load_yaml(tmp_path / ("x" * 300))
