"""Decoders are exported right: every family token by token, behind a cache, against torch; and what is not taken."""

from __future__ import annotations

import hashlib
import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from policies.gate import Grant, covers
from policies.payload import Payload
from tests.decoders import CONTEXT, tiny_decoder, tiny_gguf
from tests.unit.toolkit.compress.conftest import Allowing, Gated
from toolkit.compress.errors import SourceError
from toolkit.compress.intake import taken_in
from toolkit.compress.source import Generates, Original, Source
from toolkit.runtime.decoding import DecoderReader
from toolkit.runtime.session import Feeds, Session

TEXTS = ["the hen, the thread and 1212 others", "short", "a"]
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {},
    "llama untied": {"tie_word_embeddings": False},
    "llama turned otherwise": {
        "rope_parameters": {
            "rope_type": "llama3",
            "rope_theta": 10_000.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 32,
        }
    },
    "mistral": {"sliding_window": 6},
    "qwen2": {},
    "qwen3": {},
    "phi3": {"sliding_window": None},
    "gemma": {"hidden_activation": "gelu_pytorch_tanh"},
    "gpt2": {"n_inner": 96},
    "gpt2 untied": {"tie_word_embeddings": False, "activation_function": "gelu_pytorch_tanh"},
}


def pair(source: Source) -> tuple[Original, Session, DecoderReader]:
    original = source.load()
    exported = original.export()
    session = Session(exported, hashlib.sha256(exported).hexdigest())
    assert tuple(tensor.name for tensor in session.inputs) == original.names
    assert isinstance(source, Generates)
    assert source.tokenizer is not None
    return original, session, DecoderReader(source.tokenizer, source.generation, session.inputs, every=64)


def only(feeds: Feeds, _: Payload) -> list[Feeds]:
    return [feeds]


def apart(gated: Gated, source: Source, original: Original, session: Session, trials: list[Feeds]) -> float:
    """The largest difference of logits, keys and values, for numbers that are about one."""

    def work(grant: Grant) -> float:
        covers(grant, session.digest)
        expected = original.run(grant, Allowing.digest, lambda _: trials)
        given = session.run(grant, Allowing.digest, lambda _: trials)
        pairs = [(a, b) for left, right in zip(expected, given, strict=True) for a, b in zip(left, right, strict=True)]
        assert all(a.shape == b.shape for a, b in pairs)
        return max(float(np.abs(a - b).max(initial=0)) for a, b in pairs)

    return float(gated(source.digest, work))


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_a_family_is_exported_as_torch_has_it(family: str, tmp_path: Path, gated: Gated) -> None:
    source = taken_in(tiny_decoder(tmp_path / "tiny", family.split()[0], **FAMILIES[family]))
    assert source.task == "generate"
    original, session, reader = pair(source)
    trials = list(original.trials(TEXTS, reader))
    lengths = {(one["input_ids"].shape[1], one["attention_mask"].shape[1]) for one in trials}
    assert {(1, 1), (1, 6), (3, 8)} <= lengths  # a token alone, one behind five, several behind five
    assert apart(gated, source, original, session, trials) < 1e-4


def test_a_gguf_file_is_exported_as_torch_has_it_token_by_token(tmp_path: Path, gated: Gated) -> None:
    file = tmp_path / "tiny.gguf"
    file.write_bytes(tiny_gguf())
    source = taken_in(file)
    original, session, reader = pair(source)
    assert apart(gated, source, original, session, list(original.trials(TEXTS, reader))) < 1e-4

    def work(grant: Grant) -> tuple[list[int], list[int]]:
        covers(grant, session.digest)
        told: tuple[list[int], list[int]] = ([], [])
        models: tuple[Original | Session, ...] = (original, session)
        for model, ids in zip(models, told, strict=True):
            feeds: dict[str, Any] = dict(reader.feeds(TEXTS[:1]))
            for _ in range(24):
                [[logits, *cache]] = model.run(grant, Allowing.digest, partial(only, feeds))
                ids.append(int(logits[0, -1].argmax()))
                total = feeds["attention_mask"].shape[1] + 1
                names = [name for name in feeds if name.startswith("past_key_values.")]
                feeds |= dict(zip(names, cache, strict=True))
                feeds |= {"input_ids": np.array([ids[-1:]]), "attention_mask": np.ones((1, total), np.int64)}
        return told

    expected, given = gated(source.digest, work)
    assert expected == given


def test_a_tied_table_is_stored_once(tmp_path: Path) -> None:
    tied, untied = (
        taken_in(tiny_decoder(tmp_path / str(tie), "llama", tie_word_embeddings=tie)).load().export()
        for tie in (True, False)
    )
    table = 4 * 64 * (3 + 256 + 4)
    assert abs(len(untied) - len(tied) - table) < 200


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}}, "source_unsupported"),
        ({"use_sliding_window": True}, "source_unsupported"),
        ({"quantization_config": {"bits": 4}}, "source_unsupported"),
        ({"hidden_size": 0}, "source_config"),
        ({"max_position_embeddings": 10**9}, "source_config"),
        ({"eos_token_id": 100_000}, "source_config"),
        ({"auto_map": {"AutoModelForCausalLM": "x.py"}}, "source_code"),
        ({"num_hidden_layers": 3}, "source_weights"),
        ({"hidden_act": "relu"}, "source_unsupported"),
        ({"num_attention_heads": 7}, "source_config"),
    ],
)
def test_what_is_not_taken_in_is_refused(changes: dict[str, Any], code: str, tmp_path: Path) -> None:
    folder = tiny_decoder(tmp_path / "tiny", "llama")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))
    with pytest.raises(SourceError) as refused:
        taken_in(folder).load().export()
    assert refused.value.code == code


def test_what_ends_an_answer_is_what_all_papers_name(tmp_path: Path) -> None:
    folder = tiny_decoder(tmp_path / "tiny", "llama", eos_token_id=0)
    (folder / "generation_config.json").write_text('{"eos_token_id": [0, 1]}')
    source = taken_in(folder)
    assert isinstance(source, Generates)
    assert source.generation.ends == (2, 0, 1)  # the tokenizer's first
    assert source.generation.context == CONTEXT
