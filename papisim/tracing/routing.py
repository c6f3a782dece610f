"""The router of a mixture of experts, drawn from a seed.

On meta tensors a router's scores have no values, so where it picks the best experts a seeded draw answers instead: the
expert loop then really runs, on real token indices. The trace states only that an expert's kernels have ``EXPERT_ROWS``
rows; how many rows each expert gets is drawn again at simulation time.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch


def draw_experts(n_tokens: int, n_experts: int, n_per_token: int, seed: Sequence[int]) -> torch.Tensor:
    """Return a real ``int64[n_tokens, n_per_token]`` tensor of distinct experts of each token.

    The first tokens go round all experts, so that none stays idle when there are enough tokens; the rest follow an
    uneven popularity, so that experts get different numbers of rows.
    """
    rng = np.random.default_rng(np.random.SeedSequence(list(seed)))
    popularity = rng.dirichlet(np.full(n_experts, 2.0))
    around = rng.permutation(n_experts)
    n_first = min(n_tokens, -(-n_experts // n_per_token))
    first = [[around[(t * n_per_token + j) % n_experts] for j in range(n_per_token)] for t in range(n_first)]
    # the n largest of log p + Gumbel noise are a draw of n distinct experts, in proportion to p
    noise = rng.gumbel(size=(n_tokens - n_first, n_experts)) + np.log(popularity + 1e-9)
    rest = np.argsort(-noise, axis=1)[:, :n_per_token]
    return torch.tensor(np.concatenate([np.array(first).reshape(n_first, n_per_token), rest]), dtype=torch.int64)
