"""Fewer tokens: tables and tokenizer shrink together, roles are kept, and what cannot be held is refused."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, models

from tests.unit.toolkit.compress.conftest import Gated
from tests.unit.toolkit.compress.steps.spelling import INPUT, PLAIN, TEXTS, changed, made, read_by
from toolkit.compress import compress
from toolkit.compress.calibration import Calibration, Texts
from toolkit.compress.data import Data, gathered
from toolkit.compress.engine import Press
from toolkit.compress.errors import CompressionError
from toolkit.compress.measure import evaluation_texts
from toolkit.compress.quiet import quiet
from toolkit.compress.recipe import Recipe
from toolkit.compress.sources import huggingface
from toolkit.compress.step import StepReport
from toolkit.compress.steps.trim_vocabulary import TrimVocabulary
from toolkit.compress.vocabulary import trimmed
from toolkit.new_box import create_box
from toolkit.testing import StepFault, step_checks

with quiet():
    import onnx
    from onnx import helper, numpy_helper

    from toolkit.compress.serialise import serialise


def lookups(texts: Texts, *more: onnx.NodeProto) -> bytes:
    """A graph that looks the tokens of a tokenizer up, and two rows that stand for none."""
    rows = np.random.default_rng(0).normal(size=(read_by(texts).get_vocab_size() + 2, 8)).astype(np.float32)
    nodes = [helper.make_node("Gather", ["table", "input_ids"], ["y"], name="look-up"), *more]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("input_ids", onnx.TensorProto.INT64, ["batch", "tokens"])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["batch", "tokens", 8])],
        [numpy_helper.from_array(rows, "table"), numpy_helper.from_array(np.array(2), "two")],
    )
    if more:
        graph.output.append(helper.make_empty_tensor_value_info(more[-1].output[0]))
        graph.output[-1].type.CopyFrom(helper.make_tensor_type_proto(onnx.TensorProto.BOOL, ["batch", "tokens"]))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return serialise(model)


def constants(model: bytes) -> dict[str, Any]:
    return {one.name: numpy_helper.to_array(one) for one in onnx.load_from_string(model).graph.initializer}


Trim = Callable[..., tuple[bytes, StepReport]]


@pytest.fixture
def trim(gated: Gated) -> Trim:
    def take(model: bytes, texts: Texts | None, step: TrimVocabulary | None = None) -> tuple[bytes, StepReport]:
        step = step or TrimVocabulary()
        digest = hashlib.sha256(model).hexdigest()
        found: tuple[bytes, StepReport] = gated(
            digest, lambda grant: step.apply(model, Calibration(grant, "policy", (), texts))
        )
        return found

    return take


@pytest.mark.parametrize("kind", [*PLAIN, "bytes"])
def test_the_step_keeps_to_the_contract(kind: str) -> None:
    texts = made(kind)
    step_checks(TrimVocabulary(), lookups(texts), (), texts)
    step_checks(TrimVocabulary(scripts=("latin",)), lookups(texts), (), texts)
    with pytest.raises((StepFault, CompressionError)):
        step_checks(TrimVocabulary(), lookups(texts))


@pytest.mark.parametrize("kind", PLAIN)
def test_the_rows_are_those_of_the_tokens(trim: Trim, kind: str) -> None:
    texts = made(kind)
    model = lookups(texts, helper.make_node("Equal", ["input_ids", "two"], ["padded"]))
    after, report = trim(model, texts)
    new = TrimVocabulary().retokenised(texts)
    table, numbers = constants(model)["table"], read_by(new).get_vocab()
    [trimmed_table] = [value for value in constants(after).values() if value.ndim == 2]
    assert trimmed_table.shape == (len(numbers), 8)
    assert len(numbers) < read_by(texts).get_vocab_size()
    assert report.shapes == {"look-up": trimmed_table.shape[::-1]}
    for token, number in numbers.items():
        np.testing.assert_array_equal(trimmed_table[number], table[read_by(texts).token_to_id(token)])
    # the graph compares with the padding, which has another number now, or the same
    compared = [value for value in constants(after).values() if value.ndim == 0]
    assert compared == [new.input.pad_id] == [numbers["[PAD]"]]


@pytest.mark.parametrize("kind", [*PLAIN, "bytes"])
def test_special_tokens_keep_their_roles(kind: str) -> None:
    new = TrimVocabulary().retokenised(made(kind))
    reader, content = read_by(new), json.loads(new.tokenizer)
    first = reader.encode("[NEW] the")
    assert (first.tokens[:2], first.tokens[-1]) == (["[CLS]", "[NEW]"], "[SEP]")
    assert content["padding"]["pad_id"] == reader.token_to_id("[PAD]") == new.input.pad_id
    assert {one["content"] for one in content["added_tokens"]} == {"[PAD]", "[CLS]", "[SEP]", "[NEW]"}
    assert all(reader.token_to_id(one["content"]) == one["id"] for one in content["added_tokens"])


def test_what_a_corpus_does_not_need_goes() -> None:
    kept = read_by(TrimVocabulary().retokenised(made("WordPiece", ["the cat"]))).get_vocab()
    assert {"the", "cat", "a", "##a", "中", "##中", "[UNK]"} <= kept.keys()
    assert not {"ther", "things", "##ing", "дд"} & kept.keys()
    merged = read_by(TrimVocabulary().retokenised(made("BPE", ["cats"]))).get_vocab()
    assert {"ca", "cat", "cats", "at"} <= merged.keys()  # what any of its merges is made from
    assert not {"th", "the", "in"} & merged.keys()


def test_what_a_script_needs_stays() -> None:
    step = TrimVocabulary(scripts=("cyrillic",))
    for kind in PLAIN:
        kept = read_by(step.retokenised(made(kind, ()))).get_vocab()
        assert {"дд", "a", "中", "."} <= kept.keys()
        assert not {"ther", "ing", "things"} & kept.keys()


@pytest.mark.parametrize(
    ("texts", "why"),
    [
        (None, "takes no texts"),
        (changed(made("WordPiece"), "model", "vocab", "qa", value=900), "holds a character|hold a character"),
        (changed(made("BPE"), "model", "end_of_word_suffix", value="</w>"), "marks at the ends"),
        (changed(made("BPE"), "padding", "pad_id", value=5000), "belongs to no token"),
        (Texts(Tokenizer(models.WordLevel({"a": 0, "[UNK]": 1})).to_str().encode(), INPUT, TEXTS), "only those of"),
        (Texts(b"{}", INPUT, TEXTS), "cannot be read"),
    ],
)
def test_vocabularies_that_have_to_stay_are_refused(trim: Trim, texts: Texts | None, why: str) -> None:
    with pytest.raises(CompressionError, match=why) as caught:
        trim(lookups(made("WordPiece")), texts)
    assert caught.value.code == "vocabulary_fixed"


def test_graphs_that_use_the_numbers_are_refused(trim: Trim) -> None:
    texts = made("WordPiece")
    other = helper.make_node("Less", ["input_ids", "two"], ["below"])
    with pytest.raises(CompressionError, match="below uses the numbers of tokens"):
        trim(lookups(texts, other), texts)
    few = onnx.load_from_string(lookups(texts))
    few.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.zeros((3, 8), np.float32), "table"))
    with pytest.raises(CompressionError, match="no table in which tokens are looked up"):
        trim(few.SerializeToString(), texts)
    with pytest.raises(CompressionError) as caught:
        trim(lookups(texts), made("WordPiece", ()))
    assert caught.value.code == "calibration_missing"


def test_a_character_that_is_no_token_is_never_left_behind() -> None:
    """The hole that dropping all but single characters would have: "e" is known in "##de" alone."""
    known = {"[UNK]": 0, "abc": 1, "##de": 2, "[PAD]": 3, "a": 4, "##b": 5, "##c": 6, "##bcd": 7, "##d": 8}
    tokenizer = Tokenizer(models.WordPiece(known, unk_token="[UNK]"))  # noqa: S106 - a token of text
    texts = Texts(tokenizer.to_str().encode(), INPUT, ("ab",))
    with pytest.raises(CompressionError, match="hold a character that is no token by itself, such as '##de'"):
        trimmed(texts)


def spelled(tiny: Path, folder: Path) -> Path:
    """The tiny BERT with a tokenizer that can be trimmed."""
    shutil.copytree(tiny, folder)
    folder.joinpath("tokenizer.json").write_bytes(made("BPE").tokenizer)
    return folder


def test_a_press_reads_texts_as_each_model_does(gated: Gated, tiny: Path, tmp_path: Path) -> None:
    source = huggingface.read(spelled(tiny, tmp_path / "spelled"))
    data = Data(calibrate=gathered(TEXTS, "text"), evaluate=gathered([f"{text} the" for text in TEXTS], "text"))
    recipe = Recipe.of(({"kind": "trim-vocabulary"}, {"kind": "prune-neurons", "keep": 0.5}, {"kind": "dynamic-int8"}))

    def work(press: Press) -> None:
        made = press.follow(recipe)
        texts, result = press.texts(recipe.steps), press.result(made.model, recipe.steps)
        assert texts is not None
        assert texts == TrimVocabulary().retokenised(press.texts(()))
        first = made.reports[0]
        assert first.fidelity is not None
        assert first.fidelity > 0.999999  # those learned from are split as they were
        assert result.fidelity.score.low == made.reports[-1].fidelity
        assert press.layers(made.model, recipe.steps) == ()
        assert press.diagnosis("trimmed", recipe).layers == ()

    gated(source.digest, lambda grant: work(Press(source, grant, "policy", data, print)))


def test_a_bundle_carries_the_tokenizer_that_belongs_to_its_model(tiny: Path, tmp_path: Path) -> None:
    create_box(tmp_path / "box")
    (tmp_path / "recipe.toml").write_text('[[step]]\nkind = "trim-vocabulary"\n')
    source = spelled(tiny, tmp_path / "spelled")
    bundle = compress(
        source,
        recipe=tmp_path / "recipe.toml",
        calibrate=["the cat", "things"],
        data_licence="LicenseRef-own",
        evaluate=["the things", "cat, cat"],
        out=tmp_path / "small.bundle",
        settings=tmp_path / "box" / "sealpress.toml",
    )
    assert bundle.tokenizer is not None
    vocabulary = Tokenizer.from_str(bundle.tokenizer.decode()).get_vocab()
    rows = [one.dims[0] for one in onnx.load_from_string(bundle.model).graph.initializer if "word_emb" in one.name]
    assert rows == [len(vocabulary)]
    assert len(vocabulary) < len(read_by(made("BPE")).get_vocab())
    manifest = bundle.manifest
    assert manifest.text
    assert manifest.text.pad_id == vocabulary["a"]  # the padding that the configuration names
    assert bundle.measurements.after.fidelity > 0.999999


@pytest.mark.slow
def test_minilm_is_smaller_and_says_the_same_of_its_corpus(gated: Gated, minilm: Path) -> None:
    texts = evaluation_texts()
    source = huggingface.read(minilm)
    recipe = Recipe((TrimVocabulary(),))

    def work(press: Press) -> tuple[int, float]:
        made = press.follow(recipe)
        return len(made.model), press.fidelity(made.model, recipe.steps).score.low

    def tried(data: Data) -> tuple[int, float]:
        found: tuple[int, float] = gated(source.digest, lambda grant: work(Press(source, grant, "policy", data, print)))
        return found

    size, low = tried(Data(calibrate=gathered([" ".join(texts)], "text"), evaluate=gathered(texts[:20], "text")))
    assert size < 55_000_000
    assert low > 0.99999
