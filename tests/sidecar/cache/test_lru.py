"""The bounded mapping, small and sharded."""

from __future__ import annotations

import pytest

from sidecar.cache.lru import SHARD, ShardedLru


def filled(size: int, entries: int) -> ShardedLru[str, int]:
    mapping: ShardedLru[str, int] = ShardedLru(size)
    for n in range(entries):
        mapping.put(f"key-{n}", n)
    return mapping


def held(mapping: ShardedLru[str, int], keys: int) -> list[int]:
    return [n for n in range(keys) if mapping.peek(f"key-{n}") is not None]


@pytest.mark.parametrize("size", [1, 3, SHARD])
def test_a_small_mapping_forgets_exactly_what_was_used_longest_ago(size):
    """A mapping of one shard drops the entry that was used longest ago."""
    mapping = filled(size, size)
    assert mapping.get("key-0") == 0
    mapping.put("key-new", -1)
    gone = set(range(size)) - set(held(mapping, size))
    assert gone == {1 if size > 1 else 0}
    assert len(mapping) == size


def test_a_look_that_is_no_use_changes_no_order():
    """`peek` does not change the order of use."""
    mapping = filled(3, 3)
    assert mapping.peek("key-0") == 0
    mapping.put("key-new", -1)
    assert held(mapping, 3) == [1, 2]


def test_a_large_mapping_keeps_its_bound_exactly():
    """The bound is exact, however the keys fall into shards."""
    size = 3 * SHARD + 5
    assert len(filled(size, size - 1)) == size - 1
    mapping = filled(size, size)
    assert held(mapping, size) == list(range(size))
    mapping = filled(size, 2 * size)
    assert len(mapping) == size == len(held(mapping, 2 * size))


def test_what_was_put_last_stays():
    """An entry that was just put in is never the one that makes room."""
    mapping = filled(2 * SHARD, 4 * SHARD)
    kept = held(mapping, 4 * SHARD)
    assert kept[-1] == 4 * SHARD - 1
    assert sum(n >= 2 * SHARD for n in kept) > 0.9 * len(kept)


def test_putting_again_replaces_and_needs_no_room():
    """Replacing an entry drops no other."""
    mapping = filled(3, 3)
    mapping.put("key-0", 100)
    assert mapping.peek("key-0") == 100
    assert held(mapping, 3) == [0, 1, 2]
    mapping.put("key-new", -1)
    assert held(mapping, 3) == [0, 2]


def test_a_full_mapping_whose_shard_is_empty_makes_room_elsewhere():
    """Where all keys fall into one shard, the bound still holds for all shards together."""
    mapping: ShardedLru[int, int] = ShardedLru(SHARD + 1)
    for n in range(SHARD + 1):
        mapping.put(2 * n, n)
    mapping.put(1, -1)
    assert len(mapping) == SHARD + 1
    assert mapping.peek(1) == -1
    assert mapping.peek(0) is None


def test_no_shard_is_large():
    """A million entries lie in many small tables."""
    mapping = filled(8 * SHARD, 8 * SHARD)
    assert max(len(shard) for shard in mapping._shards) < 1.2 * SHARD
