"""The export: the traps that give a wrong graph without a sign, and weights that are not what they should be."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from policies.errors import Ungated
from policies.gate import Grant, covers
from tests.unit.toolkit.compress.conftest import TEXTS
from toolkit.compress import engine
from toolkit.compress.data import NONE, Data, gathered
from toolkit.compress.errors import CompressionError, SourceError
from toolkit.compress.quiet import quiet
from toolkit.compress.sources import huggingface
from toolkit.compress.steps.dynamic_int8 import DynamicInt8
from toolkit.runtime.lane import reader_of
from toolkit.runtime.session import Session

with quiet():
    import onnx
    import torch
    from safetensors.torch import load_file, save_file

    from toolkit.compress.sources import export, pretrained

Gated = Callable[[str, Callable[[Grant], Any]], Any]
ROOT = Path(__file__).resolve().parents[4]


@pytest.fixture(scope="module")
def source(tiny: Path) -> huggingface.Source:
    return huggingface.read(tiny)


@pytest.fixture(scope="module")
def original(source: huggingface.Source) -> export.TorchModel:
    return pretrained.load(source)


class Weighted(torch.nn.Module):
    """Stands where a transformers model stands; each input has a weight of its own, so that a swap shows."""

    def forward(self, **tokens: torch.Tensor) -> Any:
        names = ("input_ids", "attention_mask", "token_type_ids")
        hidden = sum(10**power * tokens[name].float() for power, name in enumerate(names) if name in tokens)
        return type("Output", (), {"last_hidden_state": hidden[:, :, None] * torch.arange(1.0, 5.0)})


def example(*names: str, size: tuple[int, int] = (2, 7)) -> dict[str, torch.Tensor]:
    return {name: torch.ones(size, dtype=torch.int64) for name in names}


def traced(model: torch.nn.Module, names: tuple[str, ...], given: dict[str, torch.Tensor]) -> bytes:
    dims = ("batch", "tokens")
    positional = export.Positional(model, names, lambda answer: (answer.last_hidden_state,))
    return export.trace(positional, export.Traced(example=given, dims=dims, outputs={"last_hidden_state": dims}))


ON_TEXTS = Data(calibrate=NONE, evaluate=gathered(TEXTS, "text"))


def difference(
    gated: Gated, source: huggingface.Source, original: export.TorchModel, model: bytes, data: Data = ON_TEXTS
) -> float:
    """What the check says of a graph that the original claims to have given."""

    class Claims:
        names = original.names
        run = staticmethod(original.run)
        trials = staticmethod(original.trials)

        def export(self) -> bytes:
            return model

    class Standing:
        def load(self) -> Claims:
            return Claims()

        def __getattr__(self, name: str) -> Any:
            return getattr(source, name)

    def work(grant: Grant) -> float:
        return engine.Press(Standing(), grant, "policy", data, lambda _: None).export_error

    found: float = gated(source.digest, work)
    return found


# --- the graph


def test_batch_and_tokens_vary_and_nothing_else_does(exported: bytes) -> None:
    graph = onnx.load_from_string(exported).graph
    shapes = {
        node.name: [dim.dim_param or dim.dim_value for dim in node.type.tensor_type.shape.dim]
        for node in (*graph.input, *graph.output)
    }
    assert shapes == {
        "input_ids": ["batch", "tokens"],
        "attention_mask": ["batch", "tokens"],
        "token_type_ids": ["batch", "tokens"],
        "last_hidden_state": ["batch", "tokens", 32],
    }


def test_the_graph_carries_no_notes_and_no_paths(exported: bytes) -> None:
    model = onnx.load_from_string(exported)
    assert model.opset_import[0].version == 20
    assert not any(node.metadata_props or node.doc_string for node in model.graph.node)
    assert not model.metadata_props
    assert b".py" not in exported
    assert str(Path.home()).encode() not in exported


ELSEWHERE = """
import hashlib, json, sys
from pathlib import Path
from toolkit.compress.quiet import quiet
with quiet():
    from toolkit.compress.sources import huggingface, pretrained
