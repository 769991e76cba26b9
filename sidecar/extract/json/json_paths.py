"""Where ids stand in JSON values: the profile's paths, walked so that each object on the way is opened once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

from sidecar.extract.head_candidates import Candidates
from sidecar.extract.json.strict_json import member
from sidecar.profile.profile import Profile
from sidecar.profile.templates import EACH, JsonPath

_Tree: TypeAlias = tuple[tuple[str, tuple[str, ...], "_Tree"], ...]
"""For each key: the key, the names that it holds ids of, and what to look for below it."""


class JsonPathExtractor:
    """The places of ids in JSON, ordered so that each object on the way is opened once."""

    def __init__(self, profile: Profile) -> None:
        paths = [(path, name) for name, places in profile.watched.items() for path in places.json]
        self.keys = frozenset(key for path, _ in paths for key in path if key != EACH)
        self._names = tuple(profile.watched)
        self._tree = _tree(paths)
        self._plain = _tree([(path, name) for path, name in paths if EACH not in path])
        lists: dict[JsonPath, list[tuple[JsonPath, str]]] = {}
        for path, name in paths:
            if EACH in path:
                place = path.index(EACH)
                lists.setdefault(path[:place], []).append((path[place + 1 :], name))
        self._lists = tuple((start, _tree(below)) for start, below in lists.items())

    @property
    def has_lists(self) -> bool:
        """Whether an id may stand in the elements of a list, each of which may name a session of its own."""
        return bool(self._lists)

    def claim_plain(self, claims: Candidates, value: object) -> None:
        """Add what stands at paths that lead to one value. Raises RequestRefused."""
        _claim(self._plain, claims, value, None, None)

    def elements(self, value: object) -> Iterator[Candidates]:
        """What each element of the lists names that paths lead through. Raises RequestRefused."""
        for start, tree in self._lists:
            listed = value
            for key in start:
                listed = member(listed, key)
            for element in listed if isinstance(listed, list) else ():
                claims: Candidates = {name: [] for name in self._names}
                _claim(tree, claims, element, None, None)
                yield claims

    def claim(
        self,
        claims: Candidates,
        value: object,
        *,
        but: str | None = None,
        unfolded: Callable[[object], object] | None = None,
    ) -> None:
        """Add what stands there to the claims, those of the name `but` left out; null claims nothing.

        `unfolded` opens what stands on the way in another form than an object. Raises RequestRefused.
        """
        _claim(self._tree, claims, value, but, unfolded)


def _tree(paths: Sequence[tuple[JsonPath, str]]) -> _Tree:
    return tuple(
        (
            key,
            tuple(name for path, name in paths if path == (key,)),
            _tree([(path[1:], name) for path, name in paths if path[0] == key and len(path) > 1]),
        )
        for key in dict.fromkeys(path[0] for path, _ in paths)
    )


def _claim(
    tree: _Tree, claims: Candidates, value: object, but: str | None, unfolded: Callable[[object], object] | None
) -> None:
    if tree and tree[0][0] == EACH:
        for element in value if isinstance(value, list) else ():
            _claim(tree[0][2], claims, element if unfolded is None else unfolded(element), but, unfolded)
        return
    plain = value if type(value) is dict else None
    for key, names, below in tree:
        found = member(value, key) if plain is None else plain.get(key)
        if found is None:
            continue
        for name in names:
            if name != but:
                claims[name].append(found)
        if below:
            _claim(below, claims, found if unfolded is None else unfolded(found), but, unfolded)
