"""sealpress journal read, query, request, release and subject export on a real box, and on a copy away from it."""

from __future__ import annotations

import json
import shutil
import time
from base64 import b64decode
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click import Command
from click.testing import CliRunner

from compliance.crypto import Opener, unseal
from compliance.journal.erasure import erase
from compliance.journal.errors import JournalError, NotReadable
from compliance.journal.reader import read
from compliance.journal.records import Noted
from compliance.keys import KeyFault, fingerprint, from_text, read_key, write_key
from compliance.state.consents import Consent, Terms
from compliance.state.disposition import Disposition
from compliance.state.salts import Salts
from compliance.verify.errors import NotVerified
from compliance.verify.leaf import COMMITTED, HEADER
from compliance.verify.receipt import verify_receipt
from policies.payload import InputError, Payload
from tests.journals import DONE, MODEL, NO, YES
from toolkit.box import Box, Context
from toolkit.commands.journal.read import query
from toolkit.commands.journal.read import read as read_command
from toolkit.commands.journal.release import release, request
from toolkit.commands.subject.export import export
from toolkit.new_box import create_box
from toolkit.settings import NAME

CANARY = "the-patient-in-bed-four"
ESCAPE = "\x1b[2J"


@dataclass(frozen=True)
class Place:
    """A box, beside it the auditor's key, and what is written there."""

    folder: Path
    key: Path

    def box(self) -> Box:
        return Box.open(self.folder / NAME)

    @property
    def root(self) -> str:
        return self.box().settings.journal.root

    def invoke(self, command: Command, *arguments: object, settings: bool = True) -> str:
        """What a command prints; what it raises, it raises here."""
        options = ["--settings", str(self.folder / NAME)] if settings else []
        done = CliRunner().invoke(command, [*map(str, arguments), *options], standalone_mode=False)
        if done.exception is not None:
            raise done.exception
        return done.output

    def read(self, *arguments: object) -> Any:
        return json.loads(self.invoke(read_command, "--auditor-key", self.key, "--json", *arguments))

    def names(self, *arguments: object) -> list[int]:
        return [int(record["record"].partition("/")[2]) for record in self.read(*arguments)["records"]]

    def query(self, *arguments: object) -> Any:
        return json.loads(self.invoke(query, "--auditor-key", self.key, "--json", *arguments))

    def told(self) -> list[tuple[str, dict[str, Any]]]:
        """What the journal tells that did not come from a call."""
        box = self.box()
        opener = Opener(read_key(self.key, "auditor-private"))
        with closing(Salts(box.salts_path)) as salts:
            found = list(read(box.journal_folder, box.journal.id, opener, salts))
        return [(r.metadata.kind, r.metadata.data) for r in found if isinstance(r.metadata, Noted) and r.of is None]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Records 1 to 5: a call about patient-1 that ended, one about patient-2 that was refused, one about nobody."""
    folder = tmp_path_factory.mktemp("made") / "box"
    keys = create_box(folder)
    box = Box.open(folder / NAME)
    with closing(box.journal) as journal:
        asked = box.call("infer", MODEL.digest, Context(subject="patient-1", purpose="search"))
        entry = journal.opened(asked, MODEL, YES, Payload(value=CANARY))
        journal.closed(entry, DONE)
        journal.opened(box.call("infer", MODEL.digest, Context(subject="patient-2")), MODEL, NO, Payload(value=None))
        last = journal.opened(
            box.call("scan", MODEL.digest, Context(purpose=f"{ESCAPE}assistance")), MODEL, YES, Payload(value="two")
        )
        journal.noted(last, "chunk", {})
    return Place(folder, keys.auditor)


@pytest.fixture
def place(made: Place, tmp_path: Path) -> Place:
    """The same as a box of one's own."""
    shutil.copytree(made.folder, tmp_path / "box")
    return Place(tmp_path / "box", made.key)


