"""Day keys: each on its day and no other, destroyed afterwards, never after they were revoked."""

from __future__ import annotations

import os
from datetime import date, timedelta
from pathlib import Path

import pytest

from compliance.crypto import Opener, Signer, sha256
from compliance.journal.certificates import certify, install, request, revoke
from compliance.journal.signing import MAX_AUDITORS, Auditors, DayKeys
from compliance.keys import KeyFault, read_key, write_key
from compliance.verify.note import DAY, ROOT, Note, signed
from compliance.verify.statements import Certificate
from tests.forge import FIRST_DAY, NEXT_DAY, SECOND, midnight, signer

ID = sha256(b"journal")[:16].hex()
HOURS = 3600 * SECOND
NOON = midnight(FIRST_DAY) + 12 * HOURS
ROOT_KEY = signer("root")


def days_from(folder: Path, count: int = 3) -> DayKeys:
    """Keys that are certified for so many days from FIRST_DAY on."""
    keys = DayKeys(folder / "days", folder / "certificates.notes", ID, ROOT_KEY.public)
    keys.folder.mkdir()
    keys.certificates.touch()
    install(keys, certify(request(keys, NOON, count), ROOT_KEY, FIRST_DAY), NOON)
    return keys


def key_of(keys: DayKeys, day: date) -> bytes:
    return next(key for known, key in keys.keyring().days() if known == day)


def files(keys: DayKeys) -> list[str]:
    return sorted(path.name[:10] for path in keys.folder.iterdir())


def code_of(keys: DayKeys, at: int) -> str:
    with pytest.raises(KeyFault) as caught:
        keys.key(at)
    return caught.value.code


def test_each_day_signs_with_its_own_key(tmp_path: Path) -> None:
    keys = days_from(tmp_path)
    before, after = midnight(NEXT_DAY) - 1, midnight(NEXT_DAY)
    first = keys.key(before)
    assert keys.signer(NOON) is first.signer
    second = keys.key(after)
    assert (first.signer.public, second.signer.public) == (key_of(keys, FIRST_DAY), key_of(keys, NEXT_DAY))
    for day, key in ((FIRST_DAY, first), (NEXT_DAY, second)):
        said = Certificate.parsed(Note.parsed(key.certificate).check(ROOT, ROOT_KEY.public))
        assert (said.day, said.key) == (day, key.signer.public)
        Note.parsed(signed("text\n", DAY, key.signer)).check(DAY, said.key)


def test_a_used_key_is_destroyed_on_the_next_day(tmp_path: Path) -> None:
    keys = days_from(tmp_path)
    keys.key(NOON)
    path = keys.path(FIRST_DAY, key_of(keys, FIRST_DAY))
    os.link(path, tmp_path / "the same bytes on the disk")
    keys.key(midnight(NEXT_DAY))
    assert files(keys) == [str(NEXT_DAY), str(NEXT_DAY + timedelta(1))]
    assert set((tmp_path / "the same bytes on the disk").read_bytes()) == {0}
    assert code_of(keys, NOON) == "day_key_missing"


def test_a_clock_that_runs_wild_destroys_nothing(tmp_path: Path) -> None:
    keys = days_from(tmp_path)
    assert code_of(keys, NOON + 3650 * 24 * HOURS) == "day_key_missing"
    assert len(files(keys)) == 3


def test_what_lies_behind_a_link_is_not_overwritten(tmp_path: Path) -> None:
    keys = days_from(tmp_path)
    (tmp_path / "precious").write_text("mine")
    (keys.folder / "2026-01-01-00000000.key").symlink_to(tmp_path / "precious")
    with pytest.raises(Exception, match="was not destroyed"):
        keys.key(NOON)
    assert (tmp_path / "precious").read_text() == "mine"


def test_a_revocation_reaches_who_signs_already(tmp_path: Path) -> None:
    keys, elsewhere = (
        days_from(tmp_path),
        DayKeys(tmp_path / "days", tmp_path / "certificates.notes", ID, ROOT_KEY.public),
    )
    stolen = keys.key(NOON).signer.public
    install(elsewhere, [revoke(ID, stolen, NOON + HOURS, ROOT_KEY)], NOON)
    assert keys.key(NOON + HOURS - 1).signer.public == stolen
    assert code_of(keys, NOON + HOURS) == "day_key_missing"
    assert elsewhere.days_left(NOON) == 0
    install(elsewhere, certify(request(elsewhere, NOON, 1), ROOT_KEY, FIRST_DAY), NOON)
    assert keys.key(NOON + HOURS).signer.public != stolen
    assert keys.days_left(NOON + HOURS) == 3


