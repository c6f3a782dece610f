"""Models of windows, chunks, latents, shared caches and states: closed forms, and what a run conserves whatever its caches are."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import yaml

from papisim import catalog
from papisim.catalog import Shelf
from papisim.config.experiment import RunOptions, load_experiment
from papisim.engine.run import Run, simulate
from papisim.ops.kernel import KernelClass
from papisim.ops.lower import (
    chunk_lengths,
    decode_lengths,
    decode_shape,
    held_bytes,
    kv_bytes_per_token,
    lower_append,
    lower_attention,
    ragged_lengths,
    weight_bytes,
)
from papisim.ops.trace import Block, KernelTrace, read_trace
from papisim.plan.build import planner_of
from papisim.plan.machine import build_machine
from papisim.plan.phase import Category
from papisim.results.frames import frames
from papisim.results.metrics import summarise

WINDOW = {"sees": "window", "tokens": 64}
CHUNK = {"sees": "chunk", "tokens": 48}
SELECTED = {"sees": "selected", "tokens": 64}
LATENT = {"n_kv_heads": 1, "head_dim": 576, "value_dim": 512, "cache": {"latent": True}}
EXPANDED = {**LATENT, "prompt": {"n_kv_heads": 32, "head_dim": 192, "value_dim": 128}}
STATE = {
    "name": "mixer.state", "kernel_class": "state", "state_bytes": 65536, "reads": ["float32[RLP, 16384]", "float16[RLP, TLP, 64]"],
    "writes": ["float32[RLP, 16384]", "float16[RLP, TLP, 64]"], "elementwise_flop": "32768*RLP*TLP",
}  # fmt: skip


def variant(name: str, layers: Iterable[tuple[str, dict[str, object] | None]]) -> KernelTrace:
    """Return a shipped model with other attention in some layers: fields of its attention, or None for a state in its place."""
    trace = read_trace(catalog.find(Shelf.TRACE, name).path)
    fields = trace.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    before, layer, after = fields["blocks"]
    blocks = [block(layer, *each) for each in layers]
    shapes = [kernel["attention"] for each in blocks for kernel in each["kernels"] if "attention" in kernel]
    heads = {fact: shapes[0][fact] if shapes else 0 for fact in ("n_heads", "n_kv_heads", "head_dim")}
    provenance = {**fields["provenance"]}
    provenance.pop("structure_sha256")
    fields |= {"model": fields["model"] | heads, "blocks": [before, *blocks, after], "provenance": provenance}
    return KernelTrace.model_validate({"schema": trace.schema_name, **fields})


def block(layer: dict[str, object], layers: str, attention: dict[str, object] | None) -> dict[str, object]:
    kernels = []
    for kernel in layer["kernels"]:
        if attention is None and kernel["kernel_class"] == "kv_append":
            continue
        if attention is None and kernel["kernel_class"] == "attention":
            kernels.append(STATE)
        elif kernel["kernel_class"] == "attention":
            kernels.append({**kernel, "attention": kernel["attention"] | attention})
        elif kernel["kernel_class"] != "kv_append":
            kernels.append(kernel)
        elif "of_layer" not in attention.get("cache", {}):
            kernels.append({**kernel, "writes": [f"float16[RLP, TLP, {elements(layer, attention)}]"]})
    return {"name": f"layer {layers}", "layers": layers, "kernels": kernels}


def elements(layer: dict[str, object], attention: dict[str, object]) -> int:
    (shape,) = (kernel["attention"] | attention for kernel in layer["kernels"] if "attention" in kernel)
    values = 0 if attention.get("cache", {}).get("latent") else shape.get("value_dim", shape["head_dim"])
    return shape["n_kv_heads"] * (shape["head_dim"] + values)


#: llama32-1b has sixteen layers; every other one, as in gpt-oss, five of six, as in Gemma-3, and so on
MODELS = {
    "window": [("0-15", {"cache": WINDOW})],
    "chunk": [("0-15", {"cache": CHUNK})],
    "selected": [("0-15", {"cache": SELECTED})],
    "latent": [("0-15", LATENT)],
    "expanded": [("0-15", EXPANDED)],
    "alternating": [("0,2,4,6,8,10,12,14", {"cache": WINDOW}), ("1,3,5,7,9,11,13,15", {})],
    "shared": [("0-7", {"cache": WINDOW}), ("8-15", {"cache": {**WINDOW, "of_layer": 7}})],
    "hybrid": [("0-2,4-6,8-10,12-14", None), ("3,7,11,15", {})],
    "states": [("0-15", None)],
    "two shapes": [("0-11", {"cache": CHUNK, "n_kv_heads": 4}), ("12-15", {"head_dim": 128})],
}
each_model = pytest.mark.parametrize("kind", MODELS)


def attention_of(trace: KernelTrace, lengths: object) -> list[tuple[object, Block]]:
    return [
        (lower_attention(kernel, trace, lengths), block)
        for block in trace.blocks
        for kernel in block.kernels
        if kernel.kernel_class is KernelClass.ATTENTION
    ]


def read_bytes(trace: KernelTrace, kv: int) -> int:
    """Return the bytes of caches that an iteration of one request reads with ``kv`` tokens in its cache, its own included."""
    return sum(
        one.kv_bytes * len(b.layer_indices) for one, b in attention_of(trace, decode_lengths(1, 1, kv - 1, kv - 1))
    )


def test_a_window_of_4096_tokens_reads_4096_tokens_of_32768():
    """Mistral 7B v0.1, whose layers have the heads of llama3-8b: 16,777,216 bytes per layer, an eighth of those of full reach."""
    full = read_trace(catalog.find(Shelf.TRACE, "llama3-8b").path)
    mistral = variant("llama3-8b", [("0-31", {"cache": {"sees": "window", "tokens": 4096}})])
    ((kernel, _),) = attention_of(mistral, decode_lengths(1, 1, 32767, 32767))
    assert (kernel.kv_tokens, kernel.kv_bytes) == (4096, 16_777_216)
    assert read_bytes(full, 32768) == 8 * read_bytes(mistral, 32768)
    assert read_bytes(full, 4096) == read_bytes(mistral, 4096)


@pytest.mark.parametrize(
    ("layers", "window", "kv", "ratio"),
    [
        # Gemma-3: five of six layers see 1,024 tokens; gpt-oss: every other one sees 128
        ("0-4,6-10", 1024, 8192, 6 * 8192 / (5 * 1024 + 8192)),
        ("0,2,4,6,8,10", 128, 8192, 2 * 8192 / (128 + 8192)),
    ],
    ids=["gemma3", "gpt_oss"],
)
def test_layers_with_windows_read_less_as_their_share_says(layers: str, window: int, kv: int, ratio: float):
    taken = {
        int(i) for part in layers.split(",") for i in range(int(part.split("-")[0]), int(part.split("-")[-1]) + 1)
    }
    others = ",".join(str(i) for i in range(12) if i not in taken)
    sliding = {"cache": {"sees": "window", "tokens": window}}
    trace = variant("llama32-1b", [(layers, sliding), (others, {}), ("12-15", sliding | {"n_kv_heads": 1})])
    twelve = [(one, b) for one, b in attention_of(trace, decode_lengths(1, 1, kv - 1, kv - 1)) if one.n_kv_heads == 8]
    read = sum(one.kv_bytes * len(b.layer_indices) for one, b in twelve)
    full = 12 * kv * 2 * 8 * 64 * 2
    assert full / read == pytest.approx(ratio)
    assert round(ratio, 1) in (3.7, 2.0)


def test_a_latent_cache_has_1152_bytes_per_token_and_layer_and_its_own_flop_per_pair():
    """DeepSeek-V2/V3, absorbed: 512 + 64 elements, read once for K and V; 2·576 + 2·512 FLOP per pair and head, and softmax."""
    trace = variant("llama32-1b", MODELS["latent"])
    assert kv_bytes_per_token(trace) == 16 * 1152
    assert lower_append(trace.layer(0), trace, 3).new_bytes == 3 * 1152
    ((kernel, _),) = attention_of(trace, decode_lengths(2, 1, 200, 100))
    assert kernel.kv_bytes == 202 * 1152
    assert kernel.flop == 202 * 32 * (2 * 576 + 2 * 512 + 5)
    assert (kernel.query_bytes, kernel.context_bytes) == (2 * 32 * 576 * 2, 2 * 32 * 512 * 2)


def test_prompts_attend_to_expanded_heads_and_expand_the_part_that_is_cached():
    """64 position elements are K's as they are: kv_b_proj has 512 inputs and 32 · (128 + 128) outputs."""
    trace = variant("llama32-1b", MODELS["expanded"])
    ((kernel, _),) = attention_of(trace, chunk_lengths([(0, 100)]))
    assert (kernel.n_kv_heads, kernel.head_dim, kernel.value_width, kernel.latent) == (32, 192, 128, False)
    assert kernel.flop == 100 * 101 // 2 * 32 * (2 * 192 + 2 * 128 + 5)
    first, later = (sum(work.item.flop for phase in prompts(trace, prefix) for work in phase.work
                        if phase.category is Category.FC) for prefix in (0, 50))  # fmt: skip
    assert later - first == 16 * 2 * 50 * 512 * 32 * 256


