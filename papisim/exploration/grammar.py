"""The grammar of a file of a sweep: which sections and fields there are, and of what type."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from papisim.config.base import Count, Spec
from papisim.config.experiment import RunOptions, Seed
from papisim.config.options import Option

ConstraintKind = Literal["area", "power", "capacity", "slo", "other"]


#: the options of a run that an axis may vary; the fields in ``set`` have axes of their own
OPTIONS = {name: Option.of(field) for name, field in RunOptions.model_fields.items() if name != "set"}


class AxisFields(Spec):
    """The long form of an axis: values, a range or a range of logarithms, and a condition."""

    values: list[object] | None = None
    range: list[object] | None = None
    log_range: list[object] | None = None
    n: Count | None = None
    step: float | str | None = None
    factor: Annotated[float, Field(gt=1)] | None = None
    when: str | None = None


class ConstraintFields(Spec):
    """A condition, and the kind of limit."""

    require: str
    kind: ConstraintKind = "other"


class DerivedFields(Spec):
    """A field computed from others, and its condition."""

    value: str | int | float
    when: str | None = None


class SamplingFields(Spec):
    """Number of points drawn, and the method."""

    kind: Literal["random", "sobol", "lhs"]
    n: Count
    seed: Seed = 0


class ObjectiveFields(Spec):
    """A quantity to maximise or minimise."""

    maximise: str | None = None
    minimise: str | None = None


class SearchFields(Spec):
    """How ``papisim optimise`` searches.

    Attributes:
        objectives: by name.
        sampler: ``nsga2`` (a genetic algorithm), ``tpe`` (tree-structured Parzen estimators) or ``random``.
        trials: points to try.
        population: of nsga2: points per generation.
        batch: points per request to the sampler, for any number of workers; nsga2 takes a generation.
        seed: of the sampler.
    """

    objectives: dict[str, ObjectiveFields]
    sampler: Literal["nsga2", "tpe", "random"] = "nsga2"
    trials: Count = 100
    population: Annotated[int, Field(ge=2)] = 24
    batch: Count = 4
    seed: Seed = 0


class Sections(Spec):
    """The sections of a file of a sweep; their content is read section by section."""

    description: str
    base: RunOptions
    space: dict[str, object] = Field(default_factory=dict)
    zip: list[dict[str, object]] = Field(default_factory=list)
    variables: dict[str, object] = Field(default_factory=dict)
    derive: dict[str, object] = Field(default_factory=dict)
    constraints: dict[str, object] = Field(default_factory=dict)
    columns: dict[str, object] = Field(default_factory=dict)
    uncertainty: bool = False
    sample: SamplingFields | None = None
    optimise: SearchFields | None = None
