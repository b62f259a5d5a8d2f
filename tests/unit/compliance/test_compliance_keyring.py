"""Who may sign for a journal, on which day, and from when on no longer."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from compliance.crypto import Unauthentic
from compliance.verify.keyring import Keyring, certified
from compliance.verify.leaf import Broken
from compliance.verify.note import DAY, ROOT, Note, cosigned, signed
from compliance.verify.statements import Certificate, Revocation
from tests.forge import FIRST_DAY, MADE, NEXT_DAY, Forge, midnight, signer

FORGE = Forge()
KEY = FORGE.day_key(FIRST_DAY)


@pytest.fixture
def keyring() -> Keyring:
    found = Keyring(FORGE.id, FORGE.root.public)
    for note in FORGE.certificates:
        found.take(note)
    return found


def test_a_key_signs_on_its_day(keyring: Keyring) -> None:
    start, end = midnight(FIRST_DAY), midnight(NEXT_DAY)
    for at, note in ((start, FORGE.certificates[0]), (end - 1, FORGE.certificates[0]), (start - 1, None), (end, None)):
        assert keyring.certificate(KEY.public, at) == note
    assert keyring.certificate(signer("a thief").public, start) is None
    assert keyring.days() == [(day, FORGE.day_key(day).public) for day in (FIRST_DAY, NEXT_DAY)]


def test_a_key_may_be_certified_for_several_days(keyring: Keyring) -> None:
    keyring.take(FORGE.certificate(NEXT_DAY, key=KEY))
    assert keyring.certificate(KEY.public, midnight(NEXT_DAY)) is not None


def test_the_signer_of_a_note_is_found(keyring: Keyring) -> None:
    note = Note.parsed(signed("text\n", DAY, KEY))
    assert keyring.signer_of(note) == keyring.signer_of(cosigned(note, 1, signer("a witness"))) == KEY.public
    by_others = (signed("text\n", DAY, signer("a thief")), signed("text\n", ROOT, KEY), signed("x\n", ROOT, FORGE.root))
    altered = Note("other\n", note.signatures)
    for other in (*map(Note.parsed, by_others), altered):
        with pytest.raises(Unauthentic) as refused:
            keyring.signer_of(other)
        assert refused.value.code == "signature"


def test_a_revocation_holds_from_its_time_on_and_stays(keyring: Keyring) -> None:
    keyring.take(FORGE.revocation(KEY, 50))
    keyring.take(FORGE.revocation(KEY, 70))
    keyring.take(FORGE.certificates[0])
    assert [keyring.revoked(KEY.public, at) for at in (49, 50, 60)] == [False, True, True]
    keyring.revoke([FORGE.revocation(KEY, 20), "no note", FORGE.certificates[0], Forge("other").revocation(KEY, 0)])
    assert [keyring.revoked(KEY.public, at) for at in (19, 20)] == [False, True]
    assert not keyring.revoked(FORGE.day_key(NEXT_DAY).public, 99)


def test_what_the_root_says_is_read() -> None:
    found = certified(FORGE.certificates[0], FORGE.id, FORGE.root.public)
    assert found == Certificate(FORGE.id, KEY.public, FIRST_DAY, MADE)
    found = certified(FORGE.revocation(KEY, 5), FORGE.id, FORGE.root.public)
    assert found == Revocation(FORGE.id, KEY.public, 5)


@pytest.mark.parametrize(
    ("note", "code"),
    [
        (Forge("other").certificates[0], "certificate_invalid"),
        (FORGE.genesis, "certificate_invalid"),
        (FORGE.joints[0], "certificate_invalid"),
        ("", "certificate_invalid"),
        ("\ud800\n\n\u2014 sealpress.root AAAAAAAA\n", "certificate_invalid"),
        (signed(Note.parsed(FORGE.certificates[0]).text, ROOT, signer("a thief")), "certificate_invalid"),
        (signed(Note.parsed(FORGE.certificates[0]).text, DAY, FORGE.root), "certificate_invalid"),
        (FORGE.certificate(MADE - timedelta(1)), "certificate_days"),
        (FORGE.certificate(MADE + timedelta(32)), "certificate_days"),
        (FORGE.certificate(date.max), "certificate_days"),
    ],
)
def test_what_the_root_did_not_say_so_is_refused(note: str, code: str) -> None:
    with pytest.raises(Broken) as broken:
        certified(note, FORGE.id, FORGE.root.public)
    assert broken.value.code == code
