"""Pages of the KV cache: who holds how many, and how long they last."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from papisim.config.experiment import KvSpec
from papisim.engine.batch import Batch
from papisim.engine.pages import KvPages
from papisim.engine.request import Request
from papisim.ops.held import HeldBytes, Keeping
from papisim.plan.memory import MemoryPlan


def pages(total: int, *, reserves_whole: bool = False, **options: object) -> KvPages:
    spec = KvSpec(**{"watermark_ratio": 0.0, **options})  # type: ignore[arg-type]
    memory = MemoryPlan("gpu", HeldBytes((Keeping(None, 10),)), lambda n_requests: total * 16 + 0.5)
    return KvPages(spec, memory, reserves_whole=reserves_whole)


def decoding(cache: KvPages, *lengths: tuple[int, int]) -> Batch:
    rows = [Request(i, 0.0, prompt, answer) for i, (prompt, answer) in enumerate(lengths)]
    for row in rows:
        cache.allocate(row)
        row.emitted_tokens = 1
    batch = Batch()
    batch.join(rows)
    return batch


def test_a_part_of_a_page_holds_nothing():
    assert pages(7).total(1) == 7
    assert pages(7, page_tokens=32).total(1) == 3


def test_admission_takes_the_prompt_or_the_whole_length():
    row = Request(0, 0.0, 17, 16)
    assert pages(9).demand(row) == 2
    assert pages(9, reserve="whole").demand(row) == pages(9, reserves_whole=True).demand(row) == 2
    assert pages(9, reserves_whole=True).demand(Request(0, 0.0, 17, 17)) == 3, "32 tokens and one never cached"
    assert pages(9, reserves_whole=True, reserve="prompt").demand(Request(0, 0.0, 17, 99)) == 2


def test_as_many_fit_as_there_are_pages_for_and_some_stay_free_while_others_decode():
    waiting = [Request(i, 0.0, 32, 10) for i in range(8)]
    assert pages(10).fitting(waiting, alone=False) == 5
    assert pages(10, watermark_ratio=0.25).fitting(waiting, alone=False) == 4
    assert pages(2, watermark_ratio=0.9).fitting(waiting, alone=True) == 1, "a lone request needs none to spare"
    assert pages(2, watermark_ratio=0.9).fitting(waiting, alone=False) == 0


def test_a_request_takes_a_page_when_its_last_one_is_full_and_not_before():
    cache = pages(10)
    batch = decoding(cache, (15, 100))
    assert cache.grow(batch, 1)
    assert cache.used == 1
    batch.emit(1)
    assert cache.grow(batch, 1)
    assert cache.used == 2


def test_nobody_grows_unless_all_can():
    cache = pages(3)
    batch = decoding(cache, (16, 100), (16, 100))
    assert not cache.grow(batch, 1)
    assert cache.used == 2
    assert batch.pages.tolist() == [1, 1]


def test_what_is_given_back_can_be_taken_again():
    cache = pages(4)
    batch = decoding(cache, (30, 9), (30, 9))
    assert cache.free == 0
    cache.release(batch.drop_last())
    assert cache.free == 2


def test_drafts_beyond_the_end_of_a_request_are_not_stored():
    cache = pages(4)
    batch = decoding(cache, (16, 3))
    assert cache.grow(batch, 64)
    assert cache.used == 2


@given(
    st.lists(st.tuples(st.integers(1, 60), st.integers(2, 60)), min_size=1, max_size=8),
    st.integers(1, 5),
    st.integers(0, 12),
)
def test_iterations_last_exactly_until_the_pages_run_out(lengths: list[tuple[int, int]], tlp: int, spare: int):
    cache = pages(sum(-(-prompt // 16) for prompt, _ in lengths) + spare)
    batch = decoding(cache, *lengths)
    most = int(np.ceil(batch.remaining.min() / tlp))
    n = cache.iterations(batch, tlp, most)
    done = 0
    while done < most and cache.grow(batch, tlp):
        batch.emit(tlp)
        done += 1
    assert done == n


@pytest.mark.parametrize("fields", [{"on_exhaustion": "swap"}, {"swap_link": "pcie"}])
def test_swapping_and_its_link_stand_together(fields: dict[str, str]):
    with pytest.raises(ValueError, match="swap_link"):
        KvSpec(**fields)
