"""The published figures of PIM devices in ``papisim/validation/published.yaml``, field by field."""

from __future__ import annotations

from pathlib import Path

from papisim.config.base import Spec, parse
from papisim.config.yaml import check_schema, load_yaml

_FILE = Path(__file__).parent / "published.yaml"


class Figure(Spec):
    """A published figure; ``source`` is the paper and the place in it."""

    source: str


class DramShares(Figure):
    """Share of DRAM in the energy of FC by reuse (PAPI, Figure 7 a, b)."""

    device: str
    dram_share_ratio: dict[int, float]
    tolerance_ratio: float


class PowerLimits(Figure):
    """Devices, by name, whose fed FPUs exceed the power budget, and those within it, at each reuse (PAPI, Figure 7 c)."""

    over_budget: dict[str, list[int]]
    within_budget: dict[str, list[int]]


class MostBanks(Figure):
    """Most banks of a die (PAPI, equation 4)."""

    device: str
    most_banks: int


class ColumnGap(Figure):
    """Cycles between columns of a device with limited power."""

    device: str
    cycles: int


class Gemv(Figure):
    """Cycles of a matrix product of ``m`` rows on ``count`` stacks."""

    device: str
    count: int
    m: int
    k: int
    n: int
    cycles: int
    tolerance_ratio: float


class Crossover(Figure):
    """Pairs (batch, TLP) at which stacks or the GPU run the weights' products faster (PAPI, Figure 4); weights are (k, n)."""

    gpu: str
    stacks: int
    pims: list[str]
    weights: list[tuple[int, int]]
    pim_wins_rows: list[tuple[int, int]]
    gpu_wins_rows: list[tuple[int, int]]


class AttentionShape(Spec):
    """Attention of ``requests``, each with ``tlp`` token-rows and ``kv`` tokens in its KV cache."""

    requests: int
    tlp: int
    heads: int
    head_dim: int
    kv: int


class SpeedUps(Figure):
    """FC and attention on PIM stacks over those of AttAcc (PAPI, Figure 12); weights are (k, n)."""

    count_fc: int
    count_attention: int
    m: int
    weights: list[tuple[int, int]]
    attention: AttentionShape
    fc_faster: float
    attention_slower: float


class Read(Spec):
    """Energy above idle of reading a byte whose wires toggle at a rate: data, and joules on each board that was measured."""

    data: str
    toggle_ratio: float
    energies_j_per_byte: list[float]


class MemoryPower(Figure):
    """Measured power of a GPU's memory: of reads with ``columns`` columns to an activation, and idle (HBM-Power).

    ``capacity_bytes`` is that of all stacks, ``idle_w`` their power on each board.
    """

    device: str
    columns: int
    reads: list[Read]
    capacity_bytes: float
    idle_w: list[float]
    tolerance_ratio: float


class Published(Spec):
    """All figures of the file."""

    description: str
    figure_7: DramShares
    figure_7c: PowerLimits
    equation_4: MostBanks
    power_limited_gap: ColumnGap
    samsung_gemv: Gemv
    figure_4: Crossover
    figure_12: SpeedUps
    memory_power: MemoryPower


def load_published() -> Published:
    """Read the figures.

    Raises:
        InputError, InputErrors: the file is not as this module says.
    """
    document = load_yaml(_FILE)
    check_schema(document, "papisim/published/1")
    return parse(Published, document)
