"""What every format of request traces must do."""

from __future__ import annotations

from math import isclose
from pathlib import Path
from typing import TypeAlias

from papisim.conformance.law import Subject, expect
from papisim.errors import PapisimError
from papisim.workloads.formats.base import FORMAT, Format
from papisim.workloads.traces.load import load_requests
from papisim.workloads.traces.reading import Row
from papisim.workloads.traces.spec import SOME_FORMATS_TAKE, TraceFile

Written: TypeAlias = Subject[TraceFile, Format]

_JUNK = ("", "\n", "[]", "{", "[[1, 2]]", "null", "hello, world\n1,2\n", '{"a": 1}', "\x00\x01")


def it_claims_its_own_files(subject: Written) -> None:
    """A format claims its example by its first characters, and nothing that is no trace."""
    format_ = subject.kind.thing()
    text = Path(subject.options.path).read_text(encoding="utf-8")
    expect(format_.detect(text), "it does not claim its example")
    for junk in _JUNK:
        expect(not format_.detect(junk), f"it claims {junk!r}")
    for name in FORMAT.own():
        other = FORMAT.load(name)
        expect(
            other.name == subject.kind.name or not other.thing().detect(text), f"its example looks like {name}, too"
        )
        for example in other.example.files.values() if other.name != subject.kind.name else ():
            expect(not format_.detect(example), f"it claims the example of {name}")


def it_reads_its_example(subject: Written) -> None:
    """A format reads from its example the requests that the example says, time starting at the first."""
    table = load_requests(subject.options)
    arrivals = [None] * len(table) if table.arrival_s is None else table.arrival_s.tolist()
    found = list(zip(arrivals, table.input_tokens.tolist(), table.output_tokens.tolist(), strict=True))
    wanted = subject.beside.get("requests")
    expect(isinstance(wanted, list), "its Example says no beside={'requests': [(arrival in s, input, output), …]}")
    assert isinstance(wanted, list)
    alike = len(found) == len(wanted) and all(_same(one, other) for one, other in zip(found, wanted, strict=True))
    expect(alike, f"read {found}, expected {wanted}")


def it_names_fields_that_there_are(subject: Written) -> None:
    """``TAKES`` names only fields that some formats take."""
    unknown = subject.kind.thing().TAKES - set(SOME_FORMATS_TAKE)
    expect(not unknown, f"it takes {sorted(unknown)}; there are {', '.join(SOME_FORMATS_TAKE)}")


def it_refuses_other_files(subject: Written) -> None:
    """A file of another format is refused with an error that names the file, not read as something else."""
    for name in FORMAT.own():
        if name == subject.kind.name:
            continue
        for file, text in FORMAT.load(name).example.files.items():
            path = Path(subject.options.path).parent / f"{name}.{file}"
            path.write_text(text, encoding="utf-8")
            try:
                load_requests(subject.options.model_copy(update={"path": str(path), "sha256": None}))
            except PapisimError as error:
                expect(path.name in str(error), f"the error on a file of {name} does not name it: {error}")
            else:
                expect(False, f"it reads a file of {name}")


def _same(found: Row, wanted: Row) -> bool:
    if found[1:] != tuple(wanted[1:]) or (found[0] is None) != (wanted[0] is None):
        return False
    return found[0] is None or wanted[0] is None or isclose(found[0], wanted[0], abs_tol=1e-6)


LAWS = (it_claims_its_own_files, it_reads_its_example, it_names_fields_that_there_are, it_refuses_other_files)
