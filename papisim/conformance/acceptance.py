"""What every acceptance process must do."""

from __future__ import annotations

from typing import TypeAlias

from papisim.acceptance.base import AcceptanceOptions, AcceptanceProcess, Tree
from papisim.conformance import running
from papisim.conformance.law import Subject, expect, random
from papisim.errors import NotModelled

Accepting: TypeAlias = Subject[AcceptanceOptions, AcceptanceProcess]

_LONG = 12
_SEEDS = range(6)
#: the layer that drafts, for processes of self-speculation
_EXIT_LAYER = 3
_SMALL: Tree = ((0,), (0, 0), (1,))
_LARGE: Tree = (*_SMALL, (1, 0), (0, 0, 0), (2,), (0, 1))


def _layer(subject: Accepting) -> int | None:
    return _EXIT_LAYER if subject.beside.get("draft") == "early_exit" else None


def accepted_is_at_most_what_was_drafted(subject: Accepting) -> None:
    """A round accepts from none to all of its drafts, and shows signals of each of them or of none."""
    layer = _layer(subject)
    for seed in _SEEDS:
        rng, sequence = random(subject, seed), subject.build(seed).start(1)
        for _ in range(20):
            drafted = rng.randint(0, _LONG)
            outcome = sequence.round(drafted, layer)
            expect(outcome.drafted == drafted, f"{outcome.drafted} drafted of {drafted}")
            expect(0 <= outcome.accepted <= drafted, f"{outcome.accepted} accepted of {drafted}")
            for name in ("confidence", "entropy", "kld"):
                shown = len(getattr(outcome, name))
                expect(shown in (0, drafted), f"{name} of {shown} positions of {drafted}")


def a_cut_changes_nothing_but_the_cut(subject: Accepting) -> None:
    """A cut draft has the accepted of the long one, cut; looking ahead and cutting change no later round."""
    layer = _layer(subject)
    if subject.options.depends_on_length:
        return
    for seed in _SEEDS:
        rng, long, cut = random(subject, seed), subject.build(seed).start(7), subject.build(seed).start(7)
        for _ in range(20):
            drafted, looks = rng.randint(0, _LONG), rng.randint(0, _LONG)
            shown = cut.proposal(looks, layer)
            whole, part = long.round(_LONG, layer), cut.round(drafted, layer)
            wanted = min(whole.accepted, drafted)
            expect(part.accepted == wanted, f"{part.accepted} accepted of {drafted} drafts, {wanted} of the long one")
            expect(part.confidence == whole.confidence[:drafted], "the cut changed the confidence")
            expect(part.entropy == whole.entropy[:drafted], "the cut changed the entropy")
            expect(part.kld == whole.kld[:drafted], "the cut changed the KL divergence")
            expect(shown.confidence == whole.confidence[:looks], "the proposal showed another confidence")
            expect(shown.entropy == whole.entropy[:looks], "the proposal showed another entropy")


def rounds_do_not_depend_on_earlier_drafts(subject: Accepting) -> None:
    """What a round accepts of a given length is the same whatever was drafted, looked at or cut in the rounds before it."""
    layer = _layer(subject)
    for seed in _SEEDS:
        rng, plain, varied = random(subject, seed), subject.build(seed).start(5), subject.build(seed).start(5)
        for _ in range(10):
            plain.round(1, layer)
            varied.proposal(rng.randint(0, _LONG), layer)
            varied.round(rng.randint(0, _LONG), layer)
        one, other = plain.round(6, layer).accepted, varied.round(6, layer).accepted
        expect(one == other, f"{one} accepted after rounds of one draft, {other} after others")


def requests_are_independent(subject: Accepting) -> None:
    """The same seed gives each request the same rounds, in whatever order requests start and are served."""
    layer = _layer(subject)

    def play(order: tuple[int, ...], seed: int) -> dict[int, list[int]]:
        process = subject.build(seed)
        sequences = {request: process.start(request) for request in order}
        accepted: dict[int, list[int]] = {request: [] for request in sorted(order)}
        for _ in range(8):
            for request in order:
                accepted[request].append(sequences[request].round(6, layer).accepted)
        return accepted

    for seed in _SEEDS:
        one, other = play((0, 1, 2), seed), play((2, 0, 1), seed)
        expect(one == other, f"in another order {one} became {other}")
        expect(play((1,), seed)[1] == one[1], "alone, a request has other rounds")


def a_larger_tree_never_has_fewer_accepted(subject: Accepting) -> None:
    """A tree that contains another accepts at least as deep a path, and never deeper than it is; a process may refuse trees."""
    if _layer(subject) is not None or subject.options.depends_on_length:
        return  # a self-speculating model drafts chains, and a curve by draft length is of chains
    try:
        subject.build(_SEEDS[0]).start(0).round_tree(_LARGE)
    except NotModelled:
        return
    for seed in _SEEDS:
        small, large = subject.build(seed).start(0), subject.build(seed).start(0)
        for _ in range(30):
            few, many = small.round_tree(_SMALL).accepted, large.round_tree(_LARGE).accepted
            expect(0 <= few <= many <= 3, f"{few} accepted of a tree of depth 2, {many} of a larger one of depth 3")


def every_request_gets_all_its_tokens(subject: Accepting) -> None:
    """A run that drafts serves every request to its last token, whatever is accepted."""
    running.every_request_gets_all_its_tokens(subject, **_drafting(subject))


def runs_repeat(subject: Accepting) -> None:
    """The same run twice is the same."""
    running.runs_repeat(subject, **_drafting(subject))


def fast_runs_are_exact(subject: Accepting) -> None:
    """Layers folded and iterations run at once change no figure."""
    running.fast_runs_are_exact(subject, **_drafting(subject))


def _drafting(subject: Accepting) -> dict[str, object]:
    """Return options of a run that drafts, where the subject brings none."""
    return {} if "speculation" in subject.beside else {"speculation": {"kind": "fixed", "tlp": 4}}


LAWS = (
    accepted_is_at_most_what_was_drafted,
    a_cut_changes_nothing_but_the_cut,
    rounds_do_not_depend_on_earlier_drafts,
    requests_are_independent,
    a_larger_tree_never_has_fewer_accepted,
    every_request_gets_all_its_tokens,
    runs_repeat,
    fast_runs_are_exact,
)
