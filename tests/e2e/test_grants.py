"""Usage grants on a real box: enforced on every path before the run, across processes, kills and old files."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click import Command
from click.testing import CliRunner

from compliance.crypto import Opener, Signer
from compliance.journal.reader import read
from compliance.journal.records import Closed, Opened
from compliance.keys import from_text, read_key, to_text, write_key
from compliance.state.grants import meter as metering
from compliance.state.grants.meter import Used
from compliance.state.grants.revocation import revoked
from compliance.state.grants.store import NAME
from compliance.verify.journal import verify_journal
from policies.errors import Denied, Fault, Ungated
from policies.facts import Finding
from policies.payload import Payload
from tests.granted import ISSUER, KEY, grant, granted_box, took
from tests.serving import Running, serving
from toolkit.box import Box, Context
from toolkit.bundle import Bundle
from toolkit.commands.grant import grant as grant_command
from toolkit.commands.trust import trust as trust_command
from toolkit.model import Asked, Model, load

CALLS = 40
TEXTS = {"texts": ["where is the ward"]}


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    box = granted_box(tmp_path)
    with closing(box.journal), closing(box.meter):
        yield box


def model(box: Box) -> Model:
    return Model(Bundle.read(box.folder / "a.bundle", box.trusted()), box)


def refused_by(error: Exception) -> list[str]:
    assert isinstance(error, Denied)
    findings = [finding for finding in error.findings if isinstance(finding, Finding)]
    return [finding.rule for finding in findings if not finding.ok]


def ask(one: Model) -> list[str]:
    """Ask once: by which rules it was refused, none where there was an answer."""
    try:
        one.ask(TEXTS, Context(purpose="search"))
    except Denied as denied:
        return refused_by(denied)
    return []


def test_the_call_after_the_last_granted_one_is_refused_and_on_record(box: Box) -> None:
    here = model(box)
    assert ask(here) == ["grant.given"]
    signed = took(box, calls=2)
    assert [ask(here) for _ in range(4)] == [[], [], ["grant.left"], ["grant.left"]]
    used = box.meter.one(signed.terms.id).used
    assert used.calls == 2
    assert used.tokens >= 2 * 4
    box.journal.close()
    counted, id_ = box.journal.usage(), signed.terms.id
    assert {unit: counted[f"{id_}/{unit}"] for unit in ("calls", "tokens", "cpu_us", "imported")} == {
        "calls": 2, "tokens": used.tokens, "cpu_us": used.cpu_us, "imported": 1,
    }  # fmt: skip
    # the records alone, opened by the auditor, give the same numbers
    opener = Opener(read_key(box.folder.with_name("box-auditor") / "auditor.key", "auditor-private"))
    opened, outcomes = [], []
    for record in read(box.journal_folder, box.journal.id, opener, box.journal.salts):
        match record.metadata:
            case Opened(call=call) if call.metered is not None:
                opened.append((call.metered.state, call.metered.grant))
            case Closed(outcome=outcome):
                outcomes.append(outcome.usage)
    assert opened == [("none", None), *[("open", id_)] * 2, *[("spent", id_)] * 2]
    assert Used(**{unit: sum(one[unit] for one in outcomes) for unit in ("calls", "tokens", "cpu_us")}) == used
    verify_journal(box.journal_folder, from_text(box.settings.journal.root))


def test_a_call_that_is_refused_by_another_rule_or_cannot_run_is_given_back(box: Box) -> None:
    here, signed = model(box), took(box, calls=1)
    with pytest.raises(Denied):
        here.ask(TEXTS, Context())
    with pytest.raises(Fault):
        here.ask({"texts": []}, Context(purpose="search"))

    def gone(_: int) -> None:
        raise Ungated("grant_missing", "nobody waits")

    (given_up,) = here.answers([Asked(Payload.checked(TEXTS), Context(purpose="search"))], gone)
    assert isinstance(given_up, Ungated)
    kept = box.meter.one(signed.terms.id)
    assert (kept.used.calls, kept.held) == (0, 0)
    assert ask(here) == []


def test_a_call_that_took_too_long_gets_no_answer(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    here, now = model(box), metering._now()
    took(box, calls=1)

    def overtaken(_: int) -> None:
        monkeypatch.setattr(metering, "_now", lambda: now + 301 * 10**9)
        other = box.meter.hold(here.manifest, box.journal.now(), frozenset({KEY}))
        assert other is not None
        assert other.state == "open"

    (late,) = here.answers([Asked(Payload.checked(TEXTS), Context(purpose="search"))], overtaken)
    assert isinstance(late, Fault)
    assert late.code == "usage_grant_lease"


def test_without_the_pack_nothing_runs_either(box: Box) -> None:
    text = box.path.read_text("utf-8").replace('"grants", ', "")
    box.path.write_text(text, "utf-8")
    assert box.reload()
    with pytest.raises(Ungated) as unruled:
        model(box).ask(TEXTS, Context(purpose="search"))
    assert unruled.value.code == "usage_grant_unruled"


def test_an_issuer_or_a_signer_who_is_revoked_ends_what_runs_already(box: Box) -> None:
    here = model(box)
    took(box)
    assert ask(here) == []
    trust_of(box, "remove", KEY, "--revoke")
    box.reload()
    assert ask(here) == ["grant.issuer"]
    trust_of(box, "remove", here._calls.signer, "--revoke")
    box.reload()
    assert ask(here) == ["base.integrity", "grant.issuer"]


def test_embedded_too(box: Box) -> None:
    took(box, calls=1)
    box.journal.close()
    here = load(box.folder / "a.bundle", box.path)
    try:
        assert len(here.embed("where is the ward", purpose="search")) == 1
        with pytest.raises(Denied) as denied:
            here.embed("where is the ward", purpose="search")
        assert refused_by(denied.value) == ["grant.left"]
    finally:
        here._box.journal.close()
        here._box.meter.close()


def test_every_protocol_of_the_server_draws_on_the_same_grant(box: Box) -> None:
    tensor = {"name": "text", "shape": [1], "datatype": "BYTES", "data": ["where is the ward"]}
    paths: dict[str, dict[str, Any]] = {
        "/v1/embeddings": {"model": "golden", "input": "where is the ward"},
        "/v1/models/golden/predict": {"inputs": "where is the ward"},
        "/v2/models/golden/infer": {"inputs": [tensor]},
    }
    signed = took(box, calls=3)

    async def asked(server: Running) -> None:
        for path, body in paths.items():
            assert (await server.http.post(path, json=body, headers=server.headers)).status_code == 200
        for path, body in paths.items():
            refused = await server.http.post(path, json=body, headers=server.headers)
            assert (refused.status_code, refused.json()["code"]) == (403, "denied")
            against = [finding["rule"] for finding in refused.json()["findings"] if not finding["ok"]]
            assert against == ["grant.left"]

    serving(box, asked)
    assert box.meter.one(signed.terms.id).used.calls == 3


def drawing(settings: Path, dies_at: int | None, together: Any) -> int:
    """Ask until it is refused; how often there was an answer. A process that dies does so in the middle of a call."""
    box = Box(settings)
    answered = 0
    with closing(box.journal), closing(box.meter):
        here = model(box)
        together.wait(60)

        def dying(_: int) -> None:
            if answered == dies_at:
                os.kill(os.getpid(), signal.SIGKILL)

        while True:
            (one,) = here.answers([Asked(Payload.checked(TEXTS), Context(purpose="search"))], dying)
            if isinstance(one, Exception):
                assert refused_by(one) in (["grant.left"], ["grant.free"])
                return answered
            answered += 1
            time.sleep(0.0 if dies_at else 0.005)  # so that the others leave it the calls until it dies


def _drawing(settings: Path, dies_at: int | None, together: Any, told: Any) -> None:
    told.put(drawing(settings, dies_at, together))


def test_four_processes_race_one_is_killed_and_nothing_is_spent_twice(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    signed = took(box, calls=CALLS)
    box.journal.close()
    context = multiprocessing.get_context("spawn")
    told, together, dies_at = context.Queue(), context.Barrier(4), 3
    processes = [
        context.Process(target=_drawing, args=(box.path, None if number else dies_at, together, told))
        for number in range(4)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [-signal.SIGKILL, 0, 0, 0]
    answered = dies_at + sum(told.get(timeout=10) for _ in range(3))
    kept = box.meter.one(signed.terms.id)
    assert (kept.used.calls, kept.held) == (answered, 1) == (CALLS - 1, 1)
    assert ask(model(box)) == ["grant.free"]
    # no more than the call that was killed is held, and no longer than its lease
    now = metering._now()
    monkeypatch.setattr(metering, "_now", lambda: now + 301 * 10**9)
    assert [ask(model(box)) for _ in range(2)] == [[], ["grant.left"]]
    assert box.meter.one(signed.terms.id).used.calls == CALLS


def test_an_old_state_file_revives_nothing(box: Box, tmp_path: Path) -> None:
    signed = took(box, calls=2)
    box.meter.close()
    shutil.copy(box.folder / "state" / NAME, tmp_path / "old")
    here = model(box)
    assert [ask(here) for _ in range(3)] == [[], [], ["grant.left"]]
    box.journal.close()
    box.meter.close()
    shutil.copy(tmp_path / "old", box.folder / "state" / NAME)
    again = Box(box.path)
    with closing(again.journal), closing(again.meter):
        assert ask(model(again)) == ["grant.left"]
        assert again.meter.one(signed.terms.id).used.calls == 2


def test_the_commands_from_a_key_to_a_revocation(box: Box, tmp_path: Path) -> None:
    issuer = tmp_path / "issuer.key"
    command_of(box, "key", issuer)
    identity = command_of(box, "show")["box"]
    terms = (
        "--issuer",
        "Works",
        "--holder",
        "St. Mary",
        "--box",
        identity,
        "--model",
        "golden",
        "--ends",
        "2090-01-01",
    )
    made = ("issue", "--key", issuer, *terms, "--calls", "2", "--out", tmp_path / "a.grant")
    assert command_of(box, *made, "--dry-run")["out"] is None
    id_ = command_of(box, *made)["id"]
    assert failed_of(box, *made) == "usage_grant_exists"

    # on the box: not before the issuer is trusted
    assert failed_of(box, "import", tmp_path / "a.grant") == "usage_grant_issuer"
    trust_of(box, "add", f"{issuer}.pub", "--name", "Works", "--dry-run")
    assert failed_of(box, "import", tmp_path / "a.grant") == "usage_grant_issuer"
    trust_of(box, "add", f"{issuer}.pub", "--name", "Works")
    assert command_of(box, "import", tmp_path / "a.grant", "--dry-run")["imported"] is False
    assert command_of(box, "import", tmp_path / "a.grant")["imported"] is True
    assert failed_of(box, "import", tmp_path / "a.grant") == "usage_grant_replayed"
    assert failed_of(box, "import", tmp_path / "none.grant") == "usage_grant_malformed"
    (tmp_path / "b.grant").write_bytes(grant("ef" * 16).file)
    assert failed_of(box, "import", tmp_path / "b.grant") == "usage_grant_foreign"

    box.reload()
    assert ask(model(box)) == []
    (shown,) = command_of(box, "show")["grants"]
    assert (shown["id"], shown["state"], shown["used"]["calls"]) == (id_, "open", 1)
    assert command_of(box, "show", id_, "--odrl")["@type"] == "Agreement"
    assert command_of(box, "revoke", id_, "--dry-run")["revoked"] is False
    assert ask(model(box)) == []
    # in words, for a person
    said = CliRunner().invoke(grant_command, ["revoke", id_, "--settings", str(box.path)], catch_exceptions=False)
    assert "used 2 calls" in said.output
    assert command_of(box, "show", id_)["grants"][0]["state"] == "revoked"
    assert ask(model(box)) == ["grant.standing"]
    assert failed_of(box, "import", tmp_path / "a.grant") == "usage_grant_replayed"


def test_the_issuer_ends_a_grant_and_the_next_call_is_refused(box: Box, tmp_path: Path) -> None:
    write_key(tmp_path / "issuer.key", "grant-signing", ISSUER.private_bytes())
    write_key(tmp_path / "other.key", "grant-signing", Signer.generate().private_bytes())
    here, signed = model(box), took(box)
    file, ends = tmp_path / "a.grant", tmp_path / "a.revocation"
    file.write_bytes(signed.file)
    assert ask(here) == []
    assert failed_of(box, "revoke", file, "--key", tmp_path / "other.key", "--out", ends) == "usage_revocation_foreign"
    key = ("--key", tmp_path / "issuer.key", "--out", ends)
    assert command_of(box, "revoke", file, *key, "--dry-run")["out"] is None
    assert command_of(box, "revoke", file, *key)["grant"] == signed.terms.id
    assert failed_of(box, "revoke", file, *key) == "usage_grant_exists"
    # made, and not taken in: nothing has changed on the box
    assert ask(here) == []
    assert command_of(box, "import", ends, "--dry-run")["revoked"] is False
    assert ask(here) == []
    box.meter.close()
    state = box.meter._store.path
    before = (state, state.read_bytes())
    said = CliRunner().invoke(grant_command, ["import", str(ends), "--settings", str(box.path)], catch_exceptions=False)
    assert "Revoked by its issuer." in said.output
    assert ask(here) == ["grant.standing"]
    assert failed_of(box, "import", ends) == "usage_revocation_replayed"
    assert failed_of(box, "import", file) == "usage_grant_replayed"
    # an old copy of the state, from before, does not bring it back
    box.meter.close()
    for path in before[0].parent.glob(f"{NAME}*"):
        path.unlink()
    before[0].write_bytes(before[1])
    box.journal.close()
    again = Box(box.path)
    with closing(again.journal), closing(again.meter):
        assert ask(model(again)) == ["grant.standing"]
    verify_journal(box.journal_folder, from_text(box.settings.journal.root))


def test_a_revocation_that_does_not_end_a_grant_of_this_box_is_refused(box: Box, tmp_path: Path) -> None:
    signed, path = took(box), tmp_path / "x.revocation"
    for other, code in (
        (grant("ef" * 16, id=signed.terms.id), "usage_revocation_foreign"),
        (grant(box.journal.id), "usage_grant_unknown"),
    ):
        path.write_bytes(revoked(other, 0, ISSUER).file)
        assert failed_of(box, "import", path) == code
    stranger = Signer.generate()
    theirs = grant(box.journal.id, by=stranger, id=signed.terms.id)
    path.write_bytes(revoked(theirs, 0, stranger).file)
    assert failed_of(box, "import", path) == "usage_revocation_foreign"
    path.write_text('{"revocation": "AAAA"}')
    assert failed_of(box, "import", path) == "usage_revocation_malformed"
    assert ask(model(box)) == []


def test_the_commands_of_trust(box: Box, tmp_path: Path) -> None:
    other = Signer.generate()
    write_key(tmp_path / "other.pub", "bundle-verifying", other.public)
    before = box.path.read_text("utf-8")
    key = trust_of(box, "add", tmp_path / "other.pub", "--dry-run")["signer"]
    assert (key, box.path.read_text("utf-8")) == (to_text(other.public), before)
    trust_of(box, "add", tmp_path / "other.pub")
    plain = box.path.read_text("utf-8")
    assert f'    "{key}",\n' in plain
    # the scopes and the day can be changed, and nothing else of the settings does
    scoped = ("add", tmp_path / "other.pub", "--scope", "models", "--name", 'The "other" \x7f one', "--expires")
    trust_of(box, *scoped, "2020-01-01")
    told = trust_of(box, "show", key)
    assert (told["name"], told["scopes"], told["against"]) == ('The "other" \x7f one', ["models"], "expired")
    assert key not in {one["signer"] for one in trust_of(box, "list")["signers"] if not one["against"]}
    trust_of(box, "add", tmp_path / "other.pub")
    assert box.path.read_text("utf-8") == plain

    digits = told["fingerprint"][:8]
    trust_of(box, "remove", digits, "--revoke", "--dry-run")
    assert box.path.read_text("utf-8") == plain
    trust_of(box, "remove", digits, "--revoke")
    assert trust_of(box, "show", digits)["against"] == "revoked"
    assert failed_of(box, "add", tmp_path / "other.pub", command=trust_command) == "settings_signer"
    trust_of(box, "remove", digits)
    assert box.path.read_text("utf-8") == before
    assert failed_of(box, "remove", digits, command=trust_command) == "settings_signer"
    assert failed_of(box, "show", "00", command=trust_command) == "settings_signer"


def test_a_key_of_an_issuer_is_trusted_with_nothing_else(box: Box, tmp_path: Path) -> None:
    write_key(tmp_path / "issuer.pub", "grant-verifying", ISSUER.public)
    for scope in ("models", "policies"):
        arguments = ["add", str(tmp_path / "issuer.pub"), "--scope", scope, "--settings", str(box.path)]
        assert CliRunner().invoke(trust_command, arguments).exit_code == 2


def command_of(box: Box, *arguments: object, command: Command = grant_command) -> Any:
    """What a command prints with --json. The box lets its journal go, as between processes."""
    box.journal.close()
    given = [*map(str, arguments), "--settings", str(box.path), "--json"]
    done = CliRunner().invoke(command, given, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def trust_of(box: Box, *arguments: object) -> Any:
    """The same for `sealpress trust`."""
    return command_of(box, *arguments, command=trust_command)


def failed_of(box: Box, *arguments: object, command: Command = grant_command) -> str:
    """The code of the fault that a command ends with."""
    box.journal.close()
    with pytest.raises(Fault) as fault:
        CliRunner().invoke(command, [*map(str, arguments), "--settings", str(box.path)], catch_exceptions=False)
    return fault.value.code
