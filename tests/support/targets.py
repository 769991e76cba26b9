"""A corpus of request targets: every odd spelling of guarded paths that servers are known to disagree about."""

from __future__ import annotations

import random
from collections.abc import Iterator

PATHS = [
    "/api/v1/memories",
    "/api/v1/memories/session/store",
    "/api/v1/memories/session/s1/summarize",
    "/api/v1/memories/session/s1/deactivate",
    "/mcp",
]
ODDITIES = [
    "/", "//", "/./", "/../", "/.", "/..", "\\", "/\\", "%2f", "%2F", "%5c", "%2e", "/%2e/", "/%2e%2e/", "/.%2e/",
    "%00", "%0a",
    "%09", "%20", "%", "%2", "%zz", "%25", "%252f", "%252e%252e%252f", ";", ";x=y", "/;/", "/..;/", "%3b", "%3f",
    "%23", "#", "?",
    "?a=b", "&", "+", "%2b", "~", ".", "..", "...", "%ff", "%c0%af", "%e4%bd%a0", "%C4%B0", "@", ":", "|", "!", "'",
    "*", "(", ",",
    "=", "$", "%7c", "%41", "%61", "{", "<", '"', "^", "`", "[", "/x/../", "/x/%2e%2e/", "%u002f", "/*",
]  # fmt: skip


def put_in(path: str, piece: str) -> Iterator[str]:
    """The piece before, after and in the middle of every segment."""
    for place in range(len(path) + 1):
        if place in (0, len(path)) or "/" in path[place - 1 : place + 1]:
            yield path[:place] + piece + path[place:]


def respelled(path: str) -> Iterator[str]:
    """The same path, to some, in other characters."""
    for place, character in enumerate(path):
        for escape in (f"%{ord(character):02x}", f"%{ord(character):02X}", f"%25{ord(character):02x}"):
            yield path[:place] + escape + path[place + 1 :]
        if character.isalpha():
            yield path[:place] + character.upper() + path[place + 1 :]
    yield "".join(f"%{ord(character):02x}" for character in path)
    yield "/" + "".join(f"%{ord(character):02x}" for character in path[1:])
    yield from (path.upper(), path.title(), path.replace("/", "//"), path.replace("/", "\\"), path.replace("/", "%2f"))
    yield from (
        f"http://host{path}",
        f"http://host:80/{path}",
        f"HTTP://a@b{path}",
        f"//host{path}",
        path[1:],
        f"/x/..{path}",
    )
    yield from (f"{path}?session_id=s2", f"{path}/?x", f"http:{path}", f"/.{path}", f"/x{path}", path + "/x", path[:-1])


def mixed(count: int, seed: int = 20250101) -> Iterator[str]:
    """Several oddities at once; the same ones every time."""
    chance = random.Random(seed)
    for _ in range(count):
        path = chance.choice(PATHS)
        for _ in range(chance.randint(2, 4)):
            place = chance.randrange(len(path) + 1)
            path = path[:place] + chance.choice(ODDITIES) + path[place:]
        yield path


def path_corpus() -> list[bytes]:
    """All targets that can be put on the wire, each once."""
    targets = [*PATHS]
    for path in PATHS:
        targets += [target for piece in ODDITIES for target in put_in(path, piece)]
        targets += respelled(path)
    targets += mixed(400)
    sendable = [target for target in targets if target and " " not in target]
    return [target.encode("latin-1") for target in dict.fromkeys(sendable)]
