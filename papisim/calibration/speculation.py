"""Profile speculation on the simulated machine, as Synergy does on a real one (Su et al., arXiv:2310.18813).

A point of the profile is one batch size and one draft length: the price of an iteration, through the same draft source and
planner that a run uses, over the tokens that the acceptance process is expected to emit. No event is simulated, so a whole
table takes milliseconds; it equals brute force over simulated runs because an iteration's price is the same in both.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import numpy as np

from papisim.acceptance.base import AcceptanceProcess
from papisim.bounded import BoundedDict
from papisim.calibration.cache import sha256_of
from papisim.config.experiment import Experiment
from papisim.config.tuning import Origin, Tuning, with_tuning
from papisim.devices.base import DevicePool
from papisim.engine.batch import Batch
from papisim.engine.build import build_speculator
from papisim.engine.drafting.base import DraftContext
from papisim.engine.request import Request
from papisim.engine.speculation import Speculator, tree_of
from papisim.errors import InputError, NotModelled
from papisim.ops.kernel import Elementwise, FcRole, KernelClass, Linear
from papisim.ops.trace import read_trace
from papisim.plan.build import build_formats, build_placement, planner_of
from papisim.plan.machine import build_machine
from papisim.plan.phase import Category, seconds
from papisim.policies.speculation import sssd, synergy
from papisim.policies.speculation.base import NO_DRAFT, SPECULATION, Draft
from papisim.policies.speculation.batch_table import LengthRow, row_for
from papisim.policies.speculation.synergy import optimal_table

#: batches that Synergy profiles at least, its longest draft and the tokens in each cache
BATCHES, MOST_DRAFTED, CACHED = (1, 2, 4, 8, 16, 32, 64), 16, 1024
_LARGEST_BATCH = 1024  # beyond, the draft of this batch holds

#: makes the draft of a length: by default a chain
DraftOf = Callable[[int], Draft]

#: requests and rounds of each over which the acceptance process is averaged
_REQUESTS, _ROUNDS = 128, 64

_ENDLESS = 10**9  # output tokens of a request that never ends


@dataclass(frozen=True)
class Point:
    """One batch size and draft length.

    Attributes:
        batch: requests decoded together.
        length: draft tokens per request.
        time_by: seconds of an iteration, drafting included, by category.
        emitted: expected tokens per request and iteration.
    """

    batch: int
    length: int
    time_by: Mapping[Category, float]
    emitted: float

    @property
    def round_s(self) -> float:
        """Seconds of an iteration."""
        return sum(self.time_by.values())

    @property
    def token_s(self) -> float:
        """Seconds per emitted token of one request."""
        return self.round_s / self.emitted

    @property
    def tokens_per_s(self) -> float:
        """Tokens per second of the whole batch."""
        return self.batch / self.token_s


@dataclass(frozen=True)
class Profile:
    """The points of a grid of batch sizes and draft lengths."""

    points: tuple[Point, ...]

    def __contains__(self, point: tuple[int, int]) -> bool:
        return any((p.batch, p.length) == point for p in self.points)

    def at(self, batch: int, length: int) -> Point:
        """Return one point."""
        return next(p for p in self.points if (p.batch, p.length) == (batch, length))

    def best(self, batch: int) -> Point:
        """Return the point with the least time per emitted token; of equals, that with the shorter draft."""
        return min((p for p in self.points if p.batch == batch), key=lambda p: (p.token_s, p.length))

    def speed_up(self, batch: int, length: int | None = None) -> float:
        """Return the rate with a draft length over the rate without speculation; with the best length if None."""
        point = self.best(batch) if length is None else self.at(batch, length)
        return self.at(batch, 0).token_s / point.token_s

    def cost(self, batch: int, length: int) -> float:
        """Return the time of an iteration over that of one without speculation."""
        return self.at(batch, length).round_s / self.at(batch, 0).round_s

    def added(self, batch: int, length: int) -> dict[str, float]:
        """Return the time that drafting and verifying adds, by category, as a share of an iteration without speculation."""
        more, none = self.at(batch, length).time_by, self.at(batch, 0)
        shares = {category.value: (more[category] - none.time_by[category]) / none.round_s for category in Category}
        return dict(sorted(shares.items(), key=lambda item: -item[1]))

    def table(self) -> list[LengthRow]:
        """Return Synergy's table s*(b)."""
        batches, lengths = ({p.batch for p in self.points}, {p.length for p in self.points})
        return optimal_table(lambda batch, length: self.at(batch, length).token_s, batches, lengths)


