"""Take in a Hugging Face directory: look at everything that matters, load nothing, run nothing.

What the folder says is hostile until it is checked: a configuration can name code and kernels to fetch
(CVE-2026-4372), chat templates can be named like paths (CVE-2026-9856), and pickled weights run code when loaded.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from math import prod
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct
from tokenizers import Tokenizer

from toolkit.compress.data import Items, gathered
from toolkit.compress.errors import SourceError, SourceMissing
from toolkit.compress.labelled import naming_texts
from toolkit.compress.measure import evaluation_texts
from toolkit.compress.source import Measure, Original
from toolkit.compress.sources.adapter import Adapter
from toolkit.compress.sources.folder import PICKLES, File, Folder
from toolkit.compress.sources.pictures import made_up_pictures, read_image_input
from toolkit.compress.sources.sentence_transformers import Layout, read_layout
from toolkit.extras import needs
from toolkit.runtime.inputs import ImageInput, TextInput

__all__ = [
    "IMAGES",
    "MAX_CONFIG",
    "SUPPORTED",
    "TEXT",
    "Source",
    "Task",
    "folder_name",
    "read",
    "read_tokenizer",
    "refuse_code",
    "refuse_template_paths",
    "weight_files",
    "weight_names",
]

TEXT = (
    "albert",
    "bert",
    "camembert",
    "deberta-v2",
    "distilbert",
    "electra",
    "modernbert",
    "mpnet",
    "roberta",
    "t5",
    "xlm-roberta",
)
IMAGES = ("convnext", "deit", "resnet", "vit")
SUPPORTED = (*TEXT, *IMAGES)
CONVOLVING = ("convnext", "resnet")  # others do in the embedding of their patches at most
MAX_CONFIG = 1_000_000
MAX_TOKENIZER = 64_000_000
MAX_WEIGHTS = 1_900_000_000  # bytes as FP32: an ONNX file holds 2 GB
MAX_LABELS = 100_000
T5_TOKENS = 512  # its positions are relative: this is what it was trained on

# these count positions from the padding id on; MPNet takes 1 for it whatever its configuration says
_OFFSET_POSITIONS = ("camembert", "mpnet", "roberta", "xlm-roberta")
_ATTENTION = ("attn_implementation", "_attn_implementation")
_PLAIN_ATTENTION = (None, "eager", "sdpa", "flash_attention_2", "flex_attention")
_CODE = ("auto_map", "custom_pipelines", "trust_remote_code", "_attn_implementation_internal", "kernel_config")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")

Task = Literal[
    "feature-extraction", "text-classification", "token-classification", "image-classification",
    "image-feature-extraction",
]  # fmt: skip
_HEADS: dict[str, Task] = {
    "ForSequenceClassification": "text-classification",
    "ForTokenClassification": "token-classification",
    "ForImageClassification": "image-classification",
    "ForImageClassificationWithTeacher": "image-classification",
}


class Source(Struct, frozen=True, kw_only=True):
    """A model that was looked at and not loaded. `digest` identifies the files that decide what it does.

    `licences` are the statements of its papers, raw, for `policies.licences.agreed`; `licence_text` and `notice` are
    the texts that came with it. `config` is the JSON of config.json, `weights` the safetensors files, into which
    `adapter` is merged when they are loaded.
    """

    name: str
    digest: str
    task: Task = "feature-extraction"
    licences: tuple[str, ...]
    licence_text: str | None
    notice: str | None
    text: TextInput | None = None
    tokenizer: bytes | None = None
    config: bytes
    weights: tuple[File, ...]
    adapter: Adapter | None = None
    image: ImageInput | None = None
    labels: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    measure: Measure = "cosine"
    parameters: int
    convolves: bool = False

    def examples(self, count: int, seed: int = 0) -> Items:
        """English passages, the same for every run of one Python release whatever the seed, or made-up pictures; for a
        model that labels tokens, sentences with made-up names."""
        if self.image is not None:
            return made_up_pictures(self.image, count, seed)
        if self.measure == "tokens":
            return gathered(naming_texts(count), "text")
        return gathered(evaluation_texts()[:count], "text")

    def adapted(self, adapter: Adapter, name: str) -> Source:
        """This model with an adapter merged into it, under the name of the adapter."""
        digest = hashlib.sha256(msgspec.json.encode([self.digest, adapter.digest])).hexdigest()
        return msgspec.structs.replace(self, name=name, digest=digest, adapter=adapter)

    def load(self) -> Original:
        """See toolkit.compress.source. Raises SourceError: source_adapter, source_changed, source_config,
        source_weights."""
        with needs("compress"):
            from toolkit.compress.sources.pretrained import load
        return load(self)


class _Config(Struct):
    """What is read of config.json here; the bounds keep a small file from describing an enormous model."""

    model_type: str
    architectures: tuple[str, ...] = ()
    id2label: dict[str, Annotated[str, Meta(max_length=1000)]] | None = None
    problem_type: str | None = None
    num_hidden_layers: Annotated[int, Meta(ge=1, le=500)] = 1
    hidden_size: Annotated[int, Meta(ge=1, le=65_536)] = 1
    intermediate_size: Annotated[int, Meta(ge=1, le=1_000_000)] = 1
    quantization_config: object = None


class _TextConfig(_Config, kw_only=True):
    vocab_size: Annotated[int, Meta(ge=1, le=10_000_000)]
    max_position_embeddings: Annotated[int, Meta(ge=4, le=1_000_000)]
    pad_token_id: Annotated[int, Meta(ge=0)] = 0


# the same fields as DistilBERT and T5 name them
_ALIASES = {
    "dim": "hidden_size",
    "hidden_dim": "intermediate_size",
    "n_layers": "num_hidden_layers",
    "d_model": "hidden_size",
    "d_ff": "intermediate_size",
    "num_layers": "num_hidden_layers",
    "n_positions": "max_position_embeddings",
}


class _Index(Struct):
    weight_map: dict[str, str]


def read(path: Path) -> Source:
    """The model in a folder. Raises SourceMissing, SourceError, MissingExtra."""
    with needs("compress"):
        from toolkit.compress.sources.papers import read_papers
    if not path.exists():
        raise SourceMissing("source_not_found", f"there is nothing at {path}")
    if not path.is_dir():
        raise SourceError("source_unsupported", f"{path} is no folder; taken in are folders with {_supported()}")
    folder = Folder(path)
    layout = read_layout(folder)
    content, config = _config(folder, f"{layout.base}config.json")
    text, image, tokenizer = None, None, None
    if isinstance(config, _TextConfig):
        refuse_template_paths(folder, f"{layout.base}tokenizer_config.json")
        tokenizer = read_tokenizer(folder, f"{layout.base}tokenizer.json", config.vocab_size)
    else:
        image = read_image_input(folder, f"{layout.base}preprocessor_config.json")
    task, labels = _task(config, pooled=folder.has("modules.json"))
    if isinstance(config, _TextConfig):
        text = _text(layout, config, task)
    weights, parameters = weight_files(folder, weight_names(folder, layout.base))
    # the papers, read after this line, decide about the terms and not about what the model does
    identity = sorted((file.name, file.sha256) for file in folder.used.values())
    papers = read_papers(folder)
    return Source(
        name=folder_name(path.resolve()),
        digest=hashlib.sha256(msgspec.json.encode(identity)).hexdigest(),
        task=task,
        licences=papers.statements,
        licence_text=papers.licence,
        notice=papers.notice,
        text=text,
        tokenizer=tokenizer,
        config=content,
        weights=weights,
        image=image,
        labels=labels,
        languages=papers.languages,
        measure="tokens" if task == "token-classification" else "agreement" if labels else "cosine",
        parameters=parameters,
        convolves=config.model_type in CONVOLVING,
    )


def _supported() -> str:
    return f"encoders of texts: {', '.join(TEXT)}; of images: {', '.join(IMAGES)}"


def _task(config: _Config, *, pooled: bool) -> tuple[Task, tuple[str, ...]]:
    """The task by the class that the weights were saved from, and the labels in the order of the answer.

    A sentence-transformers folder pools the tokens of an encoder, whatever its weights were saved from.
    """
    saved = next(iter(config.architectures), "")
    task = None if pooled else next((_HEADS[head] for head in _HEADS if saved.endswith(head)), None)
    if task is None:
        return ("feature-extraction" if isinstance(config, _TextConfig) else "image-feature-extraction"), ()
    labels = config.id2label or {"0": "LABEL_0", "1": "LABEL_1"}  # what transformers does not write out
    if config.problem_type not in (None, "single_label_classification") or len(labels) < 2:
        raise SourceError("source_unsupported", "of heads, those that choose one of several classes are taken in")
    if config.model_type == "t5":
        raise SourceError("source_unsupported", "of T5, the encoder is taken in, without a head")
    if len(labels) > MAX_LABELS or set(labels) != {str(number) for number in range(len(labels))}:
        raise SourceError("source_config", "id2label in config.json does not number its labels from 0 on")
    return task, tuple(labels[str(number)] for number in range(len(labels)))


def _config(folder: Folder, name: str) -> tuple[bytes, _Config]:
    if not folder.has(name):
        raise SourceError("source_config", f"{name} is missing: this is no Hugging Face directory")
    data = folder.read(name, MAX_CONFIG)
    content = folder.decoded(name, data, dict[str, Any])
    refuse_code(content, name)
    if content.get("model_type") not in SUPPORTED:
        kind = str(content.get("model_type"))[:80]
        raise SourceError("source_unsupported", f"the architecture {kind!r} is not among the {_supported()}")
    named = {_ALIASES.get(key, key): value for key, value in content.items() if value is not None}
    bounds: type[_Config] = _Config if content["model_type"] in IMAGES else _TextConfig
    if content["model_type"] == "t5":
        named.setdefault("max_position_embeddings", T5_TOKENS)
    try:
        config = msgspec.convert(named, bounds)
    except msgspec.ValidationError as error:
        raise SourceError("source_config", f"{name}: {error}") from None
    if config.quantization_config is not None:
        raise SourceError("source_unsupported", "the weights are quantised already; bring the original")
    if isinstance(config, _TextConfig) and config.pad_token_id >= config.vocab_size:
        raise SourceError("source_config", f"{name}: the padding id {config.pad_token_id} is not in the vocabulary")
    return data, config


def refuse_code(value: object, name: str) -> None:
    """Raises SourceError "source_code" where a configuration names code or kernels, at any depth."""
    if isinstance(value, list):
        for item in value:
            refuse_code(item, name)
    if isinstance(value, dict):
        for key, item in value.items():
            if (key in _CODE and item) or (key in _ATTENTION and item not in _PLAIN_ATTENTION):
                raise SourceError("source_code", f"{name} asks for code of its own: {key}")
            refuse_code(item, name)


def refuse_template_paths(folder: Folder, name: str) -> None:
    """Raises SourceError "source_template": to save such a tokenizer would write a file of that name."""
    content = folder.json(name, dict[str, Any]) if folder.has(name) else {}
    refuse_code(content, name)
    templates = content.get("chat_template")
    if templates is None or isinstance(templates, str):
        return
    for entry in templates if isinstance(templates, list) else [templates]:
        title = entry.get("name") if isinstance(entry, dict) else None
        if not isinstance(title, str) or not _NAME.fullmatch(title):
            raise SourceError("source_template", f"{name}: a chat template is called {str(title)[:80]!r}")


def read_tokenizer(folder: Folder, name: str, vocab_size: int) -> bytes:
    """The bytes of tokenizer.json, none of whose ids is outside the model's vocabulary. Raises SourceError."""
    if not folder.has(name):
        raise SourceError("source_tokenizer", f"{name} is missing")
    data = folder.read(name, MAX_TOKENIZER)
    try:
        vocabulary = Tokenizer.from_str(data.decode()).get_vocab(with_added_tokens=True)
    except Exception as error:  # noqa: BLE001 - tokenizers raises bare exceptions
        raise SourceError("source_tokenizer", f"{name} cannot be read: {str(error)[:200]}") from None
    highest = max(vocabulary.values(), default=-1)
    if not 0 <= highest < vocab_size:
        raise SourceError("source_tokenizer", f"{name} gives ids up to {highest}, the model has {vocab_size}")
    return data


