"""Profiler traces: read without torch, joined to operators, classed."""

import csv
import gzip
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from papisim.errors import InputError
from papisim.ops.kernel import KernelClass
from papisim.ops.trace import Point
from papisim.tracing.durations import durations_of, import_trace, longest_unclassed, write_durations
from papisim.tracing.kineto import GpuLaunch, Operand, Operator, read_kineto
from papisim.tracing.launches import UNCLASSED, RuntimeWork, classify_launches

DATA = Path(__file__).parents[2] / "data"
RECORDED = sorted(DATA.glob("h200_llama7b_2layers_*.json.gz"))


def op(name: str, start: float, duration: float, dims: Any = (), types: Any = (), tid: int = 1) -> dict[str, Any]:
    args = {"Input Dims": list(dims), "Input type": list(types)}
    return {
        "ph": "X",
        "cat": "cpu_op",
        "name": name,
        "ts": start,
        "dur": duration,
        "pid": 1,
        "tid": tid,
        "args": args,
    }


def call(correlation: int, start: float, tid: int = 1) -> dict[str, Any]:
    args = {"correlation": correlation}
    return {
        "ph": "X",
        "cat": "cuda_runtime",
        "name": "cudaLaunchKernel",
        "ts": start,
        "dur": 1,
        "pid": 1,
        "tid": tid,
        "args": args,
    }


def kernel(name: str, correlation: int, start: float, duration: float = 5, cat: str = "kernel") -> dict[str, Any]:
    args = {"correlation": correlation}
    return {"ph": "X", "cat": cat, "name": name, "ts": start, "dur": duration, "pid": 0, "tid": 7, "args": args}


def write(folder: Path, events: list[dict[str, Any]], **fields: Any) -> Path:
    path = folder / "trace.json"
    path.write_text(json.dumps({"traceEvents": events, **fields}), encoding="utf-8")
    return path


def launch(
    name: str, *operands: tuple[str, tuple[int, ...]], inside: tuple[str, ...] = (), kernel_name: str = "k"
) -> GpuLaunch:
    own = Operator(f"aten::{name}", tuple(Operand(*operand) for operand in operands))
    return GpuLaunch(kernel_name, 0.0, 1e-6, (own, *(Operator(f"aten::{outer}") for outer in inside)))


HALF, SINGLE, LONG = "c10::Half", "float", "long int"


# ---- reading


def test_a_launch_is_joined_to_the_operators_around_its_runtime_call(tmp_path: Path) -> None:
    events = [
        kernel("gemm", 9, start=40),
        op("aten::linear", 0, 20, [[1, 8], [4, 8], []], [HALF, HALF, ""]),
        op("aten::mm", 2, 10, [[1, 8], [8, 4]], [HALF, HALF]),
        call(9, 5),
        op("aten::silu", 30, 5, tid=2),
        call(8, 5, tid=2),
        kernel("other", 8, start=50),
    ]
    trace = read_kineto(write(tmp_path, events, deviceProperties=[{"name": "NVIDIA H200"}]))
    first, second = trace.launches
    assert [operator.name for operator in first.operators] == ["aten::mm", "aten::linear"]
    assert first.operator == Operator("aten::mm", (Operand(HALF, (1, 8)), Operand(HALF, (8, 4))))
    assert first.time_s == pytest.approx(5e-6)
    assert second.operators == (), "no operator of its own thread encloses it"
    assert (trace.gpu, trace.has_shapes) == ("NVIDIA H200", True)
    assert trace.time_s == pytest.approx(1e-5)


def test_operators_that_follow_each_other_do_not_enclose_each_other(tmp_path: Path) -> None:
    events = [op("aten::mm", 0, 10), op("aten::add", 10, 10), call(1, 12), kernel("k", 1, 30)]
    (only,) = read_kineto(write(tmp_path, events)).launches
    assert [operator.name for operator in only.operators] == ["aten::add"]


def test_of_operators_that_start_together_the_longer_one_encloses_the_other(tmp_path: Path) -> None:
    events = [op("aten::mm", 0, 10), op("aten::linear", 0, 20), call(1, 5), kernel("k", 1, 30)]
    (only,) = read_kineto(write(tmp_path, events)).launches
    assert [operator.name for operator in only.operators] == ["aten::mm", "aten::linear"]


