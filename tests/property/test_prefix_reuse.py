"""Runs with a prefix cache: what is reused is not computed, and nothing else changes."""

import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from papisim.config.experiment import RunOptions, load_experiment
from papisim.engine.build import build_workload
from papisim.engine.run import Run, simulate
from papisim.errors import InputError, NotModelled
from papisim.ops.lower import kv_bytes_per_token
from papisim.record.steps import StepKind, StepRow
from papisim.results.metrics import summarise
from papisim.workloads.base import ClosedLoop, Request
from papisim.workloads.content import Content, Span, repeated_blocks

Serve = Callable[..., Run]
Differences = Callable[[Any, Any], list[str]]
ON = "kv.prefix_cache.kind=block"


class Asked(list[Request]):
    """Requests in a list, as a workload."""

    def __iter__(self) -> Iterator[Request]:
        return super().__iter__()


def asked(n: int, gap_s: float, seed: int = 0) -> tuple[Request, ...]:
    """Return requests with one of three system prompts, and a text of their own."""
    rng = random.Random(seed)
    requests = []
    for number in range(n):
        content: Content = (Span(f"system{rng.randrange(3)}", 100), Span(("user", number), rng.randint(1, 60)))
        requests.append(
            Request(
                number,
                number * gap_s,
                sum(s.tokens for s in content),
                rng.randint(1, 30),
                content,
                ("answer", number),
            )
        )
    return tuple(requests)


def small(run: Run, n_pages: int) -> str:
    device = run.machine.pools["gpu"]
    page = 16 * kv_bytes_per_token(run.trace)
    weights = run.trace.model.n_parameters * 2
    return f"kv.utilisation_ratio={(weights + (n_pages + 0.5) * page) / device.capacity_bytes!r}"


def figures(run: Run) -> dict[str, Any]:
    return {name: value for name, value in summarise(run).items() if name not in ("overrides", "kv")}


def test_requests_that_say_nothing_are_served_as_without_a_cache(serve: Serve, differences: Differences):
    requests = [(0.01 * i, 50 + 37 * (i % 11), 5 + 13 * (i % 7)) for i in range(40)]
    off, on = (figures(serve(requests, set=options)) for options in ([], [ON]))
    reuse = on.pop("prefix_reuse")
    assert off.pop("prefix_reuse") is None
    assert not differences(off, on)
    assert (reuse["reused_tokens"], reuse["prompt_tokens"]) == (0, sum(request[1] for request in requests))


@pytest.mark.parametrize("batching", ["continuous", "chunked_prefill", "prefill_priority", "dynamic", "static"])
def test_what_is_computed_and_what_is_reused_make_the_prompts(serve: Serve, batching: str):
    requests = asked(60, 0.02)
    run = serve(requests, batching=batching, batch=6, set=[ON])
    reuse = run.ledger.reuse
    assert reuse is not None
    assert run.ledger.n_preemptions == 0
    computed = sum(kind.prompt_tokens for kind in run.ledger.totals.values())
    assert reuse.reused_tokens > 0
    assert computed + reuse.reused_tokens == reuse.prompt_tokens == sum(request.input_tokens for request in requests)
    assert reuse.reused_tokens == 16 * reuse.reused_blocks.total()
    assert run.ledger.peak_kv_bytes <= run.ledger.kv_capacity_bytes


def test_one_at_a_time_every_block_that_was_there_before_is_reused(serve: Serve):
    requests = asked(40, 100.0)
    reuse = serve(requests, set=[ON]).ledger.reuse
    assert reuse is not None
    repeated = sum(blocks for blocks, _ in repeated_blocks((request.content for request in requests), 16))
    assert reuse.reused_blocks.total() == repeated == 6 * (40 - 3), (
        "six full blocks of 100 tokens, but for the first of each"
    )