def _text(layout: Layout, config: _TextConfig, task: Task) -> TextInput:
    padding = 1 if config.model_type == "mpnet" else config.pad_token_id
    offset = padding + 1 if config.model_type in _OFFSET_POSITIONS else 0
    positions = config.max_position_embeddings - offset
    if positions < 3:
        raise SourceError("source_config", f"config.json: {positions} positions are too few for a text")
    return TextInput(
        max_tokens=min(positions, layout.max_tokens or positions),
        pooling=_POOLING.get(task, layout.pooling),
        normalise=layout.normalise,
        pad_id=config.pad_token_id,
    )


# of a model with a head, which pools by itself or not at all
_POOLING: dict[Task, Literal["none", "tokens"]] = {"text-classification": "none", "token-classification": "tokens"}


def weight_files(folder: Folder, names: Iterable[str]) -> tuple[tuple[File, ...], int]:
    """The safetensors files, each with a header that holds, and how many numbers they have. Raises SourceError."""
    with needs("compress"):
        from safetensors import SafetensorError, safe_open
    files, size = [], 0
    for name in names:
        file = folder.hash(name, MAX_WEIGHTS)
        try:
            with safe_open(file.path, framework="np") as tensors:
                size += sum(prod(tensors.get_slice(key).get_shape()) for key in tensors.offset_keys())
        except SafetensorError as error:
            raise SourceError("source_pickle", f"{name} is no safetensors file: {str(error)[:200]}") from None
        if 4 * size > MAX_WEIGHTS:
            raise SourceError("source_too_large", f"the weights have more than {MAX_WEIGHTS} bytes as FP32")
        files.append(file)
    if not size:
        raise SourceError("source_weights", "the folder has no weights")
    return tuple(files), size


def weight_names(folder: Folder, base: str) -> list[str]:
    """The safetensors files in the folder, or in the one below it at `base`. Raises SourceError."""
    single, index = f"{base}model.safetensors", f"{base}model.safetensors.index.json"
    if folder.has(single):
        return [single]
    if folder.has(index):
        shards = sorted(set(folder.json(index, _Index, 16_000_000).weight_map.values()))
        for shard in shards:
            if "/" in shard or not shard.endswith(".safetensors"):
                raise SourceError("source_external", f"{index} names {shard[:80]!r}")
        return [base + shard for shard in shards]
    pickles = [name for name in folder.names(base) if name.endswith(PICKLES)]
    if pickles:
        raise SourceError("source_pickle", f"the weights are pickled: {', '.join(pickles[:5])}")
    return []


def folder_name(path: Path) -> str:
    """A plain name from the folder; in the hub's cache the model's folder is two above."""
    name = path.parent.parent.name.rpartition("--")[2] if path.parent.name == "snapshots" else path.name
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:100] or "model"
