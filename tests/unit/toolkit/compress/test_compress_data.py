"""Data of a person: read strictly, and never the same in the calibration and in the evaluation."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.errors import Fault
from toolkit.compress.data import NONE, Data, Marked, gathered, identity, read_items


def code(call: Any, *arguments: Any) -> str:
    with pytest.raises(Fault) as caught:
        call(*arguments)
    return caught.value.code


def written(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_a_text_file_has_a_text_a_line(tmp_path: Path) -> None:
    found = read_items(written(tmp_path, "a.txt", "one\n\ntwo words\n"), "text")
    assert found.items == ("one", "two words")
    assert (
        found.digest == gathered(["one", "two words"], "text").digest != gathered(["two words", "one"], "text").digest
    )


def test_a_line_of_json_says_what_is_known(tmp_path: Path) -> None:
    lines = '{"text": "a", "label": "x", "score": 0.5, "slice": "de"}\n'
    lines += '{"text": "b", "label": "y", "score": 1, "slice": "en"}\n'
    found = read_items(written(tmp_path, "a.jsonl", lines), "text")
    assert (found.items, found.labels, found.scores, found.classes) == (
        ("a", "b"),
        ("x", "y"),
        (0.5, 1.0),
        ("de", "en"),
    )
    assert found.digest != gathered(["a", "b"], "text").digest


def test_a_folder_is_all_its_files_by_name(tmp_path: Path) -> None:
    written(tmp_path, "b.txt", "second")
    written(tmp_path, "a.jsonl", '{"text": "first"}')
    written(tmp_path, ".hidden", "x")
    assert read_items(tmp_path, "text").items == ("first", "second")


def test_images_are_named_by_path_or_lie_in_a_folder(tmp_path: Path) -> None:
    written(tmp_path, "one.png", b"1")
    written(tmp_path, "two.JPG", b"2")
    assert read_items(tmp_path, "image").items == (b"1", b"2")
    listed = written(tmp_path, "list.jsonl", '{"image": "two.JPG", "label": "x"}')
    assert read_items(listed, "image").items == (b"2",)
    assert gathered([b"3", tmp_path / "one.png"], "image").items == (b"3", b"1")


def test_tensors_come_as_safetensors(tmp_path: Path) -> None:
    from safetensors.numpy import save

    array = np.arange(4, dtype=np.float32)
    (item,) = read_items(written(tmp_path, "a.safetensors", save({"x": array})), "tensors").items
    assert item["x"].tolist() == array.tolist()
    assert code(read_items, written(tmp_path, "b.safetensors", b"no"), "tensors") == "data_format"
    pickled = io.BytesIO()
    np.save(pickled, np.array([{}], dtype=object), allow_pickle=True)
    assert code(read_items, written(tmp_path, "c.npy", pickled.getvalue()), "tensors") == "data_format"


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.txt", "", "data_empty"),
        ("a.txt", b"\xff\n", "data_format"),
        ("a.csv", "a,b", "data_format"),
        ("a.jsonl", "{", "data_format"),
        ("a.jsonl", '{"text": 3}', "data_format"),
        ("a.jsonl", '{"label": "x"}', "data_format"),
        ("a.jsonl", '{"text": "a", "colour": "x"}', "data_format"),
        ("a.jsonl", '{"text": "a", "label": "x"}\n{"text": "b"}', "data_format"),
        ("a.jsonl", '{"text": "a", "score": 1e400}', "data_format"),
        ("a.jsonl", '{"text": " "}', "input_empty"),
    ],
)
def test_what_is_no_data_is_refused(tmp_path: Path, name: str, content: str | bytes, expected: str) -> None:
    assert code(read_items, written(tmp_path, name, content), "text") == expected


def test_what_is_not_there_is_refused(tmp_path: Path) -> None:
    assert code(read_items, tmp_path / "nothing.txt", "text") == "data_not_found"
    assert code(read_items, written(tmp_path, "a.txt", "gone.png"), "image") == "data_not_found"
    assert code(gathered, [], "text") == "data_empty"
    assert code(gathered, [3], "text") == "input_type"


def test_entities_are_marked_in_the_characters_of_a_text(tmp_path: Path) -> None:
    lines = '{"text": "Zoë is in Lyon", "entities": [{"start": 0, "end": 3, "label": "PER"}]}\n'
    lines += '{"text": "b", "entities": []}'
    found = read_items(written(tmp_path, "a.jsonl", lines), "text")
    assert found.entities == ((Marked(0, 3, "PER"),), ())
    assert found.digest != read_items(written(tmp_path, "b.jsonl", lines.replace("PER", "LOC")), "text").digest
    assert found.digest != gathered(["Zoë is in Lyon", "b"], "text").digest


@pytest.mark.parametrize(
    "entity",
    [
        '{"start": 0, "end": 2, "label": "PER"}',
        '{"start": 1, "end": 1, "label": "PER"}',
        '{"start": -1, "end": 1, "label": "PER"}',
        '{"start": 0, "end": 1}',
        '{"start": 0, "end": 1, "label": "PER", "colour": "x"}',
    ],
)
def test_an_entity_that_is_nowhere_in_its_text_is_refused(tmp_path: Path, entity: str) -> None:
    line = f'{{"text": "a", "entities": [{entity}]}}'
    assert code(read_items, written(tmp_path, "a.jsonl", line), "text") == "data_format"
    assert code(read_items, written(tmp_path, "b.jsonl", '{"text": "a", "entities": []}\n{"text": "b"}'), "text") == (
        "data_format"
    )


def test_a_picture_has_no_entities(tmp_path: Path) -> None:
    written(tmp_path, "one.png", b"12")
    line = '{"image": "one.png", "entities": [{"start": 0, "end": 1, "label": "PER"}]}'
    assert code(read_items, written(tmp_path, "a.jsonl", line), "image") == "data_format"


def test_an_answer_is_one_to_a_text(tmp_path: Path) -> None:
    lines = '{"text": "a", "answer": "b"}\n{"text": "c", "answer": "d"}'
    found = read_items(written(tmp_path, "a.jsonl", lines), "text")
    assert found.answers == ("b", "d")
    assert found.digest != read_items(written(tmp_path, "b.jsonl", lines.replace("d", "e")), "text").digest
    half = written(tmp_path, "c.jsonl", '{"text": "a", "answer": "b"}\n{"text": "c"}')
    assert code(read_items, half, "text") == "data_format"
    empty = written(tmp_path, "d.jsonl", '{"text": "a", "answer": " "}')
    assert code(read_items, empty, "text") == "input_empty"
    written(tmp_path, "one.png", b"12")
    assert (
        code(read_items, written(tmp_path, "e.jsonl", '{"image": "one.png", "answer": "b"}'), "image") == "data_format"
    )


@pytest.mark.parametrize("again", ["A text.", "a  TEXT. ", "a\ttext."])
def test_an_item_in_both_sets_is_refused(again: str) -> None:
    assert (
        code(lambda: Data(calibrate=gathered([again], "text"), evaluate=gathered(["A text."], "text")))
        == "data_overlap"
    )


def test_images_and_tensors_overlap_by_their_bytes() -> None:
    one = {"x": np.arange(5000)}
    assert identity(one) == identity({"x": np.arange(5000)})
    assert identity(one) != identity({"x": np.arange(5000) + (np.arange(5000) == 2500)})
    assert identity(b"a") != identity(b"b")


def test_a_set_without_items_has_no_digest() -> None:
    data = Data(calibrate=NONE, evaluate=gathered(["a"], "text"))
    assert data.digests() == {"evaluate": gathered(["a"], "text").digest}


@given(st.lists(st.text(min_size=1).filter(str.strip), min_size=1, max_size=5))
def test_the_digest_tells_lists_apart(texts: list[str]) -> None:
    assert gathered(texts, "text").digest == gathered(list(texts), "text").digest
    assert gathered(texts, "text").digest != gathered([*texts, "x"], "text").digest
