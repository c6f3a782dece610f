"""What ``papisim explain`` prints as JSON, field by field."""

from __future__ import annotations

from dataclasses import asdict
from typing import Final, Literal, Self

from pydantic import Field

from papisim.diagnosis.changes import Yield
from papisim.diagnosis.explanation import Explanation
from papisim.diagnosis.operators import Alternative, OperatorGain
from papisim.diagnosis.recording import Row
from papisim.diagnosis.sensitivity import Elasticity
from papisim.results.schema import Schema

EXPLANATION_SCHEMA: Final = "papisim/explanation/1"


class SpentTime(Schema):
    """Time by what it was spent on."""

    step: str
    """kind of the steps: ``prefill``, ``decode`` or ``mixed``"""
    resource: str
    """device or link"""
    work: str
    """class of the kernels; ``message`` or ``all_reduce`` on a link; ``host`` for work that no device does"""
    bound: str
    """what limits the kernels"""
    time_s: float
    """time, added up over replicas"""
    time_ratio: float
    """share of the explained time"""

    @classmethod
    def of(cls, row: Row, total_s: float) -> Self:
        """Describe one row of an explanation whose time, over all replicas, is ``total_s``."""
        return cls(**row._asdict(), time_ratio=row.time_s / total_s)


class Sensitivity(Schema):
    """The effect of one number of the hardware on throughput."""

    parameter: str
    """name of the number, as for ``--set``"""
    value: float
    """its value"""
    software: bool
    """whether it belongs to a kernel library rather than to the hardware"""
    elasticity: float
    """change of throughput in percent per percent of the number"""
    step_ratio: float
    """half width of the difference that the elasticity was taken from, as a share of the number"""
    smooth: bool
    """whether a finer and a wider difference agree; if not, the time bends or moves in steps there"""
    lower: float
    """the number lowered by the wider difference"""
    throughput_if_lower_ratio: float
    """throughput with the lower number over throughput as it is"""
    higher: float
    """the number raised by the wider difference"""
    throughput_if_higher_ratio: float
    """throughput with the higher number over throughput as it is"""

    @classmethod
    def of(cls, found: Elasticity) -> Self:
        """Describe an elasticity."""
        return cls(
            parameter=found.parameter.path,
            value=found.parameter.value,
            software=found.parameter.software,
            elasticity=found.elasticity,
            step_ratio=found.step_ratio,
            smooth=found.smooth,
            lower=found.lower,
            throughput_if_lower_ratio=1 + found.lowered_ratio,
            higher=found.higher,
            throughput_if_higher_ratio=1 + found.raised_ratio,
        )


class TriedChange(Schema):
    """One change of the machine, simulated."""

    kind: str
    """``number`` (a field of the hardware), ``count``, ``placement``, or the kind of the part that is replaced"""
    set_: list[str] = Field(alias="set")
    """assignments for ``--set``"""
    placement: str | None
    """value for ``--placement``; null if the placement stays"""
    was: str
    """what the machine has now"""
    throughput_tokens_per_s: float | None
    """throughput with the change; null if the machine is refused"""
    speed_up_ratio: float | None
    """throughput with the change over throughput without; null if the machine is refused"""
    refused: str | None
    """why the machine is refused; null if it is not"""

    @classmethod
    def of(cls, tried: Yield) -> Self:
        """Describe a change and its effect."""
        return cls(
            kind=tried.change.kind,
            set_=list(tried.change.overrides),
            placement=tried.change.placement,
            was=tried.change.was,
            throughput_tokens_per_s=tried.throughput_tokens_per_s,
            speed_up_ratio=tried.speed_up_ratio,
            refused=tried.refused,
        )


class Elsewhere(Schema):
    """A run with one operator elsewhere, all others where they are, simulated."""

    device: str | None
    """its device in every iteration; null where the fastest was chosen anew in each"""
    time_s: float
    """time of what is explained"""
    speed_up_ratio: float
    """throughput over that of the run as it is"""

    @classmethod
    def of(cls, found: Alternative | None) -> Self | None:
        """Describe an alternative; None if there is none."""
        return None if found is None else cls(**asdict(found))


