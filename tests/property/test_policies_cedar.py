"""Garbage never becomes a policy, and no request makes the engine raise or forget its findings."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from policies.cedar import PolicyError, filled, load, reloaded, schema
from policies.cedar.cases import Cases, tried
from policies.cedar.claims import Claims
from policies.facts import Call, Consented, Declared, Manifest, Purpose, Sanitised
from toolkit.policy import pack, schema_text

CHOSEN = [pack("base"), pack("licence")]
SCHEMA = schema(schema_text(), CHOSEN)
BASE = b"\n".join(one.policy for one in CHOSEN)
PURPOSES = {"support": Purpose(bases=frozenset({"contract"}), retain_days=30)}
MODEL = Manifest(format=1, name="m", version="1", digest="ab" * 32, task="embed", licence="MIT", inputs=(), outputs=())
CALL = Call(id="c", at=1, actor="ann", tenant="t", action="infer", model=MODEL.digest, signer="s", sealed=True)
OWN = load({"base.cedar": BASE}, SCHEMA, PURPOSES, filled(CHOSEN, {"base": {"redact": ["support"]}}))

WORDS = (
    *(b"permit", b"forbid", b"principal", b"action", b"resource", b"when", b"unless", b"@id", b"@reason", b'"a.b"'),
    *(b"(", b")", b"{", b"}", b"[", b"]", b";", b",", b"==", b"||", b".", b"?", b"\\", b"//", b'"', b"\n"),
    *(b"in", b"has", b"is", b"context", b"true", b"entity", b"type", b"appliesTo", b"Set<"),
)
PIECES = st.sampled_from(WORDS) | st.binary(max_size=4)
ANY = st.text(max_size=20)
MAYBE = st.none() | ANY
KINDS = st.sampled_from(["redact", "pseudonymise", "attribution"])


@given(st.lists(PIECES, max_size=60).map(b" ".join))
def test_garbage_is_refused(text: bytes) -> None:
    _refused({"own.cedar": text}, SCHEMA)


@given(st.lists(PIECES, max_size=60).map(b" ".join))
def test_a_garbage_schema_is_refused(schema: bytes) -> None:
    _refused({"base.cedar": BASE}, schema)


@given(st.integers(0, len(BASE)), st.binary(max_size=3), st.integers(0, 40))
def test_a_damaged_policy_is_refused_or_still_refuses(place: int, wrong: bytes, size: int) -> None:
    """Damage may leave valid rules, as in a comment: then what was never permitted is still refused."""
    text = BASE[:place] + wrong + BASE[place + size :]
    try:
        own = load({"base.cedar": text}, SCHEMA, PURPOSES)
    except PolicyError as error:
        assert error.hint  # noqa: PT017 - either way is right, and both are checked
        return
    assert not own.decide(replace(MODEL, licence="LicenseRef-x"), replace(CALL, action="export")).allowed


@settings(max_examples=200)
@given(
    actor=ANY, tenant=ANY, purpose=MAYBE | st.just("support"), basis=MAYBE | st.just("contract"),
    consent=MAYBE, subject=MAYBE, region=MAYBE, data=st.frozensets(ANY, max_size=3),
    at=st.integers(), usage=st.integers(), retain_days=st.integers(),
    quota=st.none() | st.integers(), sealed=st.booleans(), signer=MAYBE, host=MAYBE,
    consented=st.none() | st.builds(Consented, receipt=ANY, explicit=st.booleans(), guardian=st.booleans()),
    sanitised=st.none() | st.builds(Sanitised, kind=KINDS | ANY, data=st.just(frozenset())),
    detector=MAYBE, detected=st.frozensets(ANY, max_size=3), unseen=st.booleans(),
    served=st.booleans(), noticed=st.booleans(),
    declared=st.none() | st.builds(
        Declared, state=st.sampled_from(["open", "over", "forged"]) | ANY, domicile=MAYBE | st.just("DE"),
        users=st.none() | st.integers(), revenue=st.none() | st.integers(), commercial=st.none() | st.booleans(),
    ),
    action=st.sampled_from(["infer", "scan", "measure", "compress", "export", "train"]) | ANY,
    licence=st.sampled_from(["MIT", "Apache-2.0", "CC-BY-NC-4.0"]) | ANY,
    name=ANY, purposes=st.lists(ANY, max_size=3).map(tuple),
)  # fmt: skip
def test_every_request_has_an_answer(licence: str, name: str, purposes: tuple[str, ...], **facts: object) -> None:
    model = replace(MODEL, licence=licence, name=name, purposes=purposes)
    call = replace(CALL, **facts)
    decision = OWN.decide(model, call)
    assert decision.findings
    assert decision.policy == OWN.digest
    assert decision.allowed == all(finding.ok for finding in decision.findings)
    if decision.allowed:
        # the rules once more, in Python
        assert licence in ("MIT", "Apache-2.0", "CC-BY-NC-4.0")
        assert call.action in ("infer", "scan", "measure", "compress")
        assert call.purpose in (None, "support")
        assert call.basis is None or (call.purpose, call.basis) == ("support", "contract")
        if call.action == "infer":
            assert call.purpose == "support"
            assert licence != "CC-BY-NC-4.0"
            assert not purposes or "support" in purposes
            assert not call.data or call.basis == "contract"
        if call.action != "measure" and licence == "CC-BY-NC-4.0" and call.declared is not None:
            # an expired or forged declaration might have said that there is commerce
            assert call.declared.state == "open"
            assert call.action == "compress" or not call.declared.commercial
        if call.action in ("infer", "scan"):
            assert call.signer is not None
            assert call.purpose is None or (licence != "CC-BY-NC-4.0" and (not purposes or call.purpose in purposes))
        assert call.sanitised is None or call.sanitised.kind in ("redact", "pseudonymise")
        kinds = [one.kind for one in decision.obligations]
        assert ("attribution" in kinds) is (call.action == "infer")
        assert kinds[:-1] == ([] if call.sanitised is None else [call.sanitised.kind]) or call.action != "infer"
        assert call.sealed
        assert not call.unseen
        assert call.quota is None or call.usage < call.quota


LINES = st.sampled_from(
    (
        *(
            "[[case]]",
            "[[claim]]",
            "[case]",
            'name = "a"',
            "allow = true",
            "allow = false",
            'rules = ["a.b"]',
            "call = {}",
        ),
        *('call = { purpose = "support" }', "call = { usage = 99999999999999999999 }", 'model = { licence = "MIT" }'),
        *("[purposes.support]", 'bases = ["contract"]', "retain_days = 1", "[parameters.base]", 'never = "true"'),
        *(
            "never = 'context.usage > 1 }; permit (principal, action, resource) when {'",
            "name = 1",
            "\x00",
            "[[",
            "= =",
        ),
    )
)


@given(st.lists(LINES | st.text(max_size=8), max_size=30).map("\n".join))
def test_garbage_is_no_case_and_no_claim(text: str) -> None:
    """Read, or refused with a code: nothing else, and nothing is put in force by it."""
    for read in (lambda: tried(OWN, Cases.read("c", text.encode())), lambda: Claims.read("c", text.encode())):
        try:
            read()
        except PolicyError as error:
            assert error.code == "policy_cases"  # noqa: PT017 - either way is right, and both are checked


@given(st.binary(max_size=60) | st.just(OWN.source), st.integers(0, 400), st.binary(max_size=3))
def test_a_damaged_archive_is_refused_or_another_policy(data: bytes, place: int, wrong: bytes) -> None:
    damaged = data[:place] + wrong + data[place + len(wrong) :]
    try:
        assert (reloaded(damaged).digest == OWN.digest) == (damaged == OWN.source)
    except PolicyError as error:
        assert error.hint  # noqa: PT017 - either way is right, and both are checked


def _refused(texts: dict[str, bytes], schema: bytes) -> None:
    try:
        load(texts, schema, PURPOSES)
    except PolicyError as error:
        assert error.code in PolicyError.hints  # noqa: PT017 - the other branch fails
    else:
        raise AssertionError("garbage was put in force")
