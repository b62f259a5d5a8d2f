"""A signed statement comes back from its file, and nothing else does."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compliance.crypto import Signer, Unauthentic
from compliance.keys import to_text
from compliance.state.signed_file import MAX_FILE, opened, written

SIGNER = Signer.generate()
LABEL = b"a kind/1\x00"
FILE = written(LABEL, b"what is said", SIGNER)


@given(st.binary(max_size=200))
def test_a_statement_comes_back_with_its_key(statement: bytes) -> None:
    assert opened(LABEL, written(LABEL, statement, SIGNER)) == (statement, to_text(SIGNER.public))
    assert opened(LABEL, written(LABEL, statement, SIGNER, "other"), "other")[0] == statement


def test_another_kind_another_statement_and_another_key_are_refused() -> None:
    found = json.loads(FILE)
    other = json.loads(written(LABEL, b"something else", Signer.generate()))
    with pytest.raises(Unauthentic):
        opened(b"another kind/1\x00", FILE)
    for field in found:
        with pytest.raises(Unauthentic):
            opened(LABEL, json.dumps(found | {field: other[field]}).encode())


@pytest.mark.parametrize(
    "file",
    [
        b"",
        b"[]",
        FILE[:-10],
        FILE + b"x",
        FILE.replace(b"statement", b"revocation"),
        FILE.replace(b"ed25519:", b"rsa:"),
        json.dumps(json.loads(FILE) | {"more": "x"}).encode(),
        json.dumps(json.loads(FILE) | {"signature": 7}).encode(),
        json.dumps(json.loads(FILE) | {"signature": "no base64"}).encode(),
        FILE + b" " * MAX_FILE,
    ],
)
def test_what_is_no_such_file_is_refused(file: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        opened(LABEL, file)


@given(st.binary(max_size=400))
def test_any_bytes_are_refused_and_nothing_else_happens(file: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        opened(LABEL, file)
