"""What is measured of an engine: steady decoding, prompts, both together, services in real time, and kernels by name."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

import numpy as np

from kernels.engine.log import Launch, LogFolder, Readings, Step

#: token budget of a step outside services
WIDE: Final = 8192
#: steps that are measured of a cell, and those before them that are not
_STEPS, _SKIPPED = 24, 4
#: profiled steps of a decoding cell
_PROFILED: Final = 4
#: prompts of each length, the first of which warms up
_PROMPTS: Final = 4
#: prompts beside decoding requests, the first of which warms up
_MIXED: Final = 6
_MOST_FILLING = 4000


class Engine(Protocol):
    """A serving engine that is driven step by step."""

    drafts: int
    is_async: bool
    cache_tokens: int

    def add(self, input_tokens: int, output_tokens: int) -> str:
        """Submit a request of random tokens and return its id."""

    def step(self) -> Step:
        """Run one step."""

    @property
    def busy(self) -> bool:
        """Whether a request is unfinished."""

    def limit(self, tokens: int) -> None:
        """Set the token budget of a step."""

    def clear(self) -> None:
        """Abort all requests."""

    def profile(self, run: Callable[[], None]) -> tuple[float, list[Launch]]:
        """Run under a profiler; returns wall seconds and the kernels."""

    def sensors(self) -> Readings:
        """Read the GPU's sensors."""


class Arrival(NamedTuple):
    """A request of a service."""

    arrival_s: float
    input_tokens: int
    output_tokens: int