def test_a_list_of_tensors_gives_its_tensors_and_numbers_give_nothing(tmp_path: Path) -> None:
    dims, types = [[[2, 3], [2, 5]], [], [4]], ["TensorList", "Scalar", LONG]
    events = [op("aten::cat", 0, 10, dims, types), call(1, 2), kernel("k", 1, 30)]
    (only,) = read_kineto(write(tmp_path, events)).launches
    assert only.operators[0].operands == (
        Operand("TensorList", (2, 3)),
        Operand("TensorList", (2, 5)),
        Operand(LONG, (4,)),
    )


def test_compressed_and_bare_lists_are_read_too(tmp_path: Path) -> None:
    path = tmp_path / "trace.json.gz"
    path.write_bytes(
        gzip.compress(json.dumps([kernel("k", 1, 0), kernel("Memset", 2, 9, cat="gpu_memset")]).encode())
    )
    assert [found.kernel for found in read_kineto(path).launches] == ["k", "Memset"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("nonsense", "is not JSON"),
        ("{}", "no list 'traceEvents'"),
        ("3", "no list 'traceEvents'"),
        ('{"traceEvents": [{"ph": "X", "cat": "cpu_op", "ts": 1, "dur": 1}]}', "nothing in it ran on a GPU"),
        ("\x1f\x8b", "may not be read"),
    ],
)
def test_what_is_no_trace_is_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "t.json"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(InputError, match=message):
        read_kineto(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_kineto(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(
            (field, value)
            for field in ("ts", "dur")
            for value in ("fifty", None, [], {}, True, float("nan"), float("inf"), 10**400)
        ),
        ("dur", -5),
        ("dur", "1_000"),
        ("name", 5),
        ("args", {"correlation": []}),
        ("args", {"correlation": {}}),
        ("args", {"Input Dims": 5}),
        ("args", {"Input Dims": [[1]], "Input type": 5}),
        ("args", {"Input Dims": [[1]], "Input type": [5]}),
        ("args", {"Input Dims": [[1]], "Input type": [["a"]]}),
        ("args", {"Input Dims": [["a"]], "Input type": ["float"]}),
        ("args", {"Input Dims": [[-1]], "Input type": ["float"]}),
        ("args", {"Input Dims": [[[1], 2]], "Input type": ["float"]}),
    ],
)
def test_a_wrong_field_of_an_event_is_named(tmp_path: Path, field: str, value: Any) -> None:
    path = write(tmp_path, [kernel("good", 1, 0), kernel("bad", 2, 9) | {field: value}])
    with pytest.raises(InputError, match=r"found .*, expected") as caught:
        read_kineto(path)
    inner = next(iter(reversed(value))) if field == "args" else None
    named = {"correlation": ".args.correlation"}.get(inner, ".args.Input Dims") if inner else f".{field}"
    assert caught.value.place.field == f"traceEvents[1]{named}"
    assert len(str(caught.value)) < 1000


def test_a_kernel_without_a_duration_is_refused(tmp_path: Path) -> None:
    event = kernel("k", 1, 0)
    del event["dur"]
    with pytest.raises(InputError, match=r"traceEvents\[0\].dur: found null, expected a number of at least 0"):
        read_kineto(write(tmp_path, [event]))


def test_kernels_that_take_no_time_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="took 0 s"):
        read_kineto(write(tmp_path, [kernel("k", 1, 0, duration=0)]))


def test_events_of_no_category_that_matters_may_be_anything(tmp_path: Path) -> None:
    odd = [{"ph": "X", "cat": [1], "ts": "x"}, {"ph": "X", "cat": "user", "dur": []}, 5, None, {"ph": {}}]
    assert read_kineto(write(tmp_path, [*odd, kernel("k", 1, 0)])).time_s == pytest.approx(5e-6)


@pytest.mark.parametrize("gpus", [5, {"name": "x"}, [5], [{"name": 5}], "H200"])
def test_devices_that_are_no_list_of_devices_are_refused(tmp_path: Path, gpus: Any) -> None:
    with pytest.raises(InputError, match=r"deviceProperties: found .*, expected a list of GPUs"):
        read_kineto(write(tmp_path, [kernel("k", 1, 0)], deviceProperties=gpus))


