"""How day keys are requested, certified, installed and revoked, and what is refused on the way."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from compliance.journal.certificates import (
    Request,
    certify,
    install,
    kept_elsewhere,
    read_notes,
    read_request,
    request,
    revoke,
)
from compliance.journal.signing import DayKeys
from compliance.keys import KeyFault
from compliance.verify.keyring import Keyring
from compliance.verify.statements import Certificate, Revocation, key_text
from tests.forge import FIRST_DAY, NEXT_DAY, SECOND, midnight, signer

ID = "0123456789abcdef" * 2
ROOT_KEY = signer("root")
NOON = midnight(FIRST_DAY) + 12 * 3600 * SECOND


@pytest.fixture
def keys(tmp_path: Path) -> DayKeys:
    found = DayKeys(tmp_path / "days", tmp_path / "certificates.notes", ID, ROOT_KEY.public)
    found.folder.mkdir()
    found.certificates.touch()
    return found


def notes_for(keys: DayKeys, count: int = 3) -> list[str]:
    return certify(request(keys, NOON, count), ROOT_KEY, FIRST_DAY)


def refused(keys: DayKeys, given: list[str]) -> str:
    """The code, when installing is refused and changes nothing."""
    before = keys.certificates.read_bytes()
    with pytest.raises(KeyFault) as caught:
        install(keys, given, NOON)
    assert keys.certificates.read_bytes() == before
    return caught.value.code


def test_a_request_asks_for_the_days_that_have_no_key(keys: DayKeys) -> None:
    install(keys, notes_for(keys, 2), NOON)
    asked = request(keys, NOON, 4)
    assert [day for day, _ in asked.days] == [FIRST_DAY + timedelta(2), FIRST_DAY + timedelta(3)]
    assert request(keys, NOON, 4) == asked  # the same keys, as long as nobody has answered
    assert len(list(keys.folder.iterdir())) == 4
    install(keys, certify(asked, ROOT_KEY, FIRST_DAY), NOON)
    assert request(keys, NOON, 4).days == ()
    assert keys.days_left(NOON) == 4


def test_two_who_ask_at_once_ask_for_the_same_keys(keys: DayKeys) -> None:
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: request(keys, NOON, 5), range(2))
    assert first == second
    assert len(list(keys.folder.iterdir())) == 5


def test_a_request_reads_back_and_has_one_spelling(keys: DayKeys, tmp_path: Path) -> None:
    asked = request(keys, NOON, 31)
    (tmp_path / "request").write_text(asked.text(), "utf-8")
    assert read_request(tmp_path / "request") == asked
    day, key = asked.days[0]
    line = f"day {day} {key_text(key)}\n"
    text = Request(ID, ROOT_KEY.public, ((day, key), (NEXT_DAY, asked.days[1][1]))).text()
    spoilt = [
        "",
        text[: text.index("day ")],
        text[:-1],
        text + line,
        text + "\n",
        text.replace("\n", "\r\n"),
        text.replace(ID, ID.upper()),
        text.replace(ID, ID[1:]),
        text.replace("/request", "/certificate"),
        text.replace("day ", "day  "),
        text.replace(str(NEXT_DAY), str(FIRST_DAY)),
        text.replace(str(FIRST_DAY), "2026-W48-1"),
        text.replace(str(FIRST_DAY), "2026-02-30"),
        text.replace(str(FIRST_DAY), "2027-01-01"),
        text.replace(key_text(key), key_text(asked.days[1][1])),
        text.replace(key_text(key), key_text(key)[:-1]),
        asked.text() + f"day 2027-01-01 {key_text(key)}\n",
    ]
    for case in spoilt:
        (tmp_path / "request").write_bytes(case.encode())
        with pytest.raises(KeyFault) as caught:
            read_request(tmp_path / "request")
        assert caught.value.code == "key_request", case
    (tmp_path / "request").write_bytes(b"\xff" * 2_000_000)
    with pytest.raises(KeyFault):
        read_request(tmp_path / "request")


def test_a_root_certifies_only_its_own_box_and_near_days(keys: DayKeys) -> None:
    asked = request(keys, NOON, 31)
    with pytest.raises(KeyFault) as foreign:
        certify(asked, signer("another root"), FIRST_DAY)
    assert foreign.value.code == "root_foreign"
    for made in (FIRST_DAY + timedelta(1), FIRST_DAY - timedelta(2)):
        with pytest.raises(KeyFault) as far:
            certify(asked, ROOT_KEY, made)
        assert far.value.code == "key_request"
    assert len(certify(asked, ROOT_KEY, FIRST_DAY - timedelta(1))) == 31


def test_what_is_installed_is_added_once(keys: DayKeys) -> None:
    given = notes_for(keys)
    news = install(keys, given, NOON)
    assert [one.day for one in news if isinstance(one, Certificate)] == [FIRST_DAY + timedelta(n) for n in range(3)]
    before = keys.certificates.read_bytes()
    assert before == "".join(f"{note}\n" for note in given).encode()
    assert install(keys, given, NOON) == []
    assert keys.certificates.read_bytes() == before
    assert install(keys, given, midnight(NEXT_DAY)) == []


def test_only_this_root_and_only_keys_of_this_box_are_installed(keys: DayKeys) -> None:
    given = notes_for(keys)
    key = signer("a thief").public
    elsewhere = Request(ID, ROOT_KEY.public, ((FIRST_DAY, key),))
    foreign = certify(Request(ID[::-1], ROOT_KEY.public, elsewhere.days), ROOT_KEY, FIRST_DAY)
    forged = certify(Request(ID, signer("a thief").public, elsewhere.days), signer("a thief"), FIRST_DAY)
    for wrong in (certify(elsewhere, ROOT_KEY, FIRST_DAY), foreign, forged, ["no note"]):
        assert refused(keys, [*given, *wrong]) == "certificate_foreign"
    assert len(install(keys, given, NOON)) == 3


def test_certificates_that_come_too_late_are_left_aside(keys: DayKeys) -> None:
    given = notes_for(keys)
    news = install(keys, given, midnight(NEXT_DAY))
    assert [one.day for one in news if isinstance(one, Certificate)] == [NEXT_DAY, NEXT_DAY + timedelta(1)]


def test_a_revoked_key_is_destroyed_and_never_certified_again(keys: DayKeys) -> None:
    given = notes_for(keys)
    install(keys, given, NOON)
    stolen = keys.key(NOON).signer.public
    (revocation,) = install(keys, [revoke(ID, stolen, NOON - 1, ROOT_KEY)], NOON)
    assert revocation == Revocation(ID, stolen, NOON - 1)
    assert not keys.path(FIRST_DAY, stolen).exists()
    assert install(keys, given, NOON) == []
    assert install(keys, [revoke(ID, stolen, NOON, ROOT_KEY)], NOON) == []  # says less than what was said
    (asked,) = request(keys, NOON, 3).days
    assert asked[0] == FIRST_DAY
    assert asked[1] != stolen


def test_a_key_that_is_revoked_later_signs_until_then(keys: DayKeys) -> None:
    install(keys, notes_for(keys, 1), NOON)
    key = keys.key(NOON).signer.public
    install(keys, [revoke(ID, key, NOON + 10, ROOT_KEY)], NOON)
    assert keys.key(NOON + 9).signer.public == key
    assert [day for day, _ in request(keys, NOON, 1).days] == [FIRST_DAY]


def test_notes_that_were_handed_over_are_read_whole_or_not_at_all(keys: DayKeys, tmp_path: Path) -> None:
    given, path = notes_for(keys), tmp_path / "given"
    whole = "".join(f"{note}\n" for note in given).encode()
    path.write_bytes(whole)
    assert read_notes(path) == given
    for spoilt in (whole[:-1], b"no note\n" * 200_000, b"\xff\n\n\xff\n\n"):
        path.write_bytes(spoilt)
        with pytest.raises(KeyFault) as caught:
            read_notes(path)
        assert caught.value.code == "certificate_foreign"


def test_a_copy_of_the_certificates_is_enough_to_revoke(keys: DayKeys) -> None:
    install(keys, notes_for(keys), NOON)
    kept = kept_elsewhere(keys.certificates, ROOT_KEY.public)
    assert (kept.id, kept.days()) == (ID, keys.keyring().days())
    day, key = kept.days()[1]
    keyring = Keyring(ID, ROOT_KEY.public)
    keyring.take(revoke(kept.id, key, 0, ROOT_KEY))
    assert keyring.revoked(key, midnight(day))
    with pytest.raises(KeyFault) as caught:
        kept_elsewhere(keys.certificates, signer("another root").public)
    assert caught.value.code == "certificate_foreign"
