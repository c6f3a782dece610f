"""Reading request traces: what is wrong is said with its place, what is left out is counted, memory stays small."""

import json
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from papisim.errors import InputError, InputErrors, PapisimError
from papisim.workloads.traces.load import load_requests
from papisim.workloads.traces.spec import TraceFile

AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03,1,2\n"


@pytest.fixture
def load(tmp_path):
    """Return a function that writes a text and reads it."""

    def go(text, **fields):
        path = tmp_path / "t.any"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return load_requests(TraceFile(path=str(path), **fields))

    return go


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (AZURE + "yesterday,1,2\n", "t.any:3: TIMESTAMP: found 'yesterday', expected a date and time such as 2023"),
        (AZURE + "2023-11-16 18:17:04,many,2\n", "t.any:3: ContextTokens: found 'many', expected a whole number"),
        (AZURE + "2023-11-16 18:17:04,1,-2\n", "t.any:3: GeneratedTokens: found '-2', expected a whole number from 0"),
        (AZURE + "2023-11-16 18:17:04,1,2.5\n", "t.any:3: GeneratedTokens: found '2.5', expected a whole number"),
        (AZURE + "2023-11-16 18:17:04,1,1e9999\n", "t.any:3: GeneratedTokens: found '1e9999'"),
        (AZURE + "\n2023-11-16 18:17:04,1\n", "t.any:4: found 2 cells, expected 3"),
        ('input_tokens,output_tokens\n1,"2', "t.any: 1"),
        ("arrival_s,input_tokens,output_tokens\nnan,1,2\n", "t.any:2: arrival_s: found 'nan', expected a number"),
        ('{"timestamp": 0, "input_length": 1, "output_length": 2}\n{"timestamp": 1', "t.any:2: is not JSON"),
        ('{"timestamp": 0, "input_length": true, "output_length": 2}\n', "t.any:1: input_length: found true, expected"),
        ('{"timestamp": null, "input_length": 1, "output_length": 2}\n', "t.any:1: timestamp: found null, expected a number"),
        ('{"timestamp": 0, "input_length": 1, "output_length": 2}\n[1]\n', "t.any:2: expected a JSON object"),
        (
            '{"timestamp": 0, "input_length": 1, "output_length": 2}\n{"timestamp": 0, "input_lenght": 1, "output_length": 2}\n',
            "t.any:2: input_length: field is missing; did you mean 'input_lenght'?",
        ),
        ('{"input_lens": [1, 2], "output_lens": [1]}', "t.any:1: input_lens: expected lists as long as each other"),
        ('{"input_lens": [1, 2], "output_lens": [1, "x"]}', "t.any:1: output_lens: found \"x\", expected a whole number"),
        (b"\x1f\x8b\x08broken", "t.any: may not be read"),
        (b"input_tokens,output_tokens\n\xff\xfe,2\n", "t.any: is not UTF-8 text"),
        ("input_tokens,output_tokens\n", "t.any: holds no request"),
        ("", "t.any: is empty, expected requests"),
        ("who,what\n1,2\n", "t.any:1: is in no format known here: it begins with 'who,what'; say 'format'"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_line_field_found_and_expected(load, text, said):
    if said == "t.any: 1":  # csv lets a quote run to the end of the file
        assert load(text).output_tokens.tolist() == [2]
        return
    with pytest.raises(PapisimError) as error:
        load(text)
    assert said in str(error.value)


def test_all_that_is_wrong_is_said_at_once_up_to_a_number_that_people_read(load):
    with pytest.raises(InputErrors) as few:
        load(AZURE + "x,1,2\n2023-11-16 18:17:04,y,2\n")
    assert [error.place.line for error in few.value.errors] == [3, 4]
    with pytest.raises(InputErrors, match="more may be wrong; the first 20 are shown") as many:
        load(AZURE + "x,1,2\n" * 1000)
    assert len(many.value.errors) == 21


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"format": "azur"}, "unknown request trace format 'azur'; did you mean 'azure'?"),
        ({"columns": {"input_tokens": "x"}}, "'columns' says nothing about files of the format azure; formats that use it: csv"),
        ({"chars_per_token": 4}, "formats that use it: dolly, sharegpt"),
        ({"where": {"Model": "x"}}, "where: no column 'Model'; known: ContextTokens"),
        ({"where": {"ContextTokens": 7}}, "where.ContextTokens: no request has '7'; known: 1"),
        ({"sha256": "0" * 64}, "found the SHA-256 "),
        ({"format": "csv", "columns": {"input_tokens": "ContextToken", "output_tokens": "GeneratedTokens"}}, "did you mean 'ContextTokens'?"),
        ({"format": "csv", "columns": {"arrival": "TIMESTAMP"}}, "time_unit: is missing: which unit is the column 'TIMESTAMP' in?"),
        ({"format": "csv", "time_unit": "s"}, "time_unit: is given, and the file has no arrivals"),
    ],
)  # fmt: skip
def test_what_the_user_says_of_a_file_has_to_fit_it(load, fields, said):
    with pytest.raises(InputError) as error:
        load(AZURE, **fields)
    assert said in str(error.value)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\n\n"])
