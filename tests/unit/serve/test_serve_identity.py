"""Headers: read once, strictly, and the key's defaults behind them."""

from __future__ import annotations

import pytest

from compliance.state.api_keys import ApiKey, ApiKeyError
from serve.identity import context_of, presented
from serve.problems import RequestError

BEARER = (b"authorization", b"Bearer sp_key")
KEY = ApiKey(id="4be1", made=0, purpose="search", basis="contract")


def test_the_key_and_the_context_are_read() -> None:
    headers = [
        (b"host", b"localhost"),
        BEARER,
        (b"x-purpose", b"product"),
        (b"x-legal-basis", b"consent"),
        (b"x-consent", b"receipt-7"),
        (b"x-subject", "Müller".encode()),
        (b"x-region", b"EU"),
        (b"x-actor", b"somebody-else"),
    ]
    assert presented(headers) == (
        "sp_key",
        {"purpose": "product", "basis": "consent", "consent": "receipt-7", "subject": "Müller", "region": "EU"},
    )


@pytest.mark.parametrize("value", [b"bearer sp_key", b"BEARER sp_key", b"Bearer  sp_key "])
def test_the_scheme_is_taken_in_any_case(value: bytes) -> None:
    assert presented([(b"authorization", value)])[0] == "sp_key"


@pytest.mark.parametrize("headers", [[], [(b"authorization", b"")], [(b"authorization", b"Basic c3A6a2V5")]])
def test_without_a_key_it_is_missing(headers: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(ApiKeyError) as caught:
        presented(headers)
    assert caught.value.code == "api_key_missing"


@pytest.mark.parametrize(
    "headers",
    [
        [BEARER, BEARER],
        [BEARER, (b"x-purpose", b"search"), (b"x-purpose", b"product")],
        [BEARER, (b"x-subject", b"canary\xff")],
        [BEARER, (b"x-region", b"canary" * 100)],
    ],
)
def test_a_header_that_is_not_clear_is_refused_and_not_repeated(headers: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(RequestError) as caught:
        presented(headers)
    assert caught.value.code == "request_header"
    assert "canary" not in str(caught.value)


def test_the_defaults_of_the_key_hold_where_the_headers_are_silent() -> None:
    context = context_of(KEY, {"region": "EU"})
    assert (context.actor, context.purpose, context.basis, context.region) == ("4be1", "search", "contract", "EU")


def test_the_headers_come_before_the_defaults() -> None:
    context = context_of(KEY, {"purpose": "product", "basis": ""})
    assert (context.purpose, context.basis) == ("product", "")


def test_the_actor_is_the_key_and_nothing_else() -> None:
    assert context_of(KEY, presented([BEARER, (b"x-actor", b"root")])[1]).actor == "4be1"
