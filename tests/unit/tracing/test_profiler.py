"""Recording runs anywhere; only a GPU gives it kernels to find."""

import gzip
import json
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch

from papisim.errors import InputError, NotModelled
from papisim.ops.trace import Point
from papisim.tracing.kineto import read_kineto
from papisim.tracing.models import ModelSource
from papisim.tracing.profiler import record

pytestmark = pytest.mark.capture
CONFIG = {
    "model_type": "llama", "vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 4,
    "num_attention_heads": 4, "num_key_value_heads": 2,
}  # fmt: skip


def source(**fields: object) -> ModelSource:
    return ModelSource("tiny", json.dumps({**CONFIG, **fields}).encode(), "config.json")


def test_a_decode_iteration_is_recorded_with_shapes(tmp_path: Path) -> None:
    points = [Point(rlp=2, tlp=1, kv=9), Point(rlp=2, tlp=3, kv=9)]
    steps = list(record(source(), points, tmp_path / "new", device="cpu", n_layers=1))
    assert [step.point for step in steps] == points
    trace = json.loads(gzip.decompress(steps[1].file.read_bytes()))
    operators = [event for event in trace["traceEvents"] if event.get("cat") == "cpu_op"]
    concatenated = [event["args"]["Input Dims"][0] for event in operators if event["name"] == "aten::cat"]
    assert concatenated.count([[2, 2, 9, 8], [2, 2, 3, 8]]) == 2, "K and V of the one layer, nine tokens and three"
    assert not {"distributedInfo", "traceName", "trace_id", "host_name"} & set(trace)
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == sorted(step.file.name for step in steps)
    assert steps[0].file.read_bytes()[4:8] == bytes(4), "no time of writing in the header"
    with pytest.raises(InputError, match="nothing in it ran on a GPU"):
        read_kineto(steps[0].file)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_cuda_needs_a_gpu(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no CUDA GPU"):
        list(record(source(), [Point(rlp=1, tlp=1, kv=1)], tmp_path))


def test_an_encoder_is_refused(tmp_path: Path) -> None:
    encoder = ModelSource("enc", json.dumps({"model_type": "vit"}).encode(), "config.json")
    with pytest.raises(NotModelled, match="no causal decoder"):
        list(record(encoder, [Point(rlp=1, tlp=1, kv=1)], tmp_path, device="cpu"))
