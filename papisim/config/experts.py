"""How tokens choose among the experts of a layer: the ``experts:`` section of an experiment."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from papisim.config.base import NonNegative, Spec


class ExpertsSpec(Spec):
    """The choices of a router, of which an experiment has no weights; balanced and independent unless said otherwise.

    Attributes:
        zipf_exponent: exponent of the experts' popularity over their rank, which is drawn for each layer; 0 is balanced.
        popularity: popularity of each expert, in any unit, such as tokens counted in a router's log; the same in every layer.
        log: CSV file of a router's choices by layer: columns layer, expert and tokens, or a line per token and expert without tokens.
        repeat_ratio: probability that a draft goes to the experts of the token before it, in steps without prompts.
        copies: experts of a layer that are held a second time, the most popular first, where experts are dealt out to ranks.
    """

    zipf_exponent: NonNegative = 0.0
    popularity: tuple[NonNegative, ...] | None = None
    log: str | None = None
    repeat_ratio: Annotated[float, Field(ge=0, le=1)] = 0.0
    copies: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _has_one_popularity(self) -> Self:
        said = [name for name in ("zipf_exponent", "popularity", "log") if getattr(self, name)]
        if len(said) > 1 or (self.popularity is not None and not any(self.popularity)):
            raise ValueError(
                f"found {' and '.join(said) or 'a popularity that is all zero'}, expected one of zipf_exponent, popularity and log"
            )
        return self


#: all experts are equally likely, and every token chooses for itself
BALANCED = ExpertsSpec()
