"""What a permit says of itself to a person who debugs."""

from __future__ import annotations

import pytest

from sidecar.guard.permit import SEAL, Permit
from sidecar.model import Call, Extraction, Grounds, Reference, RefusalFormat, RuleKind

ANNS = Reference("s-1", "ann", RuleKind.REQUIRE, ("app",))
NO_ONES = Reference("s-2", None)


@pytest.mark.parametrize(
    ("references", "said"),
    [
        ([], "no session"),
        ([None], "no session"),
        ([ANNS], "require app/s-1 of ann"),
        ([ANNS, None, NO_ONES], "require app/s-1 of ann, ensure s-2 of no user"),
    ],
)
def test_its_repr_names_its_grounds_and_each_session_with_its_user(
    references: list[Reference | None], said: str
) -> None:
    extraction = Extraction(RefusalFormat.REST, tuple(map(Call, references)))
    assert repr(Permit(SEAL, Grounds.KNOWN, extraction)) == f"<Permit known: {said}>"


def test_its_repr_does_not_ask_whether_it_still_holds() -> None:
    """The repr of a permit does not check whether it still holds."""

    def recheck(_extraction: Extraction) -> bool:
        raise AssertionError("asked")

    assert repr(Permit(SEAL, Grounds.KNOWN, Extraction(RefusalFormat.REST, (Call(ANNS),)), recheck))
