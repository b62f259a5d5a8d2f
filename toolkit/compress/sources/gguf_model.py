"""What a GGUF file calls its architecture and its tensors, as transformers calls them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from toolkit.compress.errors import SourceError
from toolkit.compress.sources.gguf_format import Gguf, TensorInfo

__all__ = ["ARCHITECTURES", "config_of", "state_of"]

# with the name of the class in transformers
ARCHITECTURES = {
    "gpt2": "GPT2LMHeadModel",
    "llama": "LlamaForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
}
MAX_SIZES: Mapping[str, int] = {
    "block_count": 500,
    "embedding_length": 65_536,
    "feed_forward_length": 1_000_000,
    "context_length": 10_000_000,
    "attention.head_count": 1024,
}
_KEY_HEADS = "attention.head_count_kv"


class _Names(Struct, frozen=True):
    """By the names in such a file, without "weight" and "bias", those in transformers."""

    outer: Mapping[str, str]
    layers: str
    inner: Mapping[str, str]


_ROTARY = _Names(
    {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"},
    "model.layers",
    {
        "attn_norm": "input_layernorm",
        "attn_q": "self_attn.q_proj",
        "attn_k": "self_attn.k_proj",
        "attn_v": "self_attn.v_proj",
        "attn_q_norm": "self_attn.q_norm",
        "attn_k_norm": "self_attn.k_norm",
        "attn_output": "self_attn.o_proj",
        "ffn_norm": "post_attention_layernorm",
        "ffn_gate": "mlp.gate_proj",
        "ffn_up": "mlp.up_proj",
        "ffn_down": "mlp.down_proj",
    },
)
_GPT2 = _Names(
    {
        "token_embd": "transformer.wte",
        "position_embd": "transformer.wpe",
        "output_norm": "transformer.ln_f",
        "output": "lm_head",
    },
    "transformer.h",
    {
        "attn_norm": "ln_1",
        "attn_qkv": "attn.c_attn",
        "attn_output": "attn.c_proj",
        "ffn_norm": "ln_2",
        "ffn_up": "mlp.c_fc",
        "ffn_down": "mlp.c_proj",
    },
)


def config_of(file: Gguf) -> dict[str, Any]:
    """The configuration as config.json would have it. Raises SourceError: source_unsupported, source_config."""
    kind = file.of("general.architecture", str)
    if kind not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise SourceError("source_unsupported", f"the architecture {kind[:80]!r} is not among those of GGUF: {known}")
    odd = [key for key in file.metadata if key.startswith((f"{kind}.rope.scaling", f"{kind}.expert"))]
    odd += [name for name in file.tensors if name.startswith("rope_")]
    if odd:
        raise SourceError("source_unsupported", f"of GGUF, models with {odd[0][:80]} are not taken in")
    sizes = {key: _size(file, f"{kind}.{key}", most) for key, most in MAX_SIZES.items()}
    heads, hidden = sizes["attention.head_count"], sizes["embedding_length"]
    common = {
        "model_type": kind,
        "architectures": [ARCHITECTURES[kind]],
        "vocab_size": len(file.of("tokenizer.ggml.tokens", list)),
        "max_position_embeddings": sizes["context_length"],
        "tie_word_embeddings": _tied(file),
    }
    if kind == "gpt2":
        return {
            **common,
            "n_embd": hidden,
            "n_inner": sizes["feed_forward_length"],
            "n_layer": sizes["block_count"],
            "n_head": heads,
            "layer_norm_epsilon": float(file.of(f"{kind}.attention.layer_norm_epsilon", float)),
            "activation_function": "gelu_new",
        }
    width = file.of(f"{kind}.attention.key_length", int, hidden // heads)
    if file.of(f"{kind}.rope.dimension_count", int, width) != width:
        raise SourceError("source_unsupported", "of GGUF, models that turn only a part of a head are not taken in")
    return {
        **common,
        "hidden_size": hidden,
        "intermediate_size": sizes["feed_forward_length"],
        "num_hidden_layers": sizes["block_count"],
        "num_attention_heads": heads,
        "num_key_value_heads": _size(file, f"{kind}.{_KEY_HEADS}", MAX_SIZES["attention.head_count"]),
        "head_dim": width,
        "rms_norm_eps": float(file.of(f"{kind}.attention.layer_norm_rms_epsilon", float)),
        "rope_theta": float(file.of(f"{kind}.rope.freq_base", float, 10_000.0)),
        "hidden_act": "silu",
    }


def state_of(file: Gguf) -> dict[str, NDArray[np.float32]]:
    """Every tensor as floats by its name in transformers. Raises SourceError "source_weights"."""
    kind = file.of("general.architecture", str)
    found = {}
    tied = _tied(file)
    for info in file.tensors.values():
        if tied and info.name == "output.weight":
            continue
        tensor = file.read(info)
        if not np.isfinite(tensor).all():
            raise SourceError("source_weights", f"{info.name[:80]!r} has weights that are not finite")
        if kind == "llama" and info.name.rpartition(".")[0].endswith(("attn_q", "attn_k")):
            # the halves of a head that are turned together lie in turn in such a file, and one after the other here
            heads = file.of(f"{kind}.attention.head_count{'_kv' * ('attn_k' in info.name)}", int)
            tensor = _unwoven(tensor, heads, info)
        if kind == "gpt2" and tensor.ndim == 2 and info.name.startswith("blk."):
            tensor = np.ascontiguousarray(tensor.T)  # transformers stores them inputs first
        found[_named(info.name, _GPT2 if kind == "gpt2" else _ROTARY)] = tensor
    return found


def _tied(file: Gguf) -> bool:
    """Whether the table is that of the output too; some files hold it twice."""
    table, output = file.tensors.get("token_embd.weight"), file.tensors.get("output.weight")
    if table is None or output is None:
        return output is None
    same = (table.form, table.shape) == (output.form, output.shape)
    return same and file.content(table) == file.content(output)


def _unwoven(tensor: NDArray[np.float32], heads: int, info: TensorInfo) -> NDArray[np.float32]:
    if info.shape[0] % (2 * heads):
        raise SourceError("source_weights", f"{info.name[:80]!r} does not divide into {heads} heads")
    turned: NDArray[np.float32] = tensor.reshape(heads, -1, 2, *info.shape[1:]).swapaxes(1, 2).reshape(info.shape)
    return np.ascontiguousarray(turned)


def _named(name: str, names: _Names) -> str:
    match name.split("."):
        case [outer, part] if outer in names.outer:
            return f"{names.outer[outer]}.{part}"
        case ["blk", number, inner, part] if number.isdecimal() and inner in names.inner:
            return f"{names.layers}.{number}.{names.inner[inner]}.{part}"
    raise SourceError("source_weights", f"the GGUF file has a tensor that the architecture has not: {name[:80]!r}")


def _size(file: Gguf, key: str, most: int) -> int:
    value: int = file.of(key, int)
    if not 1 <= value <= most:
        raise SourceError("source_config", f"the key {key!r} of the GGUF file is {value}; it is 1 to {most}")
    return value
