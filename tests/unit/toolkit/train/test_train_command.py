"""`sealpress train`: the gate stands before it, an interruption costs nothing, and what comes of it is a bundle."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from msgspec import UNSET
from safetensors.numpy import save_file

from policies.errors import Denied, Fault
from tests.commands import within
from tests.unit.toolkit.compress.conftest import write_papers
from tests.unit.toolkit.compress.steps.graphs import encoder, model_of, numbers, tokens
from toolkit.box import Box, Context
from toolkit.bundle import Bundle, BundleError
from toolkit.compress.quiet import quiet
from toolkit.compress.training import Personal, foreseen, train
from toolkit.new_box import create_box
from toolkit.train.errors import TrainingError, TrainingHalted
from toolkit.train.place import Place

with quiet():
    import onnx
    from onnx import helper

    from toolkit.train.checkpoint import FILE, read_checkpoint
    from toolkit.train.log import read_log

RECIPE = (
    '[[step]]\nkind = "prune-neurons"\nkeep = 0.5\n\n[[step]]\nkind = "distil"\nepochs = {}\nbatch = 4\nrate = 1e-3\n'
)
FOR_SEARCH = Context(purpose="search")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A box, a model as an ONNX file, items to learn from and to measure on, and recipes."""
    folder = tmp_path_factory.mktemp("trained")
    create_box(folder / "box")
    (folder / "model.onnx").write_bytes(encoder())
    for name, items in (("learn", tokens(8)), ("measure", tokens(4, seed=1))):
        (folder / name).mkdir()
        for number, item in enumerate(items):
            save_file(dict(item), folder / name / f"{number}.safetensors")
    (folder / "recovered.toml").write_text(RECIPE.format(3))
    (folder / "alone.toml").write_text('[[step]]\nkind = "distil"\nepochs = 9\nbatch = 1\n')
    (folder / "other.toml").write_text(RECIPE.format(4))
    (folder / "rounded.toml").write_text('[[step]]\nkind = "weight-bits"\n')
    return folder


def trained(site: Path, out: str, recipe: str = "recovered.toml", **more: Any) -> Bundle:
    given: dict[str, Any] = {"context": FOR_SEARCH, "data_licence": "LicenseRef-own", "licence": "MIT", **more}
    bundle = train(
        site / "model.onnx",
        site / recipe,
        calibrate=site / "learn",
        evaluate=site / "measure",
        budget="fidelity>=0.01",
        out=site / out,
        settings=site / "box" / "sealpress.toml",
        **given,
    )
    assert bundle is not None
    return bundle


def refused(site: Path, out: str, **more: Any) -> Fault:
    with pytest.raises(Fault) as error:
        trained(site, out, **more)
    return error.value


def against(denied: Denied) -> set[str]:
    """The rules that refused."""
    return {one["rule"] for one in msgspec.to_builtins(denied.findings) if not one["ok"]}


def test_an_interrupted_training_ends_as_one_that_was_not(site: Path) -> None:
    whole = trained(site, "whole.bundle")

    def interrupt(line: str) -> None:
        if line.startswith("step 3 of 6"):
            os.kill(os.getpid(), signal.SIGINT)

    halted = refused(site, "cut.bundle", progress=interrupt)
    assert isinstance(halted, TrainingHalted)
    assert halted.code == "train_interrupted"
    assert "--resume" in halted.hint
    assert not (site / "cut.bundle").exists()
    assert refused(site, "cut.bundle").code == "run_exists"
    assert refused(site, "cut.bundle", recipe="other.toml", resume=True).code == "run_differs"
    lines: list[str] = []
    again = trained(site, "cut.bundle", resume=True, progress=lines.append)
    steps = [line for line in lines if line.startswith("step ") and "items/s" in line]
    assert [line.split(":")[0] for line in steps] == ["step 5 of 6", "step 6 of 6"]
    assert (whole.path / "model.onnx").read_bytes() == (again.path / "model.onnx").read_bytes()


