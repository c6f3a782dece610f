"""Whether a speculation policy, an acceptance process and a model agree."""

from __future__ import annotations

from papisim.acceptance.base import AcceptanceOptions
from papisim.config.experiment import Experiment
from papisim.config.experts import BALANCED, ExpertsSpec
from papisim.engine.drafting.base import SerialOptions
from papisim.errors import InputError
from papisim.ops.trace import KernelTrace
from papisim.policies.speculation.base import SpeculationOptions
from papisim.workloads.base import WorkloadOptions


def check_agreement(experiment: Experiment, trace: KernelTrace) -> None:
    """Refuse what contradicts itself: signals that no process has, facts of another model, endless warm-ups, hosts twice.

    Raises:
        InputError: the host's time or sampling is given twice; the policy would decide by nothing; the table of exit layers is of a
            model with another depth, the popularity of one with other experts; or no request would be measured.
    """
    _check_warmup(experiment)
    _check_host(experiment)
    _check_experts(experiment.experts, trace)
    policy, process = experiment.speculation, experiment.acceptance
    assert isinstance(policy, SpeculationOptions)
    assert isinstance(process, AcceptanceOptions)
    missing = sorted(policy.signals - process.shown)
    if missing:
        raise InputError(
            f"speculation '{policy.kind}' decides by {' and '.join(sorted(policy.signals))}; acceptance '{process.kind}' has no "
            f"{' and no '.join(missing)}; {_hint(missing)}",
            field="acceptance",
        )
    drafting = experiment.drafting
    if process.depends_on_length and isinstance(drafting, SerialOptions) and drafting.schedule.kind != "synchronous":
        raise InputError(
            f"acceptance '{process.kind}' depends on the draft's length; asynchronous drafts have none before they are verified",
            field="drafting.schedule",
        )
    depth = process.model_layers
    if depth is not None and depth != trace.model.n_layers:
        raise InputError(
            f"found a table of exit layers of a model with {depth} layers, expected {trace.model.n_layers}, those of {trace.name}",
            field="acceptance",
        )


def _check_experts(experts: ExpertsSpec, trace: KernelTrace) -> None:
    n_experts = trace.model.n_experts
    if experts != BALANCED and not n_experts:
        raise InputError(f"found choices of a router, but {trace.name} has no experts", field="experts")
    if experts.popularity is not None and len(experts.popularity) != n_experts:
        raise InputError(
            f"found {len(experts.popularity)} numbers, expected one for each of the {n_experts} experts of {trace.name}",
            field="experts.popularity",
        )


def _check_warmup(experiment: Experiment) -> None:
    workload, n_requests = experiment.workload, experiment.n_requests
    assert isinstance(workload, WorkloadOptions)
    if n_requests is not None and workload.warmup_requests >= n_requests:
        raise InputError(
            f"found {workload.warmup_requests} of {n_requests} requests, expected fewer: none would be measured",
            field="workload.warmup_requests",
        )


def _check_host(experiment: Experiment) -> None:
    engine, verification = experiment.engine, experiment.verification
    if verification.bookkeeping_s and engine.host.step_s:
        raise InputError(
            f"found {verification.bookkeeping_s:g} s beside engine.host.step_s {engine.host.step_s:g} s of {engine.name}, which "
            "holds it; expected one of them to be 0",
            field="verification.bookkeeping_s",
        )
    if verification.sampling_row_s and engine.sampling.kernels:
        raise InputError(
            f"found {verification.sampling_row_s:g} s beside the {engine.sampling.kernels} sampling kernels of the engine "
            f"{engine.name}; expected one of them to be 0",
            field="verification.sampling_row_s",
        )


def _hint(missing: list[str]) -> str:
    if "layers" in missing:
        return "expected a process of the kind 'early_exit', such as layerskip_llama3_8b"
    return "expected a process with 'signals', such as acceptance.signals=dsde_t0, or a replayed log with confidence"