from toolkit.compress.steps.dynamic_int8 import DynamicInt8
model = pretrained.load(huggingface.read(Path(sys.argv[1]))).export()
pressed, _ = DynamicInt8().apply(model, None)
Path(sys.argv[2]).write_text(json.dumps([hashlib.sha256(one).hexdigest() for one in (model, pressed)]))
"""


@pytest.fixture(scope="module")
def elsewhere(
    tiny: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[list[str], subprocess.CompletedProcess[str]]:
    """An export of a copy in a process of its own: the SHA-256 of the graph and of what it was pressed to."""
    folder = tmp_path_factory.mktemp("elsewhere")
    copy = shutil.copytree(tiny, folder / "below" / "copy")
    done = subprocess.run(
        [sys.executable, "-W", "default", "-c", ELSEWHERE, copy, folder / "digests"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "7", "HOME": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "digests").read_text()), done


def test_the_bytes_are_the_same_in_another_folder_and_process(
    exported: bytes, elsewhere: tuple[list[str], Any]
) -> None:
    pressed, _ = DynamicInt8().apply(exported, None)  # type: ignore[arg-type]  # it does not look at data
    assert elsewhere[0] == [hashlib.sha256(model).hexdigest() for model in (exported, pressed)]


def test_an_export_says_nothing_on_the_terminal(elsewhere: tuple[list[str], Any]) -> None:
    assert (elsewhere[1].stdout, elsewhere[1].stderr) == ("", "")


def test_one_tensor_for_two_inputs_is_refused() -> None:
    names = ("input_ids", "attention_mask")
    tensor = torch.ones((2, 7), dtype=torch.int64)
    with pytest.raises(CompressionError) as caught:
        traced(Weighted(), names, dict.fromkeys(names, tensor))
    assert caught.value.code == "export_inputs"


def test_inputs_in_another_order_are_refused() -> None:
    with pytest.raises(CompressionError) as caught:
        traced(Weighted(), ("input_ids", "attention_mask"), example("attention_mask", "input_ids"))
    assert caught.value.code == "export_inputs"


@pytest.mark.parametrize("size", [(1, 7), (2, 1), (1, 1)])
def test_an_example_of_length_one_is_refused(size: tuple[int, int]) -> None:
    names = ("input_ids", "attention_mask")
    with pytest.raises(CompressionError) as caught:
        traced(Weighted(), names, example(*names, size=size))
    assert caught.value.code in ("export_inputs", "export_failed")


def test_a_model_that_fixes_its_length_is_refused() -> None:
    class Fixed(Weighted):
        def forward(self, **tokens: torch.Tensor) -> Any:
            hidden = tokens["input_ids"].reshape(2, 7, 1).float()
            return type("Output", (), {"last_hidden_state": hidden})

    with pytest.raises(CompressionError) as caught:
        traced(Fixed(), ("input_ids",), example("input_ids"))
    assert caught.value.code in ("export_inputs", "export_failed")


def test_an_input_that_the_graph_dropped_is_seen(
    gated: Gated, source: huggingface.Source, original: export.TorchModel, exported: bytes
) -> None:
    model = onnx.load_from_string(exported)
    (dropped,) = [node for node in model.graph.input if node.name == "token_type_ids"]
    model.graph.input.remove(dropped)
    model.graph.node.insert(0, onnx.helper.make_node("Mul", ["input_ids", "zero"], ["token_type_ids"]))
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(0, np.int64), "zero"))
    with pytest.raises(CompressionError) as caught:
        difference(gated, source, original, model.SerializeToString())
    assert caught.value.code == "export_inputs"


# --- the check against the original


def test_the_graph_is_the_model(
    gated: Gated, source: huggingface.Source, original: export.TorchModel, exported: bytes
) -> None:
    assert 0 < difference(gated, source, original, exported) < 1e-5


def test_swapped_inputs_are_seen(
    gated: Gated, source: huggingface.Source, original: export.TorchModel, exported: bytes
) -> None:
    model = onnx.load_from_string(exported)
    swap = {"attention_mask": "token_type_ids", "token_type_ids": "attention_mask"}
    for node in model.graph.node:
        for place, name in enumerate(node.input):
            node.input[place] = swap.get(name, name)
    with pytest.raises(CompressionError) as caught:
        difference(gated, source, original, model.SerializeToString())
    assert caught.value.code == "export_differs"


@pytest.mark.parametrize("change", [lambda x: x + 0.1, lambda x: x * np.float32(np.nan)], ids=["other", "nan"])
def test_other_weights_are_seen(
    gated: Gated,
    source: huggingface.Source,
    original: export.TorchModel,
    exported: bytes,
    change: Callable[[Any], Any],
) -> None:
    model = onnx.load_from_string(exported)
    tensor = next(tensor for tensor in model.graph.initializer if tuple(tensor.dims) == (64, 32))  # one table or matrix
    changed = change(onnx.numpy_helper.to_array(tensor)).astype(np.float32)
    # one row alone, so that a normalisation does not take the change back
    tensor.CopyFrom(onnx.numpy_helper.from_array(np.tril(changed), tensor.name))
    with pytest.raises(CompressionError) as caught:
        difference(gated, source, original, model.SerializeToString())
    assert caught.value.code == "export_differs"


def test_the_lengths_go_from_one_to_the_longest_padded_on_both_sides(
    gated: Gated, source: huggingface.Source, exported: bytes
) -> None:
    reader = reader_of((), source.text, None, source.tokenizer)
    batches = list(export.text_trials(["one text of some length", "short", "abc", "xy"] * 3, reader))
    lengths = [batch["input_ids"].shape for batch in batches]
    assert {shape[1] for shape in lengths} >= {1, 64}
    assert {shape[0] for shape in lengths} >= {1, 4}
    firsts = [batch["attention_mask"][:, 0].min() for batch in batches]
    lasts = [batch["attention_mask"][:, -1].min() for batch in batches]
    assert 0 in firsts
    assert 0 in lasts
    assert any(batch["token_type_ids"].any() for batch in batches)


@pytest.mark.slow
@pytest.mark.parametrize("kind", huggingface.TEXT)
def test_every_supported_architecture_is_exported_as_it_is(
    gated: Gated, tmp_path: Path, kind: str, make: Callable[[Path, dict[str, Any]], Path]
) -> None:
    own: dict[str, dict[str, Any]] = {
        "albert": {"embedding_size": 16},
        "electra": {"embedding_size": 16},
        "t5": {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 1, "num_heads": 2, "architectures": ["T5Model"]},
        "distilbert": {"dim": 32, "n_layers": 1, "n_heads": 2, "hidden_dim": 64},
        "modernbert": {
            "cls_token_id": 2,
            "sep_token_id": 3,
            "bos_token_id": 2,
            "eos_token_id": 3,
            "local_attention": 8,
        },
    }
    source = huggingface.read(make(tmp_path / kind, {"model_type": kind, **own.get(kind, {})}))
    original = pretrained.load(source)
    assert difference(gated, source, original, original.export()) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["electra"])
def test_a_head_that_classifies_texts_is_exported_as_it_is(
    gated: Gated, tmp_path: Path, kind: str, make: Callable[[Path, dict[str, Any]], Path]
) -> None:
    head = {"model_type": kind, "architectures": ["XForSequenceClassification"], "embedding_size": 16}
    labels = {"0": "calm", "1": "urgent", "2": "unclear"}
    source = huggingface.read(make(tmp_path / kind, {**head, "id2label": labels}))
    assert (source.task, source.labels) == ("text-classification", ("calm", "urgent", "unclear"))
    original = pretrained.load(source)
    model = original.export()
    (output,) = onnx.load_from_string(model).graph.output
    assert (output.name, [d.dim_param or d.dim_value for d in output.type.tensor_type.shape.dim]) == (
        "logits",
        ["batch", 3],
    )
    assert difference(gated, source, original, model) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "name"),
    [("roberta", "Roberta")],
)
def test_a_head_that_labels_tokens_is_exported_as_it_is(
    gated: Gated, tmp_path: Path, kind: str, name: str, make: Callable[[Path, dict[str, Any]], Path]
) -> None:
    labels = {"0": "O", "1": "B-PER", "2": "I-PER"}
    head = {"model_type": kind, "architectures": [f"{name}ForTokenClassification"], "id2label": labels}
    source = huggingface.read(make(tmp_path / kind, head))
    assert (source.task, source.labels, source.measure) == ("token-classification", tuple(labels.values()), "tokens")
    original = pretrained.load(source)
    model = original.export()
    (output,) = onnx.load_from_string(model).graph.output
    assert (output.name, [d.dim_param or d.dim_value for d in output.type.tensor_type.shape.dim]) == (
        "logits",
        ["batch", "tokens", 3],
    )
    assert difference(gated, source, original, model) < 1e-5


def test_a_head_of_its_own_that_only_sounds_like_one_is_refused(
    tmp_path: Path, make: Callable[[Path, dict[str, Any]], Path]
) -> None:
    labels = {"0": "O", "1": "B-PER"}
    folder = make(tmp_path / "crf", {"architectures": ["BertCrfForTokenClassification"], "id2label": labels})
    with pytest.raises(SourceError) as caught:
        pretrained.load(huggingface.read(folder))
    assert caught.value.code == "source_unsupported"


VISION: dict[str, dict[str, Any]] = {
    "vit": {"image_size": 32, "patch_size": 8},
    "deit": {"image_size": 32, "patch_size": 8},
    "resnet": {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"},
    "convnext": {"hidden_sizes": [8, 16], "depths": [1, 1], "num_stages": 2, "num_hidden_layers": None},
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "head"), [("vit", "Model"), *((kind, "ForImageClassification") for kind in huggingface.IMAGES)]
)
def test_models_of_images_are_exported_as_they_are(
    gated: Gated, tmp_path: Path, kind: str, head: str, make: Callable[[Path, dict[str, Any]], Path]
) -> None:
    own = {"model_type": kind, "architectures": [f"X{head}"], "id2label": {"0": "cat", "1": "dog"}}
    source = huggingface.read(make(tmp_path / kind, {**own, **VISION[kind]}))
    original = pretrained.load(source)
    model = original.export()
    (output,) = onnx.load_from_string(model).graph.output
    classifies = head == "ForImageClassification"
    assert (output.name, source.labels) == (("logits", ("cat", "dog")) if classifies else ("embedding", ()))
    data = Data(calibrate=NONE, evaluate=source.examples(3))
    assert difference(gated, source, original, model, data) < 1e-5


def test_a_graph_with_another_activation_is_seen(
    gated: Gated, source: huggingface.Source, original: export.TorchModel, exported: bytes
) -> None:
    """What EfficientNet's set_swish does: the weights are the same, one function in between is another."""
    model = onnx.load_from_string(exported)
    (erf,) = [node for node in model.graph.node if node.op_type in ("Gelu", "Erf")]
    erf.op_type = "Identity" if erf.op_type == "Gelu" else "Tanh"
    del erf.attribute[:]
    with pytest.raises(CompressionError) as caught:
        difference(gated, source, original, model.SerializeToString())
    assert caught.value.code == "export_differs"


