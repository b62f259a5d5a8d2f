"""GPT-2 has learned positions, which the graph finds itself: rows of any lengths have theirs; and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.decoders import CONTEXT, HEADS, HIDDEN, LAYERS, TOKENS, WIDTH, tiny_decoder
from tests.unit.toolkit.compress.conftest import Gated
from toolkit.compress.data import NONE, Data
from toolkit.compress.engine import Press
from toolkit.compress.errors import SourceError
from toolkit.compress.intake import taken_in
from toolkit.compress.ladder import named
from toolkit.compress.quiet import quiet
from toolkit.compress.source import Generates
from toolkit.runtime.session import Session
from toolkit.runtime.slots import Slots

with quiet():
    import onnx
    import torch
    from safetensors.torch import load_file, save_file

Numbers = NDArray[np.float32]
RNG = np.random.default_rng(0)
STEPS = 3
LENGTHS = (33, 5, 70, 1)
IDS = RNG.integers(3, len(TOKENS), (len(LENGTHS), CONTEXT + 1))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As GPT-2 comes: one end of texts, and no chat template. Copy it before changing it."""
    path = tiny_decoder(tmp_path_factory.mktemp("gpt2") / "tiny", "gpt2", bos_token_id=0, eos_token_id=0)
    (path / "tokenizer_config.json").write_text('{"model_max_length": 256}')
    return path


@pytest.fixture(scope="module")
def exported(folder: Path) -> bytes:
    return taken_in(folder).load().export()


def slots(model: bytes, rows: int, room: int = CONTEXT) -> Slots:
    session = Session(model, "0" * 64)
    return Slots(session._session, session.inputs, len(TOKENS), rows, room)


def alone(model: bytes, row: int, length: int) -> Numbers:
    """The logits (STEPS, vocabulary) behind so many tokens of a row and those after them, one by one."""
    one = slots(model, 1)
    one.run(0, IDS[row : row + 1, :length], np.array([length]))
    steps = range(length, length + STEPS)
    return np.stack([one.run(0, IDS[row : row + 1, at : at + 1], np.array([at + 1]))[0, 0] for at in steps])


def test_rows_of_other_lengths_have_positions_of_their_own(exported: bytes) -> None:
    several = slots(exported, len(LENGTHS))
    for row, length in enumerate(LENGTHS):
        several.run(row, IDS[row : row + 1, :length], np.array([length]))
    told = []
    for step in range(STEPS):
        at = np.array(LENGTHS) + step
        told.append(several.run(0, IDS[np.arange(len(LENGTHS)), at][:, None], at + 1)[:, 0])
    expected = np.stack([alone(exported, row, length) for row, length in enumerate(LENGTHS)])
    np.testing.assert_allclose(np.stack(told, axis=1), expected, atol=1e-4)


def test_tokens_one_by_one_are_those_of_one_run_up_to_the_last_of_the_context(exported: bytes) -> None:
    whole = slots(exported, 1).run(0, IDS[:1, :CONTEXT], np.array([CONTEXT]), STEPS)[0]
    np.testing.assert_allclose(alone(exported, 0, CONTEXT - STEPS), whole, atol=1e-4)


def test_a_row_that_is_run_behind_the_context_is_no_trouble_of_those_beside_it(exported: bytes) -> None:
    several = slots(exported, 2)
    several.run(0, IDS[:1, :CONTEXT], np.array([CONTEXT]))
    several.run(1, IDS[1:2, :5], np.array([5]))
    told = several.run(0, np.stack([IDS[0, CONTEXT:], IDS[1, 5:6]]), np.array([CONTEXT + 1, 6]))
    np.testing.assert_allclose(told[1, 0], alone(exported, 1, 5)[0], atol=1e-4)


def test_prompts_of_other_lengths_in_one_run_begin_at_the_first_position(exported: bytes) -> None:
    session = Session(exported, "0" * 64)._session

    def logits(rows: NDArray[np.int64], lengths: NDArray[np.int64]) -> Numbers:
        none = np.zeros((len(rows), HEADS, 0, WIDTH), np.float32)
        feeds = {f"past_key_values.{n}.{kind}": none for n in range(LAYERS) for kind in ("key", "value")}
        mask = (np.arange(rows.shape[1]) < lengths[:, None]).astype(np.int64)
        kept = np.zeros(1, np.int64)
        given: dict[str, Any] = {"input_ids": rows, "attention_mask": mask, "num_logits_to_keep": kept, **feeds}
        found: Numbers = session.run(["logits"], given)[0]
        return found

    both = logits(IDS[:2, :12], np.array([12, 5]))
    np.testing.assert_allclose(both[1, :5], logits(IDS[1:2, :5], np.array([5]))[0], atol=1e-4)
    np.testing.assert_allclose(both[:1], logits(IDS[:1, :12], np.array([12])), atol=1e-4)


