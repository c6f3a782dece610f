"""Time of kernels that stream their operands: normalisation, activation, rotary embedding, appends and the like."""

from __future__ import annotations

from papisim.devices.gpu.part import ElementwiseLibrary, FusedStreaming, Part, Streaming


def streaming_s(
    part: Part, library: ElementwiseLibrary, streaming: Streaming, moved_bytes: float, n_kernels: int = 1
) -> float:
    """Return the seconds of streaming kernels that follow one another.

    ``n·launch + bytes / on-chip rate + max(0, bytes − n·cache) / bandwidth``: operands come from the kernel before and
    lie in L2 as far as they fit. An engine's own kernels stream what lies beyond while they compute the rest, so that they take
    the longer of both times.

    Args:
        part: the GPU.
        library: how it runs such kernels.
        streaming: launch and rate of their class.
        moved_bytes: bytes that all of them read and write.
        n_kernels: how many there are.
    """
    on_chip_s = moved_bytes / streaming.on_chip_bytes_per_s
    if isinstance(streaming, FusedStreaming):
        beyond_bytes = max(0.0, moved_bytes - n_kernels * streaming.cache_bytes)
        dram_s = beyond_bytes / (part.memory_bandwidth_bytes_per_s * streaming.bandwidth_ratio)
        return n_kernels * streaming.launch_s + max(on_chip_s, dram_s)
    dram_s = beyond_cache_bytes(library, moved_bytes, n_kernels) / (
        part.memory_bandwidth_bytes_per_s * library.bandwidth_ratio
    )
    return n_kernels * streaming.launch_s + on_chip_s + dram_s


def beyond_cache_bytes(library: ElementwiseLibrary, moved_bytes: float, n_kernels: int = 1) -> float:
    """Return the bytes of streaming kernels that the cache does not hold, so that DRAM moves them."""
    return max(0.0, moved_bytes - n_kernels * library.cache_bytes)
