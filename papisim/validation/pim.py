"""Accuracy of the PIM model: against cycle-level golden counts, and against published figures."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from papisim import units
from papisim.config.system import load_part
from papisim.devices.base import DevicePool
from papisim.devices.pim import Pool
from papisim.devices.pim.energy import column_energy, fed_w, read_j_per_byte
from papisim.errors import InputError
from papisim.ops.kernel import Attention, FcRole, Linear
from papisim.pricing.kernel import pool_of
from papisim.validation.published import (
    ColumnGap,
    Crossover,
    DramShares,
    Gemv,
    MemoryPower,
    MostBanks,
    PowerLimits,
    SpeedUps,
    load_published,
)
from papisim.validation.schema import GoldenErrors, PublishedFigure

#: limits of the relative error of golden counts: of each point, and on average
POINT_LIMIT, MEAN_LIMIT = 0.02, 0.005


class Golden(NamedTuple):
    """One cycle-level run of AttAcc's simulator, and what papisim predicts for it."""

    mapping: str
    power_limited: bool
    heads: int
    kv: int
    head_dim: int
    golden_cycles: int
    cycles: int

    @property
    def error(self) -> float:
        """Relative error of the prediction."""
        return self.cycles / self.golden_cycles - 1


def golden_points(folder: Path, mapping: str) -> list[Golden]:
    """Predict every row of the golden tables (``ramulator_hbm3pim_attention*.csv``) in a folder.

    Raises:
        InputError: no such table, or a column that is missing.
    """
    files = sorted(folder.glob("**/ramulator_hbm3pim_attention*.csv"))
    if not files:
        raise InputError("holds no ramulator_hbm3pim_attention*.csv", file=str(folder))
    pools = {limited: _pool("attacc", 1, mapping, limited) for limited in (True, False)}
    return [_predict(pools, row, mapping, str(path)) for path in files for row in _rows(path)]


