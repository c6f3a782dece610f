"""What a run or a comparison means, in sentences: what bounds decoding, why FC kernels moved, why one machine beats another.

Everything is read from the ledger, so that a sentence costs no simulation. A sentence that does not hold for a run is left out, and its
numbers are bounds where time overlaps or arrivals set the pace.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING

from papisim import units
from papisim.engine.run import Run
from papisim.plan.phase import Category
from papisim.policies.placement.base import Operator
from papisim.policies.placement.papi import Options as PapiOptions
from papisim.policies.placement.pinned import Options as PinnedOptions
from papisim.record.ledger import TAIL_RLP
from papisim.record.segment import Segment
from papisim.record.steps import DECODING, only_device
from papisim.report.figures import count, percent, times
from papisim.results.comparison import Comparison
from papisim.results.folder import Json, Results
from papisim.results.frames import frame
from papisim.results.operators import operator_figures

if TYPE_CHECKING:
    import pandas as pd

#: shares of decoding that are named, and from which on
_NAMED, _WORTH_NAMING = 3, 0.05
#: categories whose devices are named where machines differ
_ON_DEVICES = frozenset({Category.FC, Category.ATTENTION, Category.OTHER, Category.DRAFT})
#: share of decoding time in the tail of a batch that is worth a remark
_LONG_TAIL = 0.5
#: relative difference below which two machines are equally fast
_EQUAL = 0.02
#: relative difference up to which a sum of phases is the time of the run
_SAME = 1e-6

#: seconds of decoding by device or link and category
Spent = Mapping[tuple[str, Category], float]

_WORK = {
    Category.FC: "FC kernels on {}", Category.ATTENTION: "attention on {}", Category.COMMUNICATION: "messages over {}",
    Category.OTHER: "small kernels on {}", Category.DRAFT: "drafting on {}", Category.HOST: "the host's work",
}  # fmt: skip
_CATEGORIES = {
    Category.FC: "FC kernels", Category.ATTENTION: "attention", Category.COMMUNICATION: "messages between devices",
    Category.OTHER: "small kernels", Category.DRAFT: "drafting", Category.HOST: "the host",
}  # fmt: skip


def meaning_of_run(run: Run) -> list[str]:
    """Return the sentences on a run, the most important first; none on a run that decoded nothing."""
    spent = _spent(run)
    if not spent:
        return []
    return [*_bound(run, spent), *_moves(run), *_others(run), *_tail(run), *_help(run, spent)]


def meaning_of_comparison(comparison: Comparison) -> list[str]:
    """Return the reasons for which each machine is faster or slower than the first, and uses more or less energy."""
    first, *others = zip(comparison.labels, comparison.runs, comparison.rows, strict=True)
    return list(chain.from_iterable(_against(first, other) for other in others))


def _spent(run: Run) -> Spent:
    rows = run.ledger.sums(*DECODING).rows
    return {where: row.item(0) for where, row in rows.items() if row.item(0)}


def _bound(run: Run, spent: Spent) -> Iterator[str]:
    """Tell the work that takes most of decoding."""
    phases_s = sum(spent.values())
    ranked = sorted(spent.items(), key=lambda each: -each[1])
    named = [each for each in ranked[:_NAMED] if each[1] >= _WORTH_NAMING * phases_s]
    told = "Decoding is bound by {} ({} of its time)"
    if not _is_sequential(run):
        told = "Most work of decoding is {} ({} of its phases, some of which overlap)"
    (first, share), *others = [(_work(where), percent(time_s / phases_s)) for where, time_s in named]
    more = f", then {_joined([f'{work} ({each})' for work, each in others])}" if others else ""
    yield f"{told.format(first, share)}{more}."


def _joined(words: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def _work(where: tuple[str, Category]) -> str:
    resource, category = where
    return _WORK[category].format(resource)


def _is_sequential(run: Run) -> bool:
    return not sum(run.ledger.totals[kind].overlapped_s for kind in DECODING)


def _moves(run: Run) -> Iterator[str]:
    """Tell where FC kernels ran and, under PAPI's policy, why."""
    decoding = [segment for segment in run.ledger.segments if segment.kind in DECODING]
    if len(run.experiment.system.spec.roles.fc) < 2 or not decoding:  # noqa: PLR2004 - a choice
        return
    options, switches = run.experiment.system.placement, run.ledger.switches
    if not switches:
        yield _stayed(options, decoding)
        return
    first = switches[0]
    more = f"; {count(len(switches), 'move')} in all" if len(switches) > 1 else ""
    yield (
        f"FC kernels move from {_device(first['from'])} to {_device(first['to'])} at iteration {first['iteration']:,}"
        f"{_why(options, first)}{more}."
    )


