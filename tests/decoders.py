"""Tiny models that generate, with random weights: as the bytes of a GGUF file, and as a Hugging Face directory."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from tests.commands import within
from tests.conftest import Shared
from toolkit.compress.quiet import quiet

__all__ = [
    "CHATML", "METADATA", "SAID", "chained_gguf", "decoder_box", "gguf", "gguf_tensors", "q8_0", "said_box",
    "tiny_decoder", "tiny_gguf",
]  # fmt: skip

# no character stands in it twice
SAID = "Ask jim@uvxyz.org,newbhtl"

# as that of SmolLM2
CHATML = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou help.<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
_SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_MERGES = (("h", "e"), ("t", "he"), ("Ġ", "the"), ("1", "2"))
_SPOKEN = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
_BYTES = sorted(pre_tokenizers.ByteLevel.alphabet())
TOKENS = (*_SPECIAL, *_BYTES, *("".join(pair) for pair in _MERGES))
HIDDEN, HEADS, KEY_HEADS, WIDTH, INNER, LAYERS, CONTEXT = 64, 4, 2, 16, 96, 2, 256

_STRING, _ARRAY, _U32, _I32, _F32, _BOOL = 8, 9, 4, 5, 6, 7
METADATA: Mapping[str, tuple[int, Any]] = {
    "general.architecture": (_STRING, "llama"),
    "general.license": (_STRING, "apache-2.0"),
    "llama.block_count": (_U32, LAYERS),
    "llama.context_length": (_U32, CONTEXT),
    "llama.embedding_length": (_U32, HIDDEN),
    "llama.feed_forward_length": (_U32, INNER),
    "llama.attention.head_count": (_U32, HEADS),
    "llama.attention.head_count_kv": (_U32, KEY_HEADS),
    "llama.attention.layer_norm_rms_epsilon": (_F32, 1e-5),
    "llama.rope.freq_base": (_F32, 10_000.0),
    "tokenizer.ggml.model": (_STRING, "gpt2"),
    "tokenizer.ggml.pre": (_STRING, "smollm"),
    "tokenizer.ggml.tokens": (_ARRAY, (_STRING, TOKENS)),
    "tokenizer.ggml.token_type": (_ARRAY, (_I32, [3] * 3 + [1] * (len(TOKENS) - 3))),
    "tokenizer.ggml.merges": (_ARRAY, (_STRING, [" ".join(pair) for pair in _MERGES])),
    "tokenizer.ggml.bos_token_id": (_U32, 1),
    "tokenizer.ggml.eos_token_id": (_U32, 2),
    "tokenizer.ggml.add_bos_token": (_BOOL, False),
    "tokenizer.chat_template": (_STRING, CHATML),
}
_PACKED = {_U32: "<I", _I32: "<i", _F32: "<f", _BOOL: "<?"}


def gguf_tensors(seed: int = 0) -> dict[str, NDArray[np.float32]]:
    """Weights by their names in a GGUF file; the table is tied to the output."""
    rng = np.random.default_rng(seed)
    shapes = {"token_embd.weight": (len(TOKENS), HIDDEN), "output_norm.weight": (HIDDEN,)}
    for number in range(LAYERS):
        shapes |= {
            f"blk.{number}.attn_norm.weight": (HIDDEN,),
            f"blk.{number}.attn_q.weight": (HEADS * WIDTH, HIDDEN),
            f"blk.{number}.attn_k.weight": (KEY_HEADS * WIDTH, HIDDEN),
            f"blk.{number}.attn_v.weight": (KEY_HEADS * WIDTH, HIDDEN),
            f"blk.{number}.attn_output.weight": (HIDDEN, HEADS * WIDTH),
            f"blk.{number}.ffn_norm.weight": (HIDDEN,),
            f"blk.{number}.ffn_gate.weight": (INNER, HIDDEN),
            f"blk.{number}.ffn_up.weight": (INNER, HIDDEN),
            f"blk.{number}.ffn_down.weight": (HIDDEN, INNER),
        }
    made = {name: rng.normal(0, 0.3, shape).astype(np.float32) for name, shape in shapes.items()}
    return {name: np.float32(1) + one / np.float32(10) if one.ndim == 1 else one for name, one in made.items()}


def q8_0(values: NDArray[np.float32]) -> bytes:
    """Rows in blocks of 32 integers with a scale of half precision each."""
    blocks = values.reshape(-1, 32)
    scale = (np.abs(blocks).max(axis=1, keepdims=True) / 127).astype("<f2")
    integers = np.rint(blocks / scale.astype(np.float32)).clip(-127, 127).astype(np.int8)
    return np.concatenate([scale.view(np.uint8), integers.view(np.uint8)], axis=1).tobytes()


def gguf(
    metadata: Mapping[str, tuple[int, Any]] = METADATA,
    tensors: Mapping[str, tuple[tuple[int, ...], int, bytes]] | None = None,
    *,
    version: int = 3,
) -> bytes:
    """A file; `tensors` are shape, type and bytes by name."""
    tensors = {} if tensors is None else tensors
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(metadata))
    head += b"".join(
        _text(key) + struct.pack("<I", kind) + _value(kind, value) for key, (kind, value) in metadata.items()
    )
    data = b""
    for name, (shape, form, content) in tensors.items():
        head += _text(name) + struct.pack(f"<I{len(shape)}Q", len(shape), *shape[::-1])
        head += struct.pack("<IQ", form, len(data))
        data += content + b"\0" * (-len(content) % 32)
    return head + b"\0" * (-len(head) % 32) + data


def tiny_gguf(changes: Mapping[str, tuple[int, Any] | None] = {}, seed: int = 0) -> bytes:
    """A model with a table of eight bits and float layers; `changes` to its metadata, None takes a key out."""
    metadata = {key: value for key, value in {**METADATA, **changes}.items() if value is not None}
    tensors = {}
    for name, values in gguf_tensors(seed).items():
        rounded = name == "token_embd.weight"
        tensors[name] = values.shape, 8 if rounded else 0, q8_0(values) if rounded else values.tobytes()
    return gguf(metadata, tensors)


def chained_gguf(said: str) -> bytes:
    """A model that says this after "!" and ends, whatever stood before: each token is followed by the next one of the
    text, in which therefore no character may stand twice."""
    numbers = [TOKENS.index(one) for one in ["!", *_SPOKEN.pre_tokenize_str(said)[0][0]]]
    assert len(set(numbers)) == len(numbers)
    found = gguf_tensors()
    for name in found:
        if name.endswith(("attn_output.weight", "ffn_down.weight")):
            found[name] = np.zeros_like(found[name])
    table = found["token_embd.weight"]
    following = np.zeros_like(table)
    following[[*numbers[1:], 2]] = 10 * table[numbers]
    found["output.weight"] = following
    return gguf(METADATA, {name: (one.shape, 0, one.tobytes()) for name, one in found.items()})


def tiny_decoder(path: Path, kind: str, **changes: Any) -> Path:
    """A Hugging Face directory of an architecture, with random weights that are the same every time."""
    with quiet():
        import torch
        from safetensors.torch import save_file
        from transformers import CONFIG_MAPPING, MODEL_FOR_CAUSAL_LM_MAPPING

        config = {
            "model_type": kind,
            "vocab_size": len(TOKENS),
            "hidden_size": HIDDEN,
            "intermediate_size": INNER,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": HEADS,
            "num_key_value_heads": KEY_HEADS,
            "head_dim": WIDTH,
            "max_position_embeddings": CONTEXT,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "pad_token_id": 2,
            "tie_word_embeddings": True,
            **changes,
        }
        # as the family itself writes them
        own = CONFIG_MAPPING[kind].attribute_map
        config = {own.get(name, name): value for name, value in config.items()}
        described = CONFIG_MAPPING[kind].from_dict(config)
        built: Any = MODEL_FOR_CAUSAL_LM_MAPPING[type(described)]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = built(described)
            for parameter in model.parameters():
                torch.nn.init.normal_(parameter, 1.0 if parameter.dim() == 1 else 0.0, 0.2)
        path.mkdir(parents=True)
        state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
        if config["tie_word_embeddings"]:
            del state["lm_head.weight"]
        save_file(state, path / "model.safetensors")
    (path / "config.json").write_text(json.dumps({**config, "architectures": [type(model).__name__]}))
    (path / "tokenizer.json").write_text(_tokenizer().to_str())
    named = {"eos_token": "<|im_end|>", "bos_token": "<|im_start|>", "chat_template": CHATML}
    (path / "tokenizer_config.json").write_text(json.dumps(named))
    (path / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    return path


def decoder_box(shared: Shared) -> Path:
    """A box with tiny.bundle in it, which was pressed from a GGUF file once a run: copy it before it is changed."""

    def make(folder: Path) -> None:
        (folder / "tiny.gguf").write_bytes(tiny_gguf())
        assert within(folder, "init", "box").returncode == 0
        done = within(folder / "box", "compress", "../tiny.gguf", "--out", "tiny.bundle")
        assert done.returncode == 0, done.stderr

    return shared.made("generating", make) / "box"


def said_box(shared: Shared) -> Path:
    """A box with said.bundle, which says SAID after "!", and purposes for which that is masked or the end: made once a
    run, copy it before it is changed."""

    def make(folder: Path) -> None:
        (folder / "said.gguf").write_bytes(chained_gguf(SAID))
        assert within(folder, "init", "box").returncode == 0
        done = within(folder / "box", "compress", "../said.gguf", "--out", "said.bundle")
        assert done.returncode == 0, done.stderr
        with (folder / "box" / "sealpress.toml").open("a", encoding="utf-8") as settings:
            settings.write('\n[policy.parameters.base]\nredact = ["search"]\nstop_output = ["product"]\n')

    return shared.made("generating-output", make) / "box"


def _tokenizer() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE({token: number for number, token in enumerate(TOKENS)}, [*_MERGES]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in _SPECIAL])
    return tokenizer


def _text(text: str) -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode()


def _value(kind: int, value: Any) -> bytes:
    if kind == _STRING:
        return _text(value)
    if kind == _ARRAY:
        inner, items = value
        return struct.pack("<IQ", inner, len(items)) + b"".join(_value(inner, item) for item in items)
    return struct.pack(_PACKED[kind], value)
