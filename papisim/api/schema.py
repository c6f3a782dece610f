"""The documents that commands print as JSON and the frames that they write, by name, each with its JSON Schema."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, Field
from pydantic.json_schema import JsonSchemaValue

from papisim import units
from papisim.api.hardware import Difference
from papisim.api.input_schema import FILES, file_schema
from papisim.diagnosis.schema import ExplanationRecord
from papisim.errors import InputError, did_you_mean
from papisim.pricing.hardware import Hardware
from papisim.pricing.schema import KernelPrice, MachineStepPrice, StepPrice
from papisim.results.schema import (
    FRAMES,
    ComparisonSummary,
    RunSummary,
    Schema,
    UncertainComparisonSummary,
    UncertainRunSummary,
)
from papisim.validation.schema import (
    CommandValidation,
    EngineCalibration,
    EngineValidation,
    Replay,
    ServingValidation,
    Validation,
)

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


class PointRow(Schema):
    """One point of a sweep or a search. Further keys are its inputs, figures of the run summary, and computed columns."""

    model_config = ConfigDict(extra="allow")

    point: int
    """number of the point, from 0"""
    status: Literal["ok", "infeasible", "failed"]
    """``infeasible``: a constraint does not hold or the machine is too small; ``failed``: the point cannot be simulated"""
    constraint: str | None = None
    """name of the first constraint that does not hold; null if all hold"""
    constraint_kind: str | None = None
    """kind of that constraint"""
    violation_ratio: float | None = None
    """sum of the relative excesses over the bounds of constraints; null if the point failed"""
    reason: str | None = None
    """why the status is not ``ok``; null if it is"""
    simulated: bool
    """whether the point was simulated"""
    run_sha256: str | None = None
    """hash of everything that determines the run; null if it was not built"""


class SweepFrame(Schema):
    """All points of a sweep, ``papisim sweep --format json``."""

    schema_: Literal["papisim/sweep-frame/1"] = Field(alias="schema")
    """name and version of this schema"""
    rows: list[PointRow]
    """the points; all rows have the same keys"""


class ParetoFront(Schema):
    """Feasible points that no other beats in all objectives, ``papisim optimise --format json``."""

    schema_: Literal["papisim/pareto-front/1"] = Field(alias="schema")
    """name and version of this schema"""
    rows: list[PointRow]
    """the points; all rows have the same keys"""


class SizeRow(Schema):
    """The number of machines of one kind, with its policies, that serves a stream of requests within its targets."""

    machine: str
    """machine and policies"""
    rate_per_s: float
    """mean rate of arrivals"""
    machines: int | None
    """least number of machines that attains the goal; null if the most that were tried do not"""
    attained_ratio: float
    """share of the requests that met every target"""
    fails_first: str | None
    """target that most requests missed with one machine fewer, or, of a single machine, at the next rate beyond the knee"""
    devices: float | None
    """devices of these machines, links not counted"""
    attained_with_one_fewer_ratio: float | None
    """share of the requests that met every target with one machine fewer; null for a single machine"""
    goodput_requests_per_s: float | None
    """rate of requests that met every target"""
    knee_per_s: float | None
    """largest rate of arrivals at which these machines attain the goal, to two per cent; null if it was not reached"""
    output_tokens_per_s: float | None
    """throughput"""
    energy_per_token_j: float | None
    """energy per output token"""
    price_per_h: float | None
    """price of these machines for an hour, in the currency of ``--price``"""
    price_per_million_tokens: float | None
    """price of a million output tokens"""


class SizeTrial(Schema):
    """One run of a number of machines at a rate. Further keys, ``missed_NAME_ratio``, have the share that missed each target."""

    model_config = ConfigDict(extra="allow")

    machine: str
    """machine and policies"""
    machines: int
    """equal machines side by side"""
    rate_per_s: float
    """mean rate of arrivals"""
    attained_ratio: float
    """share of the requests that met every target"""
    goodput_requests_per_s: float
    """rate of requests that met every target"""
    missed_unserved_ratio: float
    """share of the requests that were not served"""
    output_tokens_per_s: float
    """throughput"""
    energy_per_token_j: float
    """energy per output token"""


class SizeTargets(Schema):
    """Latency targets of a request."""

    ttft_s: float | None
    """time to first token; null without a target"""
    tpot_s: float | None
    """time per output token"""
    e2e_s: float | None
    """end-to-end latency"""


class Sizes(Schema):
    """Numbers of machines for a stream of requests, ``papisim size --format json``."""

    schema_: Literal["papisim/size/1"] = Field(alias="schema")
    """name and version of this schema"""
    slo: SizeTargets
    """latency targets"""
    attain_ratio: float
    """share of the requests that must meet all targets"""
    sizes: list[SizeRow]
    """one per machine and policy"""
    trials: list[SizeTrial]
    """every run"""


class ClaimRow(Schema):
    """One claim of the literature beside its simulation."""

    interpretation: str | None = None
    """answers to what the paper leaves open; absent for papers that leave nothing open"""
    system: str
    """figure, equation or system"""
    claim: str
    """what is claimed, in words"""
    claimed: float | None
    """published value; null if the publication gives a direction alone"""
    simulated: float | None
    """simulated value; null if it cannot be tested"""
    relative_error: float | None
    """simulated over published, less 1; null without both"""
    verdict: str
    """``in range``, ``fitted``, ``direction holds``, ``off`` or ``not testable``"""
    reason: str
    """how the value was simulated, or why it was not"""
    reliability: str
    """how the published value was read: from ``text``, a table, or a drawing"""
    source: str
    """publication and place"""
    sensitivity: str
    """range of the simulated value over the constant that moves it most; empty if constants were not moved"""


class Claims(Schema):
    """Claims of the literature and their simulation, ``papisim reproduce --format json``."""

    schema_: Literal["papisim/claims/1"] = Field(alias="schema")
    """name and version of this schema"""
    paper: str
    """name of the paper, or ``several``"""
    interpretation: str | None = None
    """name of the interpretation; absent for papers that leave nothing open"""
    alternatives: dict[str, str] | None = None
    """alternative by choice in that interpretation"""
    scores: dict[str, float]
    """distance of the simulation from the paper, by group; empty unless all figures that count were reproduced"""
    orders_kept: dict[str, bool]
    """whether published rankings are preserved, by figure"""
    claims: list[ClaimRow]
    """the claims"""


class LogStatistics(Schema):
    """Statistics of logged or simulated speculation steps, or their standard errors."""

    turns: int
    """request turns"""
    steps: int
    """speculation steps"""
    tokens_per_step: float
    """mean number of tokens emitted per step, the verification's own included"""
    survival: list[float] = Field(alias="S_j")
    """share of the drafts of at least j tokens whose first j tokens were accepted, from j = 1"""
    spread: float
    """standard deviation between turns of the tokens per step, that of chance removed"""
    lag1_autocorrelation: float | None
    """correlation of accepted tokens between successive steps of a turn; null for histograms, which have no order"""