def test_attention_is_exported_in_the_form_that_agrees_on_rows_that_are_masked_everywhere(
    gated: Gated, source: huggingface.Source, original: export.TorchModel, exported: bytes
) -> None:
    ids = np.arange(4, 18, dtype=np.int64).reshape(2, 7)
    mask = np.stack([np.ones(7, np.int64), np.zeros(7, np.int64)])
    feeds = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
    digest = hashlib.sha256(exported).hexdigest()

    def both(grant: Grant) -> list[Any]:
        covers(grant, digest)
        runs = (original, Session(exported, digest))
        return [one.run(grant, "policy", lambda _: [feeds])[0][0] for one in runs]

    torchs, graphs = gated(source.digest, both)
    assert np.isfinite(graphs).all()
    assert np.abs(torchs - graphs).max() < 1e-5


# --- the weights


def changed(tiny: Path, tmp_path: Path, change: Callable[[dict[str, torch.Tensor]], None], **config: Any) -> Path:
    path = shutil.copytree(tiny, tmp_path / "changed")
    tensors = load_file(path / "model.safetensors")
    change(tensors)
    save_file(tensors, path / "model.safetensors")
    (path / "config.json").write_text(json.dumps({**json.loads((path / "config.json").read_text()), **config}))
    return path


WORDS = "embeddings.word_embeddings.weight"
QUERY = "encoder.layer.0.attention.self.query.weight"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t[QUERY].fill_(float("nan")), "holds NaN"),
        (lambda t: t[QUERY][3].fill_(float("-inf")), "holds NaN or infinity"),
        (lambda t: t.pop(QUERY), QUERY),
        (lambda t: t.update({QUERY.replace("0", "9"): t[QUERY].clone()}), "layer.9"),
        (lambda t: t.update({QUERY: torch.zeros(32, 16)}), ""),
        (lambda t: t.update({WORDS: torch.zeros(7, 32)}), ""),
        (lambda t: t.clear() or t.update({"x": torch.zeros(9)}), "parameters"),
    ],
    ids=["nan", "infinity", "missing", "left over", "shape", "vocabulary", "others"],
)
def test_weights_that_are_not_those_of_the_model_are_refused(
    tiny: Path, tmp_path: Path, change: Callable[[dict[str, torch.Tensor]], None], said: str
) -> None:
    source = huggingface.read(changed(tiny, tmp_path, change))
    with pytest.raises(SourceError) as caught:
        pretrained.load(source)
    assert caught.value.code == "source_weights"
    assert said in str(caught.value)


