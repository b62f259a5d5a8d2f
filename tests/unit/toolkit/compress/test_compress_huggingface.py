"""The intake of a Hugging Face directory: what it reads, and what it refuses before anything is loaded."""

from __future__ import annotations

import json
import pickle
import shutil
import struct
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from toolkit.compress.errors import SourceError, SourceMissing
from toolkit.compress.sources.huggingface import SUPPORTED, Source, read
from toolkit.extras import MissingExtra
from toolkit.runtime.inputs import TextInput

MODULES = [
    {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
    {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
]


def write(path: Path, value: object) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value))


def change(folder: Path, name: str, **fields: Any) -> None:
    file = folder / name
    write(file, {**(json.loads(file.read_text()) if file.exists() else {}), **fields})


def refusal(folder: Path) -> SourceError:
    with pytest.raises(SourceError) as caught:
        read(folder)
    return caught.value


def read_text(source: Source) -> TextInput:
    assert source.text is not None
    return source.text


def test_minilm_is_read_as_its_papers_describe_it(minilm: Path) -> None:
    source = read(minilm)
    assert (source.name, source.licences, source.licence_text) == ("all-MiniLM-L6-v2", ("apache-2.0",), None)
    text = read_text(source)
    assert (text.max_tokens, text.pooling, text.normalise, text.pad_id) == (256, "mean", True, 0)
    assert source.tokenizer == (minilm / "tokenizer.json").read_bytes()
    assert [file.name for file in source.weights] == ["model.safetensors"]


def test_a_plain_model_is_pooled_by_the_mean(folder: Path) -> None:
    source = read(folder)
    text = read_text(source)
    assert (text.max_tokens, text.pooling, text.normalise, text.pad_id) == (64, "mean", False, 0)
    assert source.name == "some-model"