def speculator_of(experiment: Experiment) -> Speculator:
    """Build an experiment's machine, model, draft source, acceptance process and policy, without a server."""
    trace = read_trace(experiment.trace.path).stored_as(build_formats(experiment.quantisation))
    machine = build_machine(experiment.system)
    planner = planner_of(experiment, trace, machine)
    return build_speculator(
        experiment,
        DraftContext(machine, trace, planner, experiment.seed, experiment.engine, build_placement(experiment)),
    )


def profile(
    speculator: Speculator, batches: Iterable[int], lengths: Iterable[int], kv_tokens: int, draft_of: DraftOf = Draft
) -> Profile:
    """Price every batch size with every draft length.

    Args:
        speculator: the built objects.
        batches: requests decoded together.
        lengths: draft tokens per request; 0, no speculation, is always added.
        kv_tokens: tokens in each request's cache.
        draft_of: the draft of a length, for trees and early exits.
    """
    drafts = {length: draft_of(length) if length else NO_DRAFT for length in sorted({0, *lengths})}
    emitted = _emitted(speculator.acceptance, drafts)

    def point(batch: int, length: int) -> Point:
        cached = np.full(batch, kv_tokens, dtype=np.int64)
        time_by = dict.fromkeys(Category, 0.0)
        for phase in speculator.phases([drafts[length]] * batch, cached):
            time_by[phase.category] += phase.total_s
        return Point(batch, length, time_by, emitted[length])

    return Profile(tuple(point(batch, length) for batch in sorted(set(batches)) for length in drafts))


@dataclass(frozen=True)
class Steady:
    """Rates and means of a batch that stays full.

    Attributes:
        tokens_per_s: of the whole batch.
        drafted: nodes per request and iteration.
        emitted: tokens per request and iteration.
        fc_flop_by: FLOP of FC kernels by device.
    """

    tokens_per_s: float
    drafted: float
    emitted: float
    fc_flop_by: Mapping[str, float]


def steady(
    speculator: Speculator, requests: Sequence[int], kv_tokens: int, *, iterations: int, warm_up: int
) -> Steady:
    """Decode requests that never end, and measure.

    No request leaves, so a policy that speeds up one request at the cost of another is not penalised by waiting for the slower
    one, as in a closed batch.

    Args:
        speculator: the built objects; its policy learns.
        requests: ids of the batch.
        kv_tokens: tokens in each request's cache at the start.
        iterations: number of measured iterations.
        warm_up: number of iterations before these, while the policy learns.
    """
    batch = Batch()
    batch.join([Request(request, 0.0, kv_tokens, _ENDLESS) for request in requests])
    time_s, tokens, drafted = 0.0, 0, 0
    flop: dict[str, float] = defaultdict(float)
    for number in range(warm_up + iterations):
        iteration = speculator.prepare(number, batch)
        emitted, _ = speculator.settle(batch, iteration.drafts)
        batch.emit(emitted)
        if number < warm_up:
            continue
        tokens, drafted = tokens + int(emitted.sum()), drafted + sum(draft.nodes for draft in iteration.drafts)
        time_s += seconds(iteration.phases)
        for phase in iteration.phases:
            if phase.category is Category.FC:
                flop[phase.resource] += phase.flop * phase.repeats
    rounds = iterations * len(requests)
    return Steady(tokens / time_s, drafted / rounds, tokens / rounds, flop)


def synergy_profile(experiment: Experiment) -> Profile:
    """Return the profile that Synergy's table is found from, for batches up to those that the batching policy forms.

    Drafts of up to :data:`MOST_DRAFTED` tokens are priced with :data:`CACHED` tokens in each cache.
    """
    batching = experiment.batching
    wanted = min(_LARGEST_BATCH, getattr(batching, "batch_size", None) or getattr(batching, "max_batch", None) or 0)
    largest = max(BATCHES[-1], 1 << max(0, wanted - 1).bit_length())
    batches = [1 << power for power in range(largest.bit_length())]
    resolved = experiment.resolved()
    key = sha256_of([batches, *(resolved[name] for name in _PROFILED), str(experiment.trace.path)])
    if key not in _profiles:
        undrafted = replace(experiment, speculation=SPECULATION.load("off").options(kind="off"))
        _profiles[key] = profile(speculator_of(undrafted), batches, range(MOST_DRAFTED + 1), CACHED)
    return _profiles[key]


#: sections that a profile depends on; profiles of the experiments of a sweep that differ in others are shared
_PROFILED = ("system", "drafting", "acceptance", "verification", "quantisation", "engine", "seed")
_profiles: BoundedDict[str, Profile] = BoundedDict(32)