def _stayed(options: object, decoding: Sequence[Segment]) -> str:
    devices = {segment.fc_device for segment in decoding}
    if len(devices) > 1:  # replicas that differ
        return f"FC kernels run on {_joined([_device(name) for name in sorted(devices)])}."
    (device,), rows = devices, [segment.plan.rows for segment in decoding]
    told = f"FC kernels stay on {_device(device)}"
    if isinstance(options, PapiOptions) and isinstance(options.alpha, (int, float)):
        if device == options.pim and max(rows) <= options.alpha:
            return f"{told}: RLP·TLP, at most {max(rows):,}, never exceeds α = {options.alpha:g}."
        if device == options.processing_unit and min(rows) > options.alpha:
            return f"{told}: RLP·TLP, at least {min(rows):,}, stays above α = {options.alpha:g}."
    return f"{told}."


def _why(options: object, switch: Mapping[str, object]) -> str:
    rows = switch["rows"]
    if not isinstance(options, PapiOptions) or not isinstance(options.alpha, (int, float)):
        return ""
    assert isinstance(rows, int)
    if switch["to"] == options.pim and rows <= options.alpha:
        return f", where RLP·TLP falls to {rows:,}, not above α = {options.alpha:g}"
    if switch["to"] == options.processing_unit and rows > options.alpha:
        return f", where RLP·TLP rises to {rows:,}, above α = {options.alpha:g}"
    return ""


def _others(run: Run) -> Iterator[str]:
    """Tell where the operators beside FC ran that may run on several devices."""
    for each in operator_figures(run)["operators"]:
        on = [row for row in each["on"] if row["iteration_ratio"]]
        if len(each["candidates"]) < 2 or each["operator"] == Operator.FC or not on:  # noqa: PLR2004 - a choice
            continue
        name = each["operator"].replace("_", " ").capitalize()
        if len(on) == 1:
            yield f"{name} stays on {_device(on[0]['device'])}."
            continue
        shares = _joined([f"{_device(row['device'])} for {percent(row['step_time_ratio'])}" for row in on])
        yield f"{name} runs on {shares} of decoding, with {count(each['n_switches'], 'move')}."


def _device(name: object) -> str:
    return "several devices at once" if name == only_device(()) else str(name)


def _tail(run: Run) -> Iterator[str]:
    """Tell that a batch is mostly its drain."""
    ledger = run.ledger
    decode_s = sum(ledger.totals[kind].time_s for kind in DECODING)
    share = ledger.tail_s / decode_s
    if share >= _LONG_TAIL and ledger.arrived_requests > TAIL_RLP:
        mean = ledger.decoding_s / decode_s
        yield (
            f"For {percent(share)} of decoding at most {TAIL_RLP} requests are left: the longest answers set the time, "
            f"and the mean RLP is {mean:.3g}."
        )


def _help(run: Run, spent: Spent) -> Iterator[str]:
    """Tell what would help most, by Amdahl's law."""
    makespan_s = run.ledger.makespan_s * run.ledger.n_servers
    where = max(spent, key=spent.__getitem__)
    share = spent[where] / makespan_s
    if not 0 < share <= 1:
        return
    gain = percent(1 / (1 - share / 2) - 1)
    yield f"Halving the time of {_work(where)} would raise throughput by {_exactness(run)}{gain}."


def _exactness(run: Run) -> str:
    """Return the word on how exact Amdahl's law is: fully where phases follow one another and nothing waits or moves, else as a bound or roughly."""
    ledger, spec = run.ledger, run.experiment.system.spec
    if not isinstance(run.experiment.system.placement, PapiOptions | PinnedOptions) and len(spec.roles.fc) > 1:
        return "about "
    phases_s = ledger.sums().time_s
    at_once = ledger.keeps_rows and all(request.arrival_s == ledger.start_s for request in ledger.requests)
    sums_up = abs(phases_s - ledger.makespan_s * ledger.n_servers) <= _SAME * phases_s
    return "" if at_once and sums_up else "at most "


def meaning_frame_of(result: Run | Comparison) -> dict[str, pd.DataFrame]:
    """Return the frame ``meaning`` by its name; sentences on several runs have no machine."""
    if isinstance(result, Run):
        rows = [(result.experiment.system.name, sentence) for sentence in meaning_of_run(result)]
    else:
        rows = [("", sentence) for sentence in meaning_of_comparison(result)]
    return {"meaning": frame("meaning", [{"machine": label, "sentence": sentence} for label, sentence in rows])}


