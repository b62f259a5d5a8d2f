"""Let an auditor read single records away from the box, without the salts that open all records of their kind.

Which row a past record belongs to, only an auditor's key can tell: so the auditor asks by a request, which names both.
The box answers with what the salts contribute to the keys of these records, sealed to that auditor, and puts it on
record first. A request that names the row of another record gets what opens nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta, Struct

from compliance.crypto import Opener, Sealer
from compliance.journal.errors import NotReadable
from compliance.journal.reader import KINDS, Contributions, Kind, Walk, leaves, measured
from compliance.journal.records import contribution
from compliance.journal.signing import Auditors
from compliance.journal.writer import Journal
from compliance.state.salts import Salts
from compliance.verify.leaf import shard_name
from compliance.verify.statements import record_parsed

__all__ = ["MAX_FILE", "Request", "Requested", "contributions", "kinds", "release", "requested"]

MAX_RECORDS = 1000
MAX_FILE = 1_000_000  # bytes
_CONTRIBUTION = 32

_Id = Annotated[str, Meta(pattern="^[0-9a-f]{32}$")]
_Fingerprint = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]


class Requested(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A record by its name, and the row of its salt."""

    record: str
    row: Annotated[bytes, Meta(min_length=16, max_length=16)]


class Request(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an auditor (by fingerprint) asks of a box (docs/formats.md)."""

    format: int = 1
    journal: _Id
    auditor: _Fingerprint
    records: Annotated[tuple[Requested, ...], Meta(min_length=1, max_length=MAX_RECORDS)]

    @classmethod
    def parsed(cls, data: bytes) -> Request:
        """Raises NotReadable: release_malformed."""
        found = _decoded(data, cls)
        _places(one.record for one in found.records)
        return found

    def packed(self) -> bytes:
        return msgspec.json.encode(self)


class _Release(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    format: int = 1
    journal: _Id
    auditor: _Fingerprint
    records: Annotated[tuple[str, ...], Meta(min_length=1, max_length=MAX_RECORDS)]
    sealed: bytes


def requested(walk: Walk, names: Sequence[str]) -> Request:
    """The request for these records. Raises NotReadable: record_unknown, and epoch_sealed for another auditor's."""
    wanted = set(_places(names))
    found = []
    for located in walk:
        if located.place in wanted:
            if not located.chain:
                raise NotReadable("epoch_sealed", f"{located.name} was sealed to other auditors")
            wanted.remove(located.place)
            found.append(Requested(record=located.name, row=located.row))
            if not wanted:
                break
    _check_found(wanted)
    return Request(journal=walk.journal.hex(), auditor=walk.auditor, records=tuple(found))


def kinds(directory: Path, asked: Request) -> dict[str, Kind]:
    """What the records are that are asked for, as far as the box can tell. Raises NotReadable: record_unknown."""
    wanted = set(_places(one.record for one in asked.records))
    found: dict[tuple[int, int], Kind] = {}
    for number in sorted({shard for shard, _ in wanted}):
        path = directory / f"{shard_name(number)}.log"
        if path.exists():
            for _, leaf in leaves(path, measured(path)):
                place = leaf.shard, leaf.sequence
                if place in wanted and leaf.kind in KINDS:
                    found[place] = KINDS[leaf.kind]
    _check_found(wanted - found.keys())
    return {one.record: found[record_parsed(one.record)] for one in asked.records}


def release(journal: Journal, salts: Salts, asked: Request, auditors: Auditors, tenant: str) -> bytes:
    """The answer to a request, which only the auditor who made it can open. Each record is a leaf of its own.

    It is all or nothing. Raises NotReadable: record_unknown, record_erased, release_foreign for a request of another
    journal or of somebody who is no auditor of this one; JournalError, StateError, KeyFault.
    """
    sealer = _asking(journal, asked, auditors)
    kinds(journal.directory, asked)
    for one in asked.records:
        if salts.salt(one.row) is None:
            raise _erased(one)
    for one in asked.records:
        journal.record("released", {"record": one.record, "auditor": asked.auditor}, tenant)
    journal.checkpoint()
    bound, at = bytes.fromhex(journal.id), journal.now()
    contributed = []
    for one in asked.records:
        salt = salts.released(one.row, one.record, asked.auditor, at)
        if salt is None:
            raise _erased(one)
        contributed.append(contribution(salt, bound, *record_parsed(one.record)))
    names = tuple(one.record for one in asked.records)
    sealed = sealer.seal(b"".join(contributed), _info(bound, _places(names)))
    return msgspec.json.encode(_Release(journal=journal.id, auditor=asked.auditor, records=names, sealed=sealed))


def contributions(data: bytes, opener: Opener, id_: str) -> Contributions:
    """What was released, for the reader. Raises NotReadable: release_malformed, release_foreign; Unauthentic."""
    found = _decoded(data, _Release)
    if (found.journal, found.auditor) != (id_, opener.fingerprint.hex()):
        raise NotReadable("release_foreign", "the release is of another journal, or for another auditor")
    places = _places(found.records)
    opened = opener.open(found.sealed, _info(bytes.fromhex(id_), places))
    if len(opened) != _CONTRIBUTION * len(places):
        raise NotReadable("release_malformed", "the release holds another number of records than it says")
    starts = range(0, len(opened), _CONTRIBUTION)
    return {place: opened[start : start + _CONTRIBUTION] for place, start in zip(places, starts, strict=True)}


def _asking(journal: Journal, asked: Request, auditors: Auditors) -> Sealer:
    for sealer in auditors.sealers():
        if (asked.journal, asked.auditor) == (journal.id, sealer.fingerprint.hex()):
            return sealer
    raise NotReadable("release_foreign", "the request is for another journal, or of nobody to whom this one is sealed")


_File = TypeVar("_File", Request, _Release)


def _decoded(data: bytes, kind: type[_File]) -> _File:
    try:
        found = msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, ValueError):
        raise NotReadable("release_malformed", "this is no request or release of format 1") from None
    if found.format != 1 or len(data) > MAX_FILE:
        raise NotReadable("release_malformed", "this is no request or release of format 1")
    return found


def _places(names: Iterable[str]) -> list[tuple[int, int]]:
    """Shards and sequences. Raises NotReadable for a name that is none, or comes twice."""
    places: dict[tuple[int, int], None] = {}
    for name in names:
        try:
            place = record_parsed(name)
        except ValueError:
            raise NotReadable("record_unknown", "a record is named by its shard and number") from None
        if place in places:
            raise NotReadable("release_malformed", f"{name} is named twice")
        places[place] = None
    return list(places)


def _info(journal: bytes, places: Iterable[tuple[int, int]]) -> bytes:
    """What a release is bound to (the `info` of HPKE)."""
    packed = (shard.to_bytes(2, "big") + sequence.to_bytes(8, "big") for shard, sequence in places)
    return b"sealpress.release/1\x00" + journal + b"".join(packed)


def _check_found(missing: set[tuple[int, int]]) -> None:
    for shard, sequence in sorted(missing):
        raise NotReadable("record_unknown", f"{shard_name(shard)}/{sequence} is no record that holds something")


def _erased(one: Requested) -> NotReadable:
    return NotReadable("record_erased", f"{one.record} was erased, or the request does not name its row")
