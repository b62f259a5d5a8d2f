"""Usage grants: what is signed counts, on one box, once; and what is left of it is never given twice."""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compliance.state.errors import StateError
from compliance.state.grants import meter as metering
from compliance.state.grants.errors import GrantError
from compliance.state.grants.meter import MAX_GRANTS, Meter, Used
from compliance.state.grants.odrl import PROFILE, odrl
from compliance.state.grants.store import NAME
from compliance.state.grants.terms import Tariffed, Terms, covers, issued, read
from compliance.state.model_pattern import fits
from policies.facts import Manifest, Metered
from tests.granted import END, ISSUER, KEY, NOW, grant

BOX = "ab" * 16
ISSUERS = frozenset({KEY})
MODEL = Manifest(format=1, name="m", version="1", digest="cd" * 32, task="embed", licence="MIT", inputs=(), outputs=())
LEASE = 300 * 10**9


class Place:
    """A meter in a folder, and a journal of which only the counters are there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.signed: dict[str, int] = {}
        self.meter = self.again()

    def again(self) -> Meter:
        """As another process opens it."""
        return Meter(self.folder, BOX, ("*",), lambda: self.signed)

    def take(self, **terms: Any) -> str:
        signed = grant(BOX, **terms)
        self.meter.must_take(signed, NOW, ISSUERS)
        self.signed[f"{signed.terms.id}/imported"] = 1
        self.meter.take(signed, NOW)
        return signed.terms.id

    def hold(self, at: int = NOW, issuers: frozenset[str] = ISSUERS) -> Metered:
        held = self.meter.hold(MODEL, at, issuers)
        assert held is not None
        return held

    def use(self, tokens: int = 3, cpu_us: int = 7) -> None:
        self.meter.settle(self.hold(), tokens, cpu_us)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path)
    with closing(place.meter):
        yield place


def test_the_call_after_the_last_one_is_refused(place: Place) -> None:
    id_ = place.take(calls=2)
    place.use()
    assert place.hold().state == "open"
    # the second one runs, and a third has to wait how it ends
    assert place.hold() == Metered(state="held", grant=id_, holder="St. Mary")
    place.meter.close()
    assert place.meter.one(id_).held == 1


def test_what_was_used_is_counted_and_then_it_is_spent(place: Place) -> None:
    id_ = place.take(calls=2)
    place.use(tokens=5, cpu_us=11)
    place.use(tokens=6, cpu_us=12)
    assert place.hold() == Metered(state="spent", grant=id_, holder="St. Mary")
    assert place.meter.one(id_).used == Used(calls=2, tokens=11, cpu_us=23)


@pytest.mark.parametrize("terms", [{"tokens": 9}, {"cpu_s": 1}])
def test_tokens_and_time_are_spent_when_nothing_is_left(place: Place, terms: dict[str, int]) -> None:
    place.take(**terms)
    place.use(tokens=6, cpu_us=900_000)
    held = place.hold()
    assert held.state == "open"
    # that one holds as much as the largest call so far, so there is nothing left beside it
    assert place.hold().state == "held"
    place.meter.settle(held, 6, 900_000)
    assert place.hold().state == "spent"


def test_what_was_refused_is_given_back(place: Place) -> None:
    place.take(calls=1)
    place.meter.give_back(place.hold())
    place.meter.give_back(Metered(state="none"))
    place.use()
    assert place.hold().state == "spent"


def test_a_lease_that_is_over_is_free_again_and_its_call_gets_no_answer(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.take(calls=1)
    killed, now = place.hold(), metering._now()
    monkeypatch.setattr(metering, "_now", lambda: now + LEASE - 10**9)
    assert place.hold().state == "held"
    monkeypatch.setattr(metering, "_now", lambda: now + LEASE + 10**9)
    held = place.hold()
    assert held.state == "open"
    with pytest.raises(GrantError) as late:
        place.meter.settle(killed, 1, 1)
    assert late.value.code == "usage_grant_lease"
    place.meter.settle(held, 1, 1)
    assert place.hold().state == "spent"


def test_a_late_call_that_nobody_overtook_still_counts(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.take(calls=1)
    held, now = place.hold(), metering._now()
    monkeypatch.setattr(metering, "_now", lambda: now + 2 * LEASE)
    place.meter.settle(held, 1, 1)
    assert place.hold().state == "spent"


@pytest.mark.parametrize("step", [-(10**18), 10**18])
def test_no_step_of_the_clock_frees_or_keeps_a_lease(place: Place, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    place.take(calls=1)
    place.hold()
    real = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real() + step)
    monkeypatch.setattr(time, "time", lambda: (real() + step) / 1e9)
    assert place.hold().state == "held"


def test_leases_of_before_a_restart_of_the_machine_are_over(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.take(calls=1)
    place.hold()
    monkeypatch.setattr(metering, "boot", lambda: "another start")
    assert place.hold().state == "open"


def test_leases_are_over_too_where_only_the_clock_tells_of_a_restart(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.take(calls=1)
    place.hold()
    monkeypatch.setattr(metering, "_now", lambda: -(10**18))
    assert place.hold().state == "open"


@pytest.mark.parametrize(("at", "state"), [(9, "early"), (10, "open"), (19, "open"), (20, "over")])
def test_a_grant_counts_from_its_start_until_before_its_end(place: Place, at: int, state: str) -> None:
    signed = grant(BOX, starts=10, ends=20)
    place.meter.must_take(signed, 5, ISSUERS)
    place.meter.take(signed, 5)
    assert place.hold(at).state == state


def test_whose_issuer_is_not_trusted_any_more_allows_nothing(place: Place) -> None:
    place.take()
    assert place.hold(issuers=frozenset()).state == "issuer"


def test_a_model_that_needs_no_grant_and_one_that_none_covers(place: Place, tmp_path: Path) -> None:
    with (
        closing(Meter(tmp_path, BOX, (), lambda: {})) as none,
        closing(Meter(tmp_path, BOX, ("n*",), lambda: {})) as other,
    ):
        assert none.hold(MODEL, NOW, ISSUERS) is None
        assert other.hold(MODEL, NOW, ISSUERS) is None
    place.take(models=("other", "m@2", f"sha256:{'00' * 32}"))
    assert place.hold() == Metered(state="none")


def test_of_several_the_one_that_ends_first_is_used_first(place: Place) -> None:
    late, soon = place.take(calls=1, ends=END), place.take(calls=1, ends=END - 1)
    assert [place.hold().grant, place.hold().grant] == [soon, late]
    assert place.hold().state == "held"


def test_the_refusal_tells_of_the_grant_that_is_nearest(place: Place) -> None:
    revoked = place.take()
    place.meter.revoke(revoked, NOW)
    assert place.hold() == Metered(state="revoked", grant=revoked, holder="St. Mary")
    spent = place.take(calls=1)
    place.use()
    assert place.hold() == Metered(state="spent", grant=spent, holder="St. Mary")


def test_a_grant_that_comes_later_counts_in_a_process_that_runs(place: Place) -> None:
    with closing(place.again()) as running:
        assert running.hold(MODEL, NOW, ISSUERS) == Metered(state="none")
        id_ = place.take(calls=1)
        assert running.hold(MODEL, NOW, ISSUERS) is not None
        place.meter.revoke(id_, NOW)
        assert running.hold(MODEL, NOW, ISSUERS) == Metered(state="revoked", grant=id_, holder="St. Mary")


def test_an_old_file_revives_nothing(place: Place, tmp_path: Path) -> None:
    id_ = place.take(calls=2)
    place.meter.close()
    old = Path(shutil.copy(tmp_path / NAME, tmp_path / "old"))
    for _ in range(2):
        place.use()
    place.signed |= {f"{id_}/calls": 2, f"{id_}/tokens": 6, f"{id_}/cpu_us": 14}
    place.meter.close()
    _put_back(old, tmp_path / NAME)
    with closing(place.again()) as meter:
        assert meter.hold(MODEL, NOW, ISSUERS) == Metered(state="spent", grant=id_, holder="St. Mary")
        assert meter.one(id_).used == Used(calls=2, tokens=6, cpu_us=14)


def test_an_old_file_does_not_bring_back_what_was_revoked(place: Place, tmp_path: Path) -> None:
    id_ = place.take()
    place.meter.close()
    old = Path(shutil.copy(tmp_path / NAME, tmp_path / "old"))
    place.meter.revoke(id_, NOW)
    place.signed[f"{id_}/revoked"] = 1
    place.meter.close()
    _put_back(old, tmp_path / NAME)
    with closing(place.again()) as meter:
        assert meter.hold(MODEL, NOW, ISSUERS) == Metered(state="revoked", grant=id_, holder="St. Mary")


def test_no_file_at_all_revives_nothing_either(place: Place, tmp_path: Path) -> None:
    signed = grant(BOX, calls=2)
    place.meter.take(signed, NOW)
    place.use()
    place.signed |= {f"{signed.terms.id}/imported": 1, f"{signed.terms.id}/calls": 1}
    place.meter.close()
    for file in tmp_path.glob(f"{NAME}*"):
        file.unlink()
    with closing(place.again()) as meter:
        with pytest.raises(StateError) as missing:
            meter.hold(MODEL, NOW, ISSUERS)
        assert missing.value.code == "state_missing"
        # the grant itself may come again, with what the journal has counted under it
        meter.must_take(signed, NOW, ISSUERS)
        meter.take(signed, NOW)
        assert meter.one(signed.terms.id).used.calls == 1


def test_a_row_that_was_tampered_with_is_refused(place: Place, tmp_path: Path) -> None:
    place.take(calls=2)
    other = grant(BOX, calls=10_000).file
    place.meter.close()
    for file in (b"{}", other):
        with closing(sqlite3.connect(tmp_path / NAME)) as table, table:
            table.execute("UPDATE grants SET file = ?", (file,))
        with closing(place.again()) as meter, pytest.raises(StateError):
            meter.hold(MODEL, NOW, ISSUERS)


def test_threads_share_one_meter(place: Place) -> None:
    id_ = place.take(calls=50)

    def use(_: int) -> bool:
        held = place.hold()
        if held.state == "open":
            place.meter.settle(held, 1, 1)
        return held.state == "open"

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(use, range(80))) == 50
    assert place.meter.one(id_).used.calls == 50


def test_no_connection_is_open_while_a_process_forks(place: Place) -> None:
    place.take(calls=2)
    place.use()
    place.meter.hold_for_fork()
    assert place.meter._table is None
    place.meter.go_on_in_parent()
    place.use()
    place.meter.hold_for_fork()
    place.meter.forget_in_child()
    assert place.hold().state == "spent"


def test_a_journal_counts_under_so_many_grants_and_no_more(place: Place) -> None:
    place.signed |= {f"{number:032x}/imported": 1 for number in range(MAX_GRANTS)}
    assert _code(place, grant(BOX).file) == "usage_grant_many"


def test_nothing_is_known_of_a_grant_that_is_not_here(place: Place) -> None:
    with pytest.raises(GrantError) as unknown:
        place.meter.revoke("00" * 16, NOW)
    assert unknown.value.code == "usage_grant_unknown"


@pytest.mark.parametrize(
    "terms", [{"calls": 0}, {"calls": -1}, {"tokens": 2**53}, {"models": ()}, {"starts": 9, "ends": 9}, {"holder": ""}]
)
def test_terms_that_nobody_could_use_are_not_issued(terms: dict[str, Any]) -> None:
    with pytest.raises(GrantError) as refused:
        grant(BOX, **terms)
    assert refused.value.code == "usage_grant_terms"


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_file_that_was_changed_anywhere_is_refused_or_says_the_same(data: st.DataObject) -> None:
    file = bytearray(_FILE)
    place = data.draw(st.integers(0, len(file) - 1))
    file[place] ^= data.draw(st.integers(1, 255))
    try:
        found = read(bytes(file))
    except GrantError:
        return
    assert (found.terms, found.key) == (read(_FILE).terms, KEY)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_whatever_comes_is_refused_with_a_code(data: bytes) -> None:
    with pytest.raises(GrantError):
        read(data)


def test_a_file_that_is_too_long_is_not_read() -> None:
    with pytest.raises(GrantError):
        read(_FILE + b" " * 70_000)


@pytest.mark.parametrize(
    ("pattern", "fit"),
    [
        ("m", True),
        ("m*", True),
        ("*", True),
        ("m@1", True),
        ("m@2", False),
        ("*@1*", True),
        ("mm", False),
        ("m@", False),
    ],
)
def test_patterns_of_models(pattern: str, fit: bool) -> None:
    assert fits(pattern, "m", "1") is fit
    signed = grant(BOX, models=(pattern,))
    assert covers(signed.terms, "m", "1", "00") is fit


def test_a_model_is_named_by_its_digest() -> None:
    signed = grant(BOX, models=(f"sha256:{MODEL.digest}",))
    assert covers(signed.terms, "any", "name", MODEL.digest)
    assert not covers(signed.terms, "any", "name", "00" * 32)


def test_an_agreement_in_odrl_says_what_the_grant_says() -> None:
    tariff = Tariffed(name="public health", digest="12" * 32, band="rural")
    made = odrl(grant(BOX, calls=7, tokens=8, cpu_s=9, starts=0, ends=86_400 * 10**9, tariff=tariff))
    (permission,) = made["permission"]
    limits = {(one["leftOperand"], one["operator"]): one["rightOperand"]["@value"] for one in permission["constraint"]}
    assert limits == {
        ("dateTime", "gteq"): "1970-01-01T00:00:00+00:00",
        ("dateTime", "lt"): "1970-01-02T00:00:00+00:00",
        ("count", "lteq"): 7,
        (f"{PROFILE}:tokens", "lteq"): 8,
        (f"{PROFILE}:cpuSeconds", "lteq"): 9,
        (f"{PROFILE}:box", "eq"): BOX,
    }
    assert permission["duty"][0]["constraint"][0]["rightOperand"] == f"public health/rural/sha256:{'12' * 32}"
    assert (made["assignee"]["name"], made["assigner"]["name"]) == ("St. Mary", "Model Works")
    assert "duty" not in odrl(grant(BOX))["permission"][0]


GOLDEN = Path(__file__).resolve().parents[2] / "vectors" / "grants" / "format-1"


def test_a_grant_of_format_1_stays_readable() -> None:
    found = read((GOLDEN / "st-mary.grant").read_bytes())
    assert found.key == KEY
    assert found.terms == Terms(
        id="07" * 16, issuer="Model Works", holder="St. Mary", box=BOX, models=("minilm*", f"sha256:{'ab' * 32}"),
        starts=NOW, ends=END, calls=100_000, tokens=25_000_000, cpu_s=3_600,
        tariff=Tariffed(name="public health", digest="12" * 32, band="rural"),
    )  # fmt: skip
    assert issued(found.terms, ISSUER) == found


def test_a_store_of_format_1_stays_readable(tmp_path: Path) -> None:
    shutil.copy(GOLDEN / NAME, tmp_path / NAME)
    with closing(Meter(tmp_path, BOX, ("*",), lambda: {})) as meter:
        (kept,) = meter.all()
        assert (kept.signed.terms.id, kept.used, kept.held) == ("07" * 16, Used(calls=2, tokens=10, cpu_us=30), 0)
        minilm = msgspec.structs.replace(MODEL, name="minilm")
        found = meter.hold(minilm, NOW, ISSUERS)
        assert found is not None
        assert (found.state, found.band) == ("open", "rural")


_FILE = grant(BOX, calls=3).file


def _put_back(old: Path, path: Path) -> None:
    for beside in path.parent.glob(f"{path.name}-*"):
        beside.unlink()
    shutil.copy(old, path)


def _code(place: Place, file: bytes) -> str:
    with pytest.raises(GrantError) as refused:
        place.meter.must_take(read(file), NOW, ISSUERS)
    return refused.value.code
