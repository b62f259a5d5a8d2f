"""Whatever stands in a file of evidence, its readers give what JSON says, or refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compliance.verify.alike import Alike
from compliance.verify.archive import canonical, parsed
from compliance.verify.claims import Claimed
from compliance.verify.disclosed import openings
from compliance.verify.errors import NotVerified
from compliance.verify.evidence import verify_evidence
from compliance.verify.leaf import Broken
from tests.periods import Period, claims_of, parts_of, with_claims, zipped

_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)
# as boxes write them, of which parts are read once for all
_IDS, _TIMES = st.text("0123456789abcdef", min_size=32, max_size=32), st.integers(10**18, 2**63 - 1)
_PLAIN: dict[str, st.SearchStrategy[Any]] = {"purpose": st.sampled_from(["search", "triage"])}
_VARIED = _PLAIN | {"subject": _IDS | st.none() | st.text(), "usage": st.integers(-9, 2**53) | st.floats(0, 9)}
_CALLS = (
    st.fixed_dictionaries({"id": _IDS, "at": _TIMES} | _VARIED | {"metered": st.none()})
    | st.fixed_dictionaries({"id": st.text(), "at": st.integers(0, 2**63 - 1)})
    | st.dictionaries(st.sampled_from(["id", "at", "model", "purpose", "usage", "subject"]), _VALUES)
)


class _Bytes:
    def __init__(self, data: bytes) -> None:
        self._data = data

    def read(self, size: int) -> bytes:
        found, self._data = self._data[:size], self._data[size:]
        return found


@settings(max_examples=40)
@given(_VALUES)
def test_json_has_one_spelling(value: Any) -> None:
    assert parsed(canonical(value)) == value
    for other in (json.dumps(value, indent=1).encode(), b" " + canonical(value)):
        if other != canonical(value):
            with pytest.raises(ValueError, match=r"."):
                parsed(other)


@settings(max_examples=40)
@given(_CALLS, _VALUES, _VALUES)
def test_metadata_that_are_read_in_parts_say_what_the_whole_says(call: Any, more: Any, twice: Any) -> None:
    alike = Alike()
    value = {"record": "opened", "call": call, "model": more, "policy": "x"}
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    # a second member of the same name, which counts
    for metadata in (text, text[:-1] + f',"call":{json.dumps(twice, separators=(",", ":"))}}}'):
        whole = json.loads(metadata)
        try:
            expected = whole["record"], whole["call"]["id"], whole["call"]["at"], whole["model"]
        except (KeyError, TypeError):
            with pytest.raises((KeyError, TypeError)):
                alike.opened(metadata.encode())
            continue
        for _ in range(2):
            record, id_, at, found, decided = alike.opened(metadata.encode())
            assert (record, id_, at, decided["model"]) == expected
            assert _counted(found) == _counted(whole["call"])
            assert {name: decided[name] for name in decided.keys() - {"call", "record"}} == {
                name: whole[name] for name in whole.keys() - {"call", "record"}
            }


def _counted(call: dict[str, Any]) -> dict[str, Any]:
    return {name: said for name, said in call.items() if name not in ("id", "at", "subject", "usage")}


_CALL = (
    b'{"record":"opened","call":{"id":"%s","at":1795915155524521247,"actor":"a","subject":"%s","usage":17,"model":"x"},'
    b'"model":{"digest":"x"},"policy":"p"}'
) % (b"a" * 32, b"b" * 32)


@given(
    st.integers(0, len(_CALL) - 1),
    st.sampled_from([b"", b'"', b",", b"}", b"0", b"\\", b" ", b"[", b"\xff"]),
    st.booleans(),
)
def test_metadata_that_are_no_json_are_refused_whatever_was_read_before(at: int, new: bytes, instead: bool) -> None:
    alike = Alike()
    alike.opened(_CALL)
    edited = _CALL[:at] + new + _CALL[at + instead :]
    try:
        whole = json.loads(edited)
        expected = whole["record"], whole["call"]["id"], whole["call"]["at"]
    except (KeyError, TypeError, ValueError):
        with pytest.raises((KeyError, TypeError, ValueError)):
            alike.opened(edited)
        return
    *found, call, decided = alike.opened(edited)
    assert (*found, decided.get("model")) == (*expected, whole.get("model"))
    assert _counted(call) == _counted(whole["call"])


@settings(max_examples=40)
@given(st.text() | _IDS, _VALUES)
def test_outcomes_that_are_read_in_parts_say_what_the_whole_says(call: str, outcome: Any) -> None:
    metadata = json.dumps(
        {"record": "closed", "at": 10**18 + 7, "call": call, "outcome": outcome}, separators=(",", ":")
    )
    for text in (metadata, metadata[:-1] + ',"call":"other"}', metadata[:-1] + ',"record":"noted"}'):
        whole = json.loads(text)
        assert Alike().closed(text.encode()) == (whole["record"], whole["call"], whole["outcome"])


_PIECES = st.lists(st.sampled_from([b"\0\0\0\0", b"\0\0\0\2"]) | st.binary(min_size=33, max_size=90), max_size=9)


@settings(max_examples=40)
@given(_PIECES, st.binary(min_size=1, max_size=3))
def test_openings_are_cut_as_they_were_put_together(pieces: list[bytes], behind: bytes) -> None:
    data = b"".join(piece if len(piece) == 4 else len(piece).to_bytes(4, "big") + piece for piece in pieces)
    found = list(openings(_Bytes(data)))
    assert found == [piece if len(piece) > 4 else piece[3:] for piece in pieces]
    with pytest.raises(Broken, match="evidence_malformed"):
        list(openings(_Bytes(data + behind)))


@settings(max_examples=40)
@given(_VALUES)
def test_claims_are_taken_whole_or_refused(value: Any) -> None:
    with pytest.raises(NotVerified) as refusal:
        Claimed.parsed(canonical(value))
    assert refusal.value.failures[0].code in ("evidence_malformed", "evidence_format")


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("claims")
    Period.forged(folder / "journal").make(folder / "e.zip")
    return parts_of(folder / "e.zip")


@settings(max_examples=40)
@given(data=st.data())
def test_a_claim_of_another_form_is_refused(
    parts: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    claims = claims_of(parts)
    name = data.draw(st.sampled_from(sorted(set(claims) - {"box"})))
    value = data.draw(_VALUES.filter(lambda found: found != claims[name]))
    file: Path = zipped(tmp_path_factory.mktemp("odd") / "e.zip", with_claims(parts, claims | {name: value}))
    with pytest.raises(NotVerified):
        verify_evidence(file, "0" * 64)
