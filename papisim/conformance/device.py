"""What every kind of device must do, whatever its numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TypeAlias

import numpy as np

from papisim.config.base import Spec
from papisim.conformance import running
from papisim.conformance.law import Subject, expect, random
from papisim.devices.base import AttentionRun, DevicePart, DevicePool
from papisim.ops.cost import ENERGY_PARTS, Cost
from papisim.ops.kernel import Attention, Elementwise, FcRole, Group, Kernel, KernelClass, KvAppend, Linear

Computing: TypeAlias = Subject[DevicePart, DevicePool]

_COUNT = 6
_EXACT = 1e-12


def attention(
    requests: int, tlp: int, kv: int, *, n_heads: int = 32, n_kv_heads: int = 32, head_dim: int = 128
) -> Attention:
    """Return attention of requests whose caches are equally long."""
    tokens = requests * kv
    return Attention(requests, requests * tlp, tokens, kv, tokens * tlp, n_heads, n_kv_heads, head_dim)


KERNELS: dict[str, Kernel] = {
    "gemv": Linear(FcRole.QKV, 1, 4096, 12288),
    "gemm": Linear(FcRole.FEED_FORWARD_UP, 64, 8192, 22016),
    "odd": Linear(FcRole.PROJECTION, 7, 1000, 4099),
    "one": Linear(FcRole.ROUTER, 1, 1, 1),
    "experts": Linear(FcRole.FEED_FORWARD_UP, 30, 2048, 1536, groups=(Group(2, 9), Group(4, 3))),
    "lm_head": Linear(FcRole.LM_HEAD, 16, 4096, 32000),
    "attention": attention(16, 1, 700),
    "speculative": attention(4, 8, 129),
    "grouped": attention(16, 2, 700, n_heads=64, n_kv_heads=8),
    "prefill": attention(8, 100, 100),
    "one_token": attention(1, 1, 1),
    "append": KvAppend(1 << 20),
    "append_one": KvAppend(1),
    **{
        str(kernel_class): Elementwise(kernel_class, 1 << 16, 1 << 18, 1 << 17)
        for kernel_class in KernelClass
        if kernel_class not in (KernelClass.FC, KernelClass.ATTENTION, KernelClass.KV_APPEND)
    },
}


def more_of(kernel: Kernel, count: int) -> Iterator[Kernel]:
    """Yield kernels that are the same but for more of one thing.

    On several devices larger k and n are left out: another shape is cut in another way, which may be more even. The
    cut depends on the shape alone, since weights never move.
    """
    match kernel:
        case Linear(groups=groups) if groups:
            yield replace(
                kernel,
                m=kernel.m + groups[0].rows,
                groups=(groups[0]._replace(products=groups[0].products + 1), *groups[1:]),
            )
            yield replace(
                kernel, m=2 * kernel.m, groups=tuple(Group(2 * rows, products) for rows, products in groups)
            )
            return
        case Linear():
            sizes: tuple[str, ...] = ("m", "k", "n") if count == 1 else ("m",)
        case Attention(n_heads=heads, n_kv_heads=kv_heads):
            requests, kv, pairs = 2 * kernel.n_requests, 2 * kernel.kv_tokens, 2 * kernel.pairs
            queries = 2 * kernel.query_tokens
            yield replace(kernel, query_tokens=queries, pairs=pairs)
            yield replace(kernel, kv_tokens=kv, longest_kv=2 * kernel.longest_kv, pairs=pairs)
            yield replace(kernel, n_heads=2 * heads, n_kv_heads=2 * kv_heads)
            yield replace(kernel, n_requests=requests, query_tokens=queries, kv_tokens=kv, pairs=pairs)
            return
        case KvAppend():
            sizes = ("new_bytes",)
        case Elementwise():
            sizes = ("flop", "read_bytes", "write_bytes")
    for size in sizes:
        for more in (getattr(kernel, size) + 1, 2 * getattr(kernel, size)):
            yield replace(kernel, **{size: more})


def physics(part: DevicePart) -> DevicePart:
    """Leave out what was measured: silicon is slower for some smaller matrices than for larger ones, physics is not."""
    return part.model_copy(update={"mode": "model"}) if "mode" in type(part).model_fields else part


def sped_up(value: object, name: str, factor: float) -> object:
    """Multiply every rate of a part and divide every time; powers go with rates, since energies stay."""
    if isinstance(value, Spec):
        fields = {inner: sped_up(getattr(value, inner), inner, factor) for inner in type(value).model_fields}
        return value.model_copy(update=fields)
    if isinstance(value, dict):
        return {key: sped_up(inner, str(key), factor) for key, inner in value.items()}
    if isinstance(value, (int, float)) and name.endswith(("_per_s", "_hz", "_w")):
        return value * factor
    return value / factor if isinstance(value, (int, float)) and name.endswith("_s") else value


def _pool(subject: Computing, count: int = _COUNT, part: DevicePart | None = None) -> DevicePool:
    part = part or physics(subject.options)
    return subject.family.make(subject.kind, subject.label, part, count)


def work_takes_time_and_energy(subject: Computing) -> None:
    """Each kernel takes time and energy, and says what binds it; energy is the sum of its parts, none of them static."""
    pool = _pool(subject)
    for name, kernel in KERNELS.items():
        cost = pool.price(kernel)
        expect(cost.time_s > 0, f"{name} takes {cost.time_s} s")
        expect(bool(cost.bound), f"{name} is bound by {cost.bound!r}")
        negative = [part for part, joules in cost.energy.items() if joules < 0]
        expect(not negative, f"{name} has negative {negative}")
        expect(cost.energy.total_j > 0, f"{name} takes {cost.energy.total_j} J")
        expect(
            cost.energy.static_j == 0,
            f"{name} has {cost.energy.static_j} J of static energy, which accrues with time",
        )


def a_price_is_a_pure_function(subject: Computing) -> None:
    """A kernel costs the same whatever was priced before, on this pool and on another one like it."""
    pool, other = _pool(subject), _pool(subject)
    first = {name: pool.price(kernel) for name, kernel in KERNELS.items()}
    for name, kernel in reversed(KERNELS.items()):
        expect(pool.price(kernel) == first[name] == other.price(kernel), f"{name} cost {first[name]} at first")


def more_work_is_never_faster(subject: Computing) -> None:
    """More rows, tokens, heads or bytes never take less time."""
    for count in (1, _COUNT):
        pool = _pool(subject, count)
        for name, kernel in KERNELS.items():
            time_s = pool.price(kernel).time_s
            for more in more_of(kernel, count):
                longer_s = pool.price(more).time_s
                expect(longer_s >= time_s * (1 - _EXACT), f"{name} takes {time_s} s, {more} takes {longer_s} s")


def more_work_never_takes_less_energy(subject: Computing) -> None:
    """More work of attention, appending and element-wise kernels never takes less energy.

    FC aside: the fastest way to run a larger matrix product may open fewer rows.
    """
    pool = _pool(subject)
    for name, kernel in KERNELS.items():
        if isinstance(kernel, Linear):
            continue
        energy_j = pool.price(kernel).energy.total_j
        for more in more_of(kernel, _COUNT):
            larger_j = pool.price(more).energy.total_j
            expect(larger_j >= energy_j * (1 - _EXACT), f"{name} takes {energy_j} J, {more} takes {larger_j} J")


def more_devices_are_never_slower(subject: Computing) -> None:
    """A kernel on more devices never takes more time."""
    counts = (1, 2, 4, 8, 16, 32, 64)
    pools = [_pool(subject, count) for count in counts]
    for name, kernel in KERNELS.items():
        times_s = [pool.price(kernel).time_s for pool in pools]
        expect(times_s == sorted(times_s, reverse=True), f"{name} on {counts} devices takes {times_s} s")


def time_scales_with_every_rate(subject: Computing) -> None:
    """Twice every rate and half every time of the part is half the time: no constant is hidden in the code."""
    part = physics(subject.options)
    fast = sped_up(part, "", 2.0)
    assert isinstance(fast, DevicePart)
    pool, faster = _pool(subject), _pool(subject, part=fast)
    for name, kernel in KERNELS.items():
        time_s, half_s = pool.price(kernel).time_s, faster.price(kernel).time_s
        expect(abs(half_s / time_s - 0.5) < 1e-9, f"{name} takes {time_s} s, with twice every rate {half_s} s")


def wider_matrices_are_never_faster(subject: Computing) -> None:
    """Twice the rows, inputs or outputs of a decoder's FC kernel never take less time; widths are multiples of 128."""
    rng = random(subject)
    for _ in range(60):
        m, k, n, count = (
            rng.randint(1, 128),
            128 * rng.randint(16, 96),
            128 * rng.randint(16, 96),
            rng.choice((1, 6, 30)),
        )
        pool = _pool(subject, count)
        time_s = pool.price(Linear(FcRole.QKV, m, k, n)).time_s
        for sizes in ((2 * m, k, n), (m, 2 * k, n), *([(m, k, 2 * n)] if n % count == 0 else [])):
            longer_s = pool.price(Linear(FcRole.QKV, *sizes)).time_s
            expect(longer_s >= time_s * (1 - _EXACT), f"{(m, k, n)} takes {time_s} s, {sizes} takes {longer_s} s")