def test_a_file_that_holds_an_event_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"traceEvents\[2\]: repeats traceEvents\[0\]"):
        read_kineto(write(tmp_path, [kernel("a", 1, 0), kernel("b", 2, 9), kernel("a", 1, 0)]))


def test_the_gpus_of_a_file_are_counted(tmp_path: Path) -> None:
    assert read_kineto(write(tmp_path, [kernel("a", 1, 0), kernel("a", 1, 0) | {"pid": 1}])).n_gpus == 2


def test_pairs_of_begin_and_end_are_named(tmp_path: Path) -> None:
    pair = [kernel("a", 1, 0) | {"ph": "B"}, kernel("a", 1, 5) | {"ph": "E"}]
    with pytest.raises(InputError, match="pairs of begin and end"):
        read_kineto(write(tmp_path, pair))


# ---- classes

CASES = [
    (launch("mm", (HALF, (4, 8)), (HALF, (8, 4)), inside=("linear",)), KernelClass.FC),
    (launch("bmm", (SINGLE, (1, 64, 1)), (SINGLE, (1, 1, 4))), KernelClass.ROTARY),
    (launch("bmm", (HALF, (32, 1, 128)), (HALF, (32, 128, 900))), KernelClass.ATTENTION),
    (launch("_softmax", (HALF, (2, 32, 1, 900))), KernelClass.ATTENTION),
    (
        launch("cat", ("TensorList", (2, 32, 900, 128)), ("TensorList", (2, 32, 1, 128))),
        RuntimeWork.CACHE_CONCATENATION,
    ),
    (launch("cat", ("TensorList", (2, 32, 1, 64)), ("TensorList", (2, 32, 1, 64))), KernelClass.ROTARY),
    (
        launch("copy_", (HALF, (2, 8, 4, 900, 128)), (HALF, (2, 8, 4, 900, 128)), inside=("clone",)),
        RuntimeWork.REPEATED_HEADS,
    ),
    (launch("copy_", (HALF, (2, 8, 1, 128)), (HALF, (2, 8, 1, 128))), KernelClass.KV_APPEND),
    (launch("copy_", (HALF, (2, 1, 8, 128)), (HALF, (2, 1, 8, 128)), inside=("clone",)), KernelClass.ATTENTION),
    (launch("copy_", (SINGLE, (1, 1, 4)), (LONG, (1, 1, 4)), inside=("_to_copy",)), KernelClass.ROTARY),
    (launch("index_copy_", (HALF, (2, 8, 900, 128)), (LONG, (1,)), (HALF, (2, 8, 1, 128))), KernelClass.KV_APPEND),
    (launch("add", (HALF, (2, 1, 4096)), (HALF, (2, 1, 4096))), KernelClass.RESIDUAL),
    (launch("add", (SINGLE, (2, 1, 1)), ("double", ())), KernelClass.NORMALISATION),
    (launch("mul", (SINGLE, (2, 1, 4096)), (SINGLE, (2, 1, 1))), KernelClass.NORMALISATION),
    (launch("mul", (HALF, (4096,)), (HALF, (2, 1, 4096))), KernelClass.NORMALISATION),
    (launch("mul", (HALF, (2, 32, 1, 128)), (HALF, (1, 1, 1, 128))), KernelClass.ROTARY),
    (launch("mul", (SINGLE, (1, 1, 4096)), (SINGLE, (1, 1, 1))), KernelClass.NORMALISATION),
    (launch("mul", (SINGLE, (1, 1, 1)), (SINGLE, (64,))), KernelClass.ROTARY),
    (launch("mul", (HALF, (128,)), (HALF, (2, 32, 1, 128))), KernelClass.NORMALISATION),
    (launch("add", (SINGLE, (2, 32, 1, 1)), ("double", ())), KernelClass.NORMALISATION),
    (launch("mul", (HALF, (6, 4096)), (HALF, (6, 1))), KernelClass.OTHER),
    (launch("clamp_min", (HALF, (6, 64)), inside=("relu",)), KernelClass.ACTIVATION),
    (launch("where", ("bool", (2, 1, 4, 900)), (HALF, ()), (HALF, ())), RuntimeWork.MASK),
    (launch("arange", (LONG, (0,))), RuntimeWork.MASK),
    (launch("fill_", (HALF, ()), inside=("scalar_tensor", "scaled_dot_product_attention")), KernelClass.ATTENTION),
    (launch("gather", (HALF, (32000, 64)), inside=("index_select", "embedding")), KernelClass.EMBEDDING),
    (launch("argmax", (HALF, (2, 32000))), RuntimeWork.SAMPLING),
    (launch("fft", (HALF, (2, 8))), None),
]