class FitDifference(Schema):
    """Differences between simulation and log."""

    tokens_per_step_ratio: float
    """ratio of the means less 1"""
    largest: float = Field(alias="S_j_largest")
    """largest difference of S_j, with its sign"""
    spread_ratio: float
    """ratio of the spreads less 1; 0 if the log has none"""
    lag1_autocorrelation: float | None
    """difference of the correlations; null for histograms"""


class FittedProcess(Schema):
    """One fitted acceptance process."""

    measured: LogStatistics
    """statistics of the log"""
    simulated: LogStatistics
    """statistics of the fitted process"""
    difference: FitDifference
    """differences between them"""
    parameters: JsonSchemaValue
    """options of the kind ``fitted``"""
    measured_positions: int
    """positions of a draft with an acceptance of their own; the last one's holds for all beyond"""
    tries: list[int]
    """how often each logged position was tried: drafted, with all tokens before it right"""
    ordered: bool
    """whether the log tells the order of steps; if not, rounds are taken as uncorrelated but for their request"""


class AcceptanceFit(Schema):
    """Acceptance processes fitted to a log, ``papisim fit acceptance --format json``."""

    schema_: Literal["papisim/acceptance_fit/1"] = Field(alias="schema")
    """name and version of this schema"""
    log: str
    """name of the log"""
    seed: int
    """seed of the simulations"""
    sources: dict[str, FittedProcess]
    """process by source, or by source and task"""


class CheckedProcess(Schema):
    """One acceptance process fitted to some turns and compared with the others."""

    measured: LogStatistics
    """statistics of the turns that were held out"""
    simulated: LogStatistics
    """statistics of the process fitted to the other turns"""
    standard_error: LogStatistics
    """standard errors of the measured statistics"""
    fitted_to: LogStatistics
    """statistics of the turns that the process was fitted to"""
    difference: FitDifference
    """differences between simulated and measured"""


