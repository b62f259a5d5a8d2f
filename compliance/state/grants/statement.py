"""The usage statement of a month: what was used under each grant, from the signed heads of a box, and signed itself.

Heads count cumulatively, so a month is the last head in it less the last one before it, shard by shard. A statement
names how many leaves of each shard it covers: with the auditor's key the same sums come out of the records between
them, and statements of several boxes, or several of one, are put together without counting anything twice.

The file is JSON with `statement` (base64), `certificate` (the note in which the box's root certifies the key) and
`signature` (base64, Ed25519 by that day key over `sealpress.usage-statement/1` 00 and the statement).
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from compliance.crypto import Unauthentic, verify
from compliance.journal.reader import Record
from compliance.journal.records import Closed, Opened
from compliance.journal.signing import DayKey
from compliance.state.grants.errors import GrantError
from compliance.state.grants.terms import Signed, Tariffed
from compliance.verify.keyring import Keyring, certified
from compliance.verify.leaf import Broken, shard_name
from compliance.verify.note import Note, notes
from compliance.verify.statements import MAX_SHARDS, Certificate, Head, day_of

__all__ = [
    "Covered",
    "Recounted",
    "Statement",
    "Use",
    "collected",
    "merged",
    "read_statement",
    "recounted",
    "signed",
    "totals",
]

MAX_FILE = 4_000_000
_LABEL = b"sealpress.usage-statement/1\x00"
# lines under a grant that say something of it, and count no use
_EVENTS = ("imported", "revoked")

_Count = Annotated[int, Meta(ge=0, le=2**53 - 1)]
_Id = Annotated[str, Meta(pattern=r"\A[0-9a-f]{32}\Z")]


class Covered(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The leaves of a shard that are counted: from `since` until before `until`, of which the head has this root."""

    shard: Annotated[int, Meta(ge=0, lt=MAX_SHARDS)]
    since: _Count
    until: _Count
    root: str


