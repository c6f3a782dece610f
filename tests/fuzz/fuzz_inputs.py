"""The kinds of input that papisim takes, and hostile cases of each."""

from __future__ import annotations

import gzip
import json
import random
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import click
import yaml
from click.testing import CliRunner
from fuzz_mutations import CELLS, HOSTILE, mutate_bytes, mutate_table, mutate_tree
from fuzz_oracle import Case

from papisim.cli import papisim
from papisim.config.yaml import load_yaml

ROOT = Path(__file__).parents[2]
#: a workload that takes milliseconds
SMALL = "workload={kind: closed_batch, n_requests: 2, lengths: {kind: fixed, input_tokens: 16, output_tokens: 4}}"
RUN = ["run", "--trace", "llama-68m", "--set", SMALL, "--quiet", "--format", "json"]

#: where a shipped file of each kind goes when it is used
_USES = {
    "hwconfigs": ["--hw"],
    "batching": ["--hw", "papi", "--batching"],
    "drafting": ["--hw", "papi", "--tlp", "3", "--draft"],
    "speculation": ["--hw", "papi", "--acceptance", "meta_8b", "--draft", "ngram", "--speculation"],
    "acceptance": ["--hw", "papi", "--tlp", "3", "--acceptance"],
}
_FOLDERS = {
    "system": "hwconfigs", "device": "hwconfigs/devices", "batching": "hwconfigs/policies/batching",
    "drafting": "hwconfigs/policies/drafting", "speculation": "hwconfigs/policies/speculation",
    "acceptance": "traces/acceptance", "signals": "traces/signals", "workload": "traces/requests", "public": "traces/public",
}  # fmt: skip


@cache
def _shipped(folder: str) -> list[Path]:
    return sorted((ROOT / folder).glob("*.yaml"))


@cache
def _tree(path: Path) -> object:
    return load_yaml(path).data


def _damaged(rng: random.Random, path: Path) -> bytes:
    """Return a YAML file with its tree or its text mutated."""
    if rng.random() < 0.25:
        return mutate_bytes(rng, path.read_bytes())
    return yaml.safe_dump(mutate_tree(rng, _tree(path)), allow_unicode=True, sort_keys=False).encode(
        "utf-8", "replace"
    )


def configuration(kind: str) -> Callable[[random.Random], Case]:
    """Return what makes cases of a kind of configuration file."""

    def case(rng: random.Random) -> Case:
        path = rng.choice(_shipped(_FOLDERS[kind]))
        name = f"f_{path.name}"
        files = {name: _damaged(rng, path)}
        use = _USES.get(path.parent.name)
        if use and rng.random() < 0.4:
            return Case(kind, [*RUN[:1], *use, name, *RUN[1:]], files, is_json=True)
        if kind == "device" and rng.random() < 0.4:
            work = rng.choice((["--op", "linear", "--m", "4", "--k", "4096", "--n", "4096"],
                               ["--op", "attention", "--heads-per-stack", "4", "--kv", "512"]))  # fmt: skip
            return Case(kind, ["price", "--hw", name, *work, "--quiet", "--format", "json"], files, is_json=True)
        if kind == "workload" and rng.random() < 0.4:
            return Case(kind, ["workload", "inspect", name, "--quiet", "--format", "json"], files, is_json=True)
        return Case(kind, ["check", name], files, place=name)

    return case


def kernel_trace(rng: random.Random) -> Case:
    """Return a run on a damaged kernel trace."""
    files = {"t/trace.yaml": _damaged(rng, ROOT / "traces/kernels/llama-68m/trace.yaml")}
    if rng.random() < 0.3:
        return Case("kernel trace", ["check", "t/trace.yaml"], files, place="trace.yaml")
    arguments = [
        "run",
        "--hw",
        rng.choice(("papi", "gpu_only")),
        "--trace",
        "t",
        "--set",
        SMALL,
        "-q",
        "--format",
        "json",
    ]
    return Case("kernel trace", arguments, files, is_json=True)


