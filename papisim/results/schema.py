"""The figures and frames of finished runs, field by field: name, unit and meaning.

Each class is a pydantic model, so ``RunSummary.model_json_schema()`` is the JSON Schema of ``papisim run --format json``. A
summary has every key in every run; a figure that a run does not have is ``null``, a quotient without a denominator among them. The suffix of a name is its unit
(:data:`papisim.units.UNITS`); names without one are counts or text, ``_ratio`` is a share or a quotient.

:data:`FRAMES` has the columns of each frame that ``--out`` writes. The frame ``runs`` has one row, a flattened
:class:`RunSummary`: nested figures are columns ``outer.inner``, lists are columns with their lengths.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

SUMMARY_SCHEMA: Final = "papisim/run-summary/1"
COMPARISON_SCHEMA: Final = "papisim/comparison/1"

#: options of a policy or a section of an experiment as the file has them; which there are depends on ``kind``
Section = dict[str, object]

#: figures by name, as the JSON document of a model below has them; each model says the type of each figure
Figures = dict[str, Any]


class Schema(BaseModel):
    """The base of every output model: unknown keys are errors, docstrings are descriptions."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, defer_build=True)

    def as_json(self) -> dict[str, Any]:
        """Return the plain values, under the names that files and commands show."""
        return self.model_dump(by_alias=True)

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Describe each key by the docstring of its field.

        They are read from the source here: pydantic's ``use_attribute_docstrings`` reads them whenever a command starts.
        """
        schema = handler(core_schema)
        properties = handler.resolve_ref_schema(schema).get("properties", {})
        for owner in reversed(cls.__mro__):
            if issubclass(owner, Schema) and owner is not Schema:
                for name, text in _field_docstrings(owner):
                    key = cls.model_fields[name].alias or name
                    properties[key]["description"] = text
        return schema


def _field_docstrings(model: type[Schema]) -> Iterator[tuple[str, str]]:
    """Yield the fields that a model's source declares, each with the docstring below it."""
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(model))).body
    assert isinstance(definition, ast.ClassDef)
    for field, below in pairwise(definition.body):
        match field, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                yield name, inspect.cleandoc(text)


class Outcomes(Schema):
    """Number of requests by how they ended."""

    served: int
    """requests that got all their tokens"""
    refused: int
    """requests that can never fit the machine, or that a policy turned away"""
    failed: int
    """requests lost to a fault"""
    timed_out: int
    """requests that their client gave up (``timeout_s`` of the workload)"""


class UsersInStep(Schema):
    """Whether the users of a closed loop ask at the same times."""

    number: int
    """number of users"""
    coherence_ratio: float | None
    """1 if all users ask at once in every cycle, near 0 if their requests are spread evenly over it (Kuramoto's order parameter of the
    arrivals); null for one user, or for less than two cycles"""
    lock_step: bool
    """whether all requests ask for equally many tokens and the coherence is at least one half"""


class LittlesLaw(Schema):
    """Little's law, L = λW: a check that no request is lost or counted twice."""

    mean_in_system: float | None
    """L: number of requests in the system, counted as they arrive and end, averaged over the makespan"""
    lambda_w: float | None
    """λW: arrival rate × mean time in the system"""
    relative_error: float | None
    """(L − λW) / λW; null where no request spent time in the system"""


class EnergyParts(Schema):
    """Energy per emitted token by the part that spends it, in joules; null where no token was emitted."""

    dram_activation_j: float | None
    """opening and closing DRAM rows"""
    dram_access_j: float | None
    """reading and writing columns of open rows, up to the bank's edge"""
    dram_transfer_j: float | None
    """moving data from the bank through bank group, die, TSVs and interposer"""
    pim_compute_j: float | None
    """FPUs and logic dies of PIM stacks"""
    gpu_compute_j: float | None
    """arithmetic of GPUs"""
    gpu_memory_j: float | None
    """on-chip memories of GPUs; their DRAM counts under the DRAM parts"""
    link_j: float | None
    """links between devices"""
    static_j: float | None
    """static power over the makespan"""


