"""Take in a GGUF file: a language model whose weights mostly were rounded to a few bits before it came."""

from __future__ import annotations

import hashlib
from collections import Counter
from math import prod
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from toolkit.compress.data import Items, gathered
from toolkit.compress.errors import SourceError
from toolkit.compress.measure import evaluation_texts
from toolkit.compress.quiet import quiet
from toolkit.compress.source import Measure, Original
from toolkit.compress.sources.chat import chat_of
from toolkit.compress.sources.folder import File, Folder
from toolkit.compress.sources.gguf_format import Gguf
from toolkit.compress.sources.gguf_model import config_of, state_of
from toolkit.compress.sources.gguf_numbers import FORMS
from toolkit.compress.sources.gguf_tokenizer import tokens_of
from toolkit.extras import needs
from toolkit.runtime.inputs import Generation, TextInput

__all__ = ["EXAMPLES", "SUFFIX", "GgufFile", "read"]

SUFFIX = ".gguf"
EXAMPLES = 16  # texts to measure on: each token of them has a row of the whole vocabulary
MAX_WEIGHTS = 1_900_000_000  # bytes as FP32: an ONNX file holds 2 GB


class GgufFile(Struct, frozen=True, kw_only=True):
    """A Source (toolkit.compress.source) that generates: a GGUF file that was looked at and not loaded."""

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
    file: File

    def examples(self, count: int, seed: int = 0) -> Items:
        """English passages, the same for every run of one Python release whatever the seed."""
        return gathered(evaluation_texts()[: min(count, EXAMPLES)], "text")

    def load(self) -> Original:
        """See toolkit.compress.source. Raises SourceError: source_changed, source_config, source_weights."""
        with quiet(), needs("compress"):
            import torch

            from toolkit.compress.sources import decoder
        state = state_of(Gguf(self.file.read()))
        return decoder.load(self.config, {name: torch.from_numpy(one) for name, one in state.items()}, self.digest)


def read(path: Path, *, limit: int) -> GgufFile:
    """The model in a file of at most `limit` bytes. Its terms are those in its metadata and in licence files beside it.

    Raises SourceError, MissingExtra.
    """
    with needs("compress"):
        from toolkit.compress.sources.papers import read_papers
    folder = Folder(path.parent)
    data = folder.read(path.name, limit)
    held = folder.used[path.name]
    file = Gguf(data)
    parameters = sum(prod(info.shape) for info in file.tensors.values())
    if 4 * parameters > MAX_WEIGHTS:
        raise SourceError("source_too_large", f"the weights have more than {MAX_WEIGHTS} bytes as FP32")
    config, tokens = config_of(file), tokens_of(file)
    context = int(config["max_position_embeddings"])
    template = file.of("tokenizer.chat_template", str, "")
    chat = chat_of(template, tokens.named) if template else None
    papers = read_papers(folder)
    stated = file.of("general.license", str, "")
    return GgufFile(
        name=path.stem[:100],
        digest=hashlib.sha256(msgspec.json.encode([held.name, held.sha256])).hexdigest(),
        licences=(*papers.statements, *([stated] if stated else [])),
        licence_text=papers.licence,
        notice=papers.notice,
        text=TextInput(max_tokens=context, pooling="next", normalise=False, pad_id=tokens.ends[0]),
        tokenizer=tokens.json,
        languages=papers.languages,
        parameters=parameters,
        generation=Generation(context=context, ends=tokens.ends, begin=tokens.begin, chat=chat, rounded=_rounded(file)),
        config=config,
        file=held,
    )


def _rounded(file: Gguf) -> str:
    """The types of few bits that weights came in, those with the most numbers first."""
    numbers: Counter[str] = Counter()
    for info in file.tensors.values():
        if not FORMS[info.form].floating:
            numbers[FORMS[info.form].name] += prod(info.shape)
    return ", ".join(name for name, _ in numbers.most_common())