def test_a_small_file_that_describes_an_enormous_model_is_refused(tiny: Path, tmp_path: Path) -> None:
    source = huggingface.read(changed(tiny, tmp_path, lambda _: None, hidden_size=65_536, intermediate_size=1_000_000))
    with pytest.raises(SourceError) as caught:
        pretrained.load(source)
    assert caught.value.code == "source_weights"


@pytest.mark.parametrize("fields", [{"hidden_act": "magic"}, {"num_attention_heads": 7}, {"layer_norm_eps": "small"}])
def test_a_configuration_that_makes_no_model_is_refused(tiny: Path, tmp_path: Path, fields: dict[str, Any]) -> None:
    source = huggingface.read(changed(tiny, tmp_path, lambda _: None, **fields))
    with pytest.raises(SourceError) as caught:
        pretrained.load(source)
    assert caught.value.code == "source_config"


def test_weights_that_were_changed_after_the_intake_are_refused(tiny: Path, tmp_path: Path) -> None:
    path = shutil.copytree(tiny, tmp_path / "copy")
    source = huggingface.read(path)
    with (path / "model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x55")
    with pytest.raises(SourceError) as caught:
        pretrained.load(source)
    assert caught.value.code == "source_changed"


def embeddings(gated: Gated, folder: Path) -> Any:
    """The embeddings of the texts of the grant, by the model as it was loaded, on tokens that are made up."""
    source = huggingface.read(folder)
    original = pretrained.load(source)

    ids = np.arange(4, 18, dtype=np.int64)[None]
    feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    return gated(source.digest, lambda grant: original.run(grant, "policy", lambda _: [feeds]))[0][0]


