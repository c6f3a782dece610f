"""An acceptance process as the synthetic acceptance that an engine's benchmark takes.

Engines can be told to accept drafts at random instead of comparing them, so that speculation is benchmarked on prompts without meaning:

- vLLM (#40662): ``rejection_sample_method: synthetic`` with ``synthetic_acceptance_rates``, the share S_j of drafts whose first j tokens
  are accepted, by position;
- llama.cpp (#27711): ``--spec-synthetic-acceptance-rates``, the same shares;
- SGLang (#29645): ``SGLANG_SIMULATE_ACC_LEN``, the mean tokens per step, the target's own included; ``match-expected`` draws the two
  whole numbers about it;
- TensorRT-LLM (#13569): ``TLLM_SPEC_DECODE_FORCE_NUM_ACCEPTED_TOKENS``, the mean accepted drafts, without the target's own.

Engines draw every round by itself: that requests differ and that good passages last is lost, and with the last two the shape of the
distribution as well.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Literal

import numpy as np

from papisim.acceptance.base import AcceptanceProcess

Engine = Literal["vllm", "sglang", "trtllm", "llamacpp"]

_REQUESTS, _ROUNDS = 400, 100
#: rounds of a measurement
N_ROUNDS = _REQUESTS * _ROUNDS


@dataclass(frozen=True)
class Yield:
    """The yield of a process at one draft length.

    Attributes:
        draft_tokens: the draft length.
        survival: share of the rounds that accept at least 1, 2, … tokens.
        tokens_per_step_error: standard error of the mean tokens per step, from the spread of requests.
    """

    draft_tokens: int
    survival: tuple[float, ...]
    tokens_per_step_error: float

    @property
    def tokens_per_step(self) -> float:
        """Mean tokens per step, the target's own included."""
        return 1 + sum(self.survival)


def measure(process: AcceptanceProcess, draft_tokens: int) -> Yield:
    """Return the yield of a process on chains of a given length, over 40,000 rounds of 400 requests.

    Args:
        process: the process.
        draft_tokens: length of every draft.
    """
    sequences = [process.start(request) for request in range(_REQUESTS)]
    accepted = np.array([[each.round(draft_tokens).accepted for _ in range(_ROUNDS)] for each in sequences])
    survival = [float((accepted >= position).mean()) for position in range(1, draft_tokens + 1)]
    error = float(accepted.mean(axis=1).std() / np.sqrt(_REQUESTS))
    return Yield(draft_tokens, tuple(survival), error)


def settings(found: Yield, engine: Engine) -> str:
    """Return the setting of an engine that accepts as much: a JSON value, environment variables, or options."""
    rates = [round(share, 4) for share in found.survival]
    if engine == "vllm":
        return json.dumps(
            {
                "num_speculative_tokens": found.draft_tokens,
                "rejection_sample_method": "synthetic",
                "synthetic_acceptance_rates": rates,
            }
        )
    if engine == "llamacpp":
        return f"--spec-synthetic-acceptance-rates {','.join(map(str, rates))}"
    if engine == "sglang":
        return (
            f"SGLANG_SIMULATE_ACC_LEN={found.tokens_per_step:.4f} SGLANG_SIMULATE_ACC_METHOD=match-expected "
            "SGLANG_SIMULATE_ACC_TOKEN_MODE=real-draft-token"
        )
    return f"TLLM_SPEC_DECODE_FORCE_NUM_ACCEPTED_TOKENS={found.tokens_per_step - 1:.4f}"
