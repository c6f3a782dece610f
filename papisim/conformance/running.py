"""Short runs with a kind in its place, and what holds of every run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from math import ceil, isclose

from papisim import catalog
from papisim.acceptance.base import AcceptanceOptions
from papisim.catalog import Shelf
from papisim.config.base import KindOptions
from papisim.config.experiment import load_experiment, options_of
from papisim.conformance.law import Subject, expect
from papisim.engine.drafting.base import DraftingOptions
from papisim.engine.run import simulate
from papisim.kinds.family import OptionsT, ThingT
from papisim.ops.lower import weight_bytes
from papisim.ops.trace import read_trace
from papisim.plan.machine import build_machine
from papisim.results.metrics import summarise

#: six requests of unlike lengths, all there at once
PAIRS = [[40, 30], [7, 12], [300, 1], [64, 25], [129, 40], [1, 3]]
BATCH = {"kind": "closed_batch", "n_requests": len(PAIRS), "lengths": {"kind": "listed", "pairs": PAIRS}}
#: options of a run that name the kind of a family
_OPTION = {"drafting": "draft", "routing": "router"}

#: what a kind of a family needs beside it, where its example names nothing else
_BESIDE = {"speculation": {"acceptance": "always", "draft": "free"}}


@cache
def _model_with(n_layers: int | None, width: int | None) -> str:
    """Return the first shipped model of a depth or width whose layers all look up what they cached, as drafting needs."""
    models = ((name, read_trace(catalog.find(Shelf.TRACE, name).path)) for name in catalog.shipped(Shelf.TRACE))
    return next(
        name
        for name, trace in models
        if n_layers in (None, trace.model.n_layers)
        and width in (None, trace.model.hidden_size)
        and not trace.has_states
    )


def model_for(subject: Subject[OptionsT, ThingT]) -> str:
    """Return a model that a subject can serve: one with the layers or the width that its options ask for."""
    options = subject.options
    layers = options.model_layers if isinstance(options, AcceptanceOptions) else None
    width = options.target_width if isinstance(options, DraftingOptions) else None
    if layers is None and width is None:
        return str(subject.beside.get("trace", "llama7b"))
    return _model_with(layers, width)


@cache
def _more_stacks(model: str) -> Mapping[str, object]:
    """Return assignments that give PAPI's machine enough stacks for a model's weights, and that need no α of that machine."""
    machine = build_machine(load_experiment(options_of(hw="papi", trace="llama7b")).system)
    pool = machine.pools[machine.roles.weights]
    needed = ceil(
        1.1 * weight_bytes(read_trace(catalog.find(Shelf.TRACE, model).path)) / pool.capacity_bytes * pool.count
    )
    if needed <= pool.count:
        return {}
    pinned = {"kind": "pinned", "device": machine.roles.weights}
    return {f"devices.{machine.roles.weights}.count": needed, "placement": pinned}


def summary(subject: Subject[OptionsT, ThingT], **options: object) -> dict[str, object]:
    """Return the summary of a run of six requests with a subject in place.

    Args:
        subject: of any family whose kinds a run can name; where a device is, the options say.
        options: further options of the run.
    """
    model = model_for(subject)
    chosen = {
        "hw": "papi",
        "set": _more_stacks(model),
        "workload": BATCH,
        **_BESIDE.get(subject.family.name, {}),
        **subject.beside,
        "trace": model,
    }
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