def longer_caches_are_never_faster(subject: Computing) -> None:
    """Longer caches and larger batches never take less time."""
    rng, pool = random(subject), _pool(subject)
    for _ in range(60):
        requests, tlp, kv, more = rng.randint(1, 64), rng.randint(1, 8), rng.randint(8, 2000), rng.randint(0, 500)
        time_s = pool.price(attention(requests, tlp, kv)).time_s
        for longer in (attention(requests, tlp, kv + more), attention(requests + more, tlp, kv)):
            longer_s = pool.price(longer).time_s
            expect(
                longer_s >= time_s * (1 - _EXACT), f"{(requests, tlp, kv)} takes {time_s} s, {longer} {longer_s} s"
            )


def prices_of_many_caches_are_the_prices_of_each(subject: Computing) -> None:
    """Prices of attention over many lengths at once are those of each length by itself, in time and in every energy."""
    pool = _pool(subject)
    for requests, tlp, kv, n in ((16, 1, 700, 40), (4, 8, 129, 24), (1, 1, 1, 70), (5, 3, 513, 9)):
        kernel, iterations = attention(requests, tlp, kv), np.arange(n, dtype=np.int64)
        lengths = kv + tlp * iterations
        each = [pool.price(attention(requests, tlp, int(length))) for length in lengths]
        _same(pool.price_growing(kernel, n), each, f"{kernel}, growing")
        order = lengths[::-1].copy()
        _same(pool.price_caches(kernel, requests * order, order), each[::-1], f"{kernel}, many caches")


