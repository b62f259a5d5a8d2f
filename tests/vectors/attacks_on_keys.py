"""Attacks with keys of thieves, of other days, revoked or never certified; and on what the root signs."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from compliance.crypto import Signer
from compliance.verify.note import DAY, ROOT, Note, key_id, signed
from compliance.verify.statements import Certificate, Genesis
from tests.forge import FIRST_DAY, MADE, NEXT_DAY, SECOND, Forge, ForgedShard, midnight, notes_file, signer
from tests.vectors.cases import Given, attack, head_of, joint_of

THIEF = signer("a thief")
GENESIS, CERTIFICATES = "journal.note", "certificates.notes"


# day keys


@attack("joint 1 joint_expired", "shard-000 head 1 head_expired")
def forged_with_a_stolen_day_key_and_dated_back(forge: Forge, shard: ForgedShard) -> None:
    _rewrite(forge, shard, forge.day_key(NEXT_DAY))


@attack("head given_root")
def forged_with_a_stolen_day_key(forge: Forge, shard: ForgedShard) -> Given:
    head = forge.joints[1]
    _rewrite(forge, shard, forge.day_key(NEXT_DAY), at=midnight(NEXT_DAY))
    return Given(head=head)


@attack("head given_root")
def forged_with_a_stolen_day_key_within_its_day(forge: Forge, shard: ForgedShard) -> Given:
    head = shard.heads[2]
    _rewrite(forge, shard, forge.day_key(FIRST_DAY))
    return Given(head=head)


@attack("joint 3 joint_revoked", "shard-000 head 3 head_revoked", signs=True)
def forged_after_revocation(forge: Forge, shard: ForgedShard) -> None:
    forge.certificates.append(forge.revocation(forge.day_key(FIRST_DAY), forge.at + 1))
    shard.noted()


@attack("joint 3 joint_revoked", "shard-000 head 3 head_revoked", signs=True)
def forged_after_a_revocation_that_is_kept_back(forge: Forge, shard: ForgedShard) -> Given:
    shard.noted()
    return Given(revocations=(forge.revocation(forge.day_key(FIRST_DAY), forge.at),))


@attack("joint 2 joint_revoked", "shard-000 head 2 head_revoked")
def revoked_at_the_very_time_of_a_head(forge: Forge, shard: ForgedShard) -> None:
    forge.certificates.append(forge.revocation(forge.day_key(FIRST_DAY), head_of(shard.heads[2]).at))


@attack("joint 2 joint_revoked", "shard-000 head 2 head_revoked")
def revocation_moved_forward(forge: Forge, shard: ForgedShard) -> None:
    key = forge.day_key(FIRST_DAY)
    forge.certificates += [forge.revocation(key, 0), forge.revocation(key, 2**63 - 1)]


@attack("joint 2 joint_revoked", "shard-000 head 2 head_revoked")
def certified_again_after_revocation(forge: Forge, shard: ForgedShard) -> None:
    forge.certificates += [forge.revocation(forge.day_key(FIRST_DAY), 0), forge.certificate(FIRST_DAY)]


@attack("joint 3 joint_signature", "shard-000 head 3 head_signature")
def forged_with_an_uncertified_key(forge: Forge, shard: ForgedShard) -> None:
    _go_on(forge, shard, THIEF)


@attack("shard-000 head 3 head_signature")
def head_signed_by_the_root(forge: Forge, shard: ForgedShard) -> None:
    shard.noted()
    shard.heads.append(forge.by_root(shard.stated(10, forge.tick()).text()))


@attack("shard-000 head 3 head_signature")
def head_signed_in_the_name_of_the_root(forge: Forge, shard: ForgedShard) -> None:
    shard.noted()
    shard.heads.append(signed(shard.stated(10, forge.tick()).text(), ROOT, forge.day_key(FIRST_DAY)))


@attack("shard-000 head 3 head_signature")
def head_under_the_id_of_another_key(forge: Forge, shard: ForgedShard) -> None:
    shard.noted()
    text = shard.stated(10, forge.tick()).text()
    name, _, signature = Note.parsed(signed(text, DAY, THIEF)).signatures[0]
    id_ = key_id(DAY, forge.day_key(FIRST_DAY).public)
    shard.heads.append(Note(text, ((name, id_, signature),)).written())


@attack("shard-000 head 2 head_expired")
def head_of_the_day_before(forge: Forge, shard: ForgedShard) -> None:
    shard.heads[2] = forge.by_day(Note.parsed(shard.heads[2]).text, forge.at, forge.day_key(NEXT_DAY))


@attack("joint 3 joint_expired")
def joint_head_at_midnight(forge: Forge, shard: ForgedShard) -> None:
    forge.joint(at=midnight(NEXT_DAY), key=forge.day_key(FIRST_DAY))


@attack("joint 3 joint_signature", "shard-000 head 3 head_signature")
def day_key_of_small_order(forge: Forge, shard: ForgedShard) -> None:
    """Under the neutral point as a key this signature belongs to every text."""
    neutral = b"\x01" + bytes(31)
    forge.certificates.append(forge.by_root(Certificate(forge.id, neutral, FIRST_DAY, MADE).text()))
    shard.noted()
    shard.head()
    forge.joint()
    for notes in (shard.heads, forge.joints):
        anybodys = DAY, key_id(DAY, neutral), neutral + bytes(32)
        notes[-1] = Note(Note.parsed(notes[-1]).text, (anybodys,)).written()


# what the root signs

THIEVES = ("joint 3 joint_signature", "shard-000 head 3 head_signature")


@attack("certificate 2 certificate_invalid", *THIEVES)
def certificate_by_a_thief(forge: Forge, shard: ForgedShard) -> None:
    text = Certificate(forge.id, THIEF.public, FIRST_DAY, MADE).text()
    _certified(forge, shard, signed(text, ROOT, THIEF))


@attack("certificate 2 certificate_invalid", *THIEVES)
def certificate_by_a_day_key(forge: Forge, shard: ForgedShard) -> None:
    text = Certificate(forge.id, THIEF.public, FIRST_DAY, MADE).text()
    _certified(forge, shard, forge.by_day(text, forge.at))


@attack("certificate 2 certificate_invalid", *THIEVES)
def certificate_of_another_journal(forge: Forge, shard: ForgedShard) -> None:
    _certified(forge, shard, Forge("another").certificate(FIRST_DAY, key=THIEF))


@attack("certificate 2 certificate_days", *THIEVES)
def certificate_too_far_ahead(forge: Forge, shard: ForgedShard) -> None:
    _certified(forge, shard, forge.certificate(FIRST_DAY, key=THIEF, made=FIRST_DAY - timedelta(32)))


@attack("certificate 2 certificate_days", *THIEVES)
def certificate_for_the_day_before(forge: Forge, shard: ForgedShard) -> None:
    _certified(forge, shard, forge.certificate(FIRST_DAY, key=THIEF, made=NEXT_DAY))


@attack("certificate 2 certificate_invalid", *THIEVES)
def certificate_for_no_day(forge: Forge, shard: ForgedShard) -> None:
    text = Certificate(forge.id, THIEF.public, FIRST_DAY, MADE).text().replace("day 2026-11-23", "day 2026-02-29")
    _certified(forge, shard, forge.by_root(text))


@attack("certificate 2 certificate_invalid", *THIEVES)
def certificate_for_the_year_0(forge: Forge, shard: ForgedShard) -> None:
    text = Certificate(forge.id, THIEF.public, FIRST_DAY, MADE).text().replace("2026-", "0000-")
    _certified(forge, shard, forge.by_root(text))


@attack("certificate 2 certificate_invalid", *THIEVES)
def certificate_in_another_spelling(forge: Forge, shard: ForgedShard) -> None:
    text = Certificate(forge.id, THIEF.public, FIRST_DAY, MADE).text().replace("day 2026-11-23", "day 20261123")
    _certified(forge, shard, forge.by_root(text))


@attack("certificate 0 certificate_invalid", "joint 0 joint_signature", "shard-000 head 0 head_signature")
def certificate_with_a_flipped_bit(forge: Forge, shard: ForgedShard) -> None:
    forge.certificates[0] = forge.certificates[0].replace("day 2026-11-23", "day 2026-11-22")


@attack("certificate 0 certificate_truncated", "joint 0 joint_signature", "shard-000 head 0 head_signature")
def certificates_removed(forge: Forge, shard: ForgedShard) -> Given:
    return Given(files={CERTIFICATES: None})


@attack("joint 0 joint_signature", "shard-000 head 0 head_signature")
def certificates_emptied(forge: Forge, shard: ForgedShard) -> None:
    forge.certificates.clear()


@attack("certificate 1 certificate_truncated")
def certificates_truncated(forge: Forge, shard: ForgedShard) -> Given:
    return Given(files={CERTIFICATES: notes_file(forge.certificates)[:-1]})


@attack("journal.note genesis_missing")
def genesis_removed(forge: Forge, shard: ForgedShard) -> Given:
    return Given(files={GENESIS: None})


@attack("journal.note genesis_signature")
def genesis_of_another(forge: Forge, shard: ForgedShard) -> None:
    forge.genesis = Forge("another", root="another root").genesis


@attack("certificate 0 certificate_invalid", "joint 0 joint_signature", "shard-000 head 0 head_signature")
def genesis_of_another_under_the_same_root(forge: Forge, shard: ForgedShard) -> None:
    forge.genesis = Forge("another").genesis


@attack("journal.note genesis_signature")
def genesis_with_a_flipped_bit(forge: Forge, shard: ForgedShard) -> None:
    forge.genesis = forge.genesis.replace("made 2026", "made 2024")


@attack("journal.note genesis_signature")
def genesis_that_names_another_root(forge: Forge, shard: ForgedShard) -> None:
    genesis = Genesis.parsed(Note.parsed(forge.genesis).text)
    forge.genesis = forge.by_root(replace(genesis, root=THIEF.public).text())


@attack("journal.note genesis_signature")
def genesis_of_no_day(forge: Forge, shard: ForgedShard) -> None:
    forge.genesis = forge.by_root(Note.parsed(forge.genesis).text.replace("made 2026-11-20", "made 2026-11-31"))


@attack("journal.note genesis_signature")
def genesis_by_a_thief(forge: Forge, shard: ForgedShard) -> None:
    forge.genesis = signed(Note.parsed(forge.genesis).text, ROOT, THIEF)


@attack("journal.note genesis_signature")
def genesis_that_is_a_certificate(forge: Forge, shard: ForgedShard) -> None:
    forge.genesis = forge.certificates[0]


def _rewrite(forge: Forge, shard: ForgedShard, key: Signer, *, at: int | None = None) -> None:
    """Put another record for the third, and sign all heads that follow with a key, at their times or from `at` on."""
    shard.noted(sequence=2, of=(0, 1))
    shard.bodies[2] = shard.bodies.pop()
    shard.resign(key, first=1, at=at)
    for number, old in enumerate(map(joint_of, forge.joints[1:]), start=1):
        ((size, _),) = old.shards
        forge.joint(
            at=old.at if at is None else at + number * SECOND, key=key, shards=((size, shard.tree(size).root()),)
        )
        forge.joints[number] = forge.joints.pop()


def _certified(forge: Forge, shard: ForgedShard, certificate: str) -> None:
    """Whom this certificate names goes on with the journal."""
    forge.certificates.append(certificate)
    _go_on(forge, shard, THIEF)


def _go_on(forge: Forge, shard: ForgedShard, key: Signer) -> None:
    shard.noted()
    shard.head(key=key)
    forge.joint(key=key)
