"""Take in a Hugging Face directory of a decoder: a language model that generates token by token."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct
from tokenizers import Tokenizer

from toolkit.compress.data import Items, gathered
from toolkit.compress.errors import SourceError
from toolkit.compress.measure import evaluation_texts
from toolkit.compress.quiet import quiet
from toolkit.compress.source import Measure, Original
from toolkit.compress.sources import causal_gpt2
from toolkit.compress.sources.chat import MAX_TEMPLATE, chat_of
from toolkit.compress.sources.folder import File, Folder
from toolkit.compress.sources.gguf_file import EXAMPLES
from toolkit.compress.sources.huggingface import (
    MAX_CONFIG,
    folder_name,
    read_tokenizer,
    refuse_code,
    refuse_template_paths,
    weight_files,
    weight_names,
)
from toolkit.extras import needs
from toolkit.runtime.inputs import Generation, TextInput

__all__ = ["DECODERS", "Causal", "read"]

DECODERS = ("gemma", "gpt2", "llama", "mistral", "phi3", "qwen2", "qwen3")
# those whose positions do not turn otherwise for longer texts
_ROTARY = ("default", "linear", "llama3", "yarn")
_TOKENS = ("bos_token", "eos_token", "pad_token", "unk_token")


class Causal(Struct, frozen=True, kw_only=True):
    """A Source (toolkit.compress.source) that generates: a directory that was looked at and not loaded."""

    name: str
    digest: str
    task: str = "generate"
    licences: tuple[str, ...]
    licence_text: str | None
    notice: str | None
    text: TextInput
    image: None = None
    tokenizer: bytes
    labels: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    measure: Measure = "next"
    parameters: int
    convolves: bool = False
    generation: Generation
    config: dict[str, Any]
    weights: tuple[File, ...]

    def examples(self, count: int, seed: int = 0) -> Items:
        """English passages, the same for every run of one Python release whatever the seed."""
        return gathered(evaluation_texts()[: min(count, EXAMPLES)], "text")

    def load(self) -> Original:
        """See toolkit.compress.source. Raises SourceError: source_changed, source_config, source_weights."""
        with quiet(), needs("compress"):
            from toolkit.compress.sources import decoder
            from toolkit.compress.sources.state import state_of
        return decoder.load(self.config, state_of(self.weights), self.digest)


Size = Annotated[int, Meta(ge=1, le=1_000_000)]
Ids = int | list[int] | None


class _Config(Struct):
    """What is read of config.json here; the bounds keep a small file from describing an enormous model."""

    vocab_size: Annotated[int, Meta(ge=1, le=10_000_000)]
    hidden_size: Annotated[int, Meta(ge=1, le=65_536)]
    intermediate_size: Size
    num_hidden_layers: Annotated[int, Meta(ge=1, le=500)]
    num_attention_heads: Annotated[int, Meta(ge=1, le=1024)]
    max_position_embeddings: Annotated[int, Meta(ge=4, le=1_000_000)]
    eos_token_id: Ids = None
    rope_scaling: dict[str, Any] | None = None
    rope_parameters: dict[str, Any] | None = None
    use_sliding_window: bool = False
    quantization_config: object = None


class _Defaults(Struct):
    eos_token_id: Ids = None


def read(path: Path) -> Causal | None:
    """The decoder in a folder, None for a folder with another model. Raises SourceError, MissingExtra."""
    folder = Folder(path)
    if not folder.has("config.json"):
        return None
    content = folder.json("config.json", dict[str, Any], MAX_CONFIG)
    if content.get("model_type") not in DECODERS:
        return None
    with needs("compress"):
        from toolkit.compress.sources.papers import read_papers
    refuse_code(content, "config.json")
    config = _config(causal_gpt2.named(content) if content["model_type"] == "gpt2" else content)
    refuse_template_paths(folder, "tokenizer_config.json")
    tokenizer = read_tokenizer(folder, "tokenizer.json", config.vocab_size)
    weights, parameters = weight_files(folder, weight_names(folder, ""))
    generation = _generation(folder, config, tokenizer)
    # the papers, read after this line, decide about the terms and not about what the model does
    identity = sorted((file.name, file.sha256) for file in folder.used.values())
    papers = read_papers(folder)
    context = config.max_position_embeddings
    return Causal(
        name=folder_name(path.resolve()),
        digest=hashlib.sha256(msgspec.json.encode(identity)).hexdigest(),
        licences=papers.statements,
        licence_text=papers.licence,
        notice=papers.notice,
        text=TextInput(max_tokens=context, pooling="next", normalise=False, pad_id=generation.ends[0]),
        tokenizer=tokenizer,
        languages=papers.languages,
        parameters=parameters,
        generation=generation,
        config=content,
        weights=weights,
    )


def _config(content: dict[str, Any]) -> _Config:
    try:
        config = msgspec.convert(content, _Config)
    except msgspec.ValidationError as error:
        raise SourceError("source_config", f"config.json: {error}") from None
    if config.quantization_config is not None:
        raise SourceError("source_unsupported", "the weights are quantised already; bring the original, or a GGUF file")
    rotary = config.rope_scaling or config.rope_parameters or {}
    kind = rotary.get("rope_type", rotary.get("type", "default"))
    if kind not in _ROTARY:
        raise SourceError("source_unsupported", f"positions that turn by {str(kind)[:80]!r} are not among {_ROTARY}")
    if config.use_sliding_window:
        raise SourceError("source_unsupported", "models with a sliding window in some of their layers are not taken in")
    return config


def _generation(folder: Folder, config: _Config, content: bytes) -> Generation:
    defaults = _Defaults()
    if folder.has("generation_config.json"):
        defaults = folder.json("generation_config.json", _Defaults)
    named = folder.json("tokenizer_config.json", dict[str, Any]) if folder.has("tokenizer_config.json") else {}
    tokenizer = Tokenizer.from_str(content.decode())
    texts = {name: text for name in _TOKENS if (text := _text(named.get(name)))}
    ends = [*_ids(config.eos_token_id), *_ids(defaults.eos_token_id)]
    # the end that the tokenizer names may be that of a turn, and the one of the configuration that of a document
    end = tokenizer.token_to_id(texts.get("eos_token", ""))
    ends = list(dict.fromkeys([*([] if end is None else [end]), *ends]))
    if not ends or not all(0 <= one < config.vocab_size for one in ends):
        raise SourceError("source_config", "no file of the folder names a token that ends an answer, and that there is")
    template = _template(folder, named)
    return Generation(
        context=config.max_position_embeddings,
        ends=tuple(ends),
        begin=tuple(tokenizer.encode("", add_special_tokens=True).ids),
        chat=chat_of(template, texts) if template else None,
    )


def _template(folder: Folder, named: dict[str, Any]) -> str:
    """The default chat template: a file of its own, or in the tokenizer's configuration, perhaps among others."""
    if folder.has("chat_template.jinja"):
        return folder.read("chat_template.jinja", MAX_TEMPLATE).decode(errors="replace")
    found = named.get("chat_template")
    if isinstance(found, list):
        found = next((one.get("template") for one in found if one.get("name") == "default"), None)
    return found if isinstance(found, str) else ""


def _text(token: object) -> str:
    """A special token as tokenizer_config.json has it: a text, or an object with one."""
    content = token.get("content") if isinstance(token, dict) else token
    return content if isinstance(content, str) else ""


def _ids(given: Ids) -> list[int]:
    return [] if given is None else given if isinstance(given, list) else [given]
