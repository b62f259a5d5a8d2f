"""Rows that are destroyed: for good, for every process, never while they are held, and all or none after a crash."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from subprocess import TimeoutExpired

import pytest

from compliance.state.disposition import Backup, Disposition, Group, Hold, Release, Scope
from compliance.state.errors import HoldError, StateError
from compliance.state.generation import Turn
from compliance.state.salts import TOKEN, Salts
from compliance.state.table_key import TableKey
from tests.journals import ended, script

TENANT, SUBJECT = "clinic", "patient-7"
MONTHS = ("2025-10", "2025-11", "2025-12")
INFER = ("infer", "search")
NOW = 2 * 10**18


@pytest.fixture
def path(tmp_path: Path) -> Path:
    Salts.create(tmp_path / "salts.sqlite")
    return tmp_path / "salts.sqlite"


@pytest.fixture
def salts(path: Path) -> Iterator[Salts]:
    with closing(Salts(path)) as table:
        yield table


def filled(salts: Salts, subject: str = SUBJECT) -> list[tuple[bytes, bytes]]:
    """Three months of a subject, and the key of its tokens."""
    rows = [salts.for_call(TENANT, subject, *INFER, month) for month in MONTHS]
    return [*rows, salts.for_call(TENANT, subject, TOKEN, "", "")]


def erase(path: Path, subject: str = SUBJECT) -> None:
    with Disposition.open(path) as disposition:
        disposition.erase(TENANT, subject, "asked", NOW)


def test_an_erased_subject_has_no_salt_left_and_the_others_have_theirs(path: Path, salts: Salts) -> None:
    mine, theirs = filled(salts), filled(salts, "patient-8")
    nobodys = salts.for_call(TENANT, "", *INFER, MONTHS[0])
    with Disposition.open(path) as disposition:
        found, act = disposition.erase(TENANT, SUBJECT, "asked", NOW)

    assert found.groups == (*(Group(*INFER, month, 1, 0) for month in MONTHS), Group(TOKEN, "", "", 1, 0))
    assert found.rows == 4
    assert (act.kind, act.tenant, act.data["rows"], act.data["ground"]) == ("erased", TENANT, 4, "asked")
    assert [salts.salt(row) for row, _ in mine] == [None] * 4
    assert [salts.salt(row) for row, _ in [*theirs, nobodys]] == [salt for _, salt in [*theirs, nobodys]]
    assert salts.destroyed == 4


def test_nothing_says_afterwards_whom_it_concerned(path: Path, salts: Salts) -> None:
    filled(salts)
    with Disposition.open(path) as disposition:
        _, act = disposition.erase(TENANT, SUBJECT, "asked", NOW)
        assert SUBJECT not in str(act)
        assert disposition.erasable(TENANT, SUBJECT, NOW).rows == 0
    salts.close()
    assert [file.name for file in path.parent.iterdir() if SUBJECT.encode() in file.read_bytes()] == []


def test_a_subject_that_was_never_seen_is_erased_of_nothing(path: Path, salts: Salts) -> None:
    others = filled(salts)
    with Disposition.open(path) as disposition:
        found, act = disposition.erase(TENANT, "nobody", "asked", NOW)
    assert (found.rows, act.data["rows"]) == (0, 0)
    assert salts.destroyed == 0
    assert salts.salt(others[0][0]) == others[0][1]


def test_a_later_call_of_an_erased_subject_has_a_new_row(path: Path, salts: Salts) -> None:
    before = filled(salts)
    erase(path)
    assert not set(filled(salts)) & set(before)
    assert salts.destroyed == 4


def test_the_key_of_the_sealed_salts_stays_in_no_file_and_they_themselves_hardly(path: Path, salts: Salts) -> None:
    for number in range(200):
        filled(salts, f"patient-{number}")
    (key,) = path.parent.glob("salts-*.key")
    with closing(sqlite3.connect(path)) as table:
        sealed = [row for (row,) in table.execute("SELECT sealed FROM salts")]
    gone = [key.read_bytes()[1:33], *sealed]
    assert all(any(part in file.read_bytes() for file in path.parent.iterdir()) for part in gone)

    erase(path)

    assert len(sealed) == 800
    contents = [file.read_bytes() for file in path.parent.iterdir()]
    left = [part for part in gone if any(part in content for content in contents)]
    # a page that SQLite split may keep a copy of a row in its gap, which nothing opens without the key
    assert gone[0] not in left
    assert len(left) <= 4
    assert len(list(path.parent.glob("salts-*.key"))) == 1


ERASING = """
import sys
from pathlib import Path
from compliance.state.disposition import Disposition
with Disposition.open(Path(sys.argv[1])) as disposition:
    disposition.erase("clinic", "patient-7", "asked", 0)