def test_a_hit_saves_the_time_of_its_rows_and_the_rest_attends_to_all(serve: Serve):
    """The second prompt computes 28 rows over 100 cached tokens, of which it reuses 96."""
    content = (Span("a", 100), Span("b", 24))
    requests = tuple(Request(number, number * 10.0, 124, 2, content) for number in range(2))
    first, second = (step for step in serve(requests, set=[ON]).ledger.steps if step.kind is StepKind.PREFILL)
    assert (first.prompt_tokens, second.prompt_tokens) == (124, 124 - 112)
    off = [step for step in serve(requests).ledger.steps if step.kind is StepKind.PREFILL]
    assert off[1].time_s == off[0].time_s == pytest.approx(first.time_s)
    assert second.time_s < first.time_s
    chunked = serve(tuple(requests[:1]), batching="chunked_prefill", set=["batching.chunk_tokens=112"]).ledger.steps
    assert chunked[1].prompt_tokens == 12
    assert second.time_s == pytest.approx(chunked[1].time_s, rel=1e-12), "priced as the rest of a prompt in chunks"
    assert second.energy.total_j == pytest.approx(chunked[1].energy.total_j, rel=1e-12)


@pytest.mark.parametrize("kv", ["recompute", "swap", "refuse"])
@pytest.mark.parametrize("tlp", [1, 3])
def test_fast_forward_changes_nothing_under_pressure(serve: Serve, differences: Differences, kv: str, tlp: int):
    tight = small(serve([(0.0, 1, 1)]), 24)
    swap = ["kv.swap_link=nvlink"] if kv == "swap" else []
    requests = asked(60, 0.01)
    sets = [ON, tight, f"kv.on_exhaustion={kv}", *swap]
    slow, fast = (serve(requests, tlp=tlp, fast_forward=on, set=sets) for on in (False, True))
    assert not differences(figures(slow), figures(fast))
    reuse = fast.ledger.reuse
    assert reuse is not None
    assert reuse.evicted_blocks[0] > 0
    assert fast.ledger.n_preemptions > 0 or kv == "refuse"
    assert fast.ledger.peak_kv_bytes <= fast.ledger.kv_capacity_bytes
    if kv != "refuse":
        assert all(row.emitted_tokens == row.output_tokens for row in fast.ledger.requests)


def test_a_preempted_request_finds_what_it_had_computed(serve: Serve):
    """Recomputation after a preemption costs fewer tokens with the cache on."""
    tight = small(serve([(0.0, 1, 1)]), 40)
    requests = [(0.01 * i, 100, 60) for i in range(12)]
    off, on = (serve(requests, set=[tight, *cache]) for cache in ([], [ON]))
    assert off.ledger.n_preemptions > 0
    assert on.ledger.n_preemptions > 0
    tokens = [sum(kind.prompt_tokens for kind in run.ledger.totals.values()) for run in (off, on)]
    assert tokens[1] < tokens[0]


def test_prefill_machines_reuse_and_decoding_ones_receive_whole_caches(serve: Serve):
    requests = asked(30, 0.05)
    disaggregated = {
        "kind": "disaggregated",
        "link": "nvlink",
        "max_batch": 8,
        "prefill_tokens": 512,
        "prefill_machines": 1,
        "decode_machines": 1,
    }
    run, off = (serve(requests, batching=disaggregated, batch=None, set=options) for options in ([ON], []))
    assert run.ledger.reuse is not None
    computed = sum(kind.prompt_tokens for kind in run.ledger.totals.values())
    assert 0 < run.ledger.reuse.reused_tokens == sum(request.input_tokens for request in requests) - computed
    assert run.ledger.between.time_s == pytest.approx(off.ledger.between.time_s)


SESSIONS = {
    "kind": "sessions",
    "n_requests": 60,
    "rate_per_s": 4,
    "mean_turns": 4,
    "think_time": {"mean_s": 0.5},
    "lengths": {"kind": "uniform", "input_tokens": 80, "output_tokens": 30, "min_ratio": 0.5},
    "system_prompts": {"number": 4, "tokens": 96},
}


