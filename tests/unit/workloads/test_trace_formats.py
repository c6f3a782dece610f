"""Each public format is told by its head and read as its publishers mean it."""

import gzip
import json

import pytest

from papisim.errors import PapisimError
from papisim.workloads.traces.load import detect_format, load_requests
from papisim.workloads.traces.spec import TraceFile


def lines(*records):
    return "".join(json.dumps(record) + "\n" for record in records)


CONVERSATION = [
    {"from": "human", "value": "a" * 8},
    {"from": "gpt", "value": "b" * 12},
    {"from": "human", "value": "c" * 4},
    {"from": "gpt", "value": "d" * 20},
]

#: format → files of it: text, further fields, the requests (arrival in s, input, output) expected
SAMPLES = {
    "azure": [
        (
            "TIMESTAMP,ContextTokens,GeneratedTokens\r\n2023-11-16 23:59:59.5000000,374,44\r\n2023-11-17 00:00:00.7512340,1,2\r\n",
            {},
            [(0, 374, 44), (1.251234, 1, 2)],
        ),
        (
            "TIMESTAMP,ContextTokens,GeneratedTokens\n2024-05-10 00:00:00.009930+00:00,5,6\n2024-05-10 02:00:01.009930+01:00,7,8\n",
            {},
            [(0, 5, 6), (3601, 7, 8)],
        ),
        (
            "TIMESTAMP,NumImages,ContextTokens,GeneratedTokens\n2024-10-15T00:00:00Z,2,5,6\n2024-10-15T00:00:02Z,0,7,8\n",
            {"where": {"NumImages": 2}},
            [(0, 5, 6)],
        ),
    ],
    "burstgpt": [
        (
            "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n5,ChatGPT,472,18,490,Conversation log\n"
            "45,GPT-4,30,0,30,API log\n118,GPT-4,100,60,160,API log\n",
            {},
            [(0, 472, 18), (113, 100, 60)],
        ),
        (
            "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
            "19440110.0,a-b,43,GPT-4,906,446,1352,Conversation log\n19440161.0,c-d,2,ChatGPT,36,29,65,Conversation log\n",
            {},
            [(0, 906, 446), (51, 36, 29)],
        ),
    ],
    "csv": [
        ("arrival_s,input_tokens,output_tokens\n1.5,395,112\n2,1030,403\n", {}, [(0, 395, 112), (0.5, 1030, 403)]),
        (
            "category,input_tokens,output_tokens\nopen_qa,1,2\ngeneral_qa,3,4.0\n",
            {"where": {"category": "general_qa"}},
            [(None, 3, 4)],
        ),
        (
            '"when", in ,out\n250,1,2\n1250,3,4\n',
            {
                "format": "csv",
                "columns": {"arrival": "when", "input_tokens": "in", "output_tokens": "out"},
                "time_unit": "ms",
            },
            [(0, 1, 2), (1, 3, 4)],
        ),
    ],
    "dolly": [
        (
            lines(
                {"instruction": "aaaa", "context": "", "response": "bbbbb", "category": "open_qa"},
                {"instruction": "aaaa", "context": "ccc", "response": "b", "category": "closed_qa"},
            ),
            {"chars_per_token": 4},
            [(None, 1, 2), (None, 2, 1)],
        ),
    ],
    "llmservingsim": [
        (
            lines(
                {"input_toks": 9, "output_toks": 2, "arrival_time_ns": 10, "input_tok_ids": list(range(9))},
                {"input_toks": 8, "output_toks": 3, "arrival_time_ns": 2_000_000_010},
            ),
            {},
            [(0, 9, 2), (2, 8, 3)],
        ),
        ("arrival_time_ns,input_toks,output_toks\n46926808,2358,531\n347938951,1034,769\n", {}, [(0, 2358, 531), (0.301012143, 1034, 769)]),
    ],
    "mooncake": [
        (
            lines(
                {"timestamp": 27482, "input_length": 6955, "output_length": 52, "hash_ids": [46, 47]},
                {"timestamp": 30535, "input_length": 6472, "output_length": 26, "hash_ids": [46]},
            ),
            {},
            [(0, 6955, 52), (3.053, 6472, 26)],
        ),
        ("timestamp_ms,input_length,output_length,n_blocks\n0,6758,500,14\n40,7,8,1\n", {}, [(0, 6758, 500), (0.04, 7, 8)]),
    ],
    "sharegpt": [
        (
            json.dumps([{"id": "x", "conversations": CONVERSATION}, {"id": "y", "conversations": CONVERSATION[:1]}]),
            {"chars_per_token": 4},
            [(None, 2, 3)],
        ),
        (
            lines({"id": "x", "conversations": CONVERSATION}),
            {"chars_per_token": 4, "turns": "all"},
            [(None, 2, 3), (None, 6, 5)],
        ),
        (
            lines({"messages": [{"role": "user", "content": "aaaa"}, {"role": "assistant", "content": "a"}]}),
            {"chars_per_token": 2},
            [(None, 2, 1)],
        ),
    ],
    "splitwise": [
        (
            "request_id,request_type,application_id,arrival_timestamp,batch_size,prompt_size,token_size\n0,2,0,0.5,1,10,20\n1,2,0,0.75,1,30,40\n",
            {},
            [(0, 10, 20), (0.25, 30, 40)],
        ),
    ],
    "vidur": [
        ("arrived_at,num_prefill_tokens,num_decode_tokens\n1.0,10,20\n1.5,30,40\n", {}, [(0, 10, 20), (0.5, 30, 40)]),
        ("num_prefill_tokens,num_decode_tokens,num_total_tokens,pd_ratio\n3772,54,3826,69.8\n", {}, [(None, 3772, 54)]),
    ],
    "vllm_dataset": [
        (lines({"prompt_len": 10, "output_len": 20}, {"prompt_len": 30, "output_len": 40}), {}, [(None, 10, 20), (None, 30, 40)]),
    ],
    "vllm_result": [
        (
            json.dumps({"date": "20260101", "request_rate": 2, "input_lens": [3, 4], "output_lens": [5, 0]}, indent=2),
            {},
            [(None, 3, 5)],
        ),
        (
            lines({"input_lens": [3, 4], "output_lens": [5, 6], "start_times": [100.5, 101.0], "errors": ["", ""]}),
            {},
            [(0, 3, 5), (0.5, 4, 6)],
        ),
    ],
}  # fmt: skip
CASES = [(name, *case) for name, cases in SAMPLES.items() for case in cases]
each_sample = pytest.mark.parametrize(("name", "text", "fields", "requests"), CASES, ids=[case[0] for case in CASES])