def test_a_model_without_a_card_is_called_as_its_folder(folder: Path) -> None:
    (folder / "README.md").unlink()
    assert read(folder).name == "some-model"
    assert read(shutil.copytree(folder, folder.with_name("a (bad) näme"))).name == "a-bad-n-me"


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [
        ({"pooling_mode_cls_token": True}, "cls"),
        ({"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True, "word_embedding_dimension": 32}, "mean"),
        ({"pooling_mode": "cls"}, "cls"),
        ({"pooling_mode": "mean"}, "mean"),
    ],
)
def test_sentence_transformers_files_say_how_to_pool(folder: Path, pooling: dict[str, Any], expected: str) -> None:
    write(folder / "modules.json", MODULES)
    write(folder / "1_Pooling/config.json", pooling)
    write(folder / "sentence_bert_config.json", {"max_seq_length": 17, "do_lower_case": False})
    text = read_text(read(folder))
    assert (text.pooling, text.normalise, text.max_tokens) == (expected, True, 17)


def test_the_encoder_may_lie_one_folder_down(folder: Path) -> None:
    below = folder / "0_Transformer"
    below.mkdir()
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (folder / name).rename(below / name)
    write(folder / "modules.json", [{**MODULES[0], "path": "0_Transformer"}])
    assert [file.name for file in read(folder).weights] == ["0_Transformer/model.safetensors"]


def test_no_more_tokens_than_positions(folder: Path) -> None:
    write(folder / "sentence_bert_config.json", {"max_seq_length": 5000})
    assert read_text(read(folder)).max_tokens == 64


def test_mpnet_counts_its_positions_from_2_on_whatever_its_configuration_says(folder: Path) -> None:
    change(folder, "config.json", model_type="mpnet")
    assert read_text(read(folder)).max_tokens == 62


def test_roberta_counts_its_positions_from_the_padding_id_on(folder: Path) -> None:
    change(folder, "config.json", model_type="roberta", pad_token_id=1)
    assert read_text(read(folder)).max_tokens == 62


def test_the_digest_is_of_what_decides_and_of_nothing_else(folder: Path, tmp_path: Path) -> None:
    first = read(folder).digest
    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    (copy / "pytorch_model.bin").write_bytes(pickle.dumps({}))
    assert read(copy).digest == first
    for name in ("config.json", "tokenizer.json"):
        (copy / name).write_text((copy / name).read_text() + "\n")
        assert read(copy).digest != first
        shutil.copy(folder / name, copy / name)
    write(copy / "modules.json", MODULES)
    write(copy / "1_Pooling/config.json", {"pooling_mode": "cls"})
    assert read(copy).digest != first


def test_shards_are_read_from_the_index(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    for number in (1, 2):
        save_file({f"layer{number}": np.ones(3, np.float32)}, folder / f"model-{number}.safetensors")
    write(
        folder / "model.safetensors.index.json",
        {"metadata": {}, "weight_map": {"layer2": "model-2.safetensors", "layer1": "model-1.safetensors"}},
    )
    assert [file.name for file in read(folder).weights] == ["model-1.safetensors", "model-2.safetensors"]


def test_a_snapshot_in_the_hubs_cache_is_links_to_blobs(folder: Path, tmp_path: Path) -> None:
    model = tmp_path / "models--somebody--nice-model"
    snapshot = model / "snapshots/0123abc"
    blobs = model / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    (folder / "README.md").unlink()
    for number, file in enumerate(folder.iterdir()):
        shutil.copy(file, blobs / str(number))
        (snapshot / file.name).symlink_to(f"../../blobs/{number}")
    source = read(snapshot)
    assert (source.name, source.digest) == ("nice-model", read(folder).digest)


def test_a_path_without_anything_is_the_callers_to_mend(tmp_path: Path) -> None:
    with pytest.raises(SourceMissing) as caught:
        read(tmp_path / "nowhere")
    assert caught.value.code == "source_not_found"


def test_a_file_is_not_taken_for_a_folder(tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(b"\x08\x07")
    assert refusal(file).code == "source_unsupported"


def test_without_the_extra_the_install_line_is_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(MissingExtra, match=r"pip install 'sealpress\[compress\]'"):
        read(folder)


class Bomb:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "weights.ckpt", "model.safetensors"])
def test_a_pickle_is_never_loaded(folder: Path, tmp_path: Path, name: str) -> None:
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(pickle.dumps(Bomb(tmp_path / "exploded")))
    assert refusal(folder).code == "source_pickle"
    assert not (tmp_path / "exploded").exists()


def header(text: bytes, length: int | None = None) -> bytes:
    return struct.pack("<Q", len(text) if length is None else length) + text


@pytest.mark.parametrize(
    "data",
    [
        b"",
        header(b"{}", 2**60),
        header(b"no json"),
        header(b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}'),
        header(b'{"a":{"dtype":"F32","shape":[9],"data_offsets":[0,16]}}') + bytes(16),
        header(b'{"a":{"dtype":"F32","shape":[-4],"data_offsets":[0,16]}}') + bytes(16),
        b"PK\x03\x04" + bytes(64),
    ],
)
def test_a_false_safetensors_file_is_refused(folder: Path, data: bytes) -> None:
    (folder / "model.safetensors").write_bytes(data)
    assert refusal(folder).code == "source_pickle"


@pytest.mark.parametrize(
    "fields",
    [
        {"auto_map": {"AutoModel": "modeling_evil.Evil"}},
        {"trust_remote_code": True},
        {"_attn_implementation_internal": "somebody/kernel"},
        {"_attn_implementation": "somebody/kernel"},
        {"attn_implementation": "paged|somebody/kernel:run"},
        {"kernel_config": {"kernel_mapping": {"RMSNorm": "somebody/kernel"}}},
        {"text_config": {"deep": [{"auto_map": {"AutoModel": "x.Y"}}]}},
    ],
    ids=str,
)
@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_a_configuration_that_names_code_is_refused(folder: Path, name: str, fields: dict[str, Any]) -> None:
    change(folder, name, **fields)
    assert refusal(folder).code == "source_code"


def test_a_part_with_code_of_its_own_is_refused(folder: Path) -> None:
    write(folder / "modules.json", [{**MODULES[0], "type": "custom_st.Transformer"}])
    assert refusal(folder).code == "source_code"


@pytest.mark.parametrize(
    "templates",
    [
        [{"name": "../../evil", "template": "x"}],
        [{"name": "default", "template": "x"}, {"name": "/etc/cron.d/evil", "template": "x"}],
        [{"name": "..", "template": "x"}],
        [{"name": "a\\b", "template": "x"}],
        [{"template": "x"}],
        {"name": 7},
        ["default"],
    ],
    ids=str,
)
def test_a_chat_template_named_like_a_path_is_refused(folder: Path, templates: object) -> None:
    change(folder, "tokenizer_config.json", chat_template=templates)
    assert refusal(folder).code == "source_template"


@pytest.mark.parametrize("templates", ["{{ messages }}", [{"name": "default", "template": "x"}], None])
def test_a_plain_chat_template_is_let_be(folder: Path, templates: object) -> None:
    change(folder, "tokenizer_config.json", chat_template=templates)
    assert read(folder).name == "some-model"


@pytest.mark.parametrize(
    "fields",
    [
        {"vocab_size": "many"},
        {"vocab_size": 0},
        {"vocab_size": 10**12},
        {"pad_token_id": 100_000},
        {"pad_token_id": -1},
        {"max_position_embeddings": None},
        {"num_hidden_layers": 10**9},
        {"hidden_size": 10**9},
        {"model_type": "roberta", "pad_token_id": 61},
    ],
    ids=str,
)
def test_a_configuration_out_of_bounds_is_refused(folder: Path, fields: dict[str, Any]) -> None:
    change(folder, "config.json", **fields)
    assert refusal(folder).code == "source_config"


@pytest.mark.parametrize("text", ["", "{", "3", "null", '{"a": NaN}', "[" * 100_000, "\xff"])
@pytest.mark.parametrize("name", ["config.json", "modules.json", "tokenizer_config.json", "sentence_bert_config.json"])
def test_malformed_json_is_refused_by_name(folder: Path, name: str, text: str) -> None:
    (folder / name).write_bytes(text.encode("latin-1"))
    error = refusal(folder)
    assert error.code == "source_config"
    assert name in str(error)


def test_a_folder_without_configuration_is_refused(folder: Path) -> None:
    (folder / "config.json").unlink()
    assert refusal(folder).code == "source_config"


@pytest.mark.parametrize(
    ("data", "said"),
    [(None, "missing"), (b"{}", "cannot be read"), (b"\xff\xfe", "cannot be read"), (b"[[[", "cannot be read")],
)
def test_a_tokenizer_that_is_none_is_refused(folder: Path, data: bytes | None, said: str) -> None:
    (folder / "tokenizer.json").unlink() if data is None else (folder / "tokenizer.json").write_bytes(data)
    error = refusal(folder)
    assert error.code == "source_tokenizer"
    assert said in str(error)


def test_a_tokenizer_with_ids_that_the_model_lacks_is_refused(folder: Path) -> None:
    change(folder, "config.json", vocab_size=10)
    assert refusal(folder).code == "source_tokenizer"


@pytest.mark.parametrize("kind", ["llama", "swin", "bart", "unheard-of", "", None, ["bert"], {"a": 1}])
def test_another_architecture_is_refused_and_the_supported_are_listed(folder: Path, kind: object) -> None:
    change(folder, "config.json", model_type=kind)
    error = refusal(folder)
    assert error.code == "source_unsupported"
    assert all(name in str(error) for name in SUPPORTED)


def test_quantised_weights_are_refused(folder: Path) -> None:
    change(folder, "config.json", quantization_config={"quant_method": "bitsandbytes"})
    assert refusal(folder).code == "source_unsupported"


@pytest.mark.parametrize(
    "pooling",
    [
        {},
        {"pooling_mode_max_tokens": True},
        {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True},
        {"pooling_mode": "lasttoken"},
    ],
    ids=str,
)
def test_another_pooling_is_refused(folder: Path, pooling: dict[str, Any]) -> None:
    write(folder / "modules.json", MODULES)
    write(folder / "1_Pooling/config.json", pooling)
    assert refusal(folder).code == "source_unsupported"


def test_another_part_is_refused(folder: Path) -> None:
    write(folder / "modules.json", [MODULES[0], {**MODULES[1], "type": "sentence_transformers.models.Dense"}])
    assert refusal(folder).code == "source_unsupported"


def test_parts_in_another_order_are_refused(folder: Path) -> None:
    write(folder / "modules.json", MODULES[::-1])
    assert refusal(folder).code == "source_unsupported"


@pytest.mark.parametrize("path", ["..", "../other", "/etc", "a/../../b", "..\\other", "a\nb", "a\x00b"])
def test_a_part_outside_of_the_folder_is_refused(folder: Path, path: str) -> None:
    write(folder / "modules.json", [MODULES[0], {**MODULES[1], "path": path}])
    assert refusal(folder).code == "source_external"


@pytest.mark.parametrize("shard", ["../x.safetensors", "/x.safetensors", "a/x.safetensors", "evil.bin", ".safetensors"])
def test_a_shard_outside_of_the_folder_is_refused(folder: Path, shard: str) -> None:
    (folder / "model.safetensors").unlink()
    write(folder / "model.safetensors.index.json", {"weight_map": {"a": shard}})
    assert refusal(folder).code == "source_external"


def test_a_missing_shard_is_refused(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    write(folder / "model.safetensors.index.json", {"weight_map": {"a": "model-1.safetensors"}})
    assert refusal(folder).code == "source_weights"


@pytest.mark.parametrize("index", [False, True])
def test_no_weights_at_all_are_refused(folder: Path, index: bool) -> None:
    (folder / "model.safetensors").unlink()
    if index:
        write(folder / "model.safetensors.index.json", {"weight_map": {}})
    assert refusal(folder).code == "source_weights"


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors", "README.md", "LICENSE"])
def test_a_link_out_of_the_folder_is_refused(folder: Path, tmp_path: Path, name: str) -> None:
    secret = tmp_path / "secret"
    if (folder / name).exists():
        (folder / name).rename(secret)
    else:
        secret.write_text("secret")
    (folder / name).symlink_to(secret)
    assert refusal(folder).code == "source_external"


@pytest.mark.parametrize(("name", "size"), [("config.json", 1_000_001), ("README.md", 1_000_001), ("LICENSE", 200_001)])
def test_a_file_that_is_too_large_is_refused(folder: Path, name: str, size: int) -> None:
    (folder / name).write_bytes(b" " * size)
    assert refusal(folder).code == "source_too_large"


def test_weights_that_no_onnx_file_holds_are_refused(folder: Path) -> None:
    count = 500_000_000
    text = json.dumps({"a": {"dtype": "U8", "shape": [count], "data_offsets": [0, count]}}).encode()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(header(text))
        file.truncate(8 + len(text) + count)  # a file with a hole: no disk is taken
    assert refusal(folder).code == "source_too_large"


def test_a_model_that_labels_tokens_is_read_with_its_labels_and_languages(folder: Path) -> None:
    labels = {"0": "O", "1": "B-PER", "2": "I-PER"}
    change(folder, "config.json", architectures=["BertForTokenClassification"], id2label=labels)
    (folder / "README.md").write_text("---\nlicense: mit\nlanguage: [en, de]\n---\n")
    source = read(folder)
    assert (source.task, source.labels, source.measure) == ("token-classification", ("O", "B-PER", "I-PER"), "tokens")
    assert source.languages == ("en", "de")
    assert read_text(source).pooling == "tokens"
    texts = source.examples(64).items
    assert len(texts) == 64
    assert texts == source.examples(64, seed=1).items
    assert any("Schmidt" in text for text in texts)


def test_of_t5_no_head_is_taken_in(folder: Path) -> None:
    change(folder, "config.json", model_type="t5", architectures=["T5ForTokenClassification"], d_model=32)
    assert refusal(folder).code == "source_unsupported"


def spoiled(data: bytes) -> st.SearchStrategy[bytes]:
    """The bytes with a few of them changed, cut or repeated."""
    place = st.integers(0, len(data) - 1)
    edits: list[Callable[[tuple[int, int, int]], bytes]] = [
        lambda x: data[: x[0]] + bytes([x[2]]) + data[x[0] + 1 :],
        lambda x: data[: x[0]],
        lambda x: data[: x[0]] + data[x[1] :],
    ]
    return st.builds(lambda edit, x: edit(x), st.sampled_from(edits), st.tuples(place, place, st.integers(0, 255)))


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "README.md", "model.safetensors"])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_spoiled_file_is_read_or_refused_and_nothing_else(folder: Path, name: str, data: st.DataObject) -> None:
    original = (folder / name).read_bytes()
    (folder / name).write_bytes(data.draw(spoiled(original)))
    try:
        with suppress(SourceError):
            read(folder)
    finally:
        (folder / name).write_bytes(original)
