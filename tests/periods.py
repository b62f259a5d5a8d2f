"""Evidence forged with every key in hand, and taken apart again: what holds, and what an attacker makes of it.

case = Period.forged()                # two shards, a day and a bit; the evidence is of the second part
case.make(tmp_path / "e.zip")         # as the command does, through compliance.evidence.make
parts = parts_of(tmp_path / "e.zip")  # entries by name, evidence.json as `claims_of(parts)`
zipped(tmp_path / "mutated.zip", parts)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import ZIP_STORED, ZipFile, ZipInfo

import msgspec

from compliance.crypto import sha256
from compliance.evidence.make import Papers, make
from compliance.evidence.period import bounds
from compliance.journal.reader import Contributions, Walk
from compliance.journal.records import Closed, Opened, contribution
from compliance.state.declarations import Declaration, declared
from compliance.state.declarations import Signed as Declared
from compliance.state.grants.terms import Signed, Terms, issued
from compliance.verify.archive import DATE, canonical, parsed
from compliance.verify.note import Note, cosigned
from compliance.verify.recount import Recounted
from compliance.verify.statements import key_text
from policies.facts import Call, Finding, Metered, Outcome
from tests.forge import SECOND, Forge, ForgedShard, Record, notes_file, opener, signer

__all__ = [
    "WITNESS",
    "Period",
    "claims_of",
    "declaration_of",
    "grant_of",
    "override_of",
    "parts_of",
    "with_claims",
    "zipped",
]

WITNESS = signer("a witness")
MODEL = "ab" * 32
SOURCE = msgspec.json.encode(
    {
        "format": 1,
        "parameters": {"base": {}},
        "purposes": {"search": {"bases": ["consent"], "retain_days": 180}},
        "schema": "",
        "texts": {"base.cedar": "permit (principal, action, resource);"},
    }
)
POLICY = sha256(SOURCE).hex()
_GRANT = "0" * 32
_DECLARATION = "1" * 32
_OPENED: dict[str, Any] = {
    "id": "2" * 16,
    "name": "emergency",
    "reason": "Cardiac arrest, ward 3",
    "starts": 2**60 + 1,
    "ends": 2**60 + 2,
    "approvers": ["ann", "bob"],
}
_KINDS = {"manifest": {"digest": MODEL, "name": "minilm"}, "measurements": {"machine": "a test"}}


@dataclass
class Period:
    """A journal, the heads that its auditor kept, and where evidence of it begins and ends (ns)."""

    forge: Forge
    folder: Path
    since: int
    until: int
    kept: dict[str, str]

    @classmethod
    def forged(
        cls,
        folder: Path,
        *,
        name: str = "journal",
        erased: str | None = None,
        odd: Callable[[ForgedShard], object] = lambda _: None,
    ) -> Period:
        """Calls before the period, in it, and after it; one is closed by another process, one never, and one ran under
        a usage grant. Of a subject that is `erased` nothing can be opened; `odd` may write what no box writes."""
        forge = Forge(name)
        first = _shard(forge)
        first.noted("loaded", _KINDS)
        first.usage = {f"{_GRANT}/imported": 1}
        first.noted("usage_grant_imported", _terms(grant_of(forge.id)))
        for number in range(3):
            _call(first, number)
        _checkpoint(forge)
        kept = {"before": first.heads[-1], "joint before": forge.joints[-1]}
        across = _opened(first, 7, "patient-7")
        for number in range(3):
            _call(first, number)
        _checkpoint(forge)
        first.noted("read", {"auditor": "ab"})
        first.noted("override_opened", _OPENED | {"keys": _keys("ann", "bob")})
        cases = {"cases.toml": {"sha256": "ab" * 32, "passed": 3}}
        first.noted("policy_changed", {"policy": POLICY, "before": "0" * 64, "cases": cases})
        _checkpoint(forge)
        since = forge.at
        forge.tick()
        for number in range(4):
            _call(first, number, grant=_GRANT if number == 2 else None)
        _opened(first, 9, "patient-9")
        _refused(first)
        first.noted("erased", {"erasure": "ab", "rows": 2})
        first.noted("declaration_imported", _told(declaration_of(forge.id)))
        odd(first)
        _checkpoint(forge)
        kept |= {"within": first.heads[-1], "joint within": forge.joints[-1]}
        second = _shard(forge)
        _closed(second, across)
        for number in range(4):
            _call(second, number)
        _refused(second)
        _refused(second)
        _checkpoint(forge)
        until = forge.at - SECOND // 2
        for number in range(2):
            _call(first, number)
        _checkpoint(forge)
        kept |= {"after": first.heads[-1], "joint after": forge.joints[-1]}
        if erased is not None:
            del forge.salts[forge.salt(erased)[0]]
        forge.write(folder)
        seen = cosigned(Note.parsed(forge.joints[-2]), forge.at // SECOND, WITNESS).written()
        (folder / "witnessed.notes").write_bytes(notes_file([seen]))
        (folder / "policies").mkdir(exist_ok=True)
        (folder / "policies" / f"{POLICY}.json").write_bytes(SOURCE)
        return cls(forge, folder, since, until, kept)

    @property
    def root(self) -> bytes:
        return self.forge.root.public

    @property
    def grant(self) -> Signed:
        return grant_of(self.forge.id)

    @property
    def proof(self) -> bytes:
        """The statement of somebody that the claims of the policy hold."""
        statement = msgspec.json.encode({"format": 1, "policy": POLICY, "claims": {}, "at": 1})
        prover = signer("a prover")
        signature = prover.sign(b"sealpress.policy-proof/1\x00" + statement)
        return msgspec.json.encode({"statement": statement, "key": key_text(prover.public), "signature": signature})

    @property
    def override(self) -> bytes:
        """The file of the override that three persons approved, one of them after it was told."""
        return override_of(self.forge.id, "ann", "bob", "cyd")

    def source(self) -> Contributions:
        """What the salts give, of which those of who was erased are gone."""
        found = {}
        for located in self.walk():
            salt = self.forge.salts.get(located.row)
            if salt is not None:
                found[located.place] = contribution(salt, located.journal, *located.place)
        return found

    def walk(self) -> Walk:
        return Walk(self.folder, self.forge.id, opener("auditor"))

    def make(self, path: Path, *, heads: tuple[str, ...] | None = None, whole: bool = False) -> Recounted:
        papers = Papers(
            policies=self.folder / "policies",
            grants=(self.grant,),
            proof=self.proof,
            box={"name": "clinic"},
            overrides={_OPENED["id"]: self.override},
            declarations={_DECLARATION: declaration_of(self.forge.id).file},
        )
        found = bounds(self.folder, None if whole else self.since, None if whole else self.until)
        given = tuple(self.kept.values()) if heads is None else heads
        return make(path, self.folder, found, self.walk(), self.source(), papers, given)


def grant_of(box: str, issuer: str = "issuer", **changes: Any) -> Signed:
    """The usage grant of this box."""
    terms = Terms(id=_GRANT, issuer="a lab", holder="clinic", box=box, models=("minilm",), starts=0, ends=2**62)
    return issued(msgspec.structs.replace(terms, **changes), signer(issuer))


def override_of(box: str, *persons: str, **changes: Any) -> bytes:
    """An override that these persons signed, as evidence carries it."""
    stated = {"format": 1, "box": box, **{name: _OPENED[name] for name in ("id", "name", "reason", "starts", "ends")}}
    statement = msgspec.json.encode(stated | changes)
    signatures = {person: signer(person).sign(b"sealpress.override/1\x00" + statement) for person in persons}
    return msgspec.json.encode({"statement": statement, "keys": _keys(*persons), "signatures": signatures})


def declaration_of(box: str, **changes: Any) -> Declared:
    """What the operator of this box declares."""
    terms = Declaration(id=_DECLARATION, box=box, by="clinic", made=1, starts=1, ends=2**53 + 1, users=40)
    return declared(msgspec.structs.replace(terms, **changes), signer("operator"))


def parts_of(path: Path) -> dict[str, bytes]:
    with ZipFile(path) as file:
        return {name: file.read(name) for name in file.namelist()}


def claims_of(parts: dict[str, bytes]) -> Any:
    return parsed(parts["evidence.json"])


def with_claims(parts: dict[str, bytes], claims: Any) -> dict[str, bytes]:
    return parts | {"evidence.json": canonical(claims)}


def zipped(path: Path, parts: dict[str, bytes]) -> Path:
    """The parts in the one spelling that a zip of evidence has."""
    with ZipFile(path, "w") as out:
        for name, content in parts.items():
            info = ZipInfo(name, DATE)
            info.compress_type, info.create_system = ZIP_STORED, 3
            out.writestr(info, content)
    return path


def _keys(*persons: str) -> dict[str, str]:
    return {person: key_text(signer(person).public) for person in persons}


def _told(signed: Declared) -> dict[str, Any]:
    return {**msgspec.structs.asdict(signed.terms), "key": signed.key}


def _terms(signed: Signed) -> dict[str, Any]:
    """What is told of a grant when it is imported."""
    told = {name: getattr(signed.terms, name) for name in signed.terms.__struct_fields__ if name != "sealing"}
    return told | {"sealing": None, "key": signed.key}


def _shard(forge: Forge) -> ForgedShard:
    shard = forge.shard()
    shard.epoch()
    return shard


def _checkpoint(forge: Forge) -> None:
    for shard in forge.shards:
        if Note.parsed(shard.heads[-1]).text.split("\n")[1] != str(len(shard.bodies)):
            shard.head()
    forge.joint()


def _call(shard: ForgedShard, number: int, grant: str | None = None) -> None:
    _closed(shard, _opened(shard, number, f"patient-{number}", grant), grant)


def _opened(shard: ForgedShard, number: int, subject: str, grant: str | None = None) -> Record:
    metered = None if grant is None else Metered(state="open", grant=grant)
    return shard.sealed(2, _about(shard, subject, True, metered), b"\x81\xa5value\xa6secret", subject=subject)


def _refused(shard: ForgedShard) -> None:
    shard.rules = dict(shard.rules) | {"base.purpose": shard.rules.get("base.purpose", 0) + 1}
    shard.sealed(3, _about(shard, "patient-7", False, None), subject="patient-7")


def _closed(shard: ForgedShard, of: Record, grant: str | None = None) -> None:
    name = f"{grant or '-'}/texts"
    shard.usage = dict(shard.usage) | {name: shard.usage.get(name, 0) + 1}
    shard.sealed(
        5,
        Closed(at=shard.forge.tick(), call=f"{of[0]:08x}{of[1]:08x}", outcome=Outcome(ok=True, usage={"texts": 1})),
        subject="" if of[1] % 2 else f"patient-{of[1]}",
        of=of,
    )


def _about(shard: ForgedShard, subject: str, allowed: bool, metered: Metered | None) -> Opened:
    call = Call(
        id=f"{shard.number:08x}{len(shard.bodies):08x}",
        at=shard.forge.tick(),
        actor="clerk",
        tenant="clinic",
        action="infer",
        model=MODEL,
        purpose="search" if allowed else None,
        subject=sha256(subject.encode())[:16].hex(),
        metered=metered,
    )
    model = {"name": "minilm", "version": "1", "digest": MODEL, "licence": "MIT"}
    against = () if allowed else (Finding(rule="base.purpose", ok=False, reason="No purpose was given."),)
    return Opened(call=call, model=model, policy=POLICY, allowed=allowed, rules=("base.purpose",), against=against)