class Use(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was used under a grant, by unit: `calls`, `tokens`, `cpu_us`, and `parent_cpu_us`, what the same calls would
    have taken of the model that it was pressed from, by the measurements of the bundle."""

    grant: _Id
    issuer: str
    key: str
    holder: str
    used: dict[str, _Count]
    tariff: Tariffed | None = None


class Statement(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is signed. `month` is 2026-11 in UTC, `made` when the statement was made (nanoseconds since 1970)."""

    format: Literal[1] = 1
    box: _Id
    month: Annotated[str, Meta(pattern=r"\A[0-9]{4}-(0[1-9]|1[0-2])\Z")]
    made: Annotated[int, Meta(ge=0, le=2**63 - 1)]
    shards: Annotated[tuple[Covered, ...], Meta(max_length=MAX_SHARDS)]
    grants: tuple[Use, ...]


class Recounted(Struct, frozen=True, kw_only=True):
    """The records counted again. `beyond` is what they show and no head counted, since a process was killed before it
    signed; `unread` outcomes were erased, or are sealed to other auditors."""

    beyond: dict[str, dict[str, int]]
    unread: int


class _File(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    statement: bytes
    certificate: str
    signature: bytes


def collected(directory: Path, keyring: Keyring, month: str, grants: Iterable[Signed], at: int) -> Statement:
    """The statement of a month over the journal in this folder, at the time `at` (ns), still unsigned.

    Raises GrantError: usage_statement_month, usage_statement_journal.
    """
    since, until = _bounds(month)
    shards: list[Covered] = []
    used: Counter[str] = Counter()
    for number in range(MAX_SHARDS):
        before, last = Head(keyring.id, number, 0, b"", 0, 0), None
        for head in _heads(directory, number, keyring):
            if head.at < since:
                before = head
            elif head.at < until:
                last = head
        if not (directory / f"{shard_name(number)}.heads").exists():
            break
        if last is not None:
            root = base64.b64encode(last.root).decode()
            shards.append(Covered(shard=number, since=before.size, until=last.size, root=root))
            used.update({name: amount - before.usage.get(name, 0) for name, amount in last.usage.items()})
    known = {grant.terms.id: grant for grant in grants}
    uses = tuple(_use(known[id_], units) for id_, units in sorted(_by_grant(used).items()) if id_ in known)
    return Statement(box=keyring.id, month=month, made=at, shards=tuple(shards), grants=uses)


def signed(statement: Statement, key: DayKey) -> bytes:
    """The file of a statement, signed with the key of the day on which it was made."""
    content = msgspec.json.encode(statement, order="deterministic")
    file = _File(statement=content, certificate=key.certificate, signature=key.signer.sign(_LABEL + content))
    return msgspec.json.format(msgspec.json.encode(file), indent=2) + b"\n"


def read_statement(file: bytes, roots: Collection[bytes]) -> Statement:
    """The statement in a file, signed with a key that one of these roots certified for the day it was made on.

    Raises GrantError: usage_statement_malformed, usage_statement_forged.
    """
    try:
        if len(file) > MAX_FILE:
            raise ValueError("too long")
        found = msgspec.json.decode(file, type=_File)
        statement = msgspec.json.decode(found.statement, type=Statement)
        day = day_of(statement.made)
    except (msgspec.MsgspecError, ValueError, OverflowError):
        raise GrantError("usage_statement_malformed", "the file holds no usage statement") from None
    for root in roots:
        try:
            key = certified(found.certificate, statement.box, root)
            if isinstance(key, Certificate) and key.day == day:
                verify(key.key, found.signature, _LABEL + found.statement)
                return statement
        except (Broken, Unauthentic):
            continue
    raise GrantError("usage_statement_forged", "no key that a given root certified for that day has signed it")


def recounted(statement: Statement, records: Iterable[Record]) -> Recounted:
    """Count the records again that a statement covers, out of all records of its journal.

    Raises GrantError: usage_statement_recount where they show less than was signed, and every one could be read.
    """
    covered = {shard_name(one.shard): one for one in statement.shards}
    open_: dict[str, str] = {}
    # a call may be closed by another process than opened it, so its outcome may be met first
    closed: dict[str, dict[str, int]] = {}
    sums: dict[str, Counter[str]] = {}
    unread = 0

    def count(grant: str, used: dict[str, int]) -> None:
        sums.setdefault(grant, Counter()).update(used)

    for record in records:
        shard, _, sequence = record.record.rpartition("/")
        inside = shard in covered and covered[shard].since <= int(sequence) < covered[shard].until
        match record.metadata:
            case Opened(call=call) if call.metered is not None and call.metered.grant is not None:
                if (early := closed.pop(record.record, None)) is not None:
                    count(call.metered.grant, early)
                else:
                    open_[record.record] = call.metered.grant
            case Closed(outcome=outcome) if record.of is not None:
                grant = open_.pop(record.of, None)
                if inside and grant is not None:
                    count(grant, outcome.usage)
                elif inside:
                    closed[record.of] = outcome.usage
            case None if inside and record.kind == "closed":
                unread += 1
    beyond: dict[str, dict[str, int]] = {}
    for use in statement.grants:
        seen = sums.get(use.grant, Counter())
        if not unread and any(seen[unit] < amount for unit, amount in use.used.items()):
            raise GrantError("usage_statement_recount", f"the records show less under {use.grant} than was signed")
        more = {unit: amount - use.used.get(unit, 0) for unit, amount in seen.items()}
        if any(amount > 0 for amount in more.values()):
            beyond[use.grant] = {unit: amount for unit, amount in more.items() if amount > 0}
    return Recounted(beyond=beyond, unread=unread)


def merged(statements: Iterable[Statement]) -> tuple[Statement, ...]:
    """One statement for each box and month: of several the one that covers the most. What is covered is counted once.

    Raises GrantError: usage_statement_conflict where of two statements neither covers all that the other does.
    """
    best: dict[tuple[str, str], Statement] = {}
    for one in statements:
        place = one.box, one.month
        best[place] = _wider(best[place], one) if place in best else one
    return tuple(best[place] for place in sorted(best))


def _wider(one: Statement, other: Statement) -> Statement:
    for small, large in ((one, other), (other, one)):
        ends = {shard.shard: shard for shard in large.shards}
        if all(_within(shard, ends.get(shard.shard)) for shard in small.shards):
            return large
    raise GrantError("usage_statement_conflict", f"two statements of {one.box} for {one.month} do not fit together")


def _within(small: Covered, large: Covered | None) -> bool:
    """Whether all leaves of one are among those of the other; with as many leaves, they have the same root."""
    if large is None or small.since != large.since or small.until > large.until:
        return False
    return small.until < large.until or small.root == large.root


def _use(grant: Signed, units: dict[str, int]) -> Use:
    terms = grant.terms
    return Use(grant=terms.id, issuer=terms.issuer, key=grant.key, holder=terms.holder, used=units, tariff=terms.tariff)


def _by_grant(used: Counter[str]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for name, amount in used.items():
        grant, _, unit = name.partition("/")
        if amount and unit not in _EVENTS:
            found.setdefault(grant, {})[unit] = amount
    return found


def _heads(directory: Path, number: int, keyring: Keyring) -> Iterator[Head]:
    """The signed heads of a shard. Raises GrantError: usage_statement_journal."""
    path = directory / f"{shard_name(number)}.heads"
    try:
        for text, _ in notes(path, "head_truncated", "head_signature"):
            note = Note.parsed(text)
            keyring.signer_of(note)
            head = Head.parsed(note.text)
            if (head.id, head.shard) != (keyring.id, number):
                raise ValueError("a head of another shard")
            yield head
    except FileNotFoundError:
        return
    except (Broken, Unauthentic, ValueError):
        raise GrantError("usage_statement_journal", f"{path} holds a head that does not hold") from None


def _bounds(month: str) -> tuple[int, int]:
    """When a month begins and ends, in nanoseconds since 1970. Raises GrantError: usage_statement_month."""
    try:
        first = datetime.strptime(month, "%Y-%m").replace(tzinfo=UTC)
        if first.year < 1970 or f"{first:%Y-%m}" != month:
            raise ValueError(month)
        after = first.replace(year=first.year + first.month // 12, month=first.month % 12 + 1)
    except ValueError:
        raise GrantError("usage_statement_month", "a month is written as 2026-11") from None
    return int(first.timestamp()) * 10**9, int(after.timestamp()) * 10**9


def totals(statements: Sequence[Statement]) -> Counter[str]:
    """What was used in all, by unit."""
    return sum((Counter(use.used) for one in statements for use in one.grants), Counter())