def test_it_goes_on_with_texts_and_knows_no_turns(folder: Path) -> None:
    source = taken_in(folder)
    assert isinstance(source, Generates)
    generation = source.generation
    assert (generation.context, generation.ends, generation.begin, generation.chat) == (CONTEXT, (0,), (), None)


def test_weights_are_taken_by_their_old_names_and_without_the_masks_beside_them(
    folder: Path, exported: bytes, tmp_path: Path
) -> None:
    old = Path(shutil.copytree(folder, tmp_path / "old"))
    state = {name.removeprefix("transformer."): one for name, one in load_file(old / "model.safetensors").items()}
    for layer in range(LAYERS):
        state[f"h.{layer}.attn.bias"] = torch.tril(torch.ones(CONTEXT, CONTEXT))[None, None]
        state[f"h.{layer}.attn.masked_bias"] = torch.tensor(-1e4)
    save_file(state, old / "model.safetensors")
    assert taken_in(old).load().export() == exported
    save_file({**state, "h.0.attn.other": torch.ones(1)}, old / "model.safetensors")
    assert refused(old) == "source_weights"


def test_recipes_press_it(folder: Path, gated: Gated) -> None:
    source = taken_in(folder)

    def work(grant: Any) -> tuple[int, dict[str, tuple[bytes, float]]]:
        press = Press(source, grant, "policy", Data(calibrate=NONE, evaluate=source.examples(1)), lambda _: None)
        assert press.export_error < 1e-4
        made = {name: press.follow(named(name)) for name in ("w8-t8", "w4-t8", "offset-t8")}
        return len(press.exported), {name: (one.model, one.reports[-1].fidelity or 0.0) for name, one in made.items()}

    whole, made = gated(source.digest, work)
    for name, (model, fidelity) in made.items():
        graph = onnx.load_from_string(model).graph
        products = [node for node in graph.node if node.op_type == "MatMulNBits"]
        assert len(products) >= 4 * LAYERS + 1, name
        looked_up = [node.input[0] for node in graph.node if node.op_type == "GatherBlockQuantized"]
        assert len(looked_up) == 2, name  # tokens and positions
        assert len(model) < whole / 3, name
        assert fidelity > 0.9, name
        expected = slots(model, 1).run(0, IDS[:1, :36], np.array([36]))[0, 0]
        assert np.abs(alone(model, 0, 33)[-1] - expected).max() < 0.1 * np.abs(expected).max()


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"scale_attn_by_inverse_layer_idx": True}, "source_unsupported"),
        ({"scale_attn_weights": False}, "source_unsupported"),
        ({"reorder_and_upcast_attn": True}, "source_unsupported"),
        ({"add_cross_attention": True}, "source_unsupported"),
        ({"activation_function": "relu"}, "source_unsupported"),
        ({"activation_function": ["gelu_new"]}, "source_config"),
        ({"n_embd": "64"}, "source_config"),
        ({"n_embd": 10**9}, "source_config"),
        ({"n_inner": 0}, "source_config"),
        ({"n_head": 7}, "source_config"),
        ({"hidden_size": 2 * HIDDEN}, "source_config"),
        ({"n_positions": CONTEXT // 2}, "source_weights"),
        ({"n_layer": LAYERS + 1}, "source_weights"),
        ({"n_layer": LAYERS - 1}, "source_weights"),
    ],
)
def test_what_is_not_taken_in_is_refused(changes: dict[str, Any], code: str, folder: Path, tmp_path: Path) -> None:
    changed = Path(shutil.copytree(folder, tmp_path / "changed"))
    config = json.loads((changed / "config.json").read_text())
    (changed / "config.json").write_text(json.dumps({**config, **changes}))
    assert refused(changed) == code


def refused(path: Path) -> str:
    with pytest.raises(SourceError) as caught:
        taken_in(path).load().export()
    return caught.value.code
