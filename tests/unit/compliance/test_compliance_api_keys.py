"""API keys: found by id, never kept, and worth nothing once they expired or were revoked."""

from __future__ import annotations

import re
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from compliance.state.api_keys import NAME, ApiKeyError, ApiKeys
from compliance.state.errors import StateError

ROOT = Path(__file__).resolve().parents[3]
NOW = 1_800_000_000 * 10**9


Open = Callable[[Path], ApiKeys]


@pytest.fixture
def stores() -> Iterator[Open]:
    """Open a store in a folder; all are closed in the end."""
    with ExitStack() as stack:
        yield lambda folder: stack.enter_context(closing(ApiKeys(folder)))


def refused(keys: ApiKeys, text: str, now: int = NOW) -> str:
    with pytest.raises(ApiKeyError) as caught:
        keys.identified(text, now)
    assert len(text) < 8 or text not in str(caught.value)
    return caught.value.code


def test_a_key_is_found_with_its_defaults(stores: Open, tmp_path: Path) -> None:
    made, text = stores(tmp_path).create(NOW, purpose="search", basis="contract", expires=NOW + 1)

    assert re.fullmatch(rf"sp_{made.id}_[0-9a-f]{{64}}", text)
    assert stores(tmp_path).identified(text, NOW) == made
    assert (made.purpose, made.basis, made.made, made.expires, made.revoked) == (
        "search",
        "contract",
        NOW,
        NOW + 1,
        None,
    )


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
        table.execute("INSERT OR IGNORE INTO keys SELECT * FROM here.keys")
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

    with pytest.raises(ApiKeyError) as caught:
        keys.revoke("no such key", NOW)

    assert caught.value.code == "api_key_unknown"
    assert "no such key" not in str(caught.value)


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
        table.execute("PRAGMA user_version = 2")
    table.close()

    with pytest.raises(StateError, match="format"):
        stores(tmp_path).identified(text, NOW)


def test_a_folder_that_does_not_take_it_is_an_error(stores: Open, tmp_path: Path) -> None:
    with pytest.raises(StateError):
        stores(tmp_path / "missing").create(NOW)


def test_format_1_stays_readable(stores: Open, tmp_path: Path) -> None:
    golden = ROOT / "tests" / "vectors" / "api-keys"
    shutil.copy(golden / "format-1.sqlite", tmp_path / NAME)

    found = stores(tmp_path).identified((golden / "format-1.key").read_text("utf-8").strip(), NOW)

    assert (found.purpose, found.basis, found.expires) == ("search", "public_task", None)
