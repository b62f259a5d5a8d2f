"""How the golden bundle and the attacks on it were made: `python -m tests.vectors.make_bundles`.

The files under tests/vectors/bundles are kept: what a release has written must stay readable, and what was refused must
stay refused. Run this only to add a case; it refuses to overwrite one.
"""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
from msgspec import UNSET, structs
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from compliance.crypto import Signer
from compliance.keys import to_text
from policies import licences
from policies.facts import Tensor
from policies.licences import Forebear, LicenceError
from toolkit.bundle import Bundle, BundleManifest, Entities, Found, Measured, Measurements, write_bundle
from toolkit.modification import Modification, Spent
from toolkit.runtime.inputs import ImageInput, TextInput

HERE = Path(__file__).resolve().parent / "bundles"
SIGNER = Signer(sha256(b"the signer of the golden bundles").digest())
STRANGER = Signer(sha256(b"somebody else").digest())
WORDS = ("[PAD]", "[UNK]", "where", "is", "the", "ward")
# of the golden finder of entities: each token of the model, and the label that it always gets
LABELS = ("O", "B-PER", "I-PER", "B-LOC", "B-ORG")
LEXICON = {
    "[PAD]": "O", "[UNK]": "O", "[CLS]": "O", "[SEP]": "O", "is": "O", "in": "O", "the": "O", "ward": "O", ".": "O",
    "anna": "B-PER", "sch": "I-PER", "##midt": "O", "berlin": "B-LOC", "acme": "B-ORG",
}  # fmt: skip


def main() -> None:
    golden = HERE / "golden-v1"
    if not golden.exists():
        _write(golden, _model(), SIGNER)
    entities = HERE / "golden-entities-v1"
    if not entities.exists():
        _write_entities(entities)
    pictures = HERE / "golden-pictures-v1"
    if not pictures.exists():
        _write_pictures(pictures)
    lineage = HERE / "golden-lineage-v1"
    if not lineage.exists():
        _write_lineage(lineage)
    modified = HERE / "golden-modification-v1"
    if not modified.exists():
        _write_modification(modified)
    for attack in ATTACKS:
        folder = HERE / "attacks" / attack.__name__.strip("_").replace("_", "-")
        if not folder.exists():
            shutil.copytree(golden, folder)
            attack(folder)


def _flipped_bit_in_the_weights(folder: Path) -> None:
    data = bytearray((folder / "model.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (folder / "model.onnx").write_bytes(data)


def _truncated_model(folder: Path) -> None:
    (folder / "model.onnx").write_bytes((folder / "model.onnx").read_bytes()[:-10])


def _licence_rewritten(folder: Path) -> None:
    (folder / "manifest.json").write_text(
        (folder / "manifest.json").read_text().replace('"licence": "MIT"', '"licence": "Apache-2.0"')
    )


def _licence_text_removed(folder: Path) -> None:
    (folder / "LICENSE").unlink()


def _file_added(folder: Path) -> None:
    (folder / "weights.pickle").write_bytes(b"\x80\x04N.")


def _signature_removed(folder: Path) -> None:
    (folder / "signature.json").unlink()


def _signed_by_a_stranger(folder: Path) -> None:
    shutil.rmtree(folder)
    _write(folder, _model(), STRANGER)


def _strangers_signature_under_the_signers_name(folder: Path) -> None:
    _signed_by_a_stranger(folder)
    envelope = json.loads((folder / "signature.json").read_text())
    envelope["signatures"][0]["keyid"] = to_text(SIGNER.public)
    _pretty(folder / "signature.json", envelope)


def _statement_rewritten_after_signing(folder: Path) -> None:
    _flipped_bit_in_the_weights(folder)
    envelope = json.loads((folder / "signature.json").read_text())
    statement = json.loads(base64.b64decode(envelope["payload"]))
    for subject in statement["subject"]:
        subject["digest"]["sha256"] = sha256((folder / subject["name"]).read_bytes()).hexdigest()
    envelope["payload"] = base64.b64encode(json.dumps(statement).encode()).decode()
    _pretty(folder / "signature.json", envelope)


def _signature_spelled_another_way(folder: Path) -> None:
    (folder / "signature.json").write_bytes((folder / "signature.json").read_bytes() + b"\n")


def _weights_in_another_file(folder: Path) -> None:
    model = onnx.load_from_string(_model())
    (table,) = model.graph.initializer
    table.ClearField("raw_data")
    table.data_location = TensorProto.EXTERNAL
    table.external_data.add(key="location", value="../../../../etc/passwd")
    shutil.rmtree(folder)
    _write(folder, model.SerializeToString(), SIGNER)


def _pickle_for_a_model(folder: Path) -> None:
    shutil.rmtree(folder)
    _write(folder, b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00\x8c\x07weights\x94.", SIGNER)


def _operator_of_somebody_else(folder: Path) -> None:
    model = onnx.load_from_string(_model())
    model.graph.node[0].domain = "somebody.else"
    shutil.rmtree(folder)
    _write(folder, model.SerializeToString(), SIGNER)


def _ancestor_left_out_of_the_licence(folder: Path) -> None:
    shutil.rmtree(folder)
    with suppress(LicenceError):
        _write_lineage(folder, licence="MIT")


ATTACKS: list[Callable[[Path], None]] = [
    _flipped_bit_in_the_weights,
    _truncated_model,
    _licence_rewritten,
    _licence_text_removed,
    _file_added,
    _signature_removed,
    _signed_by_a_stranger,
    _strangers_signature_under_the_signers_name,
    _statement_rewritten_after_signing,
    _signature_spelled_another_way,
    _weights_in_another_file,
    _pickle_for_a_model,
    _operator_of_somebody_else,
    _ancestor_left_out_of_the_licence,
]


def _model() -> bytes:
    """A table of six words and four dimensions."""
    table = numpy_helper.from_array(np.arange(24, dtype=np.float32).reshape(6, 4), "table")
    graph = helper.make_graph(
        [helper.make_node("Gather", ["table", "input_ids"], ["last_hidden_state"])],
        "golden",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "tokens"])],
        [helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, ["batch", "tokens", 4])],
        [table],
    )
    data: bytes = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10
    ).SerializeToString()
    return data


