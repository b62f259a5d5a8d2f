"""A classifier learns labels, a model that generates answers; what cannot be learned is refused."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
import pytest
from msgspec.structs import replace
from numpy.typing import NDArray

from tests.decoders import tiny_gguf
from tests.unit.toolkit.compress.conftest import Gated
from tests.unit.toolkit.compress.steps.graphs import convolved, numbers
from toolkit.compress.calibration import Calibration, Prompts
from toolkit.compress.errors import CompressionError, RecipeError
from toolkit.compress.quiet import quiet
from toolkit.compress.recipe import Recipe
from toolkit.compress.step import Step, StepReport
from toolkit.compress.steps.distil import Distil
from toolkit.compress.steps.finetune import Finetune
from toolkit.compress.steps.prune_neurons import PruneNeurons
from toolkit.compress.steps.sparsify import Sparsify
from toolkit.runtime.decoding import DecoderReader
from toolkit.runtime.session import Feeds, Session

with quiet():
    import onnx
    from onnx import numpy_helper

    from toolkit.compress.dialogues import told, written
    from toolkit.compress.sources import gguf_file
    from toolkit.runtime.sampling import Sampling
    from toolkit.train.errors import TrainingError
    from toolkit.train.lesson import COUNTED

CLASSES = ("a", "b", "c", "d", "e")
IMAGES: list[Feeds] = [{"x": numbers(1, 3, 8, 8)} for _ in range(16)]
# what is brighter above is one class, what is brighter below another
LABELS = tuple("b" if item["x"][:, :, :4].mean() > item["x"][:, :, 4:].mean() else "e" for item in IMAGES)


class Learned(NamedTuple):
    """A decoder, how it is asked, and what it may learn from."""

    model: bytes
    prompts: Prompts
    items: list[Feeds]


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Learned:
    path = tmp_path_factory.mktemp("decoder") / "tiny.gguf"
    path.write_bytes(tiny_gguf())
    source = gguf_file.read(path, limit=1 << 30)
    model = source.load().export()
    asked = tuple(f"What is {number}?" for number in range(6))
    prompts = Prompts(source.tokenizer, source.generation, asked, tuple(f"It is {n}." for n in range(6)))
    inputs = Session(model, hashlib.sha256(model).hexdigest()).inputs
    reader = DecoderReader(source.tokenizer, source.generation, inputs, every=64)
    return Learned(model, prompts, [reader.feeds([text]) for text in asked])


def take(gated: Gated, step: Step, model: bytes, items: Sequence[Feeds], **known: Any) -> tuple[bytes, StepReport]:
    made: tuple[bytes, StepReport] = gated(
        hashlib.sha256(model).hexdigest(),
        lambda grant: step.apply(model, Calibration(grant, "policy", items, **known)),
    )
    return made


def constants(model: bytes) -> dict[str, NDArray[Any]]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load_from_string(model).graph.initializer}


def says(model: bytes, item: Feeds) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    names = {one.name for one in session.get_inputs()}
    found: NDArray[np.float32] = session.run(None, {name: one for name, one in item.items() if name in names})[0]
    return found


def surprise(model: bytes, items: Sequence[Feeds]) -> float:
    """Minus the mean logarithm of the probability of the tokens of the answers."""
    lost = []
    for item in items:
        logits = says(model, item)[0, :-1].astype(np.float64)
        logs = logits - np.log(np.exp(logits - logits.max(1, keepdims=True)).sum(1, keepdims=True)) - logits.max(
            1, keepdims=True
        )  # fmt: skip
        found = -logs[np.arange(len(logs)), item["input_ids"][0, 1:]]
        lost += found[item[COUNTED][0, 1:] == 1].tolist()
    return float(np.mean(lost))


def test_a_classifier_learns_labels_with_all_its_weights(gated: Gated) -> None:
    model = convolved()
    step = Finetune(epochs=6, batch=4, rate=2e-2)
    made, report = take(gated, step, model, IMAGES, labels=LABELS, classes=CLASSES)
    right = [CLASSES[int(says(made, item).argmax())] == label for item, label in zip(IMAGES, LABELS, strict=True)]
    before = [CLASSES[int(says(model, item).argmax())] == label for item, label in zip(IMAGES, LABELS, strict=True)]
    assert sum(right) >= max(13, sum(before) + 3)
    assert report.spent is not None
    assert report.spent.after < report.spent.before
    was, now = constants(model), constants(made)
    assert {name for name in was if (was[name] != now[name]).any()} >= {"stem.w", "depth.w", "head.w", "head.b"}


def test_a_model_that_generates_learns_answers_through_narrow_matrices(gated: Gated, decoder: Learned) -> None:
    step = Finetune(epochs=6, batch=2, rate=1e-2, rank=4, matrices=("qkv", "down"))
    made, _ = take(gated, step, decoder.model, decoder.items, prompts=decoder.prompts)
    was, now = constants(decoder.model), constants(made)
    moved = {name for name in was if (was[name] != now[name]).any()}
    assert moved == {f"layers.{number}.{kind}.weight" for number in range(2) for kind in ("qkv", "down")}
    for name in moved:
        assert np.linalg.matrix_rank(now[name].astype(np.float64) - was[name], tol=1e-4) <= 4
    items = gated("a" * 64, lambda grant: told(decoder.prompts, Calibration(grant, "policy", decoder.items)))
    assert surprise(made, items) < 0.5 * surprise(decoder.model, items)


def test_of_a_prompt_and_its_answer_the_answer_counts_and_its_end(gated: Gated, decoder: Learned) -> None:
    items = gated("a" * 64, lambda grant: told(decoder.prompts, Calibration(grant, "policy", decoder.items)))
    tokenizer = DecoderReader(decoder.prompts.tokenizer, decoder.prompts.generation, ())._prompter.tokenizer
    for item, prompt, answer in zip(items, decoder.prompts.items, decoder.prompts.answers, strict=True):
        ids, counted = item["input_ids"][0], item[COUNTED][0]
        assert ids[-1] == decoder.prompts.generation.ends[0]
        assert tokenizer.decode(ids[counted == 1].tolist()) == answer
        # as the server asks: a turn of a person, then that of the model
        asked = tokenizer.decode(ids[counted == 0].tolist(), skip_special_tokens=False)
        assert f"user\n{prompt}" in asked
        assert asked.endswith("assistant\n")


def test_a_child_learns_what_its_parent_writes(gated: Gated, decoder: Learned) -> None:
    def answers(model: bytes, heat: float, seed: int = 0) -> list[Feeds]:
        sampling = Sampling(max_tokens=8, temperature=heat, seed=seed)
        made: list[Feeds] = gated(
            hashlib.sha256(model).hexdigest(),
            lambda grant: written(decoder.prompts, Calibration(grant, "policy", decoder.items), model, sampling),
        )
        return made

    def ids(items: list[Feeds]) -> list[list[int]]:
        return [item["input_ids"][0].tolist() for item in items]

    greedy = answers(decoder.model, 0.0)
    # token by token what the whole text foretells
    for item in greedy:
        foretold = says(decoder.model, item)[0].argmax(axis=1)[:-1]
        counted = item[COUNTED][0, 1:] == 1
        assert (foretold[counted] == item["input_ids"][0, 1:][counted]).all()
    assert ids(answers(decoder.model, 1.0)) == ids(answers(decoder.model, 1.0))
    assert ids(answers(decoder.model, 1.0)) != ids(answers(decoder.model, 1.0, seed=9))
    pruned, _ = take(gated, PruneNeurons(keep=0.5, repair=False), decoder.model, decoder.items)
    step = Distil(answers="greedy", tokens=8, epochs=4, batch=2, rate=3e-3)
    child, _ = take(gated, step, pruned, decoder.items, prompts=decoder.prompts, parent=decoder.model)
    assert surprise(child, greedy) < 0.5 * surprise(pruned, greedy)


@pytest.mark.parametrize("what", [(), ("logits",), ("embeddings", "hidden"), ("outputs",)], ids=str)
def test_a_pruned_decoder_comes_nearer_to_its_parent(gated: Gated, decoder: Learned, what: Any) -> None:
    pruned, _ = take(gated, PruneNeurons(keep=0.5, repair=False), decoder.model, decoder.items)
    step = Distil(what=what, epochs=3, batch=3, rate=2e-3)
    made, report = take(gated, step, pruned, decoder.items, parent=decoder.model)
    assert report.spent is not None
    assert report.spent.after < report.spent.before
    was, now = constants(pruned), constants(made)
    assert (was["embed_tokens.weight"] == now["embed_tokens.weight"]).all()
    assert (was["layers.0.qkv.weight"] != now["layers.0.qkv.weight"]).any()


@pytest.mark.parametrize(
    "step",
    [Finetune(rank=0, epochs=1, rate=1e-2), Finetune(rank=2, epochs=1, rate=1e-2), Distil(epochs=1, rate=1e-2)],
    ids=["weights", "adapters", "distil"],
)
def test_what_was_pruned_two_of_four_stays_so(gated: Gated, decoder: Learned, step: Step) -> None:
    pruned, _ = take(gated, Sparsify(pattern="2:4", method="magnitude"), decoder.model, decoder.items)
    made, _ = take(gated, step, pruned, decoder.items, prompts=decoder.prompts, parent=decoder.model)
    was, now = constants(pruned), constants(made)
    matrices = [name for name, value in was.items() if value.ndim == 2 and name.startswith("layers.")]
    assert matrices
    for name in matrices:
        assert (was[name] == 0).mean() == 0.5
        assert not now[name][was[name] == 0].any()
        assert (was[name] != now[name]).any()


def refused(gated: Gated, step: Step, model: bytes, items: Sequence[Feeds], **known: Any) -> str:
    with pytest.raises((TrainingError, CompressionError)) as error:
        take(gated, step, model, items, **known)
    return str(error.value.code)


def test_labels_that_do_not_fit_are_refused(gated: Gated) -> None:
    model, step = convolved(), Finetune()
    assert refused(gated, step, model, IMAGES, classes=CLASSES) == "train_labels"
    assert refused(gated, step, model, IMAGES, labels=LABELS) == "train_labels"
    assert refused(gated, step, model, IMAGES, labels=("z", *LABELS[1:]), classes=CLASSES) == "train_labels"
    assert refused(gated, step, model, IMAGES, labels=LABELS, classes=(*CLASSES, "f")) == "train_labels"


def test_what_does_not_fit_a_decoder_is_refused(gated: Gated, decoder: Learned) -> None:
    model, prompts, items = decoder

    def code(step: Step, prompts: Prompts | None = prompts, items: Sequence[Feeds] = items) -> str:
        return refused(gated, step, model, items, prompts=prompts)

    assert code(Finetune(), replace(prompts, answers=())) == "train_answers"
    assert code(Finetune(), replace(prompts, answers=("Long. " * 300, *prompts.answers[1:]))) == "train_answers"
    assert code(Finetune(matrices=("nothing",))) == "step_failed"
    assert code(Distil(answers="greedy"), None) == "step_failed"
    # a tokenizer that has more tokens than the model has rows
    odd = [{**items[0], "input_ids": items[0]["input_ids"] + 10_000}, *items[1:]]
    assert refused(gated, Distil(), model, odd, parent=model) == "train_tokenizer"
    for table in ({"kind": "finetune", "rank": 0, "matrices": ["a"]}, {"kind": "distil", "what": ["tokens"]}):
        with pytest.raises(RecipeError) as error:
            Recipe.of([table])
        assert error.value.code == "recipe_field"
