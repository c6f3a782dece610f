"""What clients of benchmarks write: the requests they sent or how they sent them, and the latencies that they measured.

Four forms are read, each known by its keys:

``vllm``
    JSON of ``vllm bench serve --save-result``, with ``--save-detailed`` the requests one by one.
``sglang``
    JSON Lines of ``sglang.bench_serving --output-file``, with ``--output-details`` the requests one by one.
``aiperf records``
    JSON Lines of AIPerf, ``profile_export.jsonl``: one request per line.
``aiperf``
    JSON of AIPerf or GenAI-Perf, ``profile_export_aiperf.json`` or ``…_genai_perf.json``: statistics and the client's settings.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

import numpy as np

from papisim.arrays import Floats
from papisim.errors import InputError, NotModelled
from papisim.validation.served import Statistics, latencies_between, statistics_of

Form = Literal["vllm", "sglang", "aiperf", "aiperf records"]
#: a JSON object
Object = Mapping[str, object]

#: what is read, for messages
EXPECTED: Final = (
    "expected JSON of vllm bench serve --save-result, JSON Lines of sglang.bench_serving, profile_export.jsonl or "
    "profile_export_aiperf.json of AIPerf, or profile_export_genai_perf.json of GenAI-Perf"
)
#: names of metrics in statistics of vLLM and SGLang, and of AIPerf and GenAI-Perf, whose inter-token latency is per request
_METRICS: Final = {"ttft": "ttft", "tpot": "tpot", "itl": "itl", "e2el": "e2e", "e2e_latency": "e2e"}
_BLOCKS: Final = {"time_to_first_token": "ttft", "inter_token_latency": "tpot", "request_latency": "e2e"}
_STATISTIC = re.compile(r"(mean|median|p\d+)_(ttft|tpot|itl|e2el|e2e_latency)_ms")
#: no time, length or count is larger
_MOST: Final = 1e21
_MS_PER: Final = {"ms": 1.0, "s": 1e3, "sec": 1e3, "us": 1e-3, "ns": 1e-6}


@dataclass(frozen=True)
class Pace:
    """How fast requests are sent.

    Attributes:
        rate_per_s: mean rate of arrivals; infinite where all come at once, or as others end.
        burstiness: shape of the gamma distribution of gaps; 1 is a Poisson process.
        concurrency: most requests at once; None without a limit.
    """

    rate_per_s: float = math.inf
    burstiness: float = 1.0
    concurrency: int | None = None


@dataclass(frozen=True)
class Client:
    """The requests of a client and how they were sent.

    Attributes:
        n_requests: requests that were served.
        lengths: their prompt and answer tokens, as the section ``lengths`` of a workload has them.
        pace: how fast requests were sent.
        arrival_s: when each request was sent, where that is known.
    """

    n_requests: int
    lengths: dict[str, object]
    pace: Pace = Pace()
    arrival_s: tuple[float, ...] | None = None

    def workload(self) -> dict[str, object]:
        """Return the requests as a workload.

        A limit on requests at once is a closed loop, in which a request follows the end of another. Otherwise known arrivals are
        replayed.

        Raises:
            NotModelled: a limit on requests at once together with a rate of arrivals, whose times are not known.
        """
        pace = self.pace
        if pace.concurrency is not None and math.isinf(pace.rate_per_s):
            return {"kind": "closed_loop", "n_users": pace.concurrency, **self._described}
        if self.arrival_s is not None:
            rows = zip(self.arrival_s, self._pairs, strict=True)
            return {"kind": "listed", "requests": sorted([arrival, *pair] for arrival, pair in rows)}
        if pace.concurrency is not None:
            raise NotModelled(
                f"at most {pace.concurrency} requests at once that arrive at {pace.rate_per_s:g} per second: only results with the "
                "time of each request (vllm bench serve --save-detailed) tell what came of both"
            )
        if math.isinf(pace.rate_per_s):
            return {"kind": "closed_batch", **self._described}
        rate = {"rate_per_s": pace.rate_per_s, **self._described}
        if pace.burstiness == 1:
            return {"kind": "poisson", **rate}
        return {"kind": "gamma_burst", "gap_cv": pace.burstiness**-0.5, **rate}

    @property
    def _described(self) -> dict[str, object]:
        return {"n_requests": self.n_requests, "lengths": self.lengths}

    @property
    def _pairs(self) -> Sequence[Sequence[int]]:
        pairs = self.lengths["pairs"]
        assert isinstance(pairs, list)
        return pairs


@dataclass(frozen=True)
class BenchmarkResult:
    """The result of one benchmark.

    Attributes:
        form: the form of the file.
        model: the model as the client calls it; empty if it does not say.
        client: how requests were sent.
        measured: latencies, in seconds.
        output_tokens_per_s: measured throughput; None if it is not told.
        notes: what the file leaves open.
    """

    form: Form
    model: str
    client: Client
    measured: Statistics
    output_tokens_per_s: float | None
    notes: tuple[str, ...] = field(default=())


def read_results(path: Path) -> list[BenchmarkResult]:
    """Read the results of a file.

    Raises:
        InputError: the file cannot be read, is in none of the forms, or lacks a field.
    """
    documents = list(_documents(path))
    first = documents[0][1]
    if "metadata" in first and "metrics" in first:
        return [_aiperf_records(path, documents)]
    return [_read_one(path, line, document) for line, document in documents]


def _documents(path: Path) -> Iterator[tuple[int, Object]]:
    """Yield the objects of a JSON file or of JSON Lines, with their lines.

    Raises:
        InputError: the file cannot be read or holds something else.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read: {error}", file=str(path)) from None
    whole = _parsed(text)
    if isinstance(whole, dict):
        yield 1, whole
        return
    if whole is not None or not text.strip():
        raise InputError(f"holds no result; {EXPECTED}", file=str(path))
    for line, part in enumerate(text.splitlines(), start=1):
        if part.strip():
            document = _parsed(part)
            if not isinstance(document, dict):
                raise InputError(f"is neither JSON nor JSON Lines; {EXPECTED}", file=str(path), line=line)
            yield line, document


