"""What lies beside the leaves of evidence: each file is bound to them, by its digest or by its signature."""

from __future__ import annotations

import json
from collections.abc import Set
from typing import Any

from compliance.crypto import Unauthentic, sha256, verify
from compliance.verify.archive import Archive
from compliance.verify.claims import decoded
from compliance.verify.errors import NotVerified
from compliance.verify.statements import key_bytes

__all__ = ["check_attached"]

_GRANT, _PROOF = b"sealpress.usage-grant/1\x00", b"sealpress.policy-proof/1\x00"


def check_attached(archive: Archive, journal: str, policies: Set[str]) -> None:
    """Check policies, usage grants and the proof of claims; `policies` are the digests that calls name, and each of
    them must be here. Raises NotVerified: evidence_policy, evidence_grant, evidence_proof."""
    found = set()
    for name in archive.names:
        folder, _, file = name.partition("/")
        id_ = file.removesuffix(".json")
        if folder == "policies":
            if sha256(archive.read(name)).hex() != id_ or id_ not in policies:
                raise NotVerified.at(name, "evidence_policy")
            found.add(id_)
        elif folder == "grants":
            terms = _signed(name, archive.read(name), _GRANT, "evidence_grant")
            if (terms.get("id"), terms.get("box")) != (id_, journal):
                raise NotVerified.at(name, "evidence_grant")
        elif name == "policy.proof":
            proved = _signed(name, archive.read(name), _PROOF, "evidence_proof").get("policy")
            if proved not in policies:
                raise NotVerified.at(name, "evidence_proof")
    for digest in sorted(policies - found):
        raise NotVerified.at(f"policies/{digest}.json", "evidence_policy")


def _signed(name: str, data: bytes, label: bytes, code: str) -> dict[str, Any]:
    """The statement in a signed file. Raises NotVerified with this code."""
    try:
        file = json.loads(data)
        statement = decoded(file["statement"])
        verify(key_bytes(file["key"]), decoded(file["signature"]), label + statement)
        found = json.loads(statement)
        if not isinstance(found, dict):
            raise ValueError("no statement")
    except (Unauthentic, AttributeError, KeyError, TypeError, ValueError, RecursionError):
        raise NotVerified.at(name, code) from None
    return found
