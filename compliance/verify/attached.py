"""What lies beside the leaves of evidence: each file is bound to them, by its digest or by its signature."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from compliance.crypto import Unauthentic, sha256, verify
from compliance.verify.archive import Archive, canonical
from compliance.verify.claims import Claimed, decoded
from compliance.verify.counts import Counts
from compliance.verify.errors import NotVerified
from compliance.verify.statements import Head, key_bytes

__all__ = ["BESIDE", "check_attached", "check_declaration", "check_grant", "check_override", "wanted"]

_GRANT, _PROOF = b"sealpress.usage-grant/1\x00", b"sealpress.policy-proof/1\x00"
_OVERRIDE, _DECLARATION = b"sealpress.override/1\x00", b"sealpress.declaration/1\x00"
_APPROVERS = 2
_STATED = ("name", "reason", "starts", "ends")
_DECLARED = ("by", "made", "starts", "ends", "domicile", "users", "revenue", "commercial")
_GRANTED = ("issuer", "holder", "models", "starts", "ends", "calls", "tokens", "cpu_s", "tariff")
BESIDE = re.compile(r"(policies|grants|declarations|overrides|timestamps)/|policy\.proof")
_ID = re.compile(r"[0-9a-f]{32}")
_BROKEN = (Unauthentic, AttributeError, KeyError, TypeError, ValueError, RecursionError)


def check_attached(archive: Archive, claimed: Claimed, counts: Counts, heads: Iterable[Head]) -> int:
    """Check policies, usage grants, the proof of claims, and the signed files behind what the leaves tell of grants,
    overrides and declarations; `heads` are the last ones. Each policy that calls name must be here, and each signed
    file, unless the box had it no more and says so: how many these are is returned. Format 1 did not say.

    Raises NotVerified: evidence_policy, evidence_grant, evidence_proof, evidence_override, evidence_declaration,
    evidence_missing, evidence_malformed.
    """
    found, journal = set(), claimed.journal
    for name in archive.names:
        folder, _, file = name.partition("/")
        id_ = file.removesuffix(".json")
        if folder == "policies":
            if sha256(archive.read(name)).hex() != id_ or id_ not in counts.policies:
                raise NotVerified.at(name, "evidence_policy")
            found.add(id_)
        elif folder == "grants":
            told = counts.told.get(name, ())
            check_grant(name, archive.read(name), (id_, journal), told)
            if claimed.papers is not None and not told:
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
    missing = wanted(counts, heads, claimed.since, claimed.until) - set(archive.names)
    if claimed.papers is not None and claimed.absent is not None:
        here = {name for name in archive.names if BESIDE.match(name)}
        for name in sorted((claimed.papers - here) | (missing - claimed.absent)):
            raise NotVerified.at(name, "evidence_missing")
        for name in sorted(here - claimed.papers):
            raise NotVerified.at(name, "evidence_malformed")
        if claimed.absent != missing:
            raise NotVerified.at("evidence.json", "evidence_malformed")
    return len(missing)


def wanted(counts: Counts, heads: Iterable[Head], since: int, until: int) -> set[str]:
    """The signed files that leaves of a period (ns) and the last heads tell of: overrides, declarations, and the usage
    grants that stood in it, that a call ran under, or of which the heads count that they came and no note says more."""
    found = set(counts.named)
    for name, told in counts.told.items():
        if not name.startswith("grants/") or any(_stood(said, since, until) for said in told):
            found.add(name)
    for head in heads:
        for counted in head.usage:
            grant, _, unit = counted.rpartition("/")
            if unit == "imported" and _ID.fullmatch(grant) and f"grants/{grant}.json" not in counts.told:
                found.add(f"grants/{grant}.json")
    return found


def _stood(said: Mapping[str, Any], since: int, until: int) -> bool:
    """Whether a grant may have stood in a period, by the terms that were told."""
    starts, ends = said.get("starts"), said.get("ends")
    return (type(starts) is not int or starts <= until) and (type(ends) is not int or since < ends)


def check_grant(name: str, data: bytes, of: tuple[str, str], told: Sequence[Any]) -> None:
    """What was told is what its issuer signed; boxes of before told less. Raises NotVerified: evidence_grant."""
    stated, key = _signed(name, data, _GRANT, "evidence_grant")
    try:
        if (stated.get("id"), stated.get("box")) != of:
            raise ValueError("another grant")
        for said in told:
            if {"key", *_GRANTED} <= said.keys() and (
                said["key"] != key or any(canonical(stated.get(term)) != canonical(said[term]) for term in _GRANTED)
            ):
                raise ValueError("another issuer, or other terms")
    except _BROKEN:
        raise NotVerified.at(name, "evidence_grant") from None


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