def test_what_was_spent_is_on_record_however_it_ends_and_comes_together_in_the_manifest(site: Path) -> None:
    def interrupt(line: str) -> None:
        if line.startswith("step 3 of 6"):
            os.kill(os.getpid(), signal.SIGINT)

    assert refused(site, "parts.bundle", progress=interrupt).code == "train_interrupted"
    halted = outcome(site)
    assert (halted["ok"], halted["code"]) == (False, "train_interrupted")
    assert halted["usage"]["cpu_ms"] > 0
    # what is refused meanwhile takes nothing of it away
    [kept] = (site / "parts.run" / "training").glob(f"*/{FILE}")
    held = kept.read_bytes()
    assert refused(site, "parts.bundle", resume=True, memory=1).code == "train_memory"
    assert isinstance(refused(site, "parts.bundle", resume=True, context=Context()), Denied)
    assert kept.read_bytes() == held
    manifest = trained(site, "parts.bundle", resume=True).manifest
    done = outcome(site)
    assert done["ok"]
    assert manifest.spent is not UNSET
    # the record of the first has the last checkpoint on top; each rounds once
    both = halted["usage"]["cpu_ms"] + done["usage"]["cpu_ms"]
    assert done["usage"]["cpu_ms"] + 1 < 1000 * manifest.spent.cpu_s <= both + 2


def test_a_loss_that_is_no_number_leaves_what_was_there_and_what_it_took_on_record(site: Path) -> None:
    rows = [{"x": numbers(1, 4)} for _ in range(5)]
    (site / "infinite").mkdir()
    # of products with such numbers nothing is left that is a number
    for number, row in enumerate([*rows, {"x": np.full((1, 4), 3e38, np.float32)}]):
        save_file(row, site / "infinite" / f"{number}.safetensors")
    product = helper.make_node("MatMul", ["x", "a"], ["y"])
    linear = onnx.load_from_string(model_of([product], {"a": 10 * numbers(4, 3)}, ("n", 4)))
    linear.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ("n", 3)))
    onnx.save(linear, site / "linear.onnx")
    given: dict[str, Any] = {"context": FOR_SEARCH, "data_licence": "LicenseRef-own", "licence": "MIT"}
    with pytest.raises(TrainingError) as error:
        train(
            site / "linear.onnx",
            site / "alone.toml",
            calibrate=site / "infinite",
            out=site / "infinite.bundle",
            settings=site / "box" / "sealpress.toml",
            **given,
        )
    assert error.value.code == "train_diverged"
    failed = outcome(site)
    assert failed["code"] == "train_diverged"
    assert failed["usage"]["cpu_ms"] > 0
    assert not (site / "infinite.bundle").exists()
    [training] = (site / "infinite.run" / "training").iterdir()
    done = len(read_log(training / "log.jsonl"))
    assert 0 < done < 6
    assert read_checkpoint((training / FILE).read_bytes())[0].steps == done


def test_tokens_that_the_model_has_no_row_for_are_refused_and_a_bundle_that_is_there_stays(site: Path) -> None:
    (site / "foreign").mkdir()
    for number, item in enumerate(tokens(4, vocabulary=90)):
        save_file(dict(item), site / "foreign" / f"{number}.safetensors")
    (site / "there.bundle").mkdir()
    given: dict[str, Any] = {"context": FOR_SEARCH, "data_licence": "LicenseRef-own", "licence": "MIT"}
    given |= {"calibrate": site / "foreign", "settings": site / "box" / "sealpress.toml"}
    with pytest.raises(BundleError) as exists:
        train(site / "model.onnx", site / "alone.toml", out=site / "there.bundle", **given)
    assert exists.value.code == "bundle_exists"
    assert not (site / "there.run").exists()
    with pytest.raises(TrainingError) as error:
        train(site / "model.onnx", site / "alone.toml", out=site / "foreign.bundle", **given)
    assert error.value.code == "train_tokenizer"
    assert not (site / "foreign.bundle").exists()


def outcome(site: Path) -> dict[str, Any]:
    """How the last call of the box ended, as its auditor reads it."""
    key = site / "box-auditor" / "auditor.key"
    read = within(site / "box", "journal", "read", "--auditor-key", key, "--json")
    closed = [one["metadata"] for one in json.loads(read.stdout)["records"] if "outcome" in (one["metadata"] or {})]
    last: dict[str, Any] = max(closed, key=lambda one: one["at"])["outcome"]
    return last


