"""Conversations of several turns: each prompt repeats all that was said before, and most begin with a prompt that many share.

The prompt of a turn is the system prompt of its session, every earlier prompt and answer of the session, and new tokens. So a
prefix cache (``kv.prefix_cache``) finds all but the new tokens, as long as it still has them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from papisim.config.base import Count, NonNegative, Positive, Spec
from papisim.kinds import Example
from papisim.streams import stream
from papisim.workloads.base import Request, WorkloadOptions
from papisim.workloads.closed_loop import ThinkTime
from papisim.workloads.content import Key, Span
from papisim.workloads.lengths import Lengths
from papisim.workloads.lengths.base import draw_in_chunks


class SystemPrompts(Spec):
    """Prompts that sessions begin with.

    Attributes:
        number: different ones.
        tokens: tokens of each.
        zipf_exponent: the k-th most popular one begins a share of sessions proportional to ``k^−exponent``; 0: all are as popular.
    """

    number: Count
    tokens: Count
    zipf_exponent: NonNegative = 1.0

    def draw(self, n: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Return the system prompts of ``n`` sessions, by rank from 0."""
        weights = np.arange(1, self.number + 1, dtype=float) ** -self.zipf_exponent
        return rng.choice(self.number, n, p=weights / weights.sum())


class Options(WorkloadOptions):
    """How sessions begin and go on.

    Attributes:
        n_requests: turns of all sessions together; the last session may be cut short.
        rate_per_s: mean number of sessions that begin per second, a Poisson process.
        mean_turns: mean number of turns of a session.
        turns: ``geometric``: after each turn, a session ends with the same probability; ``fixed``: all have ``mean_turns``, rounded.
        think_time: between the end of an answer and the next turn.
        lengths: of each turn: new prompt tokens, and tokens of the answer.
        system_prompts: prompts that sessions begin with; None: there are none.
    """

    kind: Literal["sessions"]
    n_requests: Count
    rate_per_s: Positive
    mean_turns: Annotated[float, Field(ge=1, le=10**6)]
    turns: Literal["geometric", "fixed"] = "geometric"
    think_time: ThinkTime = ThinkTime()
    lengths: Lengths
    system_prompts: SystemPrompts | None = None


EXAMPLE = Example(
    {
        "n_requests": 50,
        "rate_per_s": 2,
        "mean_turns": 4,
        "think_time": {"mean_s": 2},
        "lengths": {"kind": "fixed", "input_tokens": 100, "output_tokens": 20},
        "system_prompts": {"number": 3, "tokens": 64},
    }
)


class Workload:
    """The first turn of each session, and the next one whenever one has ended.

    Turns are numbered session by session; what a turn says and how long its user thinks depend on the seed and its number alone.
    """

    def __init__(self, options: Options, seed: int) -> None:
        n = options.n_requests
        self._firsts = _first_turns(options, stream(seed, "turns"))
        gaps_s = stream(seed, "arrivals").exponential(1 / options.rate_per_s, len(self._firsts))
        self._begin_s = np.cumsum(gaps_s) - gaps_s[0]
        self._think_s = options.think_time.draw(n, stream(seed, "think"))
        self._pairs = np.concatenate(list(draw_in_chunks(options.lengths, n, stream(seed, "lengths"))))
        self._system = options.system_prompts
        drawn = None if self._system is None else self._system.draw(len(self._firsts), stream(seed, "system"))
        self._systems = drawn

    def __iter__(self) -> Iterator[Request]:
        """Yield each session's first turn, in the order of their arrival."""
        for number, arrival_s in zip(self._firsts.tolist(), self._begin_s.tolist(), strict=True):
            yield self._request(number, arrival_s)

    def follow(self, request: Request, finished_s: float) -> Request | None:
        """Return the next turn of the session that a request belongs to; None after the last."""
        number = request.request_id + 1
        if number == len(self._pairs) or self._firsts[self._session(number)] == number:
            return None
        return self._request(number, finished_s + float(self._think_s[number]))

    def _session(self, number: int) -> int:
        return int(np.searchsorted(self._firsts, number, side="right")) - 1

    def _request(self, number: int, arrival_s: float) -> Request:
        session = self._session(number)
        content = []
        if self._system is not None and self._systems is not None:
            content.append(Span(("system", int(self._systems[session])), self._system.tokens))
        for turn in range(int(self._firsts[session]), number):
            asked, answered = self._pairs[turn].tolist()
            content += [Span(("asked", turn), asked), Span(_answer(turn), answered)]
        asked, answered = self._pairs[number].tolist()
        content.append(Span(("asked", number), asked))
        tokens = sum(span.tokens for span in content)
        return Request(number, arrival_s, tokens, answered, tuple(content), _answer(number))


def _answer(turn: int) -> Key:
    return ("answered", turn)


def _first_turns(options: Options, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return the number of the first turn of each session, shape (sessions,)."""
    if options.turns == "fixed":
        return np.arange(0, options.n_requests, round(options.mean_turns))
    turns = rng.geometric(1 / options.mean_turns, options.n_requests)
    firsts = np.cumsum(turns) - turns
    return firsts[firsts < options.n_requests]
