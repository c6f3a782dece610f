"""The prefix cache: blocks are conserved, held ones stay, and more room never finds less."""

import random
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from papisim.config.experiment import KvSpec, PrefixCacheSpec
from papisim.engine.pages import KvPages
from papisim.engine.prefix import Block, PrefixCache
from papisim.engine.request import Request
from papisim.ops.held import HeldBytes, Keeping
from papisim.plan.memory import MemoryPlan
from papisim.record.reuse import Reuse
from papisim.workloads.content import Content, Span, cut, repeated_blocks

PAGE = 4
EVICTIONS = ("lru", "lfu", "fifo")


def cached(total: int, eviction: str = "lru", rooms: Sequence[int] = (), block_tokens: int = PAGE) -> KvPages:
    spec = KvSpec(
        page_tokens=PAGE, watermark_ratio=0.0, prefix_cache=PrefixCacheSpec(kind="block", block_tokens=block_tokens)
    )
    memory = MemoryPlan("gpu", HeldBytes((Keeping(None, 10),)), lambda n_requests: total * PAGE + 0.5)
    reuse = Reuse(block_tokens)
    prefixes = PrefixCache(eviction, block_tokens, lambda: reuse, rooms)
    return KvPages(spec, memory, reserves_whole=True, prefixes=prefixes)


def asking(number: int, *spans: tuple[str, int], answer: int = 1) -> Request:
    content = tuple(Span(key, tokens) for key, tokens in spans)
    request = Request(number, 0.0, sum(tokens for _, tokens in spans), answer)
    request.content, request.answer = content, ("answer", number)
    return request


def serve(pages: KvPages, request: Request) -> int:
    """Admit, compute and end a request; returns the tokens that it reused."""
    pages.allocate(request)
    reused = request.computed_tokens
    request.computed_tokens = request.longest_tokens
    pages.release(request)
    conserved(pages)
    return reused


def conserved(pages: KvPages) -> None:
    cache = pages.prefixes
    assert cache is not None
    assert 0 <= cache.idle <= cache.sizes[0]
    blocks = pages.pages(cache.block_tokens)
    assert pages.used >= cache.held * blocks
    assert pages.used + cache.idle * blocks <= pages.total(None), "in use, idle and free make the whole"


def test_a_block_is_the_same_only_after_the_same_beginning():
    one = list(cut((Span("a", 6), Span("b", 6)), 4))
    assert one == [(("a", 0, 4),), (("a", 4, 2), ("b", 0, 2)), (("b", 2, 4),)]
    assert list(cut((Span("a", 6),), 4))[-1] == (("a", 4, 2),)
    prompts: list[Content] = [
        (Span("a", 8), Span("b", 8)),
        (Span("c", 8), Span("b", 8)),
        (Span("a", 8), Span("c", 8)),
    ]
    assert list(repeated_blocks(prompts, 4)) == [(0, 4), (0, 4), (2, 4)]


def test_a_prompt_reuses_full_blocks_and_computes_at_least_one_token():
    pages = cached(100)
    assert serve(pages, asking(0, ("system", 10), ("a", 7))) == 0
    assert serve(pages, asking(1, ("system", 10), ("b", 7))) == 8, "two full blocks of the ten tokens in common"
    assert serve(pages, asking(2, ("system", 8))) == 4, "the second block has its last token"
    assert serve(pages, asking(3, ("system", 9))) == 8
    assert serve(pages, asking(4, ("other", 9))) == 0


@pytest.mark.parametrize(("block_tokens", "reused"), [(4, 8), (8, 8)])
def test_blocks_of_several_pages_are_reused_whole(block_tokens: int, reused: int):
    pages = cached(100, block_tokens=block_tokens)
    serve(pages, asking(0, ("system", 11), ("a", 7)))
    assert serve(pages, asking(1, ("system", 11), ("b", 7))) == reused


def test_blocks_of_one_token_reuse_whatever_is_alike_as_a_radix_tree_does():
    spec = KvSpec(page_tokens=1, watermark_ratio=0.0, prefix_cache=PrefixCacheSpec(kind="radix"))
    memory = MemoryPlan("gpu", HeldBytes((Keeping(None, 10),)), lambda n_requests: 1000.5)
    pages = KvPages(spec, memory, reserves_whole=False, prefixes=PrefixCache("lru", 1, lambda: Reuse(1)))
    serve(pages, asking(0, ("system", 11), ("a", 7)))
    assert serve(pages, asking(1, ("system", 11), ("b", 7))) == 11
    assert serve(pages, asking(2, ("system", 11), ("a", 3))) == 13, "all but the last token"


def test_a_turn_reuses_the_answer_before_it_but_for_its_last_token():
    pages = cached(100)
    first = asking(0, ("a", 6), answer=7)
    serve(pages, first)
    assert first.answer is not None
    second = Request(1, 0.0, 20, 1, content=(Span("a", 6), Span(first.answer, 7), Span("b", 7)))
    assert serve(pages, second) == 12, "12 of 13 tokens are in the cache: 6 of the prompt, 6 of the answer"


def test_requests_that_say_nothing_are_like_no_other():
    pages = cached(100)
    assert serve(pages, Request(0, 0.0, 32, 4)) == serve(pages, Request(1, 0.0, 32, 4)) == 0


