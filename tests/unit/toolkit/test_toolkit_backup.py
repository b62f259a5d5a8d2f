"""Backup and restore of a real box: what goes in, what comes out, and which files are refused."""

from __future__ import annotations

import io
import json
import shutil
import sqlite3
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from compliance.backup.archive import API_KEYS, SALTS
from compliance.backup.errors import BackupError
from compliance.crypto import Opener, Signer, Unauthentic
from compliance.disk import write_synced
from compliance.duties.kept import Duties
from compliance.journal.certificates import certify, install, request
from compliance.journal.erasure import erase, finish
from compliance.journal.reader import Record, read
from compliance.journal.records import Noted
from compliance.keys import from_text, read_key, to_text
from compliance.state.api_key_table import Defaults, Terms
from compliance.state.api_keys import ApiKeyError, ApiKeys
from compliance.state.declarations import Declaration, Declarations, declared, new_id
from compliance.state.disposition import Disposition, Scope
from compliance.state.errors import HoldError, StateError
from compliance.state.overrides import Overrides
from compliance.state.salts import Salts
from compliance.state.usage import Usage
from compliance.verify.errors import NotVerified
from compliance.verify.journal import verify_journal
from compliance.verify.statements import day_of
from policies.errors import Fault
from policies.payload import Payload
from tests.journals import CHECKOUT, DONE, MODEL, YES, a_call
from toolkit.backup import BackedUp, Restored, back_up, restore
from toolkit.box import Box
from toolkit.box_keys import day_keys
from toolkit.new_box import create_box
from toolkit.settings import NAME, read_settings


def unseen(_: int) -> None:
    """Nobody watches."""


