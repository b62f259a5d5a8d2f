"""From labels of tokens to entities in the characters of a text, on a model that looks its labels up in a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from policies.errors import Fault
from policies.facts import Call, Manifest
from policies.gate import Grant, gate
from policies.payload import InputError, Payload
from tests.unit.toolkit.runtime.test_runtime_session import Anything, Memory
from tests.vectors.make_bundles import HERE, LABELS, SIGNER
from toolkit.bundle import Bundle
from toolkit.runtime.entities import Entity, EntityReader, Tag, tags
from toolkit.runtime.inputs import TextInput
from toolkit.runtime.lane import Lane, reader_of
from toolkit.runtime.session import ModelError

GOLDEN = HERE / "golden-entities-v1"
TOKENIZER = (GOLDEN / "tokenizer.json").read_bytes()
MANIFEST = Manifest(format=1, name="g", version="1", digest="d", task="t", licence="MIT", inputs=(), outputs=())


def text_input(max_tokens: int = 8) -> TextInput:
    return TextInput(max_tokens=max_tokens, pooling="tokens", normalise=False, pad_id=0)


def found(*texts: str, max_tokens: int = 8) -> tuple[list[list[Entity]], dict[str, int]]:
    """What the golden model finds, through a lane and under a grant, and what that counted."""
    reader = EntityReader(TOKENIZER, text_input(max_tokens), LABELS)
    lane = Lane((GOLDEN / "model.onnx").read_bytes(), "d", reader)

    def work(grant: Grant) -> tuple[list[list[Entity]], dict[str, int]]:
        (outputs,) = lane.run([grant], "p")
        assert not isinstance(outputs, Fault)
        return list(outputs["entities"]), grant.usage

    call = Call(id="1", at=0, actor="a", tenant="t", action="infer", model="d")
    return gate(Anything(), MANIFEST, call, Payload.checked({"texts": list(texts)}), Memory(), work)


def told(text: str, labels: Sequence[str], of: Callable[[int, int], int], words: str) -> list[tuple[str, str]]:
    """What is told of a text whose token i of window w gets the label `of(w, i)`; `words` are the vocabulary."""
    reader = EntityReader(spaced(words), text_input(512), labels)
    answer: Any = []
    for number, window in enumerate(reader.windows(text)):
        feeds = reader.feeds([window])
        logits = np.zeros((1, feeds["input_ids"].size, len(labels)), dtype=np.float32)
        for place in range(len(window.ids)):
            logits[0, place, of(number, place)] = 5.0
        answer = reader.answers([logits], feeds)
    return [(text[one.start : one.end], one.label) for one in answer[0]]


def spaced(words: str) -> bytes:
    tokenizer = Tokenizer(models.WordLevel({word: id for id, word in enumerate(words.split())}, unk_token="x"))  # noqa: S106 - a token of text
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return tokenizer.to_str().encode()


def test_entities_are_told_in_characters_of_the_text_as_it_came() -> None:
    text = "  ANNA Schmidt is in the\twärd, Berlin."
    [[person, place]], usage = found(text)
    assert person == Entity(start=2, end=14, label="PER", score=0.9902)
    assert text[person.start : person.end] == "ANNA Schmidt"
    assert (text[place.start : place.end], place.label) == ("Berlin", "LOC")
    # ten tokens, in three windows, each with two of its own around
    assert usage == {"texts": 1, "tokens": 8 + 8 + 6}


def test_each_text_has_its_own_list() -> None:
    lists, usage = found("anna", "the ward", "acme in berlin anna")
    assert [[one.label for one in entities] for entities in lists] == [["PER"], [], ["ORG", "LOC", "PER"]]
    assert usage["texts"] == 3


def test_nothing_of_a_long_text_is_skipped_and_an_entity_at_the_edge_of_a_window_stays_whole() -> None:
    for before in range(20):
        text = "the " * before + "anna schmidt" + " ward" * 20 + " berlin"
        [entities], _ = found(text)
        assert [(text[one.start : one.end], one.label) for one in entities] == [
            ("anna schmidt", "PER"),
            ("berlin", "LOC"),
        ]


def test_a_long_text_gives_the_same_in_windows_of_any_size() -> None:
    text = ("anna schmidt is in the ward. acme in berlin " * 9).strip()
    expected, _ = found(text, max_tokens=512)
    assert len(expected[0]) == 27
    for size in (3, 4, 5, 8, 13, 64):
        assert found(text, max_tokens=size)[0] == expected


def test_a_token_is_taken_from_the_window_in_which_it_has_more_around_it() -> None:
    labels = ("O", "B-PER")
    words = "a b c d e f g h"

    def of(window: int, place: int) -> int:
        # wrong at both edges of every window that is not an end of the text
        return int((window, place) in {(0, 3), (1, 0), (1, 3), (2, 0)})

    reader = EntityReader(spaced(words), text_input(4), labels)
    assert [window.first for window in reader.windows(words)] == [0, 2, 4]
    answer: Any = []
    for number, window in enumerate(reader.windows(words)):
        feeds = reader.feeds([window])
        logits = np.zeros((1, 4, 2), dtype=np.float32)
        for place in range(4):
            logits[0, place, of(number, place)] = 5.0
        answer = reader.answers([logits], feeds)
    assert answer[0] == []


@pytest.mark.parametrize(
    ("labels", "given", "expected"),
    [
        (("O", "B-P", "I-P"), "O B-P I-P I-P O", [("b c d", "P")]),
        (("O", "B-P", "I-P"), "B-P B-P I-P B-P O", [("a", "P"), ("b c", "P"), ("d", "P")]),
        (("O", "B-P", "I-P"), "O I-P I-P O I-P", [("b c", "P"), ("e", "P")]),
        (("O", "B-P", "I-L"), "B-P I-L I-L O O", [("a", "P"), ("b c", "L")]),
        (("O", "B-P", "I-P", "L-P", "U-P"), "B-P L-P I-P U-P U-P", [("a b", "P"), ("c", "P"), ("d", "P"), ("e", "P")]),
        (("O", "B_P", "I_P", "E_P", "S_P"), "B_P I_P E_P S_P O", [("a b c", "P"), ("d", "P")]),
        (("O", "P", "L"), "P P L O L", [("a b", "P"), ("c", "L"), ("e", "L")]),
        # one without a prefix makes names of all of them
        (("O", "B-P", "P"), "B-P B-P P O O", [("a b", "B-P"), ("c", "P")]),
    ],
)
def test_labels_are_read_as_they_are_written(
    labels: tuple[str, ...], given: str, expected: list[tuple[str, str]]
) -> None:
    wanted = given.split()
    assert told("a b c d e", labels, lambda _, place: labels.index(wanted[place]), "a b c d e x") == expected


def test_what_labels_mean() -> None:
    assert tags(("O", "B-PER", "I-B-CELL")) == (Tag("O", ""), Tag("B", "PER"), Tag("I", "B-CELL"))
    assert tags(("PER", "B-PER", "O")) == (Tag("I", "PER"), Tag("I", "B-PER"), Tag("O", ""))
    assert tags(("O", "I-")) == (Tag("O", ""), Tag("I", "I-"))


def pieces(*, normalizer: Any = None, pre_tokenizer: Any = None) -> EntityReader:
    """A reader whose tokens are bytes or characters, all labelled but one in three."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({one: id for id, one in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizer or pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    return EntityReader(tokenizer.to_str().encode(), text_input(512), ("O", "P"))


