"""What may be done to evidence by whoever hands it on, and what a verifier must say of it.

Each attack is made on the parts of evidence that holds; a thief may have the day key, and sign anew what he changed.
What must be found is thought out from docs/formats.md, not taken from a verifier; it is written "PLACE CODE".
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from compliance.crypto import Signer
from compliance.verify.leaf import ALLOWED, REFUSED, SEALED, frames
from compliance.verify.note import Note, notes_in
from compliance.verify.statements import Head, JointHead, day_of
from tests.forge import SECOND, Forge, altered, log_of, notes_file, signer
from tests.periods import WITNESS, Period, claims_of, declaration_of, override_of, parts_of, with_claims

__all__ = ["Given", "Mutation", "evidence_case", "mutations"]

Parts = dict[str, bytes]


class Given(NamedTuple):
    """What the auditor knows from outside: the name of a kept head, the witness, and the period that was asked for."""

    head: str | None = "joint after"
    witness: bytes | None = None
    period: tuple[int, int] | None = None


_KEPT = Given()


class Mutation(NamedTuple):
    name: str
    parts: Parts
    given: Given
    found: str


class Case(NamedTuple):
    forge: Forge
    kept: Mapping[str, str]
    since: int
    until: int
    parts: Parts
    others: Mapping[str, Parts]  # other evidence of the same journal, or of another one


@cache
def evidence_case() -> Case:
    with TemporaryDirectory() as name:
        folder = Path(name)
        period = Period.forged(folder / "journal")
        foreign = Period.forged(folder / "foreign", name="another journal")
        period.make(folder / "e.zip")
        period.make(folder / "whole.zip", whole=True)
        period.make(folder / "unproved.zip", heads=())
        foreign.make(folder / "foreign.zip")
        found = {other: parts_of(folder / f"{other}.zip") for other in ("whole", "unproved", "foreign")}
        return Case(period.forge, dict(period.kept), period.since, period.until, parts_of(folder / "e.zip"), found)


def mutations() -> Iterator[Mutation]:
    """Every mutation; the same each time, apart from what is random in ciphertexts."""
    case = evidence_case()
    for make in (_leaves, _openings, _numbers, _claims, _signed, _papers, _approvals, _periods, _missing):
        yield from make(case)


def _leaves(case: Case) -> Iterator[Mutation]:
    """Leaves that are dropped, swapped, altered, or shown as of another kind."""
    for shard, start in _starts(case):
        bodies, pieces = _bodies(case.parts, shard), _pieces(case.parts, shard)
        for index, body in enumerate(bodies):
            name, last = f"{shard}/{start + index}", index == len(bodies) - 1
            fewer = bodies[:index] + bodies[index + 1 :]
            without = [piece for number, piece in enumerate(pieces) if number != index]
            found = "record_missing" if last else "record_epoch" if name == "shard-001/0" else "record_sequence"
            place = f"{shard}/{start + index}"
            if name == "shard-001/0":
                found = "record_sequence"
            yield _mutation(f"dropped {name}", case, _with(case.parts, shard, fewer, without), f"{place} {found}")
            if not last:
                swapped = [*bodies[:index], bodies[index + 1], body, *bodies[index + 2 :]]
                yield _mutation(
                    f"swapped {name}", case, _with(case.parts, shard, swapped, pieces), f"{place} record_sequence"
                )
            if body[1] not in SEALED:
                continue
            flipped = altered(body, len(body) - 1, bytes([body[-1] ^ 1]))
            changed = [*bodies[:index], flipped, *bodies[index + 1 :]]
            # the head that was kept is of all leaves of the second shard
            found = "shard-000 head_root" if shard == "shard-000" else "head given_root"
            yield _mutation(f"altered {name}", case, _with(case.parts, shard, changed, pieces), found)
            if body[1] in (ALLOWED, REFUSED):
                other = altered(body, 1, bytes([ALLOWED + REFUSED - body[1]]))
                changed = [*bodies[:index], other, *bodies[index + 1 :]]
                yield _mutation(
                    f"decision of {name}", case, _with(case.parts, shard, changed, pieces), f"{place} evidence_decision"
                )


def _openings(case: Case) -> Iterator[Mutation]:
    """Metadata that are edited, shown for another leaf, withheld, or cut."""
    for shard, start in _starts(case):
        bodies, pieces = _bodies(case.parts, shard), _pieces(case.parts, shard)
        for index, piece in enumerate(pieces):
            if piece is None:
                continue
            name = f"{shard}/{start + index}"
            for what, old, new in (
                ("denial shown as allowed", b'"allowed":false', b'"allowed":true'),
                ("model", b'"digest":"abab', b'"digest":"abac'),
                ("policy", b'"policy":"', b'"policy":"0'),
                ("purpose", b'"purpose":"search"', b'"purpose":"resale"'),
                ("outcome", b'"ok":true', b'"ok":false'),
                ("rows", b'"rows":2', b'"rows":0'),
            ):
                if old in piece:
                    edited = [*pieces[:index], piece.replace(old, new), *pieces[index + 1 :]]
                    yield _mutation(
                        f"{what} of {name}",
                        case,
                        _with(case.parts, shard, bodies, edited),
                        f"{name} evidence_opening",
                    )
            shown = [*pieces[:index], _withheld(0), *pieces[index + 1 :]]
            yield _mutation(
                f"withheld {name}", case, _with(case.parts, shard, bodies, shown), _withholding(name, piece)
            )
        first, second, *rest = [piece for piece in pieces if piece is not None]
        place = f"{shard}/{start + pieces.index(first)}"
        opened = case.parts | {f"{shard}.opened": b"".join([second, first, *rest])}
        yield _mutation(f"openings of {shard} swapped", case, opened, f"{place} evidence_opening")
        cut = case.parts | {f"{shard}.opened": case.parts[f"{shard}.opened"][:-1]}
        place = f"{shard}/{start + len(bodies) - 1}"
        yield _mutation(f"openings of {shard} cut", case, cut, f"{place} evidence_malformed")
        more = case.parts | {f"{shard}.opened": case.parts[f"{shard}.opened"] + _withheld(0)}
        place = f"{shard}/{start + len(bodies)}"
        yield _mutation(f"openings of {shard} too many", case, more, f"{place} evidence_malformed")


def _numbers(case: Case) -> Iterator[Mutation]:
    """Each number, one more, one less, and gone; groups that are gone or too many."""
    counts = claims_of(case.parts)["counts"]
    for group, names in counts.items():
        for name, count in names.items():
            place = f"counts.{group}.{name[:80]}"
            for what, new in (("raised", count + 1), ("lowered", count - 1), ("removed", None)):
                claims = claims_of(case.parts)
                claims["counts"][group][name] = new
                if new is None:
                    del claims["counts"][group][name]
                yield _mutation(f"{what} {place}", case, with_claims(case.parts, claims), f"{place} evidence_count")
        claims = claims_of(case.parts)
        claims["counts"][group]["made up"] = 1
        yield _mutation(
            f"made up in {group}", case, with_claims(case.parts, claims), f"counts.{group}.made up evidence_count"
        )
        claims = claims_of(case.parts)
        del claims["counts"][group]
        yield _mutation(f"{group} removed", case, with_claims(case.parts, claims), f"counts.{group} evidence_count")


def _claims(case: Case) -> Iterator[Mutation]:
    """Other claims: the journal, the period, the shards, what stood before, the proofs."""

    def edited(name: str, found: str, edit: Callable[[Any], object], given: Given = _KEPT) -> Mutation:
        claims = claims_of(case.parts)
        edit(claims)
        return _mutation(name, case, with_claims(case.parts, claims), found, given)

    malformed = "evidence.json evidence_malformed"
    yield edited("format of later", "evidence.json evidence_format", lambda claims: claims.update(format=2))
    yield edited("another journal", "evidence.json evidence_journal", lambda claims: claims.update(journal="0" * 32))
    yield edited("a member more", malformed, lambda claims: claims.update(note="x"))
    yield edited("a member less", malformed, lambda claims: claims.pop("box"))
    yield edited("a number as text", malformed, lambda claims: claims["counts"]["calls"].update(done="8"))
    yield edited("a negative number", malformed, lambda claims: claims["counts"]["calls"].update(done=-1))
    yield edited("a time as number", malformed, lambda claims: claims.update(since=1))
    early, late = str(case.since - 60 * SECOND), str(case.until + 60 * SECOND)
    yield edited("period from earlier", "evidence.json evidence_period", lambda claims: claims.update(since=early))
    yield edited("period to later", "evidence.json evidence_period", lambda claims: claims.update(until=late))
    yield edited("shard dropped", malformed, lambda claims: claims["shards"].pop())
    yield edited("shard from earlier", malformed, lambda claims: claims["shards"][0].update(since=3))
    yield edited("peak dropped", "shard-000 head_root", lambda claims: claims["shards"][0]["peaks"].pop())
    yield edited("peaks swapped", "shard-000 head_root", lambda claims: claims["shards"][0]["peaks"].reverse())
    yield edited("proof dropped", "head given_unproved", lambda claims: claims["consistency"].clear(), Given("before"))
    yield edited(
        "proof cut",
        "head given_root",
        lambda claims: [proof["path"].pop() for proof in claims["consistency"]],
        Given("before"),
    )
    yield edited(
        "papers of the model dropped",
        "counts.calls.unbound evidence_count",
        lambda claims: claims["earlier"].pop(0),
    )
    for index, name in ((0, "shard-000/1"), (1, "shard-000/2")):
        yield from _earlier(edited, index, name)
    spaced = case.parts | {"evidence.json": case.parts["evidence.json"].replace(b'{"box"', b'{ "box"')}
    yield _mutation("another spelling", case, spaced, malformed)
    twice = case.parts | {"evidence.json": case.parts["evidence.json"].replace(b'{"box":', b'{"box":{},"box":')}
    yield _mutation("a member twice", case, twice, malformed)


def _earlier(edited: Callable[..., Mutation], index: int, name: str) -> Iterator[Mutation]:
    """A note from before the period with another proof, place, metadata or body, and one that stands there twice."""
    yield edited(
        f"path of {name}",
        f"{name} evidence_earlier",
        lambda claims: claims["earlier"][index]["path"].reverse(),
    )
    yield edited(
        f"place of {name}",
        "shard-000/3 evidence_earlier",
        lambda claims: claims["earlier"][index].update(record="shard-000/3"),
    )
    yield edited(
        f"metadata of {name}",
        f"{name} evidence_opening",
        lambda claims: claims["earlier"][index].update(
            metadata=_coded(
                base64.b64decode(claims["earlier"][index]["metadata"]).replace(b"00", b"01").replace(b"abab", b"acab")
            )
        ),
    )
    yield edited(
        f"body of {name}",
        f"{name} evidence_earlier",
        lambda claims: claims["earlier"][index].update(
            body=_coded(base64.b64decode(claims["earlier"][index]["body"])[:-1] + b"\x00\x01")
        ),
    )
    yield edited(
        f"{name} twice",
        f"{name} evidence_earlier",
        lambda claims: claims["earlier"].append(claims["earlier"][index]),
    )


def _signed(case: Case) -> Iterator[Mutation]:
    """Forged heads, other keys, and history that a thief of the day key signs anew."""
    thief, forge = signer("a thief"), case.forge
    first, last = list(notes_in(case.parts["joint.notes"], "", ""))
    heads = list(notes_in(case.parts["heads.notes"], "", ""))

    def joints(*notes: str) -> Parts:
        return case.parts | {"joint.notes": notes_file(notes)}

    def by(text: str, key: Signer | None = None) -> str:
        return forge.by_day(text, forge.at, key)

    yield _mutation(
        "joint head forged", case, joints(first, by(Note.parsed(last).text, thief)), "joint 1 joint_signature"
    )
    yield _mutation("joint heads swapped", case, joints(last, first), "joint 1 joint_order")
    yield _mutation("joint head dropped", case, joints(last), "joint.notes joint_missing")
    yield _mutation("joint head thrice", case, joints(first, first, last), "joint.notes joint_missing")
    later = forge.by_day(replace(_joint(last), at=forge.at + 3 * 86_400 * SECOND).text(), forge.at)
    yield _mutation("joint head of later", case, joints(first, later), "joint 1 joint_expired")
    foreign = case.others["foreign"]
    other = list(notes_in(foreign["joint.notes"], "", ""))[1]
    yield _mutation("joint head of another journal", case, joints(first, other), "joint 1 joint_signature")
    renamed = by(replace(_joint(last), id="0" * 32).text())
    yield _mutation("joint head renamed", case, joints(first, renamed), "joint 1 joint_origin")
    for index in range(len(heads)):
        fewer = case.parts | {"heads.notes": notes_file(heads[:index] + heads[index + 1 :])}
        shard = f"shard-00{index // 2}"
        yield _mutation(f"head {index} dropped", case, fewer, f"{shard} head_missing")
        parsed = Head.parsed(Note.parsed(heads[index]).text)
        forged = by(parsed.text(), thief)
        swapped = case.parts | {"heads.notes": notes_file([*heads[:index], forged, *heads[index + 1 :]])}
        yield _mutation(f"head {index} forged", case, swapped, f"head {index} head_signature")
        for what, changes, found in (
            ("root", {"root": bytes(32)}, f"{shard} {'head' if index == 2 else 'joint'}_root"),
            ("size", {"size": parsed.size + 1}, f"{shard} head_missing"),
            ("allowed", {"allowed": parsed.allowed + 1}, f"{shard} head_counters"),
            ("refused", {"refused": parsed.refused + 1}, f"{shard} head_counters"),
            ("rules", {"rules": {"base.purpose": 4000}}, _of_rules(index)),
            ("id", {"id": "0" * 32}, f"head {index} head_origin"),
            ("at", {"at": parsed.at + 3 * 86_400 * SECOND}, f"head {index} head_expired"),
        ):
            note = by(replace(parsed, **changes).text())
            resigned = case.parts | {"heads.notes": notes_file([*heads[:index], note, *heads[index + 1 :]])}
            yield _mutation(f"{what} of head {index} signed anew", case, resigned, found)
    for head in ("joint after", "joint within", "after", "within"):
        yield _mutation(f"history signed anew under {head}", case, _rewritten(case), "head given_root", Given(head))
    plain = Note.parsed(last)
    bare, broken = plain.first().written(), plain.signatures[1][2]
    wrong = Note(
        plain.text, (plain.signatures[0], (*plain.signatures[1][:2], broken[:-1] + bytes([broken[-1] ^ 1])))
    ).written()
    seen = Given(None, WITNESS.public)
    yield _mutation("token removed", case, joints(first, bare), "joint 1 witness_missing", seen)
    yield _mutation("token altered", case, joints(first, wrong), "joint 1 witness_signature", seen)
    yield _mutation("token of another witness", case, case.parts, "joint 1 witness_missing", Given(None, thief.public))
    revoked = case.parts["certificates.notes"] + notes_file([forge.revocation(forge.day_key(_day(case)), 0)])
    yield _mutation("key revoked", case, case.parts | {"certificates.notes": revoked}, "joint 0 joint_revoked")


def _papers(case: Case) -> Iterator[Mutation]:
    """The first page, the certificates, the policies and the grants."""
    [policy] = [name for name in case.parts if name.startswith("policies/")]
    [grant] = [name for name in case.parts if name.startswith("grants/")]
    other = f"policies/{'0' * 64}.json"
    foreign = case.others["foreign"]
    text = case.parts[policy].replace(b"permit", b"forbid")
    yield _mutation("policy edited", case, case.parts | {policy: text}, f"{policy} evidence_policy")
    yield _mutation("policy more", case, case.parts | {other: b"{}"}, f"{other} evidence_policy")
    yield _mutation("policy dropped", case, _without(case.parts, policy), f"{policy} evidence_policy")
    swapped = _without(case.parts, policy) | {other: case.parts[policy]}
    yield _mutation("policy under another name", case, swapped, f"{other} evidence_policy")
    edited = json.dumps(json.loads(case.parts[grant]) | {"signature": _coded(bytes(64))}).encode()
    yield _mutation("grant edited", case, case.parts | {grant: edited}, f"{grant} evidence_grant")
    yield _mutation("grant of another box", case, case.parts | {grant: foreign[grant]}, f"{grant} evidence_grant")
    forged = json.dumps(json.loads(case.parts["policy.proof"]) | {"signature": _coded(bytes(64))}).encode()
    yield _mutation("proof forged", case, case.parts | {"policy.proof": forged}, "policy.proof evidence_proof")
    yield _mutation("proof that is none", case, case.parts | {"policy.proof": b"{}"}, "policy.proof evidence_proof")
    for name, found in (
        ("journal.note", "journal.note genesis_signature"),
        ("certificates.notes", "certificate 0 certificate_invalid"),
    ):
        content = case.parts[name]
        yield _mutation(
            f"{name} altered", case, case.parts | {name: content.replace(b"2026-11-20", b"2026-11-19")}, found
        )
    yield _mutation("certificates gone", case, case.parts | {"certificates.notes": b""}, "joint 0 joint_signature")
    yield _mutation(
        "first page of another journal",
        case,
        case.parts | {"journal.note": foreign["journal.note"]},
        "evidence.json evidence_journal",
    )


def _approvals(case: Case) -> Iterator[Mutation]:
    """The signed files of overrides and declarations: others signed them, or they say something else than was told."""
    [override] = [name for name in case.parts if name.startswith("overrides/")]
    [declaration] = [name for name in case.parts if name.startswith("declarations/")]
    box, foreign = case.forge.id, case.others["foreign"]
    whole = json.loads(case.parts[override])
    people = whole["keys"] | {"dan": whole["keys"]["ann"]}
    signed = whole["signatures"] | {"dan": whole["signatures"]["ann"]}
    for what, file in (
        ("edited", override_of(box, "ann", "bob", reason="Curiosity")),
        ("prolonged", override_of(box, "ann", "bob", ends=2**60 + 3)),
        ("with a text for a time", override_of(box, "ann", "bob", ends=str(2**60 + 2))),
        ("of another name", override_of(box, "ann", "bob", name="audit")),
        ("by one person", override_of(box, "ann")),
        ("by one key under two names", json.dumps(whole | {"keys": {"ann": people["ann"], "dan": people["dan"]},
                                                           "signatures": signed}).encode()),
        ("by others", override_of(box, "cyd", "dan")),
        ("by one of them and another", override_of(box, "ann", "cyd")),
        ("with other keys", json.dumps(whole | {"keys": {**whole["keys"], "bob": people["cyd"]},
                                                "signatures": {**signed, "bob": signed["cyd"]}}).encode()),
        ("with a signature less", json.dumps(whole | {"signatures": {"ann": signed["ann"]}}).encode()),
        ("with a forged signature", json.dumps(whole | {"signatures": {**signed, "cyd": signed["bob"]}}).encode()),
        ("of another box", foreign[override]),
        ("that is none", b"[]"),
    ):  # fmt: skip
        yield _mutation(f"override {what}", case, case.parts | {override: file}, f"{override} evidence_override")
    other = f"overrides/{'3' * 16}.json"
    untold = _without(case.parts, override) | {other: override_of(box, "ann", "bob", id="3" * 16)}
    yield _mutation("override that was not told", case, untold, f"{other} evidence_override")
    stated = json.loads(case.parts[declaration])
    for what, file in (
        ("edited", declaration_of(box, users=4).file),
        ("that says more", declaration_of(box, revenue=1).file),
        ("prolonged", declaration_of(box, ends=2**53 + 2).file),
        ("of another box", foreign[declaration]),
        ("forged", json.dumps(stated | {"signature": _coded(bytes(64))}).encode()),
        ("that is none", b"{}"),
    ):
        parts = case.parts | {declaration: file}
        yield _mutation(f"declaration {what}", case, parts, f"{declaration} evidence_declaration")
    other = f"declarations/{'3' * 32}.json"
    untold = _without(case.parts, declaration) | {other: declaration_of(box, id="3" * 32).file}
    yield _mutation("declaration that was not told", case, untold, f"{other} evidence_declaration")


def _periods(case: Case) -> Iterator[Mutation]:
    """Evidence that holds, of something else than was asked for."""
    asked = case.since, case.until
    yield _mutation("another journal's", case, case.others["foreign"], "head given_foreign")
    yield _mutation("head unproved", case, case.others["unproved"], "head given_unproved")
    yield _mutation("older head unproved", case, case.others["unproved"], "head given_unproved", Given("before"))
    for what, (since, until) in (
        ("begins late", (asked[0] - SECOND, asked[1])),
        ("ends early", (asked[0], asked[1] + SECOND)),
        ("of last month", (asked[0] + 30 * 86_400 * SECOND, asked[1] + 30 * 86_400 * SECOND)),
    ):
        given = Given(None, period=(since, until))
        yield _mutation(f"period {what}", case, case.parts, "evidence.json evidence_period", given)


def _missing(case: Case) -> Iterator[Mutation]:
    for name in case.parts:
        if not name.startswith(("policies/", "grants/", "overrides/", "declarations/", "policy.proof")):
            yield _mutation(f"without {name}", case, _without(case.parts, name), f"{name} evidence_missing")
    yield _mutation("an entry more", case, case.parts | {"notes.txt": b""}, "evidence evidence_malformed")


def _mutation(name: str, case: Case, parts: Parts, found: str, given: Given = _KEPT) -> Mutation:
    assert parts != case.parts or given != Given(), name
    return Mutation(name, parts, given, found)


def _rewritten(case: Case) -> Parts:
    """A refusal that a thief of the day key drops, who signs heads and joint head anew and counts anew."""
    forge = case.forge
    shard = forge.shards[0]
    first, last = list(notes_in(case.parts["joint.notes"], "", ""))
    heads = list(notes_in(case.parts["heads.notes"], "", ""))
    before, after = (Head.parsed(Note.parsed(note).text) for note in heads[:2])
    bodies = shard.bodies[: after.size]
    body = bodies[-1]
    bodies[-1] = altered(body, len(body) - 1, bytes([body[-1] ^ 1]))
    kept = shard.bodies
    shard.bodies = bodies
    root = shard.tree().root()
    shard.bodies = kept
    head = forge.by_day(replace(after, root=root).text(), after.at)
    joint = _joint(last)
    lines = ((after.size, root), *joint.shards[1:])
    signed = forge.by_day(replace(joint, shards=lines).text(), joint.at)
    return _with(case.parts, "shard-000", bodies[before.size :], _pieces(case.parts, "shard-000")) | {
        "heads.notes": notes_file([heads[0], head, *heads[2:]]),
        "joint.notes": notes_file([first, signed]),
    }


def _of_rules(index: int) -> str:
    """The first head of a shard then counts more than the last, and the last more than the leaves."""
    return f"shard-00{index // 2} head_counters" if index % 2 == 0 else "evidence.json evidence_rules"


def _withholding(name: str, piece: bytes) -> str:
    """The first number, in the order of groups and names, that changes where this is not shown."""
    if b'"record":"opened"' in piece:
        said = "allowed" if b'"allowed":true' in piece else "refused"
        return f"counts.{said}_by_action.infer evidence_count"
    if b'"record":"noted"' in piece:
        return "counts.unread.noted erased evidence_count"
    # that call stands before the period
    return f"counts.calls.{'earlier' if name == 'shard-001/1' else 'done'} evidence_count"


def _bodies(parts: Parts, shard: str) -> list[bytes]:
    log = parts[f"{shard}.log"]
    offset = 0

    def read(size: int) -> bytes:
        nonlocal offset
        offset += size
        return log[offset - size : offset]

    return [body for body, _, _ in frames(read, len(log))]


def _pieces(parts: Parts, shard: str) -> list[bytes | None]:
    """What stands for the opening of each leaf, None for one that is not sealed."""
    data, offset = parts[f"{shard}.opened"], 0
    found: list[bytes | None] = []
    for body in _bodies(parts, shard):
        if body[1] not in SEALED:
            found.append(None)
            continue
        length = int.from_bytes(data[offset : offset + 4], "big")
        found.append(data[offset : offset + 4 + length])
        offset += 4 + length
    return found


def _with(parts: Parts, shard: str, bodies: Sequence[bytes], pieces: Sequence[bytes | None]) -> Parts:
    opened = b"".join(_framed(piece) for piece in pieces if piece is not None)
    return parts | {f"{shard}.log": log_of(bodies), f"{shard}.opened": opened}


def _framed(piece: bytes) -> bytes:
    """A piece with the length that it has now."""
    return piece if len(piece) == 4 else (len(piece) - 4).to_bytes(4, "big") + piece[4:]


def _starts(case: Case) -> list[tuple[str, int]]:
    return [(shard["shard"], shard["since"]) for shard in claims_of(case.parts)["shards"]]


def _withheld(why: int) -> bytes:
    return why.to_bytes(4, "big")


def _without(parts: Parts, name: str) -> Parts:
    return {other: content for other, content in parts.items() if other != name}


def _joint(note: str) -> JointHead:
    return JointHead.parsed(Note.parsed(note).text)


def _day(case: Case) -> Any:
    return day_of(case.forge.at)


def _coded(data: bytes) -> str:
    return base64.b64encode(data).decode()
