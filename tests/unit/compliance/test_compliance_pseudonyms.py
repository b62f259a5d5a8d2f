"""A pseudonym goes back for its person alone, and to nobody once the salt is gone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from compliance.crypto import Unauthentic
from compliance.state.disposition import Disposition
from compliance.state.pseudonyms import Pseudonyms
from compliance.state.salts import Salts
from policies.privacy import Detected, categories, scan

TEXT = "Call +49 30 1234567 or write to ann@example.com, again: ann@example.com."


@pytest.fixture
def salts(tmp_path: Path) -> Iterator[Salts]:
    Salts.create(tmp_path / "salts.sqlite")
    with closing(Salts(tmp_path / "salts.sqlite")) as opened:
        yield opened


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(
    st.text(st.characters(exclude_categories=["Cs"])) | st.just(TEXT),
    st.lists(st.tuples(st.integers(0, 99), st.integers(1, 30), st.sampled_from(["email", "phone"]))),
    st.booleans(),
)
def test_every_text_comes_back(salts: Salts, text: str, drawn: list[tuple[int, int, str]], twice: bool) -> None:
    someone = Pseudonyms(salts, "clinic", "patient-7")
    findings = [
        Detected(start=start, end=min(len(text), start + size), category=category, confidence=1)
        for start, size, category in drawn
        if start < len(text)
    ]
    if twice:
        text = someone.pseudonymise(text, findings)
        findings = []
    hidden = someone.pseudonymise(text, findings)
    assert someone.restored(hidden) == text


def test_the_same_value_has_the_same_token_and_none_is_found_in_it(salts: Salts) -> None:
    someone = Pseudonyms(salts, "clinic", "patient-7")
    hidden = someone.pseudonymise(TEXT, scan(TEXT))
    assert "ann@" not in hidden
    assert "1234567" not in hidden
    tokens = [part.split("\u27e9")[0] for part in hidden.split("\u27e8")[1:]]
    assert [one.partition(":")[0] for one in tokens] == ["phone", "email", "email"]
    assert tokens[1] == tokens[2]
    assert categories([hidden]) == frozenset()
    assert someone.restored(hidden) == TEXT


@pytest.mark.parametrize(("tenant", "subject"), [("clinic", "patient-8"), ("school", "patient-7")])
def test_it_is_bound_to_tenant_and_person(salts: Salts, tenant: str, subject: str) -> None:
    hidden = Pseudonyms(salts, "clinic", "patient-7").pseudonymise(TEXT, scan(TEXT))
    other = Pseudonyms(salts, tenant, subject)
    with pytest.raises(Unauthentic):
        other.restored(hidden)
    assert other.pseudonymise(TEXT, scan(TEXT)) != hidden
    with pytest.raises(Unauthentic):
        other.restored(hidden)


def test_it_is_bound_to_its_category(salts: Salts) -> None:
    someone = Pseudonyms(salts, "clinic", "patient-7")
    hidden = someone.pseudonymise(TEXT, scan(TEXT))
    with pytest.raises(Unauthentic):
        someone.restored(hidden.replace("email:", "phone:"))


def test_it_dies_with_the_salt(salts: Salts, tmp_path: Path) -> None:
    someone = Pseudonyms(salts, "clinic", "patient-7")
    hidden = someone.pseudonymise(TEXT, scan(TEXT))
    with Disposition.open(tmp_path / "salts.sqlite") as disposition:
        disposition.erase("clinic", "patient-7", "asked", 11)
    with pytest.raises(Unauthentic):
        someone.restored(hidden)
    assert someone.restored("no token in it") == "no token in it"
    assert someone.pseudonymise(TEXT, scan(TEXT)) != hidden
    with pytest.raises(Unauthentic):
        someone.restored(hidden)


def test_a_finding_outside_the_text_is_refused(salts: Salts) -> None:
    with pytest.raises(ValueError, match="outside"):
        Pseudonyms(salts, "t", "s").pseudonymise("a@b.io", [Detected(start=0, end=7, category="email", confidence=1)])
