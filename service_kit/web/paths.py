"""How an id stands in a path: everything up to what follows it, so that a bad id is refused as an id.

Starlette's own convertors leave a slash or a line break to other routes and drop a final newline, which would make
`a%0A` the id `a`.
"""

from __future__ import annotations

from typing import Final

from starlette.convertors import Convertor, register_url_convertor


class _Whole(Convertor[str]):
    regex = r"[\s\S]*"

    def convert(self, value: str) -> str:
        """The id as it stood in the decoded path."""
        return value

    def to_string(self, value: str) -> str:
        """The same, the other way."""
        return value


WHOLE: Final = "whole"
"""The name of the convertor, for the path of a route."""

register_url_convertor(WHOLE, _Whole())
