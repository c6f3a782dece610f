"""What is in a workload: how many requests, how fast and how evenly they come, how long they are."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from papisim.workloads.base import ClosedLoop, Request, WorkloadSource
from papisim.workloads.content import Said, Span, repeated_blocks
from papisim.workloads.traces.load import RequestTable

_PERCENTILES = (5, 25, 50, 75, 90, 95, 99)
_BINS = 60


def tabulate(workload: WorkloadSource, kind: str) -> RequestTable:
    """Return the requests of a workload as arrays.

    Those of a closed loop have no arrivals of their own: when its users ask depends on the machine.
    """
    closed = isinstance(workload, ClosedLoop)
    requests: Iterable[Request] = _all_of(workload) if isinstance(workload, ClosedLoop) else workload
    requests = list(requests)
    columns = np.array([(r.arrival_s, r.input_tokens, r.output_tokens) for r in requests])
    said = tuple(Said(r.content, r.answer) for r in requests) if any(r.content for r in requests) else None
    lengths = columns[:, 1].astype(np.int64), columns[:, 2].astype(np.int64)
    return RequestTable(kind, None if closed else columns[:, 0], *lengths, said=said)


def _all_of(workload: ClosedLoop) -> Iterable[Request]:
    for first in workload:
        request: Request | None = first
        while request is not None:
            yield request
            request = workload.follow(request, request.arrival_s)


class Arrivals(TypedDict, total=False):
    """The figures of arrivals; where all arrive at once, the first three alone."""

    duration_s: float
    peak_concurrency: int
    tpot_s: float
    rate_per_s: float
    gap_cv: float
    zero_gap_ratio: float
    input_tokens_per_s: float
    output_tokens_per_s: float
    bin_s: float
    rate_over_time_per_s: list[float]


class Prefixes(TypedDict):
    """What prompts have in common; see :func:`describe`."""

    block_tokens: int
    blocks: int
    repeated_blocks: int
    repeated_block_ratio: float
    repeated_token_ratio: float


class Description(TypedDict):
    """The figures of a table of requests; see :func:`describe`."""

    n_requests: int
    input_tokens: dict[str, float]
    output_tokens: dict[str, float]
    rank_correlation: float | None
    longest_tokens: int
    arrivals: Arrivals | None
    prefixes: Prefixes | None
    dropped: dict[str, int]


def describe(table: RequestTable, tpot_s: float, block_tokens: int) -> Description:
    """Return the figures of a table of requests, each with its unit in its name.

    - ``input_tokens``, ``output_tokens``: mean, percentiles, largest, sum.
    - ``rank_correlation``: Spearman's ρ of the two; None where one of them is always the same.
    - ``arrivals``: None where there are none; else ``duration_s`` from first to last, ``rate_per_s`` (gaps over duration), ``gap_cv``
      (standard deviation of the gaps over their mean: 1 for a Poisson process), ``zero_gap_ratio`` (share of requests that arrive with
      the one before: many where times are rounded), tokens per second, ``rate_over_time_per_s`` in equal
      parts of ``bin_s``, and ``peak_concurrency``: the most requests at once if each stays ``tpot_s`` for every output token.
    - ``prefixes``: None where the workload does not say what prompts have in common; else the blocks of prompts, of ``block_tokens``
      tokens (of the last of a prompt, those it has), and those that are the first of an earlier prompt as well: the hits of a cache without
      bounds in which each prompt is before the next arrives. Answers that later prompts repeat are not counted.
    """
    return {
        "n_requests": len(table),
        "input_tokens": _lengths(table.input_tokens),
        "output_tokens": _lengths(table.output_tokens),
        "rank_correlation": rank_correlation(table.input_tokens, table.output_tokens),
        "longest_tokens": int((table.input_tokens + table.output_tokens).max()),
        "arrivals": None if table.arrival_s is None else _arrivals(table, table.arrival_s, tpot_s),
        "prefixes": None if table.said is None else _prefixes(table, block_tokens),
        "dropped": table.dropped,
    }


def _prefixes(table: RequestTable, block_tokens: int) -> Prefixes:
    assert table.said is not None
    own = ((Span(("own", index), int(tokens)),) for index, tokens in enumerate(table.input_tokens))
    prompts = (said.prompt or alone for said, alone in zip(table.said, own, strict=True))
    counts = np.array(list(repeated_blocks(prompts, block_tokens)))
    repeated, blocks = counts.sum(axis=0).tolist()
    tokens = np.minimum(counts[:, 0] * block_tokens, table.input_tokens).sum()
    return {
        "block_tokens": block_tokens,
        "blocks": blocks,
        "repeated_blocks": repeated,
        "repeated_block_ratio": repeated / blocks,
        "repeated_token_ratio": float(tokens / table.input_tokens.sum()),
    }


def _lengths(tokens: NDArray[np.int64]) -> dict[str, float]:
    percentiles = np.percentile(tokens, _PERCENTILES)
    return {
        "mean": float(tokens.mean()),
        **{f"p{rank}": float(value) for rank, value in zip(_PERCENTILES, percentiles, strict=True)},
        "largest": int(tokens.max()),
        "sum": int(tokens.sum()),
    }


def _arrivals(table: RequestTable, arrival_s: NDArray[np.float64], tpot_s: float) -> Arrivals:
    duration_s = float(arrival_s[-1] - arrival_s[0])
    if not duration_s:
        return {"duration_s": 0.0, "peak_concurrency": len(table), "tpot_s": tpot_s}
    gaps = np.diff(arrival_s)
    bins = min(_BINS, len(table))
    counts, edges = np.histogram(arrival_s, bins)
    bin_s = float(edges[1] - edges[0])
    return {
        "duration_s": duration_s,
        "rate_per_s": len(gaps) / duration_s,
        "gap_cv": float(gaps.std() / gaps.mean()),
        "zero_gap_ratio": float((gaps == 0).mean()),
        "input_tokens_per_s": float(table.input_tokens.sum() / duration_s),
        "output_tokens_per_s": float(table.output_tokens.sum() / duration_s),
        "peak_concurrency": peak_concurrency(arrival_s, arrival_s + table.output_tokens * tpot_s),
        "tpot_s": tpot_s,
        "bin_s": bin_s,
        "rate_over_time_per_s": (counts / bin_s).tolist(),
    }


def peak_concurrency(start_s: NDArray[np.float64], end_s: NDArray[np.float64]) -> int:
    """Return the largest number of intervals that overlap; one that ends as another starts does not overlap with it."""
    ended_before = np.searchsorted(np.sort(end_s), np.sort(start_s), side="right")
    return int((np.arange(1, len(start_s) + 1) - ended_before).max())


def rank_correlation(one: NDArray[np.int64], other: NDArray[np.int64]) -> float | None:
    """Return Spearman's ρ, equal values sharing their mean rank; None where either does not vary."""
    if one.min() == one.max() or other.min() == other.max():
        return None
    return float(np.corrcoef(_ranks(one), _ranks(other))[0, 1])


def _ranks(values: NDArray[np.int64]) -> NDArray[np.float64]:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: NDArray[np.float64] = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    return ranks
