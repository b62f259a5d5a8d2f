"""LoRA adapters: merged into their base as W + s B A, and refused where they are anything else."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from policies import licences
from policies.errors import Fault
from policies.licences import UNKNOWN
from toolkit.compress.errors import SourceError
from toolkit.compress.origin import Origin, origin
from toolkit.compress.quiet import quiet
from toolkit.compress.sources.adapter import read_adapter

with quiet():
    from toolkit.compress.sources import huggingface
    from toolkit.compress.sources.lora import merged
    from toolkit.compress.sources.state import state_of

CONFIG: dict[str, Any] = {
    "peft_type": "LORA", "base_model_name_or_path": "org/base", "r": 4, "lora_alpha": 6, "bias": "none",
    "task_type": "FEATURE_EXTRACTION", "target_modules": ["query", "dense"], "lora_dropout": 0.1, "use_dora": False,
    "modules_to_save": None, "rank_pattern": {}, "init_lora_weights": True, "peft_version": "0.21.2",
}  # fmt: skip
LAYERS = {"encoder.layer.0.attention.self.query": (32, 32), "encoder.layer.0.output.dense": (32, 64)}


def factors(layers: dict[str, tuple[int, int]] = LAYERS, rank: int = 4) -> dict[str, NDArray[np.float32]]:
    """A and B of some layers, as PEFT names them."""
    random = np.random.default_rng(0)
    found = {}
    for layer, (out, into) in layers.items():
        found[f"base_model.model.{layer}.lora_A.weight"] = random.normal(size=(rank, into)).astype(np.float32)
        found[f"base_model.model.{layer}.lora_B.weight"] = random.normal(size=(out, rank)).astype(np.float32)
    return found


def put(folder: Path, tensors: dict[str, NDArray[np.float32]] | None = None, **config: Any) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps({**CONFIG, **config}))
    (folder / "README.md").write_text("---\nlicense: cc-by-4.0\nbase_model: org/base\n---\n")
    save_file(factors() if tensors is None else tensors, folder / "adapter_model.safetensors")
    return folder


def brought(adapter: Path, base: Path, *more: str) -> Origin:
    return origin(adapter, licence=None, parents=[f"org/base={base}", *more], memory=None)


def code(call: Callable[[], Any]) -> str:
    with pytest.raises(Fault) as caught:
        call()
    return caught.value.code


def weights(origin: Origin) -> dict[str, NDArray[np.float32]]:
    source = origin.source
    assert isinstance(source, huggingface.Source)
    assert source.adapter is not None
    return {name: tensor.numpy() for name, tensor in merged(state_of(source.weights), source.adapter).items()}


@pytest.mark.parametrize(("config", "scale"), [({}, 6 / 4), ({"use_rslora": True}, 6 / 2), ({"lora_alpha": 4}, 1.0)])
def test_an_adapter_is_merged_as_the_paper_has_it(
    tiny: Path, tmp_path: Path, config: dict[str, Any], scale: float
) -> None:
    found = weights(brought(put(tmp_path / "adapter", **config), tiny))
    before, given = load_file(tiny / "model.safetensors"), factors()
    assert found.keys() == before.keys()
    for name, tensor in before.items():
        layer = name.removesuffix(".weight")
        expected = tensor
        if layer in LAYERS:
            down, up = (given[f"base_model.model.{layer}.lora_{one}.weight"] for one in "AB")
            expected = tensor + scale * (up.astype(np.float64) @ down.astype(np.float64))
            assert not np.allclose(found[name], tensor)
        np.testing.assert_allclose(found[name], expected, rtol=1e-5, atol=1e-5)


def test_what_is_loaded_is_the_merged_model(tiny: Path, tmp_path: Path) -> None:
    from toolkit.compress.sources import pretrained

    came = brought(put(tmp_path / "adapter"), tiny)
    assert isinstance(came.source, huggingface.Source)
    (loaded, plain) = (pretrained.load(one)._model.model.state_dict() for one in (came.source, huggingface.read(tiny)))
    changed = {name for name in plain if not np.array_equal(plain[name].numpy(), loaded[name].numpy())}
    assert changed == {f"{layer}.weight" for layer in LAYERS}
    for name, tensor in weights(came).items():
        if name in loaded:
            np.testing.assert_array_equal(loaded[name].numpy(), tensor)


def test_a_base_may_have_been_saved_with_a_prefix_or_without(tiny: Path, tmp_path: Path) -> None:
    prefixed = shutil.copytree(tiny, tmp_path / "prefixed")
    before = load_file(tiny / "model.safetensors")
    save_file({f"bert.{name}": tensor for name, tensor in before.items()}, prefixed / "model.safetensors")
    adapter = put(tmp_path / "adapter")
    other = put(
        tmp_path / "other", {name.replace("model.enc", "model.bert.enc"): one for name, one in factors().items()}
    )
    plain = weights(brought(adapter, tiny))
    for found in (weights(brought(adapter, prefixed)), weights(brought(other, tiny))):
        same = {name.removeprefix("bert."): tensor for name, tensor in found.items()}
        assert all(np.array_equal(same[name], tensor) for name, tensor in plain.items())


def test_the_lineage_holds_the_adapter_its_base_and_what_these_name(tiny: Path, tmp_path: Path) -> None:
    base = shutil.copytree(tiny, tmp_path / "base")
    (base / "README.md").write_text("---\nlicense: mit\nbase_model: org/older\n---\n")
    adapter = put(tmp_path / "my-adapter")
    came = brought(adapter, base, "org/older=apache-2.0")
    assert came.source.name == "my-adapter"
    found = [(one.name, one.relation, one.licence) for one in came.ancestry.lineage]
    assert found == [
        ("my-adapter", "adapter", "CC-BY-4.0"),
        ("org/base", "parent", "MIT"),
        ("org/older", "parent", "Apache-2.0"),
    ]
    digests = {came.source.digest, *(one.digest for one in came.ancestry.lineage)}
    assert len(digests) == 4
    again = put(tmp_path / "my-adapter", lora_alpha=7)
    assert brought(again, base).source.digest != came.source.digest
    assert brought(again, base).ancestry.lineage[2].licence == UNKNOWN


def test_a_base_in_the_same_folder_is_merged_and_its_origin_must_be_known(tiny: Path, tmp_path: Path) -> None:
    both = shutil.copytree(tiny, tmp_path / "both")
    put(both)
    came = origin(both, licence=None, parents=[], memory=None)
    found = [(one.name, one.relation, one.licence) for one in came.ancestry.lineage]
    assert found == [
        ("both", "adapter", "CC-BY-4.0"),
        ("both", "parent", "CC-BY-4.0"),
        ("org/base", "parent", UNKNOWN),
    ]
    stated = origin(both, licence=None, parents=["org/base=mit"], memory=None)
    assert licences.licence_of(stated.ancestry.lineage) == "CC-BY-4.0 AND MIT"
    assert not np.array_equal(weights(came)["encoder.layer.0.output.dense.weight"], 0)


def test_an_adapter_without_its_base_is_refused_with_what_to_give(tiny: Path, tmp_path: Path) -> None:
    adapter = put(tmp_path / "adapter")
    with pytest.raises(SourceError) as caught:
        origin(adapter, licence=None, parents=["org/base=mit"], memory=None)
    assert caught.value.code == "source_adapter"
    assert "org/base" in str(caught.value)
    assert "--parent NAME=./FOLDER" in caught.value.hint
    assert code(lambda: origin(adapter, licence=None, parents=[f"org/other={tiny}"], memory=None)) == "source_adapter"


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"peft_type": "IA3"}, "source_adapter"),
        ({"use_dora": True}, "source_adapter"),
        ({"bias": "lora_only"}, "source_adapter"),
        ({"fan_in_fan_out": True}, "source_adapter"),
        ({"modules_to_save": ["classifier"]}, "source_adapter"),
        ({"rank_pattern": {"query": 8}}, "source_adapter"),
        ({"alpha_pattern": {"query": 8}}, "source_adapter"),
        ({"init_lora_weights": "pissa"}, "source_adapter"),
        ({"something_new": {"a": 1}}, "source_adapter"),
        ({"r": 8}, "source_adapter"),
        ({"r": 0}, "source_config"),
        ({"lora_alpha": "6"}, "source_config"),
        ({"lora_alpha": -1}, "source_config"),
    ],
)
def test_another_kind_of_adapter_is_refused(tiny: Path, tmp_path: Path, config: dict[str, Any], expected: str) -> None:
    assert code(lambda: weights(brought(put(tmp_path / "adapter", **config), tiny))) == expected


@pytest.mark.parametrize(
    ("tensors", "expected"),
    [
        ({}, "source_adapter"),
        (factors({"encoder.layer.7.output.dense": (32, 64)}), "source_adapter"),
        (factors({"encoder.layer.0.output.dense": (64, 32)}), "source_adapter"),
        (factors({"encoder.layer.0.output.LayerNorm": (32, 32)}), "source_adapter"),
        (factors(LAYERS, rank=2), "source_adapter"),
        ({**factors(), "base_model.model.x.lora_embedding_A": np.zeros((4, 4), np.float32)}, "source_adapter"),
        ({**factors(), "base_model.model.classifier.weight": np.zeros((4, 4), np.float32)}, "source_adapter"),
        ({k: v for k, v in factors().items() if "lora_B" not in k}, "source_adapter"),
        (factors() | {k.replace("model.enc", "model.bert.enc"): v for k, v in factors().items()}, "source_adapter"),
        ({k: v * np.float32(np.inf) for k, v in factors().items()}, "source_weights"),
        ({k: v * np.float32(1e30) for k, v in factors().items()}, "source_weights"),
    ],
)
def test_weights_that_are_no_factors_of_the_base_are_refused(
    tiny: Path, tmp_path: Path, tensors: dict[str, NDArray[np.float32]], expected: str
) -> None:
    assert code(lambda: weights(brought(put(tmp_path / "adapter", tensors), tiny))) == expected


def test_a_pickle_is_no_adapter(tiny: Path, tmp_path: Path) -> None:
    adapter = put(tmp_path / "adapter")
    (adapter / "adapter_model.safetensors").write_bytes(b"\x80\x04N.")
    assert code(lambda: brought(adapter, tiny)) == "source_pickle"
    (adapter / "adapter_model.safetensors").rename(adapter / "adapter_model.bin")
    assert code(lambda: brought(adapter, tiny)) == "source_pickle"
    (adapter / "adapter_model.bin").unlink()
    assert code(lambda: brought(adapter, tiny)) == "source_adapter"
    assert read_adapter(tiny) is None


def test_a_base_of_another_kind_is_refused(tmp_path: Path) -> None:
    from tests.unit.toolkit.compress.steps.graphs import numbers

    base = tmp_path / "base"
    base.mkdir()
    images = {"input_size": [3, 32, 32], "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}
    config = {"architecture": "resnet18", "num_classes": 10, "pretrained_cfg": images}
    (base / "config.json").write_text(json.dumps(config))
    save_file({"a": numbers(2, 2)}, base / "model.safetensors")
    assert code(lambda: brought(put(tmp_path / "adapter"), base)) == "source_adapter"
