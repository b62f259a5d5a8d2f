"""A budget in, a bundle or a refusal out: through the command, on a small real model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import sealpress
from tests.commands import within
from tests.unit.toolkit.compress.conftest import CONFIG, make_tiny
from toolkit.compress.measure import evaluation_texts
from toolkit.compress.sources.export import TorchModel
from toolkit.new_box import create_box


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A box, a model, and texts to learn from and to measure on."""
    folder = tmp_path_factory.mktemp("budget")
    create_box(folder / "box")
    make_tiny(folder / "tiny", {**CONFIG, "num_hidden_layers": 2})
    texts = evaluation_texts()
    (folder / "learn.txt").write_text("\n".join(texts[:16]))
    lines = [json.dumps({"text": text, "slice": "long" if len(text) > 120 else "short"}) for text in texts[16:40]]
    (folder / "measure.jsonl").write_text("\n".join(lines))
    return folder


@pytest.fixture(scope="module", autouse=True)
def exported_once() -> Iterator[None]:
    """To export takes most of the time of these runs, and is the same for all: it is done by the first, and still
    checked by each."""
    made: dict[str, bytes] = {}
    real = TorchModel.export

    def export(self: TorchModel) -> bytes:
        if self._digest not in made:
            made[self._digest] = real(self)
        return made[self._digest]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TorchModel, "export", export)
        yield


def asked_for(place: Path, out: str, *more: str) -> list[str]:
    data = ["--calibrate", str(place / "learn.txt"), "--evaluate", str(place / "measure.jsonl")]
    data += ["--data-licence", "LicenseRef-own"]
    return ["compress", str(place / "tiny"), "--out", out, *data, "--json", *more]


def press(place: Path, out: str, *more: str, exit_status: int = 0) -> Any:
    done = within(place / "box", *asked_for(place, out, *more))
    assert done.returncode == exit_status, done.stdout + done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
def test_the_smallest_that_keeps_to_the_budget_is_handed_out_and_runs(place: Path) -> None:
    said = press(place, "small.bundle", "--budget", "fidelity>=0.99, size<=1MB", "--trials", "3")
    run = json.loads((place / "box" / "small.run" / "report.json").read_text())
    keeping = [trial for trial in run["trials"] if not trial["missed"]]
    chosen = next(trial for trial in run["trials"] if trial["number"] == run["chosen"])
    assert chosen["result"]["size_bytes"] == min(trial["result"]["size_bytes"] for trial in keeping)
    assert said["measurements"]["after"]["size_bytes"] == chosen["result"]["size_bytes"]
    assert said["measurements"]["after"]["fidelity"] >= 0.99
    slices = {one["name"]: one for one in chosen["result"]["fidelity"]["slices"]}
    assert slices.keys() >= {"class long", "class short"}
    assert {one["name"]: one["low"] for one in said["measurements"]["after"]["slices"]} == {
        name: one["score"]["low"] for name, one in slices.items()
    }
    assert said["manifest"]["data"].keys() == {"calibrate", "evaluate"}
    assert len(list((place / "box" / "small.run" / "trials").iterdir())) == 3
    assert "Compression report: tiny" in (place / "box" / "small.run" / "report.html").read_text()
    changed = json.loads((place / "box" / "small.bundle" / "modification.json").read_text())
    assert (changed["declared"], changed["fidelity"]) == ("fidelity>=0.99, size<=1MB", 0.99)
    assert changed["measured"].keys() >= {"all", "class long", "class short"}
    assert changed["finding"] == ("inside plan" if min(changed["measured"].values()) >= 0.99 else "needs a person")
    model = sealpress.load(place / "box" / "small.bundle", place / "box" / "sealpress.toml")
    assert model.embed("a text", purpose="search").shape == (1, 32)


@pytest.mark.slow
def test_a_budget_that_cannot_be_met_is_refused_with_the_nearest_and_gone_on_with(place: Path) -> None:
    asked = ("none.bundle", "--budget", "size<=0.001MB, fidelity>=0.9", "--trials", "2")
    refused = press(place, *asked, exit_status=1)
    assert refused["code"] == "budget_missed"
    assert "2 recipes were tried; the nearest" in refused["message"]
    assert not (place / "box" / "none.bundle").exists()
    trials = sorted((place / "box" / "none.run" / "trials").iterdir())
    before = [path.joinpath("trial.json").read_bytes() for path in trials]
    assert press(place, *asked, exit_status=1)["code"] == "run_exists"
    assert press(place, *asked, "--resume", exit_status=1)["code"] == "budget_missed"
    assert sorted((place / "box" / "none.run" / "trials").iterdir()) == trials
    assert [path.joinpath("trial.json").read_bytes() for path in trials] == before


@pytest.mark.slow
def test_a_recipe_that_breaks_the_model_is_refused_and_the_step_is_named(place: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "rough.toml"
    recipe.write_text('[[step]]\nkind = "table-bits"\nleast = 0\n\n[[step]]\nkind = "weight-bits"\nbits = 4\n')
    refused = press(place, "x.bundle", "--recipe", str(recipe), "--budget", "fidelity>=0.99999", exit_status=1)
    assert refused["code"] == "not_faithful"
    assert "step 1 of 2, table-bits, brought it to" in refused["message"]


def test_texts_to_learn_from_are_never_measured_on(place: Path) -> None:
    again = press(place, "y.bundle", "--evaluate", str(place / "learn.txt"), exit_status=2)
    assert again["code"] == "data_overlap"
    assert not (place / "box" / "y.run").exists()