class OperatorElsewhere(Schema):
    """What the run would gain if one operator ran elsewhere."""

    operator: str
    """``fc``, ``attention``, ``experts``, ``draft_fc`` or ``draft_attention``"""
    candidates: list[str]
    """devices that may run it, its home first"""
    kernel_time_s: float
    """time of its kernels in steps that decode"""
    set_: list[str] = Field(alias="set")
    """assignments for ``--set`` that let it run on a further device; empty where it has several"""
    whole_run: Elsewhere | None
    """the best single device for the whole run, of those that differ from the run as it is; null if there is none"""
    each_iteration: Elsewhere | None
    """the fastest device of every iteration; null if there is no other device"""
    refused: dict[str, str]
    """why the machine does not take it on a further device, by device"""

    @classmethod
    def of(cls, gain: OperatorGain) -> Self:
        """Describe the gain of an operator."""
        return cls(
            operator=gain.operator.value,
            candidates=list(gain.devices),
            kernel_time_s=gain.kernel_s,
            set_=list(gain.overrides),
            whole_run=Elsewhere.of(gain.whole),
            each_iteration=Elsewhere.of(gain.each),
            refused=dict(gain.refused),
        )


class ExplanationRecord(Schema):
    """An explained run, ``papisim explain --format json``."""

    schema_: Literal["papisim/explanation/1"] = Field(default=EXPLANATION_SCHEMA, alias="schema")
    """name and version of this schema"""
    system: str
    """name of the machine"""
    trace: str
    """name of the model"""
    workload: str
    """name of the workload"""
    of_: str = Field(alias="of")
    """what is explained: the whole ``run``, or its ``decode`` or ``prefill`` steps"""
    throughput_tokens_per_s: float
    """tokens over the time of what is explained"""
    time_s: float
    """time of what is explained"""
    critical_resource: str
    """device or link that was busy longest"""
    critical_busy_ratio: float
    """share of the time that it was busy, averaged over replicas"""
    spent: list[SpentTime]
    """time by what it was spent on, most first"""
    other_s: float
    """time less that of all phases, over all replicas: positive if nothing worked, negative if several worked at once"""
    elasticity_method: str
    """``repricing`` of the run's work, or repeated ``simulation`` if steps depend on time"""
    elasticities: list[Sensitivity]
    """sensitivity of throughput to the numbers of the hardware, strongest first"""
    step_ratio: float
    """by how much numbers were improved in the changes"""
    changes: list[TriedChange]
    """changes that raise throughput, most first"""
    rejected_changes: list[TriedChange]
    """changes that were tried and do not, or whose machine is refused"""
    operators: list[OperatorElsewhere]
    """what each operator of decoding would gain elsewhere, the most first"""
    overrides: list[str]
    """fields changed by ``--set``"""

    @classmethod
    def of(cls, explanation: Explanation) -> Self:
        """Describe an explained run."""
        experiment, (critical, busy_ratio) = explanation.run.experiment, explanation.critical
        return cls(
            system=experiment.system.name,
            trace=experiment.trace.name,
            workload=experiment.workload_name,
            of_=explanation.scope.value,
            throughput_tokens_per_s=explanation.throughput_tokens_per_s,
            time_s=explanation.time_s,
            critical_resource=critical,
            critical_busy_ratio=busy_ratio,
            spent=[SpentTime.of(row, explanation.machine_s) for row in explanation.rows],
            other_s=explanation.other_s,
            elasticity_method=explanation.method,
            elasticities=[Sensitivity.of(each) for each in explanation.elasticities],
            step_ratio=explanation.step_ratio,
            changes=[TriedChange.of(each) for each in explanation.best],
            rejected_changes=[TriedChange.of(each) for each in explanation.rejected],
            operators=[OperatorElsewhere.of(each) for each in explanation.operators],
            overrides=list(experiment.overrides),
        )
