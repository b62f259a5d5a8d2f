"""Evidence that was verified, as the values that reports and controls see (compliance/evidence/model.py)."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, Literal, get_args

import msgspec
from msgspec import Struct

from compliance.evidence.model import (
    Box,
    DayKey,
    Evidence,
    ModelPapers,
    OpenedCall,
    Period,
    PolicyText,
    SignedHead,
    Span,
    Told,
    Trial,
    Unread,
    UsageGrant,
)
from compliance.journal.records import Closed, Metadata, Noted, Opened
from compliance.state.grants.terms import read as read_grant
from compliance.verify.archive import Archive
from compliance.verify.disclosed import openings
from compliance.verify.errors import NotVerified
from compliance.verify.evidence import VerifiedEvidence
from compliance.verify.leaf import NOBODY, PLACED, SEALED, frames, record_name, shard_name
from compliance.verify.statements import Head, key_text
from policies.facts import Purpose

__all__ = ["Calls", "read"]

_Why = Literal["erased", "other_auditor", "not_released"]


class _Policy(Struct, frozen=True, kw_only=True):
    texts: dict[str, str]
    purposes: dict[str, Purpose]
    parameters: dict[str, dict[str, Any]]


class Calls(Collection[OpenedCall]):
    """The calls in a file of evidence, read from it each time that they are gone over, in memory for the open ones."""

    def __init__(self, path: Path, shards: int, count: int) -> None:
        self._path = path
        self._shards = shards
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __contains__(self, call: object) -> bool:
        return any(call == one for one in self)

    def __iter__(self) -> Iterator[OpenedCall]:
        open_: dict[str, OpenedCall] = {}
        # a call may be closed in a shard that is read before its own
        early: dict[str, tuple[str, Closed]] = {}
        for record, of, metadata in _opened(self._path, self._shards):
            if isinstance(metadata, Opened):
                call = _call(record, metadata)
                if not call.allowed:
                    yield call
                elif record in early:
                    yield _ended(call, *early.pop(record))
                else:
                    open_[record] = call
            elif isinstance(metadata, Closed) and of is not None:
                if of in open_:
                    yield _ended(open_.pop(of), record, metadata)
                else:
                    early[of] = record, metadata
        yield from open_.values()


def read(path: Path, verified: VerifiedEvidence) -> Evidence:
    """What a file says that `verify_evidence` has just verified. Raises NotVerified: evidence_malformed, where metadata
    that a newer version wrote cannot be read."""
    claimed, counts = verified.claimed, verified.counts
    spans = tuple(Span(shard=span.name, first=_head(span.first), last=_head(span.last)) for span in verified.spans)
    try:
        earlier = tuple(_told(one.name, None, _metadata(one.metadata)) for one in claimed.earlier)
        notes = tuple(
            _told(record, of, metadata)
            for record, of, metadata in _opened(path, len(spans))
            if isinstance(metadata, Noted)
        )
        with Archive(path) as archive:
            names = archive.names
            texts = {name: archive.read(name) for name in names if name.startswith("policies/")}
            grants = [read_grant(archive.read(name)) for name in names if name.startswith("grants/")]
            proof = archive.read("policy.proof") if "policy.proof" in names else None
        policies = tuple(_policy(name[9:-5], text) for name, text in sorted(texts.items()))
    except msgspec.MsgspecError:
        raise NotVerified.at("evidence", "evidence_malformed") from None
    models = _models((*earlier, *notes))
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    unread = counts["unread"]
    allowed, refused = sum(counts["allowed_by_day"].values()), sum(counts["refused_by_day"].values())
    return Evidence(
        digest=digest,
        box=Box(
            journal=verified.genesis.id,
            root=key_text(verified.genesis.root),
            made=verified.genesis.made,
            declared=dict(claimed.box),
        ),
        period=Period(since=claimed.since, until=claimed.until),
        spans=spans,
        heads=tuple(head for span in spans for head in (span.first, span.last)),
        keys=tuple(
            DayKey(key=key_text(key), day=day, revoked=verified.keyring.revoked_since(key))
            for day, key in verified.keyring.days()
        ),
        auditors=verified.auditors,
        calls=Calls(path, len(spans), allowed + refused),
        notes=notes,
        earlier=earlier,
        policies=policies,
        models=models,
        grants=tuple(UsageGrant(terms=grant.terms, key=grant.key) for grant in grants),
        tests=(
            *(Trial(kind="measurement", about=model.digest, data=model.measurements) for model in models),
            *(
                Trial(kind="policy_cases", about=str(told.data.get("policy")), data=cases)
                for told in (*earlier, *notes)
                # boxes of before did not tell them
                if told.kind == "policy_changed" and isinstance(cases := told.data.get("cases"), dict)
            ),
            *(() if proof is None else (_proof(proof),)),
        ),
        unread=tuple(
            Unread(why=why, **{kind: unread.get(f"{kind} {why}", 0) for kind in _KINDS})
            for why in get_args(_Why)
            if any(unread.get(f"{kind} {why}", 0) for kind in _KINDS)
        ),
        gaps=verified.gaps,
        witnessed=verified.given or verified.witnessed is not None,
    )


_KINDS = ("allowed", "refused", "noted", "closed")


def _opened(path: Path, shards: int) -> Iterator[tuple[str, str | None, Metadata]]:
    """Every opened record with the one that it belongs to and its metadata."""
    with Archive(path) as archive:
        for number in range(shards):
            name = shard_name(number)
            with archive.open(f"{name}.log") as log, archive.open(f"{name}.opened") as opened:
                pieces = openings(opened)
                for body, _, _ in frames(log.read, archive.size(f"{name}.log")):
                    _, kind, shard, sequence, _, of_shard, of_sequence = PLACED.unpack_from(body)
                    if kind not in SEALED or len(piece := next(pieces)) == 1:
                        continue
                    of = of_shard, of_sequence
                    yield (
                        record_name(shard, sequence),
                        None if of == NOBODY else record_name(*of),
                        _metadata(piece[32:]),
                    )


def _metadata(data: bytes) -> Metadata:
    return msgspec.json.decode(data, type=Opened | Noted | Closed)


def _call(record: str, opened: Opened) -> OpenedCall:
    return OpenedCall(
        record=record,
        call=opened.call,
        model=opened.model,
        policy=opened.policy,
        allowed=opened.allowed,
        rules=opened.rules,
        against=opened.against,
        obligations=opened.obligations,
    )


def _ended(call: OpenedCall, record: str, closed: Closed) -> OpenedCall:
    return msgspec.structs.replace(call, ended=record, ended_at=closed.at, outcome=closed.outcome)


def _told(record: str, of: str | None, metadata: Metadata) -> Told:
    if not isinstance(metadata, Noted):
        raise NotVerified.at(record, "evidence_decision")
    return Told(record=record, at=metadata.at, kind=metadata.kind, data=metadata.data, of=of)


def _models(notes: tuple[Told, ...]) -> tuple[ModelPapers, ...]:
    """The papers of each model, as they were told last."""
    found = {}
    for told in notes:
        manifest = told.data.get("manifest")
        if told.kind == "loaded" and isinstance(manifest, dict):
            measurements = told.data.get("measurements", {})
            found[manifest["digest"]] = ModelPapers(
                digest=manifest["digest"],
                record=told.record,
                at=told.at,
                manifest=manifest,
                measurements=measurements if isinstance(measurements, dict) else {},
            )
    return tuple(found[digest] for digest in sorted(found))


def _policy(digest: str, text: bytes) -> PolicyText:
    found = msgspec.json.decode(text, type=_Policy)
    return PolicyText(digest=digest, texts=found.texts, purposes=found.purposes, parameters=found.parameters)


def _proof(file: bytes) -> Trial:
    statement = msgspec.json.decode(base64.b64decode(msgspec.json.decode(file)["statement"]))
    return Trial(kind="policy_proof", about=statement["policy"], data=statement)


def _head(head: Head) -> SignedHead:
    return SignedHead(
        shard=shard_name(head.shard),
        size=head.size,
        root=base64.b64encode(head.root).decode(),
        at=head.at,
        allowed=head.allowed,
        refused=head.refused,
        closed=head.closed,
        destroyed=head.destroyed,
        rules=dict(head.rules),
        usage=dict(head.usage),
    )