def _rows(path: Path) -> Iterator[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        yield from csv.DictReader(file)


def _pool(device: str, count: int, mapping: str = "physical", power_limited: bool = True) -> Pool:
    overrides = [f"mapping={mapping}", f"power_limited={str(power_limited).lower()}", "refresh=from_idle"]
    return Pool(device, load_part(device, overrides).part, count)


def _predict(pools: dict[bool, Pool], row: dict[str, str], mapping: str, file: str) -> Golden:
    try:
        heads, kv, head_dim = int(row["nheads_per_hbm"]), int(row["seqlen"]), int(row["dhead"])
        limited, golden = row["power_constraint"] == "1", int(row["cycles"])
    except KeyError as error:
        raise InputError(f"no column {error}", file=file, line=1) from None
    kernel = Attention(heads, heads, heads * kv, kv, heads * kv, 1, 1, head_dim)
    return Golden(mapping, limited, heads, kv, head_dim, golden, pools[limited].priced(kernel).cycles)


def summary(points: Iterable[Golden]) -> list[GoldenErrors]:
    """Return mean and largest absolute error of each mapping and power setting."""
    groups: dict[tuple[str, bool], list[Golden]] = {}
    for point in points:
        groups.setdefault((point.mapping, point.power_limited), []).append(point)
    return [_errors_of(mapping, limited, group) for (mapping, limited), group in groups.items()]


def _errors_of(mapping: str, power_limited: bool, group: Sequence[Golden]) -> GoldenErrors:
    worst = max(group, key=lambda point: abs(point.error))
    return GoldenErrors(
        mapping=mapping,
        power_limited=power_limited,
        points=len(group),
        mean_abs_error=fmean(abs(point.error) for point in group),
        max_abs_error=abs(worst.error),
        worst=f"{worst.heads} heads, KV {worst.kv}: {worst.cycles:,} for {worst.golden_cycles:,}",
    )


def meets_limits(row: GoldenErrors) -> bool:
    """Tell whether errors are within the limits that the released mapping promises."""
    return row.max_abs_error <= POINT_LIMIT and row.mean_abs_error <= MEAN_LIMIT


def published() -> list[PublishedFigure]:
    """Compare the shipped PIM devices with the figures in ``papisim/validation/published.yaml``."""
    figures = load_published()
    return [
        *_figure_7(figures.figure_7),
        *_figure_7c(figures.figure_7c),
        _equation_4(figures.equation_4),
        _gap(figures.power_limited_gap),
        _samsung(figures.samsung_gemv),
        *_figure_4(figures.figure_4),
        *_figure_12(figures.figure_12),
        *_memory_power(figures.memory_power),
    ]


def _figure(
    what: str, published: str, predicted: str, source: str, *, error: float | None = None, within: bool | None = None
) -> PublishedFigure:
    return PublishedFigure(
        what=what, published=published, predicted=predicted, error=error, within=within, source=source
    )


def dram_share(pool: Pool, reuse: int) -> float:
    """Return the share of activation and column access in the energy of a column that is used ``reuse`` times."""
    part = pool.part
    energy = column_energy(reuse, part.energy, part.organisation, part.fpu)
    return (energy.dram_activation_j + energy.dram_access_j) / energy.total_j


def _figure_7(figure: DramShares) -> Iterator[PublishedFigure]:
    pool = _pool(figure.device, 1)
    for reuse, share in figure.dram_share_ratio.items():
        predicted = dram_share(pool, reuse)
        error = predicted - share
        what, within = f"DRAM share of FC energy at reuse {reuse}", abs(error) <= figure.tolerance_ratio
        yield _figure(what, f"{share:.1%}", f"{predicted:.1%}", figure.source, error=error, within=within)


def _figure_7c(figure: PowerLimits) -> Iterator[PublishedFigure]:
    for devices, above in ((figure.over_budget, True), (figure.within_budget, False)):
        for device, reuses in devices.items():
            part = _pool(device, 1).part
            for reuse in reuses:
                watts = fed_w(reuse, part.energy, part.organisation, part.fpu)
                limit = f"{'over' if above else 'within'} {part.power.budget_w:g} W"
                within = (watts > part.power.budget_w) is above
                what = f"{part.fpu.name} with its FPUs fed, reuse {reuse}"
                yield _figure(what, limit, f"{watts:.1f} W", figure.source, within=within)


def _equation_4(figure: MostBanks) -> PublishedFigure:
    part = _pool(figure.device, 1).part
    assert part.area is not None
    banks = part.area.most_banks(part.fpu.fpus / part.fpu.per_banks)
    within = banks == figure.most_banks
    built = part.organisation.banks // part.area.dies
    what = f"most banks per die with {part.fpu.name} ({built} built)"
    return _figure(what, str(figure.most_banks), str(banks), figure.source, within=within)


def _gap(figure: ColumnGap) -> PublishedFigure:
    gap = _pool(figure.device, 1).column_gap(1)
    what, within = "column gap of 1P1B from its power budget", gap == figure.cycles
    return _figure(what, f"{figure.cycles} tCK", f"{gap} tCK", figure.source, within=within)


def _samsung(figure: Gemv) -> PublishedFigure:
    pool = _pool(figure.device, figure.count)
    cycles = pool.priced(Linear(FcRole.QKV, figure.m, figure.k, figure.n)).cycles
    error = cycles / figure.cycles - 1
    within = abs(error) <= figure.tolerance_ratio
    what = f"HBM-PIM GEMV {figure.k} × {figure.n}"
    return _figure(what, f"{figure.cycles:,} cycles", f"{cycles:,} cycles", figure.source, error=error, within=within)


def _fc_s(pool: DevicePool, rows: int, weights: list[tuple[int, int]]) -> float:
    return float(sum(pool.price(Linear(FcRole.QKV, rows, k, n)).time_s for k, n in weights))


def _figure_4(figure: Crossover) -> Iterator[PublishedFigure]:
    gpu = pool_of(load_part(figure.gpu), 1)
    for points, pim_wins in ((figure.pim_wins_rows, True), (figure.gpu_wins_rows, False)):
        for batch, tlp in points:
            on_gpu = _fc_s(gpu, batch * tlp, figure.weights)
            for name in figure.pims:
                pool = Pool(name, load_part(name).part, figure.stacks)
                ratio = _fc_s(pool, batch * tlp, figure.weights) / on_gpu
                what = f"FC on {name} over {figure.gpu}, batch {batch}, TLP {tlp}"
                limit = "below 1" if pim_wins else "above 1"
                yield _figure(what, limit, f"{ratio:.2f}", figure.source, within=(ratio < 1) is pim_wins)


def _figure_12(figure: SpeedUps) -> Iterator[PublishedFigure]:
    pools = {name: Pool(name, load_part(name).part, figure.count_fc) for name in ("attacc", "fc_pim")}
    times = {name: _fc_s(pool, figure.m, figure.weights) for name, pool in pools.items()}
    faster = times["attacc"] / times["fc_pim"]
    yield _shown("FC on FC-PIM over AttAcc", figure.fc_faster, faster, figure.source)
    shape = figure.attention
    requests, tlp, kv = shape.requests, shape.tlp, shape.kv
    kernel = Attention(
        requests,
        requests * tlp,
        requests * kv,
        kv,
        requests * tlp * kv,
        shape.heads,
        shape.heads,
        shape.head_dim,
    )
    slower = _attention_s("attn_pim", kernel, figure) / _attention_s("attacc", kernel, figure)
    yield _shown("attention on Attn-PIM over AttAcc, slower by", figure.attention_slower, slower, figure.source)


def _memory_power(figure: MemoryPower) -> Iterator[PublishedFigure]:
    for read in figure.reads:
        part = load_part(figure.device, [f"energy.toggle_ratio={read.toggle_ratio}"]).part
        predicted, measured = (
            read_j_per_byte(part.energy, part.organisation, figure.columns),
            fmean(read.energies_j_per_byte),
        )
        error = predicted / measured - 1
        what, within = f"HBM3E read above idle, {read.data}", abs(error) <= figure.tolerance_ratio
        shown, found = (units.format(each / 8, "j") + "/b" for each in (measured, predicted))
        yield _figure(what, shown, found, figure.source, error=error, within=within)
    part = load_part(figure.device).part
    least, most = (bound(figure.idle_w) / figure.capacity_bytes for bound in (min, max))
    idle = part.static_w / part.capacity_bytes
    shown = " to ".join(units.format(each, "w_per_byte", 3) for each in (least, most))
    found = units.format(idle, "w_per_byte", 3)
    yield _figure("idle power of HBM3E", shown, found, figure.source, within=least <= idle <= most)


def _attention_s(name: str, kernel: Attention, figure: SpeedUps) -> float:
    return Pool(name, load_part(name).part, figure.count_attention).price(kernel).time_s


def _shown(what: str, published_ratio: float, ratio: float, source: str) -> PublishedFigure:
    return _figure(what, f"{published_ratio:g}×", f"{ratio:.2f}×", source, error=ratio / published_ratio - 1)
