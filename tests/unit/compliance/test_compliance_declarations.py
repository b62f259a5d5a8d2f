"""A declaration counts while it is whole, for this box, of a trusted signer and in its time; or says why not."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compliance.crypto import Signer
from compliance.state.declarations import MAX_FILE, NAME, DeclarationError, Declarations, Signed, declared, read
from compliance.state.errors import StateError
from policies.errors import Fault
from policies.facts import Declared
from policies.territories import COUNTRIES, places
from tests.declaring import DECLARANT, KEY, YEAR, declaration

BOX = "ab" * 16
NOW = 1_800_000_000 * 10**9
TRUSTED = frozenset({KEY})
SAID: dict[str, Any] = {"domicile": "DE", "users": 4_000, "revenue": 90_000_000, "commercial": False}
GOLDEN = Path(__file__).resolve().parents[2] / "vectors" / "declarations" / "format-1.declaration"


def made(at: int = NOW, by: Signer = DECLARANT, **terms: Any) -> Signed:
    return declaration(**{"box": BOX, "at": at, "by": by, **SAID, **terms})


def refused(declarations: Declarations, signed: Signed, at: int = NOW) -> str | None:
    try:
        declarations.must_take(signed, at, TRUSTED)
    except DeclarationError as error:
        return error.code
    return None


def state(declarations: Declarations, at: int = NOW, trusted: frozenset[str] = TRUSTED) -> str | None:
    found = declarations.standing(at, trusted)
    assert found is None or found.state == "open" or found == Declared(state=found.state)
    return None if found is None else found.state


def test_an_open_one_says_what_was_signed(tmp_path: Path) -> None:
    here = Declarations(tmp_path, BOX)
    assert here.standing(NOW, TRUSTED) is None
    assert here.now() is None
    here.take(made())
    assert here.standing(NOW, TRUSTED) == Declared(state="open", **SAID)
    assert here.now() == made()


def test_it_counts_from_its_start_until_before_its_end(tmp_path: Path) -> None:
    here = Declarations(tmp_path, BOX)
    here.take(made())
    found = [state(here, at) for at in (NOW - 1, NOW, NOW + YEAR - 1, NOW + YEAR)]
    assert found == ["early", "open", "open", "over"]


def test_it_counts_for_its_box_and_while_its_signer_is_trusted(tmp_path: Path) -> None:
    here = Declarations(tmp_path, BOX)
    here.take(made())
    assert state(here, trusted=frozenset()) == "issuer"
    assert state(Declarations(tmp_path, "cd" * 16)) == "foreign"
    here.take(made(by=Signer.generate()))
    assert state(here) == "issuer"


def test_what_was_tampered_with_does_not_count(tmp_path: Path) -> None:
    here = Declarations(tmp_path, BOX)
    here.take(made())
    assert state(here) == "open"
    file = json.loads(made().file)
    statement = base64.b64decode(file["statement"]).replace(b'"users":4000', b'"users":3')
    file["statement"] = base64.b64encode(statement).decode()
    (tmp_path / NAME).write_text(json.dumps(file))
    assert state(here) == "forged"
    with pytest.raises(DeclarationError) as caught:
        here.now()
    assert caught.value.code == "declaration_forged"
    (tmp_path / NAME).write_bytes(b"x" * (MAX_FILE + 2))
    assert state(here) == "forged"
    # it is in nobody's way
    assert refused(here, made()) is None
    (tmp_path / NAME).unlink()
    assert state(here) is None
    (tmp_path / NAME).mkdir()
    with pytest.raises(StateError):
        state(here)


def test_only_a_newer_one_takes_the_place_of_another(tmp_path: Path) -> None:
    here = Declarations(tmp_path, BOX)
    assert refused(here, made()) is None
    here.take(made())
    assert refused(here, made()) == "declaration_replayed"
    assert refused(here, made(at=NOW - 1)) == "declaration_replayed"
    assert refused(here, made(at=NOW + 1), at=NOW + 1) is None


def test_those_before_are_kept(tmp_path: Path) -> None:
    here = Declarations(tmp_path, BOX)
    assert here.all() == {}
    first, second = made(), made(at=NOW + 1)
    here.take(first)
    here.take(second)
    assert here.all() == {one.terms.id: one.file for one in (first, second)}
    # one that was imported before they were kept
    (tmp_path / "declarations" / f"{second.terms.id}.json").unlink()
    assert here.all() == {one.terms.id: one.file for one in (first, second)}
    (tmp_path / "declarations" / f"{first.terms.id}.json").write_bytes(b"{}")
    assert here.all() == {second.terms.id: second.file}


def test_why_one_is_not_taken(tmp_path: Path) -> None:
    here = Declarations(tmp_path, BOX)
    assert refused(here, made(by=Signer.generate())) == "declaration_signer"
    assert refused(here, made(box="cd" * 16)) == "declaration_foreign"
    assert refused(here, made(), at=NOW - 1) == "declaration_early"
    assert refused(here, made(), at=NOW + YEAR) == "declaration_expired"


@pytest.mark.parametrize(
    "terms",
    [
        {"domicile": "UK"},
        {"domicile": "EU"},
        {"domicile": "de"},
        {"users": -1},
        {"revenue": 2**53},
        {"domicile": ""},
        {"box": "ab"},
        {"ends": NOW},
        {"ends": NOW + YEAR + 2 * 86_400 * 10**9},
        {"domicile": None, "users": None, "revenue": None, "commercial": None},
    ],
)
def test_what_nobody_could_rely_on_is_not_signed(terms: dict[str, Any]) -> None:
    with pytest.raises(DeclarationError) as caught:
        made(**terms)
    assert caught.value.code == "declaration_terms"


def test_a_declaration_of_format_1_stays_readable() -> None:
    found = read(GOLDEN.read_bytes())
    assert found == made()
    assert declared(found.terms, DECLARANT) == found


_FILE = made().file


@given(st.integers(0, len(_FILE)), st.binary(max_size=3), st.integers(0, 40))
def test_a_damaged_file_is_refused_with_a_code(place: int, wrong: bytes, size: int) -> None:
    damaged = _FILE[:place] + wrong + _FILE[place + size :]
    try:
        assert read(damaged).terms == made().terms
    except Fault as fault:
        assert fault.code in ("declaration_malformed", "declaration_forged")  # noqa: PT017 - either way is right


def test_places() -> None:
    assert [sorted(places(one)) for one in ("DE", "GB", "UK", "")] == [["DE", "EU"], ["GB"], [], []]
    assert len(COUNTRIES) == 249
    # 27 members; and Åland, five outermost regions and Saint-Martin have codes of their own
    assert sum("EU" in places(one) for one in COUNTRIES) == 27 + 1 + 5 + 1
