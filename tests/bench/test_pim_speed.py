"""How much faster PIM kernels are priced than by the oracle and by the golden runs' own simulator."""

import csv
import time

import pytest

from papisim.config.system import load_part
from papisim.devices.pim import Pool
from papisim.devices.pim.scheduler import Channel
from papisim.ops.kernel import Attention, FcRole, Linear

pytestmark = pytest.mark.bench


def attention(requests, kv, tlp=1, heads=64):
    tokens = requests * kv
    return Attention(requests, requests * tlp, tokens, kv, tokens * tlp, heads, heads, 128)


def cpu_s(work):
    start = time.process_time()
    work()
    return time.process_time() - start


@pytest.mark.parametrize(
    "kernel", [Linear(FcRole.QKV, 16, 8192, 8192), attention(16, 512)], ids=["linear", "attention"]
)
def test_the_fast_path_is_at_least_a_hundred_times_faster_than_its_oracle(kernel):
    pool = Pool("attacc", load_part("attacc").part, 4)
    commands, rules = pool.commands(kernel)
    stream = list(commands)
    oracle_s = cpu_s(lambda: Channel(pool.part.timing, rules).run(stream))
    fast_s = cpu_s(lambda: [pool.price(kernel) for _ in range(1_000)]) / 1_000
    print(f"oracle {oracle_s * 1e3:.1f} ms for {len(stream):,} commands, fast path {fast_s * 1e6:.0f} µs")
    assert fast_s < oracle_s / 100


def test_the_price_of_attention_does_not_depend_on_the_cache_length_in_time_taken():
    pool = Pool("attn_pim", load_part("attn_pim").part, 60)
    short, long = attention(8, 100), attention(8, 1_000_000)
    short_s, long_s = (
        min(cpu_s(lambda k=k: [pool.price(k) for _ in range(500)]) for _ in range(3)) for k in (short, long)
    )
    assert long_s < 3 * short_s


@pytest.mark.shared_data
def test_the_released_mapping_against_the_golden_runs_wall_time(data):
    rows = [
        row
        for path in sorted(data("golden").glob("ramulator_hbm3pim_attention*.csv"))
        for row in csv.DictReader(path.open(newline=""))
    ]
    golden_s = sum(float(row["ramulator_wall_s"]) + float(row["tracegen_wall_s"]) for row in rows)
    pool = Pool("attacc", load_part("attacc", ["mapping=attacc_released"]).part, 1)
    kernels = [attention(int(row["nheads_per_hbm"]), int(row["seqlen"]), heads=1) for row in rows]
    fast_s = cpu_s(lambda: [pool.price(kernel) for kernel in kernels])
    physical = Pool("attacc", load_part("attacc").part, 1)
    physical_s = cpu_s(lambda: [physical.price(kernel) for kernel in kernels])
    print(
        f"{len(rows)} golden runs took {golden_s:.0f} s; released {fast_s:.2f} s, physical {physical_s * 1e3:.1f} ms"
    )
    assert fast_s < golden_s / 50
