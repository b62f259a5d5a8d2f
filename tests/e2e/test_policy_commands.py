"""`sealpress policy` and `sealpress consent` on a box, as a person uses them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import pytest

import sealpress as front
from policies.errors import Denied
from tests.commands import within
from toolkit.box import Context
from toolkit.policy import packs

Run = Callable[..., "subprocess.CompletedProcess[str]"]
PERSONAL = "write to jane.doe@example.org"
RULE = """@id("own.hours") @reason("Calls are made before the year 2040.")
forbid (principal, action == Action::"infer", resource)
when {{ context.at > {at} }};
"""
CASES = """[[case]]
name = "in good time"
allow = {allow}
rules = {rules}
call = {{ purpose = "search" }}
"""


def value(done: subprocess.CompletedProcess[str]) -> Any:
    return json.loads(done.stdout)


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    """A box in which nothing was pressed."""
    assert within(tmp_path, "init", tmp_path / "box").returncode == 0
    return tmp_path / "box"


def own_rule(box: Path, at: int = 2_208_988_800 * 10**9, allow: str = "true", rules: str = "[]") -> None:
    (box / "own.cedar").write_text(RULE.format(at=at), "utf-8")
    (box / "cases.toml").write_text(CASES.format(allow=allow, rules=rules), "utf-8")


@pytest.mark.parametrize("name", packs())
def test_packs_are_checked_tried_and_shown(name: str, empty: Path) -> None:
    assert value(within(empty, "policy", "check", name, "--json"))["ok"]
    tried = within(empty, "policy", "test", name, "--json")
    assert tried.returncode == 0
    assert all(one["ok"] for one in value(tried)["cases"][f"{name}/cases.toml"])
    shown = value(within(empty, "policy", "show", name, "--json"))
    assert {rule["file"] for rule in shown["rules"]} == {f"{name}/policy.cedar"}
    text = within(empty, "policy", "show", name).stdout
    assert all(rule["reason"] in text and rule["source"] in text for rule in shown["rules"])
    asking = [rule["obligation"] for rule in shown["rules"] if rule["obligation"]]
    assert text.count("gives way to: ") == len(asking)


def test_rules_of_ones_own(empty: Path) -> None:
    own_rule(empty)
    for path in ("own.cedar", "."):
        assert value(within(empty, "policy", "check", path, "--json"))["rules"] == ["own.hours"]
        assert within(empty, "policy", "test", path).stdout.strip() == "1 of 1 cases came out as they must."
    own_rule(empty, at=1)
    failed = within(empty, "policy", "test", "own.cedar")
    assert failed.returncode == 1
    assert "in good time: refused by own.hours" in failed.stdout
    (empty / "own.cedar").write_text(RULE.format(at="context.colour"), "utf-8")
    wrong = within(empty, "policy", "check", "own.cedar", "--json")
    assert wrong.returncode == 1
    assert value(wrong)["code"] == "policy_schema"
    assert value(wrong)["message"].startswith("own.cedar:3:29: rule own.hours: attribute `colour`")
    (empty / "cases.toml").unlink()
    own_rule(empty)
    (empty / "cases.toml").unlink()
    assert within(empty, "policy", "test", "own.cedar").returncode == 1  # no case says nothing


@pytest.mark.parametrize("path", ["nonsense", "none.cedar", "../box/keys", "none.toml"])
def test_what_is_not_there_is_said(path: str, empty: Path) -> None:
    done = within(empty, "policy", "check", path, "--json")
    assert done.returncode == 2
    assert value(done)["code"] in ("settings_pack", "settings_not_found")


def test_parameters_are_filled_by_the_settings(empty: Path) -> None:
    settings = empty / "sealpress.toml"
    text = settings.read_text("utf-8")
    settings.write_text(text.replace("[policy]", "[policy.parameters.gdpr]\nretain_days = 7\n\n[policy]"), "utf-8")
    shown = value(within(empty, "policy", "show", "sealpress.toml", "--json"))
    assert shown["parameters"]["gdpr"]["retain_days"] == 7
    settings.write_text(text.replace("[policy]", "[policy.parameters.gdpr]\ncolour = 7\n\n[policy]"), "utf-8")
    assert value(within(empty, "policy", "check", "sealpress.toml", "--json"))["code"] == "policy_pack"


def test_consent_is_recorded_counts_and_is_withdrawn(box: Path, sealpress: Run) -> None:
    def asked(*arguments: str) -> list[str]:
        call = ("run", "minilm.bundle", "--text", PERSONAL, "--purpose", "search", "--basis", "consent", *arguments)
        done = sealpress(*call, "--json", cwd=box)
        return [] if done.returncode == 0 else [f["rule"] for f in value(done)["findings"] if not f["ok"]]

    about = ("--subject", "patient-7")
    assert asked(*about) == ["basis.consent"]
    made = value(sealpress("consent", "record", *about, "--purpose", "search", "--json", cwd=box))
    assert asked(*about) == []
    assert asked(*about, "--consent", made["receipt"]) == []
    assert asked("--subject", "patient-8", "--consent", made["receipt"]) == ["basis.consent"]
    assert asked(*about, "--data", "health") == ["gdpr.special"]
    explicit = ("--explicit", "--expires", "2099-01-01")
    assert sealpress("consent", "record", *about, "--purpose", "search", *explicit, cwd=box).returncode == 0
    assert asked(*about, "--data", "health") == []
    shown = value(sealpress("consent", "show", *about, "--json", cwd=box))["consents"]
    assert [(one["explicit"], one["stands"]) for one in shown] == [(False, True), (True, True)]
    assert sealpress("consent", "withdraw", *about, "--purpose", "search", cwd=box).returncode == 0
    assert asked(*about) == ["basis.consent"]
    again = sealpress("consent", "withdraw", *about, "--purpose", "search", "--json", cwd=box)
    assert (again.returncode, value(again)["code"]) == (1, "consent_unknown")
    odd = sealpress("consent", "record", *about, "--purpose", "resale", "--json", cwd=box)
    assert (odd.returncode, value(odd)["code"]) == (1, "consent_purpose")


def test_two_persons_open_what_a_pack_says_may_be_opened(box: Path, sealpress: Run) -> None:
    def asked(*arguments: str) -> list[str]:
        call = ("run", "minilm.bundle", "--text", "a text", "--purpose", "search", "--basis", "contract")
        done = sealpress(*call, "--data", "health", *arguments, "--json", cwd=box)
        return [] if done.returncode == 0 else [f["rule"] for f in value(done)["findings"] if not f["ok"]]

    def person(name: str) -> str:
        return str(value(sealpress("override", "key", box.parent / f"{name}.key", "--json", cwd=box))["approver"])

    persons = "".join(f'{name} = "{person(name)}"\n' for name in ("ann", "bob"))
    person("eve")
    settings = box / "sealpress.toml"
    packs = '\n[policy.parameters.gdpr]\noverrides = ["emergency"]\n'
    settings.write_text(settings.read_text("utf-8") + f"\n[override.approvers]\n{persons}{packs}", "utf-8")
    why = ("--name", "emergency", "--reason", "Cardiac arrest, ward 3", "--minutes", "5")

    def signed(verb: str, *arguments: object, by: str) -> subprocess.CompletedProcess[str]:
        return sealpress("override", verb, *arguments, "--key", box.parent / f"{by}.key", "--json", cwd=box)

    under = ("--override", "emergency")
    assert asked(*under) == ["gdpr.special"]
    made = value(signed("ask", *why, by="ann"))
    assert asked(*under) == ["gdpr.special"]
    for nobody, code in (("ann", "override_same"), ("eve", "override_approver")):
        assert value(signed("approve", made["id"], by=nobody))["code"] == code
    assert asked(*under) == ["gdpr.special"]
    assert value(signed("approve", made["id"], by="bob"))["approvers"] == ["ann", "bob"]
    assert asked(*under) == []
    assert asked() == ["gdpr.special"]  # who does not name it is not under it
    assert asked("--override", "curiosity") == ["gdpr.special"]
    loud = sealpress("run", "minilm.bundle", "--text", "a", "--purpose", "search", *under, cwd=box)
    assert f"the override {made['id']}" in loud.stderr
    shown = value(sealpress("override", "show", "--json", cwd=box))["overrides"]
    assert [(one["name"], one["reason"], one["stands"]) for one in shown] == [
        ("emergency", "Cardiac arrest, ward 3", True)
    ]
    assert sealpress("override", "end", made["id"], cwd=box).returncode == 0
    assert asked(*under) == ["gdpr.special"]
    key = ("--auditor-key", box.with_name("box-auditor") / "auditor.key")
    read = value(sealpress("journal", "read", *key, "--json", cwd=box))["records"]
    notes = [one["metadata"] for one in read if one.get("metadata", {}).get("kind", "").startswith("override_")]
    assert [one["kind"] for one in notes] == ["override_asked", "override_opened", "override_ended"]
    assert notes[1]["data"]["approvers"] == ["ann", "bob"]
    called = [one["metadata"]["call"]["override"] for one in read if one["kind"] == "allowed"]
    assert (made["id"], "emergency", {"ann", "bob"}) in [
        (one["id"], one["name"], set(one["approvers"])) for one in called if one is not None
    ]
    out = box.parent / "report"
    assert sealpress("audit", "report", *key, "--out", out, cwd=box).returncode == 0
    assert "emergency (ann, bob)" in (out / "report.html").read_text("utf-8")


def test_a_refusal_is_explained_and_another_policy_tried_on_the_record(box: Path, sealpress: Run) -> None:
    key = ("--auditor-key", box.with_name("box-auditor") / "auditor.key")
    run = ("run", "minilm.bundle", "--purpose", "search", "--text")
    assert sealpress(*run, "where is the ward?", cwd=box).returncode == 0
    assert sealpress(*run, PERSONAL, cwd=box).returncode == 1
    read = value(sealpress("journal", "read", *key, "--decision", "refused", "--json", cwd=box))["records"]
    (refused,) = [record["record"] for record in read if record["kind"] == "refused"]

    # the rules that are in force later do not change what was said then
    own_rule(box, at=1)
    settings = box / "sealpress.toml"
    settings.write_text(settings.read_text("utf-8").replace("rules = []", 'rules = ["own.cedar"]'), "utf-8")
    explained = value(sealpress("policy", "explain", refused, *key, "--json", cwd=box))
    assert explained["same"]
    assert [f["rule"] for f in explained["findings"] if not f["ok"]] == ["privacy.basis"]
    assert next(f["source"] for f in explained["findings"] if f["rule"] == "privacy.basis").startswith("GDPR Art. 6")
    ways = [[change["says"] for change in way] for way in explained["ways"]]
    assert ["the legal basis is contract"] in ways
    text = sealpress("policy", "explain", refused, *key, cwd=box).stdout
    assert "It would be allowed if" in text

    simulated = value(sealpress("policy", "simulate", "own.cedar", *key, "--action", "infer", "--json", cwd=box))
    assert simulated["calls"] == 2
    assert [(one["was"], one["becomes"], one["rules"]) for one in simulated["changed"]] == [
        ("allowed", "refused", ["own.hours"])
    ]
    same = sealpress("policy", "simulate", "gdpr", *key, "--action", "infer", cwd=box)
    assert "would come out otherwise" in same.stdout
    missing = sealpress("policy", "explain", "shard-000/999", *key, "--json", cwd=box)
    assert missing.returncode == 2


def test_an_archived_policy_that_was_altered_explains_nothing(box: Path, sealpress: Run) -> None:
    key = ("--auditor-key", box.with_name("box-auditor") / "auditor.key")
    sealpress("run", "minilm.bundle", "--text", PERSONAL, "--purpose", "search", cwd=box)
    read = value(sealpress("journal", "read", *key, "--decision", "refused", "--json", cwd=box))["records"]
    for path in (box / "state" / "policies").glob("*.json"):
        path.write_bytes(path.read_bytes().replace(b"privacy.basis", b"privacy.basic"))
    done = sealpress("policy", "explain", read[-1]["record"], *key, "--json", cwd=box)
    assert (done.returncode, value(done)["code"]) == (3, "state_policy")


def test_a_box_that_asks_for_proofs_takes_a_signed_one(empty: Path, sealpress: Run) -> None:
    pytest.importorskip("z3", reason="the extra `prove` is not installed")
    settings = empty / "sealpress.toml"
    settings.write_text(settings.read_text("utf-8").replace("rules = []", "rules = []\nprove = true"), "utf-8")
    signed = sealpress("policy", "prove", "sealpress.toml", "--sign", "--json", cwd=empty)
    assert value(signed)["ok"]
    assert (empty / "policy.proof").is_file()
    assert sealpress("consent", "show", "--subject", "p7", cwd=empty).returncode == 0  # opens the box
    wide = '@id("own.wide") @reason("All is allowed here.") permit (principal, action, resource);'
    (empty / "own.cedar").write_text(wide, "utf-8")
    settings.write_text(settings.read_text("utf-8").replace("rules = []", 'rules = ["own.cedar"]'), "utf-8")
    proof = sealpress("policy", "prove", "sealpress.toml", "--sign", cwd=empty)
    assert proof.returncode == 1
    assert "does NOT  base/claims.toml: nothing is trained on" in proof.stdout
    assert "this call is allowed" in proof.stdout
    opened = sealpress("consent", "show", "--subject", "p7", "--json", cwd=empty)
    assert (opened.returncode, value(opened)["code"]) == (1, "policy_unproved")


def test_an_edit_of_the_policy_is_told(empty: Path) -> None:
    pytest.importorskip("z3", reason="the extra `prove` is not installed")
    own_rule(empty)
    narrower = value(within(empty, "policy", "diff", "sealpress.toml", "own.cedar", "--json"))
    assert narrower["widened"] is None
    assert narrower["narrowed"]["action"] == "infer"
    assert narrower["narrowed"]["context"]["at"] > 2_208_988_800 * 10**9
    assert narrower["purposes"] == []
    same = within(empty, "policy", "diff", "gdpr", "gdpr")
    assert "Both policies give the same answer to every call" in same.stdout

    edited = empty / "edited.toml"
    text = (empty / "sealpress.toml").read_text("utf-8")
    edited.write_text(text + '\n[purposes.care]\nbases = ["consent"]\nretain_days = 7\n', "utf-8")
    told = value(within(empty, "policy", "diff", "sealpress.toml", "edited.toml", "--json"))
    assert [(one["purpose"], one["fact"], one["way"]) for one in told["purposes"]] == [("care", "declared", "widened")]
    back = within(empty, "policy", "diff", "edited.toml", "sealpress.toml").stdout
    assert "The rules give the same answer to every call." in back
    assert "narrowed  care: it is declared no more" in back


def test_a_withdrawal_counts_for_a_call_that_waits_for_its_turn(box: Path, sealpress: Run) -> None:
    about = ("--subject", "patient-7", "--purpose", "search")
    assert sealpress("consent", "record", *about, cwd=box).returncode == 0
    model = front.load(box / "minilm.bundle", box / "sealpress.toml")
    context = Context(purpose="search", basis="consent", subject="patient-7")
    assert model.ask({"texts": [PERSONAL]}, context).usage["tokens"] > 0
    turn = Event()
    with ThreadPoolExecutor(1) as lane:  # as the server's lanes are: what is asked waits here, undecided
        lane.submit(turn.wait, 60)
        waiting = lane.submit(model.ask, {"texts": [PERSONAL]}, context)
        assert sealpress("consent", "withdraw", *about, cwd=box).returncode == 0
        turn.set()
        with pytest.raises(Denied) as denied:
            waiting.result()
    assert [f.rule for f in denied.value.findings if not f.ok] == ["basis.consent"]  # type: ignore[attr-defined] # findings are rules here
