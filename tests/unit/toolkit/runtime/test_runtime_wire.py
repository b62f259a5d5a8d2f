"""The walk over ONNX protobufs, compared with the onnx package on every place where a tensor can hide."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from toolkit.runtime.wire import holds_external_data


def _external() -> TensorProto:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="../../etc/passwd")
    return tensor


def _only_location() -> TensorProto:
    return TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)


def _only_data() -> TensorProto:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1])
    tensor.external_data.add(key="location", value="x")
    return tensor


def _model(graph: onnx.GraphProto) -> onnx.ModelProto:
    return onnx.ModelProto(ir_version=10, graph=graph)


def _initializer(tensor: TensorProto) -> onnx.ModelProto:
    return _model(onnx.GraphProto(name="g", initializer=[tensor]))


def _sparse(tensor: TensorProto) -> onnx.ModelProto:
    return _model(onnx.GraphProto(name="g", sparse_initializer=[onnx.SparseTensorProto(values=tensor)]))


def _sparse_indices(tensor: TensorProto) -> onnx.ModelProto:
    return _model(onnx.GraphProto(name="g", sparse_initializer=[onnx.SparseTensorProto(indices=tensor)]))


def _attribute(**fields: object) -> onnx.ModelProto:
    attribute = onnx.AttributeProto(name="a", **fields)  # type: ignore[arg-type] # a protobuf message takes any field
    return _model(onnx.GraphProto(name="g", node=[onnx.NodeProto(op_type="Constant", attribute=[attribute])]))


def _subgraph(tensor: TensorProto) -> onnx.ModelProto:
    return _attribute(g=onnx.GraphProto(initializer=[tensor]))


def _subgraphs(tensor: TensorProto) -> onnx.ModelProto:
    return _attribute(graphs=[onnx.GraphProto(initializer=[tensor])])


def _function(tensor: TensorProto) -> onnx.ModelProto:
    node = onnx.NodeProto(op_type="Constant", attribute=[onnx.AttributeProto(name="a", t=tensor)])
    model = _initializer(TensorProto(name="plain"))
    model.functions.append(onnx.FunctionProto(name="f", node=[node]))
    return model


def _function_attribute(tensor: TensorProto) -> onnx.ModelProto:
    model = _initializer(TensorProto(name="plain"))
    model.functions.append(onnx.FunctionProto(name="f", attribute_proto=[onnx.AttributeProto(name="a", t=tensor)]))
    return model


def _training(tensor: TensorProto) -> onnx.ModelProto:
    model = _initializer(TensorProto(name="plain"))
    model.training_info.append(onnx.TrainingInfoProto(algorithm=onnx.GraphProto(initializer=[tensor])))
    return model


HIDING: list[Callable[[TensorProto], onnx.ModelProto]] = [
    _initializer,
    _sparse,
    _sparse_indices,
    lambda tensor: _attribute(t=tensor),
    lambda tensor: _attribute(tensors=[tensor]),
    lambda tensor: _attribute(sparse_tensor=onnx.SparseTensorProto(values=tensor)),
    lambda tensor: _attribute(sparse_tensors=[onnx.SparseTensorProto(values=tensor)]),
    _subgraph,
    _subgraphs,
    _function,
    _function_attribute,
    _training,
]


@pytest.mark.parametrize("hide", HIDING)
@pytest.mark.parametrize("tensor", [_external, _only_location, _only_data])
def test_external_data_is_found_wherever_it_hides(
    hide: Callable[[TensorProto], onnx.ModelProto], tensor: Callable[[], TensorProto]
) -> None:
    assert holds_external_data(hide(tensor()).SerializeToString())


@pytest.mark.parametrize("hide", HIDING)
def test_a_tensor_with_its_own_data_is_let_through(hide: Callable[[TensorProto], onnx.ModelProto]) -> None:
    own = helper.make_tensor("w", TensorProto.FLOAT, [2], [1.0, 2.0])
    assert not holds_external_data(hide(own).SerializeToString())


def test_every_message_with_a_tensor_in_it_is_known() -> None:
    """A new field in onnx.proto that leads to a tensor must be added to the walk."""
    from toolkit.runtime.wire import _TREE

    names = {
        "ModelProto": "model", "TrainingInfoProto": "training", "FunctionProto": "function", "GraphProto": "graph",
        "NodeProto": "node", "AttributeProto": "attribute", "SparseTensorProto": "sparse", "TensorProto": "tensor",
    }  # fmt: skip
    messages = onnx.ModelProto.DESCRIPTOR.file.message_types_by_name
    for name, short in names.items():
        leads = {
            field.number: names[field.message_type.name]
            for field in messages[name].fields
            if field.message_type is not None and field.message_type.name in names
        }
        assert _TREE[short] == leads, name


@given(st.binary(max_size=400))
def test_any_bytes_end_in_an_answer_or_a_value_error(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        holds_external_data(data)


@given(st.data())
def test_a_cut_model_is_no_model_or_shorter(data: st.DataObject) -> None:
    whole = _initializer(_external()).SerializeToString()
    cut = data.draw(st.integers(0, len(whole) - 1))
    with contextlib.suppress(ValueError):
        holds_external_data(whole[:cut])


def test_depth_is_bounded() -> None:
    inner = b""
    for _ in range(40):
        for field in (6, 5, 1):  # a graph in an attribute in a node in a graph
            inner = bytes([field << 3 | 2]) + _length(len(inner)) + inner
    with pytest.raises(ValueError, match="deep"):
        holds_external_data(bytes([7 << 3 | 2]) + _length(len(inner)) + inner)


def _length(size: int) -> bytes:
    return bytes([size]) if size < 0x80 else bytes([size & 0x7F | 0x80, size >> 7])
