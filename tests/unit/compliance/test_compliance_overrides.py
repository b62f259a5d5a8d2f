"""An override stands while two persons that the settings name have signed it, and for its time only."""

from __future__ import annotations

import base64
from pathlib import Path

import msgspec
import pytest

from compliance.crypto import Signer, verify
from compliance.keys import to_text
from compliance.state.errors import StateError
from compliance.state.overrides import MAX_MINUTES, OverrideError, Overrides

BOX = "ab" * 16
MINUTE = 60 * 10**9
ANN, BOB, EVE = Signer.generate(), Signer.generate(), Signer.generate()
APPROVERS = {"ann": to_text(ANN.public), "bob": to_text(BOB.public)}


@pytest.fixture
def overrides(tmp_path: Path) -> Overrides:
    return Overrides(tmp_path, BOX, APPROVERS)


def opened(overrides: Overrides, at: int = 1_000) -> str:
    asked = overrides.ask("emergency", "cardiac arrest", 30, ANN, at)
    overrides.keep(overrides.approved(asked.stated.id, BOB, at + 1))
    return asked.stated.id


def test_it_stands_for_its_time(overrides: Overrides) -> None:
    id_ = opened(overrides)
    for at in (1_000, 1_002, 1_000 + 30 * MINUTE - 1):
        found = overrides.standing("emergency", at)
        assert found is not None
        assert (found.id, found.name, found.approvers) == (id_, "emergency", frozenset({"ann", "bob"}))
    assert overrides.standing("emergency", 999) is None
    assert overrides.standing("emergency", 1_000 + 30 * MINUTE) is None
    assert overrides.standing("another", 1_002) is None


def test_what_is_shown_to_a_stranger_are_the_keys_of_those_who_signed(overrides: Overrides) -> None:
    id_ = opened(overrides)
    overrides.ask("emergency", "one person only", 30, ANN, 1_000)
    [(shown, file)] = overrides.signed().items()
    made = msgspec.json.decode(file)
    assert (shown, made["keys"]) == (id_, APPROVERS)
    statement = base64.b64decode(made["statement"])
    for signer, person in ((ANN, "ann"), (BOB, "bob")):
        verify(signer.public, base64.b64decode(made["signatures"][person]), b"sealpress.override/1\x00" + statement)


def test_one_person_opens_nothing(overrides: Overrides) -> None:
    asked = overrides.ask("emergency", "r", 30, ANN, 1_000)
    assert overrides.standing("emergency", 1_001) is None
    with pytest.raises(OverrideError) as caught:
        overrides.approved(asked.stated.id, ANN, 1_001)
    assert caught.value.code == "override_same"
    # signed, and not kept: it was not put on record
    overrides.approved(asked.stated.id, BOB, 1_001)
    assert overrides.standing("emergency", 1_001) is None


def test_a_person_under_two_names_is_one(tmp_path: Path) -> None:
    twice = Overrides(tmp_path, BOX, {"ann": to_text(ANN.public), "anna": to_text(ANN.public)})
    asked = twice.ask("emergency", "r", 30, ANN, 1_000)
    path = tmp_path / f"{asked.stated.id}.json"
    file = msgspec.json.decode(path.read_bytes())
    file["signatures"]["anna"] = file["signatures"]["ann"]
    path.write_bytes(msgspec.json.encode(file))
    assert twice.standing("emergency", 1_001) is None


def test_only_who_the_settings_name_may_sign(overrides: Overrides) -> None:
    with pytest.raises(OverrideError) as caught:
        overrides.ask("emergency", "r", 30, EVE, 1_000)
    assert caught.value.code == "override_approver"
    asked = overrides.ask("emergency", "r", 30, ANN, 1_000)
    with pytest.raises(OverrideError):
        overrides.approved(asked.stated.id, EVE, 1_001)


def test_who_is_named_no_more_counts_no_more(overrides: Overrides, tmp_path: Path) -> None:
    opened(overrides)
    assert Overrides(tmp_path, BOX, {"ann": APPROVERS["ann"]}).standing("emergency", 1_002) is None
    assert Overrides(tmp_path, BOX, {**APPROVERS, "bob": to_text(EVE.public)}).standing("emergency", 1_002) is None


def test_that_of_another_box_opens_nothing(overrides: Overrides, tmp_path: Path) -> None:
    opened(overrides)
    assert Overrides(tmp_path, "cd" * 16, APPROVERS).standing("emergency", 1_002) is None


@pytest.mark.parametrize(
    ("field", "value"),
    [("name", "curiosity"), ("reason", "x"), ("ends", 2**62), ("starts", 0), ("box", "cd" * 16), ("id", "00" * 8)],
)
def test_what_was_changed_opens_nothing(overrides: Overrides, tmp_path: Path, field: str, value: object) -> None:
    id_ = opened(overrides)
    path = tmp_path / f"{id_}.json"
    file = msgspec.json.decode(path.read_bytes())
    stated = {**msgspec.json.decode(_statement(path)), field: value}
    file["statement"] = msgspec.to_builtins(msgspec.json.encode(stated, order="deterministic"))
    path.write_bytes(msgspec.json.encode(file))
    assert overrides.standing("emergency", 1_002) is None
    assert overrides.standing("curiosity", 1_002) is None


def _statement(path: Path) -> bytes:
    return msgspec.convert(msgspec.json.decode(path.read_bytes())["statement"], bytes)


def test_it_can_be_ended(overrides: Overrides) -> None:
    id_ = opened(overrides)
    overrides.end(id_, 2_000)
    assert overrides.standing("emergency", 2_001) is None
    with pytest.raises(OverrideError) as caught:
        overrides.approved(id_, BOB, 2_001)
    assert caught.value.code == "override_over"
    assert [one.ended for one in overrides.all()] == [2_000]


def test_what_ran_out_is_not_approved(overrides: Overrides) -> None:
    asked = overrides.ask("emergency", "r", 1, ANN, 1_000)
    with pytest.raises(OverrideError) as caught:
        overrides.approved(asked.stated.id, BOB, 1_000 + MINUTE)
    assert caught.value.code == "override_over"


@pytest.mark.parametrize("minutes", [0, -1, MAX_MINUTES + 1])
def test_its_time_has_limits(overrides: Overrides, minutes: int) -> None:
    with pytest.raises(OverrideError) as caught:
        overrides.ask("emergency", "r", minutes, ANN, 1_000)
    assert caught.value.code == "override_time"


@pytest.mark.parametrize("id_", ["00", "../x", "", "a/b"])
def test_one_that_is_not_there(overrides: Overrides, id_: str) -> None:
    with pytest.raises(OverrideError) as caught:
        overrides.end(id_, 1)
    assert caught.value.code == "override_unknown"


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b'{"statement": "e30=", "signatures": {}}'])
def test_a_file_that_is_none_is_told_of(overrides: Overrides, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "ab.json").write_bytes(content)
    with pytest.raises(StateError):
        overrides.standing("emergency", 1)
