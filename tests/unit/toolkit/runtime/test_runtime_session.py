"""A session runs under a grant, on what the model takes, and in no other way."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from policies.errors import Fault
from policies.facts import Call, Decision, Finding, Manifest, Outcome
from policies.gate import Grant, close, covers, decide_and_open, gate
from policies.payload import Payload
from toolkit.runtime.session import Session


class Anything:
    digest = "p"

    def decide(self, model: Manifest, call: Call) -> Decision:
        return Decision(allowed=True, findings=(Finding(rule="r", ok=True, reason="yes"),), policy="p")


class Memory:
    """A ledger that keeps its records in a list."""

    sealed = True

    def __init__(self) -> None:
        self.records: list[Any] = []

    def opened(self, call: Call, model: Manifest, decision: Decision, payload: Payload) -> int:
        self.records.append(payload)
        return len(self.records)

    def noted(self, entry: int, kind: str, data: dict[str, Any], payload: Payload | None = None) -> None:
        self.records.append((entry, kind, data))

    def closed(self, entry: int, outcome: Outcome) -> None:
        self.records.append(outcome)


def model_of(dtype: int = TensorProto.FLOAT) -> bytes:
    shape: list[str | int | None] = ["n", 2]
    graph = helper.make_graph(
        [helper.make_node("Add", ["a", "b"], ["c"])],
        "g",
        [helper.make_tensor_value_info(name, dtype, shape) for name in "ab"],
        [helper.make_tensor_value_info("c", dtype, shape)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    data: bytes = model.SerializeToString()
    return data


MANIFEST = Manifest(format=1, name="m", version="1", digest="d", task="t", licence="MIT", inputs=(), outputs=())


def call(action: Any = "infer") -> Call:
    return Call(id="1", at=0, actor="a", tenant="t", action=action, model="d")


def run(session: Session, feeds: Any, action: Any = "infer") -> Any:
    return gate(
        Anything(), MANIFEST, call(action), Payload(value=[[1.0, 2.0]]), Memory(),
        lambda grant: session.run(grant, "p", feeds),
    )  # fmt: skip


def pair(payload: Payload) -> list[dict[str, Any]]:
    rows = np.array(payload.value, dtype=np.float32)
    return [{"a": rows, "b": rows}]


def test_the_input_comes_from_the_payload_of_the_grant() -> None:
    session = Session(model_of(), "d")
    assert [tensor.name for tensor in session.inputs] == ["a", "b"]
    assert session.inputs[0].dtype == "float32"
    assert session.inputs[0].shape == ("n", 2)
    assert run(session, pair)[0][0].tolist() == [[2.0, 4.0]]


def test_without_a_grant_nothing_runs() -> None:
    session = Session(model_of(), "d")
    for grant in (None, Grant(), object()):
        with pytest.raises(Fault) as caught:
            session.run(grant, "p", pair)  # type: ignore[arg-type] # what is no grant is the test
        assert caught.value.code == "grant_missing"


def test_a_grant_serves_one_run_of_one_model_under_one_policy() -> None:
    other, session = Session(model_of(), "other"), Session(model_of(), "d")
    ledger = Memory()
    grant = decide_and_open(Anything(), MANIFEST, call(), Payload(value=[[1.0, 2.0]]), ledger)
    for refused, in_force, code in ((other, "p", "grant_other_model"), (session, "q", "grant_outdated")):
        with pytest.raises(Fault) as caught:
            refused.run(grant, in_force, pair)
        assert caught.value.code == code
    session.run(grant, "p", pair)
    with pytest.raises(Fault) as caught:
        session.run(grant, "p", pair)
    assert caught.value.code == "grant_spent"
    close(grant)
    with pytest.raises(Fault) as caught:
        session.run(grant, "p", pair)
    assert caught.value.code == "grant_missing"


def test_a_grant_to_compress_covers_what_is_derived_under_it() -> None:
    parent, child = Session(model_of(), "d"), Session(model_of(), "child")
    grant = decide_and_open(Anything(), MANIFEST, call("compress"), Payload(value=[[1.0, 2.0]]), Memory())
    parent.run(grant, "p", pair)
    with pytest.raises(Fault) as caught:
        child.run(grant, "p", pair)
    assert caught.value.code == "grant_other_model"
    covers(grant, "child")
    child.run(grant, "p", pair)
    parent.run(grant, "p", pair)


@pytest.mark.parametrize(
    "batch",
    [
        {"a": np.zeros((1, 2), np.float32)},
        {"a": np.zeros((1, 2), np.float32), "b": np.zeros((1, 2), np.float32), "c": np.zeros((1, 2), np.float32)},
        {"a": np.zeros((1, 2), np.float32), "b": np.zeros((1, 2), np.float64)},
        {"a": np.zeros((1, 2), np.float32), "b": np.zeros(2, np.float32)},
    ],
)
def test_other_inputs_than_the_model_takes_are_refused(batch: dict[str, Any]) -> None:
    with pytest.raises(Fault) as caught:
        run(Session(model_of(), "d"), lambda _: [batch])
    assert caught.value.code == "model_inputs"


def test_a_type_that_numpy_does_not_have_is_refused_when_it_is_asked() -> None:
    graph = helper.make_graph(
        [helper.make_node("Cast", ["a"], ["c"], to=TensorProto.FLOAT)],
        "g",
        [helper.make_tensor_value_info("a", TensorProto.BFLOAT16, ["n", 2])],
        [helper.make_tensor_value_info("c", TensorProto.FLOAT, ["n", 2])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    session = Session(model.SerializeToString(), "d")
    assert session.inputs[0].dtype == "bfloat16"
    with pytest.raises(Fault) as caught:
        run(session, lambda _: [{"a": np.ones((1, 2), np.float32)}])
    assert caught.value.code == "model_inputs"


def test_what_is_no_model_is_refused() -> None:
    external = onnx.load_from_string(model_of())
    tensor = external.graph.initializer.add(name="w", data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="/etc/passwd")
    custom = onnx.load_from_string(model_of())
    custom.graph.node[0].domain = "somebody.else"
    for data, code in (
        (b"", "model_malformed"),
        (b"\x80\x04pickle", "model_malformed"),
        (model_of()[:-3], "model_malformed"),
        (external.SerializeToString(), "model_external_data"),
        (custom.SerializeToString(), "model_malformed"),
    ):
        with pytest.raises(Fault) as caught:
            Session(data, "d")
        assert caught.value.code == code