def _write(folder: Path, model: bytes, signer: Signer) -> None:
    tokenizer = {
        "version": "1.0",
        "added_tokens": [],
        "pre_tokenizer": {"type": "Whitespace"},
        "model": {"type": "WordLevel", "vocab": {word: i for i, word in enumerate(WORDS)}, "unk_token": "[UNK]"},
    }
    draft = BundleManifest(
        format=1,
        name="golden",
        version="1",
        digest="",
        task="feature-extraction",
        licence="MIT",
        inputs=(Tensor(name="input_ids", dtype="int64", shape=("batch", "tokens")),),
        outputs=(Tensor(name="last_hidden_state", dtype="float32", shape=("batch", "tokens", 4)),),
        lineage=(Forebear(name="parent", digest="00" * 32, licence="MIT", relation="parent"),),
        text=TextInput(max_tokens=8, pooling="mean", normalise=True, pad_id=0),
        recipe=({"kind": "dynamic-int8", "per_channel": True},),
        versions={"sealpress": "0.1.0"},
        files={},
    )
    files = {
        "model.onnx": model,
        "tokenizer.json": json.dumps(tokenizer).encode(),
        "LICENSE": b"MIT License, in a golden file\n",
    }
    measured = Measured(size_bytes=len(model), latency_ms=1.0, fidelity=1.0)
    about = Measurements(before=measured, after=measured, machine="none", method={})
    write_bundle(folder, draft, files, about, signer)