"""


def test_a_process_that_remembers_learns_of_what_another_erased(path: Path, salts: Salts) -> None:
    mine, theirs = filled(salts), filled(salts, "patient-8")
    assert salts.destroyed == 0
    assert ended(script(ERASING, path)) == ""
    assert salts.destroyed == 4
    assert not set(filled(salts)) & set(mine)
    assert filled(salts, "patient-8") == theirs


def test_while_rows_are_destroyed_nothing_is_remembered(path: Path, salts: Salts) -> None:
    known = filled(salts)[0]
    with Disposition.open(path) as disposition:
        with disposition._table.destroying(disposition._turn) as (table, _):
            assert salts.for_call(TENANT, SUBJECT, *INFER, MONTHS[0]) == known
            table.execute("DELETE FROM salts")
        assert salts.for_call(TENANT, SUBJECT, *INFER, MONTHS[0]) != known


def test_a_process_that_lives_settles_what_a_dead_one_left(path: Path, salts: Salts) -> None:
    known = filled(salts)
    with closing(Turn(path.parent / "generation", wait=False)) as turn:
        turn.unsettle()
        assert filled(salts) == known
        assert salts._table.seen() is None
    assert filled(salts) == known
    assert salts._table.seen() is not None


def test_who_opens_the_table_clears_away_what_a_power_cut_left(path: Path, salts: Salts) -> None:
    """The counter is not synced, so that after a power cut it may say that nothing happened."""
    known = filled(salts)
    (key,) = path.parent.glob("salts-*.key")
    TableKey.generate().write(path.parent)
    with closing(Salts(path)) as later:
        assert filled(later) == known
    assert list(path.parent.glob("salts-*.key")) == [key]


def test_a_destruction_that_fails_leaves_all_as_it_was(path: Path, salts: Salts) -> None:
    known = filled(salts)
    keys = list(path.parent.glob("salts-*.key"))
    with closing(sqlite3.connect(path)) as table, table:
        table.execute("CREATE TRIGGER t BEFORE UPDATE ON current BEGIN SELECT RAISE(ABORT, 'no'); END")
    with pytest.raises(StateError) as failed:
        erase(path)
    assert failed.value.code == "state_broken"
    assert filled(salts) == known
    assert salts.destroyed == 0
    assert list(path.parent.glob("salts-*.key")) == keys
    with Disposition.open(path) as disposition:
        assert disposition.untold() == ()


# a child is killed at each call into C in turn, wherever that is: in Python's own code, in SQLite, at a system call
CRASHES = """
import os, shutil, signal, sys
from contextlib import closing
from pathlib import Path
from compliance.state.disposition import Disposition
from compliance.state.salts import Salts

made, folder = Path(sys.argv[1]), Path(sys.argv[2])
owners = [("clinic", subject, "infer", "search", month) for subject in ("a", "b") for month in ("2025-10", "2025-11")]
with closing(Salts(made / "salts.sqlite")) as salts:
    known = [salts.for_call(*owner) for owner in owners]
