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


class Coverage(Schema):
    """Share of measurements inside 90 % intervals that they had no part in."""

    of: str
    """family of kernels, ``steps``, or ``serving`` and a figure"""
    held_out: str
    """what was judged, and what the intervals are made of"""
    n: int
    """number of measurements"""
    groups: int
    """number of groups that were held out"""
    covered_ratio: float
    """share inside the intervals; 0.85 to 0.95 is what they promise"""
    median_width_ratio: float
    """median of the upper over the lower end of the intervals"""


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
    coverage: list[Coverage]
    """coverage of 90 % intervals; empty without ``--coverage``"""


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
    coverage: list[Coverage]
    """coverage of 90 % intervals by figure; empty for fewer than four groups"""
    not_simulated: list[Refusal]
    """rows that were not simulated"""


ENGINE_VALIDATION_SCHEMA: Final = "papisim/engine-validation/1"


class EngineErrors(Schema):
    """Errors of predicted times of one part of steps."""

    mape: float
    """mean absolute relative error over the compositions of the block"""
    bias: float
    """mean relative error; negative is too fast"""
    measured_s: float
    """mean measured time per step"""


class EngineParts(Schema):
    """Errors of the busy time of GPU kernels, by part, over profiled steps of one kind."""

    gpu: str
    """GPU that was measured"""
    engine: str
    """engine and its mode, as the log calls them"""
    block: str
    """kind of the steps: ``decode``, ``prompts_1024`` (at most 1,024 prompt tokens), ``prompts_beyond``, ``mixed``, ``drafts``"""
    n: int
    """number of compositions"""
    fc: EngineErrors | None
    """matrix products"""
    attention: EngineErrors | None
    """attention"""
    small: EngineErrors | None
    """all further kernels of a GPU"""
    communication: EngineErrors | None
    """messages between GPUs"""
    busy: EngineErrors
    """all of these"""
    cancelled_ratio: float
    """share of the busy time by which errors of parts cancel in the total"""
    cancelling: bool
    """whether the total is closer than its parts: one is off by more of the busy time than the total"""


class EngineSteps(Schema):
    """Errors of the wall time of steps of one kind."""

    gpu: str
    """GPU that was measured"""
    engine: str
    """engine and its mode, as the log calls them"""
    block: str
    """kind of the steps, as in the errors by part"""
    n: int
    """number of compositions"""
    host: EngineErrors | None
    """time in which the host does not wait for the GPU; null where scheduling is asynchronous, whose log does not tell it"""
    total: EngineErrors
    """time of a step, or of all steps of a prompt"""


class AddedByDrafts(Schema):
    """Time that long drafts add to a step with short ones."""

    gpu: str
    """GPU that was measured"""
    cell: str
    """composition: requests and cached tokens of each"""
    from_drafts: int
    """drafted tokens per request of the shorter step"""
    to_drafts: int
    """drafted tokens per request of the longer step"""
    of: Literal["waiting", "wall"]
    """the time that is compared: that of waiting for the GPU, or wall time where steps are not logged"""
    measured_s: float
    """measured difference"""
    predicted_s: float
    """predicted difference"""
    error: float | None
    """relative error of the difference; null where the measured one is not positive"""


class ServiceSteps(Schema):
    """Wall time of the steps of a service, each priced with the composition that the log has."""

    gpu: str
    """GPU that was measured"""
    engine: str
    """engine and its mode, as the log calls them"""
    service: str
    """name of the service"""
    block: str
    """kind of the steps, as in the errors by part; ``all`` for every step"""
    n: int
    """number of steps"""
    measured_s: float
    """measured time of all steps"""
    predicted_s: float
    """predicted time of all steps"""
    error: float
    """relative error of their sum"""
    mape: float | None
    """mean absolute relative error of steps; null where scheduling is asynchronous, whose log shifts steps by one"""


class ServedFigure(Schema):
    """A statistic of the latencies of served requests."""

    metric: str
    """``ttft``, ``tpot``, ``e2e``, or ``itl``, the gaps between a request's emissions"""
    statistic: str
    """``mean``, or ``p`` and a percentage"""
    measured_s: float
    """measured value"""
    predicted_s: float
    """simulated value"""
    error: float
    """simulated over measured, less 1"""


class EngineService(Schema):
    """A service, simulated with the same arrivals and lengths."""

    gpu: str
    """GPU that was measured"""
    engine: str
    """engine and its mode, as the log calls them"""
    service: str
    """name of the service"""
    requests: int
    """requests that were served"""
    chunk_tokens: int | None
    """most token-rows per step, as the log tells it; null where it does not"""
    max_batch: int | None
    """most requests at once, as the log tells it; null where it never bound"""
    figures: list[ServedFigure]
    """latencies"""
    request_mape: dict[str, float]
    """mean absolute relative error over requests, each beside its own simulation, by metric"""


