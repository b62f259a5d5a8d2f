"""Bundles side by side: whatever a model takes, under the gate, in turns, and told where they part."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import onnxruntime
import pytest
from click.testing import CliRunner
from onnx import numpy_helper

from compliance.crypto import Opener
from compliance.journal.reader import read
from compliance.journal.records import Closed, Opened
from compliance.keys import read_key
from compliance.state.salts import Salts
from policies.errors import Denied, Failed, Fault
from tests.kinds import CLASSIFIER, EMBEDDER, NUMBERS, PICTURES, write, write_golden_entities
from toolkit.box import Box
from toolkit.bundle import Bundle, write_bundle
from toolkit.commands.compare import compare
from toolkit.compress import measure
from toolkit.compress.comparison import Comparison
from toolkit.compress.errors import ComparisonError, ItemsError
from toolkit.compress.side_by_side import SideBySide
from toolkit.new_box import create_box
from toolkit.settings import NAME

Change = Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Box]:
    monkeypatch.setattr(measure, "ROUNDS", 6)
    monkeypatch.setattr(measure, "WARM_UP", 1)
    create_box(tmp_path / "box")
    found = Box(tmp_path / "box" / NAME)
    yield found
    found.journal.close()


def another(bundle: Bundle, box: Box, name: str, change: Change) -> Path:
    """The same with its first table of floats changed, signed by the box."""
    model = onnx.load_from_string(bundle.model)
    table = next(one for one in model.graph.initializer if one.data_type == onnx.TensorProto.FLOAT)
    table.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(table)).astype(np.float32), table.name))
    files = {file: (bundle.path / file).read_bytes() for file in bundle.manifest.files}
    files["model.onnx"] = model.SerializeToString()
    path = box.folder / f"{name}.bundle"
    write_bundle(path, bundle.manifest, files, bundle.measurements, box.bundle_signer())
    return path


def compared(box: Box, *bundles: Path, data: Path | None = None) -> Comparison:
    return SideBySide.of(bundles, data=data, settings=box.path).run()


def lines(path: Path, *items: dict[str, Any]) -> Path:
    path.write_text("\n".join(map(json.dumps, items)))
    return path


def test_a_bundle_agrees_with_itself_and_a_changed_one_is_found_out(box: Box) -> None:
    first = write(box.folder, EMBEDDER, box.bundle_signer())
    changed = another(first, box, "changed", lambda table: np.where(np.arange(6)[:, None] == 5, -table, table))
    data = box.folder / "texts.txt"
    vocabulary = json.loads((first.tokenizer or b"").decode())["model"]["vocab"]
    word = next(one for one, number in vocabulary.items() if number == 5)
    plain = next(one for one, number in vocabulary.items() if number == 4)
    data.write_text(f"{plain}\n{plain} {plain}\n{word} {word}\n{plain} {plain} {plain}\n")
    found = compared(box, first.path, first.path, changed, data=data)
    one, same, other = found.bundles
    assert one.agreement is None
    assert same.agreement is not None
    assert same.agreement.low == pytest.approx(1)
    assert other.agreement is not None
    assert other.agreement.mean == pytest.approx(0.5)
    assert found.cases[0].number == 2
    assert found.cases[0].shown == f"{word} {word}"
    assert found.cases[0].scores == pytest.approx((1.0, -1.0))
    assert found.measure == "cosine"
    assert found.batch == "1 x 8 tokens"  # all texts together, cut where the model cuts
    assert (one.size_bytes, one.recorded) == (len(first.model), 1.0)
    assert 0 < one.transport_bytes < one.size_bytes + 100
    assert all(bundle.latency_ms > 0 for bundle in found.bundles)


def test_each_run_is_under_a_recorded_grant_of_its_own(box: Box) -> None:
    first = write(box.folder, EMBEDDER, box.bundle_signer())
    changed = another(first, box, "changed", lambda table: table + 1)
    other = Bundle.read(changed, box.trusted())
    lines(box.folder / "one.jsonl", {"text": "a canary"})
    compared(box, first.path, changed, data=box.folder / "one.jsonl")
    key = Opener(read_key(box.folder.parent / "box-auditor" / "auditor.key", "auditor-private"))
    with closing(Salts(box.salts_path)) as salts:
        records = list(read(box.journal_folder, box.journal.id, key, salts))
    calls = [record.metadata for record in records if isinstance(record.metadata, Opened)]
    brought = [record.payload for record in records if isinstance(record.metadata, Opened)]
    ends = [record.metadata.outcome for record in records if isinstance(record.metadata, Closed)]
    assert [(one.call.action, one.allowed) for one in calls] == [("measure", True)] * 2
    assert {one.call.model for one in calls} == {first.manifest.digest, other.manifest.digest}
    assert [one.value for one in brought if one is not None] == [{"texts": ["a canary"]}] * 2
    assert [(end.ok, end.usage) for end in ends] == [(True, {"texts": 1, "tokens": 2})] * 2


def test_the_bundles_take_turns(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    first = write(box.folder, EMBEDDER, box.bundle_signer())
    changed = another(first, box, "changed", lambda table: table + 1)
    ran: list[int] = []
    real = onnxruntime.InferenceSession.run

    def run(session: Any, *given: Any, **more: Any) -> Any:
        ran.append(id(session))
        return real(session, *given, **more)

    monkeypatch.setattr(onnxruntime.InferenceSession, "run", run)
    data = lines(box.folder / "two.jsonl", {"text": "a"}, {"text": "b"})
    sides = SideBySide.of([first.path, changed], data=data, settings=box.path)
    done: list[int] = []
    sides.run(done.append)
    one, two = dict.fromkeys(ran)
    assert ran == [one, one, two, two, *[one, two] * 7]
    assert sum(done) == sides.runs == len(ran)


def test_classes_and_what_is_right_are_told(box: Box) -> None:
    first = write(box.folder, CLASSIFIER, box.bundle_signer())
    turned = another(first, box, "turned", lambda table: np.where(np.arange(6)[:, None] == 5, table[:, ::-1], table))
    vocabulary = json.loads((first.tokenizer or b"").decode())["model"]["vocab"]
    words = {number: word for word, number in vocabulary.items()}
    data = lines(
        box.folder / "texts.jsonl", {"text": words[4], "label": "unclear"}, {"text": words[5], "label": "calm"}
    )
    found = compared(box, first.path, turned, data=data)
    assert found.measure == "agreement"
    assert [(case.number, case.classes, case.scores) for case in found.cases] == [(1, ("unclear", "calm"), (0.0,))]
    assert [bundle.task["accuracy"].mean for bundle in found.bundles] == [0.5, 1.0]


def test_labels_of_tokens_are_held_against_each_other_on_made_up_names(box: Box) -> None:
    first = write_golden_entities(box.folder, box.bundle_signer())
    changed = another(first, box, "changed", lambda table: np.roll(table, 1, axis=0))
    found = compared(box, first.path, first.path, changed)
    assert (found.measure, found.items) == ("tokens", 64)
    _, same, other = (bundle.agreement for bundle in found.bundles)
    assert same is not None
    assert other is not None
    assert same.mean == 1
    assert other.mean < 1
    assert found.cases


def test_images_and_tensors_are_made_up(box: Box) -> None:
    pictures = write(box.folder, PICTURES, box.bundle_signer())
    found = compared(box, pictures.path, pictures.path)
    assert (found.measure, found.batch, found.cases) == ("agreement", "one item", ())
    numbers = write(box.folder, NUMBERS, box.bundle_signer())
    found = compared(box, numbers.path, numbers.path)
    assert found.measure == "correlation"
    assert found.bundles[1].agreement is not None
    assert found.bundles[1].agreement.low == 1


def test_what_cannot_be_compared_is_refused_before_anything_runs(box: Box) -> None:
    texts = write(box.folder, EMBEDDER, box.bundle_signer()).path
    classes = write(box.folder, CLASSIFIER, box.bundle_signer()).path
    with pytest.raises(ComparisonError) as few:
        compared(box, texts)
    assert few.value.code == "compare_few"
    with pytest.raises(ComparisonError, match="tasks") as apart:
        compared(box, texts, classes)
    assert apart.value.code == "compare_different"
    with pytest.raises(ItemsError):
        compared(box, texts, texts, data=box.folder / "missing.txt")


def test_a_bundle_of_a_stranger_is_refused(box: Box, tmp_path: Path) -> None:
    create_box(tmp_path / "other")
    other = Box(tmp_path / "other" / NAME)
    ours = write(box.folder, EMBEDDER, box.bundle_signer()).path
    theirs = write(other.folder, EMBEDDER, other.bundle_signer()).path
    other.journal.close()
    with pytest.raises(Fault) as caught:
        compared(box, ours, theirs)
    assert caught.value.code == "bundle_signer"


def test_a_rule_that_forbids_to_measure_is_kept(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    rule = '@id("no.measuring") @reason("Nothing is measured here.")\nforbid (principal, action, resource)\n'
    (box.folder / "rule.cedar").write_text(rule + 'when { action == Action::"measure" };')
    text = box.path.read_text("utf-8").replace("rules = []", 'rules = ["rule.cedar"]')
    box.path.write_text(text, "utf-8")
    path = write(box.folder, EMBEDDER, box.bundle_signer()).path

    def run(*_: Any, **__: Any) -> Any:
        raise AssertionError("a model ran")

    monkeypatch.setattr(onnxruntime.InferenceSession, "run", run)
    with pytest.raises(Denied, match="Nothing is measured here"):
        compared(box, path, path)


def test_a_page_that_cannot_be_written_is_refused_before_a_bundle_is_read(box: Box) -> None:
    (box.folder / "file").write_bytes(b"")
    page = str(box.folder / "file" / "page.html")
    told = CliRunner().invoke(compare, ["no.bundle", "none.bundle", "--settings", str(box.path), "--html", page])
    assert isinstance(told.exception, Failed)
    assert "cannot be written" in str(told.exception)


def test_the_command_prints_a_table_and_writes_a_page(box: Box) -> None:
    first = write(box.folder, CLASSIFIER, box.bundle_signer())
    turned = another(first, box, "<b>turned", lambda table: table[:, ::-1])
    lines(box.folder / "texts.jsonl", {"text": "<script>", "label": "calm"})
    page = box.folder / "page.html"
    given = [str(first.path), str(turned), "--settings", str(box.path), "--data", str(box.folder / "texts.jsonl")]
    told = CliRunner().invoke(compare, [*given, "--html", str(page)], standalone_mode=False)
    assert told.exception is None
    assert "classifier.bundle" in told.output
    assert "accuracy" in told.output
    assert "<script>" in told.output  # the beginning of a text that the user gave
    html = page.read_text("utf-8")
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    assert "<b>" not in html
    assert "http" not in html.replace("http-equiv", "")
    value = json.loads(CliRunner().invoke(compare, [*given, "--json"], standalone_mode=False).output)
    assert value["format"] == 1
    assert value["bundles"][0]["agreement"] is None
    assert msgspec.convert(value, Comparison).bundles[1].bundle == "<b>turned.bundle"