(first,) = made.glob("salts-*.key")
outcomes = []
for step in range(100_000):
    state = folder / str(step)
    shutil.copytree(made, state)
    serving = Salts(state / "salts.sqlite")
    assert [serving.for_call(*owner) for owner in owners] == known
    # SQLite's connections are not carried over a fork
    serving._table._table.close()
    serving._table._table = None
    child = os.fork()
    if not child:
        left = step
        def count(frame, event, argument):
            global left
            if event == "c_call":
                left -= 1
                if left < 0:
                    os.kill(os.getpid(), signal.SIGKILL)
        with Disposition.open(state / "salts.sqlite") as disposition:
            sys.setprofile(count)
            disposition.erase("clinic", "a", "asked", 0)
            sys.setprofile(None)
        os._exit(0)
    killed = os.WIFSIGNALED(os.waitpid(child, 0)[1])
    # asked in the order in which the rows are, so that only those of "a" may be new
    now = [serving.for_call(*owner) for owner in owners]
    erased = now[:2] != known[:2]
    assert now[2:] == known[2:], step
    assert not erased or not set(now[:2]) & set(known), step
    assert serving.destroyed == 2 * erased, step
    assert serving._table.seen() is not None, step
    assert len(list(state.glob("salts-*.key"))) == 1, step
    assert first.name in os.listdir(state) or erased, step
    serving.close()
    with Disposition.open(state / "salts.sqlite") as disposition:
        assert len(disposition.untold()) == erased, step
    outcomes.append(erased)
    shutil.rmtree(state)
    if not killed:
        break
