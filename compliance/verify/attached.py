"""What lies beside the leaves of evidence: each file is bound to them, by its digest or by its signature."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from compliance.crypto import Unauthentic, sha256, verify
from compliance.verify.archive import Archive
from compliance.verify.claims import decoded
from compliance.verify.counts import Counts
from compliance.verify.errors import NotVerified
from compliance.verify.statements import key_bytes

__all__ = ["check_attached", "check_declaration", "check_override"]

_GRANT, _PROOF = b"sealpress.usage-grant/1\x00", b"sealpress.policy-proof/1\x00"
_OVERRIDE, _DECLARATION = b"sealpress.override/1\x00", b"sealpress.declaration/1\x00"
_APPROVERS = 2
_STATED = ("name", "reason", "starts", "ends")
_DECLARED = ("by", "made", "starts", "ends", "domicile", "users", "revenue", "commercial")
_BROKEN = (Unauthentic, AttributeError, KeyError, TypeError, ValueError, RecursionError)


def check_attached(archive: Archive, journal: str, counts: Counts) -> int:
    """Check policies, usage grants, the proof of claims, and the signed files behind what notes tell of overrides and
    declarations. Each policy that calls name must be here; of the signed files, how many are not is returned.

    Raises NotVerified: evidence_policy, evidence_grant, evidence_proof, evidence_override, evidence_declaration.
    """
    found = set()
    for name in archive.names:
        folder, _, file = name.partition("/")
        id_ = file.removesuffix(".json")
        if folder == "policies":
            if sha256(archive.read(name)).hex() != id_ or id_ not in counts.policies:
                raise NotVerified.at(name, "evidence_policy")
            found.add(id_)
        elif folder == "grants":
            terms, _ = _signed(name, archive.read(name), _GRANT, "evidence_grant")
            if (terms.get("id"), terms.get("box")) != (id_, journal):
                raise NotVerified.at(name, "evidence_grant")
        elif folder == "overrides":
            check_override(name, archive.read(name), (id_, journal), counts.told.get(name, ()))
        elif folder == "declarations":
            check_declaration(name, archive.read(name), (id_, journal), counts.told.get(name, ()))
        elif name == "policy.proof":
            proved, _ = _signed(name, archive.read(name), _PROOF, "evidence_proof")
            if proved.get("policy") not in counts.policies:
                raise NotVerified.at(name, "evidence_proof")
    for digest in sorted(counts.policies - found):
        raise NotVerified.at(f"policies/{digest}.json", "evidence_policy")
    return len(counts.told.keys() - set(archive.names))


def check_override(name: str, data: bytes, of: tuple[str, str], told: Sequence[Any]) -> None:
    """Two keys at least signed what was told, among them those of all who are told to have approved it; `of` is the id
    and the journal. Raises NotVerified: evidence_override."""
    try:
        file = json.loads(data)
        statement = decoded(file["statement"])
        stated = json.loads(statement)
        keys = {person: key_bytes(key) for person, key in file["keys"].items()}
        for person, key in keys.items():
            verify(key, decoded(file["signatures"][person]), _OVERRIDE + statement)
        if (stated["id"], stated["box"]) != of or len(set(keys.values())) < _APPROVERS or not told:
            raise ValueError("another override, or not approved")
        for said in told:
            _must_say(stated, said, _STATED)
            by = {person: keys[person] for person in said["approvers"]}
            # boxes of before told the persons only
            if "keys" in said and by != {person: key_bytes(key) for person, key in said["keys"].items()}:
                raise ValueError("others approved it")
    except _BROKEN:
        raise NotVerified.at(name, "evidence_override") from None


def check_declaration(name: str, data: bytes, of: tuple[str, str], told: Sequence[Any]) -> None:
    """What was told is what its key signed. Raises NotVerified: evidence_declaration."""
    stated, key = _signed(name, data, _DECLARATION, "evidence_declaration")
    try:
        if (stated["id"], stated["box"]) != of or not told:
            raise ValueError("another declaration")
        for said in told:
            _must_say(stated, said, _DECLARED)
            if said["key"] != key:
                raise ValueError("another signer")
    except _BROKEN:
        raise NotVerified.at(name, "evidence_declaration") from None


def _must_say(stated: Mapping[str, Any], said: Mapping[str, Any], names: Sequence[str]) -> None:
    """The same values under these names, where none is null. Raises ValueError."""
    for name in names:
        one, other = stated.get(name), said.get(name)
        if type(one) not in (str, int, bool, type(None)) or type(one) is not type(other) or one != other:
            raise ValueError(f"another {name}")


def _signed(name: str, data: bytes, label: bytes, code: str) -> tuple[dict[str, Any], str]:
    """The statement in a signed file, and the key that signed it. Raises NotVerified with this code."""
    try:
        file = json.loads(data)
        statement = decoded(file["statement"])
        verify(key_bytes(file["key"]), decoded(file["signature"]), label + statement)
        found = json.loads(statement)
        if not isinstance(found, dict):
            raise ValueError("no statement")
    except _BROKEN:
        raise NotVerified.at(name, code) from None
    return found, file["key"]
