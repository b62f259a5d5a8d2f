"""Whatever a payload holds: what the runtime redeems after it was sanitised holds nothing that the first tier finds."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from policies.cedar import filled, load, schema
from policies.errors import Denied
from policies.facts import Call, Decision, Manifest, Outcome, Purpose
from policies.gate import Grant, gate, redeem
from policies.payload import Payload
from policies.privacy import Detected, categories
from tests.property.test_policies_privacy import JOINED
from toolkit.policy import pack, schema_text

MODEL = Manifest(format=1, name="m", version="1", digest="ab" * 32, task="embed", licence="MIT", inputs=(), outputs=())
CALL = Call(
    id="c", at=1, actor="ann", tenant="t", action="infer", model=MODEL.digest, signer="s", sealed=True, subject="p7"
)
CHOSEN = [pack(name) for name in ("base", "gdpr", "licence")]
PURPOSES = {
    name: Purpose(bases=frozenset({"contract"}), commercial=False, retain_days=30)
    for name in ("search", "study", "both", "neither")
}
# every rule that gives way, alone and beside one that does not, and an own rule with no condition but what was found
OWN = """
@id("own.masked") @reason("For both, whatever is found is masked.") @obligation("redact")
forbid (principal, action == Action::"infer", resource)
when { context has purpose && context.purpose.name == "both" && !context.data.isEmpty() };
"""
POLICY = load(
    {**{one.name: one.policy for one in CHOSEN}, "own": OWN.encode()},
    schema(schema_text(), CHOSEN),
    PURPOSES,
    filled(CHOSEN, {"base": {"redact": ["search", "both"]}, "gdpr": {"pseudonymise": ["study"]}}),
)

LEAF = (
    JOINED
    | st.text(max_size=20)
    | st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
)
VALUE = st.recursive(
    LEAF, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(JOINED | st.text(max_size=8), inner, max_size=3)
)
TEXTS = st.lists(JOINED, min_size=1, max_size=4).map(lambda texts: {"texts": texts})
BLOBS = st.dictionaries(JOINED, st.binary(max_size=8), max_size=1)


class Book:
    """A ledger in memory."""

    sealed = True

    def __init__(self) -> None:
        self.call: Call = CALL
        self.payload = Payload(value="never opened")

    def opened(self, call: Call, model: Manifest, decision: Decision, payload: Payload) -> int:
        self.call, self.payload = call, payload
        return 0

    def noted(self, entry: int, kind: str, data: dict[str, Any], payload: Payload | None = None) -> None:
        raise AssertionError("the gate itself notes nothing")

    def closed(self, entry: int, outcome: Outcome) -> None:
        pass


def token(text: str, findings: Iterable[Detected]) -> str:
    """In the form that a box gives them: letters alone. Where findings overlap, one stands for all of them."""
    end = len(text)
    for one in sorted(findings, key=lambda one: (-one.end, one.start)):
        if one.start < end:
            text = f"{text[: one.start]}\u27e8{one.category}:{'bcdf' * 8}\u27e9{text[min(one.end, end) :]}"
            end = one.start
    return text


@settings(max_examples=400)
@given(
    VALUE | TEXTS,
    BLOBS,
    st.sampled_from(["search", "study", "both", "neither"]),
    st.none() | st.just("contract"),
    st.frozensets(st.sampled_from(["health", "location"]), max_size=1),
)
def test_nothing_is_left_of_what_was_sanitised(
    value: object, blobs: dict[str, bytes], purpose: str, basis: str | None, declared: frozenset[str]
) -> None:
    payload = Payload.checked(value, blobs)
    found = categories(payload.texts())
    book = Book()
    call = replace(CALL, purpose=purpose, basis=basis, data=declared)

    def work(grant: Grant) -> Payload:
        return redeem(grant, MODEL.digest, POLICY.digest)

    try:
        redeemed = gate(POLICY, MODEL, call, payload, book, work, pseudonymise=token)
    except Denied:
        assert book.payload == Payload(value=None)
        return
    assert redeemed is book.payload
    done = book.call.sanitised
    if done is None:
        assert redeemed is payload
        # nobody runs on personal data without a basis, unless it was taken out
        assert basis == "contract" or not found
        return
    assert done.data == found
    assert categories(redeemed.texts()) == frozenset()
    assert shape(redeemed.value) == shape(payload.value)
    assert redeemed.blobs == payload.blobs
    assert book.call.data == (declared if done.kind == "redact" else declared | found)
    assert basis == "contract" or not book.call.data


def shape(value: object) -> object:
    """All but what stands in texts, of which an empty one stays empty and no other becomes it."""
    match value:
        case str():
            return bool(value.strip())
        case list():
            return [shape(item) for item in value]
        case dict():
            return {key: shape(item) for key, item in value.items()}
    return value
