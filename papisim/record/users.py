"""Users of a closed loop: when they ask, and whether they stay in step with one another."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field

import numpy as np

#: arrivals that are looked at, and cycle times that are tried from this share of the mean cycle up to its inverse
_MOST_ARRIVALS, _CYCLES, _SHORTEST_RATIO = 4096, 301, 0.85
#: coherence from which users of equal requests count as in lock step
_LOCKED_RATIO = 0.5


@dataclass
class Users:
    """Users who ask again when they have been answered.

    Attributes:
        number: number of users.
        arrivals_s: arrivals of their requests, in order.
        shortest: fewest tokens that a request asks for.
        longest: most tokens that a request asks for.
    """

    number: int
    arrivals_s: array[float] = field(default_factory=lambda: array("d"))
    shortest: int | None = None
    longest: int = 0

    def asked(self, arrival_s: float, output_tokens: int) -> None:
        """Note a request."""
        self.arrivals_s.append(arrival_s)
        self.shortest = output_tokens if self.shortest is None else min(self.shortest, output_tokens)
        self.longest = max(self.longest, output_tokens)

    def coherence_ratio(self) -> float | None:
        """Return the coherence of arrivals: 1 if all users ask at once in every cycle, near 0 if evenly over it.

        It is the order parameter of coupled oscillators, ``|Σ exp(2πi·t/T)| / n`` (Kuramoto, 1975), with the cycle T near the mean
        time from one request of a user to the next for which it is largest; None for one user, or for less than two cycles.
        """
        times_s = np.frombuffer(self.arrivals_s)[:_MOST_ARRIVALS]
        follow_ups = len(times_s) - self.number
        if self.number < 2 or follow_ups < self.number or times_s[-1] == times_s[0]:  # noqa: PLR2004
            return None
        cycle_s = (times_s[-1] - times_s[0]) * self.number / follow_ups
        rates = np.linspace(_SHORTEST_RATIO, 1 / _SHORTEST_RATIO, _CYCLES) / cycle_s
        return float(np.abs(np.exp(2j * np.pi * np.outer(rates, times_s)).mean(axis=1)).max())

    @property
    def are_in_lock_step(self) -> bool:
        """Whether requests ask for equally many tokens and users, once together, stay so."""
        coherence = self.coherence_ratio() if self.shortest == self.longest else None
        return coherence is not None and coherence >= _LOCKED_RATIO