def capacity_and_static_power_grow_with_the_count(subject: Computing) -> None:
    """Memory, static power and peak rates of six devices are six times those of one."""
    one, six = _pool(subject, 1), _pool(subject, _COUNT)
    for name in ("capacity_bytes", "static_w", "peak_flop_per_s", "bandwidth_bytes_per_s"):
        single, several = getattr(one, name), getattr(six, name)
        expect(
            single >= 0 and abs(several - _COUNT * single) <= 1e-9 * several, f"{name}: {single} of 1, {several} of 6"
        )
    expect(one.capacity_bytes > 0, "it has no memory")


def runs_on_it_are_exact(subject: Computing) -> None:
    """A machine of such devices alone serves every request, and running iterations at once changes no figure."""
    options = {"hw": "gpu_only", "set": {"devices.gpu.part": subject.options.model_dump()}}
    running.every_request_gets_all_its_tokens(subject, **options)
    running.fast_runs_are_exact(subject, **options)


def _same(found: AttentionRun, wanted: list[Cost], what: str) -> None:
    times_s = np.array([cost.time_s for cost in wanted])
    expect(np.allclose(found.time_s, times_s, rtol=1e-9), f"{what}: {found.time_s[:3]} s, one by one {times_s[:3]} s")
    for row, part in zip(found.energy_j, ENERGY_PARTS, strict=True):
        joules = np.array([getattr(cost.energy, part) for cost in wanted])
        expect(np.allclose(row, joules, rtol=1e-9, atol=1e-18), f"{what}: {part} {row[:3]}, one by one {joules[:3]}")


LAWS = (
    work_takes_time_and_energy,
    a_price_is_a_pure_function,
    more_work_is_never_faster,
    more_work_never_takes_less_energy,
    more_devices_are_never_slower,
    time_scales_with_every_rate,
    wider_matrices_are_never_faster,
    longer_caches_are_never_faster,
    prices_of_many_caches_are_the_prices_of_each,
    capacity_and_static_power_grow_with_the_count,
    runs_on_it_are_exact,
)