def write(folder, text, name="requests.any", *, zipped=False):
    path = folder / name
    data = text.encode()
    path.write_bytes(gzip.compress(data) if zipped else data)
    return path


def rows(table):
    arrivals = [None] * len(table) if table.arrival_s is None else table.arrival_s.tolist()
    return list(zip(arrivals, table.input_tokens.tolist(), table.output_tokens.tolist(), strict=True))


@each_sample
@pytest.mark.parametrize("zipped", [False, True])
def test_a_file_is_read_plain_or_zipped_and_its_format_found(tmp_path, name, text, fields, requests, zipped):
    options = TraceFile(path=str(write(tmp_path, text, zipped=zipped)), **fields)
    table = load_requests(options)
    assert table.format == detect_format(options) == name
    for found, expected in zip(rows(table), requests, strict=True):
        assert found[0] == (expected[0] if expected[0] is None else pytest.approx(expected[0], abs=1e-6))
        assert found[1:] == expected[1:]


@each_sample
def test_a_format_reads_what_it_is_told_to_and_refuses_what_is_not_of_it(tmp_path, name, text, fields, requests):
    del fields, requests
    path = write(tmp_path, text)
    other = "azure" if name != "azure" else "mooncake"
    with pytest.raises(PapisimError, match=r"requests\.any:1: "):
        load_requests(TraceFile(path=str(path), format=other))
