"""Short runs with a kind in its place, and what holds of every run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from math import isclose

from papisim import catalog
from papisim.acceptance.base import AcceptanceOptions
from papisim.catalog import Shelf
from papisim.config.base import KindOptions
from papisim.config.experiment import load_experiment, options_of
from papisim.conformance.law import Subject, expect
from papisim.engine.run import simulate
from papisim.kinds.family import OptionsT, ThingT
from papisim.ops.trace import read_trace
from papisim.results.metrics import summarise

#: six requests of unlike lengths, all there at once
PAIRS = [[40, 30], [7, 12], [300, 1], [64, 25], [129, 40], [1, 3]]
BATCH = {"kind": "closed_batch", "n_requests": len(PAIRS), "lengths": {"kind": "listed", "pairs": PAIRS}}
#: options of a run that name the kind of a family
_OPTION = {"drafting": "draft", "routing": "router"}

#: what a kind of a family needs beside it, where its example names nothing else
_BESIDE = {"speculation": {"acceptance": "always", "draft": "free"}}


@cache
def _model_of(n_layers: int) -> str:
    """Return the first shipped model of a depth."""
    models = catalog.shipped(Shelf.TRACE)
    return next(
        name for name in models if read_trace(catalog.find(Shelf.TRACE, name).path).model.n_layers == n_layers
    )


def summary(subject: Subject[OptionsT, ThingT], **options: object) -> dict[str, object]:
    """Return the summary of a run of six requests with a subject in place.

    Args:
        subject: of any family whose kinds a run can name; where a device is, the options say.
        options: further options of the run.
    """
    chosen = {
        "hw": "papi",
        "trace": "llama7b",
        "workload": BATCH,
        **_BESIDE.get(subject.family.name, {}),
        **subject.beside,
    }
    if isinstance(subject.options, AcceptanceOptions) and subject.options.model_layers is not None:
        chosen["trace"] = _model_of(subject.options.model_layers)
    if subject.family.name in ("placement", "routing"):
        assert isinstance(subject.options, KindOptions)
        chosen["set"] = {subject.family.name: subject.options.model_dump()}
    elif subject.family.name != "device":
        chosen[_OPTION.get(subject.family.name, subject.family.name)] = subject.options
    return summarise(simulate(load_experiment(options_of(**{**chosen, **options}))))


def every_request_gets_all_its_tokens(subject: Subject[OptionsT, ThingT], **options: object) -> None:
    """A run serves every request to its last token."""
    found, wanted = summary(subject, **options), sum(output for _, output in PAIRS)
    expect(
        found["outcomes"] == {"served": len(PAIRS), "refused": 0, "failed": 0, "timed_out": 0},
        f"outcomes {found['outcomes']}",
    )
    expect(found["n_output_tokens"] == wanted, f"{found['n_output_tokens']} tokens emitted of {wanted}")


def runs_repeat(subject: Subject[OptionsT, ThingT], **options: object) -> None:
    """The same run twice is the same."""
    _same(summary(subject, **options), summary(subject, **options))


def fast_runs_are_exact(subject: Subject[OptionsT, ThingT], **options: object) -> None:
    """Layers folded and iterations run at once change no figure."""
    _same(summary(subject, **options), summary(subject, **options, fold=False, fast_forward=False))


def _same(one: Mapping[str, object], other: Mapping[str, object]) -> None:
    pairs = dict(_figures(one)), dict(_figures(other))
    expect(
        pairs[0].keys() == pairs[1].keys(), f"figures {sorted(pairs[0].keys() ^ pairs[1].keys())} are in one alone"
    )
    for name, figure in pairs[0].items():
        expect(
            isclose(figure, pairs[1][name], rel_tol=1e-9, abs_tol=1e-15), f"{name} is {figure}, then {pairs[1][name]}"
        )


def _figures(tree: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, float]]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _figures(value, f"{prefix}{name}.")
        elif isinstance(value, (int, float)):
            yield f"{prefix}{name}", float(value)
