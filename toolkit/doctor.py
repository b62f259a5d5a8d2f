"""Look over a box and say what is missing, before it stands still. Nothing is changed, and no shard is taken."""

from __future__ import annotations

import re
import resource
import shutil
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Literal

from msgspec import Struct

from compliance.crypto import Unauthentic
from compliance.journal.appended import last_note
from compliance.journal.errors import JournalError
from compliance.journal.recovery import last_heads
from compliance.journal.signing import DayKeys
from compliance.keys import from_text
from compliance.state.declarations import Declarations
from compliance.state.errors import StateError
from compliance.state.standing import standing
from compliance.verify.heads import being_written
from compliance.verify.leaf import shard_name
from compliance.verify.note import Note, cosigned_at, regular
from compliance.verify.statements import Head, JointHead, day_of
from compliance.witness.witnessed import WITNESSED, Witnessed, last_joint_head
from policies.errors import Fault
from toolkit.box_keys import auditors, day_keys, exposed
from toolkit.policy import Policy
from toolkit.proof import must_hold
from toolkit.settings import Settings, read_settings

__all__ = ["Finding", "examine"]

FEW_DAYS = 7  # of signing keys
DISK_DAYS = 30
FULL = 100_000_000  # bytes
DAY = 86_400 * 10**9  # in nanoseconds, as all times here
HOUR = DAY // 24
_NEAR = 4_000_000  # bytes of heads from which the growth is seen
_GROWN = re.compile(rb"\nat ([0-9]{1,19})\nbytes ([0-9]{1,16})\n")


class Finding(Struct, frozen=True):
    """What was found of one thing; an `error` keeps the box from serving, or its records from being safe."""

    name: str
    state: Literal["ok", "warning", "error"]
    text: str
    hint: str | None = None


def examine(settings: Path) -> tuple[Finding, ...]:
    """All findings on the box with these settings, whatever of it is missing."""
    patient = _Patient(settings)
    found = [finding for name, check in _CHECKS.items() for finding in _checked(name, check, patient)]
    # what several checks stumble over is told once, by the first
    return tuple({finding.text: finding for finding in reversed(found)}.values())[::-1]


