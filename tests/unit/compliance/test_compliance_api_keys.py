"""API keys: found by id, never kept, and worth nothing once they expired, were revoked or were replaced."""

from __future__ import annotations

import re
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from compliance.state.api_key_table import NAME, Defaults, Terms, packed
from compliance.state.api_keys import ApiKeyError, ApiKeys
from compliance.state.errors import StateError
from compliance.state.usage import Short, Usage
from tests.vectors.make_api_keys import CERTIFICATE, NOW, TERMS

ROOT = Path(__file__).resolve().parents[3]
GOLDEN = ROOT / "tests" / "vectors" / "api-keys"


Open = Callable[[Path], ApiKeys]


@pytest.fixture
def stores() -> Iterator[Open]:
    """Open a store in a folder; all are closed in the end."""
    with ExitStack() as stack:
        yield lambda folder: stack.enter_context(closing(ApiKeys(folder)))


def refused(keys: ApiKeys, text: str, now: int = NOW, certificate: bytes | None = None) -> str:
    with pytest.raises(ApiKeyError) as caught:
        keys.identified(text, now, certificate)
    assert len(text) < 8 or text not in str(caught.value)
    return caught.value.code


def test_a_key_is_found_with_its_defaults(stores: Open, tmp_path: Path) -> None:
    made, text = stores(tmp_path).create(NOW, TERMS, expires=NOW + 1, calls=5)

    assert re.fullmatch(rf"sp_{made.id}_[0-9a-f]{{64}}", text)
    assert stores(tmp_path).identified(text, NOW) == made
    assert made.terms() == TERMS
    assert (made.made, made.expires, made.revoked, made.calls, made.account) == (NOW, NOW + 1, None, 5, made.id)


def test_the_secret_is_nowhere_on_disk(stores: Open, tmp_path: Path) -> None:
    keys = stores(tmp_path)
    _, text = keys.create(NOW)
    secret = text.rpartition("_")[2]

    for form in (secret.encode(), bytes.fromhex(secret)):
        assert [path.name for path in tmp_path.iterdir() if form in path.read_bytes()] == []


def test_the_store_is_readable_by_its_owner_only(stores: Open, tmp_path: Path) -> None:
    stores(tmp_path).create(NOW)

    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}


def test_two_keys_share_nothing(stores: Open, tmp_path: Path) -> None:
    keys = stores(tmp_path)
    (first, first_text), (second, second_text) = keys.create(NOW), keys.create(NOW)

    swapped = f"sp_{first.id}_{second_text.rpartition('_')[2]}"
    assert first.id != second.id
    assert first_text.rpartition("_")[2] != second_text.rpartition("_")[2]
    assert refused(keys, swapped) == "api_key_unknown"


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text[:-1],
        lambda text: text + "0",
        lambda text: text[:-1] + ("0" if text[-1] != "0" else "1"),
        lambda text: text.upper(),
        lambda text: text.replace("sp_", "sk_"),
        lambda text: text + "\n",
        lambda text: "",
        lambda text: "sp__",
        lambda text: "sp_" + "0" * 16 + "_" + "0" * 64,
        lambda text: "sp_' OR 1=1 --_" + "0" * 64,
    ],
)
def test_what_is_no_key_of_this_box_is_unknown(stores: Open, tmp_path: Path, change: Callable[[str], str]) -> None:
    keys = stores(tmp_path)
    _, text = keys.create(NOW)

    assert refused(keys, change(text)) == "api_key_unknown"


def test_without_a_store_every_key_is_unknown_and_none_is_made(stores: Open, tmp_path: Path) -> None:
    _, text = stores(tmp_path).create(NOW)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()

    assert refused(stores(elsewhere), text) == "api_key_unknown"
    assert list(elsewhere.iterdir()) == []


