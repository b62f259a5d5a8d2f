"""Usage statements: what the heads have signed is what the records show, and no call is counted twice."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from compliance.crypto import Opener
from compliance.journal.reader import Record, read
from compliance.keys import read_key
from compliance.state.grants.errors import GrantError
from compliance.state.grants.statement import (
    Covered,
    Statement,
    Use,
    collected,
    merged,
    read_statement,
    recounted,
    totals,
)
from compliance.state.grants.tariff import charged, read_tariff
from compliance.state.grants.terms import Tariffed
from compliance.verify.keyring import Keyring
from tests.e2e.test_grants import ask, command_of, failed_of, model
from tests.granted import granted_box, took
from tests.vectors import make_grants
from tests.vectors.make_grants import HERE, ROOT_KEY
from toolkit.box import Box
from toolkit.box_keys import day_keys

TARIFF = Path(__file__).resolve().parents[2] / "examples" / "tariff.toml"
PRICES, DIGEST = read_tariff(TARIFF.read_bytes())
RURAL = Tariffed(name=PRICES.name, digest=DIGEST, band="rural")
MONTH = f"{datetime.now(UTC):%Y-%m}"


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    box = granted_box(tmp_path)
    with closing(box.journal), closing(box.meter):
        yield box


def records(box: Box) -> list[Record]:
    opener = Opener(read_key(box.folder.with_name("box-auditor") / "auditor.key", "auditor-private"))
    return list(read(box.journal_folder, box.journal.id, opener, box.journal.salts))


def stated(box: Box, month: str = MONTH) -> Statement:
    box.journal.checkpoint()
    grants = [kept.signed for kept in box.meter.all()]
    keyring = day_keys(box.folder, box.settings).keyring()
    return collected(box.journal_folder, keyring, month, grants, box.journal.now())


def test_a_statement_is_signed_recounted_and_merged_without_counting_twice(box: Box, tmp_path: Path) -> None:
    signed, here = took(box, tariff=RURAL), model(box)
    auditor = box.folder.with_name("box-auditor") / "auditor.key"
    root = box.settings.journal.root
    for number, out in ((2, "first.json"), (1, "second.json")):
        assert [ask(here) for _ in range(number)] == [[]] * number
        made = ("statement", "--month", MONTH, "--out", tmp_path / out, "--tariff", TARIFF)
        told = command_of(box, *made, "--auditor-key", auditor)
    (use,) = told["grants"]
    kept = box.meter.one(signed.terms.id).used
    assert {unit: use["used"][unit] for unit in ("calls", "tokens", "cpu_us")} == {
        "calls": 3, "tokens": kept.tokens, "cpu_us": kept.cpu_us,
    }  # fmt: skip
    assert told["recount"] == {"beyond": {}, "unread": 0}
    # saved is what the bundle says of its parent, for the time that was used
    measured = here._about["measurements"]
    longer = measured["before"]["latency_ms"] / measured["after"]["latency_ms"]
    assert use["used"]["parent_cpu_us"] == pytest.approx(kept.cpu_us * longer, abs=3)
    assert told["saved_cpu_us"] == max(0, use["used"]["parent_cpu_us"] - kept.cpu_us)
    assert Decimal(use["charge"]["amount"]) == charged(PRICES, RURAL, use["used"])

    files = [tmp_path / "first.json", tmp_path / "second.json", tmp_path / "second.json"]
    together = command_of(box, "merge", *files, "--root", root, "--tariff", TARIFF)
    assert together["totals"] == use["used"]
    assert failed_of(box, "merge", files[0], "--root", signed.key) == "usage_statement_forged"
    assert failed_of(box, *made) == "usage_grant_exists"
    forged = json.loads(files[0].read_bytes()) | json.loads('{"certificate": "-\\n"}')
    (tmp_path / "forged.json").write_text(json.dumps(forged), "utf-8")
    assert failed_of(box, "merge", tmp_path / "forged.json", "--root", root) == "usage_statement_forged"
    assert failed_of(box, "merge", tmp_path / "none.json", "--root", root) == "usage_statement_malformed"


def test_a_month_without_use_states_none_and_the_next_begins_where_it_ended(box: Box) -> None:
    took(box)
    assert ask(model(box)) == []
    assert totals([stated(box, "2020-02")]) == {}
    assert stated(box, "2020-02").shards == ()
    assert stated(box).shards[0].since == 0


def test_records_that_show_less_than_was_signed_are_refused(box: Box) -> None:
    signed, here = took(box), model(box)
    assert [ask(here) for _ in range(2)] == [[], []]
    made, found = stated(box), records(box)
    assert recounted(made, found).beyond == {}
    (use,) = made.grants
    more = structs.replace(made, grants=(structs.replace(use, used={**use.used, "calls": 3}),))
    with pytest.raises(GrantError) as refused:
        recounted(more, found)
    assert refused.value.code == "usage_statement_recount"
    # what no head has counted, since the process was killed, is told
    less = structs.replace(made, grants=(structs.replace(use, used={**use.used, "calls": 1}),))
    assert recounted(less, found).beyond == {signed.terms.id: {"calls": 1}}
    # what was erased cannot show anything
    erased = [structs.replace(one, metadata=None, unread="erased") if one.kind == "closed" else one for one in found]
    assert recounted(made, erased).unread == 2


def test_two_boxes_add_up(box: Box, tmp_path: Path) -> None:
    other = granted_box(tmp_path / "other")
    with closing(other.journal), closing(other.meter):
        for one, number in ((box, 1), (other, 2)):
            took(one)
            assert [ask(model(one)) for _ in range(number)] == [[]] * number
        both = merged([stated(box), stated(other), stated(box)])
    assert len(both) == 2
    assert totals(both)["calls"] == 3


SHARD = Covered(shard=0, since=3, until=9, root="cm9vdA==")
STATED = Statement(box="ab" * 16, month="2026-11", made=1_795_900_000 * 10**9, shards=(SHARD,), grants=())


@pytest.mark.parametrize(
    "other",
    [
        structs.replace(SHARD, root="b3RoZXI="),
        structs.replace(SHARD, since=2),
        structs.replace(SHARD, shard=1),
    ],
)
def test_statements_that_do_not_fit_together_are_refused(other: Covered) -> None:
    with pytest.raises(GrantError) as refused:
        merged([STATED, structs.replace(STATED, shards=(other,))])
    assert refused.value.code == "usage_statement_conflict"


def test_of_two_that_fit_the_wider_one_counts() -> None:
    wider = structs.replace(STATED, shards=(structs.replace(SHARD, until=12), structs.replace(SHARD, shard=1)))
    assert merged([STATED, wider]) == merged([wider, STATED]) == (wider,)


@pytest.mark.parametrize("month", ["2026-13", "2026-1", "november", "1969-12", "9999-12", ""])
def test_a_month_that_is_none_is_refused(tmp_path: Path, month: str) -> None:
    with pytest.raises(GrantError) as refused:
        collected(tmp_path, Keyring("ab" * 16, bytes(32)), month, [], 0)
    assert refused.value.code == "usage_statement_month"


@pytest.mark.parametrize("file", [b"", b"{}", b'{"statement": "e30=", "certificate": "", "signature": ""}'])
def test_what_is_no_statement_is_refused(file: bytes) -> None:
    with pytest.raises(GrantError) as refused:
        read_statement(file, [bytes(32)])
    assert refused.value.code == "usage_statement_malformed"


def test_a_tariff_charges_to_the_hundredth_and_a_band_may_be_free() -> None:
    used = {"calls": 100_000, "tokens": 25_000_000, "cpu_us": 7_200 * 10**6}
    amounts = {band: charged(PRICES, structs.replace(RURAL, band=band), used) for band in PRICES.bands}
    assert amounts == {"standard": Decimal("450.80"), "rural": Decimal("113.30"), "teaching": Decimal("0.00")}
    assert charged(PRICES, RURAL, {"calls": 10}) == Decimal("0.00")  # half a hundredth goes to the even one
    assert charged(PRICES, RURAL, {"calls": 30}) == Decimal("0.02")
    with pytest.raises(GrantError) as unknown:
        charged(PRICES, structs.replace(RURAL, band="none"), used)
    assert unknown.value.code == "usage_grant_tariff"


@pytest.mark.parametrize(
    "change",
    [
        ('"EUR"', '"euro"'), ("format = 1", "format = 2"), ('"0.0020"', '"-1"'), ('"0.0020"', '"NaN"'),
        ('"0.0020"', '"1e99"'), ("per_call", "per_cal"), ("[bands.rural]", "[bands.rural"), ("# A", "\ud800"),
    ],
)  # fmt: skip
def test_a_tariff_that_cannot_be_read_is_refused(change: tuple[str, str]) -> None:
    with pytest.raises(GrantError) as refused:
        read_tariff(TARIFF.read_text("utf-8").replace(*change).encode("utf-8", "surrogatepass"))
    assert refused.value.code == "usage_grant_tariff"


def test_a_tariff_of_any_size_is_not_read() -> None:
    with pytest.raises(GrantError):
        read_tariff(TARIFF.read_bytes() + b"\n" * 70_000)


def test_the_form_of_a_statement_stays() -> None:
    use = Use(grant="07" * 16, issuer="Works", key="ed25519:a", holder="St. Mary", used={"calls": 1}, tariff=RURAL)
    text = msgspec.json.encode(structs.replace(STATED, grants=(use,)), order="deterministic")
    expected: dict[str, Any] = {
        "format": 1, "box": "ab" * 16, "month": "2026-11", "made": 1_795_900_000 * 10**9,
        "shards": [{"shard": 0, "since": 3, "until": 9, "root": "cm9vdA=="}],
        "grants": [{"grant": "07" * 16, "issuer": "Works", "key": "ed25519:a", "holder": "St. Mary",
                    "used": {"calls": 1}, "tariff": {"name": "public health 2027", "digest": DIGEST, "band": "rural"}}],
    }  # fmt: skip
    assert json.loads(text) == expected


def test_a_statement_of_format_1_stays_readable() -> None:
    file = (HERE / "format-1" / "november.json").read_bytes()
    assert read_statement(file, [bytes(32), ROOT_KEY.public]) == make_grants.STATED
    with pytest.raises(GrantError) as foreign:
        read_statement(file, [bytes(32)])
    assert foreign.value.code == "usage_statement_forged"


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_a_statement_that_was_changed_anywhere_is_refused_or_says_the_same(data: st.DataObject) -> None:
    file = bytearray((HERE / "format-1" / "november.json").read_bytes())
    file[data.draw(st.integers(0, len(file) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        found = read_statement(bytes(file), [ROOT_KEY.public])
    except GrantError:
        return
    assert found == make_grants.STATED