class _Patient:
    """What the checks share. What cannot be had raises, in each check that needs it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.folder = path.parent
        self.journal = self.folder / "journal"

    @cached_property
    def settings(self) -> Settings:
        return read_settings(self.path)

    @cached_property
    def days(self) -> DayKeys:
        return day_keys(self.folder, self.settings)

    @cached_property
    def heads(self) -> list[Head]:
        """The last of each shard."""
        return last_heads(self.journal, self.days.keyring())


_Check = Callable[[_Patient], Iterator[Finding]]


def _checked(name: str, check: _Check, patient: _Patient) -> Iterator[Finding]:
    try:
        yield from check(patient)
    except Fault as fault:
        yield Finding(name, "error", str(fault), fault.hint)
    except (OSError, UnicodeDecodeError) as error:
        reason = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else "this is no text"
        yield Finding(name, "error", f"cannot be read: {reason}", "Check the permissions, and the disk.")


def _settings(patient: _Patient) -> Iterator[Finding]:
    settings = patient.settings
    yield Finding("settings", "ok", f"{patient.path} loads")
    policy = Policy.in_force(patient.path, settings)
    must_hold(policy, policy.engine(), patient.path.parent, settings)
    yield Finding("settings", "ok", "the policy can be put in force")


def _signing(patient: _Patient) -> Iterator[Finding]:
    left = patient.days.days_left(time.time_ns())
    state: Literal["ok", "warning", "error"] = "ok" if left >= FEW_DAYS else "warning" if left else "error"
    hint = None if left >= FEW_DAYS else "Run `sealpress keys renew --root KEY`, or `sealpress keys request`."
    yield Finding("signing keys", state, f"the journal can be signed for {left} days from today on", hint)


def _private_keys(patient: _Patient) -> Iterator[Finding]:
    found = exposed(patient.folder)
    for path in found:
        hint = "Move it off this machine: a thief of both reads, or forges, the whole journal."
        yield Finding("private keys", "warning", f"{path} lies with the box", hint)
    if not found:
        yield Finding("private keys", "ok", "no private key of an auditor or of the root lies with the box")


def _auditors(patient: _Patient) -> Iterator[Finding]:
    count = len(auditors(patient.folder).sealers())
    if count == 1:
        hint = "Add a second with `sealpress keys auditor add`, or keep a copy of the key in another place."
        yield Finding("auditors", "warning", "one auditor: without that key nobody reads what is sealed", hint)
    else:
        yield Finding("auditors", "ok", f"the journal is sealed to {count} auditors")


def _journal(patient: _Patient) -> Iterator[Finding]:
    joint = _joint(patient)
    sizes = [head.size for head in patient.heads]
    if len(sizes) < len(joint.shards) or any(size < old for size, (old, _) in zip(sizes, joint.shards, strict=False)):
        raise JournalError("journal_broken", "a shard has gone back behind the last joint head, or away")
    yield Finding("journal", "ok", f"{sum(sizes)} records stand under heads that hold")
    for head in patient.heads:
        yield from _tail(patient.journal / shard_name(head.shard), head)
    latest = max([joint.at, *(head.at for head in patient.heads)])
    if time.time_ns() < latest:
        text = f"the clock is before the last head, which was signed at {_told(latest)}"
        yield Finding("clock", "error", text, "Set the clock: a time that was set back revives what has expired.")
    else:
        yield Finding("clock", "ok", f"the last head was signed at {_told(latest)}")


def _joint(patient: _Patient) -> JointHead:
    keyring = patient.days.keyring()
    try:
        note = Note.parsed(last_joint_head(patient.journal))
        keyring.signer_of(note)
        joint = JointHead.parsed(note.text)
        if joint.id != keyring.id:
            raise ValueError("another journal")
    except (Unauthentic, ValueError):
        raise JournalError("journal_broken", "the last joint head does not hold") from None
    return joint


def _tail(shard: Path, head: Head) -> Iterator[Finding]:
    """What stands behind the last head, and is not being written."""
    log, heads = shard.with_suffix(".log"), shard.with_suffix(".heads")
    busy, length = being_written(log), log.stat().st_size
    if length < head.size_bytes:
        raise JournalError("journal_broken", f"{shard.name} has lost records that were signed")
    with regular(heads) as file:
        torn = heads.stat().st_size - last_note(file.fileno())[1]
    if not busy and (behind := length - head.size_bytes + torn):
        text = f"{behind} bytes of {shard.name} stand behind its last head, as a crash leaves them"
        yield Finding("journal", "warning", text, "The next process that records says in a GAP record what was lost.")


def _state(patient: _Patient) -> Iterator[Finding]:
    found = standing(patient.folder / "state" / "salts.sqlite")
    if found.untold:
        text = f"{found.untold} acts, such as an erasure, were done but are not told in the journal yet"
        yield Finding(
            "salts", "warning", text, "`sealpress journal retain --apply` or `keys renew` tells of them first."
        )
    now = time.time_ns()
    valid = [backup for backup in found.backups if backup.expires > now]
    if valid:
        yield Finding("backup", "ok", f"the salts have a backup until {day_of(valid[-1].expires)}")
    else:
        was = "has expired" if found.backups else "was never made, or long ago"
        text = f"a backup of the salts {was}: a dead disk makes all records unreadable"
        yield Finding("backup", "warning", text, "Run `sealpress backup --out FILE --salts-days N`, if you want one.")
    if found.destroyed < max((head.destroyed for head in patient.heads), default=0):
        raise StateError("state_rolled_back", "the salts are older than the journal's last head")
    yield Finding("salts", "ok", f"the salts are not behind the journal; {found.destroyed} were destroyed")


def _witness(patient: _Patient) -> Iterator[Finding]:
    settings = patient.settings.witness
    if settings is None:
        alone = "Set up a witness, or hand heads to the auditor: `sealpress journal head --out FILE`."
        yield Finding("witness", "warning", "none: nobody else would see that the box was rolled back", alone)
        return
    key = from_text(settings.key)
    seen = _witnessed(patient.journal / WITNESSED, key)
    if seen is None:
        yield Finding("witness", "warning", "it has not co-signed yet", "Run `sealpress witness send`.")
        return
    head, at = seen
    Witnessed(patient.journal, patient.days.root, key).must_hold(head)
    late = time.time_ns() - at > DAY
    text = f"it co-signed {head.total} records at {_told(at)}, which this journal holds"
    hint = "Run `sealpress witness send`, and see whether the witness answers."
    yield Finding("witness", "warning", text, hint) if late else Finding("witness", "ok", text)


def _witnessed(path: Path, key: bytes) -> tuple[JointHead, int] | None:
    """The last head that this witness has co-signed, and when."""
    try:
        with regular(path) as file:
            note = Note.parsed(last_note(file.fileno())[0] or "")
        return JointHead.parsed(note.text), cosigned_at(note, key) * 10**9
    except (FileNotFoundError, Unauthentic, ValueError):
        return None


def _disk(patient: _Patient) -> Iterator[Finding]:
    free = shutil.disk_usage(patient.folder).free
    days = _days_left(patient.journal, free)
    lasting = "" if days is None else f", which last for {days:.0f} days at the present growth"
    text = f"{free / 1e9:.1f} GB are free{lasting}"
    hint = "Move backups and bundles away, or give the box a larger disk: nothing runs when it is full."
    if free < FULL:
        yield Finding("disk", "error", text, hint)
    elif days is not None and days < DISK_DAYS:
        yield Finding("disk", "warning", text, hint)
    else:
        yield Finding("disk", "ok", text)


def _days_left(journal: Path, free: int) -> float | None:
    """For how many days the disk lasts, when the logs grow as the last heads show and all else in proportion.

    None before an hour has gone by, and when nothing grows.
    """
    now, rate = time.time_ns(), 0.0
    for heads in journal.glob("shard-*.heads"):
        with regular(heads) as file:
            file.seek(max(0, heads.stat().st_size - _NEAR))
            seen = [(int(at), int(size)) for at, size in _GROWN.findall(file.read(_NEAR))]
        # up to now, since a shard that stands still grows no more
        if seen and now - seen[0][0] > HOUR:
            rate += (seen[-1][1] - seen[0][1]) / (now - seen[0][0])
    logs = sum(log.stat().st_size for log in journal.glob("shard-*.log"))
    if rate <= 0 or not logs:
        return None
    whole = sum(file.stat().st_size for file in journal.iterdir())
    return free / (rate * whole / logs * DAY)


def _permissions(patient: _Patient) -> Iterator[Finding]:
    found = [path for name in ("keys", "state") for path in _open_to_others(patient.folder / name)]
    for path in found:
        yield Finding("permissions", "error", f"others than the owner can read {path}", f"Run `chmod go= {path}`.")
    if not found:
        yield Finding("permissions", "ok", "only the owner can read keys/ and state/")


def _open_to_others(folder: Path) -> Iterator[Path]:
    """The private files below a folder that somebody else can get at."""
    if not folder.stat().st_mode & 0o011:
        return
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            yield from _open_to_others(path)
        elif path.suffix != ".pub" and path.stat().st_mode & 0o044:
            yield path


def _memory(_: _Patient) -> Iterator[Finding]:
    clean = True
    if resource.getrlimit(resource.RLIMIT_CORE)[0]:
        clean = False
        text = "a process that crashes may write its memory, and keys in it, to the disk"
        yield Finding("memory", "warning", text, "Run `ulimit -c 0` before the server is started.")
    swaps = Path("/proc/swaps")
    if swaps.exists() and len(swaps.read_text().splitlines()) > 1:
        clean = False
        text = "swap is in use, where keys may stay: Python cannot wipe memory"
        yield Finding("memory", "warning", text, "Switch swap off with `swapoff -a`, or encrypt it.")
    if clean:
        yield Finding("memory", "ok", "neither core dumps nor swap take memory to the disk")


def _told(at: int) -> str:
    return datetime.fromtimestamp(at // 10**9, UTC).isoformat()


def _declaration(patient: _Patient) -> Iterator[Finding]:
    """What who runs the box declares; a box without one serves models whose licences ask for none."""
    declarations = Declarations(patient.folder / "state", patient.days.id)
    at, trust = time.time_ns(), patient.settings.trust
    said = declarations.standing(at, trust.of("declarations", at))
    hint = "Have a newer one signed, and run `sealpress declaration import FILE`."
    found = None if said is None or said.state != "open" else declarations.now()
    if said is not None and found is None:
        text = f"the declaration does not count ({said.state}): models whose licences ask for one are refused"
        yield Finding("declaration", "warning", text, hint)
    elif found is not None:
        left = (found.terms.ends - at) // DAY
        state: Literal["ok", "warning"] = "warning" if left < FEW_DAYS else "ok"
        yield Finding(
            "declaration", state, f"the declaration counts for {left} more days", hint if left < FEW_DAYS else None
        )


_CHECKS: dict[str, _Check] = {
    "settings": _settings,
    "signing keys": _signing,
    "private keys": _private_keys,
    "auditors": _auditors,
    "journal": _journal,
    "salts": _state,
    "declaration": _declaration,
    "witness": _witness,
    "disk": _disk,
    "permissions": _permissions,
    "memory": _memory,
}
