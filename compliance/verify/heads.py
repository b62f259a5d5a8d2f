"""Read the signed heads of a shard, and other files of notes, while their box may be writing them."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import suppress
from pathlib import Path

from compliance.crypto import Unauthentic
from compliance.verify.errors import NotVerified
from compliance.verify.keyring import Keyring
from compliance.verify.leaf import Broken, shard_name
from compliance.verify.note import Note, notes, regular
from compliance.verify.statements import Head

__all__ = ["SignedHeads", "being_written", "numbered"]


class SignedHeads:
    """The heads of one shard in order. Each is checked by itself and against the one before it.

    `log` is the log of the shard; heads behind `size` bytes are left out.
    """

    def __init__(self, log: Path, number: int, keyring: Keyring, size: int | None) -> None:
        self.place = f"{shard_name(number)} head 0"  # of the head that was read last
        self._log = log
        self._number = number
        self._keyring = keyring
        self._last: Head | None = None
        self._key = b""  # that signed the last one
        path, what = log.with_suffix(".heads"), f"{shard_name(number)} head"
        self._notes = numbered(path, what, "head_truncated", "head_signature", size, log)

    def read(self) -> Head | None:
        """The next head, or None behind the last. Raises NotVerified."""
        try:
            self.place, text = next(self._notes)
        except (StopIteration, FileNotFoundError):
            self._end()
            return None
        head, self._key = self._signed(text)
        if (head.id, head.shard) != (self._keyring.id, self._number):
            raise NotVerified.at(self.place, "head_origin")
        if self._keyring.certificate(self._key, head.at) is None:
            raise NotVerified.at(self.place, "head_expired")
        before, self._last = self._last, head
        if head.size != 0 if before is None else head.size <= before.size or head.at < before.at:
            raise NotVerified.at(self.place, "head_order")
        if before is not None and not before.counters_grow_to(head):
            raise NotVerified.at(self.place, "head_counters")
        return head

    def close(self) -> None:
        self._notes.close()

    def _end(self) -> None:
        if self._last is None:
            # a process that begins a shard makes its log first
            if self._log.stat().st_size or not being_written(self._log):
                raise NotVerified.at(self.place, "head_missing")
        elif self._keyring.revoked(self._key, self._last.at):
            raise NotVerified.at(self.place, "head_revoked")

    def _signed(self, text: str) -> tuple[Head, bytes]:
        """The head in a note, and the certified key that signed it."""
        with suppress(Unauthentic, ValueError):
            note = Note.parsed(text)
            if len(note.signatures) == 1:
                return Head.parsed(note.text), self._keyring.signer_of(note)
        raise NotVerified.at(self.place, "head_signature")


def numbered(
    path: Path, what: str, truncated: str, malformed: str, size: int | None = None, written: Path | None = None
) -> Generator[tuple[str, str], None, None]:
    """The notes in a file, not yet checked, each with its place: what it is, and its number.

    Arguments are those of `notes`. Raises NotVerified with the codes, FileNotFoundError. A file that ends inside a note
    is no failure while a process writes, which locks `written`.
    """
    number = 0
    try:
        for text, _ in notes(path, truncated, malformed, size):
            yield f"{what} {number}", text
            number += 1
    except Broken as broken:
        if broken.code != truncated or written is None or not being_written(written):
            raise NotVerified.at(f"{what} {number}", broken.code) from None


def being_written(path: Path, size: int | None = None) -> bool:
    """Whether a file may end within what a process writes now, or has written since it had this size (bytes).

    What was signed must be whole all the same: then the head counts more records than there are.
    """
    with regular(path) as file:
        with suppress(ImportError):  # locks as the journal takes them, where it is written and not only verified
            import fcntl

            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                fcntl.flock(file, fcntl.LOCK_UN)
            except BlockingIOError:
                return True
        return size is not None and file.seek(0, 2) != size