def test_lines_may_end_as_on_any_machine_and_begin_with_a_byte_order_mark(load, end):
    table = load(b"\xef\xbb\xbf" + end.join(["input_tokens,output_tokens", "1,2", "3,4.0", ""]).encode())
    assert (table.input_tokens.tolist(), table.output_tokens.tolist()) == ([1, 3], [2, 4])


MOONCAKE = '{"timestamp": 0, "input_length": 1, "output_length": 2}\n{"timestamp": 400, "input_length": 1, "output_length": 2}\n'


@pytest.mark.parametrize(("unit", "last_s"), [(None, 0.4), ("s", 400.0), ("us", 4e-4), ("ns", 4e-7)])
def test_every_format_with_arrivals_takes_another_unit(load, unit, last_s):
    assert load(MOONCAKE, time_unit=unit).arrival_s.tolist() == pytest.approx([0, last_s])
    results = '{"input_lens": [1, 1], "output_lens": [2, 2], "start_times": [0, 400]}'
    assert load(results, time_unit=unit or "ms").arrival_s.tolist() == pytest.approx([0, last_s])


def test_fractions_of_a_unit_that_a_format_counts_in_are_told(load):
    """Mooncake counts whole milliseconds; a file with 0.4 holds seconds, more likely."""
    (note,) = load(MOONCAKE.replace("400", "0.4")).notes
    assert note.startswith("arrivals are taken as ms")
    assert load(MOONCAKE).notes == load(MOONCAKE.replace("400", "400.0")).notes == ()
    assert load(MOONCAKE.replace("400", "0.4"), time_unit="s").notes == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (MOONCAKE.replace("400", "-5"), "t.any:2: timestamp: found -5, expected a number of at least 0"),
        (MOONCAKE.replace("400", "1" * 5000), "t.any:2: holds a number of too many digits"),
        (MOONCAKE.replace("400", "1" * 400), "t.any:2: timestamp: found 111111"),
        (MOONCAKE.replace("400", "NaN"), "t.any:2: timestamp: found NaN, expected a number"),
        (MOONCAKE.replace("400", "true"), "t.any:2: timestamp: found true, expected a number"),
        (MOONCAKE.replace("400", "[" * 100_000), "t.any:2: is not JSON: nested too deep"),
        (MOONCAKE.replace('"input_length": 1', '"input_length": "1_0"', 1), "t.any:1: input_length: found"),
        (MOONCAKE.replace('"input_length": 1', '"input_length": "١"', 1), "t.any:1: input_length: found"),
        ('{"input_lens": [' + "1" * 5000 + '], "output_lens": [2]}', "t.any:1: holds a number of too many digits"),
        (
            AZURE + "2023-11-16 18:17:04Z,1,2\n",
            "t.any:3: TIMESTAMP: found '2023-11-16 18:17:04Z', expected a time without",
        ),
        (AZURE.replace("03,", "03+02:00,") + "2023-11-16 18:17:04,1,2\n", "expected a time with a time zone"),
        ("arrival_s,input_tokens,output_tokens\n1700000000000,1,2\n", "another 'time_unit' may be meant"),
    ],
)
def test_numbers_and_times_of_strangers_are_checked(load, text, said):
    with pytest.raises(PapisimError) as caught:
        load(text)
    assert said in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_times_with_different_zones_are_put_on_one_clock(load):
    text = AZURE.replace("03,", "03Z,") + "2023-11-16 20:17:04+02:00,1,2\n"
    assert load(text).arrival_s.tolist() == [0.0, 1.0]


def test_the_users_own_columns_may_hold_dates(load):
    columns = {"arrival": "TIMESTAMP", "input_tokens": "ContextTokens", "output_tokens": "GeneratedTokens"}
    table = load(AZURE + "2023-11-16 18:18:03,3,4\n", format="csv", columns=columns, time_unit="datetime")
    assert table.arrival_s.tolist() == [0, 60]