def _parsed(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _read_one(path: Path, line: int, document: Object) -> BenchmarkResult:
    fields = _Fields(document, path, line)
    if "mean_e2e_latency_ms" in document:
        return _sglang(fields)
    if "num_prompts" in document and "duration" in document:
        return _vllm(fields)
    if "request_latency" in document and "input_config" in document:
        return _aiperf(fields)
    if "experiments" in document:
        raise InputError(
            "holds the raw export of perf_analyzer, which has no numbers of tokens; give the file that GenAI-Perf makes of it, "
            "profile_export_genai_perf.json",
            file=str(path),
        )
    raise InputError(f"is in no form that is known; {EXPECTED}", file=str(path), line=line)


@dataclass(frozen=True)
class _Fields:
    """The fields of an object, each read with its type."""

    document: Object
    path: Path
    line: int

    def number(self, name: str, default: float | None = None) -> float:
        """Return a number; text that says ``inf`` is one.

        Raises:
            InputError: it is missing, without a default, or no number.
        """
        value = self.document.get(name, default)
        if value is None and default is not None:
            return default
        if value == "inf":
            return math.inf
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < _MOST:
            raise self.error(name, f"found {value!r}, expected a number of at least 0")
        return float(value)

    def numbers(self, name: str, n: int | None = None) -> Floats:
        """Return a list of numbers, ``n`` of them if given.

        Raises:
            InputError: it is no such list.
        """
        value = self.document.get(name)
        if not isinstance(value, list) or not all(
            isinstance(each, int | float) and 0 <= each < _MOST for each in value
        ):
            raise self.error(name, "expected a list of numbers of at least 0, one per request")
        if n is not None and len(value) != n:
            raise self.error(name, f"found {len(value)} numbers, expected {n} as in 'input_lens'")
        return np.array(value, dtype=np.float64)

    def inner(self, name: str) -> _Fields:
        """Return the fields of an object within.

        Raises:
            InputError: it is missing or no object.
        """
        value = self.document.get(name)
        if not isinstance(value, dict):
            raise self.error(name, "expected an object")
        return _Fields(value, self.path, self.line)

    def text(self, name: str) -> str:
        """Return a text; empty if it is missing."""
        value = self.document.get(name)
        return value if isinstance(value, str) else ""

    def error(self, name: str, message: str) -> InputError:
        """Return an error about a field."""
        return InputError(message, file=str(self.path), line=self.line, field=name)


def _statistics(fields: _Fields) -> dict[tuple[str, str], float]:
    """Return the latencies of fields such as ``p99_ttft_ms``, in seconds."""
    found = {}
    for name in fields.document:
        match = _STATISTIC.fullmatch(name)
        if match and fields.document[name] is not None:
            statistic = "p50" if match[1] == "median" else match[1]
            found[_METRICS[match[2]], statistic] = fields.number(name) / 1e3
    return found


def _pace(fields: _Fields) -> Pace:
    """Return the pace of a client in the manner of vLLM's."""
    limited = fields.document.get("max_concurrency") is not None
    return Pace(
        fields.number("request_rate", math.inf),
        fields.number("burstiness", 1.0),
        int(fields.number("max_concurrency")) if limited else None,
    )


def _vllm(fields: _Fields) -> BenchmarkResult:
    return _summarised("vllm", fields, _nominal_mean)


def _sglang(fields: _Fields) -> BenchmarkResult:
    is_random = fields.text("dataset_name").startswith("random")
    return _summarised("sglang", fields, _sglang_random if is_random else _nominal_mean)


def _nominal_mean(fields: _Fields) -> tuple[dict[str, object], tuple[str, ...]]:
    completed = max(1.0, fields.number("completed"))
    means = [max(1, round(fields.number(f"total_{which}_tokens") / completed)) for which in ("input", "output")]
    note = f"lengths of single requests are not in the file: each has the mean, {means[0]} and {means[1]} tokens"
    return {"kind": "fixed", "input_tokens": means[0], "output_tokens": means[1]}, (note,)


def _sglang_random(fields: _Fields) -> tuple[dict[str, object], tuple[str, ...]]:
    """Return the lengths of SGLang's random data: uniform from the ratio to 1."""
    lengths = {
        "kind": "uniform",
        "input_tokens": int(fields.number("random_input_len")),
        "output_tokens": int(fields.number("random_output_len")),
        "min_ratio": fields.number("random_range_ratio", 0.0),
    }
    return lengths, ()


def _summarised(
    form: Form, fields: _Fields, described: Callable[[_Fields], tuple[dict[str, object], tuple[str, ...]]]
) -> BenchmarkResult:
    """Return the result of a file in the manner of vLLM: statistics, and lists with a value per request if it is detailed."""
    if "input_lens" in fields.document:
        client, notes = _detailed(fields)
    else:
        lengths, notes = described(fields)
        client = Client(int(fields.number("completed")), lengths, _pace(fields))
    measured, throughput = _statistics(fields), fields.number("output_throughput") or None
    return BenchmarkResult(form, fields.text("model_id"), client, measured, throughput, notes)


def _detailed(fields: _Fields) -> tuple[Client, tuple[str, ...]]:
    inputs = fields.numbers("input_lens")
    pairs = np.stack([inputs, fields.numbers("output_lens", len(inputs))], axis=1).astype(np.int64)
    served = (pairs > 0).all(axis=1)
    if not served.any():
        raise fields.error("output_lens", "no request was served")
    starts = None
    if "start_times" in fields.document:
        times = fields.numbers("start_times", len(pairs))[served]
        starts = tuple((times - times.min()).tolist())
    failed = int((~served).sum())
    notes = (f"{failed} requests failed and are left out",) if failed else ()
    return Client(
        int(served.sum()), {"kind": "listed", "pairs": pairs[served].tolist()}, _pace(fields), starts
    ), notes


def _aiperf_records(path: Path, documents: Sequence[tuple[int, Object]]) -> BenchmarkResult:
    """Return the result of AIPerf's records; requests that failed or that belong to the warm-up are left out."""
    rows, left_out = [], 0
    for line, document in documents:
        fields = _Fields(document, path, line)
        metadata = fields.inner("metadata")
        if document.get("error") is not None or metadata.text("benchmark_phase") == "warmup":
            left_out += 1
            continue
        metrics = fields.inner("metrics")
        start_s = metadata.number("request_start_ns") / 1e9
        first_s, end_s = (_seconds(metrics.inner(name)) for name in ("time_to_first_token", "request_latency"))
        tokens = (metrics.inner(f"{which}_sequence_length").number("value") for which in ("input", "output"))
        rows.append((start_s, start_s + first_s, start_s + end_s, *tokens))
    if not rows:
        raise InputError("holds no request that was served", file=str(path))
    starts, firsts, ends, inputs, outputs = np.array(sorted(rows)).T
    pairs = np.stack([inputs, outputs], axis=1).astype(np.int64).tolist()
    arrival_s = tuple((starts - starts[0]).tolist())
    client = Client(len(rows), {"kind": "listed", "pairs": pairs}, arrival_s=arrival_s)
    measured = statistics_of(latencies_between(starts, firsts, ends, outputs))
    notes: tuple[str, ...] = (
        "arrivals are those of the records; --concurrency replays a client that waited for answers instead",
    )
    notes += (f"{left_out} requests failed or belong to the warm-up, and are left out",) if left_out else ()
    span_s = float(ends.max() - starts[0])
    throughput = float(outputs.sum()) / span_s if span_s else None
    return BenchmarkResult("aiperf records", "", client, measured, throughput, notes)


def _seconds(block: _Fields, name: str = "value") -> float:
    unit = block.text("unit")
    if unit not in _MS_PER:
        raise block.error("unit", f"found '{unit}', expected one of {', '.join(_MS_PER)}")
    return block.number(name) * _MS_PER[unit] / 1e3


def _aiperf(fields: _Fields) -> BenchmarkResult:
    """Return the result of AIPerf or GenAI-Perf, whose statistics are in a block per metric."""
    measured = {}
    for block, metric in _BLOCKS.items():
        if block in fields.document:
            inner = fields.inner(block)
            for name in ("avg", "p50", "p90", "p99"):
                if name in inner.document:
                    measured[metric, "mean" if name == "avg" else name] = _seconds(inner, name)
    blocks = [fields.inner(f"{which}_sequence_length") for which in ("input", "output")]
    means = [max(1, round(block.number("avg"))) for block in blocks]
    spread = any(block.number("std", 0.0) > 0.5 for block in blocks)  # noqa: PLR2004 - less is rounding
    notes = (
        ("lengths of single requests are not in the file: each has the mean; profile_export.jsonl has them",)
        if spread
        else ()
    )
    settings = fields.inner("input_config")
    concurrency, rate = _setting(settings.document, "concurrency"), _setting(settings.document, "request_rate")
    client = Client(
        n_requests=_served_requests(fields, settings),
        lengths={"kind": "fixed", "input_tokens": means[0], "output_tokens": means[1]},
        pace=Pace(math.inf if rate is None else rate, concurrency=None if concurrency is None else int(concurrency)),
    )
    throughput = (
        fields.inner("output_token_throughput").number("avg")
        if "output_token_throughput" in fields.document
        else None
    )
    return BenchmarkResult("aiperf", "", client, measured, throughput, notes)


def _served_requests(fields: _Fields, settings: _Fields) -> int:
    if "request_count" in fields.document:
        return int(fields.inner("request_count").number("avg"))
    asked = _setting(settings.document, "request_count") or _setting(settings.document, "num_prompts")
    if asked is None:
        raise fields.error("request_count", "is missing, here and in input_config")
    return int(asked)


def _setting(settings: Object, name: str) -> float | None:
    """Return a positive number of a client's settings, at whatever depth; None if it is not set."""
    value = settings.get(name)
    if isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
        return float(value)
    inner = (each for each in settings.values() if isinstance(each, dict))
    return next((found for each in inner if (found := _setting(each, name)) is not None), None)
