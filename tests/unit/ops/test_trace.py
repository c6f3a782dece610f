from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from papisim.errors import InputError, InputErrors, PapisimError
from papisim.ops.dims import parse_dim
from papisim.ops.kernel import FcRole, KernelClass
from papisim.ops.tensors import Tensor, parse_tensor
from papisim.ops.trace import Block, KernelTrace, read_trace

POINT = {"RLP": 4, "TLP": 2, "KV": 100}

TRACE = """\
schema: papisim/kernel-trace/1
name: tiny
provenance:
  command: papisim capture tiny
  date: "2025-03-30"
  torch: "2.6.0"
  transformers: "5.0.0"
  config_sha256: "0000000000000000000000000000000000000000000000000000000000000000"
  captured_at:
  - {RLP: 11, TLP: 3, KV: 131}
  verified_at:
  - {RLP: 1, TLP: 29, KV: 1031}
model:
  model_type: llama
  n_layers: 2
  hidden_size: 64
  n_heads: 4
  n_kv_heads: 2
  head_dim: 16
  vocab_size: 128
  intermediate_size: 96
  dtype: float16
  n_parameters: 4160
  tied_embeddings: false
blocks:
- name: layer
  layers: 0-1
  kernels:
  - name: attn.q_proj
    kernel_class: fc
    role: qkv
    fc: {m: RLP*TLP, k: 64, n: 32}
    weights: ["attn.q_proj.weight float16[32, 64]"]
    reads: ["float16[RLP*TLP, 64]"]
    writes: ["float16[RLP*TLP, 32]"]
    matmul_flop: 4096*RLP*TLP
    aten:
    - {op: aten.mm.default, inputs: ["float16[RLP*TLP, 64]", "float16[64, 32]"], flop: 4096*RLP*TLP}
  - name: attn.kv_append
    kernel_class: kv_append
    reads: ["float16[RLP, 2, TLP, 16]", "float16[RLP, 2, TLP, 16]"]
    writes: ["float16[RLP, 2, TLP, 16]", "float16[RLP, 2, TLP, 16]"]
  - name: attn.attention
    kernel_class: attention
    attention: {n_heads: 4, n_kv_heads: 2, head_dim: 16}
    reads: ["float16[RLP, 4, TLP, 16]", "float16[RLP, 2, KV + TLP, 16]", "float16[RLP, 2, KV + TLP, 16]"]
    writes: ["float16[RLP, TLP, 4, 16]"]
- name: after_layers
  kernels:
  - name: norm
    kernel_class: normalisation
    weights: ["norm.weight float16[64]"]
    reads: ["float16[RLP, TLP, 64]"]
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "trace.yaml"
    path.write_text(text)
    return path


@pytest.fixture
def trace(tmp_path: Path) -> KernelTrace:
    return read_trace(write(tmp_path, TRACE))


def test_a_trace_has_its_blocks_in_order_with_their_repeats(trace: KernelTrace) -> None:
    assert [(block.name, block.repeats, list(block.layer_indices)) for block in trace.blocks] == [
        ("layer", 2, [0, 1]),
        ("after_layers", 1, []),
    ]
    assert [(kernel.name, repeats) for kernel, repeats in trace.kernels()] == [
        ("attn.q_proj", 2),
        ("attn.kv_append", 2),
        ("attn.attention", 2),
        ("norm", 1),
    ]


def test_an_fc_kernel_reads_its_weight_and_input_and_writes_its_output(trace: KernelTrace) -> None:
    kernel = trace.blocks[0].kernels[0]
    assert (kernel.kernel_class, kernel.role) == (KernelClass.FC, FcRole.QKV)
    assert kernel.weight_bytes.at(POINT) == 64 * 32 * 2
    assert kernel.read_bytes.at(POINT) == (64 * 32 + 8 * 64) * 2
    assert kernel.write_bytes.at(POINT) == 8 * 32 * 2
    assert kernel.flop.at(POINT) == 2 * 8 * 64 * 32


def test_attention_reads_k_and_v_at_the_heads_of_the_cache(trace: KernelTrace) -> None:
    kernel = trace.blocks[0].kernels[2]
    assert kernel.read_bytes.at(POINT) == (4 * 4 * 2 * 16 + 2 * 4 * 2 * 102 * 16) * 2


def test_the_weight_bytes_of_fc_kernels_count_every_layer(trace: KernelTrace) -> None:
    assert trace.fc_weight_bytes == 2 * 64 * 32 * 2


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "schema: papisim/kernel-trace/1",
            "schema: papisim/kernel-trace/9",
            r":1:9: schema: .*papisim/kernel-trace/1",
        ),
        (
            '"float16[RLP*TLP, 64]"]\n    writes',
            '"float16[RLB*TLP, 64]"]\n    writes',
            "unknown symbol 'RLB'; did you",
        ),
        ("float16[RLP, TLP, 64]", "float16[-4, TLP, 64]", "'-4', which is negative"),
        ("float16[RLP, TLP, 64]", "float61[RLP, TLP, 64]", "element type 'float61'; did you mean 'float"),
        ('reads: ["float16[RLP, TLP, 64]"]', "reads: [4096]", r":53:13: .*found 4096, expected a tensor"),
        ("kernel_class: normalisation", "kernel_class: normalization", r":51:19: .*found 'normalization'"),
        ("role: qkv", "role: qvk", "found 'qvk'"),
        ("layers: 0-1", "layers: 0-2", "found blocks for the layers 0-2, expected each of the model's 2 layers"),
        ("layers: 0-1", "layers: 1-0", "expected layers in order such as 7"),
        ("  layers: 0-1\n", "", "found blocks for the layers none"),
        ("name: after_layers", "name: layer", "two blocks have the name 'layer'"),
        ("    role: qkv\n", "", "is of class fc; expected a 'role'"),
        ("k: 64, n: 32", "k: 64, n: 33", r"has matmul_flop 4096\*RLP\*TLP, expected 2\*m\*k\*n"),
        ("float16[32, 64]", "float16[32, 63]", r"has no weight of k\*n\*groups = 2048 elements"),
        ("flop: 4096*RLP*TLP}", "flop: 4097*RLP*TLP}", "but its aten kernels have 4097"),
        ("    attention: {n_heads: 4, n_kv_heads: 2, head_dim: 16}\n", "", "must have 'attention:"),
        ("float16[RLP, TLP, 64]", "float16[EXPERT_ROWS, 64]", "uses EXPERT_ROWS but is not per_expert"),
        ("name: norm\n", "name: norm\n    per_expert: true\n", "per_expert kernels in a model with n_experts 0"),
        ("  n_layers: 2\n", "", "field 'n_layers' is missing"),
        ("  n_layers: 2\n", "  n_layers: 2\n  n_expert: 2\n", "unknown field; did you mean 'n_experts'"),
        ("layers: 0-1", "layers: 0-99999999999999", "expected layers in order such as 7"),
        ("n_layers: 2", "n_layers: 9999999999999", "expected less than or equal to 10000000"),
        ("n_layers: 2", "n_layers: 3", "expected each of the model's 3 layers once"),
        ("m: RLP*TLP,", "m: 1.5,", "expected a dimension"),
        ("verified_at:\n  - {RLP: 1, TLP: 29, KV: 1031}", "verified_at: []", "found an empty list"),
        ("name: tiny", "name: !!python/object/apply:os.getpid []", "tag"),
    ],
)
def test_a_corrupt_trace_is_refused_with_the_place_and_the_reason(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    assert old in TRACE
    path = write(tmp_path, TRACE.replace(old, new, 1))
    with pytest.raises((InputError, InputErrors), match=message) as caught:
        read_trace(path)
    assert str(caught.value).startswith(f"{path}:")
    assert len(str(caught.value).splitlines()) == 1
    assert caught.value.exit_status == 2


def test_an_empty_trace_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PapisimError, match="is empty"):
        read_trace(write(tmp_path, ""))


def test_a_trace_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PapisimError, match="no such file"):
        read_trace(tmp_path / "trace.yaml")


def test_a_tensor_is_read_as_it_is_written() -> None:
    assert str(parse_tensor("float16[RLP*TLP,4096]")) == "float16[RLP*TLP, 4096]"
    assert parse_tensor("float32[]") == Tensor("float32", ())
    assert parse_tensor("float32[]").n_bytes.constant == 4
    assert parse_tensor("int64[KV + TLP, 2]").n_bytes == parse_dim("16*KV + 16*TLP")


@pytest.mark.parametrize(
    "text", ["float16", "[4]", "float16[4", "float16[4]]", "float16[,]", "", 7, None, ["float16[4]"]]
)
def test_what_is_no_tensor_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="expected"):
        parse_tensor(text)


def test_a_single_layer_is_a_block_of_its_own(trace: KernelTrace) -> None:
    block = Block(name="layer", layers=7, kernels=trace.blocks[1].kernels)
    assert list(block.layer_indices) == [7]


def test_reading_a_trace_needs_no_torch(tmp_path: Path) -> None:
    path = write(tmp_path, TRACE)
    code = (
        "import sys; sys.modules['torch'] = None; sys.modules['transformers'] = None\n"
        "from papisim.ops.trace import read_trace\n"
        f"print(read_trace({str(path)!r}).name)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "tiny\n"
