"""Plays a speculation policy against an acceptance process, without a machine: drafted and accepted tokens, round by round."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from statistics import fmean

from papisim.acceptance.base import ACCEPTANCE
from papisim.arrays import Ints
from papisim.config.experiment import VerificationSpec
from papisim.config.sections import load_section
from papisim.engine.batch import Batch
from papisim.engine.request import Request
from papisim.engine.speculation import Speculator
from papisim.ops.lower import Prompts
from papisim.plan.phase import Phase
from papisim.policies.speculation.base import SPECULATION, Draft, Round

#: tokens of an answer that no number of rounds ends
_ENDLESS = 10**9


class _NoMachine:
    """Drafts and verifies in zero time."""

    demands = ()

    def draft(self, drafts: Sequence[Draft], cached: Ints, *, fold: bool = True) -> list[Phase]:
        del drafts, cached, fold
        return []

    def verify(
        self, drafts: Sequence[Draft], cached: Ints, rows: Ints, prompts: Prompts | None = None, *, fold: bool = True
    ) -> list[Phase]:
        del drafts, cached, rows, prompts, fold
        return []


def play(
    speculation: str,
    acceptance: str,
    overrides: Sequence[str] = (),
    *,
    requests: int,
    rounds: int = _ENDLESS,
    tokens: int = _ENDLESS,
    seed: int = 0,
) -> list[Round]:
    """Return every round of every request, up to a number of rounds or of tokens per request.

    Args:
        speculation: the policy's name.
        acceptance: the process's name.
        overrides: assignments ``speculation.…`` and ``acceptance.…``.
        requests: number of requests, each in a batch of one.
        rounds: most rounds per request.
        tokens: tokens after which a request ends.
        seed: seed of the acceptance process.
    """
    policy = load_section("speculation", speculation, [o for o in overrides if o.startswith("speculation")])
    process = load_section("acceptance", acceptance, [o for o in overrides if o.startswith("acceptance")])
    speculator = Speculator(
        policy=SPECULATION.build(policy.options),
        acceptance=ACCEPTANCE.build(process.options, seed),
        source=_NoMachine(),
        verification=VerificationSpec(),
    )
    limits = rounds, tokens
    return list(chain.from_iterable(_play_request(speculator, request, *limits) for request in range(requests)))


def _play_request(speculator: Speculator, request_id: int, rounds: int, tokens: int) -> list[Round]:
    batch = Batch()
    batch.join([Request(request_id, 0.0, 1, _ENDLESS)])
    played: list[Round] = []
    emitted = 0
    while len(played) < rounds and emitted < tokens:
        played.append(speculator.settle(batch, speculator.prepare(len(played), batch).drafts)[1][0])
        emitted += played[-1].accepted + 1
    speculator.leave(request_id)
    return played


def mean_drafted(rounds: Sequence[Round]) -> float:
    """Return drafted tokens per round."""
    return fmean(each.draft.length for each in rounds)


def mean_emitted(rounds: Sequence[Round]) -> float:
    """Return emitted tokens per round, that of the verification included."""
    return 1 + fmean(each.accepted for each in rounds)
