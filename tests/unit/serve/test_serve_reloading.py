"""A changed policy is taken as a whole; one that fails its check or its cases is refused, seen, and changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from msgspec.structs import replace

from policies.errors import Fault
from policies.facts import Manifest
from serve.reloading import Reloading
from toolkit.box import Box, Context
from toolkit.models import Models
from toolkit.new_box import create_box

MODEL = Manifest(format=1, name="m", version="1", digest="ab" * 32, task="embed", licence="MIT", inputs=(), outputs=())
RULE = '@id("own.closed") @reason("The ward is closed.") forbid (principal, action, resource) when {{ {condition} }};'
CASES = '[[case]]\nname = "open"\nallow = {allow}\nrules = ["own.closed"]\ncall = {{ purpose = "search" }}\n'


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    create_box(tmp_path / "box")
    opened = Box(tmp_path / "box" / "sealpress.toml")
    with closing(opened.journal):
        yield opened


@pytest.fixture
def refused() -> list[Fault]:
    return []


def models(box: Box) -> Models:
    """None, which is fine for a policy."""
    return Models(box, (), cores=1)


def write(box: Box, condition: str = "true", allow: str = "false", settings: str = "") -> None:
    (box.folder / "own.cedar").write_text(RULE.format(condition=condition), "utf-8")
    (box.folder / "cases.toml").write_text(CASES.format(allow=allow), "utf-8")
    if settings:
        text = box.path.read_text("utf-8").replace("rules = []", settings)
        box.path.write_text(text, "utf-8")


def allowed(box: Box) -> bool:
    call = box.call("infer", MODEL.digest, Context(purpose="search"), "signer")
    return box.policy.decide(MODEL, replace(call, sealed=True)).allowed


def test_a_changed_policy_is_taken(box: Box, refused: list[Fault]) -> None:
    reloading = Reloading(box, models(box), refused.append)
    before = box.policy.digest
    reloading.look()
    assert box.policy.digest == before
    assert allowed(box)
    write(box, settings='rules = ["own.cedar"]\ncases = ["cases.toml"]')
    reloading.look()
    assert not refused
    assert box.policy.digest != before
    assert not allowed(box)
    assert (box.policies_folder / f"{box.policy.digest}.json").is_file()
    assert (box.policies_folder / f"{before}.json").is_file()


@pytest.mark.parametrize(
    ("condition", "allow", "code"),
    [
        ("context.colour == 1", "false", "policy_schema"),
        ("this is not Cedar", "false", "policy_syntax"),
        ('ip("1.2.3.4").isLoopback()', "false", "policy_unsupported"),
        ("true", "true", "policy_untested"),
        ("false", "false", "policy_untested"),
        ("true", "maybe", "policy_cases"),
    ],
)
def test_what_does_not_hold_is_not_taken_and_can_be_mended(
    box: Box, refused: list[Fault], condition: str, allow: str, code: str
) -> None:
    reloading = Reloading(box, models(box), refused.append)
    before = box.policy.digest
    write(box, condition, allow, settings='rules = ["own.cedar"]\ncases = ["cases.toml"]')
    reloading.look()
    reloading.look()  # told of once
    assert [fault.code for fault in refused] == [code]
    assert box.policy.digest == before
    assert allowed(box)
    write(box)  # the settings stay as they are
    reloading.look()
    assert len(refused) == 1
    assert not allowed(box)


def test_settings_that_cannot_be_read_change_nothing(box: Box, refused: list[Fault]) -> None:
    reloading = Reloading(box, models(box), refused.append)
    before = box.policy.digest
    text = box.path.read_text("utf-8")
    for broken in (text[:200], "", text.replace('["base"', '["bass"')):
        box.path.write_text(broken, "utf-8")
        reloading.look()
        assert box.policy.digest == before
    assert [fault.code for fault in refused] == ["settings_malformed", "settings_malformed", "settings_pack"]


def test_purposes_are_taken_with_the_rules(box: Box, refused: list[Fault]) -> None:
    reloading = Reloading(box, models(box), refused.append)
    text = box.path.read_text("utf-8")
    box.path.write_text(text + '\n[purposes.late]\nbases = []\nretain_days = 9\ndata = ["health"]\n', "utf-8")
    reloading.look()
    call = box.call("infer", MODEL.digest, Context(purpose="late"))
    assert (call.retain_days, call.data) == (9, frozenset({"health"}))
    assert not refused


def test_where_a_proof_is_asked_for_what_is_not_proved_is_not_taken(box: Box, refused: list[Fault]) -> None:
    pytest.importorskip("z3", reason="the extra `prove` is not installed")
    reloading = Reloading(box, models(box), refused.append)
    claims = '[[claim]]\nname = "never more than nine calls"\nnever = "context.usage > 9"\n'
    (box.folder / "claims.toml").write_text(claims, "utf-8")
    before = box.policy.digest
    write(box, "context.usage > 10", settings='rules = ["own.cedar"]\nclaims = ["claims.toml"]\nprove = true')
    reloading.look()
    assert [fault.code for fault in refused] == ["policy_unproved"]
    assert "never more than nine calls" in str(refused[0])
    assert box.policy.digest == before
    write(box, "context.usage > 9")
    reloading.look()
    assert len(refused) == 1
    assert box.policy.digest != before


def test_what_is_written_while_a_policy_is_taken_is_taken_next(
    box: Box, refused: list[Fault], monkeypatch: pytest.MonkeyPatch
) -> None:
    reloading = Reloading(box, models(box), refused.append)
    taken = box.reload

    def and_written() -> bool:
        done = taken()
        write(box, "context.usage >= 0 || true")
        return done

    write(box, "false || false", settings='rules = ["own.cedar"]')
    with monkeypatch.context() as patch:
        patch.setattr(box, "reload", and_written)
        reloading.look()
    assert allowed(box)
    reloading.look()
    assert not allowed(box)


def test_what_was_written_before_the_first_look_is_taken(box: Box, refused: list[Fault]) -> None:
    write(box, settings='rules = ["own.cedar"]')
    Reloading(box, models(box), refused.append).look()
    assert not allowed(box)


def test_whatever_happens_the_looking_goes_on(box: Box, refused: list[Fault], monkeypatch: pytest.MonkeyPatch) -> None:
    reloading = Reloading(box, models(box), refused.append)
    with monkeypatch.context() as patch:
        patch.setattr(box, "reload", lambda: 1 // 0)
        reloading.look()
    assert [fault.code for fault in refused] == ["internal"]
    write(box, settings='rules = ["own.cedar"]')
    reloading.look()
    assert not allowed(box)
