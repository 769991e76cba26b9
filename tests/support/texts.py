"""A corpus of JSON texts and near misses, made systematically: what readers are known to disagree about."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator

BASES = [
    '{"session_id":"s1","user_id":"u1"}',
    '{"user_id":"u1","message_content":"hello","session_id":"s1"}',
    '{"user_id":"u1","context":{"session_id":"s1","topic":"t"}}',
    '{"session_id":"s1","user_id":"u1","context":{"session_id":"s1","user_id":"u1"}}',
    '{"user_id":"u1","content":"no session"}',
    '{"session_id":null,"user_id":"u1"}',
    '{"session_id":"s1","user_id":"u1","text":"你好，世界 😀 \\u4f60\\ud83d\\ude00"}',
    ' \n{ "session_id" : "s1" , "user_id" : "u1" , "list" : [ 1 , 2.5 , true , null , { } ] } \t',
]
KEYS = ["session_id", "user_id", "context"]
VALUES = ['"s1"', '"s2"', "null", '{"session_id":"s2"}', "{}", "1", '""', '["s2"]']
CALL = '{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"store","arguments":%s}}'


def spellings(key: str) -> Iterator[str]:
    """Ways to write a key, or what may be taken for it."""
    yield key
    for place, character in enumerate(key):
        yield f"{key[:place]}\\u{ord(character):04x}{key[place + 1 :]}"
    yield f"\\u{ord(key[0]):04X}{key[1:]}"
    yield "".join(f"\\u{ord(character):04x}" for character in key)
    yield from (
        key.upper(),
        key.title(),
        key.replace("s", "ſ"),
        key.replace("s", "\\u017f"),
        f"{key} ",
        f"\\u0000{key}",
    )
    yield from (f"{key}\\u0000", f"\\ud800{key}", f"{key}\u200b", "".join(chr(ord(letter) + 0xFEE0) for letter in key))


def repeated() -> Iterator[str]:
    """A guarded name twice, on every level, in every order, in every spelling."""
    for key in KEYS:
        for value in VALUES:
            yield f'{{"{key}":{value},"session_id":"s1","user_id":"u1"}}'
            yield f'{{"session_id":"s1","user_id":"u1","{key}":{value}}}'
            yield f'{{"context":{{"{key}":{value},"session_id":"s1"}},"user_id":"u1"}}'
            yield f'{{"context":{{"session_id":"s1","{key}":{value}}},"user_id":"u1"}}'
        for spelling in spellings(key):
            yield f'{{"{spelling}":"s2","user_id":"u1"}}'
            yield f'{{"session_id":"s1","{spelling}":"s2","user_id":"u1"}}'
            yield f'{{"{spelling}":{{"session_id":"s2"}},"session_id":"s1","user_id":"u1"}}'
    for _ in range(2):
        yield '{"context":{"session_id":"s1"},"context":{"session_id":"s2"},"user_id":"u1"}'
    yield '{"__proto__":{"session_id":"s2"},"user_id":"u1"}'
    yield '{"constructor":{"session_id":"s2"},"session_id":"s1","user_id":"u1"}'


def malformed() -> Iterator[str]:
    """Texts that one reader takes and another does not."""
    whole = BASES[0]
    for junk in (
        "x",
        "{}",
        ",",
        "\x00",
        "//c",
        "/*c*/",
        "#c",
        ";",
        "\ufeff",
        "\u00a0",
        "\u2028",
        "\x0c",
        "]",
        "null",
        '"',
        "\n{}",
    ):
        yield whole + junk
        yield junk + whole
    for number in (
        "NaN",
        "Infinity",
        "-Infinity",
        "1e999",
        "-0",
        "01",
        "+1",
        "1.",
        ".5",
        "0x1",
        "1_0",
        "9" * 30,
        "9" * 5000,
        "1e5",
    ):
        yield f'{{"session_id":"s1","user_id":"u1","n":{number}}}'
        yield f'{{"session_id":{number},"user_id":"u1"}}'
    for text in (
        "\\ud800",
        "\\udc00",
        "\\ud800\\ud800",
        "\\udc00\\ud800",
        "\\x41",
        "\\u12",
        "\\",
        "\t",
        "\n",
        "\x7f",
        "\x1f",
        "\u2028",
        "\\/",
    ):
        yield f'{{"session_id":"s1{text}","user_id":"u1"}}'
        yield f'{{"session_id":"s1","user_id":"u1","t":"{text}"}}'
        yield f'{{"{text}":1,"session_id":"s1","user_id":"u1"}}'
    yield from (
        whole.replace('"', "'"),
        whole.replace('"session_id"', "session_id"),
        whole.replace("}", ",}"),
        whole[:-1],
        whole[1:],
    )
    yield from (
        whole.replace(":", "="),
        whole.replace(",", ";"),
        whole.replace(":", "::"),
        whole.replace(",", ""),
        f"[{whole}",
        f"[{whole}]",
    )
    yield from (
        "",
        " ",
        "null",
        '"s1"',
        "1",
        "[]",
        "{}",
        "true",
        "True",
        "None",
        "undefined",
        "session_id=s1&user_id=u1",
        f"({whole})",
    )
    for depth in (10, 200, 900, 1100, 3000):
        yield '{"session_id":"s1","user_id":"u1","d":' + "[" * depth + "]" * depth + "}"
        yield '{"session\\u005fid":"s1","user_id":"u1","d":' + '{"a":' * depth + "1" + "}" * depth + "}"


def encoded() -> Iterator[bytes]:
    """The same text in other encodings, with and without a mark, and bytes that are no text."""
    for base in BASES[:3]:
        for encoding in (
            "utf-8-sig",
            "utf-16",
            "utf-16-le",
            "utf-16-be",
            "utf-32",
            "utf-32-le",
            "utf-32-be",
            "utf-7",
            "cp037",
        ):
            yield base.encode(encoding)
    for junk in (b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe4\xbd", b"\x80", b"\xfe\xff"):
        yield b'{"session_id":"s1","user_id":"u1","t":"' + junk + b'"}'
        yield b'{"session_id":"s1' + junk + b'","user_id":"u1"}'
        yield b'{"session_id' + junk + b'":"s2","session_id":"s1","user_id":"u1"}'
        yield junk + BASES[0].encode()
    for compressed in (b"\x1f\x8b\x08\x00", b"\x78\x9c"):
        yield compressed + BASES[0].encode()


def mutated(count: int, seed: int = 20250101) -> Iterator[bytes]:
    """Bases with a few bytes changed, put in, taken out or repeated; the same ones every time."""
    chance = random.Random(seed)
    for _ in range(count):
        text = bytearray(chance.choice(BASES).encode())
        for _ in range(chance.randint(1, 3)):
            place = chance.randrange(len(text))
            piece = chance.choice(
                [b'"', b"\\", b"{", b"}", b",", b":", b"\\u0073", b'"session_id":"s2",', b"\xef\xbb\xbf", b"\x00", b" "]
            )
            match chance.randrange(4):
                case 0:
                    text[place : place + 1] = piece
                case 1:
                    text[place:place] = piece
                case 2:
                    del text[place : place + chance.randint(1, 4)]
                case _:
                    end = chance.randint(place, len(text))
                    text[place:place] = text[place:end]
            if not text:
                break
        yield bytes(text)


def rest_corpus() -> list[bytes]:
    """All texts, each once."""
    texts = [text.encode("utf-8", "surrogatepass") for text in (*BASES, *repeated(), *malformed())]
    return list(dict.fromkeys([*texts, *encoded(), *mutated(400)]))


def mcp_corpus() -> list[bytes]:
    """Calls around the texts that are objects, and calls with every member of the way there repeated or respelled."""
    texts = [CALL % text for text in (*BASES, *repeated()) if text.strip().startswith("{")]
    for key in ("method", "id", "params", "name", "arguments", "tool_name", "parameters"):
        for spelling in spellings(key):
            for value in (
                '"tools/call"',
                '"get_x"',
                "8",
                '{"name":"get_x","arguments":{}}',
                '{"session_id":"s2","user_id":"u1"}',
            ):
                call = json.loads(CALL % BASES[0])
                whole = json.dumps(call)
                texts.append(f'{whole[:-1]},"{spelling}":{value}}}')
                texts.append(whole.replace('"params": {', f'"params": {{"{spelling}":{value},', 1))
                texts.append(whole.replace('"arguments": {', f'"arguments": {{"{spelling}":{value},', 1))
    return list(dict.fromkeys(text.encode("utf-8", "surrogatepass") for text in texts))
