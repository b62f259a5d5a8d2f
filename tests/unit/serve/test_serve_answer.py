"""The headers that guard every answer."""

from __future__ import annotations

import pytest

from serve.answer import SECURE, secured

OWN = (b"Content-Security-Policy", b"default-src 'self'")


@pytest.mark.parametrize("https", [True, False])
def test_an_answer_is_guarded(https: bool) -> None:
    found = dict(secured([(b"content-type", b"application/json")], https=https))
    assert found.pop(b"content-type") == b"application/json"
    assert found.pop(b"strict-transport-security", b"") == (b"max-age=31536000" if https else b"")
    assert found == dict(SECURE)


def test_a_page_brings_a_policy_of_its_own_and_keeps_the_rest() -> None:
    found = secured([OWN], https=False)
    assert [name for name, _ in found] == [OWN[0], b"x-content-type-options", b"referrer-policy", b"cache-control"]


def test_what_is_given_is_not_changed() -> None:
    given = [(b"content-type", b"text/html")]
    secured(given, https=True)
    assert given == [(b"content-type", b"text/html")]