class EngineWatts(Schema):
    """Errors of power as the board's meter showed it after steady steps: the mean of the last second, earlier steps included."""

    gpu: str
    """GPU that was measured"""
    engine: str
    """engine and its mode, as the log calls them"""
    block: str
    """what the steps were run for: ``decode``, ``prefill``, ``mixed``, ``spec``"""
    n: int
    """number of readings"""
    mape: float
    """mean absolute relative error of the energy of the last second"""
    bias: float
    """mean relative error; negative is too little"""
    measured_w: float
    """mean reading"""


class EngineValidation(Schema):
    """An engine's logs beside the simulator, ``papisim validate --engine DIR --format json``."""

    schema_: Literal["papisim/engine-validation/1"] = Field(default=ENGINE_VALIDATION_SCHEMA, alias="schema")
    """name and version of this schema"""
    machine: str | None
    """machine of the simulator; null for one GPU of each kind measured"""
    trace: str | None
    """model of the simulator; null for those that the engines' names begin with"""
    profile: str
    """engine profile of the simulator"""
    parts: list[EngineParts]
    """busy time of kernels by part"""
    steps: list[EngineSteps]
    """wall time of steps"""
    drafts: list[AddedByDrafts]
    """time that drafts add"""
    service_steps: list[ServiceSteps]
    """wall time of the steps of services"""
    services: list[EngineService]
    """latencies of services"""
    watts: list[EngineWatts]
    """power after steady steps"""
    notes: list[str]
    """what could not be compared, and remarks on the machine"""


REPLAY_SCHEMA: Final = "papisim/replay/1"


class Throughput(Schema):
    """Emitted tokens per second."""

    measured_tokens_per_s: float
    """measured value"""
    predicted_tokens_per_s: float
    """simulated value"""
    error: float
    """simulated over measured, less 1"""


class ReplayedResult(Schema):
    """One benchmark of a client, beside a simulation of the same requests."""

    form: str
    """form of the file: ``vllm``, ``sglang``, ``aiperf`` or ``aiperf records``"""
    model: str
    """model as the client calls it; empty if it does not say"""
    machine: str
    """machine of the simulation"""
    trace: str
    """model of the simulation"""
    engine: str
    """engine profile of the simulation"""
    workload: str
    """kind of the simulated workload"""
    requests: int
    """requests"""
    latencies: list[ServedFigure]
    """latencies"""
    throughput: Throughput | None
    """emitted tokens per second; null if the file does not tell"""
    notes: list[str]
    """what the file leaves open, and remarks on the machine"""


class Replay(Schema):
    """Benchmarks of a client beside simulations, ``papisim replay --format json``."""

    schema_: Literal["papisim/replay/1"] = Field(default=REPLAY_SCHEMA, alias="schema")
    """name and version of this schema"""
    results: list[ReplayedResult]
    """the benchmarks of the file"""


ENGINE_CALIBRATION_SCHEMA: Final = "papisim/engine-calibration/1"


class Explained(Schema):
    """What a fit explains."""

    n: int
    """number of compositions of steps"""
    r2_ratio: float
    """explained share of the variance of times"""
    mape_before: float
    """mean absolute relative error before the fit"""
    mape_after: float
    """mean absolute relative error of the fit"""
    mape_left_out: float
    """mean absolute relative error of each composition by a fit to the others"""


class FittedHost(Explained):
    """Times of the host, fitted to synchronous steps."""

    before: dict[str, float]
    """seconds by term of the profile"""
    after: dict[str, float]
    """fitted seconds by term"""


class FittedKernels(Explained):
    """Time of the kernels of a part over that of its library."""

    part: str
    """``fc``, ``attention``, ``small`` or ``communication``"""
    factor: float
    """measured over predicted time"""
    helps: bool
    """whether the factor brings compositions that were left out closer; the written profile has it only then"""


class EngineCalibration(Schema):
    """An engine profile fitted to logs, ``papisim calibrate engine --format json``."""

    schema_: Literal["papisim/engine-calibration/1"] = Field(default=ENGINE_CALIBRATION_SCHEMA, alias="schema")
    """name and version of this schema"""
    profile: str
    """engine profile that the fit starts from"""
    host: FittedHost
    """times of the host"""
    kernels: list[FittedKernels]
    """parts whose kernels were profiled in several compositions"""


COMMANDS_SCHEMA: Final = "papisim/command-validation/1"


class CommandErrors(Schema):
    """Commands of one kind, in the order in which they were issued."""

    command: str
    """kind of command"""
    n: int
    """commands that the scheduler issued"""
    n_simulator: int
    """commands that the simulator issued"""
    n_equal: int
    """commands that both issued in the same cycle"""
    largest_cycles: int
    """largest difference, in cycles, of the k-th command of both"""


class CommandValidation(Schema):
    """A command trace beside another simulator, ``papisim validate --commands --format json``."""

    schema_: Literal["papisim/command-validation/1"] = Field(default=COMMANDS_SCHEMA, alias="schema")
    """name and version of this schema"""
    cycles: int
    """cycle of the last command"""
    simulator_cycles: int
    """the same of the simulator, or its cycles in all"""
    error: float
    """relative difference of the two"""
    commands: list[CommandErrors]
    """differences by kind of command; empty if the simulator does not log them"""