def test_the_key_of_another_box_is_unknown_even_where_the_row_was_copied(stores: Open, tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        folder.mkdir()
        stores(folder).create(NOW)
    _, text = stores(here).create(NOW)
    with sqlite3.connect(there / NAME) as table:
        table.execute("ATTACH ? AS here", (str(here / NAME),))
        table.execute("INSERT OR IGNORE INTO api_keys SELECT * FROM here.api_keys")
    table.close()

    assert refused(stores(there), text) == "api_key_unknown"


def test_a_key_expires_at_its_moment(stores: Open, tmp_path: Path) -> None:
    keys = stores(tmp_path)
    made, text = keys.create(NOW, expires=NOW + 10)

    assert keys.identified(text, NOW + 9) == made
    assert refused(keys, text, NOW + 10) == "api_key_expired"


def test_a_revocation_by_another_process_holds_at_once(stores: Open, tmp_path: Path) -> None:
    server, command = stores(tmp_path), stores(tmp_path)
    made, text = command.create(NOW)
    assert server.identified(text, NOW) == made

    command.revoke(made.id, NOW + 1)

    assert refused(server, text) == "api_key_revoked"
    assert refused(command, text) == "api_key_revoked"


def test_a_key_made_while_the_server_runs_is_found(stores: Open, tmp_path: Path) -> None:
    server = stores(tmp_path)
    assert refused(server, "sp_" + "0" * 16 + "_" + "0" * 64) == "api_key_unknown"

    made, text = stores(tmp_path).create(NOW)

    assert server.identified(text, NOW) == made


def test_the_first_revocation_stands(stores: Open, tmp_path: Path) -> None:
    keys = stores(tmp_path)
    made, _ = keys.create(NOW)

    assert keys.revoke(made.id, NOW + 1).revoked == NOW + 1
    assert keys.revoke(made.id, NOW + 2).revoked == NOW + 1


@pytest.mark.parametrize("with_store", [True, False])
def test_what_is_not_there_cannot_be_revoked(stores: Open, tmp_path: Path, with_store: bool) -> None:
    keys = stores(tmp_path)
    if with_store:
        keys.create(NOW)

    for act in (lambda: keys.revoke("no such key", NOW), lambda: keys.rotate("no such key", NOW, overlap=0)):
        with pytest.raises(ApiKeyError) as caught:
            act()
        assert caught.value.code == "api_key_unknown"
        assert "no such key" not in str(caught.value)
    assert (tmp_path / NAME).exists() == with_store


@pytest.mark.parametrize("broken", [b"no database at all" * 100, b"SQLite format 3\0" + b"\xff" * 200])
def test_a_store_that_cannot_be_read_is_an_error_and_no_empty_store(
    stores: Open, tmp_path: Path, broken: bytes
) -> None:
    _, text = stores(tmp_path).create(NOW)
    for path in tmp_path.iterdir():
        path.unlink()
    (tmp_path / NAME).write_bytes(broken)

    with pytest.raises(StateError) as caught:
        stores(tmp_path).identified(text, NOW)

    assert caught.value.code == "state_broken"


def test_a_later_format_is_refused(stores: Open, tmp_path: Path) -> None:
    keys = stores(tmp_path)
    _, text = keys.create(NOW)
    keys.close()
    with sqlite3.connect(tmp_path / NAME) as table:
        table.execute("PRAGMA user_version = 4")
    table.close()

    with pytest.raises(StateError, match="format"):
        stores(tmp_path).identified(text, NOW)


def test_a_folder_that_does_not_take_it_is_an_error(stores: Open, tmp_path: Path) -> None:
    with pytest.raises(StateError):
        stores(tmp_path / "missing").create(NOW)


def copied(golden: str, folder: Path) -> list[str]:
    shutil.copy(GOLDEN / f"{golden}.sqlite", folder / NAME)
    return (GOLDEN / f"{golden}.key").read_text("utf-8").split()


def test_format_1_is_moved_on_and_its_keys_still_open(stores: Open, tmp_path: Path) -> None:
    (text,) = copied("format-1", tmp_path)
    before = (tmp_path / NAME).read_bytes()

    found = stores(tmp_path).identified(text, NOW)

    assert found.terms() == Terms(defaults=Defaults(purpose="search", basis="public_task"))
    assert (found.expires, found.revoked, found.account, found.calls) == (None, None, found.id, None)
    (listed,) = stores(tmp_path).all()
    assert (listed.key, listed.used, listed.seen) == (found, None, None)
    assert (GOLDEN / "format-1.sqlite").read_bytes() == before
    # what it was moved on to is what is made anew
    new = tmp_path / "new"
    new.mkdir()
    stores(new).create(NOW)
    assert schema(tmp_path) == schema(new)


def test_two_processes_may_move_it_on_at_once(stores: Open, tmp_path: Path) -> None:
    (text,) = copied("format-1", tmp_path)
    first, second = stores(tmp_path), stores(tmp_path)

    assert first.identified(text, NOW) == second.identified(text, NOW)


def test_a_move_that_stops_half_way_leaves_format_1(
    stores: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (text,) = copied("format-1", tmp_path)

    def torn(terms: Terms) -> bytes:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patched:
        patched.setattr("compliance.state.api_key_table.packed", torn)
        with pytest.raises(StateError, match="full"):
            stores(tmp_path).identified(text, NOW)
    with closing(sqlite3.connect(tmp_path / NAME)) as table:
        assert table.execute("PRAGMA user_version").fetchone() == (1,)
        assert table.execute("SELECT count(*) FROM keys").fetchone() == (1,)
    assert stores(tmp_path).identified(text, NOW).defaults.purpose == "search"


def test_a_trigger_in_an_old_store_does_not_run(stores: Open, tmp_path: Path) -> None:
    (text,) = copied("format-1", tmp_path)
    with closing(sqlite3.connect(tmp_path / NAME, isolation_level=None)) as table:
        table.execute("CREATE TRIGGER t AFTER UPDATE ON keys BEGIN DELETE FROM keys; END")

    with pytest.raises(StateError) as caught:
        stores(tmp_path).identified(text, NOW)

    assert caught.value.code == "state_broken"


def test_format_3_stays_readable(stores: Open, tmp_path: Path) -> None:
    text, _ = copied("format-3", tmp_path)
    found = stores(tmp_path).identified(text, NOW)
    assert found.terms() == TERMS
    with closing(Usage(tmp_path)) as usage:
        short = usage.hold(found.account, 5_301, NOW // 10**9, per_minute=6_000, per_day=90_000)
        assert short == Short("minute", 6_000, 5_300, 60)


def test_format_2_stays_readable(stores: Open, tmp_path: Path) -> None:
    text, rotated = copied("format-2", tmp_path)
    keys = stores(tmp_path)

    old, new = keys.identified(text, NOW), keys.identified(rotated, NOW)

    # it knew no limits of tokens
    assert old.terms() == new.terms() == structs.replace(TERMS, tokens_per_minute=None, tokens_per_day=None)
    assert (old.successor, old.account, old.expires, old.calls) == (new.id, new.account, NOW + 1 + 10**17, 100)
    assert (new.successor, new.made, new.expires) == (None, NOW + 1, NOW + 1 + 10**18)
    with pytest.raises(ApiKeyError) as caught:
        keys.bound(CERTIFICATE, NOW)
    assert caught.value.code == "api_key_revoked"
    assert [(one.used, one.seen) for one in keys.all()] == [(3, NOW - NOW % (3600 * 10**9)), (3, None), (None, None)]


def schema(folder: Path) -> list[tuple[str, str]]:
    with closing(sqlite3.connect(folder / NAME)) as table:
        found = table.execute("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name").fetchall()
        return found + table.execute("PRAGMA user_version").fetchall()


def test_a_rotated_key_works_until_the_overlap_ends(stores: Open, tmp_path: Path) -> None:
    server, command = stores(tmp_path), stores(tmp_path)
    made, text = command.create(NOW, TERMS, expires=NOW + 1000, calls=5)
    assert server.identified(text, NOW) == made

    new, new_text, old = command.rotate(made.id, NOW + 100, overlap=50)

    assert new.terms() == TERMS
    assert (new.account, new.calls, new.made, new.expires) == (made.account, 5, NOW + 100, NOW + 1100)
    assert server.identified(text, NOW + 149) == old
    assert server.identified(new_text, NOW + 149) == new
    assert refused(server, text, NOW + 150) == "api_key_expired"
    assert server.identified(new_text, NOW + 150) == new


def test_an_overlap_does_not_lengthen_the_life_of_a_key(stores: Open, tmp_path: Path) -> None:
    keys = stores(tmp_path)
    made, text = keys.create(NOW, expires=NOW + 10)
    *_, old = keys.rotate(made.id, NOW + 1, overlap=1000, expires=NOW + 77)
    assert old.expires == NOW + 10
    assert refused(keys, text, NOW + 10) == "api_key_expired"
    assert [one.key.expires for one in keys.all()] == [NOW + 10, NOW + 77]


def test_only_a_key_in_force_is_rotated_and_only_once(stores: Open, tmp_path: Path) -> None:
    keys = stores(tmp_path)
    over, gone, replaced = (keys.create(NOW, expires=expires)[0] for expires in (NOW + 1, None, None))
    keys.revoke(gone.id, NOW)
    keys.rotate(replaced.id, NOW, overlap=1000)
    for key, code in ((over, "api_key_expired"), (gone, "api_key_revoked"), (replaced, "api_key_replaced")):
        with pytest.raises(ApiKeyError) as caught:
            keys.rotate(key.id, NOW + 1, overlap=0)
        assert caught.value.code == code
    assert len(keys.all()) == 4


def test_a_bound_key_needs_its_certificate_and_the_certificate_alone_is_enough(stores: Open, tmp_path: Path) -> None:
    keys = stores(tmp_path)
    made, text = keys.create(NOW, certificate=b"ours")

    assert keys.bound(b"ours", NOW) == keys.identified(text, NOW, b"ours") == made
    assert refused(keys, text) == refused(keys, text, NOW, b"theirs") == "api_key_bound"
    with pytest.raises(ApiKeyError) as caught:
        keys.bound(b"theirs", NOW)
    assert caught.value.code == "api_key_certificate"


def test_a_certificate_opens_nothing_without_a_store(stores: Open, tmp_path: Path) -> None:
    with pytest.raises(ApiKeyError) as caught:
        stores(tmp_path).bound(b"ours", NOW)
    assert caught.value.code == "api_key_certificate"
    assert list(tmp_path.iterdir()) == []


def test_a_certificate_stands_for_one_key_at_a_time(stores: Open, tmp_path: Path) -> None:
    server, keys = stores(tmp_path), stores(tmp_path)
    first, _ = keys.create(NOW, certificate=b"ours")
    other, _ = keys.create(NOW)
    for act in (
        lambda: keys.create(NOW, certificate=b"ours"),
        lambda: keys.rotate(other.id, NOW, overlap=0, certificate=b"ours"),
    ):
        with pytest.raises(ApiKeyError) as caught:
            act()
        assert caught.value.code == "api_key_taken"
    assert server.bound(b"ours", NOW) == first

    second, *_ = keys.rotate(first.id, NOW + 1, overlap=10)
    assert server.bound(b"ours", NOW + 2) == second
    third, *_ = keys.rotate(second.id, NOW + 3, overlap=10, certificate=b"new")
    assert server.bound(b"new", NOW + 4) == third
    assert server.bound(b"ours", NOW + 4).id == second.id
    with pytest.raises(ApiKeyError) as caught:
        server.bound(b"ours", NOW + 20)
    assert caught.value.code == "api_key_expired"
    assert keys.create(NOW + 20, certificate=b"ours")[0].certificate == second.certificate


def test_a_call_that_another_process_counts_does_not_make_keys_be_read_again(
    stores: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = stores(tmp_path)
    made, text = stores(tmp_path).create(NOW, calls=10)
    assert server.identified(text, NOW) == made
    monkeypatch.setattr("compliance.state.api_keys.key_of", None)
    with closing(Usage(tmp_path)) as usage:
        usage.reserve(made.account)
        assert server.identified(text, NOW) == made


@pytest.mark.parametrize(
    "terms",
    [
        Terms(name=""),
        Terms(models=("",)),
        Terms(purposes=("p" * 257,)),
        Terms(regions=("DE",) * 65),
        Terms(rate_per_s=0),
        Terms(rate_per_s=float("inf")),
        Terms(rate_per_s=float("nan")),
        Terms(burst=0),
        Terms(concurrent=-1),
        Terms(defaults=Defaults(purpose="")),
    ],
)
def test_terms_out_of_bounds_make_no_key(stores: Open, tmp_path: Path, terms: Terms) -> None:
    keys = stores(tmp_path)
    with pytest.raises(ApiKeyError) as caught:
        keys.create(NOW, terms)
    assert caught.value.code == "api_key_terms"
    with pytest.raises(ApiKeyError):
        keys.create(NOW, calls=0)
    assert keys.all() == []


def test_terms_that_cannot_be_read_open_nothing(stores: Open, tmp_path: Path) -> None:
    _, text = stores(tmp_path).create(NOW)
    with closing(sqlite3.connect(tmp_path / NAME, isolation_level=None)) as table:
        table.execute("UPDATE api_keys SET terms = ?", (b'{"models": [], "new": 1}',))
    with pytest.raises(StateError) as caught:
        stores(tmp_path).identified(text, NOW)
    assert caught.value.code == "state_broken"


_texts = st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=256), max_size=4).map(tuple)


@given(
    st.builds(
        Terms,
        models=_texts,
        purposes=_texts,
        regions=_texts,
        admin=st.booleans(),
        rate_per_s=st.none() | st.floats(min_value=1e-9, max_value=1e6),
        burst=st.none() | st.integers(1, 10**6),
    )
)
def test_terms_are_read_back_as_they_were_given(terms: Terms) -> None:
    assert msgspec.json.decode(packed(terms), type=Terms) == terms