def _write_entities(folder: Path) -> None:
    """A model that looks each token up in a table of labels, with probability 0.99 for the one that it has."""
    logits = np.zeros((len(LEXICON), len(LABELS)), dtype=np.float32)
    for row, label in enumerate(LEXICON.values()):
        logits[row, LABELS.index(label)] = 6.0
    graph = helper.make_graph(
        [helper.make_node("Gather", ["table", "input_ids"], ["logits"])],
        "golden",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "tokens"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", "tokens", len(LABELS)])],
        [numpy_helper.from_array(logits, "table")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10).SerializeToString()
    tokenizer = Tokenizer(
        models.WordPiece({word: id for id, word in enumerate(LEXICON)}, unk_token="[UNK]")  # noqa: S106 - a token of text
    )
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    shape = ("batch", "tokens")
    draft = BundleManifest(
        format=1,
        name="golden-entities",
        version="1",
        digest="",
        task="token-classification",
        licence="MIT",
        inputs=(Tensor(name="input_ids", dtype="int64", shape=shape),),
        outputs=(Tensor(name="logits", dtype="float32", shape=(*shape, len(LABELS))),),
        lineage=(Forebear(name="parent", digest="00" * 32, licence="MIT", relation="parent"),),
        text=TextInput(max_tokens=8, pooling="tokens", normalise=False, pad_id=0),
        labels=LABELS,
        entities=Entities(
            languages=("en", "de"),
            kinds={"PER": Found(precision=1.0, recall=0.5, found=1, gold=2)},
            method="by hand",
        ),
        recipe=({"kind": "dynamic-int8", "per_channel": True},),
        versions={"sealpress": "0.1.0"},
        files={},
    )
    files = {
        "model.onnx": model,
        "tokenizer.json": tokenizer.to_str().encode(),
        "LICENSE": b"MIT License, in a golden file\n",
    }
    measured = Measured(size_bytes=len(model), latency_ms=1.0, fidelity=1.0)
    write_bundle(folder, draft, files, Measurements(before=measured, after=measured, machine="none", method={}), SIGNER)


def _write_pictures(folder: Path) -> None:
    """A model that tells blue, green and red by the means of the channels, which it takes last and in that order."""
    shape = ("batch", 2, 2, 3)
    graph = helper.make_graph(
        [helper.make_node("ReduceMean", ["pixels"], ["logits"], axes=[1, 2], keepdims=0)],
        "golden",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ("batch", 3))],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8).SerializeToString()
    draft = BundleManifest(
        format=1,
        name="golden-pictures",
        version="1",
        digest="",
        task="image-classification",
        licence="MIT",
        inputs=(Tensor(name="pixels", dtype="float32", shape=shape),),
        outputs=(Tensor(name="logits", dtype="float32", shape=("batch", 3)),),
        lineage=(Forebear(name="parent", digest="00" * 32, licence="MIT", relation="parent"),),
        image=ImageInput(
            height=2,
            width=2,
            resample="nearest",
            scale=1.0,
            mean=(1.0, 2.0, 3.0),
            channels_last=True,
            channel_order="bgr",
        ),
        labels=("blue", "green", "red"),
        recipe=({"kind": "static-int8"},),
        versions={"sealpress": "0.1.0"},
        files={},
    )
    files = {"model.onnx": model, "LICENSE": b"MIT License, in a golden file\n"}
    measured = Measured(size_bytes=len(model), latency_ms=1.0, fidelity=1.0)
    write_bundle(folder, draft, files, Measurements(before=measured, after=measured, machine="none", method={}), SIGNER)


def _write_lineage(folder: Path, licence: str | None = None) -> None:
    """The golden model with all relations of a lineage, and the texts of each ancestor; or under another licence."""
    golden = Bundle.read(HERE / "golden-v1", (to_text(SIGNER.public),))
    llama = "LicenseRef-scancode-llama-3.2-license-2024"
    kin: tuple[tuple[str, Literal["parent", "merged", "adapter", "calibration", "training"], str], ...] = (
        ("my-adapter", "adapter", "MIT"),
        ("org/merge", "parent", llama),
        ("org/base", "merged", "Apache-2.0"),
        ("texts.txt", "calibration", licences.OWN),
        ("marked.jsonl", "training", "CC-BY-4.0"),
    )
    lineage = tuple(
        Forebear(
            name=name,
            digest=sha256(name.encode()).hexdigest() if number != 2 else "",
            licence=licence,
            relation=relation,
            text=UNSET if licence == licences.OWN else licences.digest(licences.text(licence)),
        )
        for number, (name, relation, licence) in enumerate(kin)
    )
    draft = structs.replace(
        golden.manifest, name="Llama-golden", lineage=lineage, licence=licence or licences.licence_of(lineage)
    )
    texts = [licences.text(one.licence) for one in lineage if one.licence != licences.OWN]
    files = {
        "model.onnx": golden.model,
        "tokenizer.json": golden.tokenizer or b"",
        "LICENSE": licences.bound(texts).encode(),
        "NOTICE": licences.facts(llama).notices[0].encode(),
        "USE_POLICY": licences.use_policy_text("Llama-3.2-use-policy").encode(),
    }
    write_bundle(folder, draft, files, golden.measurements, SIGNER)


def _write_modification(folder: Path) -> None:
    """The golden model with what pressing and training it changed."""
    golden = Bundle.read(HERE / "golden-v1", (to_text(SIGNER.public),))
    assert golden.tokenizer is not None
    files = {"model.onnx": golden.model, "tokenizer.json": golden.tokenizer, "LICENSE": golden.papers["LICENSE"]}
    draft = structs.replace(golden.manifest, name="golden-modification")
    spent = Spent(flops=1_200_000_000, cpu_s=3.5)
    measured = {"all": 0.97, "class short": 0.94}
    changed = Modification.of("ab" * 32, ("sparsify", "distil"), "fidelity>=0.95", 0.95, measured, spent)
    write_bundle(folder, draft, files, golden.measurements, SIGNER, changed)


def _pretty(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=False) + "\n")


if __name__ == "__main__":
    main()
