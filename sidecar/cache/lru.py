"""A bounded mapping that evicts the entry used longest ago, over as many dictionaries as it needs.

A table of a million entries that has to grow, or to be tidied after many came and went, holds the event loop up for
hundreds of milliseconds. So no table here has many more than `SHARD` entries.

A dictionary keeps its keys in the order in which they were put in, so an entry that is used is taken out and put in
again. That takes less memory than a second table for the order, and no Python runs on the way of a request.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final, Generic, TypeVar, final

SHARD: Final = 4_096

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@final
class ShardedLru(Generic[K, V]):
    """At most `size` entries, none of them None.

    Which one was used longest ago is judged within its shard; a small mapping has only one.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._count = 0
        self._shards: list[dict[K, V]] = [{} for _ in range(-(-size // SHARD))]

    def __len__(self) -> int:
        return self._count

    def get(self, key: K) -> V | None:
        """Give the value, and note that it was used."""
        shard = self._shard(key)
        value = shard.pop(key, None)
        if value is not None:
            shard[key] = value
        return value

    def peek(self, key: K) -> V | None:
        """Give the value without noting it."""
        return self._shard(key).get(key)

    def put(self, key: K, value: V) -> None:
        """Keep the value; a full mapping evicts another."""
        shard = self._shard(key)
        if shard.pop(key, None) is None:
            if self._count < self._size:
                self._count += 1
            else:
                fullest = shard or max(self._shards, key=len)
                del fullest[next(iter(fullest))]
        shard[key] = value

    def discard(self, key: K) -> None:
        """Remove the entry, if there is one."""
        if self._shard(key).pop(key, None) is not None:
            self._count -= 1

    def _shard(self, key: K) -> dict[K, V]:
        return self._shards[hash(key) % len(self._shards)]