class AcceptanceHoldout(Schema):
    """Acceptance processes checked against held-out turns, ``papisim fit acceptance --holdout SHARE --format json``."""

    schema_: Literal["papisim/acceptance_holdout/1"] = Field(alias="schema")
    """name and version of this schema"""
    log: str
    """name of the log"""
    holdout: float
    """share of the turns that was held out"""
    split: str
    """choice of these turns: ``balanced`` or ``random``"""
    seed: int
    """seed of the choice and of the simulations"""
    sources: dict[str, CheckedProcess]
    """process by source, or by source and task"""


class ModelAlpha(Schema):
    """The threshold for one model."""

    alpha: float
    """threshold on RLP·TLP"""
    slowdown_ratio: float
    """time with this threshold over that of the faster side at every size, less 1"""
    default_slowdown_ratio: float
    """the same with the threshold for all models"""


class Alpha(Schema):
    """PAPI's threshold, ``papisim calibrate alpha --format json``."""

    schema_: Literal["papisim/alpha/1"] = Field(alias="schema")
    """name and version of this schema"""
    system: str
    """name of the machine"""
    engine: str
    """name of the engine profile"""
    max_rows: int
    """most token-rows tried; a threshold as high as that may be too low"""
    alpha: float
    """threshold for all models"""
    models: dict[str, ModelAlpha]
    """threshold by model"""


class ModelThresholds(Schema):
    """The thresholds of one model's operators."""

    model: str
    """name of the kernel trace"""
    drafts: bool
    """whether it is a draft model"""
    stamp: str
    """hash of the thresholds, and of the devices, links, roles, model, quantisation and engine that they are of"""
    stored: bool
    """whether the machine's files have the same thresholds"""
    thresholds: dict[str, float | dict[str, float | dict[str, float]] | list[dict[str, float | list[int]]]]
    """by operator: the highest intensity on PIM; by role of FC kernels, and size in numbers; or by intensity and context the requests at
    which attention changes sides, on PIM from the first on"""


class OperatorThresholds(Schema):
    """Thresholds of ``papi_operators``, ``papisim calibrate operators --format json``."""

    schema_: Literal["papisim/operator-thresholds/1"] = Field(alias="schema")
    """name and version of this schema"""
    system: str
    """name of the machine"""
    engine: str
    """name of the engine profile"""
    models: list[ModelThresholds]
    """target models, and draft models that have several devices"""


class ProfiledRound(Schema):
    """One batch size and draft length, profiled."""

    batch: int
    """requests"""
    length: int
    """draft tokens per request"""
    round_s: float
    """time of drafting and verification"""
    emitted: float
    """expected number of tokens per request"""
    token_s: float
    """time per token and request"""


class TableRow(Schema):
    """One row of Synergy's table."""

    up_to_batch: int
    """largest batch of the row"""
    length: int
    """best draft length"""


class SpeculationProfile(Schema):
    """Synergy's table, ``papisim calibrate speculation --format json``."""

    schema_: Literal["papisim/speculation-profile/1"] = Field(alias="schema")
    """name and version of this schema"""
    system: str
    """name of the machine"""
    table: list[TableRow]
    """best draft length by batch"""
    points: list[ProfiledRound]
    """everything that was profiled"""


#: documents by the name of their schema, without ``papisim/`` and version
DOCUMENTS: dict[str, type[Schema]] = {
    "run-summary": RunSummary,
    "comparison": ComparisonSummary,
    "uncertain-run-summary": UncertainRunSummary,
    "uncertain-comparison": UncertainComparisonSummary,
    "explanation": ExplanationRecord,
    "hardware": Hardware,
    "difference": Difference,
    "price": KernelPrice,
    "step-price": StepPrice,
    "machine-step-price": MachineStepPrice,
    "sweep-frame": SweepFrame,
    "size": Sizes,
    "pareto-front": ParetoFront,
    "claims": Claims,
    "acceptance_fit": AcceptanceFit,
    "acceptance_holdout": AcceptanceHoldout,
    "alpha": Alpha,
    "operator-thresholds": OperatorThresholds,
    "speculation-profile": SpeculationProfile,
    "validation": Validation,
    "serving-validation": ServingValidation,
    "command-validation": CommandValidation,
    "engine-validation": EngineValidation,
    "engine-calibration": EngineCalibration,
    "replay": Replay,
}

