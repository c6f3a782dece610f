"""Energy of kernels on a GPU: by access, from the literature, or as the board draws it, from measurements."""

from __future__ import annotations

from papisim.devices.gpu.elementwise import beyond_cache_bytes
from papisim.devices.gpu.part import Part, Streaming
from papisim.devices.numbers import each, smaller
from papisim.ops.cost import Energy


def kernel_energy(
    part: Part, flop: float, moved_bytes: float, time_s: float, *, input_bytes: float = 2.0, padded_bytes: float = 0.0
) -> Energy:
    """Return the energy of one kernel on one GPU above what it draws idle, by the part's energy model.

    Of arrays of kernels, parts of the energy are arrays or, where all are equal, numbers. On a part with a clock it is the
    energy at the full clock, which may be more than the board's limit leaves.

    Args:
        part: the GPU.
        flop: operations.
        moved_bytes: bytes of DRAM traffic.
        time_s: seconds.
        input_bytes: bytes of an operand of the tensor cores.
        padded_bytes: bytes of caches whose few query rows fill a tile with padding, which computes, too.
    """
    if part.energy_model == "fitted":
        padded_j = padded_bytes * part.fitted_energy.padded_j_per_byte if part.fitted_energy else 0.0
        return _fitted(part, flop, moved_bytes, time_s, input_bytes=input_bytes, padded_j=padded_j)
    energy = part.energy
    return Energy(
        dram_activation_j=energy.dram_activation_j_per_byte * moved_bytes,
        dram_access_j=energy.dram_access_j_per_byte * moved_bytes,
        dram_transfer_j=energy.dram_transfer_j_per_byte * moved_bytes,
        gpu_memory_j=energy.on_chip_j_per_byte * moved_bytes,
        gpu_compute_j=energy.compute_j_per_flop * flop,
    )


def _fitted(
    part: Part, flop: float, moved_bytes: float, time_s: float, *,
    on_chip_j: float = 0.0, input_bytes: float = 2.0, padded_j: float = 0.0,
) -> Energy:  # fmt: skip
    """``active·t + bytes·e_DRAM + FLOP·e_compute`` and what on-chip memories and padded rows take besides.

    Without a clock, or where no arithmetic could slow down, it is at most what the board's limit leaves above idle.
    """
    fitted = part.fitted_energy
    assert fitted is not None, "the part's validator has seen to it"
    active_j, dram_j = fitted.active_w * time_s, fitted.dram_j_per_byte * moved_bytes
    narrow = fitted.compute_8bit_ratio if input_bytes == 1 else 1.0
    compute_j = fitted.compute_j_per_flop * fitted.operand_ratio * narrow * flop + padded_j
    if part.clock is not None and not on_chip_j:
        return Energy(dram_access_j=dram_j, gpu_compute_j=compute_j, gpu_memory_j=active_j)
    limit_j = (part.board_w - part.static_w) * time_s
    on_chip_j = active_j + on_chip_j
    share = each(smaller(1.0, limit_j / (on_chip_j + dram_j + compute_j)))
    return Energy(dram_access_j=share * dram_j, gpu_compute_j=share * compute_j, gpu_memory_j=share * on_chip_j)


def streaming_energy(
    part: Part, streaming: Streaming, flop: float, moved_bytes: float, time_s: float, *, n_kernels: int = 1
) -> Energy:
    """Return the energy of streaming kernels on one GPU above what it draws idle.

    As the board draws it: ``active·t + bytes·e_on-chip + bytes beyond the cache·e_DRAM``, at most what its limit leaves; as
    any kernel's where the class was not measured.
    """
    if part.energy_model != "fitted" or streaming.on_chip_j_per_byte is None:
        return kernel_energy(part, flop, moved_bytes, time_s)
    beyond = beyond_cache_bytes(part.elementwise, moved_bytes, n_kernels)
    return _fitted(part, 0.0, beyond, time_s, on_chip_j=streaming.on_chip_j_per_byte * moved_bytes)