class Made:
    """A box with two calls, of which one is of a person; its keys lie apart."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "box"
        apart = create_box(self.folder)
        self.opener = Opener(read_key(apart.auditor, "auditor-private"))
        self.root = Signer(read_key(apart.root, "journal-root"))
        self.out = folder / "box.tar"
        self.new = folder / "new"
        with closing(self.box.journal) as journal:
            for subject in (None, "patient-7"):
                entry = journal.opened(a_call(journal, subject=subject), MODEL, YES, Payload.checked("a canary"))
                journal.closed(entry, DONE)

    @property
    def box(self) -> Box:
        return Box.open(self.folder / NAME)

    @property
    def salts(self) -> Path:
        return self.folder / "state" / "salts.sqlite"

    def back_up(self, days: int | None = 7, *, dry_run: bool = False) -> BackedUp:
        box = self.box
        with closing(box.journal):
            return back_up(box, self.out, days, unseen, dry_run=dry_run)

    def restore(self, *, salts: bool = True, dry_run: bool = False) -> Restored:
        return restore(self.out, self.new, self.opener if salts else None, unseen, dry_run=dry_run)

    def refused(self, *, salts: bool = True) -> str:
        """With which code the backup is refused, of which then nothing is left."""
        before = sorted(self.out.parent.iterdir())
        with pytest.raises(Fault) as refusal:
            self.restore(salts=salts)
        assert sorted(self.out.parent.iterdir()) == before
        return refusal.value.code


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return Made(tmp_path)


def records(folder: Path, opener: Opener) -> list[Record]:
    box = Box.open(folder / NAME)
    with closing(Salts(box.salts_path)) as salts:
        return list(read(box.journal_folder, box.journal.id, opener, salts))


def notes(folder: Path, opener: Opener, kind: str) -> list[dict[str, Any]]:
    """What the journal tells of this kind."""
    found = (record.metadata for record in records(folder, opener))
    return [metadata.data for metadata in found if isinstance(metadata, Noted) and metadata.kind == kind]


def go_on(folder: Path, root: Signer) -> Box:
    """A box that was restored, with new keys, which has told of it."""
    keys, now = day_keys(folder, read_settings(folder / NAME)), time.time_ns()
    install(keys, certify(request(keys, now), root, day_of(now)), now)
    box = Box.open(folder / NAME)
    with Disposition.open(box.salts_path) as disposition:
        finish(box.journal, disposition)
    return box


def test_a_restored_box_is_read_verified_and_goes_on(made: Made) -> None:
    found = made.back_up()
    known = records(made.folder, made.opener)
    shutil.rmtree(made.folder)
    restored = made.restore()

    assert restored.sha256 == found.sha256 == sha256(made.out.read_bytes()).hexdigest()
    assert restored.records == 5  # an EPOCH and two calls
    assert records(made.new, made.opener) == known[:4]
    assert notes(made.new, made.opener, "restored") == []
    with closing(go_on(made.new, made.root).journal) as journal:
        journal.closed(journal.opened(a_call(journal), MODEL, YES, Payload.checked("again")), DONE)
    told = {"backup": found.id, "sha256": found.sha256, "made": found.made, "salts": True}
    assert notes(made.new, made.opener, "restored") == [told]
    assert len(records(made.new, made.opener)) == 4 + 1 + 2
    verify_journal(made.new / "journal", made.root.public)


def test_the_old_box_shows_that_the_restored_one_was_rolled_back(made: Made) -> None:
    made.back_up()
    head = (made.folder / "journal" / "journal.heads").read_text().split("\n\n")
    made.restore()
    with pytest.raises(NotVerified) as refusal:
        verify_journal(made.new / "journal", made.root.public, head="\n\n".join(head[-3:-1]) + "\n")
    assert refusal.value.failures[0].code == "given_missing"


def test_without_salts_nobody_reads_and_the_box_goes_on(made: Made) -> None:
    with Disposition.open(made.salts) as disposition:
        erase(made.box.journal, disposition, "clinic", "patient-7", "asked")
    found = made.back_up(None)
    assert found.expires is None
    assert SALTS not in found.members
    assert made.refused() == "backup_saltless"
    restored = made.restore(salts=False)
    assert {record.unread for record in records(made.new, made.opener)} == {"erased"}
    # the heads say that a row was destroyed, so the new table must
    with closing(go_on(made.new, made.root).journal) as journal:
        journal.closed(journal.opened(a_call(journal), MODEL, YES, Payload.checked("again")), DONE)
    assert [told["salts"] for told in notes(made.new, made.opener, "restored")] == [False]
    assert verify_journal(made.new / "journal", made.root.public).records > restored.records


def test_what_was_erased_or_held_before_the_backup_still_is(made: Made) -> None:
    with Disposition.open(made.salts) as disposition:
        erase(made.box.journal, disposition, "clinic", "patient-7", "asked")
        disposition.hold("clinic", Scope(class_="infer"), "court", 1)
        kept = disposition.tombstones()
    made.back_up()
    made.restore()
    salts = made.new / "state" / "salts.sqlite"
    with Disposition.open(salts) as disposition:
        assert disposition.tombstones() == kept
        assert [hold.ground for hold in disposition.holds()] == ["court"]
    unread = [record.unread for record in records(made.new, made.opener) if record.kind in ("allowed", "closed")]
    assert unread == [None, None, "erased", "erased"]
    with closing(Salts(salts)) as restored:
        restored.for_call("clinic", "patient-8", "infer", "search", "2025-11")
    with Disposition.open(salts) as disposition, pytest.raises(HoldError):
        disposition.erase("clinic", "patient-8", "asked", 1)


def test_a_copy_of_the_salts_is_on_record_and_named_by_an_erasure(made: Made) -> None:
    found = made.back_up()
    told = {"backup": found.id, "expires": found.expires, "sha256": found.sha256}
    assert notes(made.folder, made.opener, "backed_up") == [told]
    with Disposition.open(made.salts) as disposition:
        erased = erase(made.box.journal, disposition, "clinic", "patient-7", "asked").erased
    assert [backup.id for backup in erased.backups] == [found.id]


def test_no_secret_of_the_box_is_in_its_backup(made: Made) -> None:
    found = made.back_up()
    data = made.out.read_bytes()
    assert not [name for name in found.members if name.endswith(".key")]
    for path in made.folder.rglob("*.key"):
        content = path.read_bytes()
        assert content[-64:] not in data, path
        if content.startswith(b"{"):
            assert json.loads(content)["key"].encode() not in data, path
    with closing(Salts(made.salts)) as salts:
        for record in rows(made):
            salt = salts.salt(record)
            assert salt is not None
            assert salt not in data


def rows(made: Made) -> Iterator[bytes]:
    with closing(sqlite3.connect(made.salts)) as table:
        yield from [row for (row,) in table.execute("SELECT row FROM salts")]


def test_keys_that_sign_are_made_anew(made: Made) -> None:
    made.back_up()
    restored = made.restore()
    old, new = (read_key(folder / "keys" / "bundle.key", "bundle-signing") for folder in (made.folder, made.new))
    assert old != new
    assert restored.trusted
    assert restored.bundle_key is not None
    assert (
        from_text(restored.bundle_key)
        == Signer(new).public
        == read_key(made.new / "keys" / "bundle.pub", "bundle-verifying")
    )
    signers = read_settings(made.new / NAME).trust.signers
    assert set(signers) == {restored.bundle_key, *read_settings(made.folder / NAME).trust.signers}
    assert not list(made.new.glob("keys/days/*"))


def test_the_key_that_bundles_are_sealed_to_is_made_anew(made: Made) -> None:
    made.back_up()
    made.restore()
    old, new = (read_key(folder / "keys" / "sealing.key", "sealing-private") for folder in (made.folder, made.new))
    assert old != new
    assert Opener(new).public == read_key(made.new / "keys" / "sealing.pub", "sealing-public")


def test_api_keys_and_rules_come_back(made: Made) -> None:
    rule = (
        '@id("own.rule")\n@reason("This is the rule of a test.")\nforbid(principal, action, resource) when { false };\n'
    )
    outside = made.folder.parent / "outside.cedar"
    outside.write_text(rule.replace("own.rule", "out.rule"))
    (made.folder / "rules").mkdir()
    (made.folder / "rules" / "own.cedar").write_text(rule)
    settings = made.folder / NAME
    settings.write_text(settings.read_text().replace("rules = []", 'rules = ["rules/own.cedar", "../outside.cedar"]'))
    with closing(ApiKeys(made.folder / "state")) as keys, closing(Usage(made.folder / "state")) as usage:
        key, text = keys.create(time.time_ns(), Terms(models=("minilm",)), calls=5)
        usage.reserve(key.account)
        found = made.back_up()  # while the store is open
    assert found.left_out == ("../outside.cedar",)
    made.restore()
    assert (made.new / "rules" / "own.cedar").read_text() == rule
    with closing(ApiKeys(made.new / "state")) as keys:
        assert keys.identified(text, time.time_ns()) == key
        assert [one.used for one in keys.all()] == [1]
        with pytest.raises(ApiKeyError):
            keys.identified(text[:-1] + ("0" if text[-1] != "0" else "1"), time.time_ns())


def test_what_evidence_and_reports_need_comes_back_and_opens_nothing(made: Made) -> None:
    approvers = {person: Signer.generate() for person in ("ann", "bob")}
    settings = made.folder / NAME
    lines = "".join(f'{person} = "{to_text(signer.public)}"\n' for person, signer in approvers.items())
    settings.write_text(settings.read_text() + f"\n[override.approvers]\n{lines}")
    now = time.time_ns()
    with closing(made.box.journal) as journal:
        overrides = Overrides(made.folder / "state/overrides", journal.id, made.box.settings.override.approvers)
        terms = Declaration(
            id=new_id(), box=journal.id, by="Ann", made=now, starts=now, ends=now + 10**15, commercial=False
        )
    asked = overrides.ask("night", "nobody else is here", 60, approvers["ann"], now)
    overrides.keep(overrides.approved(asked.stated.id, approvers["bob"], now))
    taken = declared(terms, approvers["ann"])
    Declarations(made.folder / "state", terms.box).take(taken)
    duties = Duties(made.folder / "duties")
    duties.keep(duties.made(now, kind="access", since=now, text="asked by letter"))
    (made.folder / "answers").mkdir()
    (made.folder / "answers" / "gdpr-impact-1.json").write_bytes(b"{}\n")
    (made.folder / "answers" / "a note.json").write_bytes(b"{}\n")

    assert made.back_up().left_out == ("answers/a note.json",)
    made.restore()
    for folder in ("duties", "state/declarations", "state/policies"):
        files = {path.name: path.read_bytes() for path in (made.folder / folder).iterdir()}
        assert files
        assert files == {path.name: path.read_bytes() for path in (made.new / folder).iterdir()}
    assert (made.new / "answers" / "gdpr-impact-1.json").read_bytes() == b"{}\n"
    state = Declarations(made.new / "state", terms.box)
    assert state.all() == {terms.id: taken.file}
    assert state.now() is None
    restored = Overrides(made.new / "state/overrides", terms.box, made.box.settings.override.approvers)
    assert restored.signed() == overrides.signed()
    assert overrides.standing("night", now + 1) is not None
    assert restored.standing("night", now + 1) is None


def test_dry_runs_leave_everything_as_it_was(made: Made) -> None:
    before = {path: path.stat().st_mtime_ns for path in made.folder.rglob("*") if path.is_file()}
    planned = made.back_up(dry_run=True)
    assert not made.out.exists()
    assert {path: path.stat().st_mtime_ns for path in made.folder.rglob("*") if path.is_file()} == before
    assert planned.members.keys() | {SALTS} == made.back_up().members.keys()
    there = sorted(made.out.parent.iterdir())
    assert made.restore(dry_run=True).records == 5
    assert sorted(made.out.parent.iterdir()) == there


def test_an_expired_backup_gives_its_salts_to_nobody(made: Made) -> None:
    made.back_up(0)
    assert made.refused() == "backup_expired"
    # who writes another date into it opens nothing
    altered(made.out, lambda contents, _: contents["salts"].update(expires=contents["made"] + 10**15))
    with pytest.raises(Unauthentic):
        made.restore()
    made.restore(salts=False)


def test_salts_are_for_the_auditors_in_force(made: Made) -> None:
    made.back_up()
    made.opener = Opener.generate()
    assert made.refused() == "backup_sealed"


Members = list[tuple[tarfile.TarInfo, bytes]]
Change = Callable[[dict[str, Any], Members], object]


def altered(path: Path, change: Change) -> None:
    """Write a backup anew with other contents; sizes and digests in the list are those of the members, if not given."""
    with tarfile.open(path) as tar:
        whole = [(info, (tar.extractfile(info) or io.BytesIO()).read()) for info in tar]
    contents, members = json.loads(whole[0][1]), whole[1:]
    change(contents, members)
    data = json.dumps(contents, separators=(",", ":")).encode()
    first = tarfile.TarInfo("backup.json")
    first.mode = 0o600
    made = b""
    for info, content in [(first, data), *members]:
        info.size = len(content) if info.isreg() else 0
        made += info.tobuf(tarfile.GNU_FORMAT) + content + bytes(-len(content) % 512)
    path.write_bytes(made + bytes(1024))


def added(name: str, data: bytes = b"x", kind: bytes = tarfile.REGTYPE, link: str = "") -> Change:
    def change(contents: dict[str, Any], members: Members) -> None:
        info = tarfile.TarInfo(name)
        info.mode, info.type, info.linkname = 0o600, kind, link
        members.append((info, data))
        contents["members"].append({"name": name, "size": len(data), "sha256": sha256(data).hexdigest()})

    return change


def renamed(old: str, new: str) -> Change:
    def change(contents: dict[str, Any], members: Members) -> None:
        for member in contents["members"]:
            member["name"] = member["name"].replace(old, new)
        for info, _ in members:
            info.name = info.name.replace(old, new)

    return change


def replaced(name: str, data: bytes) -> Change:
    def change(contents: dict[str, Any], members: Members) -> None:
        members[:] = [(info, data if info.name == name else content) for info, content in members]
        for member in contents["members"]:
            if member["name"] == name:
                member.update(size=len(data), sha256=sha256(data).hexdigest())

    return change


def owned(contents: dict[str, Any], members: Members) -> None:
    members[0][0].uid = 1000


def swapped(contents: dict[str, Any], members: Members) -> None:
    members[0], members[1] = members[1], members[0]


def doubled(contents: dict[str, Any], members: Members) -> None:
    members.append(members[0])
    contents["members"].append(contents["members"][0])


HOSTILE: dict[str, Change] = {
    "absolute": added("/tmp/evil"),  # noqa: S108 - is refused, never written
    "upwards": added("../evil"),
    "upwards inside": added("rules/../../evil"),
    "hidden": added(".ssh/authorized_keys"),
    "a private key": added("keys/bundle.key"),
    "a key of a day": added("keys/days/2026-11-23-00000000.key"),
    "another log": added("journal/shard-1000.log"),
    "a file nobody names": added("rules/unnamed.cedar"),
    "a link": added("rules/link.cedar", b"", tarfile.SYMTYPE, "/etc/passwd"),
    "a hard link": added("rules/link.cedar", b"", tarfile.LNKTYPE, "sealpress.toml"),
    "a folder": added("rules", b"", tarfile.DIRTYPE),
    "a device": added("rules/null", b"", tarfile.CHRTYPE),
    "a long name": added("rules/" + "x" * 200),
    "a control character": added("rules/\x1b[2J"),
    "a member twice": doubled,
    "another order": swapped,
    "another owner": owned,
    "a member too many": lambda _, members: members.append(members[0]),
    "a member too few": lambda _, members: members.pop(),
    "another digest": lambda contents, _: contents["members"][0].update(sha256="00" * 32),
    "another size": lambda contents, _: contents["members"][0].update(size=10**18),
    "a negative size": lambda contents, _: contents["members"][0].update(size=-1),
    "an unknown field": lambda contents, _: contents.update(more=1),
    "another journal": lambda contents, _: contents.update(journal="00" * 16),
    "no salts listed": lambda contents, _: contents.update(salts=None),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Made, bytes]:
    made = Made(tmp_path_factory.mktemp("whole"))
    with closing(ApiKeys(made.folder / "state")) as keys:
        keys.create(time.time_ns())
    made.back_up()
    return made, made.out.read_bytes()


@pytest.mark.parametrize("change", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_file_is_refused_and_nothing_is_left(whole: tuple[Made, bytes], change: Change) -> None:
    made, data = whole
    made.out.write_bytes(data)
    altered(made.out, change)
    assert made.refused(salts=False) == "backup_malformed"


def test_the_way_it_is_altered_here_is_no_reason_to_refuse(whole: tuple[Made, bytes]) -> None:
    made, data = whole
    made.out.write_bytes(data)
    altered(made.out, lambda *_: None)
    assert made.out.read_bytes() == data
    made.restore(dry_run=True)


def test_a_cut_and_a_flipped_bit_are_refused(whole: tuple[Made, bytes]) -> None:
    made, data = whole
    listed = 512 + tarfile.TarInfo.frombuf(data[:512], "utf-8", "strict").size  # what may say another time, or id
    for place in [*range(0, 512, 7), *range(listed, len(data), 499), len(data) - 1]:
        made.out.write_bytes(data[:place])
        assert made.refused(salts=False) == "backup_malformed", place
        # salts that are not asked for are checked all the same
        made.out.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        assert made.refused(salts=False) == "backup_malformed", place
    for more in (b"x", bytes(512)):
        made.out.write_bytes(data + more)
        assert made.refused(salts=False) == "backup_malformed"


def test_a_journal_that_does_not_hold_is_not_restored(whole: tuple[Made, bytes]) -> None:
    made, data = whole
    made.out.write_bytes(data)
    log = bytearray((made.folder / "journal" / "shard-000.log").read_bytes())
    with tarfile.open(made.out) as tar:
        log = log[: tar.getmember("journal/shard-000.log").size]
    log[200] ^= 1
    altered(made.out, replaced("journal/shard-000.log", bytes(log)))
    assert made.refused() == "journal_not_verified"


@pytest.mark.parametrize(
    ("statement", "code"),
    [
        ("PRAGMA user_version = 4", "state_format"),
        ("CREATE TRIGGER t AFTER UPDATE ON api_keys BEGIN DELETE FROM api_keys; END", "state_broken"),
        ("DROP TABLE usage", "state_broken"),
    ],
)
def test_another_store_of_api_keys_is_refused(
    whole: tuple[Made, bytes], tmp_path: Path, statement: str, code: str
) -> None:
    made, data = whole
    made.out.write_bytes(data)
    with tarfile.open(made.out) as tar:
        stored = tar.extractfile(API_KEYS)
        assert stored is not None
        write_synced(tmp_path / "keys", stored.read())
    with closing(sqlite3.connect(tmp_path / "keys", isolation_level=None)) as table:
        table.execute("PRAGMA journal_mode = DELETE")
        table.execute(statement)
    altered(made.out, replaced(API_KEYS, (tmp_path / "keys").read_bytes()))
    assert made.refused(salts=False) == code


def test_a_newer_format_is_refused(whole: tuple[Made, bytes]) -> None:
    made, data = whole
    made.out.write_bytes(data)
    altered(made.out, lambda contents, _: contents.update(format=2, new=True))
    with pytest.raises(BackupError) as refusal:
        made.restore()
    assert refusal.value.code == "backup_format"


def test_salts_behind_the_journal_are_refused(made: Made) -> None:
    """As an old copy of state/ would put into a backup."""
    state = made.salts.parent
    shutil.copytree(state, state.with_name("old"))
    with Disposition.open(made.salts) as disposition:
        erase(made.box.journal, disposition, "clinic", "patient-7", "asked")
    shutil.rmtree(state)
    state.with_name("old").rename(state)
    with pytest.raises(StateError) as refusal:
        made.back_up()
    assert refusal.value.code == "state_rolled_back"
    assert not made.out.exists()


def test_the_golden_backup_is_restored(tmp_path: Path) -> None:
    golden = CHECKOUT / "tests" / "vectors" / "backups"
    opener = Opener(read_key(golden / "format-1.auditor.key", "auditor-private"))
    restored = restore(golden / "format-1.tar", tmp_path / "box", opener, unseen)
    assert restored.salts
    allowed, closed, held = records(tmp_path / "box", opener)
    assert allowed.payload == Payload.checked("where is the ward?")
    assert isinstance(held.metadata, Noted)
    assert held.metadata.kind == "held"
    assert closed.of == allowed.record
    with Disposition.open(tmp_path / "box" / "state" / "salts.sqlite") as disposition:
        assert [hold.ground for hold in disposition.holds()] == ["court"]
        assert [act.kind for act in disposition.untold()] == ["restored"]
    # its API keys are of format 1
    with closing(ApiKeys(tmp_path / "box" / "state")) as keys:
        assert [one.key.terms() for one in keys.all()] == [Terms(defaults=Defaults(purpose="search"))]
