"""Against the traces that others published: what they are said to hold, and what is derived from them."""

import csv
import gzip
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import papisim
from papisim import catalog
from papisim.catalog import Shelf, cache_folder
from papisim.config.sections import load_section
from papisim.config.yaml import load_yaml
from papisim.engine.prefix import Chain, PrefixCache
from papisim.record.reuse import Reuse
from papisim.workloads.content import repeated_blocks
from papisim.workloads.describe import describe
from papisim.workloads.traces.load import load_requests
from papisim.workloads.traces.public import load_public
from papisim.workloads.traces.spec import TraceFile

pytestmark = pytest.mark.shared_data
SCRIPT = Path(papisim.__file__).parents[1] / "scripts" / "derive-workload"

#: file → format, requests, seconds from first to last (None: no arrivals)
FILES = {
    "AzureLLMInferenceTrace_conv.csv.gz": ("azure", 19366, 3501.721937),
    "AzureLLMInferenceTrace_code.csv.gz": ("azure", 8819, 3435.948056),
    "mooncake_conversation.csv.gz": ("mooncake", 12031, 3536.999),
    "mooncake_synthetic.csv.gz": ("mooncake", 3993, 1022.025),
    "azure_conv_poisson2_1000.csv": ("csv", 1000, 491.660997),
    "llmservingsim_sharegpt_llama3.1-8b_300.csv": ("llmservingsim", 300, None),
    "vidur_arxiv_summarization_stats_llama2_tokenizer_filtered_v2.csv.gz": ("vidur", 28257, None),
    "dolly_lengths.csv": ("csv", 15011, None),
    "dolly_lengths_llama.csv": ("csv", 15011, None),
}


@pytest.mark.parametrize("name", FILES)
def test_every_published_trace_is_recognised_and_read_whole(name, data):
    kind, n_requests, duration_s = FILES[name]
    table = load_requests(TraceFile(path=str(data(f"requests/{name}"))))
    assert (table.format, len(table), table.dropped) == (kind, n_requests, {})
    if duration_s is not None:
        assert table.arrival_s[-1] == pytest.approx(duration_s, abs=1e-6)


@pytest.mark.parametrize(("name", "public"), [("conv", "azure_2023_conversation"), ("code", "azure_2023_code")])
def test_azures_checksum_is_that_of_the_file_without_its_compression(name, public, tmp_path, data):
    plain = tmp_path / load_public(public).file
    found = data(f"requests/AzureLLMInferenceTrace_{name}.csv.gz")
    plain.write_bytes(gzip.decompress(found.read_bytes()) if found.suffix == ".gz" else found.read_bytes())
    assert load_requests(TraceFile(path=str(plain), sha256=load_public(public).sha256)).format == "azure"


@pytest.mark.parametrize("name", ["mooncake_conversation", "mooncake_synthetic", "mooncake_toolagent"])
def test_hit_rates_of_mooncakes_traces_are_those_in_the_files(name, data):
    """A cache without bounds finds the leading hashes that stood before: blocks of 512 tokens, the last one partial."""
    path = cache_folder() / load_public(name).file
    if not path.exists():
        pytest.skip(f"papisim workload fetch {name}")
    table = load_requests(TraceFile(path=str(path)))
    found, seen = [], set()
    for line in path.read_text().splitlines():
        hashes = json.loads(line)["hash_ids"]
        found.append(next((place for place, each in enumerate(hashes) if each not in seen), len(hashes)))
        seen.update(hashes)
    prompts = [said.prompt for said in table.said]
    counts = list(repeated_blocks(prompts, 512))
    assert [repeated for repeated, _ in counts] == found
    if name != "mooncake_toolagent":
        with gzip.open(data(f"requests/{name}.csv.gz"), "rt") as file:
            rows = [(int(row["prefix_hit_blocks"]), int(row["n_blocks"])) for row in csv.DictReader(file)]
        assert counts == rows
    figures = describe(table, 1.0, 512)["prefixes"]
    assert (figures["repeated_blocks"], figures["blocks"]) == tuple(map(sum, zip(*counts, strict=True)))
    cache = PrefixCache("lru", 512, lambda: Reuse(512))
    for prompt, (repeated, _), n_tokens in zip(prompts, counts, table.input_tokens.tolist(), strict=True):
        chain = Chain(prompt, 512)
        blocks = cache.find(chain, n_tokens)
        assert len(blocks) == min(repeated, (n_tokens - 1) // 512), "full blocks, and at least one token is computed"
        cache.take(chain, blocks)
        cache.put(chain, n_tokens)
        cache.drop(chain)


#: shipped workload → the trace it was derived from
DERIVED = {
    "azure_conversation": "AzureLLMInferenceTrace_conv.csv.gz",
    "azure_code": "AzureLLMInferenceTrace_code.csv.gz",
    "mooncake_conversation": "mooncake_conversation.csv.gz",
    "creative_writing": "dolly_lengths_llama.csv",
    "general_qa": "dolly_lengths_llama.csv",
}


def test_every_shipped_workload_is_derived_from_a_trace():
    assert sorted(DERIVED) == sorted(catalog.shipped(Shelf.REQUESTS))


@pytest.mark.parametrize("name", DERIVED)
def test_the_script_derives_the_shipped_numbers_again(name, tmp_path, data):
    shipped = load_yaml(catalog.shipped(Shelf.REQUESTS)[name]).data
    arguments = [
        str(data(f"requests/{DERIVED[name]}")),
        "--kind",
        shipped["kind"],
        "--name",
        "x",
        "--source",
        "dolly15k",
        "--note",
        "x",
    ]
    if DERIVED[name].startswith("dolly"):
        arguments += ["--category", name]
    done = subprocess.run(
        [sys.executable, SCRIPT, *arguments], capture_output=True, text=True, check=True, timeout=120
    )
    file = tmp_path / "derived.yaml"
    file.write_text(done.stdout)
    derived = load_yaml(file).data
    for field in ("lengths", "rate_per_s", "gap_cv"):
        assert derived.get(field) == shipped.get(field)


@pytest.mark.parametrize("name", [name for name in DERIVED if not DERIVED[name].startswith("dolly")])
def test_a_derived_workload_resembles_its_trace(name, data):
    """Its lengths are those of the trace; a long tail makes means uncertain."""
    trace = load_requests(TraceFile(path=str(data(f"requests/{DERIVED[name]}"))))
    options = load_section("workload", name).options
    drawn = options.lengths.draw(50_000, np.random.default_rng(0))
    figures = describe(trace, tpot_s=1.0, block_tokens=512)
    for column, side in enumerate(("input_tokens", "output_tokens")):
        for percentile in (25, 50, 75, 90, 99):
            assert np.percentile(drawn[:, column], percentile) == pytest.approx(
                figures[side][f"p{percentile}"], rel=0.04, abs=1
            )
        error = 4 * drawn[:, column].std() / np.sqrt(len(drawn)) + 0.01 * figures[side]["mean"]
        assert drawn[:, column].mean() == pytest.approx(figures[side]["mean"], abs=error)
    assert options.rate_per_s == pytest.approx(figures["arrivals"]["rate_per_s"], rel=1e-3)
