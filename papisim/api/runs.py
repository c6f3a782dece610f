"""Machines, runs, comparisons and explanations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from papisim.api.inputs import Overrides, Policy, Workload, as_choice
from papisim.api.results import ComparisonResult, ExplainedRun, Machine, Result, Saved
from papisim.config.base import KindOptions
from papisim.config.experiment import Metrics, RunOptions, load_experiment, options_of, read_assignments
from papisim.config.options import accepts_former_names
from papisim.config.system import load_system
from papisim.config.yaml import as_assignment
from papisim.diagnosis.explanation import explain as explain_run
from papisim.diagnosis.scope import Scope
from papisim.engine.run import simulate
from papisim.results.comparison import Comparison, distinct, label_of, split_placement
from papisim.results.folder import read_results
from papisim.results.seal import MANIFEST


@accepts_former_names(RunOptions.renamed)
def load(name_or_path: str | Path, *, placement: str | None = None, set: Overrides = ()) -> Machine | Saved:
    """Read results that a command wrote to a folder, or a machine by its name or file.

    Args:
        name_or_path: a folder with a manifest; or a shipped machine's name, or its file.
        placement: of a machine: replaces its placement policy.
        set: of a machine: fields to change, ``{"devices.gpu.count": 8}`` or ``["devices.gpu.count=8"]``.

    Raises:
        InputError, InputErrors: what is wrong, with places and the nearest name.
    """
    path = Path(name_or_path)
    if (path / MANIFEST).is_file():
        return Saved(read_results(path))
    assignments = [as_assignment(each) for each in read_assignments(set)]
    system = load_system(str(name_or_path), assignments, placement)
    return Machine(str(name_or_path), placement, tuple(each.text for each in assignments), system)


@accepts_former_names(RunOptions.renamed)
def run(
    hw: str | Machine,
    trace: str,
    *,
    workload: Workload = "creative_writing",
    engine: str = "none",
    batch: int | None = None,
    requests: int | None = None,
    tlp: int = 1,
    speculation: Policy | None = None,
    acceptance: Policy | None = None,
    draft: Policy | None = None,
    batching: Policy | None = None,
    replicas: int = 1,
    router: str | type = "round_robin",
    placement: str | type | None = None,
    set: Overrides = (),
    seed: int = 0,
    fold: bool = True,
    fast_forward: bool = True,
    metrics: Metrics = "exact",
) -> Result:
    """Simulate one machine serving one stream of requests, as ``papisim run`` does.

    Args:
        hw: a machine that :func:`load` read, or its name or file.
        trace: a kernel trace's name or file.
        workload: the requests: a shipped name, a file, the options of a kind of workload; a table with the columns
            ``input_tokens``, ``output_tokens`` and, unless all arrive at time 0, ``arrival_s``; or a list of such tuples,
            ``(input, output)`` or ``(arrival, input, output)``.
        engine: engine profile: ``none``, a shipped name, or a file.
        batch: batch size; the maximum under continuous batching. If None, all requests.
        requests: number of requests. If None, ``batch``, or the workload's.
        tlp: tokens per request and iteration, where no speculation policy is named.
        speculation: speculation policy: a shipped name, a file, a kind, its options, or a class of your own. If None, from ``tlp``.
        acceptance: acceptance process of drafts: likewise.
        draft: draft source: likewise.
        batching: batching policy: likewise. If None, ``static`` for a closed batch, else ``chunked_prefill``.
        replicas: equal machines side by side.
        router: routing policy over replicas: a kind.
        placement: placement of FC kernels, in place of the machine's: ``papi``, ``cheapest``, ``pinned:DEVICE``.
        set: fields to change, ``{"workload.n_requests": 8}`` or ``["workload.n_requests=8"]``.
        seed: the seed of all random streams.
        fold: price identical layers once.
        fast_forward: run steady iterations at once.
        metrics: ``exact`` keeps a row per step and request, ``streaming`` none.

    Raises:
        InputError, InputErrors: what is wrong with the arguments, with the nearest name.
        DoesNotFit: weights or KV caches are larger than the memory they belong in.
    """
    return Result(
        simulate(load_experiment(_options(hw, trace, _given(locals()) | {"workload": as_choice(workload)})))
    )


@accepts_former_names(RunOptions.renamed)
def compare(
    hw: Sequence[str | Machine],
    trace: str,
    *,
    workload: Workload = "creative_writing",
    engine: str = "none",
    batch: int | None = None,
    requests: int | None = None,
    tlp: int = 1,
    speculation: Sequence[Policy] | Policy | None = None,
    acceptance: Policy | None = None,
    draft: Policy | None = None,
    batching: Policy | None = None,
    replicas: int = 1,
    router: str | type = "round_robin",
    placement: str | type | None = None,
    set: Overrides = (),
    seed: int = 0,
    fold: bool = True,
    fast_forward: bool = True,
    metrics: Metrics = "exact",
) -> ComparisonResult:
    """Simulate the same requests on several machines, as ``papisim compare`` does; ratios are to the first.

    Args:
        hw: machines, each a name or file, with ``@PLACEMENT`` to replace its own placement, or one that :func:`load` read.
        trace: a kernel trace's name or file.
        workload: as in :func:`run`, as are all that follow.
        engine: engine profile.
        batch: batch size.
        requests: number of requests.
        tlp: tokens per request and iteration, where no speculation policy is named.
        speculation: one speculation policy or several; every machine runs with each.
        acceptance: acceptance process of drafts.
        draft: draft source.
        batching: batching policy.
        replicas: equal machines side by side.
        router: routing policy over replicas.
        placement: placement of FC kernels on the machines without ``@PLACEMENT``.
        set: fields to change on all machines.
        seed: the seed of all random streams.
        fold: price identical layers once.
        fast_forward: run steady iterations at once.
        metrics: ``exact`` or ``streaming``.

    Raises:
        InputError, InputErrors: what is wrong with the arguments, with the nearest name.
        DoesNotFit: weights or KV caches are larger than the memory they belong in.
    """
    given = _given(locals()) | {"workload": as_choice(workload)}
    labels, runs = [], []
    for machine in hw:
        for policy in _several(speculation):
            name, own = split_placement(machine) if isinstance(machine, str) else (machine, None)
            labels.append(label_of(machine if isinstance(machine, str) else machine.hw, _policy_name(policy)))
            chosen = given | {"speculation": policy, "placement": own or placement}
            runs.append(simulate(load_experiment(_options(name, trace, chosen))))
    return ComparisonResult(Comparison(distinct(labels), tuple(runs)))


@accepts_former_names(RunOptions.renamed)
def explain(
    hw: str | Machine,
    trace: str,
    *,
    of: Literal["run", "prefill", "decode", "mixed"] = "run",
    top: int = 12,
    changes: int = 3,
    step: float = 0.2,
    workload: Workload = "creative_writing",
    engine: str = "none",
    batch: int | None = None,
    requests: int | None = None,
    tlp: int = 1,
    speculation: Policy | None = None,
    acceptance: Policy | None = None,
    draft: Policy | None = None,
    batching: Policy | None = None,
    replicas: int = 1,
    router: str | type = "round_robin",
    placement: str | type | None = None,
    set: Overrides = (),
    seed: int = 0,
    fold: bool = True,
    fast_forward: bool = True,
    metrics: Metrics = "exact",
) -> ExplainedRun:
    """Simulate a run and explain its time, as ``papisim explain`` does.

    Args:
        hw: a machine that :func:`load` read, or its name or file.
        trace: a kernel trace's name or file.
        of: what is explained: the whole run, or the steps of one kind.
        top: numbers for which a run is repeated, where pricing its work again does not suffice.
        changes: better numbers, and other choices, to look for.
        step: relative improvement of a number: 0.2 is 20 %.
        workload: as in :func:`run`, as are all that follow.
        engine: engine profile.
        batch: batch size.
        requests: number of requests.
        tlp: tokens per request and iteration, where no speculation policy is named.
        speculation: speculation policy.
        acceptance: acceptance process of drafts.
        draft: draft source.
        batching: batching policy.
        replicas: equal machines side by side.
        router: routing policy over replicas.
        placement: placement of FC kernels.
        set: fields to change.
        seed: the seed of all random streams.
        fold: price identical layers once.
        fast_forward: run steady iterations at once.
        metrics: ``exact`` or ``streaming``.

    Raises:
        InputError, InputErrors: what is wrong with the arguments, with the nearest name; no step is of the kind ``of``.
        DoesNotFit: weights or KV caches are larger than the memory they belong in.
    """
    asked = _options(hw, trace, _given(locals()) | {"workload": as_choice(workload)})
    return ExplainedRun(explain_run(asked, scope=Scope(of), wanted=changes, top=top, step_ratio=step))


def _given(arguments: Mapping[str, object]) -> dict[str, object]:
    """Return the arguments of a function that are options of a run, ``hw`` and ``trace`` apart."""
    names = RunOptions.model_fields.keys() & arguments.keys() - {"hw", "trace"}
    return {name: arguments[name] for name in names}


def _several(policies: Sequence[Policy] | Policy | None) -> Sequence[Policy | None]:
    if policies is None or isinstance(policies, str | Mapping | KindOptions | type):
        return [policies]
    return policies


def _policy_name(policy: Policy | None) -> str | None:
    if policy is None or isinstance(policy, str):
        return policy
    if isinstance(policy, type):
        return policy.__name__
    return str(policy["kind"]) if isinstance(policy, Mapping) else policy.kind


def _options(hw: str | Machine, trace: str, given: dict[str, object]) -> RunOptions:
    options = options_of(hw=hw.hw if isinstance(hw, Machine) else hw, trace=trace, **given)
    if not isinstance(hw, Machine):
        return options
    changed = {"placement": options.placement or hw.placement, "set": (*hw.overrides, *options.set)}
    return options.model_copy(update=changed)