@pytest.mark.parametrize(("case", "expected"), CASES, ids=lambda value: getattr(value, "value", None))
def test_an_operator_and_its_shapes_give_the_class(case: GpuLaunch, expected: object) -> None:
    assert classify_launches([case]) == [expected]


def test_conversions_belong_to_the_norm_that_they_prepare_or_end() -> None:
    rows = (HALF, (2, 1, 4096))
    wide = (SINGLE, (2, 1, 4096))
    found = classify_launches([
        launch("add", rows, rows),
        launch("copy_", wide, rows, inside=("_to_copy",)),
        launch("pow", wide),
        launch("rsqrt", (SINGLE, (2, 1, 1))),
        launch("copy_", rows, wide, inside=("_to_copy",)),
        launch("mm", inside=("linear",)),
    ])  # fmt: skip
    assert found == [KernelClass.RESIDUAL, *[KernelClass.NORMALISATION] * 4, KernelClass.FC]


def test_a_gate_is_an_activation_even_with_a_product_in_between() -> None:
    wide = (HALF, (2, 1, 11008))
    found = classify_launches([launch("silu", wide), launch("mm", inside=("linear",)), launch("mul", wide, wide)])
    assert found == [KernelClass.ACTIVATION, KernelClass.FC, KernelClass.ACTIVATION]


@pytest.mark.parametrize(
    ("operators", "kernel_name", "expected"),
    [
        (("_C::rms_norm",), "rms_norm_kernel", KernelClass.NORMALISATION),
        (("_C_cache_ops::reshape_and_cache_flash", "vllm::unified_attention"), "k", KernelClass.KV_APPEND),
        (("_vllm_fa3_C::fwd", "vllm::unified_attention"), "flash_fwd", KernelClass.ATTENTION),
        (("_C::silu_and_mul",), "act_and_mul_kernel", KernelClass.ACTIVATION),
        (("_C::rotary_embedding",), "rotary_embedding_kernel", KernelClass.ROTARY),
        ((), "nvjet_sm90_hsh_64x16", KernelClass.FC),
        ((), "ncclDevKernel_AllReduce_Sum_f16_RING_LL", RuntimeWork.COMMUNICATION),
        ((), "void flash::flash_fwd_splitkv_kernel", KernelClass.ATTENTION),
        ((), "triton_red_fused_add_mean_mul_pow_rsqrt_3", KernelClass.NORMALISATION),
        ((), "mystery", None),
    ],
)
def test_engines_are_classed_by_the_names_of_their_operators_and_kernels(
    operators: tuple[str, ...], kernel_name: str, expected: object
) -> None:
    assert classify_launches([GpuLaunch(kernel_name, 0.0, 1.0, tuple(map(Operator, operators)))]) == [expected]


# ---- recorded traces


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.name)
def test_a_recorded_trace_of_plain_transformers_is_classed(path: Path) -> None:
    trace, durations = import_trace(path)
    assert trace.gpu == "NVIDIA H200"
    assert durations.classed_ratio >= 0.97
    assert sum(found.time_s for found in durations.classes) == pytest.approx(trace.time_s)
    counts = {found.kernel_class: found.n_kernels for found in durations.classes}
    assert counts["normalisation"] == 5 * 8, "two norms a layer and the last, eight aten kernels each"
    assert counts["rotary"] == 2 * 10 + 9
    assert counts["residual"] == counts["activation"] == counts["cache_concatenation"] == 2 * 2


def test_traces_were_recorded_and_are_small() -> None:
    assert len(RECORDED) == 2
    assert all(path.stat().st_size < 150_000 for path in RECORDED)


def test_the_concatenated_cache_is_shown_as_an_artefact() -> None:
    """Two layers and the LM head; with all 32 layers it is 71 % (kernels/measured/h200/capture_llama7b.csv)."""
    _, durations = import_trace(DATA / "h200_llama7b_2layers_rlp16_tlp4_kv1024.json.gz")
    name, share, explanation = durations.artefacts[0]
    assert name == "cache_concatenation"
    assert 0.6 < share < 0.75
    assert "a serving engine writes" in explanation