def tune_synergy(experiment: Experiment) -> Experiment:
    """Return an experiment whose Synergy has the table of its machine, model, drafts and acceptance, or the one that is given."""
    options, found = experiment.speculation, synergy_profile(experiment)
    assert isinstance(options, synergy.Options)
    best = found.table()
    given = options.table
    origin: Origin = "calibrated on the fly" if given is None else "given"
    table = best if given is None else given
    batches = [row.up_to_batch for row in best]
    chosen = {batch: row_for(table, batch).length for batch in batches}
    loss = None
    if all((batch, length) in found for batch, length in chosen.items()):
        loss = fmean(found.at(*point).token_s / found.best(point[0]).token_s for point in chosen.items()) - 1
    shorter = all(chosen[row.up_to_batch] == row.length for row in best)
    calibrated = _plain(table if shorter else best)  # a table that says the same in other rows is the same
    of = "a token, averaged over batches,"
    tuning = Tuning("speculation.table", _plain(table), origin, calibrated, loss, of)
    return with_tuning(replace(experiment, speculation=options.model_copy(update={"table": table})), tuning)


def _plain(table: Iterable[LengthRow]) -> list[dict[str, int]]:
    return [row.model_dump() for row in table]


def tune_sssd(experiment: Experiment) -> Experiment:
    """Return an experiment whose SSSD has the knee of the devices that compute prompts, or the one that is given.

    Raises:
        InputError: no knee is given and the devices are of a kind that it cannot be measured on.
    """
    options, machine = experiment.speculation, build_machine(experiment.system)
    assert isinstance(options, sssd.Options)
    device = machine.roles.prefill.fc
    try:
        knee = knee_flop_per_byte(machine.pools[device])
    except NotModelled as error:
        if options.ratio is None:
            message = (
                f"speculation.ratio: the knee of {device} cannot be measured ({error}); give it in FLOP per byte"
            )
            raise InputError(message) from None
        knee = None
    origin: Origin = "calibrated on the fly" if options.ratio is None else "given"
    ratio = knee if options.ratio is None else options.ratio
    tuning = Tuning("speculation.ratio", ratio, origin, knee, None, "")
    return with_tuning(replace(experiment, speculation=options.model_copy(update={"ratio": ratio})), tuning)


def knee_flop_per_byte(pool: DevicePool) -> float:
    """Return the arithmetic intensity from which one device of a pool is bound by compute, as SSSD's code measures it.

    It divides the rate of an 8192³ GEMM by that of a stream of two reads and a write.
    """
    one, side = type(pool)(pool.name, pool.part, 1), 8192
    gemm = Linear(FcRole.FEED_FORWARD_UP, side, side, side)
    stream = Elementwise(KernelClass.ACTIVATION, 0, 2 * gemm.write_bytes, gemm.write_bytes)
    flop_per_s = gemm.flop / one.price(gemm).time_s
    bytes_per_s = (stream.read_bytes + stream.write_bytes) / one.price(stream).time_s
    return flop_per_s / bytes_per_s


def expected_emitted(acceptance: AcceptanceProcess, draft: Draft) -> float:
    """Return the tokens that a round of a draft emits, the verification's own included: a mean over requests and rounds.

    All requests have equally many rounds, as in a batch that decodes together.
    """
    return 1 + fmean(_accepted(acceptance, draft))


def _emitted(acceptance: AcceptanceProcess, drafts: Mapping[int, Draft]) -> dict[int, float]:
    """Return the tokens expected of each draft; chains cut those accepted of the longest, as the processes promise."""
    longest: dict[int | None, Sequence[int]] = {}
    for draft in sorted(drafts.values(), key=lambda draft: -draft.length):
        if draft.length and draft.tree is None and draft.exit_layer not in longest:
            longest[draft.exit_layer] = _accepted(acceptance, draft)

    def emitted(draft: Draft) -> float:
        if draft.length == 0 or draft.tree is not None:
            return expected_emitted(acceptance, draft)
        return 1 + fmean(min(accepted, draft.length) for accepted in longest[draft.exit_layer])

    return {length: emitted(draft) for length, draft in drafts.items()}


def _accepted(acceptance: AcceptanceProcess, draft: Draft) -> Sequence[int]:
    if draft.length == 0:
        return [0]
    tree = None if draft.tree is None else tree_of(draft.tree)
    accepted: list[int] = []
    for request in range(_REQUESTS):
        sequence = acceptance.start(request)
        for _ in range(_ROUNDS):
            outcome = sequence.round(draft.length, draft.exit_layer) if tree is None else sequence.round_tree(tree)
            accepted.append(outcome.accepted)
    return accepted