class DecodeTimes(Schema):
    """Time of decode-only steps by category, in seconds, added up over replicas (names have no suffix)."""

    fc: float
    """fully connected layers: matrix products with weights"""
    attention: float
    """attention over KV caches"""
    communication: float
    """all-reduces and transfers between devices"""
    other: float
    """norms, activations, embeddings, sampling and other small kernels"""
    draft: float
    """drafting"""
    host: float
    """the engine's host; what devices hide of it is counted in ``overlapped_s``, too"""


class Switch(Schema):
    """A decoding iteration that ran FC on another device than the iteration before it."""

    iteration: int
    """index of the iteration among the server's steps that decode, from 0"""
    rlp: int
    """requests decoded in parallel (request-level parallelism)"""
    rows: int
    """token-rows of FC kernels, RLP × TLP"""
    from_: str = Field(alias="from")
    """device of the iteration before, or ``mixed``"""
    to: str
    """device of this iteration, or ``mixed``"""


class OnDevice(Schema):
    """The part of the decoding iterations in which an operator ran on one device."""

    device: str
    """the device; ``mixed`` for iterations in which several devices ran the operator"""
    iteration_ratio: float
    """share of the decoding iterations that have the operator"""
    step_time_ratio: float | None
    """share of the time of those iterations"""
    kernel_time_s: float
    """time of the operator's kernels on the device, in ``mixed`` iterations as well, added up over replicas; messages aside"""


class PlacedOperator(Schema):
    """Where an operator ran in the steps that decode."""

    operator: str
    """``fc``, ``attention`` (of requests that decode), ``experts``, ``draft_fc`` or ``draft_attention``"""
    candidates: list[str]
    """devices that may run it, its home first"""
    n_switches: int
    """number of moves to another device from one iteration that has the operator to the next"""
    on: list[OnDevice]
    """devices that ran it"""


class ParallelShares(Schema):
    """How the kernels of the model are shared among devices."""

    tensor_ranks: int
    """ranks that share each FC kernel; with one attention group and one rank of experts, each expert as well"""
    data_ranks: int
    """attention groups, each with requests of its own and with all weights but the experts'"""
    context_ranks: int
    """ranks that share the tokens of each KV cache"""
    expert_ranks: int
    """ranks, or groups of ranks, that experts are dealt out to"""
    pipeline_stages: int
    """stages that share the layers"""
    fullest_stage_layers: int
    """layers of the fullest stage, which sets the time of a round and the room"""
    kv_head_copies: float
    """ranks on which a KV head lies, averaged over heads: more than 1 with more ranks than KV heads"""
    idle_attention_ranks: int
    """ranks of a stage that have no query head"""
    fc_padding_ratio: float
    """FLOP computed on padding over the FLOP of the model's FC kernels"""
    kv_imbalance_ratio: float
    """bytes of KV caches on the fullest device over those on a mean one, which divides the room"""
    expert_imbalance_ratio: float
    """rows of experts on the fullest rank over those on a mean one at a full batch, averaged over layers"""


class SpeculationYield(Schema):
    """Yield of speculation per request and decoding iteration (a round); null where no request decoded."""

    drafted_tokens_per_round: float | None
    """draft tokens verified per round"""
    accepted_tokens_per_round: float | None
    """draft tokens accepted per round"""
    wasted_tokens_per_round: float | None
    """draft tokens made and never verified per round: with the verified ones, all that were made; 0 unless drafting is asynchronous"""
    emitted_tokens_per_round: float | None
    """tokens emitted per round, the verification's own token included"""
    acceptance_ratio: float | None
    """draft tokens accepted over draft tokens verified; null without drafts"""
    acceptance_by_position_ratio: list[float]
    """of the drafts that reached position 1, 2, …, the share accepted at least up to there (S_j); empty without drafts"""
    extrapolated_ratio: float | None
    """share of drafted positions beyond the longest draft that the acceptance process was observed at, so that their acceptance is extrapolated; null without drafts"""
    draft_time_ratio: float | None
    """share of decoding time spent on drafting; the rest verifies"""


class Tuned(Schema):
    """A value that belongs to the machine and the model."""

    value: float | list[dict[str, int | float | str]]
    """what the run used: a number, or the rows of a table"""
    origin: str
    """``calibrated for this machine`` (stored with it), ``calibrated on the fly``, or ``given``"""
    calibrated: float | list[dict[str, int | float | str]] | None
    """what calibration finds for this machine and model; null where it cannot be found"""
    loss_ratio: float | None
    """by how much longer the work takes with ``value`` than with ``calibrated``, on average; null where not known"""
    note: str | None
    """warning that the value was not calibrated for this machine and model; null where it equals what is calibrated"""


