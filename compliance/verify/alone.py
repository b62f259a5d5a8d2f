"""The verifier of evidence as a program by itself, for an auditor who installs nothing of ours but this one file.

    python audit.pyz evidence.zip --key FINGERPRINT --head kept.head --nonce "seven blue cups"

It needs Python 3.11 and `cryptography`, and no network. It prints what holds and ends with 0, or prints the reason and
ends with 1.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path

from compliance.crypto import Unauthentic
from compliance.verify.authority import roots_in
from compliance.verify.errors import NotVerified
from compliance.verify.evidence import verify_evidence
from compliance.verify.spoken import said, value_of
from compliance.verify.statements import key_bytes

__all__ = ["main"]

_MAX_HEAD = 2_000_000


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status; argparse ends with 2 for arguments that say nothing."""
    parser = argparse.ArgumentParser(description="Check evidence of sealpress with public keys only.")
    parser.add_argument("evidence", type=Path)
    parser.add_argument("--key", required=True, type=_key, help="the root's key (ed25519:...) or its fingerprint")
    parser.add_argument("--head", type=Path, help="a head that you hold from before, from outside the evidence")
    parser.add_argument("--witness", type=_witness, help="the public key of a witness (ed25519:...)")
    parser.add_argument("--tsa-root", type=Path, help="certificates (PEM) of authorities for time that you trust")
    parser.add_argument("--nonce", help="a text that nobody could foresee, for a sample")
    parser.add_argument("--json", action="store_true", help="say it as JSON")
    given = parser.parse_args(arguments)
    try:
        head = None if given.head is None else given.head.read_bytes()[:_MAX_HEAD].decode("utf-8", "replace")
        roots = None if given.tsa_root is None else roots_in(given.tsa_root.read_bytes()[:_MAX_HEAD])
    except OSError as error:
        parser.error(f"{error.filename}: {error.strerror}")
    except Unauthentic as error:
        parser.error(f"{given.tsa_root}: {error}")
    try:
        found = verify_evidence(
            given.evidence, given.key, head=head, nonce=given.nonce, witness=given.witness, tsa_roots=roots
        )
    except NotVerified as refusal:
        [(place, code)] = refusal.failures
        value = {"ok": False, "failures": [{"place": place, "code": code}]}
        text = f"NOT VERIFIED\n  {place}: {code}: {refusal.hints[code]}"
        sys.stdout.write(f"{json.dumps(value) if given.json else text}\n")
        return 1
    sys.stdout.write(f"{json.dumps({'ok': True, **value_of(found)}) if given.json else said(found)}\n")
    return 0


def _key(text: str) -> bytes | str:
    return text.lower() if re.fullmatch("[0-9A-Fa-f]{64}", text) else key_bytes(text)


def _witness(text: str) -> bytes:
    return key_bytes(text)


if __name__ == "__main__":
    sys.exit(main())
