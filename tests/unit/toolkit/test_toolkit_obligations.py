"""On a real box: what was masked or has a pseudonym is all that the model, the journal and its readers ever see."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click import Command
from click.testing import CliRunner

from compliance.crypto import Opener, Unauthentic
from compliance.journal.erasure import erase
from compliance.journal.reader import Record, read
from compliance.journal.records import Opened
from compliance.keys import from_text, read_key
from compliance.state.disposition import Disposition
from compliance.state.pseudonyms import Pseudonyms
from compliance.verify.journal import verify_journal
from policies.errors import Denied
from policies.facts import Manifest, Obligation, Sanitised
from policies.gate import close, decide_and_open, redeem
from policies.payload import Payload
from policies.privacy import categories
from policies.privacy.redaction import MASK
from tests.e2e.served import holds
from toolkit.box import Box, Context
from toolkit.commands.journal.read import read as read_command
from toolkit.commands.policy.replay import explain, simulate
from toolkit.new_box import create_box
from toolkit.settings import NAME

CANARY = "jane.canary@example.org"
TEXT = f"Write to {CANARY} about the ward, or call +49 30 1234567."
MODEL = Manifest(format=1, name="m", version="1", digest="ab" * 32, task="embed", licence="MIT", inputs=(), outputs=())
PARAMETERS = """
[policy.parameters.base]
redact = ["search"]

