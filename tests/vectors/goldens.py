"""Journals that hold: what a release has written must stay readable, and what a verifier must not refuse."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from compliance.verify.leaf import HEADER, NOTED
from compliance.verify.note import Note, cosigned
from tests.forge import (
    FIRST_DAY,
    NEXT_DAY,
    SECOND,
    Forge,
    ForgedShard,
    altered,
    midnight,
    nodes_of,
    notes_file,
    signer,
)
from tests.vectors.cases import Given, head_of, plain

__all__ = ["GOLDENS", "WITNESS"]

WITNESS = signer("a witness")


def golden_v1() -> tuple[Forge, Given]:
    """Every kind of record, two auditors, later a third, two shards, two days, a crash, a call that never ended."""
    forge = Forge("golden", auditors=("auditor", "another auditor", "the auditor who came after"))
    first = forge.shard()
    first.epoch(auditors=forge.auditors[:2])
    first.noted("loaded", {"name": "minilm", "version": "1"})
    for number in range(3):
        _call(first, f"patient-{number}")
    left_open = first.allowed("has the ward a bed?", subject="patient-7")
    first.refused(subject="patient-8")
    first.rules, first.usage = {"base.purpose": 1}, {"clinic/texts": 3}
    first.head()
    forge.joint()

    second = forge.shard()
    second.epoch(auditors=forge.auditors[:2])
    second.closed(left_open)
    for number in range(3):
        _call(second, f"patient-{number}")
    second.public(second.place(7), b"of a later version", bytes(64))
    second.head()
    first.noted("erased", {"ground": "Art. 17", "rows": 2})
    first.destroyed = second.destroyed = 2
    first.allowed("a call that never ended")
    first.head()
    forge.joint()

    forge.at = midnight(NEXT_DAY) + 60 * SECOND
    first.gap(log_bytes=211, head_bytes=80, unsigned=0)
    first.epoch(auditors=forge.auditors[::2])
    for number in range(7):
        _call(first, f"patient-{number}")
    first.refused(subject="patient-8")
    first.rules, first.usage = {"base.licence": 1, "base.purpose": 2}, {"clinic/texts": 8, "ward/texts": 1}
    first.head()
    for number in range(2):
        _call(second, f"patient-{number}")
    second.head()
    forge.joint()
    return forge, Given(files={f"shard-00{n}.nodes": b"".join(nodes_of(s.bodies)) for n, s in enumerate(forge.shards)})


def golden_empty() -> tuple[Forge, Given]:
    return Forge(), Given()


def golden_tail() -> tuple[Forge, Given]:
    """Two records behind the last head."""
    forge, shard = plain()
    shard.closed(shard.allowed())
    return forge, Given()


def golden_revoked() -> tuple[Forge, Given]:
    """Heads of a revoked key, below those of the key that was certified in its place; given is one of the good ones."""
    forge, shard = plain()
    revoked, key = forge.day_key(FIRST_DAY), signer("the key after it")
    forge.certificates += [forge.certificate(FIRST_DAY, key=key), forge.revocation(revoked, head_of(shard.heads[1]).at)]
    shard.noted()
    shard.head(key=key)
    forge.joint(key=key)
    return forge, Given(head=shard.heads[3])


def golden_revoked_from_outside() -> tuple[Forge, Given]:
    """The revocation is not in the journal. Beside it: another journal's, a thief's, and a certificate."""
    forge, shard = plain()
    thief = signer("a thief")
    stranger = Forge("another", root="a thief")
    beside = Forge("another").revocation(forge.day_key(FIRST_DAY), 0), stranger.revocation(thief, 0)
    key = forge.day_key(NEXT_DAY)
    forge.at = midnight(NEXT_DAY)
    shard.noted()
    shard.head()
    forge.joint()
    good = forge.revocation(forge.day_key(FIRST_DAY), head_of(shard.heads[1]).at)
    return forge, Given(revocations=(*beside, forge.certificate(NEXT_DAY, key=key), good))


def golden_witnessed() -> tuple[Forge, Given]:
    """A witness has signed two of the joint heads; the later one comes back from there."""
    forge, _ = plain()
    seen = [cosigned(Note.parsed(note), forge.at // SECOND, WITNESS).written() for note in forge.joints[1:]]
    return forge, Given(head=seen[1], witness=WITNESS.public, files={"witnessed.notes": notes_file(seen)})


def golden_edges() -> tuple[Forge, Given]:
    """As far as a journal may go: each of these would be a failure with one step more."""
    forge = Forge("edges")
    key = forge.day_key(FIRST_DAY)
    # the farthest day that may be certified, a second day for the same key, the same certificate twice
    forge.certificates.append(forge.certificate(NEXT_DAY, key=key, made=NEXT_DAY - timedelta(31)))
    forge.certificates.append(forge.certificate(FIRST_DAY, made=FIRST_DAY))
    forge.certificates.append(forge.revocation(signer("a key that nobody knows"), 0))
    shard = forge.shard()
    shard.gap()
    shard.epoch(at=forge.at)
    shard.noted(of=(0, 1))
    shard.noted(of=(5, 3))
    nonce = shard.bodies[2][HEADER : HEADER + 12]
    shard.epoch()
    forge.joint()
    middle = forge.joints[-1]
    # a nonce of another epoch, a ciphertext of nothing, kinds of later versions: without content, and twice the same
    shard.noted()
    shard.bodies[5] = altered(shard.bodies[5], HEADER, nonce)
    shard.public(shard.place(NOTED), bytes(28), b"\xff" * 64)
    shard.public(shard.place(7, of_shard=0, of_sequence=99), b"")
    for _ in range(2):
        shard.public(shard.place(255, row=b"\xff" * 16), bytes(28), b"\xff" * 64)
    _names(shard)
    shard.head(at=forge.at)
    # at the very time of the last head, and a head at the time of the one before
    shard.epoch(at=forge.at)
    shard.head(at=head_of(shard.heads[1]).at)
    forge.joint(at=forge.at)
    forge.shard()
    forge.joint()
    forge.at = midnight(NEXT_DAY)
    forge.joint(at=forge.at - 1)
    forge.joint(at=forge.at, key=key)
    shard.noted()
    shard.head(key=key)
    forge.certificates.append(forge.revocation(key, forge.at + 1))
    others = ("README", "shard-000.nodes", "shard-0001.log", "shard-00a.heads", "shard-001.log.old")
    return forge, Given(head=middle, files=dict.fromkeys(others, b"what nobody looks at"))


GOLDENS: tuple[Callable[[], tuple[Forge, Given]], ...] = (
    golden_v1,
    golden_empty,
    golden_tail,
    golden_revoked,
    golden_revoked_from_outside,
    golden_witnessed,
    golden_edges,
)


def _call(shard: ForgedShard, subject: str) -> None:
    call = shard.allowed(["where is the ward?", {"subject": subject}], subject=subject)
    shard.noted("scanned", {"categories": []}, of=call, subject=subject)
    shard.closed(call, subject=subject)


def _names(shard: ForgedShard) -> None:
    """Names in the order of their bytes, and the largest number."""
    shard.rules = {"!": 0, "(others)": 1, "Z": 2**53 - 1, "a": 3, "~": 4}
    shard.usage = {"clinic/texts": 1, "clinic/texts/2": 2}
