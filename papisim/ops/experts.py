"""Which experts the tokens of a mixture-of-experts layer go to."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from papisim.streams import stream


@lru_cache(maxsize=65536)
def tokens_per_expert(
    seed: int, layer: int, token_rows: int, n_experts: int, experts_per_token: int
) -> tuple[int, ...]:
    """Draw how many token-rows each expert of a layer receives.

    Each row goes to ``experts_per_token`` distinct experts, all equally likely: the balance that a router is trained
    for (Shazeer et al., 2017). The draw depends on the seed, the layer and the number of rows alone, so equal
    iterations meet equal loads.

    Returns:
        Rows of each expert; they sum to ``token_rows · experts_per_token``.
    """
    rng = stream(seed, "router", layer, token_rows)
    ranks = rng.random((token_rows, n_experts)).argpartition(experts_per_token - 1, axis=1)[:, :experts_per_token]
    counts = np.bincount(ranks.ravel(), minlength=n_experts)
    return tuple(int(count) for count in counts)
