"""What ``papisim validate`` prints as JSON, field by field."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field

from papisim.results.schema import Schema

VALIDATION_SCHEMA: Final = "papisim/validation/1"
SERVING_SCHEMA: Final = "papisim/serving-validation/1"


class PublishedFigure(Schema):
    """A published figure and the model's."""

    what: str
    """the figure"""
    published: str
    """published value or limit"""
    predicted: str
    """value of the model"""
    error: float | None
    """relative error, or difference of shares; null where the published figure is a limit"""
    within: bool | None
    """whether the promise is met; null where none is made"""
    source: str
    """where the figure was published"""


class GoldenErrors(Schema):
    """Errors against cycle-level counts, of one mapping and power setting."""

    mapping: str
    """mapping of the data"""
    power_limited: bool
    """whether the power budget limits the column rate"""
    points: int
    """number of counts"""
    mean_abs_error: float
    """mean absolute relative error"""
    max_abs_error: float
    """largest absolute relative error"""
    worst: str
    """the point with the largest error"""


class GpuErrors(Schema):
    """Errors against the kernels of one measured table in one regime."""

    gpu: str
    """name of the GPU's part"""
    family: str
    """what was measured: time of matrix products, attention, small kernels or whole iterations, or energy"""
    table: str
    """folder and name of the file, and the library as the table calls it"""
    library: str
    """library of the part that predicts the table"""
    regime: str
    """what binds the kernels: ``memory``, ``transition`` or ``compute``; ``settled meter``; ``all``"""
    n: int
    """number of kernels"""
    mape: float
    """mean absolute relative error"""
    p95: float
    """95th percentile of the absolute relative errors"""
    bias: float
    """mean relative error; negative is too fast"""
    baseline_mape: float | None
    """mean absolute relative error of the baseline (a roofline fitted to the same rows); null where there is none"""


class RidgePoint(Schema):
    """Where a matrix product leaves its memory-bound plateau."""

    gpu: str
    """name of the GPU's part"""
    k: int
    """inputs of the matrix"""
    n: int
    """outputs of the matrix"""
    measured: int
    """fewest token-rows (RLP × TLP) that take a fifth longer than the plateau, measured"""
    model: int
    """the same by the model"""


class Validation(Schema):
    """Accuracy of the device models, ``papisim validate --format json``."""

    schema_: Literal["papisim/validation/1"] = Field(default=VALIDATION_SCHEMA, alias="schema")
    """name and version of this schema"""
    published: list[PublishedFigure]
    """published figures"""
    golden: list[GoldenErrors]
    """cycle-level counts; empty without such tables"""
    gpu: list[GpuErrors]
    """measured tables of GPUs"""
    ridges: list[RidgePoint]
    """ends of memory-bound plateaus"""


class FigureErrors(Schema):
    """Errors of one figure over the rows of a group."""

    n: int
    """number of rows"""
    mape: float
    """mean absolute relative error"""
    p95: float
    """95th percentile of the absolute relative errors"""
    bias: float
    """mean relative error; negative is too fast"""


class ServingErrors(Schema):
    """Errors of simulated closed loops against measured ones, of a group of rows."""

    part: str
    """``plain``; ``queued``: requests waited for admission; ``short of KV``: caches need most of the room; ``suspect``: implausible"""
    engine: str | None
    """engine; null for all rows of a part"""
    gpu: str | None
    """GPU; likewise"""
    model: str | None
    """model; likewise"""
    weight_bits: int | None
    """bits of a weight; likewise"""
    tp: int | None
    """ranks of tensor parallelism; null for all of a group"""
    tpot: FigureErrors
    """mean time per output token"""
    ttft: FigureErrors
    """mean time to first token"""
    throughput: FigureErrors
    """output tokens per second: an answer of each user per TTFT + TPOT × (its tokens − 1), of measured and predicted alike"""


class Refusal(Schema):
    """Rows that were not simulated."""

    reason: str
    """why"""
    n: int
    """number of rows"""


class ServingValidation(Schema):
    """Accuracy against measured serving rates, ``papisim validate --serving FILE --format json``."""

    schema_: Literal["papisim/serving-validation/1"] = Field(default=SERVING_SCHEMA, alias="schema")
    """name and version of this schema"""
    table: str
    """file of the rows"""
    engines: bool
    """whether rows ran with the profiles of their engines"""
    errors: list[ServingErrors]
    """errors by group"""
    not_simulated: list[Refusal]
    """rows that were not simulated"""