class OutsideFit(Schema):
    """Time priced outside the range of a fit, on one device and for one reason."""

    resource: str
    """device"""
    category: str
    """category of the time, see :class:`DecodeTimes`"""
    reason: str
    """limit of the fit that kernels pass: a size, the format of their operands, or the board that was measured"""
    time_s: float
    """seconds, added up over replicas"""
    time_ratio: float | None
    """share of the time of all kernels and messages"""


class Targets(Schema):
    """Latency targets of the SLO; null where there is none."""

    ttft_s: float | None
    """target for the time to first token"""
    tpot_s: float | None
    """target for the time per output token"""
    e2e_s: float | None
    """target for the end-to-end latency"""


class TierReuse(Schema):
    """What went into one tier of a prefix cache, and out."""

    name: str
    """name of the tier; ``device`` for the memory in which requests hold their caches"""
    reused_blocks: int
    """blocks found there by admitted prompts"""
    evicted_blocks: int
    """blocks that left it, for the next tier or for good"""
    fetched_bytes: int
    """bytes that came up from it to the device; 0 for the device"""
    written_bytes: int
    """bytes that were written into it by evictions from the tier above; 0 for the device"""


class PrefixReuse(Schema):
    """What the prefix cache saved; a prompt counts once per admission that computes it."""

    block_tokens: int
    """tokens of a block, the smallest part that is reused"""
    prompt_tokens: int
    """tokens of admitted prompts; after a preemption with recomputation, those and the tokens emitted so far once more"""
    reused_tokens: int
    """those that were found in the cache and not computed"""
    reused_token_ratio: float | None
    """hit rate in tokens: reused over prompt tokens"""
    prompt_blocks: int
    """full blocks of admitted prompts"""
    reused_blocks: int
    """those that were found in the cache"""
    reused_block_ratio: float | None
    """hit rate in blocks: reused over full blocks"""
    tiers: list[TierReuse]
    """the tiers, the device first"""


class SchedulerFigures(Schema):
    """What placing the operators took; its seconds are in those of the steps."""

    n_decisions: int
    """decisions that took time, one before each decoding iteration"""
    decision_s: float
    """seconds of them"""
    n_switches: int
    """decoding iterations that were charged for operators on other devices than in the one before"""
    switch_s: float
    """seconds by which these were longer"""
    n_moves: int
    """moves of a server's KV caches from one memory to another"""
    move_s: float
    """seconds of the moves"""
    moved_bytes: int
    """bytes that were moved"""
    time_ratio: float | None
    """decisions, switches and moves over the time of all steps"""


