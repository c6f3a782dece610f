"""Kernels of layers that keep a state of constant size: short convolutions, state-space scans, linear attention.

torch's own path through them is a chain of dozens of operators, another one for one token than for several. Engines launch one
kernel for the convolution and one for the scan (``causal_conv1d``, ``mamba_ssm``, ``flash-linear-attention``), for which
transformers' models call module-level functions: these are recorded as fused kernels that read and write the state once.

FLOPs of a scan are those of its recurrence, per element of the state and token:

- state space (Mamba-2, Dao and Gu 2024, equation 1): ``h ← a·h + b·x``, ``y = c·h``: two products and
  a sum for the update, a product and a sum for the output, 5;
- state space with a decay of each channel and state (Mamba, Gu and Dao 2023, equations 2 and 4): as before, and
  ``a = exp(Δ·A)`` with a product and an exponential, 7;
- gated delta rule (Gated DeltaNet, Yang et al. 2024, equation 10; Kimi Linear, 2025): decay 1, ``S·k`` 2, rank-one update 2,
  ``S·q`` 2, in all 7.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from papisim.tracing.caches import RecordedCache
from papisim.tracing.record import STATE, Foreign, Fused, Recorder

_CONVOLUTION: Final = "causal_conv1d_fn"
#: functions that scan several tokens → FLOPs per element of the state and token, and the argument of the result's shape
_SCANS: Final = {
    "mamba2_chunk_scan": (5, 0), "mamba_selective_scan": (7, 0), "torch_chunk_gated_delta_rule": (7, 2),
    "chunk_kimi_delta_attention": (7, 2),
}  # fmt: skip

#: dimensions of (requests, channels, tokens); heads are a fourth
_CHANNELS_FIRST: Final = 3
_PRODUCTS: Final = (torch.matmul, torch.Tensor.matmul, torch.Tensor.__matmul__)


@contextmanager
def recorded_states(model: Foreign, recorder: Recorder, cache: RecordedCache | None) -> Iterator[None]:
    """Make each convolution and each scan of the model one fused kernel; without a cache nothing is changed."""
    sources = {type(module).__module__ for module in model.modules()} if cache is not None else set()
    replaced: list[tuple[Foreign, str, Foreign]] = []
    for source in map(sys.modules.get, sources):
        for name in (_CONVOLUTION, *_SCANS):
            if cache is not None and (function := getattr(source, name, None)) is not None:
                replaced.append((source, name, function))
                setattr(source, name, _fused(name, function, recorder, cache))
    try:
        with _RowsByWeight():
            yield
    finally:
        for source, name, function in replaced:
            setattr(source, name, function)


class _RowsByWeight(TorchFunctionMode):  # type: ignore[misc] # untyped where torch is not installed
    """Runs ``weight @ x.T`` of every request, the time steps of Mamba, as one product of all rows, as engines do."""

    def __torch_function__(
        self, func: Foreign, types: Foreign, args: Foreign = (), kwargs: Foreign = None
    ) -> Foreign:
        if func in _PRODUCTS and isinstance(args[0], torch.nn.Parameter) and (args[0].dim(), args[1].dim()) == (2, 3):
            return functional.linear(args[1].transpose(1, 2), args[0]).transpose(1, 2)
        return func(*args, **(kwargs or {}))


def _fused(
    name: str, function: Callable[..., Foreign], recorder: Recorder, cache: RecordedCache
) -> Callable[..., Foreign]:
    if name == _CONVOLUTION:
        return _convolution(function, recorder, cache)
    return _scan(*_SCANS[name], recorder, cache)


def _convolution(
    function: Callable[..., Foreign], recorder: Recorder, cache: RecordedCache
) -> Callable[..., Foreign]:
    def convolve(
        joined: torch.Tensor, weight: torch.Tensor, bias: Foreign = None, *args: Foreign, **kwargs: Foreign
    ) -> Foreign:
        (storage,) = recorder.storages(joined)
        inputs, state = cache.histories[storage]
        new, activation = inputs.shape[-1], kwargs.get("activation") or (args[0] if args else None)
        with recorder.unrecorded():
            result = _by_tokens(function(joined, weight, bias, *args, **kwargs)[..., -new:])
        per_output = 2 * weight.shape[-1] + (bias is not None) + (activation is not None)
        facts = Fused("conv", per_output * inputs.numel(), state_bytes=_bytes_per_request(state))
        with recorder.scope(STATE, [inputs, state, *_given(weight, bias)],
                            [(result, result), (state, state)], facts):  # fmt: skip
            return result

    return convolve


def _scan(per_element: int, like: int, recorder: Recorder, cache: RecordedCache) -> Callable[..., Foreign]:
    def scan(inputs: torch.Tensor, *args: Foreign, **kwargs: Foreign) -> Foreign:
        state = cache.recurrent_state()
        given = _given(inputs, *args, *kwargs.values())
        with recorder.unrecorded():
            result = torch.empty_like(given[like], memory_format=torch.contiguous_format)
            result = result if result.dim() > _CHANNELS_FIRST else _by_tokens(result)
        reads = [*given, state]
        flop = per_element * state.numel() * cache.point.tlp
        facts = Fused("scan", flop, state_bytes=_bytes_per_request(state))
        with recorder.scope(STATE, reads, [(result, result), (state, state)], facts):
            return result, state

    return scan


def _by_tokens(tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor ``(requests, channels, tokens)`` with the channels of a token together, as products read them."""
    return tensor.transpose(1, 2).contiguous().transpose(1, 2)


def _given(*values: Foreign) -> list[torch.Tensor]:
    return [value for value in values if isinstance(value, torch.Tensor)]


def _bytes_per_request(state: torch.Tensor) -> int:
    return int(state[0].numel() * state.element_size())
