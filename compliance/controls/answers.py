"""What a named person answered where no check can: signed with their own key, for one box.

An answer settles a control that needs a person, and no other: what a check found stands whatever somebody says of it.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from compliance.controls.errors import ControlError
from compliance.crypto import Signer, Unauthentic, verify
from compliance.keys import KeyFault, from_text, to_text

__all__ = ["Answer", "Says", "Signed", "opened", "signed", "standing"]

Says = Literal["met", "not_met", "not_applicable"]
_LABEL = b"sealpress.answer/1\x00"
_Line = Annotated[str, Meta(min_length=1, max_length=200)]


class Answer(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`journal` is the identity of the box that it is about, `at` when it was given (ns since 1970)."""

    format: Literal[1] = 1
    control: _Line
    journal: _Line
    says: Says
    text: Annotated[str, Meta(min_length=1, max_length=2000)]
    name: _Line
    role: _Line
    at: Annotated[int, Meta(ge=0)]


class Signed(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file of format 1: the JSON of an answer, the key (`ed25519:...`) and its signature in base64."""

    format: Literal[1] = 1
    statement: Annotated[str, Meta(max_length=16_000)]
    key: str
    signature: str


def signed(answer: Answer, signer: Signer) -> Signed:
    statement = msgspec.json.encode(answer)
    signature = base64.b64encode(signer.sign(_LABEL + statement)).decode()
    return Signed(statement=statement.decode(), key=to_text(signer.public), signature=signature)


def opened(one: Signed) -> Answer:
    """The answer, whose signature holds. Raises ControlError: answer_forged; whose key it is, is not said here."""
    try:
        verify(from_text(one.key), base64.b64decode(one.signature, validate=True), _LABEL + one.statement.encode())
        return msgspec.json.decode(one.statement, type=Answer)
    except (Unauthentic, KeyFault, msgspec.MsgspecError, binascii.Error, ValueError):
        raise ControlError("answer_forged", "an answer is not what its key signed") from None


def standing(every: Iterable[Signed], journal: str) -> dict[str, tuple[Answer, Signed]]:
    """The last answer to each control of this box, by the control. Raises ControlError: answer_forged."""
    found: dict[str, tuple[Answer, Signed]] = {}
    for answer, one in sorted(((opened(one), one) for one in every), key=lambda pair: pair[0].at):
        if answer.journal == journal:
            found[answer.control] = answer, one
    return found
