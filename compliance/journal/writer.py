"""Write the journal: the intent before the model runs, the outcome after it. No record, no run.

One shard a process, taken with a lock and continued where the last process left it. A record is one write(2) under
keys that a thief of the box cannot go back to: an epoch key sealed to the auditors, a ratchet, and a salt. One thread
makes records last and signs heads; in the class `durable` a call goes on only when its record is synced.
"""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from threading import Lock, RLock
from typing import Any

import msgspec
from msgspec import structs

from compliance.crypto import fresh
from compliance.journal.committer import Committer
from compliance.journal.errors import JournalError
from compliance.journal.fork import over_fork
from compliance.journal.joint import join
from compliance.journal.notes import Notes
from compliance.journal.receipts import Written, promised, proved, redeemed
from compliance.journal.records import (
    Closed,
    Noted,
    contribution,
    epoch_info,
    public,
    seal_record,
    step,
    unmasked,
)
from compliance.journal.recovery import last_heads
from compliance.journal.resume import resume
from compliance.journal.shard import Shard
from compliance.journal.signing import Auditors, DayKeys
from compliance.state.salts import Salts, pseudonym
from compliance.verify.leaf import (
    ALLOWED,
    CLOSED,
    EPOCH,
    MAX_BODY,
    NOBODY,
    NOTED,
    REFUSED,
    Epoch,
    Place,
)
from compliance.verify.mark import Mark, packed
from compliance.verify.note import DAY as DAY_KEY
from compliance.verify.note import signed
from policies.errors import Failed, Fault
from policies.facts import Call, Decision, Manifest, Outcome
from policies.payload import InputError, Payload

__all__ = ["Entry", "Journal", "Written"]

EPOCH_RECORDS = 4096
EPOCH_SECONDS = 600
HEAD_SECONDS = 1.0
JOINT_SECONDS = 60.0
DAY = 86_400 * 10**9
# a record holds its padding besides
MAX_CONTENT = MAX_BODY // 8 * 7
UNGRANTED = "-"  # in the counters of usage, for calls that run under no usage grant

Salt = tuple[bytes, bytes]  # row, salt

_log = logging.getLogger("sealpress")


class Entry(msgspec.Struct, frozen=True):
    """Where a call was opened; what its later records refer to."""

    call: Call
    written: Written
    salt: Salt

    def __repr__(self) -> str:
        return f"<call {self.call.id} at {self.written.shard}/{self.written.sequence}>"


class _Due(msgspec.Struct):
    """A record to be written, and where it was written once it was."""

    kind: int
    metadata: bytes
    salt: Salt
    payload: bytes = b""
    of: tuple[int, int] = NOBODY
    grant: str = UNGRANTED
    used: Mapping[str, int] = {}
    refused_by: tuple[str, ...] = ()
    written: Written | None = None