def prompts(trace: KernelTrace, prefix: int) -> list[object]:
    experiment = load_experiment(RunOptions(hw="gpu_only", trace="llama32-1b"))
    planner = planner_of(experiment, trace, build_machine(experiment.system))
    lengths = chunk_lengths([(prefix, 100)])
    shape = decode_shape(1, 100)
    return planner.in_order(type(shape)(1, 100, 1, prompt_rows=100), None, lengths, fold=False)


def run(kind: str, tmp_path: Path, hw: str = "papi", **options: object) -> Run:
    trace = variant("llama32-1b", MODELS[kind]) if kind in MODELS else variant("llama32-1b", [("0-15", {})])
    path = tmp_path / f"{kind.replace(' ', '_')}.yaml"
    fields = trace.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    path.write_text(yaml.safe_dump({"schema": trace.schema_name, **fields}, sort_keys=False), encoding="utf-8")
    sets = ["workload.lengths={kind: fixed, input_tokens: 50, output_tokens: 60}", *options.pop("set", [])]
    return simulate(load_experiment(RunOptions(hw=hw, trace=str(path), set=sets, **options)))


@each_model
@pytest.mark.parametrize("hw", ["papi", "gpu_only"])
def test_iterations_at_once_and_layers_folded_are_those_one_by_one(kind: str, hw: str, tmp_path: Path):
    options = {"requests": 5, "batch": 3, "tlp": 2, "workload": "azure_conversation", "batching": "chunked_prefill"}
    fast = run(kind, tmp_path, hw, **options, set=["workload.rate_per_s=50"])
    slow = run(kind, tmp_path, hw, **options, set=["workload.rate_per_s=50"], fold=False, fast_forward=False)
    first, second = summarise(fast), summarise(slow)
    for name, value in first.items():
        if isinstance(value, float):
            assert value == pytest.approx(second[name], rel=1e-9, nan_ok=True), name
    steps, others = (frames(each)["steps"] for each in (fast, slow))
    assert len(steps) == len(others)
    for name in ("kv_bytes", "kv_tokens", "attention_s", "time_s"):
        assert list(steps[name]) == pytest.approx(list(others[name]), rel=1e-9), name


