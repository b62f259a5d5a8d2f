"""The table of salts: made once, on disk before use, sealed, and refused when it is not what was made."""

from __future__ import annotations

import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import closing
from hashlib import blake2b
from pathlib import Path
from threading import Thread

import pytest

from compliance.state.errors import StateError
from compliance.state.salts import TOKEN, Salts, pseudonym
from compliance.state.table_key import TableKey

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


def test_a_row_is_on_disk_when_its_salt_is_handed_out(path: Path, salts: Salts, tmp_path: Path) -> None:
    row, salt = salts.for_call(*OWNER)
    crashed = tmp_path / "crashed"
    crashed.mkdir()
    for file in (file for file in path.parent.iterdir() if file.is_file()):
        (crashed / file.name).write_bytes(file.read_bytes())
    with closing(Salts(crashed / path.name)) as later:
        assert later.salt(row) == salt


def test_the_files_tell_neither_who_a_row_stands_for_nor_its_salt(path: Path, salts: Salts) -> None:
    _, salt = salts.for_call(*OWNER)
    content = b"".join(file.read_bytes() for file in path.parent.iterdir())
    assert [secret for secret in (b"clinic", b"patient-7", salt) if secret in content] == []


def test_a_copied_table_opens_with_nothing_but_its_key(path: Path, salts: Salts) -> None:
    row, _ = salts.for_call(*OWNER)
    salts.close()
    (key,) = path.parent.glob("salts-*.key")
    key.rename(path.parent / "elsewhere")
    refused(lambda: salts.salt(row), "state_missing")
    key.write_bytes(b"\x01" + bytes(64))
    refused(lambda: salts.salt(row), "state_broken")
    key.write_bytes(b"\x02" + bytes(64))
    refused(lambda: salts.salt(row), "state_broken")


def test_a_sealed_salt_opens_in_its_own_row_only(path: Path, salts: Salts) -> None:
    first, second = (salts.for_call(*OWNER[:4], month)[0] for month in ("2025-11", "2025-12"))
    with closing(sqlite3.connect(path)) as table, table:
        table.execute("UPDATE salts SET sealed = (SELECT sealed FROM salts WHERE row = ?)", (first,))
    assert salts.salt(first) is not None
    refused(lambda: salts.salt(second), "state_broken")


def test_a_key_never_shows_itself() -> None:
    key = TableKey(bytes(16), b"secret" * 5, b"hidden" * 5)
    assert "secret" not in f"{key!r} {key}"
    assert "hidden" not in f"{key!r} {key}"


def test_what_is_remembered_costs_no_query(path: Path, salts: Salts) -> None:
    found = salts.for_call(*OWNER)
    path.unlink()
    assert salts.for_call(*OWNER) is found


def test_no_more_is_remembered_than_a_busy_box_needs(salts: Salts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compliance.state.salts._REMEMBERED", 2)
    found = [salts.for_call(*OWNER[:4], month) for month in ("1", "2", "3")]
    assert len(salts._known) == 2
    assert [salts.for_call(*OWNER[:4], month) for month in ("1", "2", "3")] == found


def test_a_pseudonym_is_the_same_under_one_salt_only(salts: Salts) -> None:
    salt, later = (salts.for_call(*OWNER[:4], month)[1] for month in ("2025-11", "2025-12"))
    names = {pseudonym(salt, "patient-7"), pseudonym(salt, "patient-8"), pseudonym(later, "patient-7")}
    assert len(names) == 3
    assert pseudonym(salt, "patient-7") in names
    # frozen with the format: BLAKE2b keyed with the salt over 04 and the subject
    assert pseudonym(bytes(32), "patient-7") == blake2b(b"\x04patient-7", key=bytes(32)).hexdigest()[:32]


def test_the_rows_of_a_subject_are_all_of_its_rows_and_no_others(salts: Salts) -> None:
    mine = {salts.for_call(*OWNER)[0], salts.for_call(*OWNER[:4], "2025-12")[0]}
    mine.add(salts.for_call("clinic", "patient-7", TOKEN, "", "")[0])
    salts.for_call("clinic", "patient-8", *OWNER[2:])
    salts.for_call("other", "patient-7", *OWNER[2:])
    salts.for_call("clinic", "", *OWNER[2:])
    assert salts.rows_of("clinic", "patient-7") == mine
    assert salts.rows_of("clinic", "") == frozenset()


def test_a_release_gives_the_salt_of_a_row_that_is_there(salts: Salts) -> None:
    row, salt = salts.for_call(*OWNER)
    assert salts.released(row, "shard-000/7", "ab" * 32, 1) == salt
    assert salts.released(bytes(16), "shard-000/7", "ab" * 32, 1) is None


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
    assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()} == {0o600}
    refused(lambda: Salts.create(path), "state_broken")
    assert salts.salt(row) == salt


def test_a_missing_table_is_not_made_again(tmp_path: Path) -> None:
    path = tmp_path / "salts.sqlite"
    for ask in asks(Salts(path)):
        refused(ask, "state_missing")
    assert list(tmp_path.iterdir()) == []


def no_database(path: Path) -> None:
    path.write_bytes(b"not a database" * 1000)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def no_counter(path: Path) -> None:
    (path.parent / "generation").write_bytes(b"")


def statement(sql: str) -> Callable[[Path], None]:
    def execute(path: Path) -> None:
        with closing(sqlite3.connect(path)) as table:
            table.executescript(sql)

    return execute


BROKEN: dict[str, Callable[[Path], None]] = {
    "no-database": no_database,
    "empty": empty,
    "half": half,
    "no-counter": no_counter,
    "no-current": statement("DELETE FROM current;"),
    "no-salts": statement("DROP TABLE salts;"),
    "short-key": statement("UPDATE current SET key = x'00';"),
    "key-a-number": statement("DROP TABLE current; CREATE TABLE current (key); INSERT INTO current VALUES (7);"),
    "seal-altered": statement(
        "CREATE TRIGGER t AFTER INSERT ON salts BEGIN UPDATE salts SET sealed = zeroblob(60); END;"
    ),
    "rows-vanish": statement("CREATE TRIGGER t AFTER INSERT ON salts BEGIN DELETE FROM salts; END;"),
}


@pytest.mark.parametrize("breaks", BROKEN.values(), ids=BROKEN)
def test_a_broken_table_is_refused(path: Path, breaks: Callable[[Path], None]) -> None:
    breaks(path)
    with closing(Salts(path)) as salts:
        refused(lambda: salts.for_call(*OWNER), "state_broken")


def test_a_table_of_another_format_is_refused_and_left_alone(path: Path) -> None:
    statement("PRAGMA user_version = 1;")(path)
    before = path.read_bytes()
    for ask in asks(Salts(path)):
        refused(ask, "state_format")
    assert path.read_bytes() == before


def test_a_missing_counter_is_not_made_again(path: Path) -> None:
    (path.parent / "generation").unlink()
    for ask in asks(Salts(path)):
        refused(ask, "state_missing")
    assert not (path.parent / "generation").exists()


def asks(salts: Salts) -> list[Callable[[], object]]:
    return [
        lambda: salts.for_call(*OWNER),
        lambda: salts.salt(bytes(16)),
        lambda: salts.destroyed,
        lambda: salts.rows_of("clinic", "patient-7"),
    ]


def refused(ask: Callable[[], object], code: str) -> None:
    with pytest.raises(StateError) as caught:
        ask()
    assert caught.value.code == code