def test_heads_for_other_tasks_and_a_missing_pooler_do_not_matter(gated: Gated, tiny: Path, tmp_path: Path) -> None:
    def as_masked_language_model(tensors: dict[str, torch.Tensor]) -> None:
        for name in list(tensors):
            tensor = tensors.pop(name)
            if not name.startswith("pooler."):
                tensors[f"bert.{name}"] = tensor
        tensors["cls.predictions.bias"] = torch.zeros(5)

    other = changed(tiny, tmp_path, as_masked_language_model)
    assert np.array_equal(embeddings(gated, other), embeddings(gated, tiny))


def test_half_precision_is_widened(gated: Gated, tiny: Path, tmp_path: Path) -> None:
    def halve(tensors: dict[str, torch.Tensor]) -> None:
        tensors.update({name: tensor.half() for name, tensor in tensors.items()})

    wide, half = embeddings(gated, tiny), embeddings(gated, changed(tiny, tmp_path, halve, dtype="float16"))
    assert half.dtype == np.float32
    assert 0 < np.abs(wide - half).max() < 0.01


def test_shards_give_the_same_model(gated: Gated, tiny: Path, tmp_path: Path) -> None:
    path = shutil.copytree(tiny, tmp_path / "sharded")
    tensors = load_file(path / "model.safetensors")
    (path / "model.safetensors").unlink()
    names = sorted(tensors)
    save_file({name: tensors[name] for name in names[:9]}, path / "model-1.safetensors")
    save_file({name: tensors[name] for name in names[9:]}, path / "model-2.safetensors")
    index = {name: f"model-{1 if place < 9 else 2}.safetensors" for place, name in enumerate(names)}
    (path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    assert np.array_equal(embeddings(gated, path), embeddings(gated, tiny))

    save_file({name: tensors[name] for name in names[8:]}, path / "model-2.safetensors")
    with pytest.raises(SourceError) as caught:
        pretrained.load(huggingface.read(path))
    assert caught.value.code == "source_weights"


def test_tokens_that_the_model_does_not_take_are_refused(
    gated: Gated, source: huggingface.Source, original: export.TorchModel
) -> None:
    ids = np.full((1, 3), 10_000, np.int64)
    batch = dict.fromkeys(original.names, ids)
    with pytest.raises(SourceError) as caught:
        gated(source.digest, lambda grant: original.run(grant, "policy", lambda _: iter([batch])))
    assert caught.value.code == "source_config"


# --- the grant, and the silence


def test_the_original_runs_under_its_grant_only(
    gated: Gated, source: huggingface.Source, original: export.TorchModel
) -> None:
    def never(_: object) -> Any:
        raise AssertionError("nothing may be made of a payload that was not handed out")

    with pytest.raises(Ungated):
        original.run(None, "policy", never)  # type: ignore[arg-type]  # what is no grant is the test
    with pytest.raises(Ungated):
        gated("another model", lambda grant: original.run(grant, "policy", never))
    with pytest.raises(Ungated):
        gated(source.digest, lambda grant: original.run(grant, "a later policy", never))


def test_silence_ends_where_it_should(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("somebody")
    with quiet():
        logger.warning("not heard")
    logger.warning("heard")
    assert [record.message for record in caplog.records] == ["heard"]
