"""The quota as a fact: counted before the decision, given back when it was refused, decided by the rule base.quota."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from msgspec.structs import replace

from compliance.state.api_keys import ApiKey, ApiKeys
from compliance.state.usage import Usage
from policies.errors import Denied, Failed
from policies.facts import Manifest
from policies.payload import InputError
from serve.caller import Caller
from serve.quota import counted
from toolkit.box import Box, Context
from toolkit.new_box import create_box

MODEL = Manifest(format=1, name="m", version="1", digest="ab" * 32, task="embed", licence="MIT", inputs=(), outputs=())
CONTEXT = Context(purpose="search")


@pytest.fixture
def keys(tmp_path: Path) -> Iterator[ApiKeys]:
    with closing(ApiKeys(tmp_path)) as keys:
        yield keys


@pytest.fixture
def usage(tmp_path: Path) -> Iterator[Usage]:
    with closing(Usage(tmp_path)) as usage:
        yield usage


def caller(key: ApiKey) -> Caller:
    return Caller(
        id=key.id, actor=key.id, account=key.account, rate_per_s=1, burst=1, key=True, counted=key.calls is not None
    )


def used(keys: ApiKeys) -> list[int | None]:
    return [one.used for one in keys.all()]


def test_usage_and_quota_are_facts_of_the_call(keys: ApiKeys, usage: Usage) -> None:
    asks = caller(keys.create(1, calls=2)[0])
    seen = []
    for _ in range(4):
        with counted(usage, asks, CONTEXT) as context:
            seen.append((context.usage, context.quota))
            assert replace(context, usage=0, quota=None) == CONTEXT
    assert seen == [(0, 2), (1, 2), (2, 2), (2, 2)]
    assert used(keys) == [2]


@pytest.mark.parametrize(
    ("error", "left"),
    [
        (Denied((), "call", "refused"), 0),
        (InputError("input_empty", "nothing"), 0),
        # it may have run
        (Failed("internal", "broken"), 1),
        (ZeroDivisionError(), 1),
        (KeyboardInterrupt(), 1),
    ],
)
def test_only_what_did_not_run_is_given_back(keys: ApiKeys, usage: Usage, error: BaseException, left: int) -> None:
    asks = caller(keys.create(1, calls=2)[0])
    with pytest.raises(type(error)), counted(usage, asks, CONTEXT):
        raise error
    assert used(keys) == [left]


def test_a_call_that_was_not_counted_gives_nothing_back(keys: ApiKeys, usage: Usage) -> None:
    asks = caller(keys.create(1, calls=1)[0])
    with counted(usage, asks, CONTEXT):
        pass
    with pytest.raises(Denied), counted(usage, asks, CONTEXT):
        raise Denied((), "call", "refused")
    assert used(keys) == [1]


def test_without_a_quota_nothing_is_counted_and_nothing_changed(keys: ApiKeys, usage: Usage) -> None:
    key = keys.create(1)[0]
    with counted(usage, caller(key), CONTEXT) as context:
        assert context is CONTEXT
    with counted(usage, replace(caller(key), key=False), CONTEXT) as context:
        assert context is CONTEXT
    assert [(one.used, one.seen is not None) for one in keys.all()] == [(None, True)]


def test_the_rule_decides_by_the_count(tmp_path: Path) -> None:
    create_box(tmp_path / "box")
    box = Box(tmp_path / "box" / "sealpress.toml")
    with closing(box.journal):
        for usage, quota, allowed in ((0, 1, True), (1, 1, False), (2, 1, False), (0, None, True)):
            call = box.call("infer", MODEL.digest, replace(CONTEXT, usage=usage, quota=quota), "signer")
            decision = box.policy.decide(MODEL, replace(call, sealed=True))
            refused = [finding.rule for finding in decision.findings if not finding.ok]
            assert (decision.allowed, refused) == (allowed, [] if allowed else ["base.quota"])


def test_the_tenant_of_the_caller_stands_in_the_call(tmp_path: Path) -> None:
    create_box(tmp_path / "box")
    box = Box(tmp_path / "box" / "sealpress.toml")
    with closing(box.journal):
        assert box.call("infer", MODEL.digest, CONTEXT).tenant == "local"
        assert box.call("infer", MODEL.digest, replace(CONTEXT, tenant="clinic")).tenant == "clinic"
