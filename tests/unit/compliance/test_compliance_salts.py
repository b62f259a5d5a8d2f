"""The table of salts: made once, on disk before use, and refused when it is not what was made."""

from __future__ import annotations

import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from threading import Thread

import pytest

from compliance.state.salts import Salts, StateError

OWNER = ("clinic", "patient-7", "infer", "search", "2025-11")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    Salts.create(tmp_path / "salts.sqlite")
    return tmp_path / "salts.sqlite"


@pytest.fixture
def salts(path: Path) -> Iterator[Salts]:
    with closing(Salts(path)) as table:
        yield table


def test_the_same_owner_has_the_same_row_and_salt_for_good(path: Path, salts: Salts) -> None:
    row, salt = salts.for_call(*OWNER)
    assert (len(row), len(salt)) == (16, 32)
    assert salts.for_call(*OWNER) == (row, salt)
    with closing(Salts(path)) as again:
        assert again.for_call(*OWNER) == (row, salt)
        assert again.salt(row) == salt
    salts.close()
    assert salts.salt(row) == salt


def test_every_part_of_the_owner_makes_another_row(salts: Salts) -> None:
    owners = [OWNER] + [(*OWNER[:i], part, *OWNER[i + 1 :]) for i in range(5) for part in ("", "other")]
    # parts that would run into each other
    owners += [("clinicp", "atient-7", *OWNER[2:]), ("", "clinicpatient-7", *OWNER[2:]), ("\0", "\0", "", "", "")]
    found = [salts.for_call(*owner) for owner in owners]
    assert len({row for row, _ in found}) == len({salt for _, salt in found}) == len(owners)


def test_an_unknown_row_has_no_salt(salts: Salts) -> None:
    assert salts.salt(bytes(16)) is None


def test_a_row_is_on_disk_when_its_salt_is_handed_out(path: Path, salts: Salts) -> None:
    row, salt = salts.for_call(*OWNER)
    with closing(sqlite3.connect(path)) as table:
        assert table.execute("SELECT salt FROM salts WHERE row = ?", (row,)).fetchone() == (salt,)


def test_the_table_does_not_say_who_a_row_stands_for(path: Path, salts: Salts) -> None:
    salts.for_call(*OWNER)
    content = path.read_bytes()
    assert [part for part in OWNER if part.encode() in content] == []


def test_a_destroyed_row_leaves_nothing_behind_for_a_later_process(path: Path, salts: Salts) -> None:
    row, salt = salts.for_call(*OWNER)
    with closing(sqlite3.connect(path, isolation_level=None)) as table:
        table.execute("DELETE FROM salts")
    assert salts.salt(row) is None
    with closing(Salts(path)) as later:
        later_row, later_salt = later.for_call(*OWNER)
    assert later_row != row
    assert later_salt != salt


def test_threads_and_connections_agree(path: Path, salts: Salts) -> None:
    found: list[tuple[bytes, bytes]] = []
    tables = [salts, Salts(path), Salts(path)]

    def ask(number: int) -> None:
        for month in range(10):
            found.append(tables[number % 3].for_call("clinic", "", "infer", "search", str(month)))

    threads = [Thread(target=ask, args=(number,)) for number in range(9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for table in tables:
        table.close()
    assert len(found) == 90
    assert len(set(found)) == 10


def test_a_table_is_made_once_and_for_the_owner_only(path: Path, salts: Salts) -> None:
    row, salt = salts.for_call(*OWNER)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(StateError) as refused:
        Salts.create(path)
    assert refused.value.code == "state_broken"
    assert salts.salt(row) == salt


def test_a_missing_table_is_not_made_again(tmp_path: Path) -> None:
    path = tmp_path / "salts.sqlite"
    for ask in asks(Salts(path)):
        with pytest.raises(StateError) as refused:
            ask()
        assert refused.value.code == "state_missing"
    assert list(tmp_path.iterdir()) == []


def no_database(path: Path) -> None:
    path.write_bytes(b"not a database" * 1000)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def statement(sql: str) -> Callable[[Path], None]:
    def execute(path: Path) -> None:
        with closing(sqlite3.connect(path)) as table:
            table.executescript(sql)

    return execute


BROKEN: dict[str, Callable[[Path], None]] = {
    "no-database": no_database,
    "empty": empty,
    "half": half,
    "no-secret": statement("DELETE FROM secret;"),
    "no-salts": statement("DROP TABLE salts;"),
    "short-secret": statement("UPDATE secret SET key = x'00';"),
    "secret-a-number": statement("DROP TABLE secret; CREATE TABLE secret (key); INSERT INTO secret VALUES (7);"),
    "salt-a-number": statement(
        "DROP TABLE salts; CREATE TABLE salts (row, owner, salt);"
        "CREATE TRIGGER t AFTER INSERT ON salts BEGIN UPDATE salts SET salt = 999999999999; END;"
    ),
    "rows-vanish": statement("CREATE TRIGGER t AFTER INSERT ON salts BEGIN DELETE FROM salts; END;"),
}


@pytest.mark.parametrize("breaks", BROKEN.values(), ids=BROKEN)
def test_a_broken_table_is_refused(path: Path, breaks: Callable[[Path], None]) -> None:
    breaks(path)
    with closing(Salts(path)) as salts, pytest.raises(StateError) as refused:
        salts.for_call(*OWNER)
    assert refused.value.code == "state_broken"


def test_a_salt_of_another_size_is_refused(path: Path, salts: Salts) -> None:
    row, _ = salts.for_call(*OWNER)
    statement("UPDATE salts SET salt = x'00';")(path)
    with pytest.raises(StateError) as refused:
        salts.salt(row)
    assert refused.value.code == "state_broken"


def asks(salts: Salts) -> list[Callable[[], object]]:
    return [lambda: salts.for_call(*OWNER), lambda: salts.salt(bytes(16))]
