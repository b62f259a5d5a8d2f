"""From texts to embeddings, on a model small enough to be done by hand: row i of its table is 4i, 4i+1, 4i+2, 4i+3."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pytest
from numpy.typing import NDArray

from policies.errors import Fault
from policies.facts import Call, Manifest
from policies.gate import Grant, decide_and_open, gate
from policies.payload import InputError, Payload
from tests.unit.toolkit.runtime.test_runtime_session import Anything, Memory
from tests.vectors.make_bundles import HERE
from toolkit.runtime.inputs import TextInput
from toolkit.runtime.lane import Lane, reader_of
from toolkit.runtime.readers import TextReader, checked_texts
from toolkit.runtime.session import ModelError

GOLDEN = HERE / "golden-v1"
MANIFEST = Manifest(format=1, name="g", version="1", digest="d", task="t", licence="MIT", inputs=(), outputs=())


def lane(pooling: Literal["mean", "cls"] = "mean", normalise: bool = False, max_tokens: int = 8) -> Lane:
    text = TextInput(max_tokens=max_tokens, pooling=pooling, normalise=normalise, pad_id=0)
    reader = TextReader((GOLDEN / "tokenizer.json").read_bytes(), text)
    return Lane((GOLDEN / "model.onnx").read_bytes(), "d", reader)


def embed(one: Lane, *texts: str) -> tuple[NDArray[np.float32], dict[str, int]]:
    def work(grant: Grant) -> tuple[NDArray[np.float32], dict[str, int]]:
        (outputs,) = one.run([grant], "p")
        assert not isinstance(outputs, Fault)
        return outputs["embedding"], grant.usage

    call = Call(id="1", at=0, actor="a", tenant="t", action="infer", model="d")
    return gate(Anything(), MANIFEST, call, Payload.checked({"texts": list(texts)}), Memory(), work)


def test_the_mean_is_over_the_tokens_of_each_text_alone() -> None:
    found, usage = embed(lane(), "where ward", "is")
    assert found.dtype == np.float32
    assert found.tolist() == [[14.0, 15.0, 16.0, 17.0], [12.0, 13.0, 14.0, 15.0]]
    assert usage == {"texts": 2, "tokens": 3}


def test_cls_is_the_first_token() -> None:
    found, _ = embed(lane(pooling="cls"), "where ward")
    assert found.tolist() == [[8.0, 9.0, 10.0, 11.0]]


def test_a_normalised_embedding_has_length_one() -> None:
    found, _ = embed(lane(normalise=True), "where is the ward", "is")
    assert np.linalg.norm(found, axis=1) == pytest.approx(1.0, abs=1e-6)
    plain, _ = embed(lane(), "is")
    assert found[1] == pytest.approx(plain[0] / np.linalg.norm(plain[0]), abs=1e-6)


def test_a_long_text_is_cut() -> None:
    cut, usage = embed(lane(max_tokens=2), "where is the ward")
    assert cut.tolist() == [[10.0, 11.0, 12.0, 13.0]]
    assert usage["tokens"] == 2


@pytest.mark.parametrize("tokenizer", [b"", b"{}", b"\xff", b'{"model": {"type": "WordLevel"}}'])
def test_a_tokenizer_that_cannot_be_read_is_refused(tokenizer: bytes) -> None:
    text = TextInput(max_tokens=8, pooling="mean", normalise=True, pad_id=0)
    with pytest.raises(Fault) as caught:
        TextReader(tokenizer, text)
    assert caught.value.code == "model_malformed"


def test_a_model_of_texts_has_a_tokenizer() -> None:
    text = TextInput(max_tokens=8, pooling="mean", normalise=True, pad_id=0)
    with pytest.raises(ModelError) as caught:
        reader_of((), text, None, None)
    assert caught.value.code == "model_malformed"


@pytest.mark.parametrize(("texts", "expected"), [("one", ["one"]), (["a", "b"], ["a", "b"]), (("a",), ["a"])])
def test_texts_are_a_string_or_a_list(texts: Any, expected: list[str]) -> None:
    assert checked_texts(texts) == expected


def opened(*texts: str) -> Grant:
    call = Call(id="1", at=0, actor="a", tenant="t", action="infer", model="d")
    return decide_and_open(Anything(), MANIFEST, call, Payload.checked({"texts": list(texts)}), Memory())


def batched(batch: int) -> Lane:
    one = lane()
    return Lane((GOLDEN / "model.onnx").read_bytes(), "d", one.reader, batch=batch)


@pytest.mark.parametrize("batch", [1, 2, 3, 64])
def test_the_answers_are_the_same_in_batches_of_any_size_and_each_grant_gets_its_own(batch: int) -> None:
    asked = [["where"], ["is the ward", "is", "the ward"], ["ward"], ["where is the ward"] * 5]
    grants = [opened(*texts) for texts in asked]
    found = batched(batch).run(grants, "p")
    for texts, grant, outputs in zip(asked, grants, found, strict=True):
        alone, usage = embed(lane(), *texts)
        assert not isinstance(outputs, Fault)
        assert outputs["embedding"] == pytest.approx(alone, abs=1e-6)
        assert grant.usage == usage


def test_texts_of_about_one_length_share_a_batch() -> None:
    one = batched(2)
    shapes: list[tuple[int, ...]] = []
    real = one.reader.feeds

    def feeds(items: Any) -> Any:
        made = real(items)
        shapes.append(made["input_ids"].shape)
        return made

    one.reader.feeds = feeds  # type: ignore[method-assign] # the real one runs
    one.run([opened("where is the ward", "is"), opened("where is the ward", "is")], "p")
    assert sorted(shapes) == [(2, 1), (2, 4)]


def test_a_grant_that_cannot_be_run_is_no_matter_of_the_others() -> None:
    class Strict(TextReader):
        """Finds fault with a text only when its tensors are made, as a reader of images does."""

        def feeds(self, items: Any) -> Any:
            if "is" in items:
                raise InputError("input_type", "no")
            return super().feeds(items)

    text = TextInput(max_tokens=8, pooling="mean", normalise=False, pad_id=0)
    reader = Strict((GOLDEN / "tokenizer.json").read_bytes(), text)
    for batch in (1, 4):
        one = Lane((GOLDEN / "model.onnx").read_bytes(), "d", reader, batch=batch)
        first, second, third = one.run([opened("the"), opened("ward", "is"), opened("ward", "ward")], "p")
        assert isinstance(second, InputError)
        assert not isinstance(first, Fault)
        assert not isinstance(third, Fault)
        assert [len(first["embedding"]), len(third["embedding"])] == [1, 2]


def test_what_nobody_waits_for_is_not_run() -> None:
    asked: list[int] = []

    def go_on(owner: int) -> None:
        asked.append(owner)
        if owner == 1:
            raise InputError("input_empty", "gone")

    first, second = lane().run([opened("the", "ward"), opened("is", "is", "is")], "p", go_on)
    assert isinstance(second, InputError)
    assert not isinstance(first, Fault)
    assert asked == [0, 0, 1]