_LINES = {
    "azure": "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 23:59:59.5,374,44\n2023-11-17 00:00:00.75,1,2\n",
    "burstgpt": "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n5,a,472,18,490,b\n45,c,30,0,30,d\n",
    "csv": "arrival_s,input_tokens,output_tokens\n1.5,395,112\n2,1030,403\n",
    "splitwise": "request_id,arrival_timestamp,prompt_size,token_size\n0,0.5,10,20\n1,0.75,30,40\n",
    "vidur": "arrived_at,num_prefill_tokens,num_decode_tokens\n1.0,10,20\n1.5,30,40\n",
    "llmservingsim": "arrival_time_ns,input_toks,output_toks\n46926808,2358,531\n347938951,1034,769\n",
    "mooncake": "timestamp_ms,input_length,output_length,n_blocks\n0,6758,500,14\n40,7,8,1\n",
}
_RECORDS: dict[str, list[object]] = {
    "mooncake": [
        {"timestamp": n * 40, "input_length": 6955, "output_length": 52, "hash_ids": [46, 47]} for n in range(3)
    ],
    "llmservingsim": [{"input_toks": 9, "output_toks": 2, "arrival_time_ns": n * 10**9} for n in range(3)],
    "vllm_dataset": [{"prompt_len": 10, "output_len": 20}, {"prompt_len": 30, "output_len": 40}],
    "vllm_result": [{"input_lens": [3, 4], "output_lens": [5, 6], "start_times": [100.5, 101.0], "errors": ["", ""]}],
    "dolly": [{"instruction": "aaaa", "context": "", "response": "bbbbb", "category": "qa"} for _ in range(2)],
    "sharegpt": [{"id": "x", "conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}],
    "messages": [{"messages": [{"role": "user", "content": "aaaa"}, {"role": "assistant", "content": "a"}]}],
}


def request_trace(rng: random.Random) -> Case:
    """Return an inspection of a damaged file of requests."""
    if rng.random() < 0.4:
        content = mutate_table(rng, rng.choice(list(_LINES.values()))).encode()
    else:
        records = mutate_tree(rng, rng.choice(list(_RECORDS.values())))
        lines = records if isinstance(records, list) else [records]
        content = _json(records) if rng.random() < 0.2 else b"\n".join(map(_json, lines))
    content = _packed(rng, content)
    more = [f"--set=workload.{name}={value}" for name, value in (
        ("chars_per_token", rng.choice((4, 0, -1, "nan", "1e-300"))), ("time_unit", rng.choice(("s", "ns", "datetime", "x"))),
        ("rate_scale", rng.choice((2, 0, 1e300, "nan"))), ("n_requests", rng.choice((1, 10**12, -1))),
    ) if rng.random() < 0.3]  # fmt: skip
    arguments = ["workload", "inspect", "r.any", *more, "--quiet", "--format", "json"]
    return Case("request trace", arguments, {"r.any": content}, place="" if more else "r.any", is_json=True)


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


def _packed(rng: random.Random, content: bytes) -> bytes:
    """Return a content that may be gzipped and may be damaged."""
    if rng.random() < 0.2:
        content = mutate_bytes(rng, content)
    if rng.random() < 0.1:
        content = gzip.compress(content, mtime=0)
        return mutate_bytes(rng, content) if rng.random() < 0.5 else content
    return content


def acceptance_log(rng: random.Random) -> Case:
    """Return a fit to a damaged log of steps."""
    turns: list[object] = [
        {
            "source": "a",
            "task": f"t{n % 2}",
            "new_tokens": 9,
            "draft_len": 4,
            "accepted": [(n * 7 + step * 3) % 5 for step in range(12)],
        }
        for n in range(8)
    ]
    mutated = mutate_tree(rng, turns)
    lines = mutated if isinstance(mutated, list) else [mutated]
    arguments = ["fit", "acceptance", "l.jsonl", "--min-steps", "20", "--quiet", "--format", "json"]
    arguments += rng.choice(([], [], ["--out", "out"], ["--out", "out.yaml"], ["--holdout", "0.5"], ["--by", "task"]))
    content = _packed(rng, b"\n".join(map(_json, lines)))
    return Case("acceptance log", arguments, {"l.jsonl": content}, is_json=True)


def kineto(rng: random.Random) -> Case:
    """Return an import of a damaged profiler's trace."""
    args = {"Input Dims": [[1, 8], [4, 8], []], "Input type": ["c10::Half", "c10::Half", ""], "correlation": 9}
    event = {"ph": "X", "pid": 1, "tid": 1, "dur": 5}
    trace = {
        "deviceProperties": [{"name": "NVIDIA H200"}],
        "traceEvents": [
            event | {"cat": "cpu_op", "name": "aten::mm", "ts": 0, "dur": 20, "args": args},
            event | {"cat": "cuda_runtime", "name": "cudaLaunchKernel", "ts": 1, "args": {"correlation": 9}},
            event | {"cat": "kernel", "name": "gemm", "ts": 40, "tid": 7, "args": {"correlation": 9}},
            event | {"cat": "kernel", "name": "softmax", "ts": 50, "tid": 7, "args": {"correlation": 10}},
        ],
    }
    content = _packed(rng, _json(mutate_tree(rng, trace)))
    form = rng.choice(("json", "csv", "table"))
    arguments = ["capture", "--from-profiler", "k.json", "--format", form]
    return Case("profiler's trace", arguments, {"k.json": content}, place="k.json", is_json=form == "json")


_SWEEP = {
    "schema": "papisim/sweep/1",
    "description": "a few designs",
    "base": {
        "hw": "papi",
        "trace": "llama-68m",
        "set": {"workload.lengths": {"kind": "fixed", "input_tokens": 16, "output_tokens": 4}},
    },
    "space": {
        "batch": [1, 2],
        "devices.fc_pim.count": {"values": [1, 30], "when": "batch > 1"},
        "tlp": {"range": [1, 2], "step": 1},
    },
    "columns": {"rows": "batch * tlp", "w": "die_area_mm2(fc_pim)"},
    "constraints": {"slow": "tpot_p99_s <= 50 ms"},
}
_EXPRESSIONS = ("1/0", "round(5, -10**8)", "9**9**9", "-" * 900 + "1", "batch.x", "__import__('os')", "x" * 3000, "'a' * 10**9", "exp(1e9)",
                "log2(0)", "batch if", "(", "1" * 1990, "lambda: 1", "batch > 'a'", "[1] < 2", "max()", "batch[0][1]", "5 parsecs")  # fmt: skip


def sweep(rng: random.Random) -> Case:
    """Return a check or a sweep of a damaged file."""
    tree = mutate_tree(rng, _SWEEP)
    if isinstance(tree, dict) and rng.random() < 0.3:
        tree[rng.choice(("columns", "constraints", "derive"))] = rng.choice(
            (rng.choice(_EXPRESSIONS), {"x": rng.choice(_EXPRESSIONS)}, [rng.choice(_EXPRESSIONS)])
        )
    content = yaml.safe_dump(tree, allow_unicode=True, sort_keys=False).encode("utf-8", "replace")
    content = mutate_bytes(rng, content) if rng.random() < 0.15 else content
    if rng.random() < 0.5:
        return Case("sweep", ["check", "s.yaml"], {"s.yaml": content}, place="s.yaml")
    arguments = ["sweep", "s.yaml", "--workers", "1", "--frame", "csv", "--out", "out", "-q", "--format", "json"]
    return Case("sweep", arguments, {"s.yaml": content}, is_json=True)


@cache
def _results() -> dict[str, dict[str, bytes]]:
    """Return folders of results, one of each kind, made once."""
    folders = {}
    with tempfile.TemporaryDirectory() as scratch:
        calls = {
            "run": ["run", "--hw", "papi", "--trace", "llama-68m", "--set", SMALL],
            "comparison": ["compare", "--hw", "papi", "--hw", "gpu_only", "--trace", "llama-68m", "--set", SMALL],
        }
        for kind, arguments in calls.items():
            out = Path(scratch) / kind
            done = CliRunner().invoke(papisim, [*arguments, "--out", str(out), "--quiet"])
            assert done.exit_code == 0, done.output
            folders[kind] = {
                str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()
            }
    return folders


def results(rng: random.Random) -> Case:
    """Return a report on a damaged folder of results."""
    files = {f"d/{name}": content for name, content in rng.choice(list(_results().values())).items()}
    name = rng.choice(sorted(files))
    if rng.random() < 0.1:
        del files[name]
    elif name.endswith(".json") and rng.random() < 0.7:
        files[name] = _json(mutate_tree(rng, json.loads(files[name])))
    elif name.endswith(".csv") and rng.random() < 0.7:
        files[name] = mutate_table(rng, files[name].decode()).encode()
    else:
        files[name] = mutate_bytes(rng, files[name])
    return Case("results", ["report", "d", "-o", "out.html"], files, place="d")


def corrections(rng: random.Random) -> Case:
    """Return the price of a kernel on a part with damaged tables of corrections."""
    part = (ROOT / "hwconfigs/devices/h100.yaml").read_bytes()
    tables = {f"fits/{path.name}": path.read_bytes() for path in (ROOT / "hwconfigs/devices/fits").glob("h100*.csv")}
    name = rng.choice(sorted(tables))
    text = tables[name].decode()
    tables[name] = mutate_table(rng, text).encode() if rng.random() < 0.7 else mutate_bytes(rng, text.encode())
    files = {"h100.yaml": part.replace(b"hwconfigs/devices/fits/", b"fits/"), **tables}
    arguments = [
        "price",
        "--hw",
        "h100.yaml",
        "--op",
        "linear",
        "--m",
        "4",
        "--k",
        "4096",
        "--n",
        "4096",
        "-q",
        "--format",
        "json",
    ]
    return Case("corrections", arguments, files, is_json=True)


_PRICED = "op,heads_per_stack,kv,tlp,m,k,n,weight_bits\nattention,4,512,1,,,,\nlinear,,,,4,4096,4096,16\n"


def kernel_table(rng: random.Random) -> Case:
    """Return the prices of a damaged table of kernels."""
    content = mutate_table(rng, _PRICED).encode() if rng.random() < 0.8 else mutate_bytes(rng, _PRICED.encode())
    hw = rng.choice(("h100", "fc_pim", "attn_pim", "nvlink3"))
    return Case("kernel table", ["price", "--hw", hw, "--batch", "k.csv", "-q"], {"k.csv": content})


#: calls that work, to which hostile options are added
_CALLS = (
    [*RUN, "--hw", "papi"],
    ["compare", "--hw", "papi", "--hw", "gpu_only", *RUN[1:]],
    ["price", "--hw", "fc_pim", "--op", "linear", "--m", "4", "--k", "4096", "--n", "4096"],
    ["price", "--hw", "h100", "--op", "attention", "--batch-size", "4", "--heads", "8", "--kv", "512"],
    ["workload", "inspect", "creative_writing"],
    ["list"],
    ["fit", "acceptance", "none.jsonl"],
    ["report", "none"],
    ["sweep", "none.yaml"],
    ["explain", "--hw", "papi", *RUN[1:-2]],
)
#: options that start a server, a download, many processes or torch
_NOT_TRIED = {"--help", "--scheduler", "--storage", "--workers", "--device", "--processes"}
_ASSIGNED = ("workload.n_requests", "workload.lengths.input_tokens", "workload.lengths.output_tokens", "devices.fc_pim.count",
             "devices.gpu.count", "devices.gpu.part.memory.bandwidth_bytes_per_s", "devices.fc_pim.part.clock_hz", "placement.alpha", "placement",
             "slo.ttft_s", "kv.page_tokens", "roles.tensor_parallel.ranks", "links.nvlink.count", "quantisation.weight_bits", "host",
             "faults", "speculation", "drafting", "batching", "acceptance", "", ".", "a[0]", "devices", "=", "workload.kind")  # fmt: skip


def options(rng: random.Random) -> Case:
    """Return a working call with hostile options."""
    call = list(rng.choice(_CALLS))
    command: click.Command = papisim
    assert isinstance(papisim, click.Group)
    context = click.Context(papisim)
    for word in call[:2]:
        if isinstance(command, click.Group):
            command = command.get_command(context, word) or command
    known = [each for each in command.params if isinstance(each, click.Option) and each.opts[0] not in _NOT_TRIED]
    for _ in range(rng.randint(1, 2) if known else 0):
        option = rng.choice(known)
        if option.name in ("overrides", "set"):
            call += [option.opts[0], f"{rng.choice(_ASSIGNED)}={_word(rng)}"]
        else:
            call += [rng.choice(option.opts), *([] if option.is_flag else [_word(rng)])]
    return Case("options", [word for word in call if "\0" not in word])


def _word(rng: random.Random) -> str:
    value = rng.choice(rng.choice((HOSTILE, CELLS)))
    return value if isinstance(value, str) else json.dumps(value)


#: every kind of input, and what makes a case of it
KINDS: dict[str, Callable[[random.Random], Case]] = {
    **{kind: configuration(kind) for kind in _FOLDERS},
    "kernel trace": kernel_trace,
    "request trace": request_trace,
    "acceptance log": acceptance_log,
    "profiler's trace": kineto,
    "sweep": sweep,
    "results": results,
    "corrections": corrections,
    "kernel table": kernel_table,
    "options": options,
}