def test_what_requests_hold_together_takes_its_pages_once():
    pages = cached(100)
    serve(pages, asking(0, ("system", 16)))
    one, other = asking(1, ("system", 16), ("a", 4)), asking(2, ("system", 16), ("b", 4))
    pages.allocate(one)
    assert pages.used == 5
    assert pages.fitting([other], alone=False) == 1
    pages.allocate(other)
    assert pages.used == 6
    assert pages.shared_bytes == 16 * 10
    for each in (one, other):
        each.computed_tokens = 20
        pages.release(each)
    assert (pages.used, pages.holders, pages.shared_bytes) == (0, 0, 0)


def test_two_that_compute_the_same_keep_it_once():
    pages = cached(100)
    one, other = asking(0, ("system", 16)), asking(1, ("system", 16))
    for each in (one, other):
        pages.allocate(each)
    assert pages.used == 8
    for each in (one, other):
        each.computed_tokens = 16
        pages.keep(each)
    assert pages.used == 4
    for each in (one, other):
        pages.release(each)
    conserved(pages)
    assert pages.used == 0


def test_requests_fit_by_what_they_add_to_those_admitted_with_them():
    pages = cached(6)
    serve(pages, asking(0, ("system", 16)))
    waiting = [asking(number, ("system", 16), (str(number), 4)) for number in range(1, 4)]
    assert pages.fitting(waiting, alone=True) == 2, "4 blocks together, 1 page each"
    for each in waiting[:2]:
        pages.allocate(each)
    assert (pages.used, pages.free) == (6, 0)


@pytest.mark.parametrize("eviction", EVICTIONS)
def test_what_is_held_is_never_evicted_and_nothing_is_left_without_its_beginning(eviction: str):
    rng = random.Random(1)
    pages = cached(24, eviction, rooms=(5, 3))
    cache = pages.prefixes
    assert cache is not None
    running: list[Request] = []
    for number in range(400):
        request = asking(
            number, (f"s{rng.randrange(3)}", rng.randint(1, 12)), (f"u{rng.randrange(9)}", rng.randint(1, 9))
        )
        while not pages.fitting([request], alone=not running):
            done = running.pop(rng.randrange(len(running)))
            done.computed_tokens = done.longest_tokens
            pages.release(done)
        pages.allocate(request)
        running.append(request)
        conserved(pages)
        for each in running:
            assert each.chain is not None
            assert all(block.tier == 0 and block.holders and not block.is_gone for block in each.chain.held)
        tree = _blocks(cache)
        assert all(block.parent is not None and block.parent.tier <= block.tier for block in tree)
        assert Counter(block.tier for block in tree) == {tier: n for tier, n in enumerate(cache.sizes) if n}
        assert cache.sizes[1] <= 5
        assert cache.sizes[2] <= 3
        assert cache.held == sum(block.holders > 0 for block in tree)
        assert cache.repeats == sum(max(0, block.holders - 1) for block in tree)
        for block in tree:
            assert block.followers == sum(each.tier == block.tier for each in block.follows.values())


def _blocks(cache: PrefixCache) -> list[Block]:
    blocks = list(cache._root.follows.values())
    for block in blocks:
        blocks += block.follows.values()
    return blocks


@pytest.mark.parametrize(
    ("eviction", "gone"),
    [("lru", "b"), ("lfu", "a"), ("fifo", "a")],
)
def test_the_first_to_leave_is_what_the_policy_says(eviction: str, gone: str):
    """``a`` came first, ``b`` was asked for more often, and ``a`` was asked for last."""
    reused = {}
    for key in "ab":
        pages = cached(6, eviction)
        for number, each in enumerate("abbba"):
            serve(pages, asking(number, (each, 8)))
        serve(pages, asking(5, ("c", 12)))
        reused[key] = serve(pages, asking(6, (key, 9)))
    assert reused.pop(gone) == 4
    assert set(reused.values()) == {8}


def prompts_of(seed: int, n: int = 120) -> list[Request]:
    rng = random.Random(seed)
    return [
        asking(
            number,
            (f"s{min(rng.randrange(5), rng.randrange(5))}", rng.randint(1, 20)),
            (f"u{rng.randrange(20)}", rng.randint(1, 12)),
            answer=rng.randint(1, 6),
        )
        for number in range(n)
    ]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(10, 30), st.integers(1, 40))
def test_least_recently_used_finds_no_less_in_more_room(seed: int, room: int, more: int):
    def hits(total: int) -> list[int]:
        pages = cached(total)
        return [serve(pages, request) for request in prompts_of(seed)]

    few, many, all_ = hits(room), hits(room + more), hits(10**6)
    assert all(one <= other <= most for one, other, most in zip(few, many, all_, strict=True)), (
        "inclusion, request by request"
    )


def test_a_cache_without_bounds_finds_what_the_prompts_repeat():
    requests = prompts_of(7)
    pages = cached(10**6)
    found = [serve(pages, request) // PAGE for request in requests]
    repeated = repeated_blocks((request.content for request in requests), PAGE)
    most = [(request.input_tokens - 1) // PAGE for request in requests]
    assert found == [min(blocks, most) for (blocks, _), most in zip(repeated, most, strict=True)]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(10, 30), st.integers(1, 40))
def test_a_tier_below_is_as_good_as_that_much_more_room(seed: int, room: int, below: int):
    """The order of leaving is one over all tiers."""

    def hits(pages: KvPages) -> list[int]:
        return [serve(pages, request) for request in prompts_of(seed)]

    assert hits(cached(room, rooms=(below,))) == hits(cached(room + below))
    assert hits(cached(room, rooms=(below, 7))) == hits(cached(room + below + 7))
