"""A bounded mapping that lets go of what was used longest ago, over as many ordered dictionaries as it needs.

A table of a million entries that has to grow, or to be tidied after many came and went, holds the event loop up for
hundreds of milliseconds. So no table here has many more than `SHARD` entries.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Final, Generic, TypeVar

SHARD: Final = 4_096

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class ShardedLru(Generic[K, V]):
    """At most `size` entries. Which one is used longest is judged within its shard; a small mapping has only one."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._count = 0
        self._shards: list[OrderedDict[K, V]] = [OrderedDict() for _ in range(-(-size // SHARD))]

    def __len__(self) -> int:
        return self._count

    def get(self, key: K) -> V | None:
        """Give the value, and note that it was used."""
        shard = self._shard(key)
        value = shard.get(key)
        if value is not None:
            shard.move_to_end(key)
        return value

    def peek(self, key: K) -> V | None:
        """Give the value without noting it, which is faster."""
        return self._shards[hash(key) % len(self._shards)].get(key)

    def put(self, key: K, value: V) -> None:
        """Keep the value; where there is no more room another has to go."""
        shard = self._shard(key)
        if key not in shard:
            if self._count < self._size:
                self._count += 1
            else:
                (shard or max(self._shards, key=len)).popitem(last=False)
        shard[key] = value
        shard.move_to_end(key)

    def discard(self, key: K) -> None:
        """Let go of the entry, if there is one."""
        if self._shard(key).pop(key, None) is not None:
            self._count -= 1

    def _shard(self, key: K) -> OrderedDict[K, V]:
        return self._shards[hash(key) % len(self._shards)]
