"""The contract of a speculation policy: how many tokens each request drafts.

A policy from outside is one class that has ``Options`` and ``EXAMPLE`` inside; a policy of papisim's own is one module with
``Options``, ``EXAMPLE`` and the class, called ``Speculation`` (see :mod:`papisim.kinds`).

In every iteration the engine

1. asks :meth:`SpeculationPolicy.plan` for the draft of each request,
2. shows :meth:`SpeculationPolicy.cut` what the draft source proposes, so that a policy with a dynamic stop may end drafts
   early (most policies keep them as planned),
3. verifies the drafts and reports the outcomes to :meth:`SpeculationPolicy.observe`.

Unlike placement, batching and routing policies, a speculation policy has state: what it has observed. A policy

- keeps the state of a request under the request's id, and forgets it in :meth:`SpeculationPolicy.leave`;
- lets no request's outcomes change the drafts of another, unless ``learns_from_all`` says so;
- changes state in ``observe`` and ``leave`` alone: ``plan`` and ``cut`` may be called any number of times. A policy may note in ``plan``
  what it planned last, so that ``observe`` learns about it, if noting it twice is noting it once;
- draws random numbers, if any, from a stream that its options' seed and its state name (:func:`papisim.streams.stream`), and must not
  change views, drafts or rounds, nor keep them;
- may ask the view for the price of an iteration, and must not import devices.

TLP, the tokens that a request has in flight, is its drafts and the one token that decoding would have computed anyway. The
register may change before any iteration (PAPI, Section 5).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from pydantic import model_validator

from papisim.catalog import Shelf
from papisim.config.base import KindOptions, Width
from papisim.errors import InputError
from papisim.kinds.family import Family


class SpeculationOptions(KindOptions):
    """Options of every speculation policy."""

    @property
    def longest(self) -> int | None:
        """The longest draft that the options allow, in tokens; None where they set no limit."""
        return None

    @property
    def signals(self) -> frozenset[str]:
        """Signals without which the policy has nothing to decide by.

        ``confidence``, ``entropy`` and ``kld`` are those of :class:`Proposal` and :class:`Round`, ``layers`` is the agreement of
        exit layers. An acceptance process that does not have them is refused.
        """
        return frozenset()


class TunedOptions(SpeculationOptions):
    """Options with a field that belongs to a machine and a model; ``auto`` or nothing is measured when an experiment is loaded."""

    tuned_field: ClassVar[str]

    @model_validator(mode="before")
    @classmethod
    def _auto_is_none(cls, data: object) -> object:
        is_auto = isinstance(data, dict) and data.get(cls.tuned_field) == "auto"
        return {**data, cls.tuned_field: None} if isinstance(data, dict) and is_auto else data

    @property
    def awaits_tuning(self) -> bool:
        """Whether the field has not been measured yet."""
        return getattr(self, self.tuned_field) is None

    def measured(self) -> Any:
        """Return the value of the field.

        Raises:
            InputError: it has not been measured yet.
        """
        if self.awaits_tuning:
            raise InputError(f"speculation.{self.tuned_field}: found auto, which no calibration has replaced")
        return getattr(self, self.tuned_field)


class BoundedOptions(SpeculationOptions):
    """Options of the policies that a longest draft is given to.

    Attributes:
        max_length: the longest draft.
    """

    max_length: Width

    @property
    def longest(self) -> int:
        """The longest draft, in tokens."""
        return self.max_length


@dataclass(frozen=True, slots=True)
class Draft:
    """What one request drafts in one iteration.

    Attributes:
        length: serial draft steps: the tokens of a chain, the depth of a tree. 0 is no speculation.
        tree: draft nodes at each depth, for a tree; None for a chain. ``len(tree) == length``.
        exit_layer: layers that a self-speculating model drafts with; None where another source drafts.
    """

    length: int
    tree: tuple[int, ...] | None = None
    exit_layer: int | None = None

    @property
    def nodes(self) -> int:
        """Draft tokens to verify."""
        return self.length if self.tree is None else sum(self.tree)

    @property
    def rows(self) -> int:
        """Token-rows of the verification: the drafts, and the last accepted token."""
        return self.nodes + 1


NO_DRAFT = Draft(0)


@dataclass(frozen=True)
class SpeculationView:
    """What a policy may see before an iteration.

    Attributes:
        iteration: number of the iteration, from 0.
        requests: ids of the running requests, in batch order.
        price_s: the cost model, for policies that profile or look ahead: seconds that this iteration takes with given
            drafts, one a request, drafting included.
        n_layers: layers of the target model, for policies that choose an exit layer; 0 where not told.
        tokens_left: tokens that each request has left to emit, in batch order; empty where not told. Of a request with n tokens
            left, at most n − 1 drafts are verified, since verification adds a token of its own; longer drafts are cut.
        cached: tokens in each request's KV cache, in batch order; empty where not told.
    """

    iteration: int
    requests: tuple[int, ...]
    price_s: Callable[[Sequence[Draft]], float]
    n_layers: int = 0
    tokens_left: tuple[int, ...] = ()
    cached: tuple[int, ...] = ()

    @property
    def rlp(self) -> int:
        """Requests that will be decoded together."""
        return len(self.requests)


@dataclass(frozen=True, slots=True)
class Proposal:
    """What a draft source knows about the tokens it proposes, position by position, before they are verified.

    Attributes:
        confidence: the draft's probability of its top token.
        entropy: entropy of the draft's distribution, in nats.
    """

    confidence: tuple[float, ...]
    entropy: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Round:
    """What became of one request's draft.

    Attributes:
        request_id: whose.
        draft: what was drafted in the end.
        accepted: length of the longest correct prefix (chain) or path (tree), from 0 to ``draft.length``.
        confidence: as proposed, for the positions drafted.
        kld: KL divergence of target from draft, in nats, at the positions drafted, also after the first rejection.
        layer_matches: for self-speculation, by layer from 1 to the last but one: whether each position's token is what
            that layer alone would have said; empty for other sources. Verification decides one position more than was
            drafted, which may be there too.
        layer_confidence: for self-speculation, by layer: that layer's probability of its own top token at each position.
        prompt: positions in front of the round's own, of matches and confidence by layer, that are the end of the prompt.
    """

    request_id: int
    draft: Draft
    accepted: int
    confidence: tuple[float, ...] = ()
    kld: tuple[float, ...] = ()
    layer_matches: tuple[tuple[bool, ...], ...] = ()
    layer_confidence: tuple[tuple[float, ...], ...] = ()
    prompt: int = 0


class SpeculationPolicy(Protocol):
    """Decides what is drafted.

    Attributes:
        steady_tlp: tokens in flight of every request in every iteration, whatever happens: 1 without drafts, else one
            more than each drafts as a chain. None for a policy that may change its mind.
        learns_from_all: whether what becomes of one request's drafts may change what others draft.
    """

    steady_tlp: int | None
    learns_from_all: bool

    def plan(self, view: SpeculationView) -> list[Draft]:
        """Return the draft of each request of the view, in its order."""

    def cut(self, requests: Sequence[int], drafts: Sequence[Draft], proposals: Sequence[Proposal]) -> list[int]:
        """Return the number of positions of each draft that are drafted, having seen them proposed one after another.

        All requests draft their j-th token together, so a policy may end every draft when one request's token looks bad.
        """

    def observe(self, rounds: Sequence[Round]) -> None:
        """Learn what became of the drafts."""

    def leave(self, request_id: int) -> None:
        """Forget a request that has ended."""


SPECULATION: Family[SpeculationOptions, SpeculationPolicy] = Family(
    name="speculation",
    noun="speculation policy",
    plural="speculation policies",
    package="papisim.policies.speculation",
    thing="Speculation",
    base=SpeculationOptions,
    contract=SpeculationPolicy,
    shelf=Shelf.SPECULATION,
    schema="papisim/speculation/1",
)


class AsPlanned:
    """A policy without a dynamic stop."""

    steady_tlp: int | None = None
    learns_from_all: bool = False

    def cut(self, requests: Sequence[int], drafts: Sequence[Draft], proposals: Sequence[Proposal]) -> list[int]:
        """Return the lengths as planned."""
        del requests, proposals
        return [draft.length for draft in drafts]


class Stateless(AsPlanned):
    """A policy that keeps drafts as planned and learns nothing; the base of those that only plan."""

    def observe(self, rounds: Sequence[Round]) -> None:
        """Learn nothing."""

    def leave(self, request_id: int) -> None:
        """Have nothing to forget."""


StateT = TypeVar("StateT")


class PerRequest(AsPlanned, Generic[StateT]):
    """A policy that learns about each request by itself; the base of those that adapt.

    Args:
        start: makes the state of a request that is seen for the first time.
    """

    def __init__(self, start: Callable[[], StateT]) -> None:
        self._start = start
        self._states: dict[int, StateT] = {}

    def state(self, request_id: int) -> StateT:
        """Return the state of a request."""
        if request_id not in self._states:
            self._states[request_id] = self._start()
        return self._states[request_id]

    def observe(self, rounds: Sequence[Round]) -> None:
        """Learn from each request's round what it says about that request."""
        for seen in rounds:
            self.learn(self.state(seen.request_id), seen)

    def learn(self, state: StateT, seen: Round) -> None:
        """Update a request's state with its round."""
        raise NotImplementedError

    def leave(self, request_id: int) -> None:
        """Forget a request that has ended."""
        self._states.pop(request_id, None)
