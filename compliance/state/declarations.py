"""Declarations: what who runs a box says of itself, since licences ask and no box can see it.

A declaration is a file like a usage grant: JSON with `statement` (base64), `key` (`ed25519:...`) and `signature`
(base64, Ed25519 over `sealpress.declaration/1` 00 and the statement). It is for one box, dated, and over after a year
at most. A box has one at a time, as `state/declaration.json`; only a newer one takes its place, and those before it are
kept for evidence in `state/declarations`. It counts while its
signature holds and the settings trust its signer with declarations, both looked at with every call. Who can write into
the folder can put back an older one, until that is over; the journal says which came when.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Literal, NamedTuple

import msgspec
from msgspec import Meta, Struct

from compliance.crypto import Signer, Unauthentic, fresh
from compliance.disk import put
from compliance.state.errors import StateError
from compliance.state.signed_file import opened, written
from policies.errors import Refused
from policies.facts import Declared, Declaring
from policies.territories import COUNTRIES

__all__ = ["MAX_FILE", "Declaration", "DeclarationError", "Declarations", "Signed", "declared", "new_id", "read"]

NAME = "declaration.json"
MAX_FILE = 16_384
MAX_NS = 366 * 86_400 * 10**9
_LABEL = b"sealpress.declaration/1\x00"

_Text = Annotated[str, Meta(min_length=1, max_length=256)]
_Count = Annotated[int, Meta(ge=0, le=2**53 - 1)]
_Time = Annotated[int, Meta(ge=0, le=2**63 - 1)]
_Id = Annotated[str, Meta(pattern=r"\A[0-9a-f]{32}\Z")]


class DeclarationError(Refused):
    """A declaration that is not accepted."""

    hints: ClassVar[Mapping[str, str]] = {
        "declaration_malformed": "Take the file again from who signed it: it is no declaration of format 1.",
        "declaration_forged": "Take the file again from who signed it: its signature does not hold.",
        "declaration_signer": "If you know the signer, take the public key from them and run `sealpress trust add "
        "KEYFILE --scope declarations`.",
        "declaration_foreign": "Have one signed for this box: `sealpress declaration show` tells its identity.",
        "declaration_early": "Import it on the first day of its term.",
        "declaration_expired": "Have a new one signed: this one is over.",
        "declaration_replayed": "Nothing to do if it is the one in force; otherwise have a newer one signed.",
        "declaration_terms": "Say at least one thing, name the domicile by its two letters of ISO 3166-1 (GB, GR), and "
        "let it be over after its start and within 366 days.",
        "declaration_exists": "Choose another name for --out: nothing is overwritten.",
    }


class Declaration(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is signed. Times are in nanoseconds since 1970: it was `made`, and counts from `starts` until before `ends`.

    `box` is the identity of its journal and `by` who declares. `domicile` is a country (ISO 3166-1), `users` are those
    of a month and `revenue` is that of a year in US dollars, with those of affiliates where a licence counts them;
    `commercial` says whether models are used for commerce. What is left out is not declared.
    """

    format: Literal[1] = 1
    id: _Id
    box: _Id
    by: _Text
    made: _Time
    starts: _Time
    ends: _Time
    domicile: str | None = None
    users: _Count | None = None
    revenue: _Count | None = None
    commercial: bool | None = None


class Signed(Struct, frozen=True, kw_only=True):
    """A declaration whose signature was checked, the key that signed it (`ed25519:...`), and its file."""

    terms: Declaration
    key: str
    file: bytes


def declared(terms: Declaration, signer: Signer) -> Signed:
    """Sign a declaration. Raises DeclarationError: declaration_terms for what says nothing, or not for a time."""
    statement = msgspec.json.encode(terms, order="deterministic")
    try:
        wrong = _wrong(msgspec.json.decode(statement, type=Declaration))
    except msgspec.ValidationError as error:
        wrong = str(error)
    if wrong is not None:
        raise DeclarationError("declaration_terms", wrong)
    return read(written(_LABEL, statement, signer))


def read(file: bytes) -> Signed:
    """The declaration in a file, whoever signed it: the signature holds, and nothing else was checked.

    Raises DeclarationError: declaration_malformed, declaration_forged.
    """
    try:
        statement, key = opened(_LABEL, file, most=MAX_FILE)
        terms = msgspec.json.decode(statement, type=Declaration)
    except (msgspec.MsgspecError, ValueError):
        raise DeclarationError("declaration_malformed", "the file holds no declaration of format 1") from None
    except Unauthentic:
        raise DeclarationError(
            "declaration_forged", "the signature does not belong to this key and statement"
        ) from None
    if (wrong := _wrong(terms)) is not None:
        raise DeclarationError("declaration_malformed", wrong)
    return Signed(terms=terms, key=key, file=file)