class Journal:
    """The ledger of the gate. Opens its shard at the first record; safe for threads and over fork.

    In the class `buffered` the caller writes its record itself. In `durable` it leaves that to the one thread that
    syncs them in groups, and waits; many callers so wait for one sync, and for nothing else.
    """

    _shard: Shard | None = None

    def __init__(
        self, directory: Path, days: DayKeys, auditors: Auditors, salts: Path, *, durable: bool = False
    ) -> None:
        self.id = days.id
        self.directory = directory
        self._days = days
        self._auditors = auditors
        self._salts_path = salts
        self._durable = durable
        self._bound = bytes.fromhex(days.id)
        self._latest = 0
        self._open: set[tuple[int, int]] = set()
        self._notes = Notes()
        self._reset()
        over_fork(self)

    def __del__(self) -> None:
        # a journal that nobody holds any more must not keep its shard from others
        with suppress(Fault):
            self.close()

    @property
    def sealed(self) -> bool:
        """Always: a journal without an auditor whose key seals its records writes none."""
        return True

    @property
    def durable(self) -> bool:
        """Whether a record is synced before the call that it is of goes on."""
        return self._durable

    @property
    def salts(self) -> Salts:
        """The salts in use, which change when the process forks: ask anew for each use."""
        return self._salts

    def opened(self, call: Call, model: Manifest, decision: Decision, payload: Payload) -> Entry:
        """Record a call and the decision on it.

        Raises JournalError, StateError, KeyFault, or InputError when it is too large for a record; then nothing may
        run.
        """
        # a refused purpose may be any text, and rows say theirs in clear
        purpose = call.purpose or "" if decision.allowed else ""
        salt = self._salt(call.at, call.tenant, call.subject or "", call.action, purpose)
        if call.subject is not None:
            call = structs.replace(call, subject=pseudonym(salt[1], call.subject))
        metadata = self._notes.opened(call, model, decision)
        if decision.allowed:
            written = self._write(_Due(ALLOWED, metadata, salt, msgspec.msgpack.encode(payload)))
            self._open.add(written[:2])
        else:
            names = tuple(finding.rule for finding in decision.findings if not finding.ok)
            written = self._write(_Due(REFUSED, metadata, salt, refused_by=names))
        return Entry(call, written, salt)

    def noted(self, entry: Entry, kind: str, data: dict[str, Any], payload: Payload | None = None) -> None:
        """Record something that belongs to an open call."""
        note = msgspec.json.encode(Noted(at=self.now(), kind=kind, data=data))
        said = b"" if payload is None else msgspec.msgpack.encode(payload)
        self._write(_Due(NOTED, note, entry.salt, said, of=entry.written[:2]))

    def closed(self, entry: Entry, outcome: Outcome) -> tuple[Written, Written]:
        """Record how a call ended. Returns both of its records. Raises JournalError; then no answer may be given."""
        place = entry.written[:2]
        note = msgspec.json.encode(Closed(at=self.now(), call=entry.call.id, outcome=outcome))
        metered = entry.call.metered
        grant = UNGRANTED if metered is None or metered.grant is None else metered.grant
        due = _Due(CLOSED, note, entry.salt, of=place, grant=grant, used=outcome.usage)
        try:
            self._open.remove(place)
        except KeyError:
            raise Failed("internal", f"{entry} is not open") from None
        try:
            return entry.written, self._write(due)
        except Fault:
            if due.written is None:
                self._open.add(place)  # a second outcome would not verify, but there is none yet
            raise

    def record(self, kind: str, data: dict[str, Any], tenant: str) -> Written:
        """Record something that belongs to no call: a model made ready, a read, an erasure ..."""
        return self.counted(kind, data, tenant, UNGRANTED, {})

    def counted(self, kind: str, data: dict[str, Any], tenant: str, grant: str, used: Mapping[str, int]) -> Written:
        """The same for what heads count under a usage grant: that it came, that it was revoked."""
        at = self.now()
        note = msgspec.json.encode(Noted(at=at, kind=kind, data=data))
        return self._write(_Due(NOTED, note, self._salt(at, tenant, "", kind, ""), grant=grant, used=used))

    def usage(self) -> Counter[str]:
        """What the last signed heads of all shards count as used, by GRANT/UNIT. Raises JournalError, KeyFault."""
        try:
            heads = last_heads(self.directory, self._days.keyring())
        except OSError as error:
            raise JournalError("journal_write", f"{self.directory}: {error.strerror}") from None
        return sum((Counter(head.usage) for head in heads), Counter())

    def receipt(self, written: Sequence[Written]) -> bytes:
        """What shows that these records were written (docs/formats.md): a head over them where they are synced.

        Before that it is a signed promise, since a power cut may still take the records, and a head would then lie.
        """
        shard, at = self._shard, self._now()
        key = self._days.key(at)
        if shard is not None and all(one.shard == shard.number and one.sequence < shard.synced for one in written):
            head, note = shard.signed_head(key.signer, at, self._salts.destroyed)
            return proved(written, head.size, shard.node, note, key.certificate)
        return promised(self.id, at, written, key)

    def mark(self, call: str, model: str, text: str) -> str:
        """What shows that the model of this digest wrote a text in the call of this id, as JSON (docs/formats.md).

        Raises KeyFault where no key may sign today.
        """
        at = self._now()
        key = self._days.key(at)
        return packed(signed(Mark.of(self.id, at, call, model, text).text(), DAY_KEY, key.signer), key.certificate)

    def redeemed(self, places: Sequence[tuple[int, int]]) -> bytes:
        """The receipt that proves these records (shard, sequence), all of one shard, under its last signed head.

        Raises NotReadable: record_unsigned, JournalError.
        """
        return redeemed(self.directory, self._days.keyring(), places)

    def now(self) -> int:
        """The time in nanoseconds since 1970, never before what this journal has signed."""
        if self._shard is None or self._failed:
            with self._writing:
                self._ready()
        return self._now()

    @property
    def lag(self) -> tuple[int, float]:
        """How many records of this process no signed head covers yet, and for how many seconds the oldest waits."""
        shard = self._shard
        return (0, 0.0) if shard is None else shard.lag

    def days_left(self) -> int:
        """For how many days from today on there is a key that can sign, without a gap. Raises KeyFault."""
        return self._days.days_left(self._now())

    def checkpoint(self) -> None:
        """Make all records last, and sign a head over them and a joint head, when there are new ones."""
        if self._shard is not None:
            self._commit(head=True, joint=True)

    def close(self) -> None:
        """Sign the last head and let the shard go."""
        with self._entry:
            self._committer.stop()
            with self._writing:
                try:
                    self._commit(head=True, joint=True)
                finally:
                    self._let_go()
                    self._salts.close()

    def hold_for_fork(self) -> None:
        """No record is half-written, no thread runs and no SQLite connection is open while the process is copied."""
        self._entry.acquire()
        self._committer.stop()
        self._writing.acquire()
        self._signing.acquire()
        self._salts.close()

    def go_on_in_parent(self) -> None:
        """Write again."""
        if self._shard is not None:
            self._committer.start()
        self._signing.release()
        self._writing.release()
        self._entry.release()

    def forget_in_child(self) -> None:
        """A child must never seal with its parent's keys, nor write into its parent's shard: it starts its own."""
        if self._shard is not None:
            self._shard.close()
        self._reset()

    def _reset(self) -> None:
        self._entry = Lock()  # to leave a record to the thread, to close, to fork
        self._writing = RLock()
        self._signing = Lock()
        self._queue: deque[_Due] = deque()
        self._committer = Committer(self._commit, 0.0 if self._durable else HEAD_SECONDS)
        self._shard = None
        self._failed = False
        self._interrupted = False
        self._salts = Salts(self._salts_path)
        self._chain = b""
        self._epoch_left = 0
        self._epoch_until = 0.0
        self._next_head = 0.0
        self._next_joint = 0.0

    def _write(self, due: _Due) -> Written:
        """Have a record written, as safely as the class of the journal asks."""
        if (size := len(due.metadata) + len(due.payload)) > MAX_CONTENT:
            raise InputError("input_too_large", f"a record of {size} bytes; at most {MAX_CONTENT} go into one")
        if not self._durable:
            with self._writing:
                written = self._append(due, self._ready())
            self._committer.written()
            return written
        with self._entry:
            self._queue.append(due)
            group = self._committer.written()
        group.wait()
        if due.written is None:
            raise JournalError("journal_write", "the record was not written, nor one that was to be written before it")
        return due.written

    def _append(self, due: _Due, shard: Shard) -> Written:
        """Seal one record under the chain key of its place and write it."""
        row, secret = due.salt
        chain, mask = step(self._chain)
        place = Place(due.kind, shard.number, shard.size, shard.epoch, *due.of, unmasked(row, mask))
        contributed = contribution(secret, self._bound, shard.number, shard.size)
        body = seal_record(place, self._bound, self._chain, contributed, due.metadata, due.payload)
        written = due.written = self._put(shard, due.kind, body, chain)
        self._epoch_left -= 1
        if due.used:
            shard.counts.used(due.grant, due.used)
        for rule in due.refused_by:
            shard.counts.refused_by(rule)
        return written

    def _put(self, shard: Shard, kind: int, body: bytes, chain: bytes) -> Written:
        """Write a leaf, and move on to the chain key behind it."""
        try:
            leaf = shard.append(kind, body)
            self._chain = chain
        except JournalError:
            raise
        except BaseException:
            # stopped between the write and the account of it: only the disk knows, so take the shard anew
            self._let_go()
            raise
        return Written(shard.number, shard.size - 1, leaf)

    def _ready(self) -> Shard:
        """The shard, taken, with an epoch that may seal. What could not be signed before is tried again first."""
        if self._failed:
            self._sign(head=True)
        shard = self._shard or self._take()
        if self._epoch_left <= 0 or time.monotonic() > self._epoch_until:
            self._new_epoch(shard)
        return shard

    def _take(self) -> Shard:
        """Take a shard to go on with; whatever a crash left torn is mended."""
        self._shard, self._latest = resume(self.directory, self._days, self._salts.destroyed, self._now())
        self._failed = False
        self._next_joint = time.monotonic() + JOINT_SECONDS
        return self._shard

    def _new_epoch(self, shard: Shard) -> None:
        chain = fresh()
        place = Place(EPOCH, shard.number, shard.size, shard.epoch + 1)
        info = epoch_info(place, self._bound)
        sealed = tuple((sealer.fingerprint, sealer.seal(chain, info)) for sealer in self._auditors.sealers())
        self._put(shard, EPOCH, public(place, Epoch(self._now(), fresh(16), sealed).packed()), chain)
        self._epoch_left = EPOCH_RECORDS
        self._epoch_until = time.monotonic() + EPOCH_SECONDS

    def _commit(self, head: bool = False, joint: bool = False) -> float | None:
        """Write what is queued, sync what was written, and sign heads that are due. Returns when one will be, in s."""
        if self._queue:
            with self._writing:
                try:
                    shard = self._ready()
                    while self._queue:
                        self._append(self._queue.popleft(), shard)
                finally:
                    # who waits for a record that could not be written is told so; nobody writes it later
                    self._queue.clear()
        return self._sign(head, joint)

    def _sign(self, head: bool = False, joint: bool = False) -> float | None:
        with ExitStack() as signing:
            with self._writing:
                if self._interrupted:
                    self._let_go()
                    self._take()
                # in this order everywhere; who writes goes on as soon as the records are counted
                signing.enter_context(self._signing)
                shard = self._shard
                if shard is None:
                    return None
                at = self._now()
                counted = shard.counted(at)
            try:
                shard.sync(counted)
                now = time.monotonic()
                if not head and now < self._next_head:
                    return self._next_head - now
                shard.sign(self._days.signer(at), self._salts.destroyed)
                self._next_head = now + HEAD_SECONDS
                if joint or now >= self._next_joint:
                    join(self.directory, self._days.keyring(), self._days.signer, at)
                    self._next_joint = now + JOINT_SECONDS
            except BaseException as error:
                self._failed = True
                # stopped in the middle of the account of it: only the disk knows, so the shard is taken anew
                self._interrupted = not isinstance(error, Fault)
                raise
            self._failed = False
        return None

    def _let_go(self) -> None:
        with self._signing:
            shard, self._shard = self._shard, None
            if shard is not None:
                shard.close()
        self._epoch_left = 0
        self._interrupted = False

    def _salt(self, at: int, tenant: str, subject: str, class_: str, purpose: str) -> Salt:
        return self._salts.for_call(tenant, subject, class_, purpose, _month(at // DAY))

    def _now(self) -> int:
        self._latest = max(self._latest, time.time_ns())
        return self._latest


@lru_cache(maxsize=64)
def _month(day: int) -> str:
    """2025-11, from the days since 1970."""
    return datetime.fromtimestamp(day * 86_400, UTC).strftime("%Y-%m")