def test_a_key_that_nobody_certified_signs_nothing(tmp_path: Path) -> None:
    keys = days_from(tmp_path, 1)
    keys.make(NEXT_DAY)
    assert code_of(keys, midnight(NEXT_DAY)) == "day_key_missing"


def test_a_file_that_holds_another_key_signs_nothing(tmp_path: Path) -> None:
    keys = days_from(tmp_path, 1)
    path = keys.path(FIRST_DAY, key_of(keys, FIRST_DAY))
    path.unlink()
    write_key(path, "journal-signing", signer("a thief").private_bytes())
    assert code_of(keys, NOON) == "day_key_missing"


@pytest.mark.parametrize("how", ["removed", "cut", "of another root", "of another journal"])
def test_without_the_roots_word_nothing_is_signed(tmp_path: Path, how: str) -> None:
    keys = days_from(tmp_path)
    if how == "removed":
        keys.certificates.unlink()
    elif how == "cut":
        os.truncate(keys.certificates, keys.certificates.stat().st_size - 1)
    else:
        root, id_ = (signer("a thief"), ID) if how == "of another root" else (ROOT_KEY, ID[::-1])
        text = Certificate(id_, signer("a thief").public, FIRST_DAY, FIRST_DAY).text()
        keys.certificates.write_text(signed(text, ROOT, root) + "\n", "utf-8")
    assert code_of(keys, NOON) == "certificates_broken"


def test_days_are_counted_up_to_the_first_gap(tmp_path: Path) -> None:
    keys = days_from(tmp_path, 5)
    third = FIRST_DAY + timedelta(2)
    keys.path(third, key_of(keys, third)).unlink()
    install(keys, [revoke(ID, key_of(keys, NEXT_DAY), midnight(NEXT_DAY) + HOURS, ROOT_KEY)], NOON)
    states = [state for _, _, state in keys.states(NOON)]
    assert states == ["ready", "revoked", "missing", "ready", "ready"]
    assert [keys.days_left(midnight(FIRST_DAY + timedelta(ahead))) for ahead in (0, 1, 3, 4, 5)] == [1, 0, 2, 1, 0]
    assert [state for _, _, state in keys.states(midnight(third))] == ["used", "revoked", "missing", "ready", "ready"]


def test_all_auditors_are_sealed_to_in_the_order_of_their_fingerprints(tmp_path: Path) -> None:
    openers = [Opener.generate() for _ in range(3)]
    for number, opener in enumerate([*openers, openers[0]]):  # one of them twice
        write_key(tmp_path / f"{number}.pub", "auditor-public", opener.public)
    (tmp_path / "notes.txt").write_text("not a key")
    sealers = Auditors(tmp_path).sealers()
    assert [sealer.public for sealer in sealers] == sorted((opener.public for opener in openers), key=sha256)


def test_nothing_is_sealed_to_nobody_or_to_too_many(tmp_path: Path) -> None:
    with pytest.raises(KeyFault) as nobody:
        Auditors(tmp_path).sealers()
    assert nobody.value.code == "auditor_missing"
    for number in range(MAX_AUDITORS + 1):
        write_key(tmp_path / f"{number}.pub", "auditor-public", Opener.generate().public)
    with pytest.raises(KeyFault) as many:
        Auditors(tmp_path).sealers()
    assert many.value.code == "auditor_many"
    (tmp_path / "0.pub").write_text("no key")
    with pytest.raises(KeyFault) as malformed:
        Auditors(tmp_path).sealers()
    assert malformed.value.code == "key_malformed"


def test_a_day_key_is_written_for_the_owner_only(tmp_path: Path) -> None:
    keys = days_from(tmp_path, 1)
    (path,) = keys.folder.iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
    assert Signer(read_key(path, "journal-signing")).public == key_of(keys, FIRST_DAY)
