"""How often each layer of a self-speculating model agrees with the whole, and what an early exit is then worth.

From DEL (Entezari Zarch et al., arXiv:2504.05598): a round shows, at no extra layer pass, what each layer's own token would
have been at the verified positions. Decayed counts give each layer's match rate α. A round of d drafts with the first l of L
layers loads L + d·l layers (the drafts' first l layers are not computed again), so the expected tokens per loaded layer are

    TPL(l, d) = (1 + α + … + α^d) / (L + d·l),

and TPL · L is the ideal speed-up over decoding.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from papisim.arrays import Floats


def tokens_per_layer(match_rate: Floats, lengths: Floats, layers: Floats, n_layers: int) -> Floats:
    """Return TPL: expected emitted tokens per loaded layer, shape (layers, lengths).

    Args:
        match_rate: α of each exit layer.
        lengths: draft lengths d.
        layers: the exit layers.
        n_layers: layers of the model.
    """
    powers = match_rate[:, None] ** np.arange(lengths.max() + 1)
    emitted = powers.cumsum(axis=1)[:, lengths.astype(int)]
    loaded = n_layers + lengths[None, :] * layers[:, None]
    return np.asarray(emitted / loaded)


class Agreement:
    """What each layer would have said in a request's rounds: decayed counts and sums of confidence, by layer."""

    def __init__(self) -> None:
        self._sums: Floats = np.zeros((4, 0))  # matches, misses, and the confidence in each; by layer

    def see(self, matches: npt.NDArray[np.bool_], confidence: Floats, decay: float) -> None:
        """Decay the past, and add positions that have been verified.

        Args:
            matches: whether a layer's token was right, shape (layers, positions).
            confidence: its probability of that token, same shape.
            decay: weight that the past keeps.
        """
        new = np.array([matches, ~matches, matches * confidence, ~matches * confidence]).sum(axis=2)
        self._sums = decay * self._sums + new if self._sums.size else new

    def match_rates(self) -> Floats:
        """Return α by layer; nothing before anything has been seen."""
        matches, misses = self._sums[:2]
        return np.asarray(matches / (matches + misses))

    def stop_below(self, exit_layer: int) -> float:
        """Return the mean of a layer's mean confidence in matches and in misses; 0 before it has seen both."""
        if exit_layer > self._sums.shape[1]:
            return 0.0
        matches, misses, sure, unsure = self._sums[:, exit_layer - 1]
        return float(sure / matches + unsure / misses) / 2 if matches and misses else 0.0
