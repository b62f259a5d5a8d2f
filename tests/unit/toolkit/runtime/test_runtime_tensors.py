"""Tensors come as blobs that are described; what the model does not take is refused without a word of the payload."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.errors import Fault
from policies.facts import Tensor
from policies.payload import Payload
from toolkit.runtime.tensors import TensorReader

READER = TensorReader(
    [
        Tensor(name="x", dtype="float32", shape=("batch", 2)),
        Tensor(name="state", dtype="int64", shape=(1, "batch")),
    ]
)
X, STATE = np.array([[1.5, -2], [3, 4], [5, 6]], np.float32), np.array([[7, 8, 9]])


def described(*items: dict[str, np.ndarray[Any, Any]]) -> tuple[list[dict[str, Any]], dict[str, bytes]]:
    tensors: list[dict[str, Any]] = []
    blobs: dict[str, bytes] = {}
    for number, item in enumerate(items):
        tensors.append({})
        for name, array in item.items():
            blobs[f"{name}{number}"] = array.tobytes()
            tensors[-1][name] = {"dtype": str(array.dtype), "shape": list(array.shape), "blob": f"{name}{number}"}
    return tensors, blobs


def test_items_are_the_numbers_in_the_blobs() -> None:
    tensors, blobs = described({"x": X, "state": STATE}, {"x": X[:1], "state": STATE[:, :1]})
    first, second = READER.items(Payload.checked({"tensors": tensors}, blobs))
    assert first["x"].tolist() == X.tolist()
    assert second["state"].tolist() == [[7]]
    assert READER.feeds([first]) is first
    assert READER.usage(first) == {"tensors": 1}


@given(st.sampled_from(["bool", "float16", "float64", "int8", "uint16", "int32", "uint64"]), st.binary(max_size=64))
def test_bytes_become_numbers_and_back(dtype: str, data: bytes) -> None:
    numbers = np.frombuffer(data[: len(data) // 8 * 8], "u1" if dtype == "bool" else dtype)
    numbers = (numbers % 2 if dtype == "bool" else np.nan_to_num(numbers, posinf=0, neginf=0)).astype(dtype)
    reader = TensorReader([Tensor(name="x", dtype=dtype, shape=("n",))])
    tensors, blobs = described({"x": numbers})
    payload = Payload.checked({"tensors": tensors}, blobs)
    if not numbers.size:
        with pytest.raises(Fault):
            reader.items(payload)
        return
    [item] = reader.items(payload)
    assert item["x"].dtype == dtype
    assert item["x"].tobytes() == numbers.tobytes()


def change(**fields: object) -> Callable[[list[dict[str, Any]], dict[str, bytes]], object]:
    return lambda tensors, blobs: tensors[0]["x"].update(fields)


PRIVATE = "of-the-payload"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda tensors, blobs: tensors.clear(),
        lambda tensors, blobs: tensors.append(PRIVATE),
        lambda tensors, blobs: tensors.append({}),
        lambda tensors, blobs: tensors[0].pop("state"),
        lambda tensors, blobs: tensors[0].update({PRIVATE: tensors[0].pop("x")}),
        lambda tensors, blobs: tensors.append(tensors[0]),  # the blobs serve twice
        lambda tensors, blobs: blobs.update({PRIVATE: b"left over"}),
        lambda tensors, blobs: blobs.update(x0=blobs["x0"][:-1]),
        lambda tensors, blobs: blobs.update(x0=np.full((3, 2), np.nan, np.float32).tobytes()),
        lambda tensors, blobs: blobs.update(x0=np.full((3, 2), np.inf, np.float32).tobytes()),
        change(blob=PRIVATE),
        change(dtype="int32"),
        change(dtype="object"),
        change(dtype=PRIVATE),
        change(shape=[6]),
        change(shape=[2, 3]),
        change(shape=[6, 1]),
        change(shape=[-3, -2]),
        change(shape=[0, 2]),
        change(shape=[True, 2]),
        change(shape=[1] * 40),
        change(shape=[2**40, 2**40]),
        change(**{PRIVATE: 1}),
    ],
)
def test_what_the_model_does_not_take_is_refused(spoil: Callable[[Any, Any], object]) -> None:
    tensors, blobs = described({"x": X, "state": STATE})
    spoil(tensors, blobs)
    with pytest.raises(Fault) as caught:
        READER.items(Payload.checked({"tensors": tensors}, blobs))
    assert caught.value.code in ("input_type", "input_empty", "input_number")
    assert PRIVATE not in str(caught.value)


def test_a_dimension_with_a_name_has_one_size() -> None:
    with pytest.raises(Fault) as caught:
        READER.feeds([{"x": X, "state": STATE[:, :2]}])
    assert caught.value.code == "input_type"


def test_no_tensors_at_all_are_refused() -> None:
    values: tuple[object, ...] = (None, [], {"texts": ["a"]}, {"tensors": "a"})
    for value in values:
        with pytest.raises(Fault) as caught:
            READER.items(Payload.checked(value))
        assert caught.value.code == "input_type"


def test_a_boolean_is_0_or_1() -> None:
    reader = TensorReader([Tensor(name="x", dtype="bool", shape=(2,))])
    with pytest.raises(Fault) as caught:
        reader.items(
            Payload.checked({"tensors": [{"x": {"dtype": "bool", "shape": [2], "blob": "b"}}]}, {"b": b"\0\2"})
        )
    assert caught.value.code == "input_type"


def test_a_set_runs_alone() -> None:
    item = {"x": X, "state": STATE}
    with pytest.raises(Fault) as caught:
        READER.feeds([item, item])
    assert caught.value.code == "input_type"


def test_the_answer_is_every_output_in_one_row() -> None:
    outputs = [np.ones((2, 3), np.float64), np.array([5, 6])]
    answers = READER.answers(outputs, {"x": X, "state": STATE})
    assert answers.dtype == np.float32
    assert answers.tolist() == [[1.0] * 6 + [5, 6]]


def test_inputs_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(Fault) as caught:
        TensorReader([Tensor(name="x", dtype="object", shape=(1,))])
    assert caught.value.code == "model_malformed"