@dataclass(frozen=True)
class Measurement:
    """Runs blocks on an engine and logs them.

    Attributes:
        engine: the engine.
        log: the logs.
        say: prints progress.
    """

    engine: Engine
    log: LogFolder
    say: Callable[[str], None]

    def decode(self, batches: Sequence[int], contexts: Sequence[int]) -> None:
        """Measure steady decoding, or drafts, of batches with equally long caches."""
        for context in contexts:
            for batch in batches:
                self._decode_cell(batch, context)

    def _decode_cell(self, batch: int, context: int) -> None:
        block, cell = "spec" if self.engine.drafts else "decode", f"b{batch}c{context}"
        if not self._fits(batch, context):
            self.say(f"{cell}: left out, its caches do not fit")
            return
        try:
            self._fill(batch, context, block, cell)
            steps = [
                self._step(block, cell if index >= _SKIPPED else f"{cell}:skip") for index in range(_STEPS + _SKIPPED)
            ]
            steady = [
                step for step in steps[_SKIPPED:] if step.scheduled.n_decode == batch and not step.scheduled.prompts
            ]
            self._cell(block, cell, (batch, context), [step.time_s for step in steady])
        finally:
            self._clear()

    def prefill(self, lengths: Sequence[int], chunks: Sequence[int]) -> None:
        """Measure prompts that are computed alone, whole, and, the longest, in chunks."""
        if self._returns_early("prefill"):
            return
        self.engine.limit(WIDE)
        self._prompt(lengths[0], "prefill", "warm")
        for length in lengths:
            times_s = [self._prompt(length, "prefill", f"p{length}") for _ in range(_PROMPTS)]
            self._cell("prefill", f"p{length}", (1, length), times_s[1:])
        for chunk in chunks:
            self.engine.limit(chunk)
            cell = f"chunk{chunk}of{max(lengths)}"
            times_s = [self._prompt(max(lengths), "prefill", cell) for _ in range(2)]
            self._cell("prefill", cell, (1, max(lengths)), times_s[1:], "sum over chunks")

    def mixed(self, batch: int, context: int, prompts: Sequence[int]) -> None:
        """Measure prompts that are computed beside decoding requests."""
        if self._returns_early("mixed"):
            return
        for prompt in prompts:
            cell = f"mix{batch}c{context}+{prompt}"
            try:
                self._fill(batch, context, "mixed", cell)
                times_s = []
                for index in range(_MIXED):
                    self.engine.add(prompt, 1)
                    steps = [self._step("mixed", cell) for _ in range(3)]
                    times_s += [step.time_s for step in steps if index and step.scheduled.prompts]
                self._cell("mixed", cell, (batch, context), times_s, f"{batch} decodes + a {prompt}-token prompt")
            finally:
                self._clear()

    def _returns_early(self, block: str) -> bool:
        """Tell, and say, whether calls return before their steps have run, so that single steps cannot be timed."""
        if self.engine.is_async:
            self.say(f"{block}: left out, an asynchronous engine returns from a step before the step has run")
        return self.engine.is_async

    def serve(self, name: str, arrivals: Sequence[Arrival], budget: int, most_requests: int) -> None:
        """Serve requests in real time and log each.

        Args:
            name: name of the service.
            arrivals: its requests, in order.
            budget: token budget of a step.
            most_requests: the engine's limit on requests at once, for the log.
        """
        self.engine.limit(budget)
        self.log.describe("serve", block=name, cap=budget, max_num_seqs=most_requests, n=len(arrivals))
        served = _Service(arrivals, self.engine)
        while not served.is_over:
            served.submit()
            if self.engine.busy:
                step = self._step(name, "serve")
                served.note(step)
            else:
                served.wait()
        for number, arrival in enumerate(arrivals):
            self.log.request(name, number, served.times_s(number), (arrival.input_tokens, served.emitted(number)))
        self._clear()

    def profile(self, cells: Sequence[tuple[int, int]], prompts: Sequence[int]) -> None:
        """Log the kernels of decoding steps and of prompts."""
        for batch, context in cells:
            cell = f"b{batch}c{context}"
            if not self._fits(batch, context):
                continue
            try:
                self._fill(batch, context, "profile", cell)
                for _ in range(3):
                    self._step("profile", f"{cell}:skip")
                self._profile(cell, _PROFILED, lambda cell=cell: self._repeat(cell))
            finally:
                self._clear()
        self.engine.limit(WIDE)
        for prompt in prompts:
            self._prompt(prompt, "profile", f"p{prompt}:skip")
            self._profile(f"p{prompt}", 1, lambda prompt=prompt: self._prompt(prompt, "profile", f"p{prompt}:prof"))

    def _repeat(self, cell: str) -> None:
        for _ in range(_PROFILED):
            self._step("profile", f"{cell}:prof")

    def _profile(self, cell: str, n_steps: int, run: Callable[[], object]) -> None:
        wall_s, launches = self.engine.profile(lambda: run() and None)
        self.log.kernels(cell, n_steps, wall_s, launches)
        self.say(f"profile {cell}: {len(launches) / n_steps:.0f} kernels per step")
        self.log.flush()

    def _fits(self, batch: int, context: int) -> bool:
        longest = context + (_STEPS + _SKIPPED + 16) * (1 + self.engine.drafts) + batch * context // WIDE
        return batch * longest < 0.98 * self.engine.cache_tokens

    def _fill(self, batch: int, context: int, block: str, cell: str) -> None:
        """Submit requests and run steps until all of them decode."""
        self.engine.limit(WIDE)
        answer = (_STEPS + _SKIPPED + 80 + batch * context // WIDE) * (1 + self.engine.drafts)
        for _ in range(batch):
            self.engine.add(context, answer)
        for _ in range(_MOST_FILLING):
            did = self._step(block, f"{cell}:fill").scheduled
            if did.n_decode == batch and not did.prompts and not did.waiting:
                return
        raise RuntimeError(f"{cell}: {batch} requests never decoded together")

    def _prompt(self, length: int, block: str, cell: str) -> float:
        """Compute one prompt and return the seconds of its steps."""
        self.engine.add(length, 1)
        time_s = 0.0
        while self.engine.busy:
            step = self._step(block, cell)
            time_s += step.time_s if step.scheduled.prompts else 0.0
        self._clear()
        return time_s

    def _cell(self, block: str, cell: str, shape: tuple[int, int], times_s: Sequence[float], note: str = "") -> None:
        if not times_s:
            self.say(f"{block} {cell}: no steady steps")
            return
        self.log.cell((block, cell), (*shape, self.engine.drafts), times_s, self.engine.sensors(), note)
        self.log.flush()
        self.say(f"{block} {cell}: median {np.median(times_s) * 1e3:.3f} ms of {len(times_s)}")

    def _step(self, block: str, cell: str) -> Step:
        step = self.engine.step()
        self.log.step(block, cell, step)
        return step

    def _clear(self) -> None:
        self.engine.clear()
        self.log.flush()


class _Service:
    """The requests of a service and what has become of them."""

    def __init__(self, arrivals: Sequence[Arrival], engine: Engine) -> None:
        self._arrivals, self._engine = arrivals, engine
        self._start_s, self._numbers = time.perf_counter(), dict[str, int]()
        self._submitted, self._first, self._end = dict[int, float](), dict[int, float](), dict[int, float]()
        self._emitted = dict[int, int]()

    @property
    def is_over(self) -> bool:
        """Whether every request has ended."""
        return len(self._end) == len(self._arrivals)

    def _now_s(self) -> float:
        return time.perf_counter() - self._start_s

    def submit(self) -> None:
        """Submit the requests that have arrived by now."""
        while len(self._submitted) < len(self._arrivals):
            number = len(self._submitted)
            arrival = self._arrivals[number]
            if arrival.arrival_s > self._now_s():
                return
            self._numbers[self._engine.add(arrival.input_tokens, arrival.output_tokens)] = number
            self._submitted[number] = self._now_s()

    def wait(self) -> None:
        """Sleep until the next arrival, for 10 ms at most."""
        next_s = self._arrivals[len(self._submitted)].arrival_s
        time.sleep(min(0.01, max(0.0, next_s - self._now_s())))

    def note(self, step: Step) -> None:
        """Note the tokens of a step that has just ended."""
        now_s = self._now_s()
        for request, tokens in step.new_tokens.items():
            number = self._numbers[request]
            self._emitted[number] = self._emitted.get(number, 0) + tokens
            if tokens:
                self._first.setdefault(number, now_s)
        for request in step.ended:
            self._end[self._numbers[request]] = now_s

    def times_s(self, number: int) -> tuple[float, float, float, float]:
        """Return the arrival, the submission, the first token and the end of a request."""
        arrival_s = self._arrivals[number].arrival_s
        return arrival_s, self._submitted[number], self._first.get(number, -1.0), self._end[number]

    def emitted(self, number: int) -> int:
        """Return the tokens that a request has got."""
        return self._emitted.get(number, 0)


def mode_name(model: str, *, is_async: bool, drafts: int) -> str:
    """Return the name of an engine's model and mode in the logs.

    Raises:
        ValueError: the model's name looks like a mode.
    """
    if re.search(r"_(a?sync|ngram\d+)(_|$)", model):
        raise ValueError(f"found the model '{model}', expected a name without a mode such as _sync in it")
    return f"{model}_ngram{drafts}" if drafts else f"{model}_{'async' if is_async else 'sync'}"
