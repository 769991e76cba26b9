"""Instances of the session service that take turns, but for those that could not be reached a moment ago."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from typing import Final

AVOID_SECONDS: Final = 5.0
"""How long an instance that could not be reached is passed over, while there are others."""


class Rotation:
    """Gives instances in turn, passing over those that failed a moment ago. `clock` gives monotonic seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._urls: list[str] = []
        self._avoided_until: dict[str, float] = {}

    @property
    def urls(self) -> Sequence[str]:
        """The instances there are, in the order they are given."""
        return self._urls

    def replace(self, urls: Sequence[str]) -> None:
        """Take a new set of instances; a new instance starts without failures."""
        staying = set(urls) & set(self._urls)
        self._avoided_until = {url: until for url, until in self._avoided_until.items() if url in staying}
        # In an order of our own, or every sidecar that hears of a change would go to the same instance first.
        self._urls = random.sample(urls, len(urls))

    def pick(self) -> str | None:
        """Give the next instance; if all of them failed lately, the one that has been left alone longest."""
        now = self._clock()
        for _ in self._urls:
            url = self._urls.pop(0)
            self._urls.append(url)
            if self._avoided_until.get(url, now) <= now:
                return url
        return min(self._urls, key=self._avoided_until.__getitem__, default=None)

    def report(self, url: str, *, ok: bool) -> None:
        """Avoid an instance for a while, or take it back into grace."""
        if ok:
            self._avoided_until.pop(url, None)
        elif url in self._urls:
            self._avoided_until[url] = self._clock() + AVOID_SECONDS
