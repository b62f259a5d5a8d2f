"""GGUF files: numbers as the reference has them, tokens as the model learned them, and no harm from a broken one."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from tests.decoders import METADATA, TOKENS, gguf, gguf_tensors, q8_0, tiny_decoder, tiny_gguf
from toolkit.compress.errors import SourceError
from toolkit.compress.intake import taken_in
from toolkit.compress.source import Generates
from toolkit.compress.sources.gguf_format import Gguf
from toolkit.compress.sources.gguf_model import config_of, state_of
from toolkit.compress.sources.gguf_numbers import FORMS, floats
from toolkit.compress.sources.gguf_tokenizer import tokens_of

WHOLE = tiny_gguf()
STRING, ARRAY, U32, I32, F32, BOOL = 8, 9, 4, 5, 6, 7


def test_what_was_written_is_read() -> None:
    file = Gguf(WHOLE)
    assert file.metadata["general.architecture"] == "llama"
    assert file.metadata["llama.attention.layer_norm_rms_epsilon"] == pytest.approx(1e-5)
    assert file.metadata["tokenizer.ggml.tokens"] == list(TOKENS)
    assert file.metadata["tokenizer.ggml.add_bos_token"] is False
    expected = gguf_tensors()
    assert file.tensors.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(file.read(file.tensors[name]), values, atol=0.01)


def half(value: float) -> bytes:
    return np.float16(value).tobytes()


# of a block, by the layout in ggml's documentation: each integer alone
BLOCKS: dict[str, tuple[bytes, list[float]]] = {
    "Q4_0": (half(0.5) + bytes([0x1F] * 16), [0.5 * 7] * 16 + [0.5 * -7] * 16),
    "Q4_1": (half(0.5) + half(2) + bytes([0x1F] * 16), [9.5] * 16 + [2.5] * 16),
    "Q5_0": (half(1) + b"\1\0\0\x80" + bytes([0x21] * 16), [1.0] + [-15.0] * 15 + [-14.0] * 15 + [2.0]),
    "Q5_1": (half(1) + half(3) + b"\1\0\0\x80" + bytes([0x21] * 16), [20.0] + [4.0] * 15 + [5.0] * 15 + [21.0]),
    "Q8_0": (half(0.5) + bytes([0xFF] * 32), [-0.5] * 32),
    "F16": (half(-1.5), [-1.5]),
    "BF16": (b"\x20\xc0", [-2.5]),
    "F32": (struct.pack("<f", 0.1), [float(np.float32(0.1))]),
}


@pytest.mark.parametrize("name", sorted(BLOCKS))
def test_a_block_stands_for_its_numbers(name: str) -> None:
    data, expected = BLOCKS[name]
    code = next(code for code, form in FORMS.items() if form.name == name)
    assert floats(memoryview(data), code).tolist() == expected
    assert floats(memoryview(data * 3), code).tolist() == expected * 3


def test_sub_blocks_have_scales_and_offsets_of_their_own() -> None:
    rng = np.random.default_rng(0)
    block = rng.integers(0, 256, 144, dtype=np.uint8)
    block[:4] = np.frombuffer(half(0.5) + half(0.25), np.uint8)
    scales = [int(one) & 63 for one in block[4:8]]
    scales += [(int(block[12 + j]) & 15) | (int(block[4 + j]) >> 6 << 4) for j in range(4)]
    offsets = [int(one) & 63 for one in block[8:12]]
    offsets += [(int(block[12 + j]) >> 4) | (int(block[8 + j]) >> 6 << 4) for j in range(4)]
    expected = []
    for number in range(256):
        sub, place = divmod(number, 32)
        byte = int(block[16 + 32 * (sub // 2) + place])
        expected.append(0.5 * scales[sub] * (byte >> 4 if sub % 2 else byte & 15) - 0.25 * offsets[sub])
    np.testing.assert_allclose(floats(memoryview(block.tobytes()), 12), expected)
    # a fifth bit of zeros is no difference
    wide = block[:16].tobytes() + bytes(32) + block[16:].tobytes()
    np.testing.assert_allclose(floats(memoryview(wide), 13), expected)
    high = block[:16].tobytes() + bytes([0b10] * 32) + block[16:].tobytes()
    raised = np.array(expected)
    raised[32:64] += 0.5 * scales[1] * 16
    np.testing.assert_allclose(floats(memoryview(high), 13), raised)


def test_blocks_of_six_bits() -> None:
    rng = np.random.default_rng(0)
    block = rng.integers(0, 256, 210, dtype=np.uint8)
    block[208:] = np.frombuffer(half(0.5), np.uint8)
    scales = block[192:208].view(np.int8)
    expected = []
    for number in range(256):
        part, inside = divmod(number, 128)
        quarter, place = divmod(inside, 32)
        low = int(block[64 * part + 32 * (quarter % 2) + place])
        high = int(block[128 + 32 * part + place]) >> (2 * quarter) & 3
        integer = ((low >> 4 if quarter > 1 else low & 15) | (high << 4)) - 32
        expected.append(0.5 * int(scales[number // 16]) * integer)
    np.testing.assert_allclose(floats(memoryview(block.tobytes()), 14), expected)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, len(WHOLE) - 1))
def test_a_file_that_is_cut_short_is_refused(size: int) -> None:
    with pytest.raises(SourceError) as refused:
        Gguf(WHOLE[:size])
    assert refused.value.code == "source_malformed"


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 7000), st.binary(min_size=1, max_size=12))
def test_whatever_stands_in_a_file_it_is_taken_or_refused(at: int, written: bytes) -> None:
    broken = WHOLE[:at] + written + WHOLE[at + len(written) :]
    try:
        file = Gguf(broken)
        config_of(file)
        tokens_of(file)
        state_of(file)
    except SourceError:
        pass


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_bytes_that_are_no_file_are_refused(data: bytes) -> None:
    with pytest.raises(SourceError):
        Gguf(b"GGUF" + struct.pack("<I", 3) + data)


HEAD = b"GGUF" + struct.pack("<I", 3)
HUGE = {
    "tensors": HEAD + struct.pack("<QQ", 2**62, 0) + bytes(100),
    "keys": HEAD + struct.pack("<QQ", 0, 2**62) + bytes(100),
    "text": HEAD + struct.pack("<QQQ", 0, 1, 2**63) + bytes(100),
    "list": HEAD + struct.pack("<QQQ", 0, 1, 1) + b"a" + struct.pack("<IIQ", ARRAY, U32, 2**60) + bytes(100),
    "list of lists": HEAD + struct.pack("<QQQ", 0, 1, 1) + b"a" + struct.pack("<IIQ", ARRAY, ARRAY, 1) + bytes(100),
    "version": b"GGUF" + struct.pack("<I", 1) + bytes(100),
    "big-endian": b"GGUF" + struct.pack(">I", 3) + bytes(100),
    "dimensions": gguf({}, {"a": ((1,) * 9, 0, bytes(4))}),
    "no numbers": gguf({}, {"a": ((0, 4), 0, bytes(4))}),
    "shape": gguf({}, {"a": ((2**62, 2**62), 0, bytes(4))}),
    "row of no whole blocks": gguf({}, {"a": ((4, 8), 8, bytes(34))}),
    "shape beyond the file": gguf({}, {"a": ((4, 320), 0, bytes(64))}),
    "alignment": gguf({"general.alignment": (U32, 3)}, {}),
    "twice": gguf({}, {"a": ((1,), 0, bytes(4))}).replace(struct.pack("<Q", 1), struct.pack("<Q", 2), 1),
}


@pytest.mark.parametrize("what", sorted(HUGE))
def test_counts_that_cannot_be_are_refused(what: str) -> None:
    with pytest.raises(SourceError) as refused:
        Gguf(HUGE[what])
    assert refused.value.code == "source_malformed"


def test_tensors_that_lie_on_each_other_are_refused() -> None:
    tensors = {name: ((32,), 0, bytes(128)) for name in ("a", "b")}
    whole = gguf({}, tensors)
    offset = struct.pack("<IQ", 0, 128)
    assert whole.count(offset) == 1
    with pytest.raises(SourceError, match="lies on another one"):
        Gguf(whole.replace(offset, struct.pack("<IQ", 0, 96)))


CHANGES: dict[str, tuple[dict[str, Any], str]] = {
    "architecture": ({"general.architecture": (STRING, "mamba")}, "source_unsupported"),
    "size": ({"llama.block_count": (U32, 0)}, "source_config"),
    "size of another type": ({"llama.block_count": (STRING, "2")}, "source_config"),
    "size that is missing": ({"llama.context_length": None}, "source_config"),
    "positions": ({"llama.rope.scaling.type": (STRING, "yarn")}, "source_unsupported"),
    "a part of a head": ({"llama.rope.dimension_count": (U32, 8)}, "source_unsupported"),
    "tokenizer": ({"tokenizer.ggml.model": (STRING, "llama")}, "source_unsupported"),
    "cut": ({"tokenizer.ggml.pre": (STRING, "unknown")}, "source_unsupported"),
    "no end": ({"tokenizer.ggml.eos_token_id": None}, "source_tokenizer"),
    "end beyond": ({"tokenizer.ggml.eos_token_id": (U32, 10**6)}, "source_tokenizer"),
    "types": ({"tokenizer.ggml.token_type": (ARRAY, (I32, [1]))}, "source_tokenizer"),
    "merge": ({"tokenizer.ggml.merges": (ARRAY, (STRING, ["h e x"]))}, "source_tokenizer"),
    "merge of nothing": ({"tokenizer.ggml.merges": (ARRAY, (STRING, ["h zz"]))}, "source_tokenizer"),
    "template": ({"tokenizer.chat_template": (STRING, "{% for %}")}, "source_template"),
    "more layers": ({"llama.block_count": (U32, 3)}, "source_weights"),
    "more heads": ({"llama.attention.head_count": (U32, 8)}, "source_weights"),
}


@pytest.mark.parametrize("what", sorted(CHANGES))
def test_what_a_file_says_of_its_model_is_held_against_it(what: str, tmp_path: Path) -> None:
    changes, code = CHANGES[what]
    file = tmp_path / "tiny.gguf"
    file.write_bytes(tiny_gguf(changes))
    with pytest.raises(SourceError) as refused:
        taken_in(file).load()
    assert refused.value.code == code


def test_weights_that_are_not_finite_or_not_known_are_refused() -> None:
    infinite = np.full((1, 32), np.inf, np.float32)
    for name, values in (("token_embd.weight", infinite), ("blk.0.ssm.weight", np.ones((1, 32), np.float32))):
        with pytest.raises(SourceError) as refused:
            state_of(Gguf(gguf(METADATA, {name: (values.shape, 0, values.tobytes())})))
        assert refused.value.code == "source_weights"


def test_a_source_says_in_what_its_weights_came(tmp_path: Path) -> None:
    file = tmp_path / "tiny.gguf"
    file.write_bytes(tiny_gguf())
    source = taken_in(file)
    assert isinstance(source, Generates)
    assert (source.name, source.task, source.licences) == ("tiny", "generate", ("apache-2.0",))
    assert source.generation.rounded == "Q8_0"
    assert source.generation.ends == (2,)
    assert q8_0(np.ones((1, 32), np.float32))[2:] == bytes([127] * 32)


def test_the_tokenizer_has_the_traps_behind_it() -> None:
    tokens = tokens_of(Gguf(WHOLE))
    tokenizer = Tokenizer.from_str(tokens.json.decode())
    assert tokens.ends == (TOKENS.index("<|im_end|>"),)
    assert tokens.begin == ()
    assert tokenizer.encode("the").tokens == ["the"]  # no start token
    assert tokenizer.encode("12").tokens == ["1", "2"]  # digit by digit, although "12" is a token
    assert tokenizer.encode("a<|im_end|>").ids[-1] == 2
    assert tokenizer.decode(tokenizer.encode("the 1212 hen").ids) == "the 1212 hen"


def test_a_start_token_stands_where_the_file_asks_for_it() -> None:
    asked = tokens_of(Gguf(tiny_gguf({"tokenizer.ggml.add_bos_token": (BOOL, True)})))
    assert asked.begin == (1,)
    plain = tokens_of(Gguf(tiny_gguf({"tokenizer.ggml.pre": (STRING, "gpt-2")})))
    assert Tokenizer.from_str(plain.json.decode()).encode("12").tokens == ["12"]


@pytest.mark.parametrize("twice", [False, True], ids=["tied", "table stored twice"])
def test_a_gpt2_is_the_model_that_its_folder_is(tmp_path: Path, twice: bool) -> None:
    """Its matrices stand outputs first in such a file, and inputs first in the folder."""
    names = {
        "wte": "token_embd",
        "wpe": "position_embd",
        "ln_f": "output_norm",
        "ln_1": "attn_norm",
        "attn.c_attn": "attn_qkv",
        "attn.c_proj": "attn_output",
        "ln_2": "ffn_norm",
        "mlp.c_fc": "ffn_up",
        "mlp.c_proj": "ffn_down",
    }
    folder = tiny_decoder(tmp_path / "folder", "gpt2")
    tensors = {}
    for name, values in load_file(folder / "model.safetensors").items():
        inner, _, part = name.removeprefix("transformer.").rpartition(".")
        layer, _, rest = inner.removeprefix("h.").partition(".")
        named = f"blk.{layer}.{names[rest]}.{part}" if inner.startswith("h.") else f"{names[inner]}.{part}"
        stored = values.T if values.ndim == 2 and inner.startswith("h.") else values
        tensors[named] = stored.shape, 0, np.ascontiguousarray(stored).tobytes()
    if twice:
        tensors["output.weight"] = tensors["token_embd.weight"]
    config = json.loads((folder / "config.json").read_text())
    kept = {key: value for key, value in METADATA.items() if not key.startswith("llama.")}
    said: dict[str, tuple[int, Any]] = {
        "general.architecture": (STRING, "gpt2"),
        "gpt2.block_count": (U32, config["n_layer"]),
        "gpt2.embedding_length": (U32, config["n_embd"]),
        "gpt2.feed_forward_length": (U32, 4 * config["n_embd"]),
        "gpt2.context_length": (U32, config["n_positions"]),
        "gpt2.attention.head_count": (U32, config["n_head"]),
        "gpt2.attention.layer_norm_epsilon": (F32, 1e-5),
    }
    file = tmp_path / "tiny.gguf"
    file.write_bytes(gguf({**kept, **said}, tensors))
    assert taken_in(file).load().export() == taken_in(folder).load().export()
