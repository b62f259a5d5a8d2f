"""Small real models, made on the spot, and the gate that lets them run."""

from __future__ import annotations

import json
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors

from policies.facts import Call, Decision, Finding, Manifest, Outcome
from policies.gate import Grant, gate
from policies.payload import Payload
from tests.conftest import Shared
from tests.known import Known
from toolkit.compress.quiet import quiet

T = TypeVar("T")

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *string.ascii_letters, *" .,;:'()-"]
CONFIG: dict[str, Any] = {
    "model_type": "bert",
    "vocab_size": len(VOCABULARY),
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
}
HEADS = ("ForSequenceClassification", "ForTokenClassification", "ForImageClassification")
TEXTS = ["A first text to measure on.", "Short.", "Another one, which is a little longer than the first.", "Fourth"]


class Allowing:
    """A policy that allows everything."""

    digest = "policy"

    def decide(self, model: Manifest, call: Call) -> Decision:
        return Decision(allowed=True, findings=(Finding(rule="all", ok=True, reason="allowed"),), policy=self.digest)


class Recording:
    """A ledger in memory."""

    sealed = True

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []

    def opened(self, call: Call, model: Manifest, decision: Decision, payload: Payload) -> object:
        return call.id

    def noted(self, entry: object, kind: str, data: dict[str, Any], payload: Payload | None = None) -> None:
        raise AssertionError("a compression notes nothing")

    def closed(self, entry: object, outcome: Outcome) -> None:
        self.outcomes.append(outcome)


Gated = Callable[[str, Callable[[Grant], Any]], Any]


@pytest.fixture
def gated() -> Gated:
    """Do some work under a grant to compress the model with a digest, on TEXTS."""

    def run(digest: str, work: Callable[[Grant], T]) -> T:
        model = Manifest(
            format=1,
            name="m",
            version="",
            digest=digest,
            task="feature-extraction",
            licence="MIT",
            inputs=(),
            outputs=(),
        )
        call = Call(id="1", at=0, actor="a", tenant="t", action="compress", model=digest)
        return gate(Allowing(), model, call, Payload.checked({"texts": TEXTS}), Recording(), work)

    return run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A Hugging Face directory with everything but real weights, for what is decided before weights are loaded."""
    from safetensors.numpy import save_file

    path = tmp_path / "some-model"
    path.mkdir()
    write_papers(path)
    save_file({"embeddings.word_embeddings.weight": np.zeros((4, 2), np.float32)}, path / "model.safetensors")
    return path


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT with one layer and random weights, as a Hugging Face directory. Copy it before changing it."""
    return make_tiny(tmp_path_factory.mktemp("tiny") / "tiny", CONFIG)


@pytest.fixture(scope="session")
def exported(shared: Shared, tiny: Path) -> bytes:
    """The ONNX file of `tiny`, made once a run."""

    def make(folder: Path) -> None:
        with quiet():
            from toolkit.compress.sources import huggingface, pretrained

        (folder / "model.onnx").write_bytes(pretrained.load(huggingface.read(tiny)).export())

    return (shared.made("exported", make) / "model.onnx").read_bytes()


@pytest.fixture(scope="session")
def known(tiny: Path, exported: bytes) -> Known:
    """`tiny` as a source that is pressed in a moment, since its export is there."""
    from toolkit.compress.sources import huggingface

    return Known(huggingface.read(tiny), exported)


Make = Callable[[Path, dict[str, Any]], Path]


@pytest.fixture(scope="session")
def make() -> Make:
    """Make a model with random weights: a folder, and what its configuration has that differs from the tiny one's."""
    return lambda path, fields: make_tiny(
        path, {name: value for name, value in {**CONFIG, **fields}.items() if value is not None}
    )


def make_tiny(path: Path, config: dict[str, Any]) -> Path:
    """A model of the architecture that the configuration names, with random weights, the same every time."""
    with quiet():
        import torch
        from safetensors.torch import save_file
        from transformers import CONFIG_MAPPING
        from transformers.models.auto import modeling_auto as auto

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            described = CONFIG_MAPPING[config["model_type"]].from_dict(config)
            saved = next(iter(config.get("architectures", ())), "")
            head = next((head for head in HEADS if saved.endswith(head)), "")
            model = getattr(auto, f"AutoModel{head}").from_config(described)
    path.mkdir(parents=True)
    write_papers(path, config)
    path.joinpath("preprocessor_config.json").write_text(json.dumps({"size": {"height": 32, "width": 32}}))
    save_file({name: tensor.clone() for name, tensor in model.state_dict().items()}, path / "model.safetensors")
    return path


def write_papers(path: Path, config: dict[str, Any] = CONFIG) -> None:
    """Everything of a model's folder but the weights. The tokenizer knows letters."""
    path.joinpath("config.json").write_text(json.dumps(config))
    path.joinpath("README.md").write_text("---\nlicense: mit\n---\n\n# tiny-encoder\n")
    tokenizer = Tokenizer(models.WordLevel({word: id for id, word in enumerate(VOCABULARY)}, unk_token="[UNK]"))  # noqa: S106 - a token of text
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    path.joinpath("tokenizer.json").write_text(tokenizer.to_str())