assert outcomes == sorted(outcomes), outcomes
print(outcomes.count(False), outcomes.count(True))
"""


def test_a_crash_at_any_step_erases_all_or_nothing_and_never_loses_a_row(path: Path, tmp_path: Path) -> None:
    (tmp_path / "crashed").mkdir()
    made = tmp_path / "made"
    made.mkdir()
    Salts.create(made / "salts.sqlite")
    before, after = map(int, ended(script(CRASHES, made, tmp_path / "crashed")).split())
    assert before > 20
    assert after > 20


def test_a_held_subject_is_not_erased(path: Path, salts: Salts) -> None:
    known = filled(salts)
    with Disposition.open(path) as disposition:
        held = disposition.hold(TENANT, Scope(subject=SUBJECT), "court", NOW)
        hold = Hold(held.data["hold"], "court", NOW, True, None, None, None)
        assert held.kind == "held"
        assert SUBJECT not in str(held)
        assert disposition.erasable(TENANT, SUBJECT, NOW).holds == disposition.holds() == (hold,)
        with pytest.raises(HoldError) as refused:
            disposition.erase(TENANT, SUBJECT, "asked", NOW)
        assert refused.value.code == "subject_held"
        assert hold.id in str(refused.value)
        assert [salts.salt(row) for row, _ in known] == [salt for _, salt in known]
        assert disposition.untold() == (held,)

        assert disposition.release(TENANT, hold.id).data == {"hold": hold.id}
        assert disposition.holds() == ()
        assert disposition.erase(TENANT, SUBJECT, "asked", NOW)[0].rows == 4
        with pytest.raises(HoldError) as unknown:
            disposition.release(TENANT, hold.id)
        assert unknown.value.code == "hold_unknown"


@pytest.mark.parametrize(
    ("scope", "held"),
    [
        (Scope(subject=SUBJECT, month="2025-11"), {"2025-11"}),
        (Scope(subject="patient-8"), set()),
        (Scope(purpose="search"), set(MONTHS)),
        (Scope(purpose="assistance"), set()),
        (Scope(class_="infer", purpose="search", month="2025-10"), {"2025-10"}),
        (Scope(class_="scan"), set()),
        (Scope(month="2025-12"), {"2025-12"}),
        (Scope(), set(MONTHS)),
    ],
)
def test_what_is_held_does_not_expire(path: Path, salts: Salts, scope: Scope, held: set[str]) -> None:
    known = dict(zip(MONTHS, filled(salts), strict=False))
    with Disposition.open(path) as disposition:
        disposition.hold(TENANT, scope, "court", NOW)
        groups = disposition.groups()
        assert {group.month: group.held for group in groups if group.month} == {m: int(m in held) for m in MONTHS}
        gone, act = disposition.expire(TENANT, [group for group in groups if group.month])
    assert {month for month, (row, _) in known.items() if salts.salt(row) is not None} == held
    assert sum(group.rows for group in gone) == act.data["rows"] == salts.destroyed == 3 - len(held)


def test_a_hold_covers_rows_that_come_later(path: Path, salts: Salts) -> None:
    with Disposition.open(path) as disposition:
        disposition.hold(TENANT, Scope(subject=SUBJECT), "court", NOW)
        filled(salts)
        with pytest.raises(HoldError):
            disposition.erase(TENANT, SUBJECT, "asked", NOW)


def test_an_erasure_names_what_it_cannot_reach(path: Path, salts: Salts) -> None:
    with Disposition.open(path) as disposition:
        disposition.backed_up(Backup("before", 1, NOW * 2))
        row, _ = filled(salts)[0]
        other, _ = filled(salts, "patient-8")[0]
        made = NOW - 1
        disposition.backed_up(Backup("expired", made, NOW))
        disposition.backed_up(Backup("kept", made, NOW + 1))
        salts.released(row, "shard-000/9", "ab" * 32, 5)
        salts.released(other, "shard-000/10", "ab" * 32, 5)

        found, act = disposition.erase(TENANT, SUBJECT, "asked", NOW)

        assert found.releases == (Release("shard-000/9", 5, "ab" * 32),)
        assert found.backups == (Backup("kept", made, NOW + 1),)
        assert act.data["releases"] == [{"record": "shard-000/9", "at": 5, "auditor": "ab" * 32}]
        assert act.data["backups"] == [{"id": "kept", "at": made, "expires": NOW + 1}]
        filled(salts)
        assert disposition.erasable(TENANT, SUBJECT, NOW).releases == ()


def test_a_backup_revives_nothing(path: Path, salts: Salts, tmp_path: Path) -> None:
    (row, _), *_ = filled(salts)
    (other, kept), *_ = filled(salts, "patient-8")
    salts.close()
    backup = tmp_path / "backup"
    backup.mkdir()
    for file in list(path.parent.iterdir()):
        if file.is_file():
            (backup / file.name).write_bytes(file.read_bytes())
    erase(path)
    with Disposition.open(path) as disposition:
        tombstones = disposition.tombstones()
    with Disposition.open(backup / path.name) as disposition:
        disposition.bury(tombstones)
    with closing(Salts(backup / path.name)) as restored:
        assert restored.salt(row) is None
        assert restored.salt(other) == kept
        assert restored.destroyed == salts.destroyed == 4


def test_what_was_done_waits_until_it_is_told(path: Path, salts: Salts) -> None:
    filled(salts)
    with Disposition.open(path) as disposition:
        acts = [
            disposition.hold(TENANT, Scope(month="2000-01"), "court", NOW),
            disposition.erase(TENANT, SUBJECT, "asked", NOW)[1],
        ]
    with Disposition.open(path) as disposition:
        assert disposition.untold() == tuple(acts)
        disposition.told(acts[0])
        assert disposition.untold() == (acts[1],)


SECOND = """
import sys
from pathlib import Path
from compliance.state.disposition import Disposition
print("waits", flush=True)
with Disposition.open(Path(sys.argv[1])):
    print("has it")
"""


def test_one_process_acts_at_a_time(path: Path, salts: Salts) -> None:
    with Disposition.open(path):
        process = script(SECOND, path)
        assert process.stdout is not None
        assert process.stdout.readline() == "waits\n"
        salts.for_call(TENANT, SUBJECT, *INFER, MONTHS[0])  # calls go on meanwhile
        with pytest.raises(TimeoutExpired):
            process.wait(0.2)
    assert ended(process) == "has it\n"
