"""Who asks and under what: one credential, headers read strictly, and a context from header, body and key."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compliance.issuer.errors import JwtError
from compliance.issuer.tokens import Issuer
from compliance.state.api_key_table import Defaults, Terms
from compliance.state.api_keys import ApiKeyError, ApiKeys
from policies.errors import Fault
from policies.payload import InputError
from serve.caller import Caller, ScopeError
from serve.identity import FIELDS, Identity, context_of, issuer_of
from serve.problems import RequestError
from tests.issuers import ALGORITHMS, AUDIENCE, CLAIMS, ISSUER, said, token, write_jwks
from toolkit.box import Box
from toolkit.new_box import create_box
from toolkit.settings import ServeSettings

CALLER = Caller(id="4be1", actor="4be1", account="4be1", rate_per_s=1, burst=1)
LIMITS = ServeSettings(rate_per_s=9, burst=8, concurrent=7)
TERMS = Terms(
    tenant="clinic",
    models=("minilm",),
    purposes=("search",),
    regions=("DE",),
    admin=True,
    rate_per_s=3,
    burst=2,
    concurrent=1,
    defaults=Defaults(purpose="search"),
)


def now() -> int:
    return time.time_ns()


def bearer(text: str) -> tuple[bytes, bytes]:
    return b"authorization", f"Bearer {text}".encode()


def code(
    error: type[Fault], identity: Identity, *headers: tuple[bytes, bytes], certificate: bytes | None = None
) -> str:
    with pytest.raises(error) as caught:
        identity.identified(headers, certificate, now())
    assert "canary" not in str(caught.value)
    return caught.value.code


@pytest.fixture
def keys(tmp_path: Path) -> Iterator[ApiKeys]:
    with closing(ApiKeys(tmp_path)) as keys:
        yield keys


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Issuer:
    jwks = write_jwks(tmp_path_factory.mktemp("issuer") / "jwks.json")
    return Issuer(jwks, issuer=ISSUER, audience=AUDIENCE, algorithms=ALGORITHMS, leeway_s=30, claims=CLAIMS)


@pytest.fixture
def identity(keys: ApiKeys) -> Identity:
    """One that knows of keys and certificates."""
    return Identity(keys, None, LIMITS)


@pytest.fixture
def both(keys: ApiKeys, issuer: Issuer) -> Identity:
    return Identity(keys, issuer, LIMITS)


def test_a_key_is_its_caller_with_scopes_and_limits(keys: ApiKeys, identity: Identity) -> None:
    made, text = keys.create(now(), TERMS, calls=5)
    assert identity.identified([bearer(text)], None, now()).caller == Caller(
        id=made.id,
        actor=made.id,
        account=made.id,
        rate_per_s=3,
        burst=2,
        concurrent=1,
        key=True,
        counted=True,
        admin=True,
        tenant="clinic",
        models=("minilm",),
        purposes=frozenset({"search"}),
        regions=frozenset({"DE"}),
        defaults=Defaults(purpose="search"),
    )


def test_a_key_without_terms_is_for_everything_within_the_limits_of_the_settings(
    keys: ApiKeys, identity: Identity
) -> None:
    made, text = keys.create(now())
    caller = identity.identified([bearer(text)], None, now()).caller
    assert caller == Caller(id=made.id, actor=made.id, account=made.id, rate_per_s=9, burst=8, concurrent=7, key=True)
    assert (caller.models, caller.purposes, caller.regions, caller.admin, caller.counted) == (None,) * 3 + (False,) * 2


def test_a_change_to_a_key_is_seen_at_once(keys: ApiKeys, identity: Identity, tmp_path: Path) -> None:
    made, text = keys.create(now(), TERMS)
    assert identity.identified([bearer(text)], None, now()).caller.id == made.id
    with closing(ApiKeys(tmp_path)) as command:
        new, new_text, _ = command.rotate(made.id, now(), overlap=10**12)
        caller = identity.identified([bearer(new_text)], None, now()).caller
        assert (caller.id, caller.account) == (new.id, made.id)
        command.revoke(made.id, now())
    assert code(ApiKeyError, identity, bearer(text)) == "api_key_revoked"


def test_a_token_is_its_caller(both: Identity) -> None:
    caller = both.identified([bearer(token())], None, now()).caller
    assert caller == Caller(
        id=caller.id,
        actor="jwt:nurse-7",
        account=caller.id,
        rate_per_s=9,
        burst=8,
        concurrent=7,
        tenant="clinic",
        models=("minilm",),
        purposes=frozenset({"search"}),
        regions=frozenset({"DE"}),
    )
    assert caller.id.startswith("jwt-")
    assert "nurse" not in caller.id


def test_a_token_that_allows_nothing_allows_nothing(both: Identity) -> None:
    caller = both.identified([bearer(token(said(models=[], purposes=[], regions=[])))], None, now()).caller
    assert (caller.models, caller.purposes, caller.regions) == ((), frozenset(), frozenset())
    assert not caller.sees("minilm", "1")


def test_a_subject_is_never_taken_for_a_key(keys: ApiKeys, both: Identity) -> None:
    made, text = keys.create(now())
    key = both.identified([bearer(text)], None, now()).caller
    posing = both.identified([bearer(token(said(sub=made.id)))], None, now()).caller
    assert not {key.id, key.actor, key.account} & {posing.id, posing.actor, posing.account}


def test_a_token_opens_nothing_where_the_settings_name_no_issuer(identity: Identity) -> None:
    assert code(ApiKeyError, identity, bearer(token())) == "api_key_unknown"


def test_a_key_is_no_token_and_a_token_no_key(both: Identity) -> None:
    assert code(ApiKeyError, both, bearer("sp_canary")) == "api_key_unknown"
    assert code(JwtError, both, bearer("canary")) == "jwt_malformed"


def test_a_certificate_identifies_unless_something_else_is_brought(keys: ApiKeys, both: Identity) -> None:
    bound, secret = keys.create(now(), certificate=b"ours")
    free, other = keys.create(now())
    assert both.identified([], b"ours", now()).caller.id == bound.id
    assert both.identified([bearer(secret)], b"ours", now()).caller.id == bound.id
    assert both.identified([bearer(other)], b"ours", now()).caller.id == free.id
    assert both.identified([bearer(token())], b"ours", now()).caller.actor == "jwt:nurse-7"
    # an unchanged client of OpenAI's protocol sends the header with an empty key
    assert both.identified([(b"authorization", b"Bearer ")], b"ours", now()).caller.id == bound.id
    assert code(ApiKeyError, both, bearer(secret)) == "api_key_bound"
    assert code(ApiKeyError, both, bearer("sp_canary"), certificate=b"ours") == "api_key_unknown"
    assert code(ApiKeyError, both, certificate=b"theirs") == "api_key_certificate"


@pytest.mark.parametrize("form", ["bearer {}", "BEARER {}", "Bearer  {} "])
def test_the_scheme_is_taken_in_any_case(keys: ApiKeys, identity: Identity, form: str) -> None:
    made, text = keys.create(now())
    assert identity.identified([(b"authorization", form.format(text).encode())], None, now()).caller.id == made.id


@pytest.mark.parametrize("value", [None, b"", b"Basic c3A6a2V5", b"Bearer", b"\xff\xfe"])
def test_without_a_key_it_is_missing(identity: Identity, value: bytes | None) -> None:
    headers = [] if value is None else [(b"authorization", value)]
    assert code(ApiKeyError, identity, *headers) == "api_key_missing"


def test_the_headers_of_the_context_are_read(keys: ApiKeys, identity: Identity) -> None:
    _, text = keys.create(now())
    headers = [
        (b"host", b"localhost"),
        bearer(text),
        (b"x-purpose", b"product"),
        (b"x-legal-basis", b"consent"),
        (b"x-consent", b"receipt-7"),
        (b"x-subject", "Müller".encode()),
        (b"x-region", b"EU"),
        (b"x-data", b"health"),
        (b"x-override", b"emergency"),
        (b"x-actor", b"somebody-else"),
        (b"x-tenant", b"somebody-else"),
    ]
    assert identity.identified(headers, None, now()).said == {
        "purpose": "product",
        "legal_basis": "consent",
        "consent": "receipt-7",
        "subject": "Müller",
        "region": "EU",
        "data": "health",
        "override": "emergency",
    }


@pytest.mark.parametrize(
    "headers",
    [
        [bearer("sp_key"), bearer("sp_key")],
        [(b"authorization", b""), bearer("sp_key")],
        [(b"authorization", b"Basic canary"), bearer("sp_key")],
        [bearer("sp_key"), (b"x-purpose", b"search"), (b"x-purpose", b"product")],
        [bearer("sp_key"), (b"x-subject", b"canary\xff")],
        [bearer("sp_key"), (b"x-region", b"canary" * 100)],
    ],
)
def test_a_header_that_is_not_clear_is_refused_and_not_repeated(
    identity: Identity, headers: list[tuple[bytes, bytes]]
) -> None:
    assert code(RequestError, identity, *headers) == "request_header"


def test_the_issuer_is_the_one_of_the_settings(tmp_path: Path) -> None:
    create_box(tmp_path / "box")
    path = tmp_path / "box" / "sealpress.toml"
    bare = Box(path)
    with closing(bare.journal):
        assert issuer_of(bare) is None
    write_jwks(tmp_path / "box" / "jwks.json")
    with path.open("a") as settings:
        settings.write(f'\n[serve.jwt]\njwks = "jwks.json"\nissuer = "{ISSUER}"\naudience = "sealpress"\n')
        settings.write('models_claim = "models"\n')
    box = Box(path)
    with closing(box.journal):
        issuer = issuer_of(box)
        assert issuer is not None
        claims = issuer.verified(token(), now())
        assert (claims.models, claims.purposes, claims.tenant) == (("minilm",), None, None)
        # RS256 is allowed by name only
        with pytest.raises(JwtError) as caught:
            issuer.verified(token(algorithm="RS256"), now())
        assert caught.value.code == "jwt_algorithm"


def caller(**changed: Any) -> Caller:
    fields = {name: getattr(CALLER, name) for name in CALLER.__struct_fields__}
    return Caller(**{**fields, **changed})


def test_the_defaults_of_the_key_hold_where_nothing_is_said() -> None:
    defaults = Defaults(purpose="search", basis="contract", region="DE", subject="patient-7", consent="receipt-9")
    context = context_of(caller(defaults=defaults, tenant="clinic"), {"region": "FR"}, {"subject": "patient-8"})
    assert (context.actor, context.tenant, context.purpose, context.basis, context.region) == (
        "4be1",
        "clinic",
        "search",
        "contract",
        "FR",
    )
    assert (context.subject, context.consent, context.override, context.data) == (
        "patient-8",
        "receipt-9",
        None,
        frozenset(),
    )


def test_what_is_said_empty_is_said() -> None:
    context = context_of(caller(defaults=Defaults(purpose="search", basis="contract")), {"legal_basis": ""}, {})
    assert (context.purpose, context.basis) == ("search", "")


@pytest.mark.parametrize("field", [field for field in FIELDS if field != "data"])
def test_header_and_body_may_say_the_same_and_nothing_else(field: str) -> None:
    said = getattr(context_of(CALLER, {field: "one"}, {field: "one"}), FIELDS[field])
    assert said == getattr(context_of(CALLER, {}, {field: "one"}), FIELDS[field]) == "one"
    with pytest.raises(RequestError) as caught:
        context_of(CALLER, {field: "one"}, {field: "canary"})
    assert caught.value.code == "request_context"
    assert "canary" not in str(caught.value)


def test_categories_are_added_up() -> None:
    context = context_of(CALLER, {"data": "health, minor ,"}, {"data": ["financial", "health"]})
    assert context.data == {"health", "minor", "financial"}
    assert context_of(CALLER, {}, {"data": "location,genetic"}).data == {"location", "genetic"}


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ({"canary": "x"}, "request_type"),
        ({"actor": "root"}, "request_type"),
        ({"tenant": "root"}, "request_type"),
        ({"purpose": 1}, "request_type"),
        ({"purpose": None}, "request_type"),
        ({"subject": ["canary"]}, "request_type"),
        ({"data": 1}, "request_type"),
        ({"data": {"health": True}}, "request_type"),
        ({"data": ["health", 1]}, "request_type"),
        ({"data": ["health"] * 33}, "request_type"),
        ({"data": "h," * 33}, "request_type"),
        ({"data": ["Canary!"]}, "input_type"),
        ({"subject": "canary" * 100}, "input_too_large"),
        ({"subject": "\ud800"}, "input_unicode"),
    ],
)
def test_a_body_that_says_what_no_context_is_is_refused(said: dict[str, Any], code: str) -> None:
    with pytest.raises((RequestError, InputError)) as caught:
        context_of(CALLER, {}, said)
    assert caught.value.code == code
    assert "canary" not in str(caught.value).lower()


@pytest.mark.parametrize(
    ("scopes", "said", "code"),
    [
        ({"purposes": frozenset({"search"})}, {"purpose": "product"}, "scope_purpose"),
        ({"purposes": frozenset({"search"})}, {}, "scope_purpose"),
        ({"purposes": frozenset({"search"})}, {"purpose": ""}, "scope_purpose"),
        ({"purposes": frozenset({"search"})}, {"purpose": "Search"}, "scope_purpose"),
        ({"purposes": frozenset()}, {"purpose": "search"}, "scope_purpose"),
        ({"regions": frozenset({"DE"})}, {"region": "US"}, "scope_region"),
        ({"regions": frozenset({"DE"})}, {}, "scope_region"),
        ({"purposes": frozenset({"search"})}, {"purpose": "search"}, None),
        ({"regions": frozenset({"DE", "FR"})}, {"region": "FR"}, None),
        ({"regions": frozenset({"DE"}), "defaults": Defaults(region="DE")}, {}, None),
        ({}, {"purpose": "anything", "region": "anywhere"}, None),
    ],
)
@pytest.mark.parametrize("place", ["header", "body"])
def test_a_context_out_of_scope_is_refused(
    scopes: dict[str, Any], said: dict[str, str], code: str | None, place: str
) -> None:
    given = (said, {}) if place == "header" else ({}, said)
    if code is None:
        context_of(caller(**scopes), *given)
        return
    with pytest.raises(ScopeError) as caught:
        context_of(caller(**scopes), *given)
    assert caught.value.code == code


_words = st.sampled_from(["", "a", "b", "c"])
_said = st.dictionaries(st.sampled_from(sorted(FIELDS.keys() - {"data"})), _words)


@given(headers=_said, body=_said, default=st.none() | st.sampled_from(["a", "b"]))
def test_a_header_comes_before_the_body_and_both_before_the_key(
    headers: dict[str, str], body: dict[str, str], default: str | None
) -> None:
    names = ("purpose", "basis", "region", "subject", "consent")
    asks = caller(defaults=Defaults(**dict.fromkeys(names, default)))
    if any(headers[field] != body[field] for field in headers.keys() & body.keys()):
        with pytest.raises(RequestError) as caught:
            context_of(asks, headers, body)
        assert caught.value.code == "request_context"
        return
    context = context_of(asks, headers, body)
    for field, name in FIELDS.items():
        if field != "data":
            expected = headers.get(field, body.get(field, default if name in names else None))
            assert getattr(context, name) == expected
    assert (context.actor, context.usage, context.quota) == ("4be1", 0, None)


@given(purposes=st.none() | st.frozensets(_words), regions=st.none() | st.frozensets(_words), headers=_said, body=_said)
def test_no_context_leaves_its_scope(
    purposes: frozenset[str] | None, regions: frozenset[str] | None, headers: dict[str, str], body: dict[str, str]
) -> None:
    try:
        context = context_of(caller(purposes=purposes, regions=regions), headers, body)
    except (RequestError, ScopeError):
        return
    assert purposes is None or context.purpose in purposes
    assert regions is None or context.region in regions
