"""A decoder in memory: transformers builds it for what is right, and its numbers are written as a graph of our own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import CONFIG_MAPPING, MODEL_FOR_CAUSAL_LM_MAPPING, DynamicCache

from policies.gate import Grant, redeem
from policies.payload import Payload
from toolkit.compress.errors import SourceError
from toolkit.compress.quiet import quiet
from toolkit.compress.sources.decoder_gpt2 import gpt2_of, without_masks
from toolkit.compress.sources.decoder_graph import Activation, Block, Decoder, Linear, graph_of
from toolkit.compress.sources.export import brief
from toolkit.compress.sources.pretrained import with_weights
from toolkit.compress.sources.state import numbers
from toolkit.runtime.readers import Reader
from toolkit.runtime.session import Feeds

__all__ = ["DecoderModel", "load"]

ACTIVATIONS: Mapping[str, Activation] = {"silu": "silu", "gelu_pytorch_tanh": "gelu_tanh"}
PAST = 5  # tokens of a made-up cache that the export is tried with


def load(config: Mapping[str, Any], state: Mapping[str, torch.Tensor], digest: str) -> DecoderModel:
    """The model of a configuration, as config.json has it, and weights by name.

    Raises SourceError: source_config, source_weights, source_unsupported.
    """
    with quiet():
        try:
            made = CONFIG_MAPPING[config["model_type"]].from_dict(dict(config))
            kind: Any = MODEL_FOR_CAUSAL_LM_MAPPING[type(made)]
            with torch.device("meta"):
                described = sum(parameter.numel() for parameter in kind(made).parameters())
        except Exception as error:  # noqa: BLE001 - whatever a malformed configuration sets off in transformers
            raise SourceError("source_config", f"the configuration makes no model: {brief(error)}") from None
        weights = without_masks(state) if made.model_type == "gpt2" else dict(state)
        return DecoderModel(with_weights(kind, made, weights, described).eval(), digest)


class DecoderModel:
    """The model as it was brought, in torch, FP32 and eval mode. Runs under a grant only."""

    def __init__(self, model: Any, digest: str) -> None:
        self._model = model
        self._digest = digest
        self._layers = int(model.config.num_hidden_layers)
        self._cache = [f"{number}.{kind}" for number in range(self._layers) for kind in ("key", "value")]

    @property
    def names(self) -> tuple[str, ...]:
        past = (f"past_key_values.{name}" for name in self._cache)
        return ("input_ids", "attention_mask", "num_logits_to_keep", *past)

    def export(self) -> bytes:
        """The ONNX file, the same bytes in every folder and process. Raises SourceError "source_unsupported"."""
        make = gpt2_of if self._model.config.model_type == "gpt2" else _decoder
        return graph_of(make(self._model))

    def run(self, grant: Grant, in_force: str, feeds: Callable[[Payload], Iterable[Feeds]]) -> list[list[NDArray[Any]]]:
        """The logits, and the keys and values of all layers, of each batch made from the payload.

        Raises Ungated, and SourceError "source_config" for what the model does not take.
        """
        payload = redeem(grant, self._digest, in_force)
        try:
            with torch.inference_mode():
                return [self._outputs(batch) for batch in feeds(payload)]
        except (IndexError, RuntimeError) as error:
            raise SourceError("source_config", f"the model does not run on its own inputs: {brief(error)}") from None

    def trials(self, items: Sequence[Any], reader: Reader) -> Iterator[Feeds]:
        """Texts of several lengths, one token, and tokens one by one behind a cache; then a cache that is made up."""
        for item in items[:3]:
            yield reader.feeds([item])
        alone = reader.feeds(items[:1])
        ids = alone["input_ids"]
        yield self._behind(alone, ids[:, :1], 0)
        rng = np.random.default_rng(0)
        for tokens, past in ((1, PAST), (3, PAST), (min(4, ids.shape[1]), 1)):
            yield self._behind(alone, ids[:, :tokens], past, rng)

    def _behind(
        self, alone: Feeds, ids: NDArray[Any], past: int, rng: np.random.Generator | None = None
    ) -> dict[str, NDArray[Any]]:
        made: dict[str, NDArray[Any]] = {**alone, "input_ids": ids}
        made["attention_mask"] = np.ones((len(ids), past + ids.shape[1]), np.int64)
        for name in self._cache:
            one, heads, _, width = alone[f"past_key_values.{name}"].shape
            shape = (one, heads, past, width)
            values = np.zeros(shape) if rng is None else rng.standard_normal(shape)
            made[f"past_key_values.{name}"] = values.astype(np.float32)
        return made

    def _outputs(self, batch: Feeds) -> list[NDArray[Any]]:
        cache: Any = DynamicCache()
        past = batch["past_key_values.0.key"].shape[2]
        for number in range(self._layers if past else 0):
            key, value = (torch.tensor(batch[f"past_key_values.{number}.{kind}"]) for kind in ("key", "value"))
            cache.update(key, value, number)
        ids = torch.tensor(batch["input_ids"])
        answer = self._model(
            input_ids=ids,
            attention_mask=torch.tensor(batch["attention_mask"]),
            position_ids=torch.arange(past, past + ids.shape[1])[None].expand(len(ids), -1),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=int(batch["num_logits_to_keep"][0]),
        )
        kept = [tensor for layer in cache.layers for tensor in (layer.keys, layer.values)]
        return [answer.logits.numpy(), *(tensor.numpy() for tensor in kept)]


def _decoder(model: Any) -> Decoder:
    config, inner = model.config, model.model
    activation = ACTIVATIONS.get(str(getattr(config, "hidden_act", None) or config.hidden_activation))
    if activation is None:
        raise SourceError("source_unsupported", "of decoders, those that gate with SiLU or GELU are taken in")
    first = inner.layers[0].self_attn
    width = int(first.head_dim)
    shift = 1.0 if config.model_type == "gemma" else 0.0  # which stores what is added to one
    rotary = inner.rotary_emb
    positions = torch.arange(int(config.max_position_embeddings), dtype=torch.float32)
    angles = positions[:, None] * rotary.inv_freq.float()[None]
    if angles.shape[1] != width // 2:
        raise SourceError("source_unsupported", "models that turn only a part of a head are not taken in")
    tied = model.lm_head.weight.data_ptr() == inner.embed_tokens.weight.data_ptr()
    window = getattr(config, "sliding_window", None) if getattr(config, "use_sliding_window", True) else None
    return Decoder(
        heads=int(config.num_attention_heads),
        key_heads=int(config.num_key_value_heads),
        width=width,
        epsilon=float(config.rms_norm_eps),
        activation=activation,
        table=numbers(inner.embed_tokens.weight),
        table_factor=float(np.float32(config.hidden_size**0.5)) if config.model_type == "gemma" else 1.0,
        blocks=tuple(_block(layer, shift) for layer in inner.layers),
        norm=numbers(inner.norm.weight) + np.float32(shift),
        output=None if tied else numbers(model.lm_head.weight),
        cosines=numbers(angles.cos() * rotary.attention_scaling),
        sines=numbers(angles.sin() * rotary.attention_scaling),
        window=None if window is None or window >= config.max_position_embeddings else int(window),
    )


def _block(layer: Any, shift: float) -> Block:
    attention, feeding = layer.self_attn, layer.mlp
    packed = hasattr(attention, "qkv_proj")
    query_norm, key_norm = getattr(attention, "q_norm", None), getattr(attention, "k_norm", None)
    return Block(
        before=numbers(layer.input_layernorm.weight) + np.float32(shift),
        qkv=_linear(attention.qkv_proj) if packed else _joined(attention.q_proj, attention.k_proj, attention.v_proj),
        query_norm=None if query_norm is None else numbers(query_norm.weight),
        key_norm=None if key_norm is None else numbers(key_norm.weight),
        out=_linear(attention.o_proj),
        between=numbers(layer.post_attention_layernorm.weight) + np.float32(shift),
        gated=_linear(feeding.gate_up_proj) if packed else _joined(feeding.gate_proj, feeding.up_proj),
        down=_linear(feeding.down_proj),
    )


def _linear(module: Any) -> Linear:
    return Linear(numbers(module.weight), None if module.bias is None else numbers(module.bias))


def _joined(*modules: Any) -> Linear:
    parts = [_linear(module) for module in modules]
    biases = [np.zeros(len(part.weight), np.float32) if part.bias is None else part.bias for part in parts]
    some = any(part.bias is not None for part in parts)
    return Linear(np.concatenate([part.weight for part in parts]), np.concatenate(biases) if some else None)
