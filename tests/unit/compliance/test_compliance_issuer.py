"""Tokens of an issuer: the right ones are read, and each attack, named for its flaw, is refused with its code."""

from __future__ import annotations

import hmac
import json
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from compliance.issuer.errors import JwksError, JwtError
from compliance.issuer.tokens import MAX_TOKEN, Claims, Issuer
from tests.issuers import ALGORITHMS, AUDIENCE, CLAIMS, ISSUER, joined, jwk, private, said, token, write_jwks

Change = Callable[[], str]


def issuer_of(path: Path, algorithms: tuple[str, ...] = ALGORITHMS, **changed: Any) -> Issuer:
    given = {"issuer": ISSUER, "audience": AUDIENCE, "leeway_s": 30, "claims": CLAIMS, **changed}
    return Issuer(path, algorithms=algorithms, **given)


@pytest.fixture(scope="module")
def jwks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_jwks(tmp_path_factory.mktemp("issuer") / "jwks.json")


@pytest.fixture(scope="module")
def issuer(jwks: Path) -> Issuer:
    return issuer_of(jwks)


def code(issuer: Issuer, text: str, now: int | None = None) -> str:
    with pytest.raises(JwtError) as caught:
        issuer.verified(text, time.time_ns() if now is None else now)
    assert len(text) < 8 or text not in str(caught.value)
    return caught.value.code


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_token_is_read(issuer: Issuer, algorithm: str) -> None:
    claims = said()
    found = issuer.verified(token(claims, algorithm), time.time_ns())
    assert found == Claims(
        subject="nurse-7",
        tenant="clinic",
        models=("minilm",),
        purposes=("search",),
        regions=("DE",),
        until=(claims["exp"] + 30) * 10**9,
    )


@pytest.mark.parametrize(
    ("changed", "header"),
    [
        ({"aud": ["other", AUDIENCE]}, {}),
        ({"nbf": int(time.time()) - 1}, {}),
        ({"exp": 60.5}, {}),  # from when it is asked on
        ({"more": {"deep": [1, None]}}, {}),
        ({}, {"typ": "at+JWT"}),
        ({}, {"typ": None}),
        ({}, {"jku": "https://evil.example/jwks", "x5u": "https://evil.example", "cty": "x"}),
    ],
)
def test_a_token_of_another_make_is_read(issuer: Issuer, changed: dict[str, Any], header: dict[str, Any]) -> None:
    if "exp" in changed:
        changed = {"exp": time.time() + changed["exp"]}
    assert issuer.verified(token(said(**changed), **header), time.time_ns()).subject == "nurse-7"


def test_a_claim_of_one_text_is_one_value_and_an_empty_list_allows_nothing(issuer: Issuer) -> None:
    found = issuer.verified(token(said(models="a b", purposes=[])), time.time_ns())
    assert (found.models, found.purposes) == (("a b",), ())


def test_claims_that_the_settings_do_not_name_are_not_read(jwks: Path) -> None:
    found = issuer_of(jwks, claims={}).verified(token(), time.time_ns())
    assert (found.tenant, found.models, found.purposes, found.regions) == (None, None, None, None)


def signed_with_the_public_key_as_a_secret() -> str:
    """Algorithm confusion: HS256 over the text of a public key that everybody has (CVE-2016-10555 and many after)."""
    secret = private("RS256").public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    text = joined({"alg": "HS256", "typ": "JWT", "kid": "RS256-0"}, said())[:-1]
    return f"{text}.{encoded(hmac.digest(secret, text.encode(), 'sha256'))}"