class RunSummary(Schema):
    """The figures of one run, ``papisim run --format json`` and ``summary.json``."""

    schema_: Literal["papisim/run-summary/1"] = Field(default=SUMMARY_SCHEMA, alias="schema")
    """name and version of this schema"""
    papisim_version: str
    """version that simulated the run"""
    system: str
    """name of the machine"""
    trace: str
    """name of the model"""
    workload: str
    """name of the workload"""
    engine: str
    """name of the engine profile; ``none`` is the captured kernels without a host"""
    engine_notes: list[str]
    """kernels that the engine merges where this model's cannot be, and why"""
    placement: Section
    """placement policy and its options"""
    speculation: Section
    """speculation policy and its options"""
    tuned: dict[str, Tuned]
    """values that belong to the machine and the model, by field: PAPI's α, Synergy's table, SSSD's knee"""
    acceptance: str
    """kind of the acceptance process"""
    drafting: Section
    """draft source and its options"""
    quantisation: Section
    """storage formats of weights, activations and KV caches"""
    batching: Section
    """batching policy and its options"""
    kv: Section
    """management of KV caches"""
    overlap: Section
    """what of a step runs at the same time"""
    routing: Section
    """replicas and how requests are routed to them"""
    seed: int
    """seed of every random stream"""
    metrics: str
    """``exact`` keeps every step and request, ``streaming`` keeps sketches"""
    parallel: ParallelShares
    """shares of the model's kernels, and what they leave idle"""
    n_requests: int
    """requests that arrived and are measured"""
    n_warmup_requests: int
    """requests of the warm-up, which are in no other figure"""
    users: UsersInStep | None
    """users of a closed loop; null where requests do not follow upon the ends of others"""
    outcomes: Outcomes
    """how they ended"""
    max_positions: int | None
    """longest context that the model is configured for, in tokens; null if its trace does not say"""
    n_beyond_positions: int | None
    """requests whose longest context exceeds it: refused where positions are learned, otherwise served outside what the model
    was trained for"""
    n_output_tokens: int
    """tokens emitted, those of requests that were not served included"""
    n_iterations: int
    """steps that decode, with or without prompts beside"""
    makespan_s: float
    """time from the first arrival, that of the warm-up aside, to the last request's end"""
    throughput_tokens_per_s: float | None
    """emitted tokens over the makespan; null where no time passed, as is every other mean over the makespan"""
    prefill_s: float
    """time of steps that compute prompts only, added up over replicas, as are the next two"""
    decode_s: float
    """time of steps that decode only"""
    mixed_s: float
    """time of steps that do both"""
    stalled_s: float
    """time that steps waited for devices that stood still"""
    overlapped_s: float
    """time saved by overlap: the sum of the phases' times less the steps' times"""
    outside_fit_time_ratio: float | None
    """share of the time of all kernels and messages whose price lies outside the range of the fit that it rests on"""
    outside_fit: list[OutsideFit]
    """that time by device, category and reason, the largest first"""
    throughput_requests_per_s: float | None
    """served requests over the makespan"""
    ttft_mean_s: float | None
    """time to first token, from arrival to the end of the step that completed the prompt; of served requests"""
    ttft_p50_s: float | None
    """median time to first token; percentiles are exact, or a sketch's with ``metrics: streaming``"""
    ttft_p90_s: float | None
    """90th percentile of the time to first token"""
    ttft_p95_s: float | None
    """95th percentile of the time to first token"""
    ttft_p99_s: float | None
    """99th percentile of the time to first token"""
    tpot_mean_s: float | None
    """time per output token, (last − first token) / (tokens − 1); of served requests with more than one token"""
    tpot_p50_s: float | None
    """median time per output token"""
    tpot_p90_s: float | None
    """90th percentile of the time per output token"""
    tpot_p95_s: float | None
    """95th percentile of the time per output token"""
    tpot_p99_s: float | None
    """99th percentile of the time per output token"""
    itl_mean_s: float | None
    """inter-token latency, the gap between iterations that gave a request tokens (one gap per iteration); of all requests"""
    itl_p50_s: float | None
    """median inter-token latency"""
    itl_p90_s: float | None
    """90th percentile of the inter-token latency"""
    itl_p95_s: float | None
    """95th percentile of the inter-token latency"""
    itl_p99_s: float | None
    """99th percentile of the inter-token latency"""
    e2e_mean_s: float | None
    """end-to-end latency, from arrival to end; of served requests"""
    e2e_p50_s: float | None
    """median end-to-end latency"""
    e2e_p90_s: float | None
    """90th percentile of the end-to-end latency"""
    e2e_p95_s: float | None
    """95th percentile of the end-to-end latency"""
    e2e_p99_s: float | None
    """99th percentile of the end-to-end latency"""
    queueing_mean_s: float | None
    """queueing delay, from arrival to first admission; of served requests"""
    queueing_p50_s: float | None
    """median queueing delay"""
    queueing_p90_s: float | None
    """90th percentile of the queueing delay"""
    queueing_p95_s: float | None
    """95th percentile of the queueing delay"""
    queueing_p99_s: float | None
    """99th percentile of the queueing delay"""
    slo: Targets
    """latency targets"""
    goodput_requests_per_s: float | None
    """served requests that met every target over the makespan; null where no target is set"""
    slo_met_ratio: float | None
    """served requests that met every target over all that arrived; null where no target is set"""
    n_preemptions: int
    """number of preemptions"""
    littles_law: LittlesLaw
    """check of the request count"""
    mean_rlp: float | None
    """requests in a step, averaged over the makespan and replicas"""
    decode_mean_rlp: float | None
    """requests that decode, averaged over the time of the steps that decode; null where none did"""
    decode_tail_time_ratio: float | None
    """share of the time of steps that decode in which at most two requests did: the tail of a batch, whose last requests run alone"""
    energy_j: float
    """energy of all machines over the makespan, static energy included"""
    energy_per_request_j: float | None
    """energy over served requests; null where none was served"""
    energy_per_token_j: float | None
    """energy over emitted tokens; null where none was emitted"""
    energy_per_token_by_part_j: EnergyParts
    """the same by part"""
    energy_models: dict[str, str | None]
    """energy model or table in use by device; null for kinds that have but one"""
    busy_ratio: dict[str, float | None]
    """share of the makespan that each device, each link and the host was occupied, averaged over replicas"""
    decode_time_by_category_s: DecodeTimes
    """time of decode-only steps by category"""
    fc_flop_ratio: dict[str, float | None]
    """share of the FC FLOP of steps that decode, by device; null where no step decodes"""
    n_switches: int
    """number of switches of FC between devices from one decoding iteration to the next"""
    switches: list[Switch]
    """those iterations; empty with ``metrics: streaming``"""
    operators: list[PlacedOperator]
    """operators with kernels in steps that decode; drafting by a head or by layers of the target counts as operators of a draft model"""
    attention_intensity_per_tlp: float | None
    """arithmetic intensity of attention over TLP, in token-rows per number read: query heads per KV head, more where V is a part of K; the
    largest of all layers, null without attention"""
    speculation_yield: SpeculationYield
    """yield of speculation"""
    peak_kv_bytes: float
    """peak size of KV caches in use, added up over replicas"""
    kv_capacity_bytes: float
    """capacity for KV caches, added up over replicas"""
    kv_peak_ratio: float | None
    """peak over capacity"""
    kv_mean_ratio: float | None
    """KV caches in use over capacity, averaged over the makespan"""
    prefix_reuse: PrefixReuse | None
    """what the prefix cache saved; null without one"""
    scheduler: SchedulerFigures | None
    """what placing the operators took; null where the system's scheduler takes nothing and moves no caches"""
    papers: list[str]
    """bibliography of the numbers that the run rests on"""
    assumptions: list[str]
    """numbers without a source, and why they were chosen"""
    overrides: list[str]
    """fields changed by ``--set``"""


