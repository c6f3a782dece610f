"""A separate, smaller draft model with its own captured trace, on a device of the machine.

With ``elsewhere`` its FC kernels and its attention are operators that the machine's placement policy moves before every draft step,
among devices that share the memory of ``device``.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from papisim import catalog
from papisim.arrays import Ints
from papisim.catalog import Shelf
from papisim.config.base import Width
from papisim.config.system import PrefillRoles
from papisim.engine.drafting.base import DraftContext, SerialDrafting, SerialOptions, as_drafting
from papisim.errors import InputError, did_you_mean
from papisim.kinds import Example
from papisim.ops.lower import decode_shape, ragged_lengths, weight_bytes
from papisim.ops.trace import read_trace
from papisim.plan.machine import Machine
from papisim.plan.memory import Demand, spread_bytes
from papisim.plan.phase import Phase
from papisim.plan.sharing import refuse_shares
from papisim.plan.step import StepPlanner
from papisim.policies.placement.pinned import Options as PinnedOptions
from papisim.policies.placement.pinned import Placement as Pinned


class Options(SerialOptions):
    """Which model drafts, and where.

    Attributes:
        trace: kernel trace of the draft model: a shipped name or a path.
        device: device of the machine that runs it and holds its weights and KV cache.
        count: how many of the device's units it is spread over; all, if None.
        elsewhere: further devices that can run its FC kernels and its attention; they share the memory of ``device``, and the
            placement policy of the machine chooses.
    """

    kind: Literal["model"]
    trace: str
    device: str
    count: Width | None = None
    elsewhere: list[str] = Field(default_factory=list)


EXAMPLE = Example({"trace": "llama-68m", "device": "gpu", "count": 1})


class Source(SerialDrafting):
    """Runs one step of the draft model for each token of the longest draft."""

    def __init__(self, options: Options, context: DraftContext) -> None:
        super().__init__(context)
        trace = read_trace(catalog.find(Shelf.TRACE, options.trace).path)
        refuse_shares(context.machine, "a draft model")
        machine = machine_of(options, context.machine)
        self.resources = machine.roles.resources
        pinned = Pinned(PinnedOptions(kind="pinned", device=options.device))
        placement = context.placement if options.elsewhere and context.placement is not None else pinned
        self._planner = StepPlanner(
            trace, machine, placement, seed=context.seed, engine=context.engine, drafts=bool(options.elsewhere)
        )
        pool = machine.pools[options.device]
        kv_token_bytes = spread_bytes(trace, range(trace.model.n_layers), pool)
        self.demands = (Demand(options.device, weight_bytes(trace), kv_token_bytes, pool.count),)

    def step(self, cached: Ints, rows: Ints, *, first: bool, fold: bool = True) -> list[Phase]:
        """Return the phases of one step of the draft model."""
        del first
        shape = decode_shape(len(rows), int(rows.sum()))
        return as_drafting(self._planner.decode(shape, ragged_lengths(cached, rows), fold=fold))


def machine_of(options: Options, machine: Machine) -> Machine:
    """Return the part of the machine that the draft model sees: some units of one device that do everything."""
    pool = machine.pools.get(options.device)
    if pool is None:
        hint = did_you_mean(options.device, machine.pools)
        raise InputError(f"drafting.device: no device '{options.device}' in {machine.name}; {hint}")
    if options.count is not None and options.count > pool.count:
        raise InputError(
            f"drafting.count: found {options.count}, expected at most {pool.count}, all there are of '{options.device}'"
        )
    _check_elsewhere(options, machine)
    count = options.count or pool.count
    device, ranks = options.device, machine.roles.tensor_parallel.ranks
    roles = machine.roles.model_copy(
        update={
            "fc": [device, *options.elsewhere],
            "attention": device,
            "attention_elsewhere": options.elsewhere,
            "elementwise": device,
            "prefill": PrefillRoles(fc=device, attention=device),
            "weights": device,
            "kv": device,
            "attention_link": None,
            "pipeline": None,
            "tensor_parallel": machine.roles.tensor_parallel.model_copy(update={"ranks": min(ranks, count)}),
        }
    )
    pools = {device: type(pool)(device, pool.part, count)} | {name: machine.pools[name] for name in options.elsewhere}
    return Machine(machine.name, pools, machine.links, roles)


def _check_elsewhere(options: Options, machine: Machine) -> None:
    """Refuse devices that the weights and the caches of the draft model are out of reach of."""
    roles, place = machine.roles, "drafting.elsewhere"
    if options.elsewhere and options.count is not None:
        raise InputError(f"{place}: found beside 'count', expected the draft model on all units of its devices")
    shared = {*roles.fc, roles.weights}
    if options.device not in shared:
        shared = {options.device, *(() if roles.attention_link else (roles.kv, *roles.attends))}
    for name in options.elsewhere:
        if name == options.device or name not in shared:
            others = sorted(shared - {options.device})
            raise InputError(
                f"{place}: '{name}' is no other device on the memory of '{options.device}', found {others}"
            )
