import pytest
from hypothesis import given
from hypothesis import strategies as st

from papisim.bounded import BoundedDict


@given(st.lists(st.integers(0, 30)), st.integers(1, 10))
def test_it_never_holds_more_than_its_bound_and_always_the_key_set_last(keys: list[int], most: int):
    cache = BoundedDict[int, int](most)
    for key in keys:
        cache[key] = 2 * key
        assert len(cache) <= most
        assert cache[key] == 2 * key


def test_setting_a_known_key_again_forgets_nothing():
    cache = BoundedDict[str, int](2)
    cache["a"], cache["b"] = 1, 2
    cache["a"] = 3
    assert cache == {"a": 3, "b": 2}
    cache["c"] = 4
    assert cache == {"c": 4}, "one key too many empties it"


def test_a_cache_without_room_is_refused():
    with pytest.raises(ValueError, match="expected at least 1"):
        BoundedDict(0)
