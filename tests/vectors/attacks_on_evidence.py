"""What may be done to evidence by whoever hands it on, and what a verifier must say of it.

Each attack is made on the parts of evidence that holds; a thief may have the day key, and sign anew what he changed.
What must be found is thought out from docs/formats.md, not taken from a verifier; it is written "PLACE CODE".
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from compliance.crypto import Signer
from compliance.verify.leaf import ALLOWED, REFUSED, SEALED, frames
from compliance.verify.note import Note, notes_in
from compliance.verify.statements import Head, JointHead, day_of
from tests.forge import SECOND, altered, log_of, notes_file, signer
from tests.periods import WITNESS, claims_of, with_claims
from tests.vectors.attacks_on_papers import on_papers
from tests.vectors.evidence_case import KEPT, Case, Given, Mutation, Parts, coded, evidence_case, mutated, without

__all__ = ["Given", "Mutation", "evidence_case", "mutations"]


def mutations() -> Iterator[Mutation]:
    """Every mutation; the same each time, apart from what is random in ciphertexts."""
    case = evidence_case()
    for make in (_leaves, _openings, _numbers, _claims, _signed, on_papers, _periods, _missing):
        yield from make(case)


def _leaves(case: Case) -> Iterator[Mutation]:
    """Leaves that are dropped, swapped, altered, or shown as of another kind."""
    for shard, start in _starts(case):
        bodies, pieces = _bodies(case.parts, shard), _pieces(case.parts, shard)
        for index, body in enumerate(bodies):
            name, last = f"{shard}/{start + index}", index == len(bodies) - 1
            fewer = bodies[:index] + bodies[index + 1 :]
            fewer_pieces = [piece for number, piece in enumerate(pieces) if number != index]
            found = "record_missing" if last else "record_epoch" if name == "shard-001/0" else "record_sequence"
            place = f"{shard}/{start + index}"
            if name == "shard-001/0":
                found = "record_sequence"
            yield mutated(f"dropped {name}", case, _with(case.parts, shard, fewer, fewer_pieces), f"{place} {found}")
            if not last:
                swapped = [*bodies[:index], bodies[index + 1], body, *bodies[index + 2 :]]
                yield mutated(
                    f"swapped {name}", case, _with(case.parts, shard, swapped, pieces), f"{place} record_sequence"
                )
            if body[1] not in SEALED:
                continue
            flipped = altered(body, len(body) - 1, bytes([body[-1] ^ 1]))
            changed = [*bodies[:index], flipped, *bodies[index + 1 :]]
            # the head that was kept is of all leaves of the second shard
            found = "shard-000 head_root" if shard == "shard-000" else "head given_root"
            yield mutated(f"altered {name}", case, _with(case.parts, shard, changed, pieces), found)
            if body[1] in (ALLOWED, REFUSED):
                other = altered(body, 1, bytes([ALLOWED + REFUSED - body[1]]))
                changed = [*bodies[:index], other, *bodies[index + 1 :]]
                yield mutated(
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
                    yield mutated(
                        f"{what} of {name}",
                        case,
                        _with(case.parts, shard, bodies, edited),
                        f"{name} evidence_opening",
                    )
            shown = [*pieces[:index], _withheld(0), *pieces[index + 1 :]]
            yield mutated(f"withheld {name}", case, _with(case.parts, shard, bodies, shown), _withholding(name, piece))
        first, second, *rest = [piece for piece in pieces if piece is not None]
        place = f"{shard}/{start + pieces.index(first)}"
        opened = case.parts | {f"{shard}.opened": b"".join([second, first, *rest])}
        yield mutated(f"openings of {shard} swapped", case, opened, f"{place} evidence_opening")
        cut = case.parts | {f"{shard}.opened": case.parts[f"{shard}.opened"][:-1]}
        place = f"{shard}/{start + len(bodies) - 1}"
        yield mutated(f"openings of {shard} cut", case, cut, f"{place} evidence_malformed")
        more = case.parts | {f"{shard}.opened": case.parts[f"{shard}.opened"] + _withheld(0)}
        place = f"{shard}/{start + len(bodies)}"
        yield mutated(f"openings of {shard} too many", case, more, f"{place} evidence_malformed")


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
                yield mutated(f"{what} {place}", case, with_claims(case.parts, claims), f"{place} evidence_count")
        claims = claims_of(case.parts)
        claims["counts"][group]["made up"] = 1
        yield mutated(
            f"made up in {group}", case, with_claims(case.parts, claims), f"counts.{group}.made up evidence_count"
        )
        claims = claims_of(case.parts)
        del claims["counts"][group]
        yield mutated(f"{group} removed", case, with_claims(case.parts, claims), f"counts.{group} evidence_count")


def _claims(case: Case) -> Iterator[Mutation]:
    """Other claims: the journal, the period, the shards, what stood before, the proofs."""

    def edited(name: str, found: str, edit: Callable[[Any], object], given: Given = KEPT) -> Mutation:
        claims = claims_of(case.parts)
        edit(claims)
        return mutated(name, case, with_claims(case.parts, claims), found, given)

    malformed = "evidence.json evidence_malformed"
    yield edited("format of later", "evidence.json evidence_format", lambda claims: claims.update(format=3))
    yield edited("another journal", "evidence.json evidence_journal", lambda claims: claims.update(journal="0" * 32))
    yield edited("a member more", malformed, lambda claims: claims.update(note="x"))
    yield edited("a member less", malformed, lambda claims: claims.pop("box"))
    yield edited("the first format", malformed, lambda claims: claims.update(format=1))
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
    spaced = case.parts | {"evidence.json": case.parts["evidence.json"].replace(b'{"absent"', b'{ "absent"')}
    yield mutated("another spelling", case, spaced, malformed)
    twice = case.parts | {
        "evidence.json": case.parts["evidence.json"].replace(b'{"absent":', b'{"absent":[],"absent":')
    }
    yield mutated("a member twice", case, twice, malformed)


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
            metadata=coded(
                base64.b64decode(claims["earlier"][index]["metadata"]).replace(b"00", b"01").replace(b"abab", b"acab")
            )
        ),
    )
    yield edited(
        f"body of {name}",
        f"{name} evidence_earlier",
        lambda claims: claims["earlier"][index].update(
            body=coded(base64.b64decode(claims["earlier"][index]["body"])[:-1] + b"\x00\x01")
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

    yield mutated(
        "joint head forged", case, joints(first, by(Note.parsed(last).text, thief)), "joint 1 joint_signature"
    )
    yield mutated("joint heads swapped", case, joints(last, first), "joint 1 joint_order")
    yield mutated("joint head dropped", case, joints(last), "joint.notes joint_missing")
    yield mutated("joint head thrice", case, joints(first, first, last), "joint.notes joint_missing")
    later = forge.by_day(replace(_joint(last), at=forge.at + 3 * 86_400 * SECOND).text(), forge.at)
    yield mutated("joint head of later", case, joints(first, later), "joint 1 joint_expired")
    foreign = case.others["foreign"]
    other = list(notes_in(foreign["joint.notes"], "", ""))[1]
    yield mutated("joint head of another journal", case, joints(first, other), "joint 1 joint_signature")
    renamed = by(replace(_joint(last), id="0" * 32).text())
    yield mutated("joint head renamed", case, joints(first, renamed), "joint 1 joint_origin")
    for index in range(len(heads)):
        fewer = case.parts | {"heads.notes": notes_file(heads[:index] + heads[index + 1 :])}
        shard = f"shard-00{index // 2}"
        yield mutated(f"head {index} dropped", case, fewer, f"{shard} head_missing")
        parsed = Head.parsed(Note.parsed(heads[index]).text)
        forged = by(parsed.text(), thief)
        swapped = case.parts | {"heads.notes": notes_file([*heads[:index], forged, *heads[index + 1 :]])}
        yield mutated(f"head {index} forged", case, swapped, f"head {index} head_signature")
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
            yield mutated(f"{what} of head {index} signed anew", case, resigned, found)
    for head in ("joint after", "joint within", "after", "within"):
        yield mutated(f"history signed anew under {head}", case, _rewritten(case), "head given_root", Given(head))
    plain = Note.parsed(last)
    bare, broken = plain.first().written(), plain.signatures[1][2]
    wrong = Note(
        plain.text, (plain.signatures[0], (*plain.signatures[1][:2], broken[:-1] + bytes([broken[-1] ^ 1])))
    ).written()
    seen = Given(None, WITNESS.public)
    yield mutated("token removed", case, joints(first, bare), "joint 1 witness_missing", seen)
    yield mutated("token altered", case, joints(first, wrong), "joint 1 witness_signature", seen)
    yield mutated("token of another witness", case, case.parts, "joint 1 witness_missing", Given(None, thief.public))
    revoked = case.parts["certificates.notes"] + notes_file([forge.revocation(forge.day_key(_day(case)), 0)])
    yield mutated("key revoked", case, case.parts | {"certificates.notes": revoked}, "joint 0 joint_revoked")


def _periods(case: Case) -> Iterator[Mutation]:
    """Evidence that holds, of something else than was asked for."""
    asked = case.since, case.until
    yield mutated("another journal's", case, case.others["foreign"], "head given_foreign")
    yield mutated("head unproved", case, case.others["unproved"], "head given_unproved")
    yield mutated("older head unproved", case, case.others["unproved"], "head given_unproved", Given("before"))
    for what, (since, until) in (
        ("begins late", (asked[0] - SECOND, asked[1])),
        ("ends early", (asked[0], asked[1] + SECOND)),
        ("of last month", (asked[0] + 30 * 86_400 * SECOND, asked[1] + 30 * 86_400 * SECOND)),
    ):
        given = Given(None, period=(since, until))
        yield mutated(f"period {what}", case, case.parts, "evidence.json evidence_period", given)


def _missing(case: Case) -> Iterator[Mutation]:
    for name in case.parts:
        if not name.startswith(("policies/", "grants/", "overrides/", "declarations/", "policy.proof")):
            yield mutated(f"without {name}", case, without(case.parts, name), f"{name} evidence_missing")
    yield mutated("an entry more", case, case.parts | {"notes.txt": b""}, "evidence evidence_malformed")


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


def _joint(note: str) -> JointHead:
    return JointHead.parsed(Note.parsed(note).text)


def _day(case: Case) -> Any:
    return day_of(case.forge.at)
