"""The contract of a format of request traces.

A format is a module, or from outside also a class with static methods. It

- claims a file by its first characters, and no file of another format;
- yields requests in the order of the file and reports each wrong line to the :class:`Reading`;
- keeps no state and opens no file but the one that it reads.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Protocol

from papisim.kinds.family import Family
from papisim.workloads.traces.reading import Reading, Row
from papisim.workloads.traces.spec import TraceFile


class Format(Protocol):
    """Reads files of requests.

    Attributes:
        TAKES: the fields of :class:`~papisim.workloads.traces.spec.TraceFile` that only some formats use and this one
            does.
    """

    TAKES: ClassVar[frozenset[str]]

    def detect(self, head: str) -> bool:
        """Return whether the first characters of a file look like this format."""

    def read(self, reading: Reading) -> Iterator[Row]:
        """Yield (arrival in s or None, input tokens, output tokens) of each request.

        Raises:
            InputError: a field of the options does not suit the file.
            InputErrors: too many lines are wrong.
        """


FORMAT: Family[TraceFile, Format] = Family(
    name="format",
    noun="request trace format",
    plural="request trace formats",
    package="papisim.workloads.formats",
    thing="",
    base=TraceFile,
    contract=Format,
    arguments=(),
    options="",
)
