"""The requests of a trace, at the times they arrived."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator

from papisim.config.base import Count, Fraction, NonNegative, Positive
from papisim.errors import InputError
from papisim.kinds import Example
from papisim.streams import stream
from papisim.workloads.base import Request, WorkloadOptions
from papisim.workloads.content import NOTHING
from papisim.workloads.traces.load import RequestTable, detect_format, load_requests
from papisim.workloads.traces.spec import TraceFile
from papisim.workloads.traces.text import TextFile

_CHUNK = 1 << 14


class Options(WorkloadOptions, TraceFile):
    """Which requests of a file are replayed, and how fast.

    What is chosen is chosen in this order: from start to end, the sample, the first ``n_requests``; then time is scaled.

    Attributes:
        start_s: only requests that arrive then or later in the file's time, which starts anew there.
        end_s: only requests that arrive before then.
        sample_ratio: only this share of the requests, drawn without replacement by the seed; their arrivals stay.
        sample_requests: number of requests kept, likewise.
        n_requests: number of requests kept, the first ones.
        rate_scale: factor on the rate of arrivals.
        rate_per_s: arrivals come as fast as makes their mean rate this.
        offset_s: everything arrives this much later.
    """

    kind: Literal["replay"]
    start_s: NonNegative = 0.0
    end_s: Positive | None = None
    sample_ratio: Fraction | None = None
    sample_requests: Count | None = None
    n_requests: Count | None = None
    rate_scale: Positive | None = None
    rate_per_s: Positive | None = None
    offset_s: NonNegative = 0.0

    @model_validator(mode="after")
    def _one_of_each(self) -> Options:
        for one, other in (("sample_ratio", "sample_requests"), ("rate_scale", "rate_per_s")):
            if getattr(self, one) is not None and getattr(self, other) is not None:
                raise ValueError(f"found both '{one}' and '{other}', expected one of them")
        if self.end_s is not None and self.end_s <= self.start_s:
            raise ValueError(f"found 'end_s' {self.end_s}, expected more than 'start_s' {self.start_s}")
        return self

    def settled(self) -> tuple[Self, tuple[str, ...]]:
        """Fill in what only the file tells: its format, its checksum and the number of requests.

        Returns:
            The options, and what the user should know of the file.

        Raises:
            InputError, InputErrors: as :func:`select`.
        """
        update = {"format": detect_format(self), "sha256": self.sha256 or TextFile(self.path).sha256()}
        pinned = self.model_copy(update=update)
        whole, n_requests = load_requests(pinned), len(select(pinned, seed=0))
        notes = (_story(pinned, whole, n_requests), *whole.notes)
        return pinned.model_copy(update={"n_requests": n_requests}), notes


EXAMPLE = Example(
    {"path": "requests.csv", "n_requests": 50},
    files={
        "requests.csv": "arrival_s,input_tokens,output_tokens\n"
        + "".join(f"{0.3 * index + 0.1 * (index % 7)},{index + 1},{index % 9 + 1}\n" for index in range(80))
    },
)


class Workload:
    """The chosen requests of a file.

    Raises:
        InputError, InputErrors: as :func:`select`; or the file has no arrivals.
    """

    def __init__(self, options: Options, seed: int) -> None:
        table = select(options, seed)
        if table.arrival_s is None:
            raise InputError(
                f"has lengths ({table.format}) and no arrivals, so it cannot be replayed; take its lengths for a workload of the kind "
                f"poisson, gamma_burst, closed_loop or closed_batch: lengths: {{kind: empirical, path: {options.path}}}",
                file=options.path,
            )
        self._columns = (table.arrival_s, table.input_tokens, table.output_tokens)
        self._said = table.said

    def __iter__(self) -> Iterator[Request]:
        """Yield the requests in the order of their arrival."""
        for first in range(0, len(self._columns[0]), _CHUNK):
            chunk = [column[first : first + _CHUNK].tolist() for column in self._columns]
            for index, (arrival_s, input_tokens, output_tokens) in enumerate(zip(*chunk, strict=True), start=first):
                said = NOTHING if self._said is None else self._said[index]
                yield Request(index, arrival_s, input_tokens, output_tokens, said.prompt, said.answer)


def _story(options: Options, whole: RequestTable, n_requests: int) -> str:
    chosen = "" if n_requests == len(whole) else f", of which {n_requests:,} are replayed"
    left_out = "".join(f", {count:,} more {reason} left out" for reason, count in whole.dropped.items())
    return f"{options.path}: {whole.format} format, {len(whole):,} requests{chosen}{left_out}"


def select(options: Options, seed: int) -> RequestTable:
    """Return the requests that are replayed, with the times at which they arrive, if the file has any.

    How many there are does not depend on the seed.

    Raises:
        InputError, InputErrors: the file cannot be read, nothing is left of it, or times are asked for that it does not have.
    """
    table = load_requests(options)
    if table.arrival_s is None:
        _refuse_times(options)
    else:
        first, end = np.searchsorted(table.arrival_s, (options.start_s, options.end_s or np.inf))
        table = table.take(slice(first, end), table.arrival_s - options.start_s)
    wanted = options.sample_requests
    if options.sample_ratio is not None:
        wanted = round(options.sample_ratio * len(table))
    if wanted is not None and wanted < len(table):
        chosen = stream(seed, "sample").choice(len(table), wanted, replace=False, shuffle=False)
        table = table.take(np.sort(chosen))
    if options.n_requests is not None:
        table = table.take(slice(options.n_requests))
    if not len(table):
        raise InputError("no request is left between 'start_s' and 'end_s', of the sample", file=options.path)
    return table if table.arrival_s is None else table.take(slice(None), _scaled(options, table.arrival_s))


def _refuse_times(options: Options) -> None:
    for field in ("start_s", "end_s", "rate_scale", "rate_per_s", "offset_s"):
        if getattr(options, field):
            raise InputError("has no arrivals that this could change", file=options.path, field=field)


def _scaled(options: Options, arrival_s: NDArray[np.float64]) -> NDArray[np.float64]:
    factor = 1.0 if options.rate_scale is None else 1 / options.rate_scale
    if options.rate_per_s is not None:
        span_s = arrival_s[-1] - arrival_s[0]
        if not span_s:
            raise InputError(
                "all requests arrive at once; no scale of time gives them a rate",
                file=options.path,
                field="rate_per_s",
            )
        factor = (len(arrival_s) - 1) / span_s / options.rate_per_s
    return arrival_s * factor + options.offset_s
