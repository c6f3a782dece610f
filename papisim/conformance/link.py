"""What every kind of link must do."""

from __future__ import annotations

from itertools import pairwise
from typing import TypeAlias

from papisim.conformance.law import Subject, expect
from papisim.devices.link import Links, Part
from papisim.ops.cost import Cost

Linking: TypeAlias = Subject[Part, Links]

_PAYLOADS = (1.0, 1e3, 1e5, 1e7, 1e9)


def _links(subject: Linking, count: int = 6) -> Links:
    return subject.family.make(subject.kind, subject.label, subject.options, count)


def _messages(subject: Linking, count: int = 6) -> list[list[Cost]]:
    """Return the costs of messages and, where the part has figures of it, of all-reduces, by payload."""
    links = _links(subject, count)
    transfers = [links.transfer(payload) for payload in _PAYLOADS]
    if subject.options.collective is None:
        return [transfers]
    return [transfers, [links.all_reduce(payload, 4) for payload in _PAYLOADS]]


def a_message_takes_time_and_energy(subject: Linking) -> None:
    """Each message takes time and energy, all of it on the link."""
    for costs in _messages(subject):
        for cost in costs:
            expect(cost.time_s > 0, f"a message takes {cost.time_s} s")
            expect(cost.energy.total_j >= 0, f"a message takes {cost.energy.total_j} J")


def more_bytes_are_never_faster(subject: Linking) -> None:
    """More bytes never take less time."""
    for costs in _messages(subject):
        times_s = [cost.time_s for cost in costs]
        expect(all(one <= other for one, other in pairwise(times_s)), f"payloads {_PAYLOADS} take {times_s} s")


def more_links_are_never_slower(subject: Linking) -> None:
    """A message over more links never takes more time."""
    by_count = [[cost.time_s for costs in _messages(subject, count) for cost in costs] for count in (1, 2, 4, 8)]
    for fewer, more in pairwise(by_count):
        slower = any(one < other * (1 - 1e-12) for one, other in zip(fewer, more, strict=True))
        expect(not slower, f"{fewer} s over fewer links, {more} s over more")


LAWS = (a_message_takes_time_and_energy, more_bytes_are_never_faster, more_links_are_never_slower)
