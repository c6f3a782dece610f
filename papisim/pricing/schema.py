"""What ``papisim price`` prints as JSON, field by field; null is what a device of this kind does not have."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import ConfigDict, Field

from papisim.results.schema import Schema

PRICE_SCHEMA: Final = "papisim/price/1"
STEP_PRICE_SCHEMA: Final = "papisim/step-price/1"
MACHINE_STEP_PRICE_SCHEMA: Final = "papisim/machine-step-price/1"


class KernelEnergy(Schema):
    """Energy of a kernel over all devices by the part that spends it."""

    dram_activation_j: float
    """opening and closing DRAM rows"""
    dram_access_j: float
    """reading and writing columns of open rows"""
    dram_transfer_j: float
    """moving data from the bank to its consumer"""
    pim_compute_j: float
    """FPUs and logic dies of PIM stacks"""
    gpu_compute_j: float
    """arithmetic of GPUs"""
    gpu_memory_j: float
    """on-chip memories of GPUs"""
    link_j: float
    """links"""
    static_j: float
    """idle power while the kernel runs, if the energy model is fitted to a meter that counts it; else 0"""


class KernelPrice(Schema):
    """The price of one kernel, ``papisim price --format json``.

    Sizes that the operation does not take, or that were left to their defaults, are null. A device kind may add keys of its own.
    """

    model_config = ConfigDict(extra="allow")

    schema_: Literal["papisim/price/1"] = Field(default=PRICE_SCHEMA, alias="schema")
    """name and version of this schema"""
    device: str
    """name of the device part"""
    count: int
    """devices that share the kernel"""
    op: str
    """operation: ``attention``, ``linear`` or ``prefill``"""
    heads_per_stack: int | None = None
    """attention: (request, KV head) pairs on each device"""
    kv: int | None = None
    """attention: cached tokens of each pair"""
    tlp: int | None = None
    """attention: query tokens of each request"""
    dhead: int | None = None
    """attention: width of a head"""
    group: int | None = None
    """attention: query heads per KV head"""
    m: int | None = None
    """linear: token-rows"""
    k: int | None = None
    """linear: inputs"""
    n: int | None = None
    """linear: outputs"""
    weight_bits: int | None = None
    """linear: bits of a weight"""
    activation_bits: int | None = None
    """linear: bits of an input"""
    kv_bits: int | None = None
    """attention: bits of a cached element"""
    batch_size: int | None = None
    """attention of a batch and prefill: requests"""
    heads: int | None = None
    """attention of a batch and prefill: query heads"""
    kv_heads: int | None = None
    """attention of a batch and prefill: heads of the cache"""
    tokens: int | None = None
    """prefill: tokens of each prompt"""
    time_s: float
    """duration"""
    bound: str
    """what limits it"""
    energy_j: float
    """energy over all devices"""
    energy: KernelEnergy
    """the same by part"""
    power_w_per_device: float
    """energy over duration and devices"""
    flop: float
    """arithmetic"""
    read_bytes: float
    """bytes read"""
    write_bytes: float
    """bytes written"""
    library: str | None = None
    """GPU: kernel library"""
    source: str | None = None
    """GPU: ``measured table``, ``corrected model`` or ``model``"""
    outside_fit: str | None = None
    """GPU: which size lies outside the range of the fit, or ``no``"""
    energy_model: str | None = None
    """GPU: ``fitted`` to a meter of the board, or ``per_access``; PIM: energy table in use"""
    cycles: int | None = None
    """PIM: cycles, refresh included"""
    cycles_from_idle: int | None = None
    """PIM: cycles when the kernel starts right after a refresh"""
    refreshes_from_idle: int | None = None
    """PIM: refreshes that fall due then"""
    tck_s: float | None = None
    """PIM: cycle time"""
    timing_table: str | None = None
    """PIM: timing table in use"""
    level: str | None = None
    """PIM: level whose units run the kernel"""
    column_gap_cycles: int | None = None
    """PIM: least cycles between column commands, power limit included"""
    power_budget_w: float | None = None
    """PIM: power budget of a stack"""
    mapping: str | None = None
    """PIM: mapping of the data"""
    bank_bytes: float | None = None
    """PIM: bytes that banks hand to their FPUs, over all stacks"""
    data_path_bytes: float | None = None
    """PIM: bytes over the data path, over all stacks"""
    activations: float | None = None
    """PIM: row activations, over all stacks"""
    host_bytes: float | None = None
    """PIM with a host that reads beside kernels: bytes that it reads meanwhile, over all stacks"""
    host_wait_s: float | None = None
    """PIM with a host that reads beside kernels: the longest time for which it is not served"""


class ClassPrice(Schema):
    """The kernels of one class in one decode iteration."""

    kernel_class: str
    """class of the kernels"""
    n_kernels: int
    """kernels launched"""
    time_s: float
    """their time"""
    energy_j: float
    """their energy above idle"""


class StepPrice(Schema):
    """The price of one decode iteration, ``papisim price --op step --format json``."""

    schema_: Literal["papisim/step-price/1"] = Field(default=STEP_PRICE_SCHEMA, alias="schema")
    """name and version of this schema"""
    device: str
    """name of the device part"""
    count: int
    """devices that share the iteration"""
    trace: str
    """name of the model, or the file it was read from"""
    engine: str
    """name of the engine profile"""
    time_s: float
    """duration: time of the devices, and of the host as far as they do not hide it"""
    devices_s: float
    """time of all kernels and of the gaps between them"""
    host_s: float
    """time of the engine's host"""
    energy_j: float
    """energy of all kernels and idle power over the iteration"""
    n_kernels: int
    """kernels launched"""
    energy_model: str
    """``fitted`` to a meter of the board, or ``per_access``"""
    outside_fit: list[str]
    """kernels outside the range of the fit, which are priced by physics alone"""
    engine_notes: list[str]
    """kernels that the engine merges where this model's cannot be, and why"""
    classes: list[ClassPrice]
    """kernels by class, longest first"""


class PartTime(Schema):
    """The time of one part of a decode iteration on a machine."""

    part: str
    """``fc``, ``attention``, ``small``, ``communication``, ``clock`` (what a power limit adds to kernels) or ``host``"""
    time_s: float
    """its seconds"""


class MachineStepPrice(Schema):
    """The price of one decode iteration on a machine, ``papisim price --op step --format json`` where ``--hw`` is one."""

    schema_: Literal["papisim/machine-step-price/1"] = Field(default=MACHINE_STEP_PRICE_SCHEMA, alias="schema")
    """name and version of this schema"""
    machine: str
    """name of the machine"""
    trace: str
    """name of the model, or the file it was read from"""
    engine: str
    """name of the engine profile"""
    time_s: float
    """duration, from its start to the start of the next"""
    energy_j: float
    """energy of kernels and messages, and idle power over the iteration"""
    n_launches: int
    """kernels and messages of all devices"""
    parts: list[PartTime]
    """seconds by part; devices may overlap, and hide the host"""
    engine_notes: list[str]
    """kernels that the engine merges where this model's cannot be, and why"""
