"""Small float graphs from "x" to "y", an encoder of tokens, and what a graph gives by onnx's own reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolkit.compress.quiet import quiet

with quiet():
    import onnx
    from onnx import TensorProto, helper, numpy_helper
    from onnx.reference import ReferenceEvaluator

__all__ = ["convolved", "encoder", "given_by", "model_of", "numbers", "restart", "tokens"]

_RANDOM = np.random.default_rng(0)
# another stream than the one that modules draw from while they are loaded
_START = np.random.default_rng(1).bit_generator.state


def numbers(*shape: int) -> NDArray[np.float32]:
    return _RANDOM.normal(size=shape).astype(np.float32)


def restart() -> None:
    """Let the numbers begin anew, so that those of a test do not depend on which tests ran before it."""
    _RANDOM.bit_generator.state = _START


def model_of(
    nodes: Sequence[onnx.NodeProto], constants: Mapping[str, NDArray[np.float32]], shape: Sequence[int | str]
) -> bytes:
    """The ONNX file of a graph whose input has a shape."""
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    # the runtime does not take the newest versions of the format
    data: bytes = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10
    ).SerializeToString()
    return data


def given_by(model: bytes, **feeds: NDArray[Any]) -> NDArray[np.float32]:
    """The first output."""
    given: Any = ReferenceEvaluator(onnx.load_from_string(model)).run(None, feeds)
    return np.asarray(given[0], dtype=np.float32)


def tokens(items: int, vocabulary: int = 60, seed: int = 0) -> list[dict[str, NDArray[np.int64]]]:
    """Batches of one item for an encoder, of several lengths."""
    random = np.random.default_rng(seed)
    ids = [random.integers(vocabulary, size=(1, 6 + number % 5)) for number in range(items)]
    return [{"input_ids": one, "attention_mask": np.ones_like(one)} for one in ids]


def encoder(
    layers: int = 2,
    *,
    heads: int = 4,
    split: Sequence[int] = (0, 0, 4, 8),
    computed: bool = False,
    before: bool = False,
) -> bytes:
    """A transformer of 32 channels and 64 neurons over 60 tokens, from input_ids and attention_mask to "y".

    `split` is the shape that makes heads; where it is `computed`, it is put together from the shape of the input.
    Normalised after each sum, as BERT is, or `before` each network.
    """
    weights: dict[str, NDArray[Any]] = {
        "table": numbers(60, 32),
        "scale": np.array(32 / heads, np.float32) ** np.float32(-0.5),
        "least": np.array(-1e4, np.float32),
        "one": np.array(1, np.float32),
        "split": np.array(split[-2:] if computed else split),
        "merge": np.array([-1] if computed else [0, 0, 32]),
        "middle": np.array([1, 2]),
    }
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["h0"], name="look-up"),
        helper.make_node("Cast", ["attention_mask"], ["m0"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["m0", "middle"], ["m1"]),
        helper.make_node("Sub", ["one", "m1"], ["m2"]),
        helper.make_node("Mul", ["m2", "least"], ["mask"]),
    ]
    shapes = ["split", "merge"]
    if computed:
        nodes += [
            helper.make_node("Shape", ["input_ids"], ["sizes"]),
            helper.make_node("Concat", ["sizes", "split"], ["by-head"], axis=0),
            helper.make_node("Concat", ["sizes", "merge"], ["whole"], axis=0),
        ]
        shapes = ["by-head", "whole"]

    def normalised(name: str, result: str) -> onnx.NodeProto:
        weights[f"{result}.g"], weights[f"{result}.b"] = 1 + numbers(32) / 10, numbers(32) / 10
        return helper.make_node("LayerNormalization", [name, f"{result}.g", f"{result}.b"], [result], name=result)

    def linear(name: str, result: str, inputs: int, outputs: int) -> list[onnx.NodeProto]:
        weights[f"{result}.w"] = numbers(inputs, outputs) / np.float32(np.sqrt(inputs))
        weights[f"{result}.b"] = numbers(outputs) / 10
        return [
            helper.make_node("MatMul", [name, f"{result}.w"], [f"{result}.p"], name=f"{result}.matmul"),
            helper.make_node("Add", [f"{result}.p", f"{result}.b"], [result], name=f"{result}.add"),
        ]

    def by_head(name: str, perm: Sequence[int]) -> list[onnx.NodeProto]:
        return [
            helper.make_node("Reshape", [name, shapes[0]], [f"{name}.split"]),
            helper.make_node("Transpose", [f"{name}.split"], [f"{name}.heads"], perm=perm),
        ]

    def attention(name: str, result: str) -> list[onnx.NodeProto]:
        q, k, v, s = (f"{result}.{kind}" for kind in "qkvs")
        return [
            *(node for part in (q, k, v) for node in linear(name, part, 32, 32)),
            *by_head(q, [0, 2, 1, 3]),
            *by_head(k, [0, 2, 3, 1]),
            *by_head(v, [0, 2, 1, 3]),
            helper.make_node("MatMul", [f"{q}.heads", f"{k}.heads"], [f"{s}.0"]),
            helper.make_node("Mul", [f"{s}.0", "scale"], [f"{s}.1"]),
            helper.make_node("Add", [f"{s}.1", "mask"], [f"{s}.2"]),
            helper.make_node("Softmax", [f"{s}.2"], [f"{s}.3"], axis=-1),
            helper.make_node("MatMul", [f"{s}.3", f"{v}.heads"], [f"{s}.4"]),
            helper.make_node("Transpose", [f"{s}.4"], [f"{s}.5"], perm=[0, 2, 1, 3]),
            helper.make_node("Reshape", [f"{s}.5", shapes[1]], [f"{s}.6"]),
            *linear(f"{s}.6", result, 32, 32),
        ]

    def network(name: str, result: str) -> list[onnx.NodeProto]:
        inner = f"{result}.inner"
        gelu = helper.make_node("Gelu", [inner], [f"{inner}.gelu"])
        return [*linear(name, inner, 32, 64), gelu, *linear(f"{inner}.gelu", result, 64, 32)]

    for number in range(layers):
        for made, kind in ((attention, "a"), (network, "f")):
            start = "h0" if (number, kind) == (0, "a") else nodes[-1].output[0]
            part = f"{number}{kind}"
            if before:
                nodes += [normalised(start, f"{part}.n"), *made(f"{part}.n", part)]
                nodes.append(helper.make_node("Add", [part, start], [f"{part}.sum"]))
            else:
                nodes += [*made(start, part), helper.make_node("Add", [part, start], [f"{part}.sum"])]
                nodes.append(normalised(f"{part}.sum", f"{part}.n"))
    last = nodes[-1].output[0]
    nodes.append(normalised(last, "y") if before else helper.make_node("Identity", [last], ["y"]))
    ids = [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "tokens"]) for name in _TAKEN]
    given = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", "tokens", 32])
    kept = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "g", ids, [given], kept)
    data: bytes = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10
    ).SerializeToString()
    return data


def convolved(*, double: bool = False, squeeze: bool = True) -> bytes:
    """A network of images (n, 3, 8, 8) from "x" to "y" (n, 5): a stem of 8 channels, an inverted residual of 32 with a
    normalisation, a depthwise convolution and, if so, squeeze-and-excitation, a shortcut, a mean, a linear layer.

    With `double` each of the 32 channels is there twice.
    """
    half = 16 if double else 32
    weights: dict[str, NDArray[Any]] = {
        "stem.w": numbers(8, 3, 3, 3) / 3,
        "stem.b": numbers(8) / 10,
        "expand.w": numbers(half, 8, 1, 1) / 2,
        "expand.b": numbers(half) / 10,
        "norm.g": 1 + numbers(half) / 10,
        "norm.b": numbers(half) / 10,
        "norm.m": numbers(half) / 10,
        "norm.v": np.abs(1 + numbers(half) / 10),
        "depth.w": numbers(half, 1, 3, 3) / 2,
        "depth.b": numbers(half) / 10,
        "squeeze.w": numbers(6, 32, 1, 1) / 4,
        "squeeze.b": numbers(6) / 10,
        "excite.w": numbers(half, 6, 1, 1) / 2,
        "excite.b": numbers(half) / 10,
        "project.w": numbers(8, 32, 1, 1) / 4,
        "project.b": numbers(8) / 10,
        "head.w": numbers(5, 8) / 2,
        "head.b": numbers(5) / 10,
    }
    if double:
        for name in ("expand", "norm", "depth", "excite"):
            weights.update({key: np.repeat(one, 2, 0) for key, one in weights.items() if key.startswith(name)})
    limits = {"least": np.array(0, np.float32), "most": np.array(6, np.float32)}

    def conv(name: str, given: str, **more: Any) -> onnx.NodeProto:
        return helper.make_node("Conv", [given, f"{name}.w", f"{name}.b"], [name], name=name, **more)

    nodes = [
        conv("stem", "x", strides=[2, 2], pads=[1, 1, 1, 1]),
        conv("expand", "stem"),
        helper.make_node("BatchNormalization", ["expand", *(f"norm.{part}" for part in "gbmv")], ["norm"]),
        helper.make_node("Clip", ["norm", "least", "most"], ["wide"]),
        conv("depth", "wide", group=32, pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["depth"], ["open"]),
        *(
            helper.make_node("GlobalAveragePool", ["open"], ["mean"]),
            conv("squeeze", "mean"),
            helper.make_node("Relu", ["squeeze"], ["few"]),
            conv("excite", "few"),
            helper.make_node("Sigmoid", ["excite"], ["gate"]),
            helper.make_node("Mul", ["open", "gate"], ["gated"]),
        )[: 6 if squeeze else 0],
        conv("project", "gated" if squeeze else "open"),
        helper.make_node("Add", ["project", "stem"], ["sum"]),
        helper.make_node("GlobalAveragePool", ["sum"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["row"]),
        helper.make_node("Gemm", ["row", "head.w", "head.b"], ["y"], name="head", transB=1),
    ]
    used = {name for node in nodes for name in node.input}
    kept = {name: value for name, value in {**weights, **limits}.items() if name in used}
    model = onnx.load_from_string(model_of(nodes, kept, ("n", 3, 8, 8)))
    model.graph.output[0].type.CopyFrom(helper.make_tensor_type_proto(TensorProto.FLOAT, ["n", 5]))
    data: bytes = model.SerializeToString()
    return data


_TAKEN = ("input_ids", "attention_mask")