@pytest.fixture
def copy(place: Place, tmp_path: Path) -> tuple[object, ...]:
    """The options of a command that works on a copy of the journal and has nothing else of the box."""
    shutil.copytree(place.folder / "journal", tmp_path / "copy")
    return ("--auditor-key", place.key, "--journal", tmp_path / "copy", "--key", fingerprint(from_text(place.root)))


def test_every_record_is_shown_in_a_line(place: Place) -> None:
    lines = place.invoke(read_command, "--auditor-key", place.key).splitlines()
    assert [line.partition("  ")[0] for line in lines] == [f"shard-000/{number}" for number in range(1, 6)]
    for line, end in zip(lines, ("for search: allowed", "done", "refused by base.purpose"), strict=False):
        assert line.endswith(end)
    assert lines[4].endswith("noted: chunk")
    assert not any(ESCAPE in line or CANARY in line for line in lines)


def test_with_json_it_is_one_value_with_all_that_is_in_the_records(place: Place) -> None:
    value = place.read()
    assert [record["record"] for record in value["records"]] == [f"shard-000/{number}" for number in range(1, 6)]
    assert value["records"][0]["payload"]["value"] == CANARY
    assert value["unread"] == {}
    assert place.read("--from", "2099-01-01") == {"records": [], "unread": {}}


def test_each_read_is_on_record_with_what_was_asked_and_how_much_was_opened(place: Place) -> None:
    place.read()
    place.read("--subject", "patient-1", "--decision", "allowed", "--limit", "1")
    place.query("--by", "day", "--by", "rule", "--model", "minilm")
    auditor = Opener(read_key(place.key, "auditor-private")).fingerprint.hex()
    assert place.told() == [
        ("read", {"auditor": auditor, "filters": {}, "opened": 5}),
        ("read", {"auditor": auditor, "filters": {"decision": "allowed", "subject": True}, "opened": 1}),
        ("read", {"auditor": auditor, "filters": {"model": "minilm"}, "by": ["day", "rule"], "opened": 5}),
    ]


def test_what_cannot_be_put_on_record_is_not_read(place: Place) -> None:
    for key in (place.folder / "keys" / "days").iterdir():
        key.unlink()
    for command in (read_command, query):
        done = CliRunner().invoke(
            command, ["--auditor-key", str(place.key), "--settings", str(place.folder / NAME)], standalone_mode=False
        )
        assert isinstance(done.exception, KeyFault)
        assert done.output == ""


def test_a_leaf_that_fails_shows_nothing(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise JournalError("journal_write", "the disk is full")

    monkeypatch.setattr("compliance.journal.writer.Journal.record", full)
    out = place.folder / "patient-1.json"
    for command, more in ((read_command, ()), (query, ()), (export, ("patient-1", "--out", str(out)))):
        done = CliRunner().invoke(
            command,
            ["--auditor-key", str(place.key), "--settings", str(place.folder / NAME), *more],
            standalone_mode=False,
        )
        assert isinstance(done.exception, JournalError)
        assert done.output == ""
    assert not out.exists()
    assert list(place.folder.glob(".*")) == []


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (("--model", "minilm"), [1, 2, 3, 4, 5]),
        (("--model", MODEL.digest[:12]), [1, 2, 3, 4, 5]),
        (("--model", "other"), []),
        (("--rule", "base.purpose"), [3]),
        (("--rule", "base.licence"), []),
        (("--decision", "allowed"), [1, 2, 4, 5]),
        (("--decision", "refused"), [3]),
        (("--purpose", "search"), [1, 2]),
        (("--action", "scan"), [4, 5]),
        (("--subject", "patient-1"), [1, 2]),
        (("--subject", "patient-2"), [3]),
        (("--subject", "nobody"), []),
        (("--record", "shard-000/2", "--record", "shard-000/5"), [2, 5]),
        (("--record", "shard-000/77"), []),
        (("--subject", "patient-1", "--purpose", "assistance"), []),
        (("--limit", "2"), [1, 2]),
    ],
)
def test_filters_choose_calls_with_what_belongs_to_them(
    place: Place, filters: tuple[str, ...], expected: list[int]
) -> None:
    assert place.names(*filters) == expected


