"""Closed forms that every shipped trace must meet, and the published sizes of their models."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import pytest

from papisim.catalog import Shelf, shipped
from papisim.ops.dims import SYMBOLS
from papisim.ops.kernel import KernelClass
from papisim.ops.trace import KernelTrace, read_trace
from papisim.ops.trace_kernels import TraceKernel

FILES = shipped(Shelf.TRACE)
TRACES = {name: read_trace(path) for name, path in FILES.items()}


def is_uniform(trace: KernelTrace) -> bool:
    """Whether every layer attends to all tokens in the same way; for the others see ``test_family_traces``."""
    layers = [block for block in trace.blocks if block.layers]
    of_layers = [[shape.model_dump(exclude_defaults=True) for shape in block.attention] for block in layers]
    return all(shapes == of_layers[0] and len(shapes) == 1 and "cache" not in shapes[0] for shapes in of_layers)


UNIFORM = [name for name, trace in TRACES.items() if is_uniform(trace)]
DENSE = [name for name in UNIFORM if not TRACES[name].model.n_experts]

#: parameters of the models as their authors publish them, and how many digits of that are published
PUBLISHED = {
    "llama7b": (6.7e9, 0.01), "llama13b": (13.0e9, 0.01), "llama65b": (65.2e9, 0.01), "llama3-8b": (8.0e9, 0.01),
    "llama3-70b": (70.6e9, 0.01), "opt30b": (30e9, 0.01), "opt66b": (66e9, 0.01), "opt1.3b": (1.3e9, 0.02), "gpt3-66b": (66e9, 0.01), "gpt3-175b": (174.6e9, 0.001),
    "mixtral-8x7b": (46.7e9, 0.001), "llama-68m": (68e6, 0.001), "llama32-1b": (1.24e9, 0.005), "qwen2.5-7b": (7_615_616_512, 0),
    "qwen3-8b": (8_190_735_360, 0), "qwen3-32b": (32_762_123_264, 0),
}  # fmt: skip

every_trace = pytest.mark.parametrize("name", TRACES)
every_uniform_trace = pytest.mark.parametrize("name", UNIFORM)
every_dense_trace = pytest.mark.parametrize("name", DENSE)


def at(rlp: int, tlp: int, kv: int) -> dict[str, int]:
    return {"RLP": rlp, "TLP": tlp, "KV": kv, "EXPERT_ROWS": 0}


def of_class(trace: KernelTrace, kernel_class: KernelClass) -> list[tuple[TraceKernel, int]]:
    return [(kernel, repeats) for kernel, repeats in trace.kernels() if kernel.kernel_class is kernel_class]


def parameters_of(trace: KernelTrace) -> dict[str, int]:
    """Elements of each named parameter, all layers and experts counted; keyed by the block and the name."""
    found: dict[str, int] = {}
    for block in trace.blocks:
        for kernel in block.kernels:
            copies = block.repeats * (trace.model.n_experts if kernel.per_expert else 1)
            for parameter in (*kernel.weights, *kernel.tables):
                # a kernel may read a part of a parameter, and another one the rest
                key = f"{block.name}/{parameter.name}"
                found[key] = found.get(key, 0) + parameter.tensor.elements.constant * copies
    return found


def embedding_elements(trace: KernelTrace) -> int:
    """Elements of the token and position embeddings."""
    return sum(t.tensor.elements.constant for kernel, _ in trace.kernels() for t in kernel.tables)


def test_the_models_of_the_papers_are_shipped() -> None:
    assert set(PUBLISHED) <= set(TRACES)


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_trace_has_as_many_parameters_as_its_model_is_published_with(name: str) -> None:
    published, tolerance = PUBLISHED[name]
    assert TRACES[name].model.n_parameters == pytest.approx(published, rel=tolerance)


@every_trace
def test_every_parameter_of_the_model_is_in_the_trace(name: str) -> None:
    trace = TRACES[name]
    shared = trace.model.vocab_size * trace.model.hidden_size if trace.model.tied_embeddings else 0
    assert sum(parameters_of(trace).values()) - shared == trace.model.n_parameters


def test_llama7b_fc_weights_are_all_parameters_but_the_embedding_and_the_norms() -> None:
    trace = TRACES["llama7b"]
    embedding, norms = 32_000 * 4096, (2 * 32 + 1) * 4096
    assert trace.fc_weight_bytes == (trace.model.n_parameters - embedding - norms) * 2
    assert trace.fc_weight_bytes == 13_214_154_752


@every_uniform_trace
def test_fc_weights_are_the_parameters_that_are_matrices_and_no_table(name: str) -> None:
    trace = TRACES[name]
    vectors = sum(
        n
        for kernel, repeats in trace.kernels()
        for parameter in kernel.weights
        for n in [parameter.tensor.elements.constant * repeats]
        if len(parameter.tensor.shape) == 1
    )
    assert trace.fc_weight_bytes == (sum(parameters_of(trace).values()) - embedding_elements(trace) - vectors) * 2


@every_dense_trace
@pytest.mark.parametrize(("rlp", "tlp", "kv"), [(1, 1, 128), (1, 1, 4096), (16, 1, 1024), (4, 8, 1024)])
def test_decode_flops_per_token_are_two_per_weight_and_four_per_cached_element(
    name: str, rlp: int, tlp: int, kv: int
) -> None:
    trace, model = TRACES[name], TRACES[name].model
    flop = sum(kernel.flop.at(at(rlp, tlp, kv)) * repeats for kernel, repeats in trace.kernels())
    table = model.vocab_size * model.hidden_size
    weights = model.n_parameters - embedding_elements(trace) + (table if model.tied_embeddings else 0)
    attention = 4 * model.n_layers * model.n_heads * model.head_dim * (kv + tlp)
    assert flop / (rlp * tlp) == pytest.approx(2 * weights + attention, rel=0.01)


@every_uniform_trace
@pytest.mark.parametrize("n", [1, 2, 4, 8, 16, 32, 64, 128])
def test_the_arithmetic_intensity_of_fc_kernels_is_equation_1_of_papi(name: str, n: int) -> None:
    for kernel, _ in of_class(TRACES[name], KernelClass.FC):
        assert kernel.fc is not None
        k, out = kernel.fc.k, kernel.fc.n
        # the paper writes it for a square matrix, k = out = h
        eq_1 = (n * k * out * 2) / ((n * k + n * out + k * out) * 2)
        for rlp, tlp in {(n, 1), (1, n), (max(n // 2, 1), min(n, 2))}:
            point = at(rlp, tlp, 777) | {"EXPERT_ROWS": n}
            measured = kernel.matmul_flop.at(point) / (kernel.read_bytes + kernel.write_bytes).at(point)
            assert measured == pytest.approx(eq_1, rel=0.02)


@pytest.mark.parametrize("n", [1, 4, 16, 64, 128])
def test_a_square_fc_kernel_has_the_intensity_that_papi_writes_down(n: int) -> None:
    h = 4096
    square = [k for k, _ in of_class(TRACES["llama7b"], KernelClass.FC) if k.fc and k.fc.k == k.fc.n == h]
    assert len(square) == 4
    for kernel in square:
        point = at(n, 1, 512)
        measured = kernel.matmul_flop.at(point) / (kernel.read_bytes + kernel.write_bytes).at(point)
        assert measured == pytest.approx((n * h**2 * 2) / ((2 * n * h + h**2) * 2), rel=0.02)


@every_uniform_trace
@pytest.mark.parametrize(("rlp", "tlp", "kv"), [(1, 1, 0), (3, 1, 1000), (3, 5, 100_000)])
def test_appending_to_the_cache_moves_the_new_tokens_only(name: str, rlp: int, tlp: int, kv: int) -> None:
    model = TRACES[name].model
    appends = of_class(TRACES[name], KernelClass.KV_APPEND)
    expected = 2 * model.n_kv_heads * model.head_dim * 2 * model.n_layers * rlp * tlp
    for moved in ("read_bytes", "write_bytes"):
        assert sum(getattr(kernel, moved).at(at(rlp, tlp, kv)) * n for kernel, n in appends) == expected


@every_uniform_trace
def test_attention_is_one_kernel_a_layer_that_reads_q_and_the_cache_at_its_own_heads(name: str) -> None:
    trace, model = TRACES[name], TRACES[name].model
    found = of_class(trace, KernelClass.ATTENTION)
    assert sum(repeats for _, repeats in found) == model.n_layers
    rlp, tlp, kv = 5, 3, 1000
    for kernel, _ in found:
        q = rlp * tlp * model.n_heads * model.head_dim * 2
        cache = 2 * rlp * (kv + tlp) * model.n_kv_heads * model.head_dim * 2
        assert kernel.read_bytes.at(at(rlp, tlp, kv)) == q + cache
        assert kernel.write_bytes.at(at(rlp, tlp, kv)) == q
        assert kernel.matmul_flop.at(at(rlp, tlp, kv)) == 4 * rlp * tlp * (kv + tlp) * model.n_heads * model.head_dim


@every_trace
def test_no_kernel_but_attention_depends_on_the_length_of_the_cache(name: str) -> None:
    for kernel, _ in TRACES[name].kernels():
        assert ("KV" in kernel.symbols) == (kernel.kernel_class is KernelClass.ATTENTION), kernel.name


@every_trace
def test_fusing_never_adds_traffic(name: str) -> None:
    point = dict.fromkeys(SYMBOLS, 7)
    for kernel, _ in TRACES[name].kernels():
        assert kernel.read_bytes.at(point) <= kernel.unfused_read_bytes.at(point), kernel.name
        assert kernel.write_bytes.at(point) <= kernel.unfused_write_bytes.at(point), kernel.name


@every_uniform_trace
def test_each_layer_has_the_kernels_of_a_transformer(name: str) -> None:
    roles = {"qkv", "projection", "feed_forward_up", "feed_forward_down"}
    roles |= {"router"} if TRACES[name].model.n_experts else set()
    for block in TRACES[name].blocks:
        if block.layers is not None:
            assert {str(kernel.role) for kernel in block.kernels if kernel.role} == roles
            assert {str(k.kernel_class) for k in block.kernels} >= {
                "kv_append",
                "attention",
                "normalisation",
                "activation",
            }


def test_mixtral_sends_each_token_to_two_of_eight_experts_of_which_all_are_alike() -> None:
    trace = TRACES["mixtral-8x7b"]
    assert (trace.model.n_experts, trace.model.n_experts_per_token) == (8, 2)
    experts = [kernel for kernel, _ in trace.kernels() if kernel.per_expert]
    matrices = [str(kernel.fc.m) for kernel in experts if kernel.fc]
    assert matrices == ["EXPERT_ROWS", "EXPERT_ROWS"]
    assert math.prod(kernel.fc.k * kernel.fc.n for kernel in experts if kernel.fc) == 2 * (4096 * 14336) ** 2


@every_trace
def test_a_trace_says_where_it_comes_from(name: str) -> None:
    provenance = TRACES[name].provenance
    config: Path = FILES[name].parent / "config.json"
    assert provenance.config_sha256 == hashlib.sha256(config.read_bytes()).hexdigest()
    assert provenance.command == f"papisim capture {name}"
    assert len(provenance.captured_at) == 8
    verified = provenance.verified_at
    assert any(point.rlp == 1 for point in verified)
    assert any(point.tlp == 1 for point in verified)
    assert not set(verified) & set(provenance.captured_at)


@every_trace
def test_a_trace_is_small_and_readable(name: str) -> None:
    text = FILES[name].read_text()
    # a model has a few kinds of layers, each a block
    assert len(text.encode()) < 30_000 + 20_000 * sum(block.layers is not None for block in TRACES[name].blocks[2:])
    assert max(map(len, text.splitlines())) < 300
