"""Weights and tables in blocks of a few bits, and mixtures: what the runtime computes is what was meant."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tests.unit.toolkit.compress.conftest import Gated
from tests.unit.toolkit.compress.steps.conftest import Taken
from tests.unit.toolkit.compress.steps.graphs import model_of, numbers
from toolkit.compress.blocks import Bits, Blocks, Scales, Whole, blocked
from toolkit.compress.calibration import Calibration
from toolkit.compress.errors import CompressionError
from toolkit.compress.quiet import quiet
from toolkit.compress.steps.mixed import Mixed, kept_fine
from toolkit.compress.steps.static_int8 import StaticInt8
from toolkit.compress.steps.table_bits import TableBits
from toolkit.compress.steps.weight_bits import WeightBits

with quiet():
    import onnx
    import onnxruntime as ort
    from onnx import helper


def unpacked(packed: Any, bits: int) -> Any:
    parts = [(packed >> shift) & (2**bits - 1) for shift in range(0, 8, bits)]
    return np.stack(parts, axis=-1).reshape(*packed.shape[:-1], -1).astype(np.float32)


def back(found: Blocks, bits: int, columns: int) -> Any:
    count = found.scale.shape[1]
    zero = 2 ** (bits - 1) if found.zero is None else unpacked(found.zero, bits)[:, :count, None]
    values = (unpacked(found.packed, bits) - zero) * found.scale[..., None]
    if found.sums:
        offsets = values[:, found.sums :].reshape(len(values), -1)[:, : found.sums]
        values = values[:, : found.sums] + offsets[..., None]
    return values.reshape(len(values), -1)[:, :columns]


@given(
    arrays.arrays(
        np.float32, st.tuples(st.integers(1, 5), st.integers(1, 70)), elements=st.floats(-1e4, 1e4, width=32)
    ),
    st.sampled_from([2, 4, 8]),
    st.sampled_from(["minmax", "mse", "hqq", "offset"]),
)
def test_no_number_is_further_off_than_the_grid_allows(matrix: Any, bits: Bits, scales: Scales) -> None:
    found = blocked(matrix, bits=bits, size=16, scales=scales)
    off = np.abs(back(found, bits, matrix.shape[1]) - matrix)
    peaks = np.abs(np.pad(matrix, ((0, 0), (0, -matrix.shape[1] % 16))).reshape(len(matrix), -1, 16)).max(axis=2)
    # the widest grid of all, and one level that the other sign lacks; a zero point is moved by less than a level
    least = {"minmax": 0, "mse": 0.4, "hqq": 0.4 + 2.2 / 2**bits, "offset": 0.4 + 2.2 / 2**bits}[scales]
    room = np.repeat(np.abs(peaks), 16, axis=1)[:, : matrix.shape[1]] * (1.1 / 2 ** (bits - 1) + least)
    assert (off <= room + 1e-6).all()


def test_the_least_square_is_no_worse_than_the_widest_and_a_zero_point_helps_where_signs_are_not_alike() -> None:
    matrix = numbers(50, 128)
    matrix[:, ::2] = np.abs(matrix[:, ::2])
    kinds: list[Scales] = ["minmax", "mse", "hqq"]
    errors = [
        np.square(back(blocked(matrix, bits=4, size=32, scales=scales), 4, 128) - matrix).sum() for scales in kinds
    ]
    assert errors[2] < 0.9 * errors[1] < errors[0]


@pytest.mark.parametrize("size", [16, 32])
def test_numbers_that_lie_on_a_grid_with_offsets_stay_where_they_are(size: int) -> None:
    """As those of a file in Q4_1, whose smallest numbers are no whole multiple of the scale."""
    random = np.random.default_rng(0)
    scale, offset = random.uniform(0.5, 2, (40, 6, 1)), random.uniform(-12, 2, (40, 6, 1))
    integers = random.integers(0, 16, (40, 6, size))
    integers[..., :2] = 0, 15
    matrix = (scale * integers + offset).astype(np.float32).reshape(40, -1)
    kinds: list[Scales] = ["hqq", "offset"]
    off = [np.square(back(blocked(matrix, bits=4, size=size, scales=scales), 4, 6 * size) - matrix) for scales in kinds]
    assert off[1].mean() < 0.03 * off[0].mean()


@pytest.mark.parametrize(("channels", "summed"), [(80, ["MatMul"]), (96, ["Reshape", "ReduceSum"])])
def test_layers_that_share_an_input_share_the_sums_of_its_blocks(
    taken: Taken, gated: Gated, channels: int, summed: list[str]
) -> None:
    """The last block is whole or not, and the numbers are all on one side of zero."""
    weights = {name: np.abs(numbers(channels, 24)) for name in ("a", "b")}
    nodes = [
        helper.make_node("MatMul", ["x", "a"], ["u"], name="first"),
        helper.make_node("MatMul", ["x", "b"], ["v"], name="second"),
        helper.make_node("Sub", ["u", "v"], ["y"], name="apart"),
    ]
    model = model_of(nodes, weights, ["n", "m", channels])
    pressed, report = taken(WeightBits(bits=4, scales="offset", compute="float32"), model)
    assert not report.left
    assert [node.op_type for node in onnx.load_from_string(pressed).graph.node] == [
        *summed, "Concat", "MatMulNBits", "MatMulNBits", "Sub",
    ]  # fmt: skip
    x = numbers(2, 3, channels)
    left, right = (
        x @ back(blocked(np.ascontiguousarray(one.T), bits=4, size=32, scales="offset"), 4, channels).T
        for one in weights.values()
    )
    np.testing.assert_allclose(answers(gated, pressed, x), left - right, rtol=1e-4, atol=1e-3)


def answers(gated: Gated, model: bytes, x: Any) -> Any:
    import hashlib

    digest = hashlib.sha256(model).hexdigest()
    return gated(digest, lambda grant: list(Calibration(grant, "policy", [{"x": x}]).outputs(model)))[0]["y"]


@pytest.mark.parametrize("scales", ["mse", "hqq", "offset"])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_the_kernel_multiplies_what_was_meant(taken: Taken, gated: Gated, bits: Bits, scales: Scales) -> None:
    weights, bias, x = numbers(96, 40), numbers(40), numbers(3, 96)
    nodes = [helper.make_node("Gemm", ["x", "w", "b"], ["y"], name="layer")]
    model = model_of(nodes, {"w": weights, "b": bias}, ["n", 96])
    step = WeightBits(bits=bits, scales=scales, compute="float32")
    pressed, report = taken(step, model)
    meant = back(blocked(np.ascontiguousarray(weights.T), bits=bits, size=32, scales=scales), bits, 96).T
    np.testing.assert_allclose(answers(gated, pressed, x), x @ meant + bias, rtol=1e-4, atol=1e-4)
    blocks = {"mse": 3, "hqq": 3, "offset": 4}[scales]
    zeros = 0 if scales == "mse" else 40 * -(-blocks * bits // 8)
    assert report.weights["uint8"] == 32 * blocks * 40 * bits // 8 + zeros
    assert taken(step, model)[0] == pressed


@pytest.mark.parametrize("scales", ["mse", "hqq"])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_rows_are_looked_up_as_they_were_meant(taken: Taken, gated: Gated, bits: Bits, scales: Whole) -> None:
    table = numbers(300, 64)
    nodes = [
        helper.make_node("Cast", ["x"], ["ids"], to=onnx.TensorProto.INT64),
        helper.make_node("Gather", ["t", "ids"], ["y"]),
    ]
    model = model_of(nodes, {"t": table}, ["n"])
    pressed, report = taken(TableBits(bits=bits, scales=scales), model)
    meant = back(blocked(table, bits=bits, size=32, scales=scales), bits, 64)
    ids = np.array([0, 299, 7], np.float32)
    np.testing.assert_allclose(answers(gated, pressed, ids), meant[[0, 299, 7]], rtol=1e-6)
    zeros = 300 * -(-2 * bits // 8) if scales == "hqq" else 0
    assert report.weights == {"float32": 300 * 2 * 4, "uint8": 300 * 64 * bits // 8 + zeros}
    assert not report.left


@pytest.mark.parametrize("tied", [False, True])
def test_rows_that_are_no_whole_blocks_are_looked_up_without_what_fills_them(taken: Taken, tied: bool) -> None:
    table = numbers(40, 72)
    nodes = [
        helper.make_node("Cast", ["x"], ["ids"], to=onnx.TensorProto.INT64),
        helper.make_node("Gather", ["t", "ids"], ["rows"], name="look-up"),
        helper.make_node("FusedMatMul", ["rows", "t"], ["y"], name="all", domain="com.microsoft", transB=1)
        if tied
        else helper.make_node("Relu", ["rows"], ["y"]),
    ]
    plain = onnx.load_from_string(model_of(nodes, {"t": table}, ["n"]))
    plain.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    pressed, _ = taken(TableBits(bits=8, block=64, least=0, compute="float32"), plain.SerializeToString())
    values = back(blocked(table, bits=8, size=64, scales="mse"), 8, 72)
    session = ort.InferenceSession(pressed, providers=["CPUExecutionProvider"])
    [given] = session.run(None, {"x": np.arange(40, dtype=np.float32)})
    np.testing.assert_allclose(given, values @ values.T if tied else np.maximum(values, 0), rtol=1e-4, atol=1e-3)


def test_a_table_that_something_else_uses_stays_and_is_named(taken: Taken) -> None:
    nodes = [
        helper.make_node("Cast", ["x"], ["ids"], to=onnx.TensorProto.INT64),
        helper.make_node("Gather", ["t", "ids"], ["rows"]),
        helper.make_node("Gather", ["u", "ids"], ["others"]),
        helper.make_node("Add", ["rows", "others"], ["sum"]),
        helper.make_node("Gemm", ["sum", "t"], ["y"], transB=1),
    ]
    model = model_of(nodes, {"t": numbers(300, 64), "u": numbers(300, 64)}, ["n"])
    _, report = taken(TableBits(), model)
    assert [line for line in report.left if line.startswith("t: a table that something else uses")]


def test_a_graph_without_what_a_step_is_for_is_refused(taken: Taken) -> None:
    model = model_of([helper.make_node("Relu", ["x"], ["y"])], {}, ["n"])
    for step in (WeightBits(), TableBits(), Mixed()):
        with pytest.raises(CompressionError) as caught:
            taken(step, model, [{"x": numbers(3)}])
        assert caught.value.code == "step_failed"


def chain() -> tuple[bytes, list[dict[str, Any]]]:
    """Three layers; the input of the second has an outlier that its weights need."""
    weights = {name: numbers(64, 64) for name in ("a", "b", "c")}
    weights["a"][:, 0] *= 300
    weights["b"][0] /= 300
    nodes = [
        helper.make_node("MatMul", ["x", "a"], ["u"], name="first"),
        helper.make_node("MatMul", ["u", "b"], ["v"], name="second"),
        helper.make_node("MatMul", ["v", "c"], ["y"], name="third"),
    ]
    return model_of(nodes, weights, ["n", 64]), [{"x": numbers(5, 64)} for _ in range(4)]


@pytest.mark.parametrize("rough", ["int8", "4bit", "gptq"])
def test_the_layer_that_costs_most_keeps_more_bits(taken: Taken, rough: Literal["int8", "4bit", "gptq"]) -> None:
    model, batches = chain()
    pressed, report = taken(Mixed(rough=rough, share=0.34), model, batches)
    graph = onnx.load_from_string(pressed).graph
    fine = [
        node.name for node in graph.node
        if node.op_type == "MatMulNBits" and any(a.name == "bits" and a.i == 8 for a in node.attribute)
    ]  # fmt: skip
    assert len(fine) == 1
    assert report.left[0] == f"{fine[0]}: kept in 8 bits with float activations"
    if rough == "int8":
        assert fine == ["second"]
    assert taken(Mixed(rough=rough, share=0.34), model, batches)[0] == pressed


@pytest.mark.parametrize(("share", "kinds"), [(0.0, {"MatMulIntegerToFloat"}), (1.0, {"MatMulNBits"})])
def test_none_or_all_are_kept(taken: Taken, share: float, kinds: set[str]) -> None:
    model, batches = chain()
    graph = onnx.load_from_string(taken(Mixed(share=share), model, batches)[0]).graph
    assert {node.op_type for node in graph.node} - {"QuantizeLinear"} == kinds


def test_what_loses_most_for_its_size_is_kept_while_there_is_room() -> None:
    assert kept_fine([1.0, 10.0, 4.0], [10, 100, 10], 0.2) == [0, 2]
    assert kept_fine([1.0, 10.0, 4.0], [10, 10, 10], 0.34) == [1]
    assert kept_fine([1.0, 1.0], [1, 1], 0.0) == []


@pytest.mark.parametrize("method", ["minmax", "percentile", "mse", "entropy"])
@pytest.mark.parametrize("bits", [8, 16])
def test_static_int8_is_near(taken: Taken, gated: Gated, method: Any, bits: Any) -> None:
    weights, bias = numbers(64, 32), numbers(32)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["p"]), helper.make_node("Add", ["p", "b"], ["y"])]
    model = model_of(nodes, {"w": weights, "b": bias}, ["n", 64])
    batches = [{"x": numbers(50, 64)} for _ in range(4)]
    pressed, report = taken(StaticInt8(range=method, activation_bits=bits, scales="pairs"), model, batches)
    x = batches[0]["x"]
    expected = x @ weights + bias
    off = np.square(answers(gated, pressed, x) - expected).mean() / np.square(expected).mean()
    assert off < (1e-2 if method == "entropy" else 2e-3)
    assert report.weights["int8"] == 64 * 32


@pytest.mark.parametrize(("bits", "scales"), [(8, "mse"), (4, "mse"), (4, "hqq")])
def test_a_table_that_is_tied_to_the_output_is_stored_once(bits: Bits, scales: Whole, taken: Taken) -> None:
    """It is looked up in, and multiplied by, and both see the same numbers."""
    table = numbers(40, 64)
    nodes = [
        helper.make_node("Cast", ["x"], ["ids"], to=onnx.TensorProto.INT64),
        helper.make_node("Gather", ["table", "ids"], ["rows"], name="look-up"),
        helper.make_node("FusedMatMul", ["rows", "table"], ["y"], name="all", domain="com.microsoft", transB=1),
    ]
    plain = onnx.load_from_string(model_of(nodes, {"table": table}, ["n"]))
    plain.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    model, report = taken(TableBits(bits=bits, scales=scales, least=0, compute="float32"), plain.SerializeToString())
    assert report.left == ()
    assert sum(report.weights.values()) < 40 * 64 * bits / 8 + 40 * 2 * 8 + 40
    values = back(blocked(table, bits=bits, size=32, scales=scales), bits, 64)
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    [given] = session.run(None, {"x": np.arange(40, dtype=np.float32)})
    np.testing.assert_allclose(given, values @ values.T, rtol=1e-4, atol=1e-3)