def test_times_are_in_utc_and_a_last_day_is_meant_as_a_whole(place: Place) -> None:
    now = datetime.now(UTC)
    today, tomorrow = now.date(), now.date() + timedelta(1)
    assert place.names("--from", today - timedelta(1), "--to", tomorrow)[:5] == [1, 2, 3, 4, 5]
    assert place.names("--to", today - timedelta(2)) == []
    assert place.names("--from", now + timedelta(hours=1)) == []
    assert place.names("--to", f"{now:%Y-%m-%dT%H:%M:%S}+14:00") == []


@pytest.mark.parametrize("given", ["yesterday", "2026-13-01", "", "9999-12-31"])
def test_what_is_no_time_is_refused(place: Place, given: str) -> None:
    done = CliRunner().invoke(
        read_command, ["--auditor-key", str(place.key), "--settings", str(place.folder / NAME), f"--to={given}"]
    )
    assert done.exit_code == 2
    assert "is no date and no time" in done.output


def test_calls_are_counted(place: Place) -> None:
    assert place.query()["groups"] == [{"decision": "allowed", "calls": 2}, {"decision": "refused", "calls": 1}]
    assert place.query("--by", "action", "--by", "rule", "--by", "purpose")["groups"] == [
        {"action": "infer", "rule": "", "purpose": "search", "calls": 1},
        {"action": "infer", "rule": "base.purpose", "purpose": "", "calls": 1},
        {"action": "scan", "rule": "", "purpose": f"{ESCAPE}assistance", "calls": 1},
    ]
    (day,) = place.query("--by", "day", "--decision", "refused")["groups"]
    assert day["calls"] == 1
    assert abs(time.time() - datetime.fromisoformat(day["day"]).timestamp()) < 200_000
    table = place.invoke(query, "--auditor-key", place.key, "--by", "purpose").splitlines()
    assert [line.split() for line in table] == [
        ["purpose", "calls"],
        ["1"],
        ["\ufffd[2Jassistance", "1"],
        ["search", "1"],
    ]


def test_what_could_not_be_looked_at_is_counted(place: Place) -> None:
    box = place.box()
    with closing(box.journal), Disposition.open(box.salts_path) as disposition:
        erase(box.journal, disposition, "local", "patient-1", "asked for")
    value = place.read()
    assert [(record["kind"], record["unread"]) for record in value["records"][:2]] == [
        ("allowed", "erased"),
        ("closed", "erased"),
    ]
    assert value["unread"] == place.query("--decision", "refused")["unread"] == {"erased": 2}
    assert "2 records were not looked at: erased." in place.invoke(
        read_command, "--auditor-key", place.key, "--rule", "base.purpose"
    )


def test_the_key_of_another_auditor_leaves_no_trace_and_reads_nothing(place: Place, tmp_path: Path) -> None:
    other = tmp_path / "other.key"
    write_key(other, "auditor-private", Opener.generate().private_bytes())
    with pytest.raises(NotReadable) as refusal:
        place.invoke(read_command, "--auditor-key", other)
    assert refusal.value.code == "epoch_sealed"
    assert place.told() == []