def test_a_bundle_tells_what_it_learned_from_and_what_that_took(site: Path) -> None:
    settings = site / "box" / "sealpress.toml"
    before = Box.open(settings).journal.usage()
    manifest = trained(site, "told.bundle", place=Place(folder=site / "told")).manifest
    used = Box.open(settings).journal.usage() - before
    assert {unit.rpartition("/")[2] for unit in used} >= {"cpu_ms"}
    assert manifest.spent is not UNSET
    assert [(one.name, one.relation) for one in manifest.lineage] == [("model", "parent"), ("learn", "training")]
    report = json.loads((site / "told" / "report.json").read_text())
    spent = report["trials"][0]["steps"][1]["spent"]
    assert manifest.spent.flops == spent["flops"] > 0
    assert manifest.spent.cpu_s == spent["cpu_s"] > 0
    assert {path.name for path in (site / "told").iterdir()} == {
        "personal.json",
        "report.html",
        "report.json",
        "run.json",
        "training",
        "trials",
    }
    [training] = (site / "told" / "training").iterdir()
    assert {path.name for path in training.iterdir()} == {
        "begun.json",
        "checkpoint.safetensors",
        "curves.svg",
        "log.jsonl",
    }


def test_nothing_is_trained_before_the_gate_lets_it(site: Path) -> None:
    unstated = refused(site, "no.bundle", context=Context())
    assert isinstance(unstated, Denied)
    assert "base.train" in against(unstated)
    traded = refused(site, "no.bundle", context=Context(purpose="product"), licence="CC-BY-NC-4.0")
    assert isinstance(traded, Denied)
    assert "licence.commercial" in against(traded)
    assert refused(site, "no.bundle", data_licence=None).code == "licence_data"
    assert not list(site.glob("no.*"))


def test_what_cannot_be_trained_is_refused_before_anything_is_loaded(site: Path) -> None:
    fault = refused(site, "no.bundle", recipe="rounded.toml")
    assert isinstance(fault, TrainingError)
    assert fault.code == "train_recipe"
    assert refused(site, "no.bundle", memory=1).code == "train_memory"
    assert not list(site.glob("no.*"))


def test_personal_data_is_counted_and_needs_a_basis(site: Path, tmp_path: Path) -> None:
    folder, texts = tmp_path / "encoder", tmp_path / "texts.txt"
    folder.mkdir()
    write_papers(folder)
    save_file({"embeddings.word_embeddings.weight": np.zeros((4, 2), np.float32)}, folder / "model.safetensors")
    texts.write_text("write to ann@example.com\nor to bob@example.com and eve@example.com\nor do not\n")
    given: dict[str, Any] = {
        "calibrate": texts,
        "data_licence": "LicenseRef-own",
        "settings": site / "box" / "sealpress.toml",
    }
    _, personal = foreseen(folder, site / "recovered.toml", context=Context(), **given)
    assert personal == Personal(items=3, scanned=3, personal=2, kinds={"email": 3})
    with pytest.raises(Denied) as error:
        train(folder, site / "recovered.toml", context=FOR_SEARCH, out=site / "no.bundle", **given)
    assert "privacy.basis" in against(error.value)
    assert not list(site.glob("no.*"))


def test_the_command_estimates_and_trains(site: Path) -> None:
    asked: list[str | Path] = [
        site / "recovered.toml",
        site / "model.onnx",
        "--calibrate",
        site / "learn",
        "--evaluate",
        site / "measure",
    ]
    asked += ["--data-licence", "LicenseRef-own", "--licence", "MIT", "--purpose", "search", "--json"]
    asked += ["--out", site / "command.bundle", "--budget", "fidelity>=0.01"]
    dry = within(site / "box", "train", *asked, "--dry-run")
    assert dry.returncode == 0, dry.stdout + dry.stderr
    assert json.loads(dry.stdout)["plan"]["recipes"][0]["steps"] == ["prune-neurons", "distil"]
    assert json.loads(dry.stdout)["plan"]["stated_until"] > "2027"
    short = within(site / "box", "train", *asked, "--dry-run", "--memory", "1")
    assert (short.returncode, json.loads(short.stdout)["code"]) == (3, "train_memory")
    over = within(site / "box", "train", *asked, "--dry-run", "--licence-until", "2026-01-01")
    assert (over.returncode, json.loads(over.stdout)["code"]) == (1, "licence_expired")
    said = within(
        site / "box", "train", *(one for one in asked if one != "--json"), "--dry-run", "--licence-until", "2999-01-01"
    )
    # the last day that the time of a record can name
    assert "MIT, as it is stated until 2262-04-11;" in said.stdout
    assert not list(site.glob("command.*"))
    done = within(site / "box", "train", *asked)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["manifest"]["spent"]["flops"] > 0
    alone = within(site / "box", "train", *asked, "--hosts", "2")
    assert (alone.returncode, json.loads(alone.stdout)["code"]) == (2, "usage")
