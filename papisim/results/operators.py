"""Where each operator of a run may run, and where it ran."""

from __future__ import annotations

from collections.abc import Iterator

from papisim.engine.drafting.model import Options as DraftModel
from papisim.engine.run import Run
from papisim.ops.lower import decode_lengths, lower_attention
from papisim.ops.trace import KernelTrace
from papisim.plan.placing import attention_intensity
from papisim.policies.placement.base import Operator
from papisim.record.steps import DECODING
from papisim.results.schema import Figures


def candidates(run: Run) -> dict[Operator, tuple[str, ...]]:
    """Return the devices that each operator of a run may run on, its home first; operators without kernels are left out.

    A draft source that computes layers of the target model, or a head on them, has the devices of the target's operators.
    """
    roles, drafting = run.machine.roles, run.experiment.drafting
    fc, attention = tuple(roles.fc), roles.attends
    drafts = (drafting.device, *drafting.elsewhere) if isinstance(drafting, DraftModel) else None
    devices = {
        Operator.FC: fc,
        Operator.ATTENTION: attention,
        Operator.EXPERTS: fc,
        Operator.DRAFT_FC: drafts or fc,
        Operator.DRAFT_ATTENTION: drafts or attention,
    }
    return {operator: devices[operator] for operator in Operator if operator in run.ledger.visits}


def operator_figures(run: Run) -> Figures:
    """Return the figures on operators, as :class:`papisim.results.schema.RunSummary` has them."""
    return {
        "operators": [
            {
                "operator": operator.value,
                "candidates": list(devices),
                "n_switches": run.ledger.visits[operator].n_switches,
                "on": list(_on_devices(run, operator)),
            }
            for operator, devices in candidates(run).items()
        ],
        "attention_intensity_per_tlp": _attention_intensity(run.trace),
    }


def _attention_intensity(trace: KernelTrace) -> float | None:
    """Return the intensity of attention of one token in flight, the largest of all layers; None without attention."""
    one = decode_lengths(1, 1, 1, 1)
    kernels = [kernel for block in trace.blocks for kernel in block.kernels if kernel.attention is not None]
    return max((attention_intensity(lower_attention(kernel, trace, one)) for kernel in kernels), default=None)


def _on_devices(run: Run, operator: Operator) -> Iterator[Figures]:
    """Yield one row per device that an operator had kernels on, and one for iterations in which several ran it."""
    visits = run.ledger.visits[operator]
    kernels_s = {
        device: time_s for (of, device), time_s in run.ledger.sums(*DECODING).operator_s.items() if of is operator
    }
    iterations, time_s = visits.iterations.total(), sum(visits.time_s.values())
    for device in dict.fromkeys([*kernels_s, *visits.iterations]):
        yield {
            "device": device,
            "iteration_ratio": visits.iterations[device] / iterations,
            "step_time_ratio": visits.time_s[device] / time_s if time_s else None,
            "kernel_time_s": kernels_s.get(device, 0.0),
        }