def test_a_journal_that_does_not_hold_is_not_read(place: Place) -> None:
    log = place.folder / "journal" / "shard-000.log"
    content = bytearray(log.read_bytes())
    content[len(content) // 2] ^= 1
    log.write_bytes(content)
    with pytest.raises((NotVerified, JournalError)):
        place.read()


def test_the_key_may_come_from_the_environment(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUDITOR", place.key.read_text())
    assert len(json.loads(place.invoke(read_command, "--auditor-key", "env:AUDITOR", "--json"))["records"]) == 5


def test_what_an_auditor_asked_for_is_read_away_from_the_box(
    place: Place, copy: tuple[object, ...], tmp_path: Path
) -> None:
    asked, answer = tmp_path / "request.json", tmp_path / "release.json"
    done = json.loads(
        place.invoke(request, "shard-000/1", "shard-000/2", *copy, "--out", asked, "--json", settings=False)
    )
    assert (done["records"], done["journal"]) == (2, place.box().journal.id)

    shown = json.loads(place.invoke(release, asked, "--dry-run", "--json"))
    assert shown["records"] == [
        {"record": "shard-000/1", "kind": "allowed", "erased": False},
        {"record": "shard-000/2", "kind": "closed", "erased": False},
    ]
    assert place.told() == []

    assert "shard-000/1, allowed" in place.invoke(release, asked, "--out", answer)
    assert [kind for kind, _ in place.told()] == ["released", "released"]
    away = place.invoke(read_command, *copy, "--releases", answer, "--json", settings=False)
    value = json.loads(away)
    assert [record["record"] for record in value["records"]] == ["shard-000/1", "shard-000/2"]
    assert value["records"][0]["payload"]["value"] == CANARY
    assert value["unread"] == {"not_released": 3}
    assert "3 records were not looked at" in place.invoke(read_command, *copy, "--releases", answer, settings=False)
    counted = json.loads(place.invoke(query, *copy, "--releases", answer, "--json", settings=False))
    assert counted["groups"] == [{"decision": "allowed", "calls": 1}]
    assert [kind for kind, _ in place.told()] == ["released", "released"]


def test_where_the_auditor_is_at_the_box_records_are_released_by_name(
    place: Place, copy: tuple[object, ...], tmp_path: Path
) -> None:
    for number in (1, 4):
        out = tmp_path / f"{number}.json"
        place.invoke(release, f"shard-000/{number}", "--auditor-key", place.key, "--out", out)
    both = ("--releases", tmp_path / "1.json", "--releases", tmp_path / "4.json")
    value = json.loads(place.invoke(read_command, *copy, *both, "--json", settings=False))
    assert [record["record"] for record in value["records"]] == ["shard-000/1", "shard-000/4"]


def test_what_was_erased_is_shown_as_such_and_not_released(
    place: Place, copy: tuple[object, ...], tmp_path: Path
) -> None:
    asked = tmp_path / "request.json"
    place.invoke(request, "shard-000/1", *copy, "--out", asked, settings=False)
    box = place.box()
    with closing(box.journal), Disposition.open(box.salts_path) as disposition:
        erase(box.journal, disposition, "local", "patient-1", "asked for")
    assert json.loads(place.invoke(release, asked, "--dry-run", "--json"))["records"][0]["erased"] is True
    with pytest.raises(NotReadable) as refusal:
        place.invoke(release, asked, "--out", tmp_path / "release.json")
    assert refusal.value.code == "record_erased"
    assert not (tmp_path / "release.json").exists()


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        (read_command, ("--releases", "here", "--auditor-key", "k")),
        (read_command, ("--key", "k", "--auditor-key", "k")),
        (release, ("shard-000/1", "shard-000/2", "--out", "new")),
        (release, ("nowhere.json", "--out", "new")),
        (release, ("here",)),
        (release, ("here", "--out", "here")),
        (request, ("shard-000/1", "--auditor-key", "k", "--out", "here")),
        (export, ("patient-1", "--auditor-key", "k", "--out", "nowhere/new")),
    ],
)
def test_what_does_not_go_together_is_said_before_anything_is_done(
    place: Place, monkeypatch: pytest.MonkeyPatch, command: Command, arguments: tuple[str, ...]
) -> None:
    monkeypatch.chdir(place.folder)
    (place.folder / "here").write_text("mine")
    assert CliRunner().invoke(command, [*arguments, "--settings", NAME]).exit_code == 2
    assert (place.folder / "here").read_text() == "mine"
    assert not (place.folder / "new").exists()


def test_a_copy_does_not_know_whose_records_they_are(place: Place, copy: tuple[object, ...]) -> None:
    done = CliRunner().invoke(read_command, [*map(str, copy), "--subject", "patient-1"])
    assert (done.exit_code, "only the box knows" in done.output) == (2, True)


