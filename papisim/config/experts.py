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
        repeat_ratio: probability that a draft goes to the experts of the token before it, in steps without prompts.
    """

    zipf_exponent: NonNegative = 0.0
    popularity: tuple[NonNegative, ...] | None = None
    repeat_ratio: Annotated[float, Field(ge=0, le=1)] = 0.0

    @model_validator(mode="after")
    def _has_one_popularity(self) -> Self:
        if self.popularity is not None and (self.zipf_exponent or not any(self.popularity)):
            raise ValueError(
                "found a popularity that is all zero, or a zipf_exponent beside it, expected one of the two"
            )
        return self


#: all experts are equally likely, and every token chooses for itself
BALANCED = ExpertsSpec()
