"""A bounded mapping that lets go of what was used longest ago, over as many of cachetools' LRUCaches as it needs.

A table of a million entries that has to grow, or to be tidied after many came and went, holds the event loop up for
hundreds of milliseconds. So no table here has many more than `SHARD` entries.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final, Generic, TypeVar

from cachetools import Cache, LRUCache

SHARD: Final = 4_096

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

_value_of: Final = Cache.__getitem__  # the look-up alone: LRUCache adds the order of use to it


class ShardedLru(Generic[K, V]):
    """At most `size` entries. Which one is used longest is judged within its shard; a small mapping has only one."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._count = 0
        self._shards: list[LRUCache[K, V]] = [LRUCache(size) for _ in range(-(-size // SHARD))]

    def __len__(self) -> int:
        return self._count

    def get(self, key: K) -> V | None:
        """Give the value, and note that it was used."""
        return self._shard(key).get(key)

    def peek(self, key: K) -> V | None:
        """Give the value without noting it: that would cost more than all the rest."""
        try:
            return _value_of(self._shards[hash(key) % len(self._shards)], key)
        except KeyError:
            return None

    def put(self, key: K, value: V) -> None:
        """Keep the value; where there is no more room another has to go."""
        shard = self._shard(key)
        if key not in shard:
            if self._count < self._size:
                self._count += 1
            else:
                (shard or max(self._shards, key=len)).popitem()
        shard[key] = value

    def discard(self, key: K) -> None:
        """Let go of the entry, if there is one."""
        if self._shard(key).pop(key, None) is not None:
            self._count -= 1

    def _shard(self, key: K) -> LRUCache[K, V]:
        return self._shards[hash(key) % len(self._shards)]
