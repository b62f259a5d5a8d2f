"""Each operator gives in training what the runtime gives, and lets gradients through."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from tests.unit.toolkit.compress.steps.graphs import convolved, encoder, model_of, numbers, tokens
from toolkit.compress.quiet import quiet

with quiet():
    import onnx
    from onnx import helper, numpy_helper

    from toolkit.train.errors import TrainingError
    from toolkit.train.network import Network, as_tensors
    from toolkit.train.operators import OPERATORS

whole = np.array
made = helper.make_node

# an operator with its attributes, and its inputs after x (2, 4, 6, 6)
CASES: list[tuple[str, dict[str, Any], list[NDArray[Any]]]] = [
    ("Abs", {}, []),
    ("Add", {}, [numbers(6)]),
    ("AveragePool", {"kernel_shape": [3, 3], "pads": [1, 1, 0, 0]}, []),
    ("AveragePool", {"kernel_shape": [2, 2], "strides": [2, 2], "pads": [1, 0, 1, 0], "count_include_pad": 1}, []),
    ("AveragePool", {"kernel_shape": [3, 3], "auto_pad": "SAME_UPPER"}, []),
    ("BatchNormalization", {"epsilon": 1e-3}, [numbers(4), numbers(4), numbers(4), np.abs(numbers(4))]),
    ("Cast", {"to": onnx.TensorProto.FLOAT}, []),
    ("Clip", {}, [whole(-0.5, np.float32), whole(0.5, np.float32)]),
    ("Clip", {}, [whole(-0.5, np.float32)]),
    ("Concat", {"axis": 1}, [numbers(2, 3, 6, 6)]),
    ("Conv", {"pads": [1, 0, 1, 2], "strides": [2, 1]}, [numbers(8, 4, 3, 3), numbers(8)]),
    ("Conv", {"group": 4, "dilations": [2, 2]}, [numbers(4, 1, 3, 3)]),
    ("Conv", {"auto_pad": "SAME_UPPER", "strides": [2, 2]}, [numbers(5, 4, 3, 3)]),
    ("Conv", {"auto_pad": "SAME_LOWER", "strides": [2, 2]}, [numbers(5, 4, 3, 3)]),
    ("Div", {}, [numbers(2, 1, 6, 6) + 4]),
    ("Erf", {}, []),
    ("Exp", {}, []),
    ("Expand", {}, [whole([2, 4, 6, 6])]),
    ("Flatten", {"axis": 2}, []),
    ("Gather", {"axis": 1}, [whole([[0, -1], [2, 2]])]),
    ("GatherND", {}, [whole([[0, 1], [1, 3]])]),
    ("Gelu", {}, []),
    ("Gelu", {"approximate": "tanh"}, []),
    ("GlobalAveragePool", {}, []),
    ("HardSigmoid", {"alpha": 0.3}, []),
    ("HardSwish", {}, []),
    ("Identity", {}, []),
    ("LayerNormalization", {"axis": -1}, [numbers(6), numbers(6)]),
    ("LayerNormalization", {"axis": 2, "epsilon": 1e-2}, [numbers(6, 6)]),
    ("MatMul", {}, [numbers(6, 5)]),
    ("Max", {}, [numbers(6), numbers(6, 6)]),
    ("MaxPool", {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}, []),
    ("MaxPool", {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}, []),
    ("Min", {}, [numbers(6)]),
    ("Mul", {}, [numbers(6)]),
    ("Neg", {}, []),
    ("Pow", {}, [whole(2, np.float32)]),
    ("Reciprocal", {}, []),
    ("ReduceMean", {}, [whole([2, 3])]),
    ("ReduceMean", {"keepdims": 0}, []),
    ("ReduceMean", {"noop_with_empty_axes": 1}, []),
    ("ReduceSum", {"keepdims": 0}, [whole([-1])]),
    ("Relu", {}, []),
    ("Reshape", {}, [whole([0, -1, 3])]),
    ("Sigmoid", {}, []),
    ("Slice", {}, [whole([1]), whole([4]), whole([1])]),
    ("Slice", {}, [whole([5, 0]), whole([-100, 100]), whole([2, -1]), whole([-2, 2])]),
    ("Softmax", {"axis": 1}, []),
    ("Split", {"axis": 1, "num_outputs": 2}, []),
    ("Split", {"axis": 2}, [whole([4, 2])]),
    ("Squeeze", {}, [whole([1])]),
    ("Sub", {}, [numbers(6)]),
    ("Tanh", {}, []),
    ("Transpose", {"perm": [0, 2, 3, 1]}, []),
    ("Transpose", {}, []),
    ("Unsqueeze", {}, [whole([0, -1])]),
]
# what is taken or given is no float there, or the numbers have to be such that it is one
OTHERS = {
    "And": [made("Greater", ["x", "a"], ["p"]), made("Less", ["x", "b"], ["q"]), made("And", ["p", "q"], ["z"])],
    "Or": [
        made("GreaterOrEqual", ["x", "a"], ["p"]),
        made("LessOrEqual", ["x", "b"], ["q"]),
        made("Or", ["p", "q"], ["z"]),
    ],
    "Equal": [
        made("Cast", ["x"], ["i"], to=onnx.TensorProto.INT64),
        made("Cast", ["a"], ["j"], to=7),
        made("Equal", ["i", "j"], ["z"]),
    ],
    "Not": [made("Greater", ["x", "a"], ["p"]), made("Not", ["p"], ["z"])],
    "Shape": [made("Shape", ["x"], ["z"], start=1)],
    "Constant": [made("Constant", [], ["c"], value_float=2.0), made("Mul", ["x", "c"], ["z"])],
    "ConstantOfShape": [made("Shape", ["x"], ["s"]), made("ConstantOfShape", ["s"], ["z"])],
    "Log": [made("Abs", ["x"], ["p"]), made("Log", ["p"], ["z"])],
    "Sqrt": [made("Abs", ["x"], ["p"]), made("Sqrt", ["p"], ["z"])],
    "Gemm": [made("Flatten", ["x"], ["f"]), made("Gemm", ["f", "w", "v"], ["z"], alpha=0.5, beta=2.0, transB=1)],
    "Where": [made("Greater", ["x", "a"], ["p"]), made("Where", ["p", "x", "b"], ["z"])],
}


def compared(model: bytes, feeds: dict[str, NDArray[Any]]) -> None:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    network = Network(model, learns=False)
    for expected, given in zip(session.run(None, feeds), network(as_tensors(feeds), network.outputs), strict=True):
        assert given.shape == expected.shape
        np.testing.assert_allclose(given.detach().numpy(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("kind", "attributes", "inputs"), CASES)
def test_an_operator_gives_what_the_runtime_gives(
    kind: str, attributes: dict[str, Any], inputs: list[NDArray[Any]]
) -> None:
    shape = (2, 1, 6, 6) if kind == "Squeeze" else (2, 4, 6, 6)
    constants = {f"c{number}": value for number, value in enumerate(inputs)}
    outputs = ["y", "rest"] if kind == "Split" else ["y"]
    model = model_of([made(kind, ["x", *constants], outputs, **attributes)], constants, shape)
    compared(model, {"x": numbers(*shape)})


@pytest.mark.parametrize("kind", sorted(OTHERS))
def test_an_operator_on_other_types_gives_what_the_runtime_gives(kind: str) -> None:
    nodes = [*OTHERS[kind], made("Cast", ["z"], ["y"], to=onnx.TensorProto.FLOAT)]
    constants = {"a": numbers(6), "b": numbers(6), "w": numbers(3, 144), "v": numbers(3)}
    used = {name for node in nodes for name in node.input}
    model = model_of(nodes, {name: value for name, value in constants.items() if name in used}, (2, 4, 6, 6))
    compared(model, {"x": numbers(2, 4, 6, 6)})


def test_a_range_is_that_of_the_runtime() -> None:
    nodes = [
        made("Shape", ["x"], ["s"]),
        made("Squeeze", ["s"], ["n"]),
        made("Range", ["zero", "n", "two"], ["r"]),
        made("Cast", ["r"], ["y"], to=onnx.TensorProto.FLOAT),
    ]
    model = onnx.load_from_string(model_of(nodes, {}, ("n",)))
    for name, value in (("zero", 0), ("two", 2)):
        model.graph.initializer.append(numpy_helper.from_array(np.array(value), name))
    compared(model.SerializeToString(), {"x": numbers(7)})


def test_every_operator_is_tried() -> None:
    others = {node.op_type for nodes in OTHERS.values() for node in nodes}
    assert {kind for kind, _, _ in CASES} | others | {"Range"} == set(OPERATORS)


def test_whole_models_give_what_the_runtime_gives() -> None:
    compared(convolved(), {"x": numbers(2, 3, 8, 8)})
    for feeds in tokens(3):
        compared(encoder(), feeds)


def test_what_is_not_known_is_refused() -> None:
    model = model_of([made("Sin", ["x"], ["y"])], {}, ("n",))
    with pytest.raises(TrainingError) as refused:
        Network(model, learns=False)
    assert refused.value.code == "train_operator"
    pool = model_of([made("AveragePool", ["x"], ["y"], kernel_shape=[2, 2], ceil_mode=1)], {}, (1, 1, 5, 5))
    network = Network(pool, learns=False)
    with pytest.raises(TrainingError) as refused:
        network(as_tensors({"x": numbers(1, 1, 5, 5)}), network.outputs)
    assert refused.value.code == "train_operator"