class ComparisonRow(Schema):
    """One run beside the first; ratios above 1 are better than the first."""

    machine: str
    """label of the run"""
    n_served: int
    """requests that got all their tokens; where runs differ in it, ratios are of unequal work"""
    throughput_tokens_per_s: float | None
    """emitted tokens over the makespan; null where no time passed, as is every other mean over the makespan"""
    speed_up_ratio: float | None
    """makespan of the first run over this run's, prefill included (the requests are the same); null where either emitted no token"""
    decode_speed_up_ratio: float | None
    """decoding time of the first run over this run's; null where either has no decode-only step"""
    prefill_s: float
    """time of steps that compute prompts only"""
    decode_s: float
    """time of steps that decode only"""
    tpot_mean_s: float | None
    """mean time per output token; null where no served request has more than one token"""
    energy_per_token_j: float | None
    """energy over emitted tokens; null where none was emitted"""
    energy_efficiency_ratio: float | None
    """energy of the first run over this run's; null where either emitted no token"""
    outside_fit_time_ratio: float | None
    """share of the time of all kernels and messages whose price lies outside the range of the fit that it rests on"""
    tuning_note: str | None
    """warnings that values were not calibrated for this machine and model; null without"""


class ComparisonSummary(Schema):
    """Several runs of the same requests, ``papisim compare --format json``."""

    schema_: Literal["papisim/comparison/1"] = Field(default=COMPARISON_SCHEMA, alias="schema")
    """name and version of this schema"""
    comparison: list[ComparisonRow]
    """ratios to the first run, one row per run"""
    runs: list[RunSummary]
    """figures of each run"""


