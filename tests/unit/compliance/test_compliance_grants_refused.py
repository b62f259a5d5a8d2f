"""What is no grant for this box, each refused with its reason; and the end of a grant, which its issuer alone signs."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compliance.crypto import Signer
from compliance.keys import to_text
from compliance.state.grants.errors import GrantError
from compliance.state.grants.meter import Meter
from compliance.state.grants.revocation import (
    Revocation,
    Revoked,
    is_revocation,
    must_end,
    read_revocation,
    revoked,
)
from compliance.state.grants.terms import Signed, read
from policies.facts import Manifest
from tests.granted import ISSUER, KEY, NOW, grant

BOX = "ab" * 16
ISSUERS = frozenset({KEY})
MODEL = Manifest(format=1, name="m", version="1", digest="cd" * 32, task="embed", licence="MIT", inputs=(), outputs=())
GOLDEN = Path(__file__).resolve().parents[2] / "vectors" / "grants" / "format-1"


@pytest.fixture
def meter(tmp_path: Path) -> Iterator[Meter]:
    with closing(Meter(tmp_path, BOX, ("*",), dict)) as meter:
        yield meter


def code(call: Callable[[], Any]) -> str:
    with pytest.raises(GrantError) as refused:
        call()
    return refused.value.code


def at_import(meter: Meter, file: bytes, at: int = NOW) -> str:
    return code(lambda: meter.must_take(read(file), at, ISSUERS))


def at_call(meter: Meter, at: int = NOW, issuers: frozenset[str] = ISSUERS) -> str:
    held = meter.hold(MODEL, at, issuers)
    assert held is not None
    return held.state


def altered(file: bytes, name: str, old: bytes, new: bytes) -> bytes:
    """A signed file whose statement was written anew, and not signed again."""
    found = json.loads(file)
    stated = base64.b64decode(found[name])
    assert old in stated
    return json.dumps(found | {name: base64.b64encode(stated.replace(old, new)).decode()}).encode()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"calls":1', b'"calls":9'),
        (b"St. Mary", b"St. Luke"),
        (BOX.encode(), b"cd" * 16),
        (b'"starts":0', b'"starts":1'),
    ],
)
def test_a_forged_grant_is_refused_at_import(meter: Meter, old: bytes, new: bytes) -> None:
    assert at_import(meter, altered(grant(BOX, calls=1).file, "statement", old, new)) == "usage_grant_forged"


def test_a_grant_signed_by_another_in_the_name_of_the_issuer_is_refused_as_forged(meter: Meter) -> None:
    file = json.loads(grant(BOX, by=Signer.generate()).file) | {"key": KEY}
    assert at_import(meter, json.dumps(file).encode()) == "usage_grant_forged"


def test_a_grant_of_a_stranger_is_refused_at_import_and_at_the_call(meter: Meter) -> None:
    signed = grant(BOX, by=Signer.generate())
    assert at_import(meter, signed.file) == "usage_grant_issuer"
    meter.take(signed, NOW)
    assert at_call(meter) == "issuer"


def test_an_expired_grant_is_refused_at_import_and_at_the_call(meter: Meter) -> None:
    signed = grant(BOX, ends=NOW)
    assert at_import(meter, signed.file) == "usage_grant_expired"
    meter.take(signed, NOW - 1)
    assert at_call(meter, NOW - 1) == "open"
    assert at_call(meter, NOW) == "over"


def test_a_grant_for_another_box_is_refused_as_foreign(meter: Meter) -> None:
    assert at_import(meter, grant("ef" * 16).file) == "usage_grant_foreign"


def test_a_grant_that_was_imported_is_refused_as_replayed(meter: Meter) -> None:
    signed = grant(BOX, calls=1)
    meter.must_take(signed, NOW, ISSUERS)
    meter.take(signed, NOW)
    assert at_import(meter, signed.file) == "usage_grant_replayed"
    assert code(lambda: meter.take(signed, NOW)) == "usage_grant_replayed"


def test_a_grant_whose_end_is_in_the_journal_is_refused_as_replayed_without_any_state(tmp_path: Path) -> None:
    signed = grant(BOX)
    with closing(Meter(tmp_path, BOX, ("*",), lambda: {f"{signed.terms.id}/revoked": 1})) as meter:
        assert at_import(meter, signed.file) == "usage_grant_replayed"


class TestRevocations:
    def took(self, meter: Meter, **terms: Any) -> Signed:
        signed = grant(BOX, **terms)
        meter.take(signed, NOW)
        return signed

    def refused(self, meter: Meter, made: Revoked, signed: Signed) -> str:
        return code(lambda: must_end(made, meter.one(signed.terms.id)))

    def test_a_revoked_grant_refuses_the_next_call_and_no_other(self, meter: Meter) -> None:
        signed, other = self.took(meter, ends=NOW + 5), self.took(meter)
        made = read_revocation(revoked(signed, NOW, ISSUER).file)
        assert made.revocation == Revocation(grant=signed.terms.id, box=BOX, said=NOW)
        must_end(made, meter.one(signed.terms.id))
        meter.revoke(made.revocation.grant, NOW)
        held = meter.hold(MODEL, NOW, ISSUERS)
        assert held is not None
        assert (held.state, held.grant) == ("open", other.terms.id)
        meter.revoke(other.terms.id, NOW)
        assert at_call(meter) == "revoked"

    @pytest.mark.parametrize(("old", "new"), [(b'"said":', b'"said":1'), (BOX.encode(), b"cd" * 16)])
    def test_a_forged_revocation_is_refused(self, old: bytes, new: bytes) -> None:
        file = altered(revoked(grant(BOX), NOW, ISSUER).file, "revocation", old, new)
        assert is_revocation(file)
        assert code(lambda: read_revocation(file)) == "usage_revocation_forged"

    def test_a_grant_cannot_be_turned_into_a_revocation_nor_back(self) -> None:
        signed = grant(BOX)
        file = json.loads(signed.file)
        turned = {"revocation": file["statement"], "key": file["key"], "signature": file["signature"]}
        assert code(lambda: read_revocation(json.dumps(turned).encode())) == "usage_revocation_forged"
        file = json.loads(revoked(signed, NOW, ISSUER).file)
        back = {"statement": file["revocation"], "key": file["key"], "signature": file["signature"]}
        assert code(lambda: read(json.dumps(back).encode())) == "usage_grant_forged"

    def test_another_issuer_ends_no_grant_trusted_or_not(self, meter: Meter) -> None:
        signed, other = self.took(meter), Signer.generate()
        assert code(lambda: revoked(signed, NOW, other)) == "usage_revocation_foreign"
        # by one who wrote the file by hand: a grant of their own to this box, under the same name
        theirs = grant(BOX, by=other, id=signed.terms.id)
        made = revoked(theirs, NOW, other)
        assert made.key == to_text(other.public)
        assert self.refused(meter, made, signed) == "usage_revocation_foreign"

    def test_a_revocation_for_another_box_or_grant_is_refused_as_foreign(self, meter: Meter) -> None:
        signed = self.took(meter)
        for other in (grant("ef" * 16, id=signed.terms.id), grant(BOX)):
            assert self.refused(meter, revoked(other, NOW, ISSUER), signed) == "usage_revocation_foreign"

    def test_a_revocation_is_taken_once(self, meter: Meter) -> None:
        signed = self.took(meter)
        made = revoked(signed, NOW, ISSUER)
        must_end(made, meter.one(signed.terms.id))
        meter.revoke(signed.terms.id, NOW)
        assert self.refused(meter, made, signed) == "usage_revocation_replayed"

    @settings(max_examples=100, deadline=None)
    @given(st.data())
    def test_a_file_that_was_changed_anywhere_is_refused_or_says_the_same(self, data: st.DataObject) -> None:
        file = bytearray(_FILE)
        file[data.draw(st.integers(0, len(file) - 1))] ^= data.draw(st.integers(1, 255))
        try:
            found = read_revocation(bytes(file))
        except GrantError:
            return
        assert (found.revocation, found.key) == (read_revocation(_FILE).revocation, KEY)

    @settings(max_examples=100, deadline=None)
    @given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
    def test_whatever_comes_is_no_revocation(self, data: bytes) -> None:
        assert not is_revocation(data)
        assert code(lambda: read_revocation(data)) == "usage_revocation_malformed"

    def test_what_is_too_long_or_of_another_format_is_not_read(self) -> None:
        assert code(lambda: read_revocation(_FILE + b" " * 70_000)) == "usage_revocation_malformed"
        file = json.loads(_FILE) | {"more": 1}
        assert code(lambda: read_revocation(json.dumps(file).encode())) == "usage_revocation_malformed"

    def test_a_revocation_of_format_1_stays_readable(self) -> None:
        found = read_revocation((GOLDEN / "st-mary.revocation").read_bytes())
        assert found.revocation == Revocation(grant="07" * 16, box=BOX, said=NOW)
        assert revoked(read((GOLDEN / "st-mary.grant").read_bytes()), NOW, ISSUER) == found


_FILE = revoked(grant(BOX), NOW, ISSUER).file
