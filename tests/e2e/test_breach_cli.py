"""What a thief of keys could read, by the command, on a box from which a person was erased before."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from policies.facts import Manifest, Outcome
from policies.payload import Payload
from tests.commands import within
from toolkit.box import Box, Context
from toolkit.new_box import create_box

MODEL = Manifest(
    format=1, name="small-int8", version="1", digest="d0" * 32, task="embed", licence="MIT", inputs=(), outputs=()
)
BOTH = ("--keys", "auditor", "--keys", "salts")
ALWAYS = ("--from", "2020-01-01", "--to", "2100-01-01")


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four calls of two persons, one of whom was erased; one call was refused."""
    folder = tmp_path_factory.mktemp("breached") / "box"
    create_box(folder)
    box = Box(folder / "sealpress.toml")
    for number in range(4):
        context = Context(
            purpose="search" if number else None,
            subject=f"person-{number % 2}",
            basis="contract",
            data=frozenset({"email"}),
        )
        call = box.call("infer", MODEL.digest, context, "ed25519:none")
        call = replace(call, sealed=box.journal.sealed, usage=0, data=context.data)
        decision = box.policy.decide(MODEL, call)
        entry = box.journal.opened(call, MODEL, decision, Payload.checked({"texts": ["a canary in the coal mine"]}))
        if decision.allowed:
            box.journal.closed(entry, Outcome(ok=True, usage={"texts": 1}))
    box.journal.close()
    return folder


def breach(box: Path, *arguments: str, fails: int = 0) -> Any:
    key = box.parent / "box-auditor" / "auditor.key"
    ran = within(box, "audit", "breach", *arguments, "--auditor-key", key, "--json")
    assert ran.returncode == fails, ran.stderr
    return json.loads(ran.stdout or ran.stderr)


def test_who_has_both_keys_reads_all_that_was_not_erased(box: Path) -> None:
    before = breach(box, *BOTH, *ALWAYS)
    assert before["calls"] == 4
    assert before["payloads"] == 3
    assert set(before["purposes"]) == {"", "search"}
    assert before["data"] == {"email": 4}
    assert list(before["models"].values()) == [4]
    assert before["unreadable"] == before["erased_since"] == 0
    assert within(box, "subject", "erase", "person-1", "--ground", "a request").returncode == 0
    after = breach(box, *BOTH, *ALWAYS)
    assert after["calls"] == 2
    assert set(after["subjects"]) < set(before["subjects"])
    assert after["unreadable"] == before["records"] - after["records"] + _told(before, after)
    assert (after["erased_before"], after["erased_since"]) == (0, len(before["subjects"]) - len(after["subjects"]))
    # in a time that began behind the erasure nothing of that person could be read
    later = breach(box, *BOTH, "--from", "2099-01-01", "--to", "2100-01-01")
    assert (later["calls"], later["erased_since"]) == (2, 0)
    assert later["erased_before"] == after["erased_since"]
    said = within(
        box, "audit", "breach", *BOTH, *ALWAYS, "--auditor-key", box.parent / "box-auditor" / "auditor.key"
    ).stdout
    assert "What was erased since may have been read before" in said
    assert "person-" not in said


def _told(before: dict[str, Any], after: dict[str, Any]) -> int:
    """The records that came in between: that it was looked at, and the erasure."""
    return int(after["records"] + after["unreadable"] - before["records"])


def test_one_key_alone_opens_nothing_that_was_not_released(box: Path) -> None:
    for key in ("auditor", "salts"):
        found = breach(box, "--keys", key, *ALWAYS)
        assert (found["records"], found["calls"], found["subjects"]) == (0, 0, [])


def test_before_the_first_record_nothing_could_be_read_and_time_runs_forward(box: Path) -> None:
    assert breach(box, *BOTH, "--from", "2020-01-01", "--to", "2020-01-02")["records"] == 0
    key = box.parent / "box-auditor" / "auditor.key"
    backwards = ("--from", "2021-01-01", "--to", "2020-01-02")
    assert within(box, "audit", "breach", *BOTH, *backwards, "--auditor-key", key).returncode == 2
