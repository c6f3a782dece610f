"""What every placement policy must do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

from papisim.conformance import running
from papisim.conformance.law import Subject, expect
from papisim.ops.cost import Cost
from papisim.ops.kernel import FcRole, Kernel, Linear
from papisim.policies.placement.base import PlacementOptions, PlacementPolicy, PlacementView

Placing: TypeAlias = Subject[PlacementOptions, PlacementPolicy]


def _views(subject: Placing) -> Iterator[PlacementView]:
    """Yield views of many batches and kernels, whose candidates include the devices that the options name."""
    candidates = tuple(dict.fromkeys([*subject.options.devices().values(), "gpu", "fc_pim"]))

    def price(device: str, kernel: Kernel) -> Cost:
        rows = kernel.m if isinstance(kernel, Linear) else 1
        return Cost(1e-6 + 1e-7 * rows * candidates.index(device), "test")

    for rlp in (1, 2, 9, 10, 64, 512):
        for tlp in (1, 2, 8):
            for role in (FcRole.QKV, FcRole.FEED_FORWARD_UP, FcRole.LM_HEAD):
                yield PlacementView(rlp, rlp * tlp, Linear(role, rlp * tlp, 64, 64), candidates, price)


def a_kernel_goes_to_a_candidate(subject: Placing) -> None:
    """A policy names one of the candidates, whatever the batch and the kernel."""
    policy = subject.build()
    for view in _views(subject):
        device = policy.place(view)
        expect(device in view.candidates, f"placed on {device!r}, one of {view.candidates} is expected")


def a_choice_depends_on_the_view_alone(subject: Placing) -> None:
    """A policy is a pure function: it chooses alike whatever it was asked before, and so does another instance."""
    views, policy = list(_views(subject)), subject.build()
    first = [policy.place(view) for view in views]
    again = [policy.place(view) for view in reversed(views)][::-1]
    expect(again == first, "asked in the reverse order, it chose otherwise")
    expect([subject.build().place(view) for view in views] == first, "another instance chose otherwise")


LAWS = (
    a_kernel_goes_to_a_candidate,
    a_choice_depends_on_the_view_alone,
    running.every_request_gets_all_its_tokens,
    running.runs_repeat,
    running.fast_runs_are_exact,
)
