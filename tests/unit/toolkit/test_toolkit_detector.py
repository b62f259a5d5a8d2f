"""A detector in a box: the golden finder of entities looks at what the golden encoder is asked."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from msgspec import structs

from compliance.keys import to_text
from policies.errors import Denied, Fault, Ungated
from policies.facts import CATEGORY, Finding
from policies.gate import decide_and_open
from policies.payload import Payload
from policies.privacy import redact
from tests.vectors.make_bundles import HERE, LABELS, SIGNER
from toolkit import detector as detectors
from toolkit.box import Box, Context
from toolkit.bundle import Bundle
from toolkit.commands.journal.read import read
from toolkit.commands.show import described
from toolkit.detector import ModelDetector
from toolkit.model import Model
from toolkit.new_box import create_box
from toolkit.runtime.entities import Entity
from toolkit.settings import NAME, PrivacySettings

TRUSTED = (to_text(SIGNER.public),)
TEXT = "Anna Schmidt is in Berlin"
NER, ENCODER = HERE / "golden-entities-v1", HERE / "golden-v1"
FORBID = '@id("own.scan") @reason("Nothing is scanned.") forbid (principal, action == Action::"scan", resource);'


class Place:
    """A box that trusts the signer of the golden bundles, and the key of its auditor."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "box"
        self.key = create_box(self.folder).auditor
        shutil.copytree(NER, self.folder / "ner.bundle")
        self.settings = self.folder / NAME
        text = self.settings.read_text("utf-8")
        self.settings.write_text(text.replace("signers = [", f'signers = [\n    "{TRUSTED[0]}",'), "utf-8")
        self.journals: list[Box] = []

    def model(self, added: str = '[privacy]\ndetector = "ner.bundle"\n', bundle: Path = ENCODER) -> Model:
        with self.settings.open("a", encoding="utf-8") as file:
            file.write(added)
        return Model(Bundle.read(bundle, TRUSTED), self.box())

    def box(self) -> Box:
        self.journals.append(Box.open(self.settings))
        return self.journals[-1]

    def records(self) -> list[dict[str, Any]]:
        """The calls on record, as an auditor reads them."""
        self.close()
        arguments = ["--auditor-key", str(self.key), "--settings", str(self.settings), "--json"]
        done = CliRunner().invoke(read, arguments, standalone_mode=False)
        if done.exception is not None:
            raise done.exception
        return [one for one in json.loads(done.output)["records"] if one["kind"] in ("allowed", "refused", "closed")]

    def close(self) -> None:
        for box in self.journals:
            box.journal.close()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    with closing(made):
        yield made


def fault(run: Callable[[], object]) -> Fault:
    with pytest.raises(Fault) as caught:
        run()
    return caught.value


def against(denied: Denied) -> list[str]:
    """The rules that refused."""
    return [one.rule for one in denied.findings if isinstance(one, Finding) and not one.ok]


def test_what_it_finds_is_on_record_and_in_the_answer_and_refuses_nothing_by_itself(place: Place) -> None:
    answer = place.model().ask({"texts": [TEXT, "where is the ward"]}, Context(purpose="search", subject="patient-17"))
    assert answer.outputs["embedding"].shape == (2, 4)
    assert answer.detected == {"person_name", "address"}
    scan, scanned, infer, inferred = place.records()
    call, looked = infer["metadata"]["call"], scan["metadata"]["call"]
    digest = Bundle.read(NER, TRUSTED).manifest.digest
    assert (call["action"], call["detector"], call["unseen"]) == ("infer", digest, False)
    assert sorted(call["detected"]) == ["address", "person_name"]
    assert (looked["action"], looked["model"], looked["scan_of"]) == ("scan", digest, call["id"])
    assert (looked["signer"], looked["detector"], looked["detected"]) == (TRUSTED[0], None, [])
    assert looked["purpose"] == "search"
    # by pseudonyms of their own, as calls of different actions have
    assert looked["subject"]
    assert "patient-17" not in (looked["subject"], call["subject"])
    # the texts stand on record once
    assert scan["payload"] == {"value": None, "blobs": {}}
    assert infer["payload"]["value"] == {"texts": [TEXT, "where is the ward"]}
    assert scanned["metadata"]["outcome"] == {"ok": True, "code": None, "usage": {"texts": 2, "tokens": 14}}
    assert inferred["metadata"]["outcome"]["ok"] is True