def test_a_recorded_trace_names_no_machine() -> None:
    for path in RECORDED:
        text = gzip.decompress(path.read_bytes()).decode()
        assert not any(
            word in text.lower() for word in ("host_name", "hostname", "/tmp", "/root", "/home", "distributedinfo")
        )


# ---- tables and the command


def test_the_table_has_a_row_for_each_point_and_class(tmp_path: Path) -> None:
    events = [kernel("gemm", 1, 0), kernel("gemm", 2, 9), kernel("mystery", 3, 20, duration=30)]
    trace = read_kineto(write(tmp_path, events))
    write_durations(tmp_path / "new" / "t.csv", [(Point(rlp=2, tlp=1, kv=512), durations_of(trace))])
    rows = list(csv.DictReader((tmp_path / "new" / "t.csv").open()))
    assert [(row["kernel_class"], row["n_kernels"], float(row["time_s"])) for row in rows] == [
        (UNCLASSED, "1", 3e-5), ("fc", "2", 1e-5),
    ]  # fmt: skip
    assert longest_unclassed(trace) == [("mystery", pytest.approx(3e-5))]


def test_times_in_the_table_have_five_digits(tmp_path: Path) -> None:
    trace = read_kineto(write(tmp_path, [kernel("gemm", 1, 0, duration=12.3456)]))
    write_durations(tmp_path / "t.csv", [(Point(rlp=2, tlp=1, kv=512), durations_of(trace))])
    (row,) = csv.DictReader((tmp_path / "t.csv").open())
    assert row["time_s"] == "1.2346e-05"


def test_the_longest_unclassed_kernels_come_first_each_with_all_its_launches(tmp_path: Path) -> None:
    events = [kernel(f"odd{n}", n, 100 * n, duration=n) for n in range(1, 8)]
    trace = read_kineto(write(tmp_path, [*events, kernel("odd1", 8, 900, duration=8)]))
    assert longest_unclassed(trace, most=3) == [
        ("odd1", pytest.approx(9e-6)), ("odd7", pytest.approx(7e-6)), ("odd6", pytest.approx(6e-6)),
    ]  # fmt: skip
    assert len(longest_unclassed(trace)) == 5


def papisim(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "papisim", "capture", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_command_imports_without_torch() -> None:
    code = (
        "import sys; sys.modules['torch'] = sys.modules['transformers'] = None\n"
        f"sys.argv = ['papisim', 'capture', '--from-profiler', {str(RECORDED[0])!r}, '--format', 'json']\n"
        "from papisim.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["schema"] == "papisim/profiler-import/1"
    assert report["classed_ratio"] >= 0.97
    assert sum(found["time_ratio"] for found in report["classes"]) == pytest.approx(1)
    assert report["artefacts"][0]["kernel_class"] == "cache_concatenation"


def test_the_command_prints_a_table_and_csv() -> None:
    table = papisim("--from-profiler", str(RECORDED[0]))
    assert "classed: 100.00% of the GPU time" in table.stdout
    assert "artefact: cache_concatenation" in table.stdout
    rows = list(csv.DictReader(io.StringIO(papisim("--from-profiler", str(RECORDED[0]), "--format", "csv").stdout)))
    assert {"fc", "attention"} < {row["kernel_class"] for row in rows}


def test_what_has_no_class_is_named(tmp_path: Path) -> None:
    done = papisim("--from-profiler", str(write(tmp_path, [kernel("mystery", 1, 0)])))
    assert "classed: 0.00%" in done.stdout
    assert "recorded without record_shapes=True" in done.stderr
    assert "unclassed: 0.0050 ms mystery" in done.stderr


@pytest.mark.parametrize("arguments", [(), ("llama7b", "--from-profiler", "x.json")])
def test_the_command_wants_a_model_or_a_trace(arguments: tuple[str, ...]) -> None:
    done = papisim(*arguments)
    assert done.returncode == 2
    assert "give a MODEL, or --from-profiler FILE" in done.stderr


def test_a_wrong_grid_is_refused() -> None:
    done = papisim("llama7b", "--device", "cuda", "--rlp", "1,0")
    assert done.returncode == 2
    assert "expected whole numbers of at least 1" in done.stderr
