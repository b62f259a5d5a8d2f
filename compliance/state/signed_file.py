"""A signed statement as a file: JSON with the statement (base64), the key that signed it (`ed25519:...`) and the
signature (base64, Ed25519 over a label of its kind, which ends in 00, and the statement)."""

from __future__ import annotations

import msgspec

from compliance.crypto import Signer, verify
from compliance.keys import KeyFault, from_text, to_text

__all__ = ["MAX_FILE", "opened", "written"]

MAX_FILE = 65_536


def written(label: bytes, statement: bytes, signer: Signer, name: str = "statement") -> bytes:
    """The file; `name` is that of the field which holds the statement."""
    made = {name: statement, "key": to_text(signer.public), "signature": signer.sign(label + statement)}
    return msgspec.json.format(msgspec.json.encode(made), indent=2) + b"\n"


def opened(label: bytes, file: bytes, name: str = "statement", most: int = MAX_FILE) -> tuple[bytes, str]:
    """The statement in a file and the key that signed it, whose ever that is: the signature holds, and nothing else was
    checked.

    Raises ValueError for what is no such file, or has more than `most` bytes; Unauthentic.
    """
    if len(file) > most:
        raise ValueError("too long")
    try:
        found = msgspec.json.decode(file, type=dict[str, str])
        if found.keys() != {name, "key", "signature"}:
            raise ValueError("other fields")
        statement, signature = (msgspec.convert(found[field], bytes) for field in (name, "signature"))
        key = from_text(found["key"])
    except (msgspec.MsgspecError, KeyFault) as error:
        raise ValueError(str(error)) from None
    verify(key, signature, label + statement)
    return statement, to_text(key)