def sessions(*sets: str, **options: object) -> Run:
    experiment = load_experiment(
        RunOptions(
            hw="gpu_only",
            trace="llama7b",
            workload=SESSIONS,
            batching="chunked_prefill",
            batch=32,
            set=[*sets],
            **options,
        )  # type: ignore[arg-type]
    )
    return simulate(experiment)


@pytest.mark.parametrize("kind", ["block", "radix"])
def test_turns_of_a_session_reuse_all_but_what_is_new(kind: str):
    """With blocks of one token a turn computes its new tokens and the last one of the answer before, which was never cached."""
    page = 1 if kind == "radix" else 16
    run = sessions(f"kv.prefix_cache.kind={kind}", f"kv.page_tokens={page}")
    reuse = run.ledger.reuse
    assert reuse is not None
    computed = sum(each.prompt_tokens for each in run.ledger.totals.values())
    assert computed + reuse.reused_tokens == reuse.prompt_tokens
    source = build_workload(run.experiment)
    assert isinstance(source, ClosedLoop)
    follow, turns = [], list(source)
    firsts = len(turns)
    for turn in turns:
        after = source.follow(turn, 0.0)
        if after is not None:
            turns.append(after)
            follow.append((after.input_tokens - after.content[-1].tokens - 1) // page * page)
    least, most = sum(follow), sum(follow) + (firsts - 4) * 96
    assert least < reuse.reused_tokens <= most


def test_a_router_that_knows_prefixes_reuses_more():
    shares = {}
    for router in ("round_robin", "prefix_aware"):
        run = sessions(ON, replicas=3, router=router)
        assert run.ledger.reuse is not None
        assert {row.outcome.value for row in run.ledger.requests} == {"served"}
        shares[router] = run.ledger.reuse.reused_tokens
    assert shares["prefix_aware"] > shares["round_robin"]


def tiers(*fields: str) -> str:
    return f"kv.tiers=[{', '.join('{' + each + '}' for each in fields)}]"


def on_tiers(serve: Serve, requests: object, pages: int, *sets: str, **options: object) -> Run:
    tight = small(serve([(0.0, 1, 1)], "h100_tiers"), pages)
    return serve(requests, "h100_tiers", set=[ON, tight, *sets], **options)


def prefill_of(run: Run, number: int) -> StepRow:
    (step,) = [step for step in run.ledger.steps if step.kind is StepKind.PREFILL][number : number + 1]
    return step


def test_a_block_from_below_costs_its_transfer_and_saves_its_rows(serve: Serve):
    """``a`` is evicted by ``b``, and asked for again."""
    block_bytes = 16 * kv_bytes_per_token(serve([(0.0, 1, 1)]).trace)
    requests = tuple(
        Request(number, number * 10.0, 16 * 20, 2, (Span(key, 16 * 20),)) for number, key in enumerate("aba")
    )
    here, below = (
        on_tiers(serve, requests, pages, tiers("name: host, capacity_bytes: 1 TB, link: pcie")) for pages in (99, 21)
    )
    link = below.machine.links["pcie"]
    moved_s = link.transfer(19 * block_bytes).time_s
    assert prefill_of(below, 2).prompt_tokens == prefill_of(here, 2).prompt_tokens == 16
    assert prefill_of(below, 2).time_s == pytest.approx(prefill_of(here, 2).time_s + moved_s, rel=1e-9)
    reuse = below.ledger.reuse
    assert reuse is not None
    assert reuse.reused_blocks == {1: 19}
    assert reuse.fetched_bytes == {1: 19 * block_bytes}
    assert reuse.written_bytes[1] == reuse.evicted_blocks[0] * block_bytes > 0
    assert below.ledger.between.busy_by["pcie"] == pytest.approx(
        reuse.written_bytes[1] / link.part.bandwidth_bytes_per_s
    )


@pytest.mark.parametrize("fetch", ["always", "when_faster"])
@pytest.mark.parametrize("bandwidth", ["63 GB/s", "10 MB/s"])
def test_what_is_computed_faster_is_not_fetched_where_the_tier_says_so(serve: Serve, bandwidth: str, fetch: str):
    requests = tuple(
        Request(number, number * 10.0, 16 * 100, 2, (Span(key, 16 * 100),)) for number, key in enumerate("aba")
    )
    run = on_tiers(
        serve,
        requests,
        101,
        tiers(f"name: host, capacity_bytes: 1 TB, link: pcie, fetch: {fetch}"),
        f"links.pcie.part.bandwidth_bytes_per_s={bandwidth}",
        "batching.chunk_tokens=4096",
    )
    first, last = prefill_of(run, 0), prefill_of(run, 2)
    if fetch == "always" or bandwidth == "63 GB/s":
        assert last.prompt_tokens == 16
        assert (last.time_s < first.time_s) == (bandwidth == "63 GB/s")
    else:
        assert last.prompt_tokens == 16 * 100
        assert last.time_s == pytest.approx(first.time_s)


TWO = tiers(
    "name: host, capacity_bytes: 0.1 GB, link: pcie",
    "name: drive, capacity_bytes: 1 TB, link: nvme, fetch: when_faster",
)


@pytest.mark.parametrize("tlp", [1, 3])
def test_fast_forward_changes_nothing_with_tiers(serve: Serve, differences: Differences, tlp: int):
    slow, fast = (on_tiers(serve, asked(60, 0.01), 24, TWO, tlp=tlp, fast_forward=on) for on in (False, True))
    assert not differences(figures(slow), figures(fast))
    reuse = fast.ledger.reuse
    assert reuse is not None
    assert reuse.evicted_blocks[0] > 0
    assert reuse.evicted_blocks[1] > 0
    computed = sum(kind.prompt_tokens for kind in fast.ledger.totals.values())
    if not fast.ledger.n_preemptions:
        assert computed + reuse.reused_tokens == reuse.prompt_tokens


def test_more_tiers_find_more(serve: Serve):
    host = tiers("name: host, capacity_bytes: 0.1 GB, link: pcie")
    shares = []
    for sets in ([], [host], [TWO.replace("when_faster", "always")]):
        reuse = on_tiers(serve, asked(60, 100.0), 16, *sets).ledger.reuse
        assert reuse is not None
        shares.append(reuse.reused_tokens)
    assert shares == sorted(shares)
    assert shares[0] < shares[-1]


def test_models_that_forget_are_refused_by_name(serve: Serve):
    with pytest.raises(NotModelled, match=r"kv.prefix_cache of gemma3-12b.*window"):
        serve([(0.0, 10, 10)], "h100_single", "gemma3-12b", set=[ON])


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        ([ON, "kv.prefix_cache.block_tokens=24"], "expected a multiple of 'page_tokens' 16"),
        (["kv.prefix_cache.block_tokens=32"], "is for 'prefix_cache.kind: block' only"),
        (["kv.prefix_cache.kind=radix"], "found 'page_tokens' 16, expected 1"),
        (["kv.prefix_cache.eviction=mru"], "lru"),
        ([tiers("name: host, capacity_bytes: 1 GB, link: pcie")], "expected 'block' or 'radix'"),
        ([ON, tiers("name: host, capacity_bytes: 1 GB, link: pci")], "no link 'pci'"),
        ([ON, tiers("name: host, capacity_bytes: 1 kB, link: pcie")], "expected room for a block"),
        ([ON, tiers("name: device, capacity_bytes: 1 GB, link: pcie")], "expected different ones"),
        (
            [ON, tiers("name: h, capacity_bytes: 1 GB, link: pcie"), "kv.on_exhaustion=swap", "kv.swap_link=pcie"],
            "expected 'recompute'",
        ),
    ],
)
def test_mistakes_are_told(serve: Serve, sets: list[str], message: str):
    with pytest.raises(InputError, match=message):
        serve([(0.0, 1, 1)], "h100_tiers", set=sets)
