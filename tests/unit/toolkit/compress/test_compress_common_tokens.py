"""A decoder with fewer tokens: it reads and writes every text, and says of what is left what it said before."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from tests.commands import within
from tests.decoders import TOKENS, tiny_decoder, tiny_gguf
from toolkit.box import Box, Context
from toolkit.bundle import Bundle
from toolkit.compress.calibration import Texts
from toolkit.compress.common_tokens import CommonTokens
from toolkit.compress.steps.trim_vocabulary import TrimVocabulary
from toolkit.model import Model
from toolkit.new_box import create_box
from toolkit.plan import Plan
from toolkit.runtime.inputs import Generation, TextInput
from toolkit.runtime.sampling import Sampling

LEARNED = ["a hen", "12 hens run", "a bird"]  # without "the" as a token


def texts_of(tokenizer: bytes) -> Texts:
    read = TextInput(max_tokens=256, pooling="next", normalise=False, pad_id=2)
    return Texts(tokenizer, read, tuple(LEARNED), Generation(context=256, ends=(2,), begin=(1,)))


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Texts:
    folder = tiny_decoder(tmp_path_factory.mktemp("tokens") / "llama", "llama")
    return texts_of((folder / "tokenizer.json").read_bytes())


@pytest.fixture(scope="module")
def after(before: Texts) -> Texts:
    return TrimVocabulary().retokenised(before)


def test_what_ends_and_begins_an_answer_is_what_it_was(before: Texts, after: Texts) -> None:
    one, other = (Tokenizer.from_str(texts.tokenizer.decode()) for texts in (before, after))
    assert other.get_vocab_size() < one.get_vocab_size() == len(TOKENS)
    assert other.token_to_id("the") is None
    assert after.generation is not None
    assert before.generation is not None
    for name in ("ends", "begin"):
        pair = getattr(before.generation, name), getattr(after.generation, name)
        assert [one.id_to_token(id) for id in pair[0]] == [other.id_to_token(id) for id in pair[1]]


@settings(deadline=None)  # each example reads a tokenizer
@given(text=st.text(min_size=1, max_size=40))
def test_every_text_is_read_and_written(after: Texts, text: str) -> None:
    tokenizer = Tokenizer.from_str(after.tokenizer.decode())
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False).ids) == text


@settings(deadline=None)  # each example reads two tokenizers
@given(text=st.text(alphabet="the hn12é\u4e2d ", min_size=1, max_size=40), most=st.tuples(*[st.integers(1, 60)] * 2))
def test_places_are_those_at_which_both_have_read_as_much(
    before: Texts, after: Texts, text: str, most: tuple[int, int]
) -> None:
    common = CommonTokens(before, after)
    places = common.places(text, most)
    assert len(places.before) == len(places.after)
    for which, numbers in enumerate(places):
        texts = (before, after)[which]
        reader = Tokenizer.from_str(texts.tokenizer.decode())
        ids = reader.encode(text, add_special_tokens=False).ids
        read = [reader.decode(ids[:number]) for number in numbers]  # one token stands before the text
        assert all(number < most[which] for number in numbers)
        expected = [one for one in read if "\ufffd" not in one]
        assert expected == read
        if which == 0:
            first = read
        assert read == first


def test_what_is_left_is_said_as_before(tmp_path: Path) -> None:
    create_box(tmp_path / "box")
    (tmp_path / "tiny.gguf").write_bytes(tiny_gguf())
    (tmp_path / "learn.txt").write_text("\n".join(LEARNED))
    (tmp_path / "measure.txt").write_text("a hen runs\n12 birds\nwhere is a hen\n")
    (tmp_path / "trim.toml").write_text('[[step]]\nkind = "trim-vocabulary"\n')
    done = within(
        tmp_path / "box",
        *("compress", "../tiny.gguf", "--recipe", "../trim.toml", "--calibrate", "../learn.txt"),
        *("--evaluate", "../measure.txt", "--data-licence", "LicenseRef-own", "--out", "trimmed.bundle", "--json"),
    )
    assert done.returncode == 0, done.stdout
    measured = json.loads(done.stdout)["measurements"]
    # of texts that hold none of the tokens that went
    assert measured["after"]["fidelity"] > 0.9999
    before, after = (measured[one]["task"]["perplexity"] for one in ("before", "after"))
    assert after < before  # which gave some of the probability to those
    box = Box(tmp_path / "box" / "sealpress.toml")
    bundle = Bundle.read(tmp_path / "box" / "trimmed.bundle", box.trusted())
    (logits,) = [tensor for tensor in bundle.manifest.outputs if tensor.name == "logits"]
    tokenizer = Tokenizer.from_str(bundle.tokenizer.decode() if bundle.tokenizer else "")
    assert logits.shape[-1] == tokenizer.get_vocab_size() < len(TOKENS)
    model = Model(bundle, box, Plan())
    said = model.generate("where is the hen", purpose="search", max_tokens=8, seed=1)
    assert said.usage["answer_tokens"] > 0
    turns = [{"role": "user", "content": "where is the hen"}]
    with model.stream(turns, Sampling.checked(max_tokens=4), Context(purpose="search")) as stream:
        assert list(stream)