class RequestColumns(Schema):
    """Columns of the frame ``requests``: one row per request, in order of arrival. Times count from the start of the run."""

    request_id: int
    """number of the request"""
    arrival_s: float
    """time of arrival"""
    admitted_s: float
    """time of first admission to a batch"""
    first_token_s: float
    """time of the first token"""
    finish_s: float
    """time of the end, whatever the outcome"""
    input_tokens: int
    """tokens of the prompt"""
    output_tokens: int
    """tokens asked for"""
    ttft_s: float
    """time to first token"""
    tpot_s: float
    """time per output token; empty for a single token"""
    queueing_s: float
    """queueing delay: from arrival to first admission"""
    e2e_s: float
    """end-to-end latency"""
    emitted_tokens: int
    """tokens emitted"""
    preemptions: int
    """number of preemptions"""
    outcome: str
    """``served``, ``refused``, ``failed`` or ``timed_out``"""
    reason: str
    """why the request was not served; empty if it was"""
    server: str
    """server that ended it"""


class StepColumns(Schema):
    """Columns of the frame ``steps``: one row per step of a server.

    Further columns ``busy_NAME_s``, one per device and link and one for the host, have the seconds that it was occupied.
    """

    model_config = ConfigDict(
        json_schema_extra={"patternProperties": {"^busy_.+_s$": {"type": "number", "unit": "s"}}}
    )

    kind: str
    """``prefill``, ``decode`` or ``mixed``"""
    server: str
    """server that ran it"""
    index: int
    """number of the step on its server, from 0; prefills and steps that decode are numbered separately"""
    start_s: float
    """time at which it began"""
    time_s: float
    """duration"""
    stalled_s: float
    """part of the duration spent waiting for devices that stood still"""
    overlapped_s: float
    """time saved by overlap: sum of the phases' times less the duration"""
    rlp: int
    """requests in the step"""
    tlp: float
    """token-rows per request, on average"""
    rows: int
    """token-rows of FC kernels"""
    kv_tokens: int
    """tokens in KV caches at the start"""
    kv_bytes: float
    """the same in bytes"""
    prompt_tokens: int
    """token-rows that belong to prompts"""
    drafted: int
    """draft tokens verified"""
    accepted: int
    """draft tokens accepted"""
    wasted: int
    """draft tokens made and never verified, as found when the step ends"""
    tokens: int
    """tokens emitted"""
    fc_device: str
    """device that ran FC kernels, or ``mixed``"""
    placed_fc: str | None
    """device that ran FC of the target model, experts aside; ``mixed`` where several did, empty where a step has no such kernel; the same
    of the next four"""
    placed_attention: str | None
    """device that ran attention of the requests that decode"""
    placed_experts: str | None
    """device that ran experts"""
    placed_draft_fc: str | None
    """device that ran FC of drafting"""
    placed_draft_attention: str | None
    """device that ran attention of drafting"""
    fc_s: float
    """time of fully connected layers"""
    attention_s: float
    """time of attention"""
    communication_s: float
    """time of all-reduces and transfers"""
    other_s: float
    """time of other kernels"""
    draft_s: float
    """time of drafting"""
    host_s: float
    """time of the engine's host; what devices hide of it is counted in ``overlapped_s``, too"""
    dram_activation_j: float
    """energy of opening and closing DRAM rows"""
    dram_access_j: float
    """energy of reading and writing columns of open rows"""
    dram_transfer_j: float
    """energy of moving data from the bank to its consumer"""
    pim_compute_j: float
    """energy of FPUs and logic dies of PIM stacks"""
    gpu_compute_j: float
    """energy of arithmetic on GPUs"""
    gpu_memory_j: float
    """energy of on-chip memories of GPUs"""
    link_j: float
    """energy of links"""
    static_j: float
    """static energy of one machine over the step"""


class EnergyColumns(Schema):
    """Columns of the frame ``energy``: one row per resource and part with energy, over all replicas and the makespan."""

    resource: str
    """device, link or host"""
    part: str
    """part of the energy, see :class:`EnergyParts`"""
    energy_j: float
    """energy"""


