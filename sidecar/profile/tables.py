"""Reading a TOML table strictly: every value has a type, no key is left over, and an error says where it stands."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from typing import Any, Final, NoReturn, TypeVar

Choice = TypeVar("Choice", bound=StrEnum)
Value = TypeVar("Value")

_WORDS: Final[dict[type, str]] = {str: "a string", bool: "true or false", dict: "a table", list: "a list"}


class ProfileError(ValueError):
    """A profile that cannot be used; the message says what is wrong, where, and what is allowed."""


class Table:
    """One table of a profile. Every read is remembered, so that `done` can name the keys nobody asked for."""

    def __init__(self, content: dict[str, Any], where: str = "") -> None:
        self._content = content
        self._where = where
        self._asked: set[str] = set()

    def has(self, key: str) -> bool:
        """Whether the key was written."""
        self._asked.add(key)
        return key in self._content

    def text(self, key: str, default: str | None = None) -> str:
        """A string; without a default it must be there. Raises ProfileError."""
        return self._take(key, str, default)

    def flag(self, key: str, *, default: bool) -> bool:
        """A boolean. Raises ProfileError."""
        return self._take(key, bool, default)

    def texts(self, key: str, default: Sequence[str] | None = None) -> tuple[str, ...]:
        """A list of strings; without a default it must be there. Raises ProfileError."""
        values: list[Any] = self._take(key, list, None if default is None else list(default))
        for place, value in enumerate(values):
            if not isinstance(value, str):
                self.fail(f"{key}[{place}]", value, "a string is allowed")
        return tuple(values)

    def numbers(self, key: str) -> tuple[int, ...]:
        """A list of whole numbers; an absent one is empty. Raises ProfileError."""
        values: list[Any] = self._take(key, list, [])
        for place, value in enumerate(values):
            if not isinstance(value, int) or isinstance(value, bool):
                self.fail(f"{key}[{place}]", value, "a whole number is allowed")
        return tuple(values)

    def choice(self, key: str, choices: type[Choice]) -> Choice:
        """A member of an enumeration, by its value. Raises ProfileError."""
        text = self.text(key)
        if text not in list(choices):
            self.fail(key, text, "one of these is allowed: " + ", ".join(choices))
        return choices(text)

    def parsed_texts(
        self, key: str, parse: Callable[[str], Value], default: Sequence[str] | None = None
    ) -> tuple[Value, ...]:
        """A list of strings, each read by `parse`. Raises ProfileError."""
        texts = self.texts(key, default)
        return tuple(self._parsed(f"{key}[{place}]", parse, text) for place, text in enumerate(texts))

    def parsed_text(self, key: str, parse: Callable[[str], Value]) -> Value:
        """A string read by `parse`, whose ValueError becomes a ProfileError with the place."""
        return self._parsed(key, parse, self.text(key))

    def table(self, key: str) -> Table:
        """A table; an absent one is empty. Raises ProfileError."""
        return Table(self._take(key, dict, {}), self.place(key))

    def tables(self, key: str) -> Iterator[Table]:
        """A list of tables; an absent one is empty. Raises ProfileError."""
        contents: list[Any] = self._take(key, list, [])
        for number, content in enumerate(contents):
            if not isinstance(content, dict):
                self.fail(f"{key}[{number}]", content, "a table is allowed")
            yield Table(content, self.place(f"{key}[{number}]"))

    def content(self, key: str) -> dict[str, Any] | None:
        """A table as it was written, for content that is somebody else's to understand; None where there is none."""
        return self._take(key, dict, {}) if self.has(key) else None

    def done(self) -> None:
        """Complain about the first key that nobody asked for. Raises ProfileError."""
        for key in self._content:
            if key not in self._asked:
                allowed = ", ".join(sorted(self._asked)) or "nothing"
                raise ProfileError(f"{self.place(key)} is unknown; allowed here: {allowed}")

    def place(self, key: str) -> str:
        """Where a key stands, written as TOML's dotted keys are."""
        return f"{self._where}.{key}" if self._where else key

    def fail(self, key: str, value: object, allowed: str) -> NoReturn:
        """Complain about a value. Raises ProfileError."""
        raise ProfileError(f"{self.place(key)} cannot be {value!r}: {allowed}")

    def _take(self, key: str, kind: type[Value], default: Value | None) -> Value:
        self._asked.add(key)
        if key not in self._content:
            if default is None:
                raise ProfileError(f"{self.place(key)} is missing: {_WORDS[kind]} is needed")
            return default
        value = self._content[key]
        if not isinstance(value, kind):
            self.fail(key, value, f"{_WORDS[kind]} is allowed")
        return value

    def _parsed(self, place: str, parse: Callable[[str], Value], text: str) -> Value:
        try:
            return parse(text)
        except ValueError as error:
            raise ProfileError(f"{self.place(place)}: {error}") from None