def meaning_in(results: Results) -> list[str]:
    """Return the sentences in a folder of results; none in one that was written without them."""
    if "meaning" not in results.frame_names:
        return []
    return [str(sentence) for sentence in results.frame("meaning")["sentence"]]


#: label, run and row of a comparison
_Compared = tuple[str, Run, Json]


def _against(first: _Compared, other: _Compared) -> Iterator[str]:
    """Tell why a machine is faster or slower than the first, and what its energy differs by."""
    (label, run, _), (name, this, row) = first, other
    ratio = row["decode_speed_up_ratio"]
    if ratio is None or row["n_served"] != first[2]["n_served"]:
        return
    if abs(ratio - 1) < _EQUAL:
        yield f"{name} decodes as fast as {label} ({times(ratio)})."
    else:
        faster = ratio > 1
        compared = f"{times(ratio if faster else 1 / ratio)} as {'fast' if faster else 'long'}"
        verb = "decodes" if faster else "takes"
        saved_s = _decode_s(run) - _decode_s(this)
        yield ": ".join(filter(None, [f"{name} {verb} {compared} as {label}", _reasons(run, this, saved_s)])) + "."
    yield from _energy(first, other)


def _decode_s(run: Run) -> float:
    return sum(run.ledger.totals[kind].time_s for kind in DECODING)


def _reasons(first: Run, this: Run, saved_s: float) -> str:
    """Return the largest contributors to a difference in decoding time, and the largest against it."""
    own, others = _by_category(first), _by_category(this)
    saved = {category: own.get(category, 0.0) - others.get(category, 0.0) for category in {**own, **others}}
    with_it = sorted((c for c in saved if saved[c] * saved_s > 0), key=lambda c: -abs(saved[c]))
    against = [c for c in saved if saved[c] * saved_s < 0 and abs(saved[c]) >= _WORTH_NAMING * abs(saved_s)]
    shown = [c for c in with_it[:_NAMED] if abs(saved[c]) >= _WORTH_NAMING * abs(saved_s)] or with_it[:1]
    parts = [_change(category, first, this) for category in shown]
    if against:
        worst = max(against, key=lambda c: abs(saved[c]))
        parts.append(f"against it, {_change(worst, first, this)}")
    return "; ".join(parts)


def _by_category(run: Run) -> dict[Category, float]:
    return {category: time_s for category, time_s in run.ledger.sums(*DECODING).time_by.items() if time_s}


def _change(category: Category, first: Run, this: Run) -> str:
    """Return the seconds of a category on this machine instead of on the first, and where it runs."""
    times, places = [], []
    for run in (this, first):
        spent = {resource: time_s for (resource, each), time_s in _spent(run).items() if each is category}
        times.append(units.format(sum(spent.values()), "s", 3))
        places.append(f" on {_joined(sorted(spent))}" if spent and category in _ON_DEVICES else "")
    if places[0] == places[1]:
        return f"{_CATEGORIES[category]}{places[0]} {times[0]} instead of {times[1]}"
    return f"{_CATEGORIES[category]} {times[0]}{places[0]} instead of {times[1]}{places[1]}"


def _energy(first: _Compared, other: _Compared) -> Iterator[str]:
    """Tell the part of the energy per token that differs most."""
    (label, run, _), (name, this, row) = first, other
    ratio = row["energy_efficiency_ratio"]
    if ratio is None or abs(ratio - 1) < _EQUAL:
        return
    own, others = (_joules_per_token(each) for each in (run, this))
    saved = {part: own[part] - others[part] for part in own}
    total = sum(saved.values())
    part = max(saved, key=lambda each: saved[each] * total)
    shown_here, shown_first = (units.format(each[part], "j", 3) for each in (others, own))
    what = part.removesuffix("_j").replace("_", " ")
    frugal, other_label = (name, label) if total > 0 else (label, name)
    quotient = times(ratio if total > 0 else 1 / ratio)
    yield (
        f"{other_label} uses {quotient} the energy per token of {frugal}, mostly by {what} energy, "
        f"{shown_here} on {name} and {shown_first} on {label}."
    )


def _joules_per_token(run: Run) -> dict[str, float]:
    ledger = run.ledger
    tokens = sum(totals.tokens for totals in ledger.totals.values())
    dynamic = ledger.sums().energy
    joules = dynamic._replace(static_j=dynamic.static_j + ledger.static_w * ledger.n_servers * ledger.makespan_s)
    return {part: value / tokens for part, value in joules.items()}
