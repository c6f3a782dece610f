"""Self-speculation: the first layers of the target draft, and a deeper exit is right more often (LayerSkip, DEL).

A layer's token at a position agrees with the target's with the probability ``α_l(θ)``, where::

    logit α_l(θ) = logit α_l + θ        θ = request's level + state s_t,  s_t = φ·s_{t−1} + √(1 − φ²)·σ·η_t

and ``α_l`` is read from a table of layers, linear in log-odds between them. Layers are right together: layer l agrees where
``√κ·g + √(1 − κ)·e_l`` stays below the threshold of α_l, with g shared by the layers of a position and e_l their own. A round of
exit layer l accepts the positions before its first disagreement. Rounds also tell what every other layer would have drafted,
which is what DEL learns from.

A layer's confidence is drawn from two log-normal surprises ``−ln p``, one where it agrees and one where it does not; both medians are
those of the process times ``exp(offset)``, which each request draws. Its first round tells what every layer would have said
at the last positions of its prompt, as the pass over the prompt shows.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from papisim.acceptance.base import AcceptanceOptions, LayerAgreement, Outcome, Proposal, Tree
from papisim.acceptance.chain import first_choices
from papisim.acceptance.thresholds import threshold
from papisim.config.base import NonNegative, Positive, Spec
from papisim.errors import InputError
from papisim.kinds import Example
from papisim.streams import stream

_WIDTH = 20  # positions of a round: more than any policy drafts
_PROMPT = 64  # positions of a prompt that are told: more than any policy looks at

#: strict: in a list nothing else would refuse ``true`` for 1
Layer = Annotated[int, Field(ge=1, strict=True)]
Conditional = Annotated[float, Field(gt=0, lt=1, strict=True)]


class Surprise(Spec):
    """Surprise ``−ln p`` in nats, p the top-1 probability of a layer.

    Attributes:
        agreeing: median where the layer agrees with the target.
        disagreeing: median where it does not.
        deviation: standard deviation of its logarithm within a request.
        level_deviation: standard deviation of the requests' offsets to its logarithm.
    """

    agreeing: Positive
    disagreeing: Positive
    deviation: NonNegative
    level_deviation: NonNegative = 0.0


class Options(AcceptanceOptions):
    """Acceptance by exit layer.

    Attributes:
        n_layers: layers of the target.
        layers: layers of the table, ascending.
        acceptance: α of each, at level 0; constant before the first and after the last of them.
        level_deviation: standard deviation of the requests' levels, in log-odds.
        state_deviation: standard deviation σ of the state, in log-odds.
        state_memory: φ, from one round to the next.
        sharing: κ, the share of the latent variance that the layers of a position share.
        surprise: the confidence of a layer.
    """

    kind: Literal["early_exit"]
    signals: None = None
    n_layers: Annotated[int, Field(ge=2)]
    layers: Annotated[list[Layer], Field(min_length=1)]
    acceptance: list[Conditional]
    level_deviation: NonNegative
    state_deviation: NonNegative
    state_memory: Annotated[float, Field(ge=0, lt=1)]
    sharing: Annotated[float, Field(ge=0, le=1)]
    surprise: Surprise

    @model_validator(mode="after")
    def _is_a_table(self) -> Options:
        if any(low >= high for low, high in pairwise(self.layers)) or self.layers[-1] >= self.n_layers:
            raise ValueError(f"'layers' must ascend and stay below {self.n_layers}, the target's layers")
        if len(self.acceptance) != len(self.layers):
            raise ValueError(f"found {len(self.acceptance)} entries in 'acceptance', expected {len(self.layers)}")
        return self

    def log_odds(self) -> NDArray[np.float64]:
        """Return logit α of layers 1 … n_layers − 1."""
        table = [math.log(alpha / (1 - alpha)) for alpha in self.acceptance]
        return np.interp(np.arange(1, self.n_layers), self.layers, table)

    @property
    def shown(self) -> frozenset[str]:
        """The signals of a layer, and the agreement of all layers."""
        return frozenset({"confidence", "entropy", "layers"})

    @property
    def model_layers(self) -> int:
        """Layers of the target."""
        return self.n_layers


EXAMPLE = Example(
    "layerskip_llama3_8b", beside={"trace": "llama3-8b", "speculation": "layerskip", "draft": "early_exit"}
)


class Acceptance:
    """Starts sequences, each at a level of its own."""

    def __init__(self, options: Options, seed: int) -> None:
        self._options, self._seed = options, seed
        self._log_odds = options.log_odds()

    def start(self, request_id: int) -> _Sequence:
        """Return a request's sequence."""
        rng, own = (stream(self._seed, "acceptance", *name, request_id) for name in ((), ("prompt",)))
        return _Sequence(self._options, self._log_odds, rng, own)


