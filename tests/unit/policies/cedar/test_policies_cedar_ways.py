"""What would have to change is decided by the policy itself: the fewest changes, and each of them is enough."""

from __future__ import annotations

from msgspec.structs import replace

from policies.cedar import Engine, filled, load, schema
from policies.cedar.ways import ways
from policies.facts import Call, Declared, Manifest, Purpose, Stated
from toolkit.policy import pack, schema_text

MODEL = Manifest(format=1, name="m", version="1", digest="ab" * 32, task="embed", licence="MIT", inputs=(), outputs=())
CALL = Call(
    id="c", at=1, actor="ann", tenant="t", action="infer", model=MODEL.digest, purpose="care", signer="s", sealed=True
)
PURPOSES = {
    "care": Purpose(bases=frozenset({"consent", "contract"}), retain_days=30),
    "research": Purpose(bases=frozenset({"contract"}), commercial=False, retain_days=30),
}


def engine(own: bytes = b"") -> Engine:
    chosen = [pack(name) for name in ("base", "gdpr", "licence")]
    texts = {one.name: one.policy for one in chosen} | ({"own.cedar": own} if own else {})
    parameters = filled(chosen, {"gdpr": {"detected": ["care"]}})
    return load(texts, schema(schema_text(), chosen), PURPOSES, parameters)


def said(call: Call, model: Manifest = MODEL) -> set[str]:
    return {" and ".join(change.says for change in way) for way in ways(engine(), model, call)}


def test_one_change_is_enough() -> None:
    assert said(replace(CALL, purpose=None)) == {"the purpose is care", "the purpose is research"}
    assert said(replace(CALL, data=frozenset({"email"}))) == {
        "the legal basis is contract",
        "the input holds none of: email",
    }
    assert said(replace(CALL, detected=frozenset({"person_name"}))) == {
        "the purpose is research",
        "the legal basis is contract",
        "the detector finds none of: person_name",
    }
    assert said(replace(CALL, unseen=True)) == {"the detector looks at the input"}
    assert said(CALL, replace(MODEL, licence="CC-BY-NC-4.0")) == {
        "the purpose is research",
        "the model has a permissive licence",
    }


def test_two_changes_where_one_is_not_enough() -> None:
    consent = replace(CALL, basis="consent", data=frozenset({"health"}))
    found = said(consent)
    assert "consent is on record, explicit and the person is named" in found
    assert all(" and " in way for way in found)


def test_what_no_change_allows_has_no_way() -> None:
    own = b"""
@id("house.train")
@reason("In this house nothing is trained.")
forbid (principal, action == Action::"train", resource);
"""
    assert list(ways(engine(own), MODEL, replace(CALL, action="train"))) == []


def test_each_way_is_minimal_and_there_are_not_too_many() -> None:
    for call in (CALL, replace(CALL, data=frozenset({"health", "email", "criminal"})), replace(CALL, signer=None)):
        found = ways(engine(), MODEL, call)
        assert len(found) <= 12
        assert len({len(way) for way in found}) <= 1


def test_what_a_licence_asks_of_who_runs_the_box_is_told() -> None:
    llama = replace(MODEL, licence="LicenseRef-scancode-llama-2-license-2023")
    assert said(CALL, llama) == {
        "a declaration counts that is within what the licence asks",
        "the model has a permissive licence",
    }
    hunyuan = replace(MODEL, licence="LicenseRef-scancode-tencent-hunyuan-3d-2.0-cla")
    # two changes would do as well, and one is fewer
    assert said(replace(CALL, action="compress"), hunyuan) == {"the model has a permissive licence"}
    not_hosted = replace(MODEL, licence="LicenseRef-scancode-stability-ai-nc-2023-12-06")
    assert "the model is embedded, and not served" in said(replace(CALL, purpose="research", served=True), not_hosted)
    over = replace(MODEL, stated=Stated(licence="MIT", starts=0, ends=1))
    assert said(CALL, over) == {"the papers of the source name the licence"}
    assert said(replace(CALL, declared=Declared(state="over")), llama) == said(CALL, llama)