@each_model
def test_what_is_held_never_exceeds_windows_and_states(kind: str, tmp_path: Path):
    trace, done = variant("llama32-1b", MODELS[kind]), run(kind, tmp_path, requests=6, batch=4)
    held = held_bytes(trace)
    assert 0 < done.ledger.peak_kv_bytes <= 4 * held.of_request(50 + 60)
    steps = frames(done)["steps"]
    assert all(steps["kv_bytes"] <= steps["rlp"] * held.of_request(50 + 60))
    if kind == "states":
        assert done.ledger.peak_kv_bytes == 4 * 16 * 65536, "constant, whatever the length"
    if kind == "window":
        assert done.ledger.peak_kv_bytes == 4 * 64 * held.token_bytes


def test_a_model_that_sees_all_there_is_costs_what_a_full_one_costs(tmp_path: Path):
    MODELS["wide"] = [("0-15", {"cache": {"sees": "window", "tokens": 4096}})]
    wide, full = (run(kind, tmp_path, requests=6, batch=4, tlp=2) for kind in ("wide", "full"))
    del MODELS["wide"]
    first, second = summarise(wide), summarise(full)
    for name in ("makespan_s", "energy_j", "peak_kv_bytes", "decode_s"):
        if name in first:
            assert first[name] == pytest.approx(second[name], rel=1e-12), name
    assert wide.ledger.end_s == pytest.approx(full.ledger.end_s, rel=1e-12)
    assert wide.ledger.kv_byte_s == pytest.approx(full.ledger.kv_byte_s, rel=1e-12)


@pytest.mark.parametrize("kind", ["full", "window", "alternating", "hybrid", "states"])
@pytest.mark.parametrize("exhaustion", ["recompute", "swap"])
def test_room_is_that_of_what_requests_hold(kind: str, exhaustion: str, tmp_path: Path):
    """GPUs with room for 2.2 full caches of 109 tokens: as many requests run at once as their caches take of it."""
    layers = MODELS.get(kind, [("0-15", {})])
    room = 2.2 * held_bytes(variant("llama32-1b", [("0-15", {})])).of_request(109)
    trace = variant("llama32-1b", layers)
    capacity = (
        weight_bytes(trace) + room * 1.5
    ) / 6  # eight KV heads on six GPUs: two on the fullest, 1.5 times the mean
    sets = [f"devices.gpu.part.capacity_bytes={capacity}", "kv.page_tokens=1", "kv.watermark_ratio=0"]
    sets += [f"kv.on_exhaustion={exhaustion}", "kv.swap_link=nvlink"] if exhaustion == "swap" else []
    done = run(kind, tmp_path, "gpu_only", requests=12, batch=12, batching="continuous", set=sets)
    assert done.ledger.outcomes["served"] == 12
    assert done.ledger.peak_kv_bytes <= done.ledger.kv_capacity_bytes
    at_once = frames(done)["steps"]["rlp"].max()
    # a part of the room is left where caches keep less than they append, since it is counted at the longest of a request
    fitting = int(done.ledger.kv_capacity_bytes // held_bytes(trace).of_request(51))
    assert at_once == min(12, fitting)


def test_the_requests_of_a_ragged_batch_are_summed_one_by_one():
    trace = variant("llama32-1b", MODELS["alternating"])
    cached, rows = np.array([10, 200, 63, 64]), np.array([1, 3, 2, 1])
    windowed, full = (one for one, _ in attention_of(trace, ragged_lengths(cached, rows)))
    assert full.kv_tokens == (cached + rows).sum()
    assert windowed.kv_tokens == (10 + 1) + (63 + 3) + (63 + 2) + (63 + 1)
    assert windowed.pairs == 11 + 3 * 66 + 2 * 65 + 64