class _Sequence:
    def __init__(
        self, options: Options, log_odds: NDArray[np.float64], rng: np.random.Generator, own: np.random.Generator
    ) -> None:
        self._options, self._log_odds, self._rng = options, log_odds, rng
        self._level = options.level_deviation * rng.standard_normal()
        self._state = options.state_deviation * rng.standard_normal()
        self._offset = options.surprise.level_deviation * own.standard_normal()
        self._prompt: LayerAgreement | None = self._drawn(own, _PROMPT)
        self._coming = self._drawn(rng, _WIDTH)

    def _drawn(self, rng: np.random.Generator, positions: int) -> LayerAgreement:
        """Draw what every layer says at some positions, and how sure it is."""
        sharing, surprise, layers = self._options.sharing, self._options.surprise, len(self._log_odds)
        shared = rng.standard_normal((positions, 1))
        own, noise = rng.standard_normal((2, positions, layers))
        latent = math.sqrt(sharing) * shared + math.sqrt(1 - sharing) * own
        agrees = latent < threshold(self._log_odds + (self._level + self._state))
        median = np.where(agrees, surprise.agreeing, surprise.disagreeing)
        return LayerAgreement(agrees, np.exp(-median * np.exp(surprise.deviation * noise + self._offset)))

    def _layers(self, positions: int) -> LayerAgreement:
        return LayerAgreement(self._coming.agrees[:positions], self._coming.confidence[:positions])

    def proposal(self, max_drafted: int, exit_layer: int | None = None) -> Proposal:
        """Show the confidence of the exit layer; its entropy is taken for its surprise, which is the least it can be."""
        column = self._column(max_drafted, exit_layer)
        return _shown(self._layers(max_drafted).confidence[:, column])

    def round(self, drafted: int, exit_layer: int | None = None) -> Outcome:
        column = self._column(drafted, exit_layer)
        layers = self._layers(drafted + 1)
        agrees, shown = layers.agrees[:drafted, column], _shown(layers.confidence[:drafted, column])
        accepted = drafted if agrees.all() else int(agrees.argmin())
        memory = self._options.state_memory
        innovation = math.sqrt(1 - memory**2) * self._options.state_deviation
        self._state = memory * self._state + innovation * self._rng.standard_normal()
        self._coming, prompt, self._prompt = self._drawn(self._rng, _WIDTH), self._prompt, None
        return Outcome(drafted, accepted, (), shown.confidence, shown.entropy, layers, prompt)

    def round_tree(self, tree: Tree) -> Outcome:
        return self.round(first_choices(tree))

    def _column(self, drafted: int, exit_layer: int | None) -> int:
        if not 0 <= drafted < _WIDTH:
            raise InputError(f"found {drafted} drafted tokens, expected 0 to {_WIDTH - 1}")
        if exit_layer is None or not 1 <= exit_layer < self._options.n_layers:
            hint = (
                ""
                if exit_layer
                else "; 'del', 'del_e', 'layerskip' and 'draft_verify' choose one, other policies do not"
            )
            raise InputError(f"found exit layer {exit_layer}, expected 1 to {self._options.n_layers - 1}{hint}")
        return exit_layer - 1


def _shown(confidence: NDArray[np.float64]) -> Proposal:
    return Proposal(tuple(confidence.tolist()), tuple((-np.log(confidence)).tolist()))
