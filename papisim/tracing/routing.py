"""The router of a mixture of experts, drawn from a seed.

On meta tensors a router's scores have no values, so where it picks the best experts a seeded draw answers instead: the
expert loop then really runs, on real token indices. The trace states only that an expert's kernels have ``EXPERT_ROWS``
rows; how many rows each expert gets is drawn again at simulation time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True)
class Routing:
    """The experts that a recorded iteration sends tokens to.

    Attributes:
        n_experts: experts of a layer; 0 for a dense model.
        n_per_token: experts of each token.
        n_used: experts that get rows, the same weights being as good as any other; all when None.
        seed: seed of the draw.
    """

    n_experts: int = 0
    n_per_token: int = 0
    n_used: int | None = None
    seed: int = 0

    def draw(self, n_tokens: int, seed: Sequence[int]) -> torch.Tensor:
        """Return a real ``int64[n_tokens, n_per_token]`` tensor of distinct experts of each token.

        The first tokens go round all experts that are used, so that none stays idle when there are enough tokens; the rest
        follow an uneven popularity, so that experts get different numbers of rows.
        """
        n_used = self.n_experts if self.n_used is None else min(self.n_experts, self.n_used)
        k = self.n_per_token
        rng = np.random.default_rng(np.random.SeedSequence([self.seed, *seed]))
        popularity = rng.dirichlet(np.full(n_used, 2.0))
        around = rng.permutation(n_used)
        n_first = min(n_tokens, -(-n_used // k))
        first = [[around[(t * k + j) % n_used] for j in range(k)] for t in range(n_first)]
        # the n largest of log p + Gumbel noise are a draw of n distinct experts, in proportion to p
        noise = rng.gumbel(size=(n_tokens - n_first, n_used)) + np.log(popularity + 1e-9)
        rest = np.argsort(-noise, axis=1)[:, :k]
        return torch.tensor(np.concatenate([np.array(first).reshape(n_first, k), rest]), dtype=torch.int64)