[policy.parameters.gdpr]
pseudonymise = ["assistance"]
"""


class Place:
    """A box on which calls are made as a model makes them, and what is on record of them."""

    def __init__(self, folder: Path, parameters: str = PARAMETERS) -> None:
        self.folder = folder
        self.key = create_box(folder).auditor
        self.fill(parameters)
        self.box = Box.open(folder / NAME)

    def fill(self, parameters: str) -> Path:
        settings = self.folder / NAME
        before = settings.read_text("utf-8").partition("\n[policy.parameters")[0]
        settings.write_text(before + parameters, "utf-8")
        return settings

    def ask(self, text: object, **context: Any) -> Payload:
        """What the runtime would run on."""
        box, asked = self.box, Context(**context)
        call = box.call("infer", MODEL.digest, asked, "ed25519:x")
        pseudonymise = box.pseudonymise(asked)
        payload = Payload.checked({"texts": [text]})
        grant = decide_and_open(box.policy, MODEL, call, payload, box.journal, (), pseudonymise)
        payload = redeem(grant, MODEL.digest, box.policy.digest)
        assert len(close(grant)) == 2
        return payload

    def records(self) -> list[Record]:
        opener = Opener(read_key(self.key, "auditor-private"))
        return list(read(self.box.journal_folder, self.box.journal.id, opener, self.box.journal.salts))

    def calls(self) -> list[tuple[Opened, Any]]:
        return [
            (one.metadata, None if one.payload is None else one.payload.value)
            for one in self.records()
            if isinstance(one.metadata, Opened)
        ]

    def told(self, command: Command, *arguments: object) -> Any:
        options = ["--auditor-key", str(self.key), "--settings", str(self.folder / NAME)]
        done = CliRunner().invoke(command, [*map(str, arguments), *options], standalone_mode=False)
        if done.exception is not None:
            raise done.exception
        return json.loads(done.output) if "--json" in arguments else done.output


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path / "box")
    with closing(made.box.journal):
        yield made


def test_what_was_masked_is_nowhere(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    ran = place.ask(TEXT, purpose="search", subject="patient-7")
    assert ran.value == {"texts": [f"Write to {MASK} about the ward, or call {MASK}."]}
    ((opened, payload),) = place.calls()
    assert payload == ran.value
    assert opened.allowed
    assert opened.call.data == frozenset()
    assert opened.call.sanitised == Sanitised(kind="redact", data=frozenset({"email", "phone"}))
    assert opened.obligations[0] == Obligation(kind="redact", text="email, phone")
    place.box.journal.checkpoint()
    everything = msgspec.json.encode(place.records()).decode() + caplog.text
    assert CANARY not in everything
    assert "1234567" not in everything
    assert holds(place.folder, CANARY) == []
    verify_journal(place.box.journal_folder, from_text(place.box.settings.journal.root))


def test_a_refusal_tells_what_stood_in_the_way_and_no_payload(place: Place) -> None:
    with pytest.raises(Denied):
        place.ask(TEXT, purpose="search", data=frozenset({"health"}))
    with pytest.raises(Denied):
        place.ask(TEXT, purpose="classification")
    assert [(one.allowed, sorted(f.rule for f in one.against), payload) for one, payload in place.calls()] == [
        (False, ["gdpr.special", "privacy.redact"], None),
        (False, ["privacy.basis"], None),
    ]
    assert CANARY not in msgspec.json.encode(place.records()).decode()


def test_pseudonyms_come_back_until_the_person_is_erased(place: Place) -> None:
    about: dict[str, Any] = {"purpose": "assistance", "basis": "contract", "subject": "patient-7"}
    ran, again = place.ask(TEXT, **about), place.ask(TEXT, **about)
    assert ran == again  # so that texts can be joined
    (text,) = ran.value["texts"]  # type: ignore[index] # as it was put in
    assert CANARY not in text
    assert categories([text]) == frozenset()
    other = place.ask(TEXT, **{**about, "subject": "patient-8"})
    assert other != ran
    opened, payload = place.calls()[0]
    assert payload == ran.value
    assert opened.call.data == {"email", "phone"}
    assert [one.kind for one in opened.obligations] == ["pseudonymise", "attribution"]
    assert CANARY not in msgspec.json.encode(place.records()).decode()

    someone = Pseudonyms(place.box.journal.salts, "local", "patient-7")
    assert someone.restored(text) == TEXT
    with Disposition.open(place.box.salts_path) as disposition:
        erase(place.box.journal, disposition, "local", "patient-7", "asked on 3 March")
    with pytest.raises(Unauthentic):
        someone.restored(text)


def test_pseudonyms_need_a_person(place: Place) -> None:
    with pytest.raises(Denied):
        place.ask(TEXT, purpose="assistance", basis="contract")
    ((opened, _),) = place.calls()
    assert [one.rule for one in opened.against] == ["gdpr.pseudonymise"]


def test_the_journal_reads_as_what_was_done(place: Place) -> None:
    place.ask(TEXT, purpose="search")
    (line, _) = place.told(read_command).splitlines()
    assert line.endswith("for search: redact (email, phone), allowed")
    record = place.told(read_command, "--json")["records"][0]
    assert record["metadata"]["obligations"][0] == {"kind": "redact", "text": "email, phone"}
    assert MASK in record["payload"]["value"]["texts"][0]


def test_a_call_is_explained_as_it_was_decided(place: Place) -> None:
    place.ask(TEXT, purpose="search")
    with pytest.raises(Denied):
        place.ask(TEXT, purpose="search", data=frozenset({"location"}))
    place.box.journal.checkpoint()
    place.box.journal.close()
    found = place.told(explain, "shard-000/1", "--json")
    assert (found["allowed"], found["same"], found["ways"]) == (True, True, [])
    assert [one["kind"] for one in found["obligations"]] == ["redact", "attribution"]
    assert "redact: email, phone" in place.told(explain, "shard-000/1")
    refused = place.told(explain, "shard-000/3", "--json")
    assert (refused["allowed"], refused["same"]) == (False, True)
    assert [one["rule"] for one in refused["findings"] if not one["ok"]] == ["privacy.redact"]
    # the ways out are those of the call as it came
    assert ["the input holds none of: email, location, phone"] in [
        [change["says"] for change in way] for way in refused["ways"]
    ]


def test_another_policy_is_tried_on_the_call_as_it_came(place: Place) -> None:
    place.ask(TEXT, purpose="search")
    place.ask("where is the ward?", purpose="search")
    with pytest.raises(Denied):
        place.ask(TEXT, purpose="product")
    place.box.journal.close()

    def changed(parameters: str) -> list[tuple[str, str]]:
        found = place.told(simulate, place.fill(parameters), "--json")
        assert found["calls"] == 3
        return [(one["was"], one["becomes"]) for one in found["changed"]]

    assert changed(PARAMETERS) == []
    assert changed("") == [("allowed once redacted", "refused")]
    assert changed(PARAMETERS.replace('["search"]', '["search", "product"]')) == [
        ("refused", "refused unless redacted")
    ]
    # as pseudonyms it would need a basis, which this call did not name
    assert changed('\n[policy.parameters.gdpr]\npseudonymise = ["search"]\n') == [("allowed once redacted", "refused")]


def test_a_record_of_before_there_were_obligations_is_read(place: Place) -> None:
    place.ask("where is the ward?", purpose="search")
    ((opened, _),) = place.calls()
    old = msgspec.to_builtins(opened)
    del old["obligations"], old["call"]["sanitised"]
    assert msgspec.convert(old, Opened) == msgspec.structs.replace(opened, obligations=())
