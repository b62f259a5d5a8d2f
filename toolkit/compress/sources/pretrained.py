"""A Hugging Face model in memory: optimum knows its class for the task, transformers builds it with eager attention."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import msgspec
import torch
from optimum.exporters.tasks import TasksManager  # type: ignore[import-untyped]  # no types are published with it
from optimum.utils import (  # type: ignore[import-untyped]  # no types are published with it
    DummyTextInputGenerator,
    NormalizedConfigManager,
)
from transformers import CONFIG_MAPPING, AutoModelForTextEncoding
from transformers.utils import logging as transformers_logging

from toolkit.compress.errors import SourceError
from toolkit.compress.quiet import quiet
from toolkit.compress.sources.export import (
    Outputs,
    Positional,
    TorchModel,
    Traced,
    batch_trials,
    brief,
    picture,
    text_trials,
)
from toolkit.compress.sources.lora import merged
from toolkit.compress.sources.state import state_of

if TYPE_CHECKING:
    from toolkit.compress.sources.huggingface import Source

__all__ = ["load", "with_weights"]

_TEXT_INPUTS = ("input_ids", "attention_mask", "token_type_ids")


def load(source: Source) -> TorchModel:
    """The model of a source. Raises SourceError: source_adapter, source_changed, source_config, source_weights."""
    content = msgspec.json.decode(source.config, type=dict[str, Any])
    with quiet():
        try:
            config = CONFIG_MAPPING[content["model_type"]].from_dict(content)
            kind = _class(source.task, config)
            with torch.device("meta"):
                described = sum(parameter.numel() for parameter in kind(config).parameters())
        except Exception as error:  # noqa: BLE001 - whatever a malformed configuration sets off in transformers
            raise SourceError("source_config", f"config.json makes no model: {brief(error)}") from None
        if source.task == "token-classification" and kind.__name__ not in (config.architectures or ()):
            # such as one with a CRF behind it, which would be left out without a word
            raise SourceError("source_unsupported", f"the head is not that of {kind.__name__}")
        tensors = state_of(source.weights)
        if source.adapter is not None:
            tensors = merged(tensors, source.adapter)
        model = with_weights(kind, config, tensors, described)
        if source.image is not None:
            pick, output = (_logits, "logits") if source.labels else (_image_embedding, "embedding")
            traced = Traced(
                example={"pixel_values": picture(source.image)}, dims=("batch",), outputs={output: ("batch",)}
            )
            return TorchModel(Positional(model, ("pixel_values",), pick), source.digest, traced, batch_trials)
        names = tuple(name for name in _TEXT_INPUTS if name in inspect.signature(model.forward).parameters)
        if getattr(config, "type_vocab_size", 0) < 2:
            names = names[:2]  # one type only, which the model takes without being told
        example = _tokens(config, source.task, names)
        dims = ("batch", "tokens")
        pick, output = (_logits, "logits") if source.labels else (_hidden, "last_hidden_state")
        opened = dims[:1] if source.task == "text-classification" else dims
        traced = Traced(example=example, dims=dims, outputs={output: opened})
        return TorchModel(Positional(model, names, pick), source.digest, traced, text_trials)


def _class(task: str, config: Any) -> Any:
    """The class of transformers for a task; of a model with an encoder and a decoder, the encoder alone."""
    if config.is_encoder_decoder:
        return AutoModelForTextEncoding._model_mapping[type(config)]
    found = TasksManager.get_model_class_for_task(task, framework="pt", model_type=config.model_type)
    kinds = found._model_mapping[type(config)]
    if not isinstance(kinds, tuple):
        return kinds
    saved = {*(config.architectures or ())}
    return next((kind for kind in kinds if kind.__name__ in saved), kinds[0])


def _hidden(answer: Any) -> Outputs:
    return (answer.last_hidden_state,)


def _logits(answer: Any) -> Outputs:
    return (answer.logits,)


def _image_embedding(answer: Any) -> Outputs:
    """(batch, hidden): the vector of the class token of a transformer, the mean over the places of a convolution."""
    hidden = answer.last_hidden_state
    return (hidden[:, 0] if hidden.dim() == 3 else hidden.mean(dim=(2, 3)),)


def with_weights(kind: Any, config: Any, tensors: dict[str, torch.Tensor], described: int) -> torch.nn.Module:
    """A model of the class `kind` with these weights: none missing, none left over but heads for other tasks.

    Raises SourceError "source_weights".
    """
    held = sum(tensor.numel() for tensor in tensors.values())
    if described > 2 * held:
        raise SourceError("source_weights", f"config.json describes {described} parameters, the weights have {held}")
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # half typed
    try:
        model, info = kind.from_pretrained(
            None,
            config=config,
            state_dict=tensors,
            dtype=torch.float32,
            attn_implementation="eager",
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
        )
    except Exception as error:  # noqa: BLE001 - whatever weights of another shape set off in transformers
        raise SourceError("source_weights", f"the weights do not fit the configuration: {brief(error)}") from None
    finally:
        if bars:
            transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]  # half typed
    # the pooler of a model without a head is for another task: nothing here reads it
    missing = [name for name in info["missing_keys"] if not name.startswith("pooler.")]
    parts = {name for module in (model, model.base_model) for name, _ in module.named_children()} - {"pooler"}
    stray = [name for name in info["unexpected_keys"] if _part(name, kind.base_model_prefix) in parts]
    odd = sorted([*missing, *stray, *map(str, info["mismatched_keys"])])
    if odd:
        raise SourceError("source_weights", f"missing, left over or of another shape: {', '.join(odd[:5])[:300]}")
    return model  # type: ignore[no-any-return]  # transformers does not say


def _part(name: str, prefix: str) -> str:
    return name.removeprefix(f"{prefix}.").partition(".")[0]


def _tokens(config: Any, task: str, names: tuple[str, ...]) -> dict[str, torch.Tensor]:
    normalized = NormalizedConfigManager.get_normalized_config_class(config.model_type)(config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        dummies = DummyTextInputGenerator(task, normalized, batch_size=2, sequence_length=7)
        return {name: dummies.generate(name, framework="pt") for name in names}
