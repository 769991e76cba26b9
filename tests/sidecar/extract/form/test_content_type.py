"""What a Content-Type adds to reading, and which ones are refused."""

from __future__ import annotations

import pytest

from sidecar.extract.form import content_type
from sidecar.extract.form.content_type import UNDECLARED, Form, declared_form
from sidecar.extract.refused import RequestRefused
from sidecar.model import Reason

UNCLEAR = "The Content-Type mentions a form but is not well formed."
CHARSET = "The body is declared in a charset other than UTF-8."
BOUNDARY = "The multipart form has no boundary, or one that cannot be read."


def declared(*values: str) -> Form | None:
    content_type._read.cache_clear()
    return declared_form([(b"host", b"x"), *((b"content-type", value.encode("latin-1")) for value in values)])


def refusal(*values: str) -> str:
    with pytest.raises(RequestRefused) as error:
        declared(*values)
    assert error.value.refuse.reason is Reason.UNREADABLE_BODY
    return error.value.refuse.detail


def test_without_a_type_the_body_may_be_a_form_to_some_readers() -> None:
    """A body without a type must be JSON, and is read as a form besides."""
    assert declared() == declared("") == Form(None, declared=False)
    assert declared("text/plain; x=form-urlencoded") == UNDECLARED


@pytest.mark.parametrize(
    "value",
    [
        "application/json", "application/json; charset=utf-8", "application/json;charset=UTF-8", "text/plain", "x",
        "*/*",
        'text/plain; charset="us-ascii"', "text/html; charset=ISO-8859-1", "application/vnd.x+json",
        "application/json, text/x",
        "application/xml; charset=windows-1252", "multipart/mixed; boundary=x", "text/plain; a=multipart",
    ],
)  # fmt: skip
def test_types_that_declare_no_form(value: str) -> None:
    """A body of any other type is read as JSON."""
    assert declared(value) is None


@pytest.mark.parametrize(
    "value",
    [
        "application/x-www-form-urlencoded",
        "Application/X-WWW-Form-Urlencoded",
        "application/x-www-form-urlencoded; charset=utf-8",
        "application/x-www-form-urlencoded;",
        " application/x-www-form-urlencoded ; charset=utf8 ; ",
    ],
)
def test_an_urlencoded_form_is_declared(value: str) -> None:
    """The media type is recognised in any letter case, with or without a charset."""
    assert declared(value) == Form(None)


@pytest.mark.parametrize(
    ("value", "boundary"),
    [
        ("multipart/form-data; boundary=x", b"x"),
        ("Multipart/Form-Data;Boundary=aB", b"aB"),
        ('multipart/form-data; boundary="a b"', b"a b"),
        ("multipart/form-data; charset=utf-8; boundary=----WebKit.1;", b"----WebKit.1"),
        ("multipart/form-data; boundary=" + "b" * 70, b"b" * 70),
        ("multipart/form-data; boundary=Boundary-7F", b"Boundary-7F"),
        ('multipart/form-data; boundary="a\'()+_./:=?-"', b"a'()+_./:=?-"),
    ],
)
def test_a_multipart_form_is_declared_with_its_boundary(value: str, boundary: bytes) -> None:
    """The boundary is a token or a quoted string (RFC 2046, section 5.1.1)."""
    assert declared(value) == Form(boundary)


@pytest.mark.parametrize(
    "value",
    [
        "multipart/form-data",
        'multipart/form-data; boundary=""',
        'multipart/form-data; boundary="a "',
        "multipart/form-data; boundary=a; boundary=b",
        "multipart/form-data; boundary=a; Boundary=a",
        "multipart/form-data; boundary=" + "b" * 71,
        "multipart/form-data; boundary=a#b",
        "multipart/form-data; xboundary=a; boundary=b",
        'multipart/form-data; x="boundary=a"; boundary=b',
        "multipart/form-data; boundary*=a; boundary=b",
        "multipart/form-data; boundary*0=a; boundary=b",
    ],
)
def test_a_boundary_must_be_clear(value: str) -> None:
    """A boundary is refused unless there is one, not empty, of the characters that RFC 2046 allows."""
    assert refusal(value) == BOUNDARY


@pytest.mark.parametrize(
    "value",
    [
        "application/x-www-form-urlencoded, application/json",
        "application/json, multipart/form-data; boundary=x",
        "application/x-www-form-urlencoded x",
        "x-www-form-urlencoded",
        "multipart",
        'multipart/form-data; boundary="a',
        'multipart/form-data; boundary="a\\"b"',
        'multipart/form-data; x="; boundary=b"; boundary=a',
        'multipart/form-data; x="a,b"; boundary=a',
        "multipart/form-data boundary=a",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary = a",
        "application/x-www-form-urlencoded\xa0",
    ],
)
def test_what_mentions_a_form_must_be_well_formed(value: str) -> None:
    """A malformed type that mentions a form is refused, because another reader may take it for that form."""
    assert refusal(value) == UNCLEAR


@pytest.mark.parametrize(
    "value",
    [
        "application/json; charset=utf-16",
        "application/json; charset=UTF-7",
        'text/plain; charset="utf-32"',
        "text/plain; charset=",
        "application/x-www-form-urlencoded; charset=ibm037",
        "multipart/form-data; boundary=a; charset=utf-16",
        "text/plain; charset=utf-8; charset=utf-16",
        "text/plain; charset = utf-7",
        "text/plain; charset*=utf-7''x",
        "text/plain; charset='utf-7'",
    ],
)
def test_other_charsets_are_refused(value: str) -> None:
    """A charset other than UTF-8 is refused: to a reader that honours it the same bytes are other fields."""
    assert refusal(value) == CHARSET


def test_one_content_type_is_enough() -> None:
    """Two `Content-Type` fields are refused, even if they are the same."""
    assert refusal("application/json", "application/json") == "The request has more than one Content-Type."


def test_a_very_long_content_type_is_not_read() -> None:
    """A `Content-Type` longer than 1,024 bytes is refused."""
    assert refusal("text/plain; " + "x" * 1013) == "The Content-Type is longer than 1024 bytes."
    assert declared("text/plain; " + "x" * 1012) is None


def test_odd_spaces_cost_no_time() -> None:
    """Spaces in a media type are matched in linear time."""
    assert refusal("application/x-www-form-urlencoded" + "; " * 490 + "!") == UNCLEAR


def test_a_content_type_means_the_same_the_second_time() -> None:
    """A media type that was remembered gives the same result, and a refused one is refused again."""
    header = [(b"content-type", b"multipart/form-data; boundary=x")]
    assert declared_form(header) == declared_form(header) == Form(b"x")
    for _ in range(2):
        with pytest.raises(RequestRefused):
            declared_form([(b"content-type", b"multipart/form-data")])
