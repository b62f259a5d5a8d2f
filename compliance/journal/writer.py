"""Write the journal: the intent before the model runs, the outcome after it. No record, no run.

One shard a process, taken with a lock and continued where the last process left it. A record is one write(2) under
keys that a thief of the box cannot go back to: an epoch key sealed to the auditor, a ratchet, and a salt.
"""

from __future__ import annotations

import atexit
import os
import time
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any
from weakref import WeakSet

import msgspec

from compliance.crypto import Sealer, Signer, Unauthentic, fresh, seal, sha256
from compliance.journal.errors import JournalError
from compliance.journal.records import Closed, Noted, Opened, bound_to, epoch_info, masked_row, next_chain, record_key
from compliance.journal.shard import Shard
from compliance.state.salts import Salts
from compliance.verify.journal import GENESIS, genesis
from compliance.verify.leaf import ALLOWED, CLOSED, EPOCH, MAX_BODY, NOTED, REFUSED, Leaf, Place, commitment
from compliance.verify.note import signed
from policies.errors import Failed, Fault
from policies.facts import Call, Decision, Manifest, Outcome
from policies.payload import InputError, Payload

__all__ = ["Entry", "Journal", "create"]

EPOCH_RECORDS = 4096
EPOCH_SECONDS = 600
HEAD_SECONDS = 1.0
DAY = 86_400 * 10**9
# what a record holds besides its metadata and its payload, with room to spare
OVERHEAD = 1024

# the first leaf of a shard opens an epoch, so no record belongs to it
NOBODY = (0, 0)

Salt = tuple[bytes, bytes]  # row, salt


class Entry(msgspec.Struct, frozen=True):
    """Where a call was opened; what its later records refer to."""

    call: Call
    shard: int
    sequence: int
    salt: Salt

    def __repr__(self) -> str:
        return f"<call {self.call.id} at {self.shard}/{self.sequence}>"


def create(directory: Path, signer: Signer, salts: Path) -> None:
    """Make an empty journal and its salts. Raises JournalError when there is one of them already, StateError."""
    for path in (directory, salts):
        if path.exists():
            raise JournalError("journal_exists", f"{path} exists already")
    made = datetime.now(UTC).isoformat(timespec="seconds")
    note = signed(f"sealpress.journal/{fresh(16).hex()}\nmade {made}\n", signer)
    salts.parent.mkdir(parents=True, exist_ok=True)
    Salts.create(salts)
    directory.mkdir(parents=True)
    (directory / GENESIS).write_bytes(note.encode())


