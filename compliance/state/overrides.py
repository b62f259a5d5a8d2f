"""Overrides: two persons open, for a time, what a pack would refuse and says may be opened (break-glass).

An override is one file: a statement of name, reason and time, with the Ed25519 signatures of those who approve it. It
stands while at least two of the approvers that the settings name have signed it, so that a file alone opens nothing.
That it was ended is not signed: who can write into the folder can take that back until its time is over, and the
journal says when it was ended. Source: 45 CFR 164.312(a)(2)(ii), emergency access procedure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar, Literal

import msgspec
from msgspec import Struct, structs

from compliance.crypto import Signer, Unauthentic, fresh, verify
from compliance.disk import put
from compliance.keys import from_text
from compliance.state.errors import StateError
from policies.errors import Refused
from policies.facts import Override

__all__ = ["APPROVERS", "MAX_MINUTES", "Kept", "OverrideError", "Overrides", "Stated"]

APPROVERS = 2
MAX_MINUTES = 24 * 60
MAX_FILE = 16_384
_LABEL = b"sealpress.override/1\x00"


class OverrideError(Refused):
    """An override that cannot be made, or is not there."""

    hints: ClassVar[Mapping[str, str]] = {
        "override_unknown": "`sealpress override show` lists the overrides with their ids.",
        "override_approver": "Sign with the key of a person that the settings name under [override.approvers].",
        "override_same": "A second person has to approve it, with a key of their own.",
        "override_over": "Ask for a new override: this one has run out or was ended.",
        "override_time": f"Ask for 1 to {MAX_MINUTES} minutes.",
    }


class Stated(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is signed. Times are in nanoseconds since 1970; `box` is the identity of the journal."""

    format: Literal[1] = 1
    id: str
    box: str
    name: str
    reason: str
    starts: int
    ends: int


class _File(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    statement: bytes
    signatures: dict[str, bytes]
    ended: int | None = None


class Kept(Struct, frozen=True, kw_only=True):
    """An override as it lies in the folder: what it states, whose signatures on it are right, when it was ended."""

    stated: Stated
    approvers: frozenset[str]
    ended: int | None
    file: bytes

    def stands(self, at: int) -> bool:
        """Whether it opens anything at the time `at` (ns)."""
        return len(self.approvers) >= APPROVERS and self.ended is None and self.stated.starts <= at < self.stated.ends


class Overrides:
    """The overrides of a box. `approvers` maps persons to their public keys, as the settings write them."""

    def __init__(self, folder: Path, box: str, approvers: Mapping[str, str]) -> None:
        self._folder = folder
        self._box = box
        self._approvers = approvers

    def ask(self, name: str, reason: str, minutes: int, by: Signer, at: int) -> Kept:
        """A new override from now on, signed by who asks for it. Raises OverrideError, Failed."""
        if not 1 <= minutes <= MAX_MINUTES:
            raise OverrideError("override_time", f"{minutes} minutes; an override lasts from 1 to {MAX_MINUTES}")
        ends = at + minutes * 60 * 10**9
        stated = Stated(id=fresh(8).hex(), box=self._box, name=name, reason=reason, starts=at, ends=ends)
        statement = msgspec.json.encode(stated, order="deterministic")
        file = _File(statement=statement, signatures={self._person(by): by.sign(_LABEL + statement)})
        return self.keep(self._checked(file))

    def approved(self, id_: str, by: Signer, at: int) -> Kept:
        """An override with the signature of a second person, to be put on record before it is kept.

        Raises OverrideError, StateError.
        """
        file = self._read(id_)
        kept = self._checked(file)
        person = self._person(by)
        if kept.ended is not None or at >= kept.stated.ends:
            raise OverrideError("override_over", f"the override {id_} is over")
        if person in kept.approvers:
            raise OverrideError("override_same", f"{person} signed the override {id_} already")
        signatures = {**file.signatures, person: by.sign(_LABEL + file.statement)}
        return self._checked(structs.replace(file, signatures=signatures))

    def end(self, id_: str, at: int) -> Kept:
        """Close an override before its time. Raises OverrideError, StateError, Failed."""
        file = self._read(id_)
        return self.keep(self._checked(structs.replace(file, ended=file.ended or at)))

    def keep(self, kept: Kept) -> Kept:
        """Write an override to its file; from here on it stands. Raises Failed."""
        put(self._folder / f"{kept.stated.id}.json", kept.file)
        return kept

    def all(self) -> list[Kept]:
        """Every override of this box, the oldest first. Raises StateError."""
        return sorted(map(self._checked, self._files()), key=lambda one: one.stated.starts)

    def keys(self, kept: Kept) -> dict[str, str]:
        """The public keys of those who signed it, by person."""
        return {person: self._approvers[person] for person in sorted(kept.approvers)}

    def signed(self) -> dict[str, bytes]:
        """What shows a stranger who approved an override, by its id: the statement, keys and signatures, as JSON; of
        those that were approved. Raises StateError."""
        found = {}
        for kept in self.all():
            if len(kept.approvers) >= APPROVERS:
                file = msgspec.json.decode(kept.file, type=_File)
                by = {person: file.signatures[person] for person in sorted(kept.approvers)}
                made = {"statement": file.statement, "keys": self.keys(kept), "signatures": by}
                found[kept.stated.id] = msgspec.json.encode(made) + b"\n"
        return found

    def standing(self, name: str, at: int) -> Override | None:
        """The override of this name that stands now, as rules read it. Raises StateError."""
        for file in self._files():
            stated = _stated(file)
            # signatures last: a call waits for this, and most files are those of years
            if stated.name == name and stated.starts <= at < stated.ends and (kept := self._checked(file)).stands(at):
                return Override(id=stated.id, name=name, approvers=kept.approvers)
        return None

    def _files(self) -> Iterator[_File]:
        return (self._read(path.stem) for path in sorted(self._folder.glob("*.json")))

    def _person(self, signer: Signer) -> str:
        for person, key in self._approvers.items():
            if from_text(key) == signer.public:
                return person
        raise OverrideError("override_approver", "the settings name nobody with this key")

    def _checked(self, file: _File) -> Kept:
        """What a file says, with those signatures that are right. A key counts once, whatever it is called."""
        stated = _stated(file)
        by_key: dict[bytes, str] = {}
        for person, signature in file.signatures.items():
            try:
                key = from_text(self._approvers[person])
                verify(key, signature, _LABEL + file.statement)
            except (KeyError, Unauthentic):
                continue
            by_key[key] = person
        here = stated.box == self._box and stated.ends - stated.starts <= MAX_MINUTES * 60 * 10**9
        signed = frozenset(by_key.values()) if here else frozenset()
        return Kept(stated=stated, approvers=signed, ended=file.ended, file=msgspec.json.encode(file) + b"\n")

    def _read(self, id_: str) -> _File:
        path = self._folder / f"{id_}.json"
        if not id_.isalnum() or not path.is_file():
            raise OverrideError("override_unknown", f"there is no override {id_[:80]!r}")
        try:
            with path.open("rb") as opened:
                return msgspec.json.decode(opened.read(MAX_FILE), type=_File)
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
            raise StateError("state_broken", f"{path} cannot be read") from None


def _stated(file: _File) -> Stated:
    try:
        return msgspec.json.decode(file.statement, type=Stated)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise StateError("state_broken", "an override states nothing that can be read") from None
