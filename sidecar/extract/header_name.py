"""The name of a header field as the most lenient server reads it."""

from __future__ import annotations

from typing import Final

_FOLD: Final = bytes(ord(chr(byte).lower()) if chr(byte).isalnum() and byte < 128 else ord("-") for byte in range(256))


def fold(name: bytes) -> bytes:
    """Give the name with letters in lower case and every punctuation mark as a hyphen.

    CGI (RFC 3875, section 4.1.18), WSGI and PHP turn `X-User-Id`, `X_User_Id` and `X.User.Id` into one variable.
    """
    return name.translate(_FOLD)