def test_a_person_gets_their_records_in_clear_with_proofs_that_a_stranger_can_check(
    place: Place, tmp_path: Path
) -> None:
    out = tmp_path / "patient-1.json"
    done = json.loads(place.invoke(export, "patient-1", "--auditor-key", place.key, "--out", out, "--json"))
    assert done == {"export": str(out), "records": 2, "consents": 0, "unproved": 0, "other_auditor": 0}
    assert out.stat().st_mode & 0o077 == 0
    value = json.loads(out.read_bytes())
    assert (value["format"], value["journal"]) == (1, place.box().journal.id)
    assert [record["record"] for record in value["records"]] == ["shard-000/1", "shard-000/2"]
    assert value["records"][0]["payload"]["value"] == CANARY
    assert "patient-1" not in out.read_text()

    heads = (place.folder / "journal" / "shard-000.heads").read_text()
    for record in value["records"]:
        head = record["proof"]["statement"]
        assert head in heads
        proved = verify_receipt(json.dumps(record["proof"]).encode(), from_text(place.root), head)
        body = proved.records[0].body
        assert body is not None
        plain = unseal(b64decode(record["key"]), body[HEADER:], bytes.fromhex(value["journal"]) + body[:COMMITTED])
        length = int.from_bytes(plain[32:36], "big")
        assert json.loads(plain[36 : 36 + length]) == record["metadata"]


def test_an_export_is_on_record_without_the_name_of_the_person(place: Place, tmp_path: Path) -> None:
    place.invoke(export, "patient-2", "--auditor-key", place.key, "--out", tmp_path / "2.json")
    told = place.invoke(export, "x", "--auditor-key", place.key, "--out", tmp_path / "x.json")
    assert "Wrote 0 records and 0 consents" in told
    auditor = Opener(read_key(place.key, "auditor-private")).fingerprint.hex()
    assert place.told() == [
        ("exported", {"auditor": auditor, "records": 1, "consents": 0}),
        ("exported", {"auditor": auditor, "records": 0, "consents": 0}),
    ]


def test_a_person_gets_their_consents_and_nobody_elses(place: Place, tmp_path: Path) -> None:
    box = place.box()
    given = [
        Consent.to(Terms(purpose="search", at=10, expires=99, explicit=True, wording="ab" * 32)),
        Consent.to(Terms(purpose="assistance", at=11, guardian=True)),
    ]
    with closing(box.journal) as journal:
        for one in given:
            box.consents.record(journal.salts, box.settings.box.tenant, "patient-1", one)
        box.consents.record(
            journal.salts, box.settings.box.tenant, "patient-2", Consent.to(Terms(purpose="search", at=12))
        )
        box.consents.withdraw(journal.salts, box.settings.box.tenant, "patient-1", "search", None, 13)
    out = tmp_path / "patient-1.json"
    done = json.loads(place.invoke(export, "patient-1", "--auditor-key", place.key, "--out", out, "--json"))
    assert (done["records"], done["consents"]) == (2, 2)
    first, second = given
    assert json.loads(out.read_bytes())["consents"] == [
        {
            **{"receipt": first.receipt, "purpose": "search", "at": 10, "expires": 99, "withdrawn": 13},
            **{"explicit": True, "guardian": False, "wording": "ab" * 32},
        },
        {
            **{"receipt": second.receipt, "purpose": "assistance", "at": 11, "expires": None, "withdrawn": None},
            **{"explicit": False, "guardian": True, "wording": None},
        },
    ]


def test_an_export_has_the_limits_of_a_call_and_the_tenant_that_is_named(place: Place, tmp_path: Path) -> None:
    with pytest.raises(InputError):
        place.invoke(export, "x" * 257, "--auditor-key", place.key, "--out", tmp_path / "x.json")
    text = place.invoke(
        export, "patient-1", "--tenant", "other", "--auditor-key", place.key, "--out", tmp_path / "o.json"
    )
    assert "Wrote 0 records" in text