def encoded(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def parts(text: str) -> tuple[dict[str, Any], dict[str, Any], bytes]:
    header, claims, signature = (urlsafe_b64decode(part + "=" * (-len(part) % 4)) for part in text.split("."))
    return json.loads(header), json.loads(claims), signature


def with_header(**changed: Any) -> str:
    header, claims, signature = parts(token())
    return joined({**header, **changed}, claims, signature)


def with_claims(**changed: Any) -> str:
    header, claims, signature = parts(token())
    return joined(header, {**claims, **changed}, signature)


def with_a_flipped_bit(place: int) -> str:
    header, claims, signature = parts(token())
    flipped = bytearray(signature)
    flipped[place] ^= 1
    return joined(header, claims, bytes(flipped))


def signed(claims: Any) -> str:
    """What the library would not sign as claims."""
    return jwt.PyJWS().encode(json.dumps(claims).encode(), private("EdDSA"), "EdDSA", {"kid": "EdDSA-0"})


def with_its_own_key() -> str:
    """CVE-2018-0114: the token brings the key that it is to be checked with."""
    return token(number=7, kid="EdDSA-0", jwk=jwk("EdDSA", 7))


ATTACKS: dict[str, tuple[Change, str]] = {
    "no signature and alg none": (lambda: joined({"alg": "none", "kid": "EdDSA-0"}, said()), "jwt_algorithm"),
    "alg None in capitals": (lambda: joined({"alg": "NONE", "kid": "EdDSA-0"}, said()), "jwt_algorithm"),
    "alg none over a true signature": (lambda: with_header(alg="none"), "jwt_algorithm"),
    "no alg": (lambda: joined({"typ": "JWT", "kid": "EdDSA-0"}, said()), "jwt_algorithm"),
    "alg is a list": (lambda: joined({"alg": ["EdDSA"], "kid": "EdDSA-0"}, said()), "jwt_algorithm"),
    "the public key as the secret of HS256": (signed_with_the_public_key_as_a_secret, "jwt_algorithm"),
    "a stronger algorithm that is not allowed": (
        lambda: jwt.encode(said(), private("RS256"), "RS512", {"kid": "RS256-0"}),
        "jwt_algorithm",
    ),
    "RS256 with the key for PS256": (
        lambda: jwt.encode(said(), private("RS256"), "RS256", {"kid": "PS256-0"}),
        "jwt_key",
    ),
    "the kid of a key of another kind": (lambda: with_header(kid="ES256-0"), "jwt_key"),
    "an unknown kid": (lambda: token(kid="EdDSA-1"), "jwt_key"),
    "a kid that is a path": (lambda: token(kid="../../../dev/null"), "jwt_key"),
    "no kid": (lambda: joined({"alg": "EdDSA"}, said(), parts(token())[2]), "jwt_key"),
    "a kid that is no text": (lambda: joined({"alg": "EdDSA", "kid": ["EdDSA-0"]}, said()), "jwt_malformed"),
    "another key under the right kid": (lambda: token(number=1, kid="EdDSA-0"), "jwt_signature"),
    "its own key in the header": (with_its_own_key, "jwt_signature"),
    "no signature": (lambda: token().rpartition(".")[0] + ".", "jwt_signature"),
    "a signature of zeros for ES256": (
        lambda: joined({"alg": "ES256", "kid": "ES256-0"}, said(), bytes(64)),
        "jwt_signature",
    ),
    "a signature of another token": (lambda: token().rpartition(".")[0] + "." + encoded(bytes(64)), "jwt_signature"),
    "altered claims": (lambda: with_claims(sub="root"), "jwt_signature"),
    "a longer life": (lambda: with_claims(exp=2**40), "jwt_signature"),
    "the first bit of the signature flipped": (lambda: with_a_flipped_bit(0), "jwt_signature"),
    "the last bit of the signature flipped": (lambda: with_a_flipped_bit(-1), "jwt_signature"),
    "expired": (lambda: token(said(exp=int(time.time()) - 31)), "jwt_expired"),
    "expired long ago": (lambda: token(said(exp=-1)), "jwt_expired"),
    "not valid yet": (lambda: token(said(nbf=int(time.time()) + 60)), "jwt_early"),
    "issued in the future": (lambda: token(said(iat=int(time.time()) + 60)), "jwt_early"),
    "no time at which it expires": (lambda: token(said(exp=None)), "jwt_claim"),
    "an exp that is no number": (lambda: token(said(exp="never")), "jwt_malformed"),
    "an exp beyond numbers": (lambda: token(said(exp=float("inf"))), "jwt_malformed"),
    "for another audience": (lambda: token(said(aud="billing")), "jwt_audience"),
    "for an audience that begins like ours": (lambda: token(said(aud=AUDIENCE + "-test")), "jwt_audience"),
    "for no audience": (lambda: token(said(aud=None)), "jwt_claim"),
    "for an empty list of audiences": (lambda: token(said(aud=[])), "jwt_claim"),
    "for an audience that is an object": (lambda: token(said(aud={AUDIENCE: 1})), "jwt_audience"),
    "from another issuer": (lambda: token(said(iss="https://evil.example")), "jwt_issuer"),
    "from our issuer with a slash": (lambda: token(said(iss=ISSUER + "/")), "jwt_issuer"),
    "from a list of issuers": (lambda: signed(said(iss=[ISSUER])), "jwt_issuer"),
    "from nobody": (lambda: token(said(iss=None)), "jwt_claim"),
    "of nobody": (lambda: token(said(sub=None)), "jwt_claim"),
    "of an empty subject": (lambda: token(said(sub="")), "jwt_claim"),
    "of a subject too long": (lambda: token(said(sub="a" * 201)), "jwt_claim"),
    "of a subject that moves the cursor": (lambda: token(said(sub="a\x1b[2J")), "jwt_claim"),
    "of half a character": (lambda: token(said(sub="\ud800")), "jwt_claim"),
    "without the claim of models": (lambda: token(said(models=None)), "jwt_claim"),
    "without the claim of the tenant": (lambda: token(said(org=None)), "jwt_claim"),
    "models that are an object": (lambda: token(said(models={"minilm": True})), "jwt_claim"),
    "purposes that are numbers": (lambda: token(said(purposes=[1])), "jwt_claim"),
    "too many regions": (lambda: token(said(regions=["DE"] * 65)), "jwt_claim"),
    "a logout token": (lambda: token(typ="logout+jwt"), "jwt_type"),
    "a typ that is no text": (lambda: joined({"alg": "EdDSA", "kid": "EdDSA-0", "typ": 1}, said()), "jwt_type"),
    "something critical that is not understood": (lambda: with_header(crit=["exp"], exp=1), "jwt_malformed"),
    "a payload that is not encoded": (lambda: with_header(b64=False, crit=["b64"]), "jwt_malformed"),
    "a JWE of five parts": (lambda: ".".join(["e30"] * 5), "jwt_malformed"),
    "oversized": (lambda: token(said(pad="a" * MAX_TOKEN)), "jwt_malformed"),
    "claims that nest without end": (lambda: joined({"alg": "EdDSA", "kid": "EdDSA-0"}, b"[" * 5_000), "jwt_signature"),
    "a header that nests without end": (lambda: joined(b"[" * 5_000, said()), "jwt_malformed"),
    "claims that are a list": (lambda: signed([]), "jwt_malformed"),
    "letters outside ASCII": (lambda: token() + "\u0131", "jwt_malformed"),
    "a line end behind it": (lambda: token() + "\n", "jwt_malformed"),
    "nothing": (lambda: "", "jwt_malformed"),
    "two dots": (lambda: "..", "jwt_malformed"),
}  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_is_refused(issuer: Issuer, attack: str) -> None:
    make, expected = ATTACKS[attack]
    assert code(issuer, make()) == expected


@given(st.text(max_size=60) | st.lists(st.binary(max_size=40), max_size=5).map(lambda p: ".".join(map(encoded, p))))
def test_whatever_is_sent_is_refused_with_a_code(issuer: Issuer, text: str) -> None:
    assert code(issuer, text).startswith("jwt_")


@given(place=st.integers(0, 10_000), to=st.characters(codec="ascii"))
def test_a_token_with_one_other_letter_is_refused(issuer: Issuer, place: int, to: str) -> None:
    text = token()
    place %= len(text)
    changed = text[:place] + to + text[place + 1 :]
    if changed != text:
        assert code(issuer, changed).startswith("jwt_")


def test_an_algorithm_that_the_settings_do_not_name_is_refused(jwks: Path) -> None:
    assert code(issuer_of(jwks, ("ES256",)), token()) == "jwt_algorithm"


def test_the_leeway_holds_and_no_more(jwks: Path) -> None:
    late = token(said(exp=int(time.time()) - 10))
    assert issuer_of(jwks).verified(late, time.time_ns()).subject == "nurse-7"
    assert code(issuer_of(jwks, leeway_s=0), late) == "jwt_expired"


def test_a_token_that_is_remembered_expires_all_the_same(issuer: Issuer) -> None:
    claims = said()
    text, end = token(claims), (claims["exp"] + 30) * 10**9
    assert issuer.verified(text, end - 1) == issuer.verified(text, end - 1)
    assert code(issuer, text, end) == "jwt_expired"


def test_no_more_tokens_are_remembered_than_there_is_room_for(jwks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compliance.issuer.tokens.REMEMBERED", 3)
    issuer, texts = issuer_of(jwks), [token(said(sub=f"nurse-{number}")) for number in range(9)]
    for number, text in enumerate(texts + texts):
        assert issuer.verified(text, time.time_ns()).subject == f"nurse-{number % 9}"
        assert len(issuer._verified) <= 3


def test_a_key_that_was_taken_out_closes_its_tokens_at_once(tmp_path: Path) -> None:
    path = write_jwks(tmp_path / "jwks.json", jwk("EdDSA"), jwk("EdDSA", 1))
    issuer, old, new = issuer_of(path), token(), token(number=1)
    assert issuer.verified(old, time.time_ns()) == issuer.verified(new, time.time_ns())
    write_jwks(path, jwk("EdDSA", 1))
    assert code(issuer, old) == "jwt_key"
    assert issuer.verified(new, time.time_ns()).subject == "nurse-7"


def test_while_the_keys_cannot_be_read_no_token_is_accepted(tmp_path: Path) -> None:
    path = write_jwks(tmp_path / "jwks.json", jwk("EdDSA"))
    issuer = issuer_of(path)
    assert issuer.verified(token(), time.time_ns())
    for break_it, expected in (
        (path.unlink, "jwks_missing"),
        (lambda: path.write_text('{"keys": ['), "jwks_malformed"),
        (lambda: write_jwks(path, jwk("EdDSA")), None),
    ):
        break_it()
        for _ in range(2):
            if expected is None:
                assert issuer.verified(token(), time.time_ns())
            else:
                with pytest.raises(JwksError) as caught:
                    issuer.verified(token(), time.time_ns())
                assert caught.value.code == expected
                assert str(path) in str(caught.value)


MALFORMED: dict[str, bytes | list[dict[str, Any]]] = {
    "no JSON": b"{",
    "no UTF-8": b'{"keys": "\xff"}',
    "a list": b"[]",
    "no keys": b"{}",
    "an empty list": b'{"keys": []}',
    "keys that are no objects": b'{"keys": [1]}',
    "nesting without end": b'{"keys": ' + b"[" * 100_000,
    "too large": b'{"keys": [' + b" " * 300_000 + b"]}",
    "too many": [jwk("EdDSA", kid=f"k{number}") for number in range(65)],
    "a private key": [jwk("EdDSA", d="AAAA")],
    "a symmetric key": [jwk("EdDSA"), {"kty": "oct", "kid": "s", "k": "AAAA"}],
    "a key without a kid": [jwk("EdDSA", kid=None)],
    "two keys with one kid": [jwk("EdDSA"), jwk("EdDSA", 1, kid="EdDSA-0")],
    "a key of RSA that is too short": [jwk("short", alg="RS256")],
    "keys to encrypt only": [jwk("EdDSA", use="enc")],
    "keys for other algorithms only": [jwk("RS256", alg="RS512")],
    "a key of another curve": [jwk("ES256", crv="P-384")],
    "a point that is not on the curve": [jwk("ES256", x="AAAA")],
    "a key without its numbers": [jwk("EdDSA", x=None)],
}


@pytest.mark.parametrize("flaw", MALFORMED)
def test_a_file_of_keys_with_a_flaw_is_refused(tmp_path: Path, flaw: str) -> None:
    path, content = tmp_path / "jwks.json", MALFORMED[flaw]
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(json.dumps({"keys": content}), "utf-8")
    with pytest.raises(JwksError) as caught:
        issuer_of(path)
    assert caught.value.code == "jwks_malformed"


def test_a_key_of_rsa_without_alg_serves_each_algorithm_that_is_allowed(tmp_path: Path) -> None:
    path = write_jwks(tmp_path / "jwks.json", jwk("RS256", alg=None, use=None), {"kty": "future", "kid": "x"})
    for algorithm in ("RS256", "PS256"):
        assert issuer_of(path).verified(token(algorithm=algorithm, kid="RS256-0"), time.time_ns())
    assert code(issuer_of(path, ("PS256",)), token(algorithm="RS256")) == "jwt_algorithm"


def test_without_the_file_there_is_no_issuer(tmp_path: Path) -> None:
    with pytest.raises(JwksError) as caught:
        issuer_of(tmp_path / "nowhere.json")
    assert caught.value.code == "jwks_missing"
