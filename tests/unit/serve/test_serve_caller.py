"""What a caller may ask for: models by name and version, and the right to load them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve.caller import Caller, ScopeError, must_administer, must_reach


def caller(**scopes: Any) -> Caller:
    return Caller(id="4be1", actor="4be1", account="4be1", rate_per_s=1, burst=1, **scopes)


@pytest.mark.parametrize(
    ("patterns", "name", "version", "reached"),
    [
        (None, "minilm", "1.0", True),
        ((), "minilm", "1.0", False),
        (("minilm",), "minilm", "1.0", True),
        (("minilm",), "minilm-large", "1.0", False),
        (("minilm",), "MiniLM", "1.0", False),
        (("minilm@1.0",), "minilm", "1.0", True),
        (("minilm@1.0",), "minilm", "1.01", False),
        (("minilm@1.*",), "minilm", "1.7", True),
        (("minilm@1.*",), "minilm", "10", False),
        (("mini*",), "minilm", "1.0", True),
        (("mini*@2",), "minilm", "1.0", False),
        (("*",), "anything", "1.0", True),
        (("*@2",), "anything", "2", True),
        (("m*m",), "minilm", "1.0", False),
        (("m*m",), "m*m", "1.0", True),
        (("min.lm",), "minilm", "1.0", False),
        (("org@team@1",), "org@team", "1", True),
        (("@",), "minilm", "1.0", False),
        (("",), "minilm", "1.0", False),
        (("other", "minilm"), "minilm", "1.0", True),
    ],
)
def test_a_model_is_reached_by_name_and_version(
    patterns: tuple[str, ...] | None, name: str, version: str, reached: bool
) -> None:
    asks = caller(models=patterns)
    assert asks.sees(name, version) is reached
    if reached:
        must_reach(asks, name, version)
        return
    with pytest.raises(ScopeError) as caught:
        must_reach(asks, name, version)
    assert caught.value.code == "scope_model"
    assert name not in str(caught.value)


_names = st.text("ab@*.", min_size=1, max_size=6)


@given(st.lists(_names, max_size=3).map(tuple), _names.filter(lambda n: "@" not in n), _names, _names)
def test_a_pattern_reaches_what_it_says_and_a_wider_one_more(
    patterns: tuple[str, ...], name: str, version: str, other: str
) -> None:
    asks = caller(models=patterns)
    named = caller(models=(name, *patterns))
    assert named.sees(name, version)
    assert caller(models=(f"{name}@{version}",)).sees(name, version) or "@" in version
    if asks.sees(name, version):
        assert caller(models=(*patterns, other)).sees(name, version)
        assert caller(models=("*",)).sees(name, version)


def test_only_an_administrator_administers() -> None:
    must_administer(caller(admin=True))
    with pytest.raises(ScopeError) as caught:
        must_administer(caller())
    assert caught.value.code == "scope_admin"
