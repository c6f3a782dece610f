"""The clock of a board at its power limit, and the time and energy that it costs.

What a board draws while its multiprocessors run is ``A = static + active`` and the energy of its traffic and its arithmetic. Where that
is more than the limit ``L``, the clock falls to a share ``x`` of its highest. With ``M`` seconds of DRAM traffic at full rate, ``C``
joules of arithmetic and ``D`` joules of everything else at the full clock, in ``T`` seconds:

* only what DRAM does not bound takes longer: ``T(x) = M + (T − M) / x``;
* voltage falls with the clock: arithmetic takes ``C · x^γ``;
* the board settles where ``A · T(x) + D + C · x^γ = L · T(x)``.

Power is a budget over all that a board does for a tenth of a second (``kernels/measured/h200/power.csv``), so that a step shares it:
memory-bound kernels and pauses leave some of it to products. Dynamic power as a cube of the clock is the textbook's
(Hennessy and Patterson, Computer Architecture, section 1.5, with the voltage in proportion to the clock); γ is measured.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from papisim.devices.gpu.part import Part
from papisim.ops.cost import Energy

_NEWTON_STEPS: Final = 12
_ENOUGH: Final = 1e-9
#: no clock falls further; a limit that would need it is not met
_SLOWEST: Final = 10.0


class Slowed(NamedTuple):
    """What the power limit changes.

    Attributes:
        added_s: seconds by which the work takes longer.
        energy: change of its energy, which is negative for arithmetic.
    """

    added_s: float
    energy: Energy


#: of work within the limit
NOTHING: Final = Slowed(0.0, Energy())


def slowed(part: Part, time_s: float, energy: Energy, *, idle_s: float = 0.0) -> Slowed:
    """Return the time that the power limit adds to work on one GPU, and the change of its energy.

    Args:
        part: the GPU.
        time_s: seconds of the work at the full clock.
        energy: its energy at the full clock, static energy excluded.
        idle_s: further seconds in which the GPU waits for others, and which share the budget.
    """
    if not part.is_power_limited or not time_s:
        return NOTHING
    clock, fitted, above_w = part.clock, part.fitted_energy, part.settled_w - part.static_w
    assert clock is not None, "of a limited part"
    assert fitted is not None, "of a limited part"
    compute_j = energy.gpu_compute_j
    if energy.total_j <= above_w * (time_s + idle_s) or not compute_j:
        return NOTHING
    stretched_s = time_s - _traffic_s(part, time_s, energy.dram_access_j)
    slower = _slower(
        stretched_s * (above_w - fitted.active_w),
        compute_j,
        energy.total_j - compute_j - above_w * (time_s + idle_s),
        clock.exponent,
    )
    added_s = stretched_s * (slower - 1)
    saved_j = compute_j * (1 - slower**-clock.exponent)
    return Slowed(added_s, Energy(gpu_memory_j=fitted.active_w * added_s, gpu_compute_j=-saved_j))


def _traffic_s(part: Part, time_s: float, dram_j: float) -> float:
    fitted = part.fitted_energy
    assert fitted is not None, "the part's validator has seen to it"
    rate = part.memory_bandwidth_bytes_per_s * part.elementwise.bandwidth_ratio
    return min(time_s, dram_j / fitted.dram_j_per_byte / rate) if fitted.dram_j_per_byte else 0.0


def _slower(gained_j: float, compute_j: float, excess_j: float, exponent: float) -> float:
    """Return y ≥ 1 where ``gained·(y − 1) = excess + compute·y^−γ``, by Newton's method from below, which a concave function allows."""
    y = 1.0
    for _ in range(_NEWTON_STEPS):
        lacking_j = excess_j + compute_j * y**-exponent - gained_j * (y - 1)
        step = lacking_j / (gained_j + exponent * compute_j * y ** (-exponent - 1))
        y = min(y + step, _SLOWEST)
        if step < _ENOUGH * y:
            break
    return y
