"""Per-request speculation metrics of serving engines and benchmarks, as lines of papisim's own log of steps.

=========================  =====================================================================  =========
program                    where its record is, and by what it is recognised                      order
=========================  =====================================================================  =========
vLLM                       ``metrics.speculative_decoding`` of a response, once in                with level
                           ``choices[]``; ``mean_acceptance_length``                              ``detailed``
AIPerf                     ``spec_decode_acceptance`` of a record, or bare; ``engine``            if the engine's
TensorRT-LLM               ``speculative_decoding`` of a choice; ``total_accepted_draft_tokens``  no
SGLang                     ``meta_info``, ``sglext.spec_tokens_details``; ``spec_verify_ct``      no
=========================  =====================================================================  =========

All four hold a histogram: ``h[j]`` steps accepted j drafts. It says how often each length was accepted and how requests differ,
but not in which order, so nothing about how long good and bad passages last. Only the first two may hold the ordered steps as
well (``per_step_accepted``, ``per_step_drafted``).

Sources: vLLM's documentation of per-request acceptance metrics (v0.32), AIPerf's of ``SpecDecodeAcceptanceRecord`` (v0.14) and its
adapters (ai-dynamo/aiperf 7bb5f5c, 37f9db3), SGLang's ``meta_info``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from papisim import foreign
from papisim.errors import InputError

Record = Mapping[str, object]


@dataclass(frozen=True)
class _Program:
    """How one program writes the steps of a request.

    Attributes:
        name: of the program.
        sign: a field by which its records are known.
        histograms: fields that hold the histogram, the newest name first.
        drafts: field with the drafts of all steps together.
        remedy: how to get what a record lacks.
    """

    name: str
    sign: str
    histograms: tuple[str, ...]
    drafts: str
    remedy: str


#: the first whose sign a record has
_PROGRAMS = (
    _Program(
        "AIPerf",
        "engine",
        ("acceptance_histogram",),
        "num_draft_tokens",
        "benchmark an engine that reports its steps",
    ),
    _Program(
        "vLLM",
        "mean_acceptance_length",
        ("acceptance_histogram",),
        "num_draft_tokens",
        "serve with --per-request-spec-decode-metrics detailed",
    ),
    _Program(
        "TensorRT-LLM",
        "total_accepted_draft_tokens",
        ("acceptance_histogram",),
        "total_draft_tokens",
        "it keeps sums by position, not steps",
    ),
    _Program(
        "SGLang",
        "spec_verify_ct",
        ("spec_correct_drafts_histogram", "spec_accept_histogram"),
        "spec_num_proposed_drafts",
        "take a release whose meta_info has spec_correct_drafts_histogram",
    ),
)
#: where records are in what servers return
_PLACES = (
    ("metrics", "speculative_decoding"),
    ("spec_decode_acceptance",),
    ("sglext", "spec_tokens_details"),
    ("meta_info",),
    ("speculative_decoding",),
    ("speculative_decoding_stats",),
)


def fields_of(record: Record) -> dict[str, object] | None:
    """Return the fields of a line of papisim's log that say what a program's record says; None if no program is recognised.

    Besides those of the log, ``ordered`` tells whether the steps are in the order in which they were made.

    Raises:
        InputError: the record lacks what a fit needs, or contradicts itself.
    """
    for held in _held(record):
        for program in _PROGRAMS:
            if program.sign in held:
                return {**_steps(program, held), **_request(program, record, held)}
    return None


def _held(record: Record) -> Iterator[Record]:
    """Yield the record itself and all that may hold speculation metrics in it."""
    choices = record.get("choices")
    holders = (
        [record, *(choice for choice in choices if isinstance(choice, dict))]
        if isinstance(choices, list)
        else [record]
    )
    for holder in holders:
        for place in _PLACES:
            value: object = holder
            for name in place:
                value = value.get(name) if isinstance(value, dict) else None
            if isinstance(value, dict):
                yield value
    yield record


def _request(program: _Program, record: Record, held: Record) -> dict[str, object]:
    """Return the fields of the request: model, task and length of the answer."""
    usage = record.get("usage")
    tokens = usage.get("completion_tokens") if isinstance(usage, dict) else held.get("completion_tokens")
    source = record.get("model") or held.get("engine") or program.name
    return {"source": source, "task": record.get("task") or "", "new_tokens": tokens}


def _steps(program: _Program, held: Record) -> dict[str, object]:
    accepted, drafted = held.get("per_step_accepted"), held.get("per_step_drafted")
    if accepted is not None:
        return {"accepted": accepted, "draft_len": drafted, "ordered": True}
    name = next((name for name in program.histograms if held.get(name)), None)
    if name is None:
        message = f"{program.name}'s record has neither steps nor a histogram of them, only sums; {program.remedy}"
        raise InputError(message, field=program.histograms[0])
    counts = [step for step, n in _histogram(held[name], name) for _ in range(n)]
    if not counts:
        raise InputError(f"{program.name}'s record has no step", field=name)
    return {"accepted": counts, "draft_len": _length(program, held, len(counts)), "ordered": False}


def _histogram(value: object, name: str) -> list[tuple[int, int]]:
    """Return accepted drafts and how many steps accepted them: from a list by position, or from an object by number."""
    pairs: Sequence[tuple[object, object]]
    pairs = (
        list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
    )
    try:
        return sorted((foreign.whole(accepted, most=_MOST), foreign.whole(steps)) for accepted, steps in pairs)
    except ValueError as error:
        raise InputError(f"found {foreign.found(value)}, {error}", field=name) from None


_MOST = 1024  # drafts of a step


def _length(program: _Program, held: Record, steps: int) -> int | None:
    """Return the draft length of all steps, where all must have had the same one."""
    try:
        if program.name == "SGLang":  # its histogram ends with the most that was accepted
            drafts = foreign.whole(held.get(program.drafts) or 0)
            return drafts // steps if drafts and drafts % steps == 0 else None
        longest, drafts = (
            foreign.whole(held.get("num_spec_tokens") or 0),
            foreign.whole(held.get(program.drafts) or 0),
        )
    except ValueError as error:
        raise InputError(f"found {foreign.found(held.get(program.drafts))}, {error}", field=program.drafts) from None
    return longest if longest and drafts == longest * steps else None