class KernelColumns(Schema):
    """Columns of the frame ``kernels``: kernels and messages of a few steps, priced again."""

    kind: str
    """kind of the step"""
    index: int
    """number of the step"""
    rlp: int
    """requests in the step"""
    rows: int
    """token-rows of the step's FC kernels"""
    resource: str
    """device or link"""
    category: str
    """category of the time, see :class:`DecodeTimes`"""
    kernel: str
    """name of the kernel or message"""
    shape: str
    """its sizes"""
    n_units: int
    """devices or links that share it"""
    n_times: int
    """occurrences in the step"""
    time_s: float
    """time of one occurrence"""
    bound: str
    """what limits it"""
    flop: float
    """arithmetic of one occurrence, over all units"""
    moved_bytes: float
    """bytes read and written, or carried, by one occurrence, over all units"""
    outside_fit: str | None
    """limit of the fit that the price rests on and that the kernel passes; empty inside"""


class DeviceColumns(Schema):
    """Columns of the frame ``devices``: one row per device pool of the machine, with its ceilings."""

    device: str
    """name of the pool"""
    kind: str
    """kind of the part"""
    n_units: int
    """devices in the pool"""
    description: str
    """the part's description"""
    peak_flop_per_s: float
    """peak arithmetic of the pool"""
    bandwidth_bytes_per_s: float
    """peak bandwidth of the memory that the pool computes from"""
    capacity_bytes: float
    """memory of the pool"""
    static_w: float
    """static power of the pool"""
    refresh_w: float | None
    """share of it that refreshing DRAM takes; empty where it is not known"""
    energy_model: str | None
    """energy model or table in use; empty for kinds that have but one"""


class UncertaintyColumns(Schema):
    """Columns of the frame ``uncertainty``: one row per figure of a run, and per ratio to the first run of a comparison."""

    machine: str
    """label of the run; of a single run, its system"""
    figure: str
    """name of the figure or the ratio, whose unit the next four have"""
    value: float
    """the figure as simulated"""
    low: float
    """end of the interval that the truth is below with a probability of 5 %"""
    mid: float
    """value that the truth is as probably below as above"""
    high: float
    """end of the interval that the truth is above with a probability of 5 %"""
    better_probability: float | None
    """of a ratio, probability that it is above 1, so that this machine is better than the first; else null"""
    dominant_factor: str | None
    """error that accounts for most of the variance; null if nothing is uncertain"""
    dominant_variance_ratio: float | None
    """share of the variance of the figure's logarithm that it accounts for"""
    dominant_source: str | None
    """evidence for its size: measured tables, or the reason for which it is assumed"""


class CrossoverColumns(Schema):
    """Columns of the frame ``crossover``: the price of one decoding step on every machine, by batch and TLP."""

    machine: str
    """label of the first run on the machine"""
    batch: int
    """requests in the step"""
    tlp: int
    """token-rows per request"""
    kv_tokens: int
    """tokens in each request's KV cache"""
    step_s: float | None
    """time of the step; empty where the KV caches do not fit"""
    fc_device: str | None
    """device that computes most of FC; empty where the KV caches do not fit"""


class MeaningColumns(Schema):
    """Columns of the frame ``meaning``: one row per sentence, the most important first."""

    machine: str
    """label of the run; of sentences on several runs, empty"""
    sentence: str
    """what bounds decoding, why FC kernels moved, what would help most, or why a machine is faster than the first"""


class UncertainRunSummary(RunSummary):
    """A run with intervals, ``papisim run --uncertainty --format json``."""

    uncertainty: list[UncertaintyColumns]
    """90 % intervals on the run's figures"""


class UncertainComparisonSummary(ComparisonSummary):
    """A comparison with intervals, ``papisim compare --uncertainty --format json``."""

    uncertainty: list[UncertaintyColumns]
    """90 % intervals on the figures of each run, and on its ratios to the first"""


#: columns of the frames that ``papisim run --out`` and ``papisim compare --out`` write, by frame; in a comparison, ``requests``
#: and ``energy`` have a further column ``machine``
FRAMES: dict[str, type[Schema]] = {
    "requests": RequestColumns,
    "steps": StepColumns,
    "energy": EnergyColumns,
    "kernels": KernelColumns,
    "devices": DeviceColumns,
    "comparison": ComparisonRow,
    "crossover": CrossoverColumns,
    "uncertainty": UncertaintyColumns,
    "meaning": MeaningColumns,
}


def columns(frame: str) -> list[str]:
    """Return the names of a frame's columns, in order."""
    return list(FRAMES[frame].model_fields)