#: rows of frames by the name of the frame
ROWS = {f"frame-{name}": row for name, row in FRAMES.items()}


def names() -> list[str]:
    """Return the names of all schemas: those of documents, of rows of frames, and of files that users write."""
    return [*DOCUMENTS, *ROWS, *FILES]


def json_schema(name: str) -> JsonSchemaValue:
    """Return the JSON Schema of a document, of a row of a frame, or of a file that users write; ``unit`` is the unit of a number (SI).

    Raises:
        InputError: there is none of that name.
    """
    model = {**DOCUMENTS, **ROWS}.get(name)
    if model is None and name not in FILES:
        raise InputError(f"no schema '{name}'; {did_you_mean(name, names())}")
    schema = file_schema(name) if model is None else model.model_json_schema(mode="serialization", by_alias=True)
    for part in (schema, *schema.get("$defs", {}).values()):
        for field, value in part.get("properties", {}).items():
            value.pop("title", None)
            unit = units.unit_of(field)
            if unit is not None:
                value["unit"] = _symbol(unit)
    return {"$schema": _DIALECT, "$id": f"papisim/{name}/1", **schema}


#: words of suffixes whose symbol is another
_SYMBOLS = {"bytes": "B", "hz": "Hz", "j": "J", "w": "W", "mm2": "mm²", "byte": "B", "ratio": "1"}


def _symbol(unit: str) -> str:
    """Return the symbol of a unit from the suffix of a name: ``B/s`` for ``bytes_per_s``."""
    return "/".join(_SYMBOLS.get(part, part) for part in unit.split("_per_"))


def page() -> Iterator[str]:
    """Yield the lines of the page that lists every key and column with unit and meaning."""
    yield "# Documents and frames\n"
    yield "Made by `scripts/schemas` from the code; `papisim schema NAME` prints the JSON Schema of each. Units are SI.\n"
    yield "## Documents\n"
    for name in DOCUMENTS:
        yield from _section(name)
    yield "\n## Frames\n"
    yield "The frame `runs` has one row: the run summary, flattened, with nested keys as `outer.inner`.\n"
    for name in ROWS:
        yield from _section(name)
    yield "\n## Files\n"
    yield "What users write, as YAML; numbers with a unit may be texts such as `1.2 ms`.\n"
    for name in FILES:
        yield from _section(name)


def _section(name: str) -> Iterator[str]:
    schema = json_schema(name)
    yield f"### {name}\n"
    yield from _table(schema)
    for part, inner in schema.get("$defs", {}).items():
        yield f"#### {part} of {name}\n"
        yield from _table(inner)


def _table(schema: JsonSchemaValue) -> Iterator[str]:
    yield f"{_plain(schema.get('description', ''))}\n"
    yield "| name | type | unit | meaning |\n|---|---|---|---|"
    for name, value in schema.get("properties", {}).items():
        yield f"| `{name}` | {_type(value)} | {value.get('unit', '')} | {_plain(value.get('description', ''))} |"
    yield ""


def _plain(text: str) -> str:
    return " ".join(text.split()).replace("``", "`").replace("|", "\\|")


def _type(value: JsonSchemaValue) -> str:
    """Return the type of a key in words."""
    match value:
        case {"type": [kind, "string"]}:
            return f"{kind} or text"
        case {"anyOf": alternatives}:
            return " or ".join(map(_type, alternatives))
        case {"$ref": reference}:
            return str(reference).rpartition("/")[2]
        case {"const": constant}:
            return f"`{constant}`"
        case {"enum": choices}:
            return ", ".join(f"`{each}`" for each in choices)
    return _container(value)


def _container(value: JsonSchemaValue) -> str:
    match value:
        case {"type": "array", "items": items}:
            return f"list of {_type(items)}"
        case {"type": "object", "additionalProperties": dict(inner)} if inner:
            return f"mapping to {_type(inner)}"
        case {"type": "object"}:
            return "mapping"
    return str(value.get("type", "any"))


def write(folder: Path) -> None:
    """Write every schema into ``FOLDER/schemas``, and the page of them beside it."""
    (folder / "schemas").mkdir(parents=True, exist_ok=True)
    for name in names():
        text = json.dumps(json_schema(name), indent=2, ensure_ascii=False)
        (folder / "schemas" / f"{name}.json").write_text(f"{text}\n", encoding="utf-8")
    (folder / "schemas.md").write_text("\n".join(page()), encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