def spans(reader: EntityReader, text: str, entity: Callable[[int], bool]) -> list[str]:
    [window] = reader.windows(text)
    logits = np.zeros((1, len(window.ids), 2), dtype=np.float32)
    for place in range(len(window.ids)):
        logits[0, place, int(entity(place))] = 4.0
    [entities] = reader.answers([logits], reader.feeds([window]))
    return [text[one.start : one.end] for one in entities]


def test_pieces_of_a_word_are_what_their_first_one_is() -> None:
    reader = pieces()
    text = "von Müller kam"
    # bytes: "von" 0-2, a space with "Müller" 3-10, with "kam" 11-14
    assert spans(reader, text, lambda place: place in (3, 4)) == ["Müller"]
    assert spans(reader, text, lambda place: place in (5, 6, 7)) == []


def test_bytes_of_one_character_stay_together() -> None:
    assert spans(pieces(), "a 👩 b", lambda place: place in (1, 2)) == ["👩"]


def test_the_space_before_a_word_is_no_part_of_it() -> None:
    assert spans(pieces(), "a   bc", lambda place: place > 0) == ["bc"]


def test_scripts_without_spaces_are_read_token_by_token() -> None:
    # three bytes a character
    assert spans(pieces(), "张伟住在北京", lambda place: place < 6) == ["张伟"]
    assert spans(pieces(), "Иван", lambda place: place == 0) == ["Иван"]


