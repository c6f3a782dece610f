"""Shares of the heads of a kernel and of the layers of a model among ranks, stages and stacks.

The plan of a machine follows from these shares alone: time is that of the fullest rank, room is limited by the fullest
rank, energy is the sum over what all ranks compute.

Heads are placed by one rule. Up to as many ranks as KV heads, each KV head is on one rank, with all query heads of its
group, and ranks differ by one head at most. With more ranks than KV heads, each KV head is copied to several ranks, whose
numbers differ by one at most, and the query heads of its group are dealt out among the copies (Narayanan et al., Megatron-LM,
SC 2021, Section 2.3, split heads evenly; serving engines copy KV heads beyond that). A rank without a query head holds no
copy and is idle.
"""

from __future__ import annotations

from collections import Counter
from functools import cache
from typing import NamedTuple


class HeadShare(NamedTuple):
    """Ranks with equally many heads of an attention kernel.

    Attributes:
        n_ranks: number of these ranks.
        n_heads: query heads on each.
        n_kv_heads: KV heads on each, copies included.
    """

    n_ranks: int
    n_heads: int
    n_kv_heads: int


@cache
def head_shares(n_heads: int, n_kv_heads: int, ranks: int) -> tuple[HeadShare, ...]:
    """Return the shares of the heads of a kernel among ranks, the fullest first, idle ranks left out.

    Args:
        n_heads: query heads, a multiple of ``n_kv_heads``.
        n_kv_heads: heads of the cache.
        ranks: ranks in tensor parallel.

    Raises:
        ValueError: the query heads are no multiple of the KV heads.
    """
    group, rest = divmod(n_heads, n_kv_heads)
    if rest:
        raise ValueError(f"found {n_heads} query heads, expected a multiple of the {n_kv_heads} KV heads")
    shares: Counter[tuple[int, int]] = Counter()
    for kv_heads, n_ranks in _dealt(n_kv_heads, min(ranks, n_kv_heads)).items():
        shares[kv_heads * group, kv_heads] += n_ranks
    if ranks > n_kv_heads:
        shares.clear()
        for copies, n_kv in _dealt(ranks, n_kv_heads).items():
            for heads, n_ranks in _dealt(group, copies).items():
                shares[heads, 1] += n_ranks * n_kv
    ordered = sorted(shares.items(), key=lambda share: (share[0][1], share[0][0]), reverse=True)
    return tuple(HeadShare(n_ranks, heads, kv_heads) for (heads, kv_heads), n_ranks in ordered if heads)


def _dealt(items: int, hands: int) -> dict[int, int]:
    """Return the number of hands by the number of items that each holds, when items are dealt out one by one."""
    least, more = divmod(items, hands)
    return {size: count for size, count in ((least + 1, more), (least, hands - more)) if count}


def kv_imbalance(n_heads: int, n_kv_heads: int, ranks: int) -> float:
    """Return the KV heads of the fullest rank over those of a mean rank if no head were copied: at least 1.

    A pool of ``ranks`` devices has room for its free bytes over this ratio, each KV head counted once.
    """
    return head_shares(n_heads, n_kv_heads, ranks)[0].n_kv_heads * ranks / n_kv_heads


def pair_imbalance(n_pairs: int, units: int) -> float:
    """Return the (request, layer, head) pairs of the fullest unit over those of a mean unit, pairs being dealt out evenly."""
    return -(-n_pairs // units) * units / n_pairs


def stage_layers(n_layers: int, stages: int) -> tuple[int, ...]:
    """Return the layers of each pipeline stage: the first stages hold one more where they do not divide evenly."""
    least, more = divmod(n_layers, stages)
    return (least + 1,) * more + (least,) * (stages - more)
