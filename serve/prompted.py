"""A request to a model that generates, as a protocol reads it, and what it weighs beside others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from serve.answering import Prompt
from serve.streamed import Words
from toolkit.bundle import BundleManifest
from toolkit.model import Model
from toolkit.runtime.sampling import GenerationError, Sampling

__all__ = ["Addressed", "Prompted", "weighed"]


class Addressed(Protocol):
    """Which model a request is for, and what it says of its context."""

    @property
    def model(self) -> str: ...
    @property
    def version(self) -> str | None: ...
    @property
    def said(self) -> Mapping[str, Any]: ...


class Prompted(Addressed, Protocol):
    """The prompt for this model, how it is answered where the context has `room` for so many tokens, and how the answer
    is written."""

    def prompt(self, manifest: BundleManifest) -> Prompt: ...
    def sampling(self, room: int) -> Sampling: ...
    def words(self, manifest: BundleManifest) -> Words: ...


def weighed(model: Model, prompt: Prompt, asked: Prompted) -> tuple[int, Sampling]:
    """How many tokens prompt and answer take at most, and how the answer is chosen.

    Raises InputError, GenerationError, ModelError "model_task".
    """
    size = model.prompt_tokens(prompt)
    context = model.manifest.generation.context if model.manifest.generation else 0
    sampling = asked.sampling(max(1, context - size))
    if size + sampling.max_tokens > context:
        said = f"{size} tokens and {sampling.max_tokens} more, the context has {context}"
        raise GenerationError("generation_context", said)
    return size + sampling.max_tokens, sampling