def test_a_parameter_makes_it_count_and_nothing_of_what_was_refused_is_kept(place: Place) -> None:
    model = place.model('[privacy]\ndetector = "ner.bundle"\n[policy.parameters.gdpr]\ndetected = ["search"]\n')
    with pytest.raises(Denied) as caught:
        model.embed([TEXT], purpose="search")
    assert against(caught.value) == ["gdpr.detected"]
    assert model.embed([TEXT], purpose="search", basis="contract").shape == (1, 4)
    assert model.embed([TEXT], purpose="assistance").shape == (1, 4)
    assert model.embed(["the ward"], purpose="search").shape == (1, 4)
    kinds = [(one["kind"], one["metadata"].get("call", {})) for one in place.records()]
    assert [(kind, call["action"]) for kind, call in kinds if kind != "closed"][:3] == [
        ("allowed", "scan"),
        ("refused", "infer"),
        ("allowed", "scan"),
    ]


def test_what_is_refused_anyway_is_not_scanned(place: Place) -> None:
    model = place.model()
    with pytest.raises(Denied):
        model.embed([TEXT])
    assert [(one["kind"], one["metadata"]["call"]["action"]) for one in place.records()] == [("refused", "infer")]


def test_without_settings_there_is_none(place: Place) -> None:
    answer = place.model("").ask({"texts": [TEXT]}, Context(purpose="search"))
    assert answer.detected == frozenset()
    infer, _ = place.records()
    assert infer["metadata"]["call"]["detector"] is None


def test_labels_and_the_least_probability_are_settings(place: Place) -> None:
    model = place.model('[privacy]\ndetector = "ner.bundle"\n[privacy.labels]\nORG = "employer"\n')
    assert model.ask({"texts": ["Anna is in Acme"]}, Context(purpose="search")).detected == {"employer"}
    bundle = Bundle.read(NER, TRUSTED)
    box = place.box()
    call = box.call("infer", "ab" * 32, Context(purpose="search"))
    certain = ModelDetector(bundle, PrivacySettings(score=0.991), box)
    assert certain.scan([TEXT], call) == [[]]
    looking = ModelDetector(bundle, PrivacySettings(score=0.99), box)
    [found] = looking.scan([TEXT], call)
    assert [(TEXT[one.start : one.end], one.category) for one in found] == [
        ("Anna Schmidt", "person_name"),
        ("Berlin", "address"),
    ]
    assert redact(TEXT, found) == "███ is in ███"


def test_the_keys_of_our_own_payloads_are_not_looked_at(place: Place) -> None:
    box = place.box()
    looking = ModelDetector(Bundle.read(NER, TRUSTED), PrivacySettings(), box)
    call = box.call("infer", "ab" * 32, Context(purpose="search"))
    assert looking.scan(["texts"], call) == [[]]
    assert [len(found) for found in looking.scan(["anna", "texts", "berlin"], call)] == [1, 0, 1]
    _, scanned = place.records()
    assert scanned["metadata"]["outcome"]["usage"]["texts"] == 2


@pytest.mark.parametrize(
    ("added", "code"),
    [
        ('detector = "nothing.bundle"', "bundle_not_found"),
        (f'detector = "{ENCODER}"', "settings_detector"),
        ('detector = "ner.bundle"\n[privacy.labels]\nPERSON = "person_name"', "settings_detector"),
        ('detector = "ner.bundle"\n[privacy.labels]\nPER = "Person Name"', "settings_detector"),
        ('detector = "ner.bundle"\nscore = 1.5', "settings_malformed"),
        ('model = "ner.bundle"', "settings_malformed"),
    ],
)
def test_a_detector_that_cannot_be_is_refused_when_the_model_is_loaded(place: Place, added: str, code: str) -> None:
    assert fault(lambda: place.model(f"[privacy]\n{added}\n")).code == code


