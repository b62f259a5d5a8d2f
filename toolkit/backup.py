"""Back up a box into one file, and make a box from it.

No private key goes into a backup: what signs is made anew and certified anew by the root.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path, PurePosixPath
from tempfile import mkdtemp

from msgspec import Struct

from compliance.backup import salts
from compliance.backup.archive import (
    API_KEYS,
    CONSENTS,
    GRANTS,
    KEPT,
    OVERRIDES,
    SALTS,
    SETTINGS,
    Archive,
    Contents,
    Part,
    SealedSalts,
    is_own,
    is_rule,
)
from compliance.backup.archive import write as write_archive
from compliance.backup.errors import BackupError
from compliance.backup.journal import measured
from compliance.backup.journal import parts as journal_parts
from compliance.crypto import Opener, Signer, fresh
from compliance.disk import put, sync_folder
from compliance.journal.erasure import DAY_NS, finish
from compliance.keys import fingerprint, from_text, to_text, write_key
from compliance.state.api_keys import ApiKeys
from compliance.state.consents import Consents
from compliance.state.disposition import Backup, Disposition
from compliance.state.errors import StateError
from compliance.state.grants.store import store as grants
from compliance.state.overrides import Overrides
from compliance.state.salts import Salts
from compliance.state.snapshot import Snapshot, recreate
from compliance.timestamps import TIMESTAMPS, kept_in
from compliance.verify.journal import verify_journal
from compliance.verify.note import regular
from policies.errors import Failed
from toolkit.box import Box
from toolkit.box_keys import auditors
from toolkit.settings import KeySettings, Settings, SettingsError, read_settings, trusting

__all__ = ["BackedUp", "Restored", "back_up", "restore"]

_Progress = Callable[[int], None]


class BackedUp(Struct, frozen=True, kw_only=True):
    """What is in a backup. Times are in nanoseconds since 1970; `expires` is None without salts.

    `left_out` are files that lie outside the folder of the box, or have a name that goes into no backup.
    """

    id: str
    made: int
    expires: int | None
    members: dict[str, int]
    left_out: tuple[str, ...]
    sha256: str | None = None


class Restored(Struct, frozen=True, kw_only=True):
    """What came out of a backup: of which journal and root (fingerprint), from when (ns), how many records.

    `bundle_key` is the public half of the new key that signs bundles, None where the settings name another source;
    `trusted` is whether the settings trust it by now.
    """

    journal: str
    root: str
    backup: str
    sha256: str
    made: int
    records: int
    salts: bool
    bundle_key: str | None
    trusted: bool


def back_up(box: Box, out: Path, salts_days: int | None, progress: _Progress, *, dry_run: bool = False) -> BackedUp:
    """Write a backup of a box, which may be in use, to a new file; with its salts when they are given days to live.

    A copy of the salts is put on record. A dry run only tells what would go in, apart from the salts. Raises
    JournalError, StateError, KeyFault, Failed.
    """
    id_, at = fresh(8).hex(), time.time_ns()
    expires = None if salts_days is None else at + salts_days * DAY_NS
    stored: list[Part] = []
    sealed: SealedSalts | None = None
    if expires is None or dry_run:
        extent = measured(box.journal_folder)
    else:
        # nothing is erased between what is taken of the journal and what is taken of the salts
        with Disposition.open(box.salts_path) as disposition:
            finish(box.journal, disposition)
            disposition.backed_up(Backup(id_, at, expires))
            extent = measured(box.journal_folder)
            data, sealed = salts.sealed(disposition.snapshot(), auditors(box.folder).sealers(), box.journal.id, expires)
        stored.append(Part.of(SALTS, data))
    small, left_out = _small(box)
    parts = [*small, *journal_parts(box.journal_folder, extent), *stored]
    members = {part.member.name: part.member.size for part in parts}
    found = BackedUp(id=id_, made=at, expires=expires, members=members, left_out=left_out)
    if dry_run:
        return found
    contents = Contents(
        id=id_, journal=box.journal.id, made=at, salts=sealed, members=tuple(part.member for part in parts)
    )
    with write_archive(out, contents, parts, progress) as sha256:
        if expires is not None:
            told = {"backup": id_, "expires": expires, "sha256": sha256}
            box.journal.record("backed_up", told, box.settings.box.tenant)
            box.journal.checkpoint()
    return BackedUp(id=id_, made=at, expires=expires, members=members, left_out=left_out, sha256=sha256)


def restore(file: Path, folder: Path, opener: Opener | None, progress: _Progress, *, dry_run: bool = False) -> Restored:
    """Make a box from a backup in a folder that is not there; without an auditor's key none of its records is readable.

    A dry run does everything, and leaves nothing. Raises BackupError, NotVerified, Unauthentic, StateError,
    SettingsError, KeyFault, Failed.
    """
    try:
        with regular(file) as stream:
            archive = Archive(stream)
            if opener is not None:
                salts.usable(archive.contents, time.time_ns())
            beside = Path(mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
            try:
                found = _Restoring(beside, archive, opener).made(progress)
                if not dry_run:
                    for path, _, _ in os.walk(beside, topdown=False):
                        sync_folder(Path(path))
                    beside.rename(folder)
                    sync_folder(folder.parent)
                return found
            finally:
                shutil.rmtree(beside, ignore_errors=True)
    except OSError as error:
        raise Failed("disk", f"{folder} was not restored: {error.strerror}") from None


def _small(box: Box) -> tuple[list[Part], tuple[str, ...]]:
    """Settings, rules, public keys, stores and small files; and what of them does not go into a backup."""
    folder = box.folder.resolve()
    globs = ("keys/*.pub", "keys/auditors/*.pub", *(f"{name}/*.json" for name in KEPT))
    found = [path.relative_to(folder).as_posix() for glob in globs for path in sorted(folder.glob(glob))]
    rules = [_plain(rule) for rule in box.settings.policy.rules]
    fitting = [*filter(is_own, found), *filter(is_rule, rules)]
    going = [name for name in fitting if (folder / name).resolve().is_relative_to(folder)]
    parts = [Part.of(SETTINGS, box.path.read_bytes())]
    parts += [Part.of(name, (folder / name).read_bytes()) for name in dict.fromkeys(going)]
    with closing(ApiKeys(folder / "state")) as api_keys:
        stores = {
            API_KEYS: api_keys.image(),
            CONSENTS: Consents(folder / "state").image(),
            GRANTS: grants(folder / "state").image(),
        }
    parts += [Part.of(name, image) for name, image in stores.items() if image is not None]
    parts += [Part.of(f"{TIMESTAMPS}/{one.digest}.json", one.written()) for one in kept_in(folder / TIMESTAMPS)]
    return parts, tuple(name for name in (*found, *rules) if name not in going)


class _Restoring:
    """A box that is made beside its place."""

    def __init__(self, folder: Path, archive: Archive, opener: Opener | None) -> None:
        self._folder = folder
        self._archive = archive
        self._contents = archive.contents
        self._opener = opener

    def made(self, progress: _Progress) -> Restored:
        for name in ("journal", "keys", "keys/auditors", "keys/days", "state"):
            (self._folder / name).mkdir(mode=0o700)
        snapshot = self._extract(progress)
        settings = self._settings()
        root = from_text(settings.journal.root)
        verified = verify_journal(self._folder / "journal", root, progress=progress)
        if verified.id != self._contents.journal:
            raise BackupError("backup_malformed", "the backup holds another journal than it says")
        destroyed = max((head.destroyed for head in verified.heads.values()), default=0)
        self._store(settings.box.tenant, snapshot, destroyed)
        self._end_overrides(settings)
        bundle_key, trusted = self._bundle_key(settings)
        self._sealing_key(settings)
        return Restored(
            journal=verified.id,
            root=fingerprint(root),
            backup=self._contents.id,
            sha256=self._archive.sha256,
            made=self._contents.made,
            records=verified.records,
            salts=snapshot is not None,
            bundle_key=bundle_key,
            trusted=trusted,
        )

    def _extract(self, progress: _Progress) -> Snapshot | None:
        """Write the files of the backup, and return what it holds of the salts, if they are asked for."""
        stored: dict[str, bytes] = {}
        for member, content in self._archive.members():
            if member.name in (SALTS, API_KEYS, CONSENTS, GRANTS):
                stored[member.name] = b"".join(content)
            else:
                self._write(member.name, content, progress)
        if API_KEYS in stored:
            with closing(ApiKeys(self._folder / "state")) as api_keys:
                api_keys.restore(stored[API_KEYS])
        if CONSENTS in stored:
            Consents(self._folder / "state").restore(stored[CONSENTS])
        if GRANTS in stored:
            grants(self._folder / "state").restore(stored[GRANTS])
        if self._opener is None:
            return None
        return salts.opened(stored[SALTS], self._contents, self._opener, time.time_ns())

    def _write(self, name: str, content: Iterator[bytes], progress: _Progress) -> None:
        path = self._folder / name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            for chunk in content:
                file.write(chunk)
                progress(len(chunk))
            file.flush()
            os.fsync(file.fileno())

    def _settings(self) -> Settings:
        settings = read_settings(self._folder / SETTINGS)
        rules = {member.name for member in self._contents.members if is_rule(member.name)}
        if not rules <= set(map(_plain, settings.policy.rules)):
            raise BackupError("backup_malformed", "the backup holds files that its settings do not name")
        return settings

    def _store(self, tenant: str, snapshot: Snapshot | None, destroyed: int) -> None:
        """The salts; without them a table in which as many rows are gone as the journal says, and none is left."""
        path = self._folder / "state" / "salts.sqlite"
        if snapshot is None:
            Salts.create(path)
        else:
            recreate(path, snapshot)
        with Disposition.open(path) as disposition:
            if snapshot is None:
                disposition.bury(fresh(16) for _ in range(destroyed))
            elif len(disposition.tombstones()) < destroyed:
                raise StateError("state_rolled_back", "the salts in the backup are older than its journal")
            told = {
                "backup": self._contents.id,
                "sha256": self._archive.sha256,
                "made": self._contents.made,
                "salts": snapshot is not None,
            }
            disposition.restored(tenant, told)

    def _end_overrides(self, settings: Settings) -> None:
        """An override that was ended after the backup must not stand again: all that are restored are over."""
        overrides = Overrides(self._folder / OVERRIDES, self._contents.journal, settings.override.approvers)
        for kept in overrides.all():
            if kept.ended is None:
                overrides.end(kept.stated.id, self._contents.made)

    def _bundle_key(self, settings: Settings) -> tuple[str | None, bool]:
        """A new key that signs bundles, trusted in the settings beside those that were."""
        if settings.keys.bundle != KeySettings().bundle:
            return None, False
        signer, keys = Signer.generate(), self._folder / "keys"
        write_key(keys / "bundle.key", "bundle-signing", signer.private_bytes())
        (keys / "bundle.pub").unlink(missing_ok=True)
        write_key(keys / "bundle.pub", "bundle-verifying", signer.public)
        key, path = to_text(signer.public), self._folder / SETTINGS
        try:
            put(path, trusting(path.read_text("utf-8"), key).encode())
        except SettingsError:
            return key, False  # laid out in a way of their own: the operator adds the line
        return key, True

    def _sealing_key(self, settings: Settings) -> None:
        """A new key to which bundles are sealed: what was sealed to the box before has to be sealed anew."""
        if settings.keys.sealing == KeySettings().sealing:
            opener, keys = Opener.generate(), self._folder / "keys"
            write_key(keys / "sealing.key", "sealing-private", opener.private_bytes())
            (keys / "sealing.pub").unlink(missing_ok=True)
            write_key(keys / "sealing.pub", "sealing-public", opener.public)


def _plain(rule: str) -> str:
    """The name of a rule file as a backup has it."""
    return PurePosixPath(rule).as_posix()