class Journal:
    """The ledger of the gate. Opens its shard at the first record; safe for threads and over fork."""

    _shard: Shard | None = None

    def __init__(self, directory: Path, signer: Signer, auditor: Sealer, salts: Path) -> None:
        self._directory = directory
        self._signer = signer
        self._auditor = auditor
        self._salts_path = salts
        self._latest = 0
        self._reset()
        try:
            self.id = genesis(directory, signer.public)
        except FileNotFoundError:
            raise JournalError("journal_missing", f"{directory} holds no journal") from None
        except Unauthentic:
            raise JournalError("journal_foreign", f"{directory / GENESIS} was not signed with this box's key") from None
        _alive.add(self)

    def __del__(self) -> None:
        # a journal that nobody holds any more must not keep its shard from others
        with suppress(Fault):
            self._finish()

    def opened(self, call: Call, model: Manifest, decision: Decision, payload: Payload) -> Entry:
        """Record a call and the decision on it.

        Raises JournalError, StateError, or InputError when it is too large for a record; then nothing may run.
        """
        with self._lock:
            shard = self._ready()
            salt = self._salt(call.at, call.tenant, call.subject or "", call.action, call.purpose or "")
            metadata = Opened(
                call=call,
                model={"name": model.name, "version": model.version, "digest": model.digest, "licence": model.licence},
                policy=decision.policy,
                allowed=decision.allowed,
                rules=tuple(finding.rule for finding in decision.findings),
                against=tuple(finding for finding in decision.findings if not finding.ok),
            )
            if decision.allowed:
                sequence = self._append(ALLOWED, metadata, msgspec.json.encode(payload), salt)
            else:
                sequence = self._append(REFUSED, metadata, b"", salt)
                shard.refused_by(finding.rule for finding in metadata.against)
            self._head_when_due()
        return Entry(call, shard.number, sequence, salt)

    def noted(self, entry: Entry, kind: str, data: dict[str, Any]) -> None:
        """Record something that belongs to an open call."""
        with self._lock:
            self._ready()
            note = Noted(at=self._now(), kind=kind, data=data)
            self._append(NOTED, note, b"", entry.salt, of=(entry.shard, entry.sequence))
            self._head_when_due()

    def closed(self, entry: Entry, outcome: Outcome) -> None:
        """Record how a call ended. Raises JournalError; then no answer may be given."""
        with self._lock:
            shard = self._ready()
            if entry.shard == shard.number and entry.sequence not in shard.unfinished:
                raise Failed("internal", f"{entry} is not open")
            note = Closed(at=self._now(), call=entry.call.id, outcome=outcome)
            self._append(CLOSED, note, b"", entry.salt, of=(entry.shard, entry.sequence))
            self._head_when_due()

    def loaded(self, tenant: str, model: dict[str, Any]) -> None:
        """Record that a model was made ready: its manifest and measurements, which later calls refer to by digest."""
        with self._lock:
            self._ready()
            at = self._now()
            salt = self._salt(at, tenant, "", "loaded", "")
            self._append(NOTED, Noted(at=at, kind="loaded", data=model), b"", salt)
            self._head_when_due()

    def now(self) -> int:
        """The time in nanoseconds since 1970, never before what this shard has signed."""
        with self._lock:
            self._ready()
            return self._now()

    def checkpoint(self) -> None:
        """Sign a head over all records so far, when there are new ones."""
        with self._lock:
            self._head()

    def close(self) -> None:
        """Sign the last head and let the shard go."""
        with self._lock:
            self._finish()

    def _reset(self) -> None:
        self._lock = Lock()
        self._shard = None
        self._salts = Salts(self._salts_path)
        self._chain = b""
        self._epoch_left = 0
        self._epoch_until = 0.0
        self._next_head = 0.0

    def _ready(self) -> Shard:
        if self._shard is None:
            self._shard = Shard.take(self._directory, self.id, self._signer, self._now())
            self._latest = max(self._latest, self._shard.at)
        if not self._epoch_left or time.monotonic() > self._epoch_until:
            self._new_epoch(self._shard)
        return self._shard

    def _new_epoch(self, shard: Shard) -> None:
        chain = fresh()
        place = Place(EPOCH, shard.number, shard.tree.size, shard.epoch + 1)
        sealed = self._auditor.seal(chain, epoch_info(self.id, place))
        self._put(shard, Leaf(place, sha256(self._auditor.public), sealed), chain)
        self._epoch_left = EPOCH_RECORDS
        self._epoch_until = time.monotonic() + EPOCH_SECONDS

    def _append(
        self, kind: int, metadata: Opened | Noted | Closed, payload: bytes, salt: Salt, of: tuple[int, int] = NOBODY
    ) -> int:
        """Seal one record under the chain key of its place and write it. Returns its sequence number."""
        shard = self._ready()
        row, secret = salt
        contents = (b"metadata", msgspec.json.encode(metadata)), (b"payload", payload)
        if (size := sum(len(content) for _, content in contents)) > MAX_BODY - OVERHEAD:
            raise InputError("input_too_large", f"a record of {size} bytes; at most {MAX_BODY - OVERHEAD} go into one")
        place = Place(kind, shard.number, shard.tree.size, shard.epoch, *of, masked_row(self._chain, row))
        bound = bound_to(self.id, place)
        sealed = []
        commitments = []
        for label, content in contents:
            plaintext = fresh() + content
            sealed.append(seal(record_key(self._chain, secret, label), plaintext, bound))
            commitments.append(commitment(label, plaintext))
        self._put(shard, Leaf(place, *sealed, *commitments), next_chain(self._chain))
        self._epoch_left -= 1
        return place.sequence

    def _put(self, shard: Shard, leaf: Leaf, chain: bytes) -> None:
        """Write a leaf, and move on to the chain key behind it."""
        try:
            shard.append(leaf)
            self._chain = chain
        except JournalError:
            raise
        except BaseException:
            # stopped between the write and the account of it: only the disk knows, so take the shard anew
            self._let_go()
            raise

    def _salt(self, at: int, *owner: str) -> Salt:
        return self._salts.for_call(*owner, _month(at // DAY))

    def _now(self) -> int:
        self._latest = max(self._latest, time.time_ns())
        return self._latest

    def _head_when_due(self) -> None:
        if time.monotonic() >= self._next_head:
            self._head()

    def _head(self) -> None:
        if self._shard is not None:
            self._shard.sign(self._signer, self._now())
            self._next_head = time.monotonic() + HEAD_SECONDS

    def _finish(self) -> None:
        if self._shard is not None:
            try:
                self._head()
            finally:
                self._let_go()
                self._salts.close()

    def _let_go(self) -> None:
        if self._shard is not None:
            self._shard.close()
            self._shard = None
        self._epoch_left = 0


@lru_cache(maxsize=64)
def _month(day: int) -> str:
    """2025-11, from the days since 1970."""
    return datetime.fromtimestamp(day * 86_400, UTC).strftime("%Y-%m")


_alive: WeakSet[Journal] = WeakSet()
_forking = Lock()
_held: list[Journal] = []


def _hold_for_fork() -> None:
    """No record is half-written and no SQLite connection is open while the process is copied."""
    _forking.acquire()
    for journal in list(_alive):
        journal._lock.acquire()
        _held.append(journal)
        journal._salts.close()


def _go_on_in_parent() -> None:
    for journal in _held:
        journal._lock.release()
    _held.clear()
    _forking.release()


def _forget_in_child() -> None:
    """A child must never seal with its parent's keys, nor write into its parent's shard: it starts its own."""
    for journal in _alive:
        journal._let_go()
        journal._reset()
    _held.clear()
    _forking.release()


def _close_all() -> None:
    with ExitStack() as every:
        for journal in list(_alive):
            every.callback(journal.close)


os.register_at_fork(before=_hold_for_fork, after_in_parent=_go_on_in_parent, after_in_child=_forget_in_child)
atexit.register(_close_all)