def test_a_detector_comes_from_a_trusted_signer(place: Place) -> None:
    shutil.rmtree(place.folder / "ner.bundle")
    shutil.copytree(HERE / "attacks" / "signed-by-a-stranger", place.folder / "ner.bundle")
    assert fault(place.model).code == "bundle_signer"


def renamed(*labels: str) -> Bundle:
    bundle = Bundle.read(NER, TRUSTED)
    return structs.replace(bundle, manifest=structs.replace(bundle.manifest, labels=labels))


def test_labels_that_nobody_knows_need_a_table(place: Place) -> None:
    bundle, box = renamed("O", "B-X", "I-X", "B-Y", "B-Z"), place.box()
    assert fault(lambda: ModelDetector(bundle, PrivacySettings(), box)).code == "settings_detector"
    found = ModelDetector(bundle, PrivacySettings(labels={"X": "person_name"}), box)
    call = box.call("infer", "ab" * 32, Context(purpose="search"))
    assert [one.category for one in found.scan([TEXT], call)[0]] == ["person_name"]


def test_what_labels_are_known_as_are_categories() -> None:
    assert {"PER", "GIVEN_NAME", "LOC", "ORG"} <= detectors.LABELS.keys()
    assert all(map(CATEGORY.fullmatch, detectors.LABELS.values()))
    assert all(label == label.upper() for label in detectors.LABELS)


def test_a_detector_that_fails_refuses_and_both_are_on_record(place: Place) -> None:
    model = place.model("")
    broken = ModelDetector(renamed("O", "B-PER"), PrivacySettings(), place.journals[0])
    place.journals[0].__dict__["detector"] = broken
    model = Model(Bundle.read(ENCODER, TRUSTED), place.journals[0])
    with pytest.raises(Denied) as caught:
        model.embed([TEXT], purpose="search")
    assert against(caught.value) == ["base.detector"]
    scan, scanned, infer = place.records()
    assert (scan["kind"], infer["kind"], infer["metadata"]["call"]["unseen"]) == ("allowed", "refused", True)
    assert scanned["metadata"]["outcome"]["code"] == "model_malformed"


def test_a_policy_that_forbids_the_scan_forbids_the_call(place: Place) -> None:
    (place.folder / "own.cedar").write_text(FORBID, "utf-8")
    text = place.settings.read_text("utf-8").replace("rules = []", 'rules = ["own.cedar"]')
    place.settings.write_text(text, "utf-8")
    model = place.model()
    with pytest.raises(Denied) as caught:
        model.embed([TEXT], purpose="search")
    assert against(caught.value) == ["base.detector"]
    assert [(one["kind"], one["metadata"]["call"]["action"]) for one in place.records()] == [
        ("refused", "scan"),
        ("refused", "infer"),
    ]


def test_nobody_can_forget_it(place: Place) -> None:
    model = place.model()
    box = place.journals[0]
    call = box.call("infer", model.manifest.digest, Context(purpose="search"), TRUSTED[0])
    with pytest.raises(Ungated) as caught:
        decide_and_open(box.policy, model.manifest, call, Payload.checked({"texts": [TEXT]}), box.journal)
    assert caught.value.code == "detector_missing"
    assert box.call("compress", "ab" * 32, Context()).detector is None


def test_a_model_is_asked_for_what_it_is_made_for(place: Place) -> None:
    encoder = place.model("")
    finder = Model(Bundle.read(NER, TRUSTED), place.journals[0])
    assert fault(lambda: encoder.entities("anna", purpose="search")).code == "model_task"
    assert fault(lambda: finder.embed("anna", purpose="search")).code == "model_task"
    assert finder.entities(["anna", "the ward"], purpose="search") == [
        [Entity(start=0, end=4, label="PER", score=0.9902)],
        [],
    ]
    with pytest.raises(Denied):
        finder.entities("anna")


def test_a_person_is_shown_what_it_finds_and_how_well() -> None:
    shown = described(Bundle.read(NER, TRUSTED))
    assert "finds    LOC, ORG, PER" in shown
    assert "in       en, de" in shown
    assert "PER              precision 1.000 (1 found), recall 0.500 (2 marked)" in shown
    assert set(LABELS) > {"O"}
