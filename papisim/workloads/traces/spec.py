"""What a user says of a file of requests."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from papisim.config.base import Count, Name, Spec

#: a time unit of a column, or ``datetime`` for ISO 8601
TimeUnit = Literal["s", "ms", "us", "ns", "datetime"]


class Columns(Spec):
    """Which columns of a CSV file hold what.

    Attributes:
        arrival: when a request arrives.
        input_tokens: how long its prompt is.
        output_tokens: how long its answer is.
    """

    arrival: Name | None = None
    input_tokens: Name = "input_tokens"
    output_tokens: Name = "output_tokens"


class TraceFile(Spec):
    """A file of requests and how to read it.

    Attributes:
        path: the file, plain or gzipped.
        format: a module of :mod:`papisim.workloads.formats`, or ``auto``: what the head of the file looks like.
        sha256: of the file's bytes; a file with another is refused.
        where: keep only requests whose columns (or JSON fields) have these values.
        zero_tokens: what becomes of requests without a single input or output token, which are failures in the traces that have
            them (BurstGPT; Wang et al., KDD 2025): ``drop`` leaves them out, ``one`` gives them one token, ``refuse`` makes them errors.
        columns: of the format ``csv``: which column holds what.
        time_unit: unit of the arrivals, where it is not the format's own; of the format ``csv`` with ``columns.arrival``, which
            has none, it is needed.
        tokenizer: of formats with text: a ``tokenizer.json`` (Hugging Face) that counts its tokens.
        chars_per_token: of formats with text: or how many characters make a token, rounded up.
        turns: of conversations: ``first``, the first prompt and its answer alone, as vLLM's benchmark does; ``all``, a request an
            answer, whose prompt is all the text before it.
        hash_block_tokens: of formats with hashes of the prompts' blocks: tokens of a block, where it is not the format's own.
    """

    path: Name
    format: Name = "auto"
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    where: dict[str, str | int | float] = Field(default_factory=dict)
    zero_tokens: Literal["drop", "one", "refuse"] = "drop"
    columns: Columns | None = None
    time_unit: TimeUnit | None = None
    tokenizer: Name | None = None
    chars_per_token: Annotated[float, Field(ge=0.01, le=1000)] | None = None
    turns: Literal["first", "all"] | None = None
    hash_block_tokens: Count | None = None

    @model_validator(mode="after")
    def _one_way_to_count(self) -> TraceFile:
        if self.tokenizer is not None and self.chars_per_token is not None:
            raise ValueError("found both 'tokenizer' and 'chars_per_token', expected one way to count tokens")
        return self


#: the fields of :class:`TraceFile` that only some formats use; a format names those it does in ``TAKES``
SOME_FORMATS_TAKE = ("where", "columns", "time_unit", "tokenizer", "chars_per_token", "turns", "hash_block_tokens")
