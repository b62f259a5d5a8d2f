"""Numbers in JSON become those of the dtype, or are refused; classes are ranked."""

from __future__ import annotations

import json
import time
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as of_numpy

from policies.payload import InputError
from toolkit.runtime.numbers import MAX_WRITTEN, numbers, packed, ranked

INTEGERS = [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]
FLOATS = ["float16", "float32", "float64"]


@given(
    of_numpy.arrays(
        st.sampled_from(["bool", *INTEGERS, *FLOATS]),
        of_numpy.array_shapes(min_dims=1, max_dims=4, max_side=4),
        elements={"allow_nan": False, "allow_infinity": False},
    )
)
def test_flat_or_nested_the_numbers_are_the_same(array: np.ndarray) -> None:
    dtype, dimensions = str(array.dtype), array.ndim
    if dtype == "float64":
        array = np.where(np.abs(array) < 1e-250, 0, array)
    nested = numbers(json.dumps(array.tolist()).encode(), dtype, dimensions, "x")
    flat = numbers(json.dumps(array.ravel().tolist()).encode(), dtype, dimensions, "x")
    assert nested.tobytes() == flat.tobytes() == array.tobytes()
    assert nested.shape == array.shape
    assert flat.shape == (array.size,)
    assert packed(nested) == array.astype(array.dtype.newbyteorder("<")).tobytes()


def test_a_number_alone_is_a_tensor_without_dimensions() -> None:
    assert numbers(b" 2.5 ", "float32", 0, "x").shape == ()


def test_what_is_written_the_other_way_round_is_packed_in_the_order_of_c() -> None:
    array = np.arange(6, dtype=">i2").reshape(2, 3).T
    assert np.frombuffer(packed(array), "<i2").reshape(3, 2).tolist() == array.tolist()


@pytest.mark.parametrize(
    ("written", "dtype", "dimensions"),
    [
        (b"", "float32", 1),
        (b"7", "float32", 1),
        (b'"canary"', "float32", 1),
        (b"{}", "float32", 1),
        (b"[null]", "float32", 1),
        (b'["1"]', "float32", 1),
        (b"[true]", "float32", 1),
        (b"[1.5]", "int32", 1),
        (b"[1]", "bool", 1),
        (b"[[1]]", "float32", 1),
        (b"[[1], [2, 3]]", "float32", 2),
        (b"[[1], 2]", "float32", 2),
        (b"[[[1]]]", "float32", 2),
        (b"[NaN]", "float32", 1),
        (b"[1e999]", "float32", 1),
        (b"[\xff]", "float32", 1),
        (b"[" * 100_000, "float32", 1),
        (b"[" * 100_000, "float32", 2),
    ],
)
def test_what_are_no_numbers_of_that_shape_are_refused(written: bytes, dtype: str, dimensions: int) -> None:
    with pytest.raises(InputError) as caught:
        numbers(written, dtype, dimensions, "x")
    assert caught.value.code == "input_type"
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    ("written", "dtype"),
    [
        (b"[256]", "uint8"),
        (b"[-1]", "uint64"),
        (b"[18446744073709551616]", "uint64"),
        (b"[1e-250]", "float64"),
        (b"[1E-0300]", "float64"),
        (b"[1.5e-1000]", "float64"),
        (b"[0." + b"0" * 40 + b"1]", "float64"),
        (b"[1" + b"0" * 41 + b"]", "int64"),
        (b"[" + b"9" * 1_000_000 + b"]", "int64"),
    ],
)
def test_a_number_that_is_out_of_range_or_slow_to_read_is_refused(written: bytes, dtype: str) -> None:
    with pytest.raises(InputError) as caught:
        numbers(written, dtype, 1, "x")
    assert caught.value.code == "input_number"


def test_a_float_out_of_range_is_infinite_for_the_reader_to_refuse() -> None:
    assert numbers(b"[1e300, 7e4]", "float16", 1, "x").tolist() == [np.inf, np.inf]


def test_small_numbers_as_they_are_mostly_written_are_taken() -> None:
    written = b"[1e-05, 1E-45, 2.2e-249, 1e-100, 0.00012345678901234567, -1.7976931348623157e+308]"
    assert numbers(written, "float64", 1, "x").tolist() == [1e-05, 1e-45, 2.2e-249, 1e-100, 0.00012345678901234567,
                                                            -1.7976931348623157e308]  # fmt: skip


@pytest.mark.parametrize("number", [b"1.5e-310", b"123456789012345678901e-330", b"0.000001e-248", b"1e-0310"])
def test_no_number_makes_the_parser_slow(number: bytes) -> None:
    written = b"[" + (number + b",") * 100_000 + b"1]"
    began = time.process_time()
    with suppress(InputError):
        numbers(written, "float64", 1, "x")
    assert time.process_time() - began < 1.5


@pytest.mark.parametrize("part", [b"0,", b"[],", b"[[],[]],"])
def test_too_many_numbers_are_refused_before_they_are_made(part: bytes) -> None:
    written = b"[" + part * MAX_WRITTEN + b"0]"
    began = time.process_time()
    with pytest.raises(InputError) as caught:
        numbers(written, "float32", 3, "x")
    assert caught.value.code == "input_too_large"
    assert time.process_time() - began < 0.5


def test_the_best_classes_come_first_with_their_probabilities() -> None:
    best, scores = ranked(np.log(np.array([[1, 6, 3], [5, 5, 0.001]])).astype(np.float32), 2)
    assert best.tolist() == [[1, 2], [0, 1]]
    assert scores[0] == pytest.approx([0.6, 0.3], abs=1e-6)
    assert scores[1] == pytest.approx([0.5, 0.5], abs=1e-3)


def test_no_more_classes_are_ranked_than_there_are() -> None:
    best, scores = ranked(np.zeros((1, 3), np.float32), 2**31 - 1)
    assert best.tolist() == [[0, 1, 2]]
    assert scores.sum() == pytest.approx(1)


def test_large_and_infinite_logits_raise_nothing() -> None:
    _, scores = ranked(np.array([[1e4, -1e4], [np.inf, 0]], np.float32), 2)
    assert scores[0].tolist() == [1, 0]
    assert np.isnan(scores[1]).all()