def test_a_form_that_is_normalised_is_told_as_it_stood() -> None:
    reader = pieces(normalizer=normalizers.Sequence([normalizers.NFKD(), normalizers.StripAccents()]))
    assert spans(reader, "José ﬁ", lambda place: place < 4) == ["José"]
    assert spans(reader, "José ﬁ", lambda place: place >= 5) == ["ﬁ"]


def test_a_text_of_no_tokens_has_no_entities() -> None:
    reader = pieces(normalizer=normalizers.Replace("\u200b", ""))
    [window] = reader.windows("\u200b\u200b")
    assert window.last
    feeds = reader.feeds([window])
    assert feeds["input_ids"].tolist() == [[0]]
    assert reader.answers([np.zeros((1, 1, 2), dtype=np.float32)], feeds).tolist() == [[]]


def test_windows_run_alone() -> None:
    reader = EntityReader(TOKENIZER, text_input(), LABELS)
    windows = reader.items(Payload.checked({"texts": ["anna", "berlin"]}))
    with pytest.raises(InputError) as caught:
        reader.feeds(windows)
    assert caught.value.code == "input_type"


@pytest.mark.parametrize(
    "logits", [np.zeros((1, 3, 4)), np.zeros((1, 2, 5)), np.zeros((3, 5)), np.full((1, 3, 5), np.nan)]
)
def test_numbers_that_are_none_of_labels_are_refused(logits: Any) -> None:
    reader = EntityReader(TOKENIZER, text_input(), LABELS)
    feeds = reader.feeds(reader.items(Payload.checked({"texts": ["anna"]})))
    with pytest.raises(ModelError) as caught:
        reader.answers([logits], feeds)
    assert caught.value.code == "model_malformed"


@pytest.mark.parametrize(
    ("tokenizer", "max_tokens", "labels"),
    [
        (b"{}", 8, LABELS),
        (TOKENIZER, 2, LABELS),
        (TOKENIZER, 8, ()),
        (spaced("b x").replace(b'"x":1', b'"y":1'), 8, LABELS),
    ],
)
def test_a_model_that_cannot_be_read_is_refused(tokenizer: bytes, max_tokens: int, labels: tuple[str, ...]) -> None:
    with pytest.raises(Fault) as caught:
        EntityReader(tokenizer, text_input(max_tokens), labels)
    assert caught.value.code == "model_malformed"


def test_the_golden_bundle_is_read_as_it_was_written() -> None:
    from compliance.keys import to_text

    bundle = Bundle.read(GOLDEN, (to_text(SIGNER.public),))
    assert isinstance(bundle.reader(), EntityReader)
    assert bundle.manifest.entities
    assert bundle.manifest.entities.offsets == "characters"
    assert bundle.manifest.entities.languages == ("en", "de")
    assert bundle.manifest.entities.kinds["PER"].recall == 0.5
    assert bundle.manifest.digest == "f35991ea7bc8b5e796c08ec279c15ab9eb406a511973e87fd3ad0225097b401a"


def test_labels_without_a_bundle_of_entities_are_for_other_readers() -> None:
    plain = TextInput(max_tokens=8, pooling="none", normalise=False, pad_id=0)
    assert not isinstance(reader_of((), plain, None, TOKENIZER, LABELS), EntityReader)
