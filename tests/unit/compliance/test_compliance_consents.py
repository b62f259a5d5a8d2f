"""A consent counts for its purpose, person and tenant, until it is withdrawn, runs out, or the person is erased."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from compliance.state.consents import Consent, ConsentError, Consents, Terms
from compliance.state.disposition import Disposition
from compliance.state.errors import StateError
from compliance.state.salts import Salts
from policies.facts import Consented
from tests.vectors.make_consents import HERE, PERSON, TENANT, TERMS, WITHDRAWN


@pytest.fixture
def salts(tmp_path: Path) -> Iterator[Salts]:
    Salts.create(tmp_path / "salts.sqlite")
    with closing(Salts(tmp_path / "salts.sqlite")) as opened:
        yield opened


@pytest.fixture
def consents(tmp_path: Path) -> Consents:
    return Consents(tmp_path)


def given(consents: Consents, salts: Salts, subject: str = "p7", purpose: str = "care", at: int = 10) -> Consent:
    made = Consent.to(Terms(purpose=purpose, at=at))
    consents.record(salts, "t", subject, made)
    return made


def test_a_consent_stands_for_its_purpose_person_and_tenant_only(consents: Consents, salts: Salts) -> None:
    receipt = given(consents, salts).receipt
    stands = Consented(receipt=receipt)
    assert consents.standing(salts, "t", "care", "p7", None, 11) == stands
    assert consents.standing(salts, "t", "care", "p7", receipt, 11) == stands
    assert consents.standing(salts, "t", "care", None, receipt, 11) == stands
    for tenant, purpose, subject, named in (
        ("t", "search", "p7", None),
        ("t", "search", None, receipt),
        ("t", "care", "p8", None),
        ("t", "care", "p8", receipt),
        ("u", "care", "p7", None),
        ("u", "care", None, receipt),
        ("t", "care", "p7", "0" * 32),
        ("t", "care", None, "0" * 32),
        ("t", "care", None, None),
    ):
        assert consents.standing(salts, tenant, purpose, subject, named, 11) is None


def test_it_says_how_it_was_given(consents: Consents, salts: Salts) -> None:
    made = Consent.to(Terms(purpose="care", at=10, explicit=True, guardian=True, wording="ab" * 32))
    consents.record(salts, "t", "p7", made)
    found = consents.standing(salts, "t", "care", "p7", None, 11)
    assert found == Consented(receipt=made.receipt, explicit=True, guardian=True)
    assert consents.of(salts, "t", "p7") == [made]


def test_it_runs_out(consents: Consents, salts: Salts) -> None:
    consents.record(salts, "t", "p7", Consent.to(Terms(purpose="care", at=10, expires=20)))
    assert consents.standing(salts, "t", "care", "p7", None, 9) is None
    assert consents.standing(salts, "t", "care", "p7", None, 19) is not None
    assert consents.standing(salts, "t", "care", "p7", None, 20) is None


def test_withdrawn_it_counts_no_more_in_any_process(tmp_path: Path, consents: Consents, salts: Salts) -> None:
    first, second = given(consents, salts), given(consents, salts, at=12)
    assert consents.withdraw(salts, "t", "p7", "care", first.receipt, 13)[0].withdrawn == 13
    assert consents.standing(salts, "t", "care", "p7", first.receipt, 14) is None
    assert consents.standing(salts, "t", "care", "p7", None, 14) == Consented(receipt=second.receipt)
    consents.withdraw(salts, "t", "p7", "care", None, 15)
    other = Consents(tmp_path)
    assert other.standing(salts, "t", "care", "p7", None, 16) is None
    assert [one.withdrawn for one in other.of(salts, "t", "p7")] == [13, 15]


@pytest.mark.parametrize(
    ("subject", "purpose", "receipt"), [("p8", "care", None), ("p7", "x", None), ("p7", "care", "0")]
)
def test_what_is_not_there_cannot_be_withdrawn(
    consents: Consents, salts: Salts, subject: str, purpose: str, receipt: str | None
) -> None:
    with pytest.raises(ConsentError) as caught:
        consents.withdraw(salts, "t", subject, purpose, receipt, 11)
    assert caught.value.code == "consent_unknown"
    given(consents, salts)
    with pytest.raises(ConsentError):
        consents.withdraw(salts, "t", subject, purpose, receipt, 11)


def test_erasing_the_person_closes_it(tmp_path: Path, consents: Consents, salts: Salts) -> None:
    receipt = given(consents, salts).receipt
    given(consents, salts, subject="p8")
    with Disposition.open(tmp_path / "salts.sqlite") as disposition:
        disposition.erase("t", "p7", "asked", 11)
    assert consents.of(salts, "t", "p7") == []
    assert consents.standing(salts, "t", "care", None, receipt, 12) is None
    assert consents.standing(salts, "t", "care", "p8", None, 12) is not None


def test_the_file_tells_nothing_of_anybody(tmp_path: Path, consents: Consents, salts: Salts) -> None:
    terms = Terms(purpose="care-purpose", at=10, wording="ab" * 32)
    consents.record(salts, "tenant-one", "patient-seven", Consent.to(terms))
    data = b"".join(path.read_bytes() for path in tmp_path.glob("consents.sqlite*"))
    for needle in (b"patient-seven", b"tenant-one", b"care-purpose", b"abababab"):
        assert needle not in data
    assert (tmp_path / "consents.sqlite").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("change", ["UPDATE consents SET sealed = zeroblob(60)", "UPDATE consents SET receipt = 'x'"])
def test_an_altered_consent_is_an_error_and_no_consent(
    tmp_path: Path, consents: Consents, salts: Salts, change: str
) -> None:
    given(consents, salts)
    with closing(sqlite3.connect(tmp_path / "consents.sqlite")) as table, table:
        table.execute(change)
    with pytest.raises(StateError) as caught:
        consents.standing(salts, "t", "care", "p7", None, 11)
    assert caught.value.code == "state_broken"


def test_it_is_copied_and_restored_as_a_whole(tmp_path: Path, consents: Consents, salts: Salts) -> None:
    assert consents.image() is None
    made = given(consents, salts)
    image = consents.image()
    assert image is not None
    (tmp_path / "other").mkdir()
    other = Consents(tmp_path / "other")
    other.restore(image)
    assert other.of(salts, "t", "p7") == [made]
    altered = tmp_path / "altered.sqlite"
    altered.write_bytes(image)
    with closing(sqlite3.connect(altered)) as table, table:
        table.execute("CREATE TRIGGER t AFTER INSERT ON consents BEGIN DELETE FROM consents; END")
    (tmp_path / "third").mkdir()
    with pytest.raises(StateError):
        Consents(tmp_path / "third").restore(altered.read_bytes())


def test_format_1_stays_readable(tmp_path: Path) -> None:
    shutil.copytree(HERE / "format-1", tmp_path / "state")
    store = Consents(tmp_path / "state")
    with closing(Salts(tmp_path / "state" / "salts.sqlite")) as salts:
        found = store.of(salts, TENANT, PERSON)
        terms = [Terms(**{name: getattr(one, name) for name in Terms.__struct_fields__}) for one in found]
        assert terms == list(TERMS)
        assert [one.withdrawn for one in found] == [WITHDRAWN, WITHDRAWN, None]
        stands = Consented(receipt=found[2].receipt, explicit=True, guardian=True)
        assert store.standing(salts, TENANT, "research", PERSON, None, WITHDRAWN) == stands
        assert store.standing(salts, TENANT, "research", None, found[2].receipt, WITHDRAWN) == stands
        assert store.standing(salts, TENANT, "care", PERSON, None, WITHDRAWN) is None
        assert store.withdraw(salts, TENANT, PERSON, "research", None, 50)[0].withdrawn == 50
