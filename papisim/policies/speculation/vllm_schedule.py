"""vLLM's schedule: draft lengths by ranges of the batch size, written by hand.

vLLM calls it dynamic speculative decoding and takes a list of [first batch, last batch, length]; here each row has the last
batch alone, so that no range can be missing. Batches beyond all rows draft as the last row says.
"""

from __future__ import annotations

from typing import Literal

from papisim.kinds import Example
from papisim.policies.speculation.batch_table import LengthByBatch, LengthOptions


class Options(LengthOptions):
    """The ranges."""

    kind: Literal["vllm_schedule"]


EXAMPLE = Example("vllm_schedule")


class Speculation(LengthByBatch):
    """The length of the range that the batch is in."""