def new_id() -> str:
    """A name for a new declaration that no other one has."""
    return fresh(16).hex()


class _Seen(NamedTuple):
    """The file as it was last read: what tells that it is another one now, and what it declares, None where it does not
    hold."""

    stamp: tuple[int, int, int]
    signed: Signed | None
    said: Declared


class Declarations:
    """The declaration of a box, in a folder `state`. `box` is the identity of its journal. Safe for threads, processes
    and over fork: the file is looked at with each call."""

    def __init__(self, state: Path, box: str) -> None:
        self._path = state / NAME
        self._kept = state / "declarations"
        self._box = box
        self._seen: _Seen | None = None

    def standing(self, at: int, signers: Collection[str]) -> Declared | None:
        """What is declared at the time `at` (ns), or why it does not count; None where nothing is. `signers` are the
        keys of those who are trusted with declarations then. Raises StateError."""
        seen = self._looked()
        if seen is None:
            return None
        if seen.signed is None:
            return seen.said
        against = self._against(seen.signed, at, signers)
        return seen.said if against is None else Declared(state=against)

    def now(self) -> Signed | None:
        """The one that was imported last. Raises StateError; DeclarationError for a file that does not hold."""
        return None if self._looked() is None else read(_bytes(self._path))

    def all(self) -> dict[str, bytes]:
        """The files of all that were imported, by id, without those that do not hold. Raises StateError."""
        found = {}
        for path in (*sorted(self._kept.glob("*.json")), self._path):
            try:
                if path.is_file():
                    signed = read(_bytes(path))
                    found[signed.terms.id] = signed.file
            except DeclarationError:
                continue
        return found

    def must_take(self, signed: Signed, at: int, signers: Collection[str]) -> None:
        """Return when a declaration may come into force at the time `at` (ns). Raises StateError, DeclarationError:
        declaration_signer, declaration_foreign, declaration_early, declaration_expired, declaration_replayed."""
        against = self._against(signed, at, signers)
        if against is not None:
            raise DeclarationError(*_REFUSED[against])
        seen = self._looked()
        # one that was tampered with is in nobody's way
        if seen is not None and seen.signed is not None and signed.terms.made <= seen.signed.terms.made:
            raise DeclarationError(
                "declaration_replayed", "a declaration that is as new, or newer, was imported before"
            )

    def take(self, signed: Signed) -> None:
        """Put a declaration in force, from the next call on; it is kept when another one follows. Raises Failed."""
        put(self._kept / f"{signed.terms.id}.json", signed.file)
        put(self._path, signed.file)

    def _against(self, signed: Signed, at: int, signers: Collection[str]) -> Declaring | None:
        terms = signed.terms
        if terms.box != self._box:
            return "foreign"
        if signed.key not in signers:
            return "issuer"
        if not terms.starts <= at < terms.ends:
            return "early" if at < terms.starts else "over"
        return None

    def _looked(self) -> _Seen | None:
        """The file, read anew where it is another one than before."""
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StateError("state_broken", f"{self._path}: {error.strerror}") from None
        stamp = found.st_mtime_ns, found.st_size, found.st_ino
        if self._seen is None or self._seen.stamp != stamp:
            try:
                signed = read(_bytes(self._path))
            except DeclarationError:
                self._seen = _Seen(stamp, None, Declared(state="forged"))
            else:
                said = {name: getattr(signed.terms, name) for name in ("domicile", "users", "revenue", "commercial")}
                self._seen = _Seen(stamp, signed, Declared(state="open", **said))
        return self._seen


_REFUSED: Mapping[Declaring, tuple[str, str]] = {
    "foreign": ("declaration_foreign", "the declaration is for another box"),
    "issuer": ("declaration_signer", "the declaration is signed by somebody who is not trusted with declarations"),
    "early": ("declaration_early", "the declaration has not begun"),
    "over": ("declaration_expired", "the declaration is over"),
}


def _wrong(terms: Declaration) -> str | None:
    """Why a declaration is none."""
    if not terms.starts < terms.ends <= terms.starts + MAX_NS:
        return "a declaration is over after its start, and within 366 days"
    if terms.domicile is not None and terms.domicile not in COUNTRIES:
        return f"{terms.domicile[:8]!r} is no code of a country"
    said = (terms.domicile, terms.users, terms.revenue, terms.commercial)
    return "nothing is declared" if all(one is None for one in said) else None


def _bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_FILE + 1)
    except OSError as error:
        raise StateError("state_broken", f"{path}: {error.strerror}") from None
