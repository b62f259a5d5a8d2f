"""Small float graphs from "x" to "y", and what a graph gives by onnx's own reference."""

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

__all__ = ["given_by", "model_of", "numbers"]

_RANDOM = np.random.default_rng(0)


def numbers(*shape: int) -> NDArray[np.float32]:
    return _RANDOM.normal(size=shape).astype(np.float32)


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