@pytest.mark.parametrize(
    ("zero_tokens", "outputs", "dropped", "n_notes"),
    [("drop", [2], {"without input or output tokens": 2}, 0), ("one", [2, 1, 7], {}, 1)],
)
def test_requests_without_tokens_are_left_out_or_lengthened_and_counted(load, zero_tokens, outputs, dropped, n_notes):
    table = load("input_tokens,output_tokens\n1,2\n3,0\n0,7\n", zero_tokens=zero_tokens)
    assert table.output_tokens.tolist() == outputs
    assert table.input_tokens.min() >= 1
    assert table.dropped == dropped
    assert len(table.notes) == n_notes


def test_requests_without_tokens_can_be_refused(load):
    with pytest.raises(InputError, match="request 2 has no output tokens"):
        load("input_tokens,output_tokens\n1,2\n3,0\n", zero_tokens="refuse")


def test_a_file_with_nothing_but_failures_holds_no_request(load):
    with pytest.raises(InputError, match=r"holds no request \(2 without input or output tokens\)"):
        load("input_tokens,output_tokens\n1,0\n3,0\n")


def test_requests_are_sorted_by_arrival_and_time_starts_at_the_first(load):
    table = load("arrival_s,input_tokens,output_tokens\n7,1,1\n5,2,2\n9,3,3\n5,4,4\n")
    assert table.arrival_s.tolist() == [0, 0, 2, 4]
    assert table.input_tokens.tolist() == [2, 4, 1, 3], "ties keep their order"
    assert "sorted by arrival" in table.notes[0]


def test_text_without_a_way_to_count_its_tokens_is_refused(load):
    text = json.dumps({"instruction": "a", "context": "", "response": "b"})
    with pytest.raises(InputError, match=r"say 'tokenizer' .* or 'chars_per_token'"):
        load(text)
    with pytest.raises(ValueError, match="one way to count"):
        load(text, tokenizer="t.json", chars_per_token=4)
    with pytest.raises(InputError, match=r"tokenizer 'missing\.json' cannot be read"):
        load(text, tokenizer="missing.json")


def test_a_tokenizer_counts_without_the_special_tokens_around_a_text(load, tmp_path):
    tokenizers = pytest.importorskip("tokenizers")
    tokenizer = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({"a": 0, "b": 1, "[UNK]": 2, "<s>": 3}, unk_token="[UNK]")
    )
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 3)])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    text = json.dumps({"instruction": "a b a", "context": "b", "response": "x y"})
    table = load(text, tokenizer=str(tmp_path / "tokenizer.json"))
    assert (table.input_tokens.tolist(), table.output_tokens.tolist()) == ([4], [2])


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 400_000), st.integers(1, 400_000)), min_size=1, max_size=8),
    st.sampled_from([None, 1]),
)
def test_an_array_is_read_element_by_element_wherever_its_pieces_end(tmp_path_factory, pairs, indent):
    records = [
        {"conversations": [{"from": "human", "value": "é" * i}, {"from": "gpt", "value": "]" * o}]} for i, o in pairs
    ]
    path = tmp_path_factory.mktemp("array") / "t.json"
    path.write_text("\n [" + json.dumps(records, indent=indent, ensure_ascii=False)[1:], encoding="utf-8")
    table = load_requests(TraceFile(path=str(path), chars_per_token=1))
    assert list(zip(table.input_tokens.tolist(), table.output_tokens.tolist(), strict=True)) == pairs


def test_a_broken_array_is_refused_at_the_line_where_it_breaks(load):
    records = [{"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}] * 3
    text = json.dumps(records, indent=1)
    lines = text.splitlines()
    with pytest.raises(InputError) as error:
        load("\n".join(lines[:-3]), chars_per_token=1)
    assert error.value.place.line == len(lines) - 3
    lines[5] = lines[5].replace('"value"', '"value" "')
    with pytest.raises(InputError) as error:
        load("\n".join(lines), chars_per_token=1)
    assert error.value.place.line == 6


def test_a_long_file_is_not_held_as_objects(load):
    n = 60_000
    text = "arrival_s,input_tokens,output_tokens\n" + "".join(f"{i},{1000 + i},{2000 + i}\n" for i in range(n))
    tracemalloc.start()
    try:
        table = load(text.encode())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(table) == n
    # three numbers a request, twice while they are sorted, and array's room to grow
    assert peak < n * 24 * 5


def test_a_file_is_read_anew_when_it_has_changed(load):
    assert len(load("input_tokens,output_tokens\n1,2\n")) == 1
    assert len(load("input_tokens,output_tokens\n1,2\n3,4\n")) == 2
