"""Zeros in a bundle: the manifest counts those that are in its file, and a person is told what they are good for."""

from __future__ import annotations

import time
from datetime import date
from pathlib import Path

from msgspec import UNSET

from policies import licences
from tests.unit.toolkit.compress.steps.graphs import model_of, numbers
from toolkit.bundle import Bundle
from toolkit.commands.show import described
from toolkit.compress import compress
from toolkit.compress.quiet import quiet
from toolkit.new_box import create_box

with quiet():
    import onnx
    from onnx import helper, numpy_helper

RECIPE = """
[[step]]
kind = "sparsify"
pattern = "2:4"

[[step]]
kind = "weight-bits"
bits = 4
exclude = ["second"]
"""


UNTIL = date(2050, 1, 1)


def pressed(folder: Path, recipe: str) -> Bundle:
    create_box(folder / "box")
    (folder / "recipe.toml").write_text(recipe)
    nodes = [
        helper.make_node("Gemm", ["x", "a", "b"], ["h"], name="first"),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("Gemm", ["r", "c"], ["y"], name="second"),
    ]
    model = onnx.load_from_string(
        model_of(nodes, {"a": numbers(64, 96), "b": numbers(96), "c": numbers(96, 8)}, ("batch", 64))
    )
    model.graph.output[0].type.CopyFrom(helper.make_tensor_type_proto(onnx.TensorProto.FLOAT, ["batch", 8]))
    onnx.save(model, folder / "net.onnx")
    return compress(
        folder / "net.onnx",
        recipe=folder / "recipe.toml",
        budget="fidelity>=0.5",
        calibrate=[{"x": numbers(1, 64)} for _ in range(60)],
        evaluate=[{"x": numbers(1, 64)} for _ in range(20)],
        licence="MIT",
        licence_until=UNTIL,
        data_licence="cc-by-sa-4.0",
        out=folder / "net.bundle",
        settings=folder / "box" / "sealpress.toml",
    )


def test_the_zeros_of_the_manifest_are_those_of_the_file(tmp_path: Path) -> None:
    bundle = pressed(tmp_path, RECIPE)
    graph = onnx.load_from_string(bundle.model).graph
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    first, second = (node for node in graph.node if node.op_type in ("MatMulNBits", "Gemm"))
    assert (first.op_type, second.op_type) == ("MatMulNBits", "Gemm")
    halves = tensors[first.input[1]].reshape(-1).tolist()
    counted = sum((byte & 15 == 8) + (byte >> 4 == 8) for byte in halves)
    # what was small became zero too
    assert counted > 64 * 96 / 2
    assert bundle.manifest.zeros == {"first": counted, "second": 96 * 8 // 2}
    assert f"zeros    {counted + 384:,} weights of 2 layers: smaller when packed, no faster" in described(bundle)
    assert " packed), " in described(bundle)
    # it may be used for what the licences of the model and of the data allow, and both texts go with it
    assert bundle.manifest.licence == "CC-BY-SA-4.0 AND MIT"
    # papers of the source say nothing, so it is on record that somebody did, from when, and until when that counts
    stated = bundle.manifest.stated
    assert stated is not UNSET
    assert (stated.licence, stated.ends) == ("MIT", 2_524_608_000 * 10**9)
    assert 0 <= time.time_ns() - stated.starts < 2 * 86_400 * 10**9
    parent, data = bundle.manifest.lineage
    assert (parent.relation, parent.licence) == ("parent", "MIT")
    assert (data.relation, data.licence) == ("calibration", "CC-BY-SA-4.0")
    assert data.digest == (bundle.manifest.data or {})["calibrate"]
    papers = (bundle.path / "LICENSE").read_text("utf-8")
    assert licences.pages(papers) == tuple(licences.text(one).strip("\n") for one in ("MIT", "CC-BY-SA-4.0"))
    assert [one.text for one in bundle.manifest.lineage] == [
        licences.digest(licences.text(one)) for one in ("MIT", "CC-BY-SA-4.0")
    ]
