"""Over arbitrary JSON: what is taken stays as it is, and no text in it is left unscanned."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.payload import InputError, Payload

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
LEAF = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**64) | st.floats(allow_nan=False, allow_infinity=False) | TEXT
)
JSON = st.recursive(LEAF, lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner), max_leaves=20)
FOREIGN = st.sampled_from([float("nan"), float("-inf"), b"x", {1: 2}, {1, 2}, "\ud800", {"\udc00": 1}, object()])


def strings(value: Any) -> list[str]:
    """Another way to the same: every string that the JSON text of the value holds."""
    found: list[str] = []
    json.loads(json.dumps(value), object_pairs_hook=lambda pairs: found.extend(key for key, _ in pairs))

    def walk(item: Any) -> None:
        match item:
            case str():
                found.append(item)
            case list():
                for one in item:
                    walk(one)
            case dict():
                for one in item.values():
                    walk(one)

    walk(value)
    return found


@given(JSON)
def test_every_string_is_among_the_texts(value: object) -> None:
    payload = Payload.checked(value)
    texts = list(payload.texts())
    for text in strings(value):
        texts.remove(text)
    # what is left are numbers
    assert all(isinstance(json.loads(text), int | float) for text in texts)


@given(JSON)
def test_what_is_taken_can_be_written_as_json_and_read_back(value: object) -> None:
    payload = Payload.checked(value)
    assert json.loads(json.dumps(payload.value, allow_nan=False).encode()) == value


@given(JSON, FOREIGN, st.data())
def test_one_foreign_value_anywhere_is_enough(value: object, foreign: object, data: st.DataObject) -> None:
    for _ in range(data.draw(st.integers(0, 5))):
        foreign = data.draw(st.sampled_from([[value, foreign], {"a": value, "b": foreign}, [foreign]]))
    with pytest.raises(InputError):
        Payload.checked(foreign)


@given(st.dictionaries(TEXT, st.binary(max_size=20), max_size=4))
def test_the_names_of_blobs_are_among_the_texts(blobs: dict[str, bytes]) -> None:
    assert list(Payload.checked(None, blobs).texts()) == list(blobs)
