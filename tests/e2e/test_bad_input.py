"""What comes from outside and is wrong: an error with a stable code, the right exit status, and nothing left behind."""

from __future__ import annotations

import base64
import json
import os
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest

import sealpress as front
from compliance.crypto import Signer
from compliance.keys import read_key
from policies.errors import Fault
from tests.commands import within
from tests.conftest import Run
from toolkit.bundle import Bundle, write_bundle
from toolkit.settings import read_settings

CANARY = "canary-3f9a1c77"


@pytest.mark.parametrize(
    ("texts", "code"),
    [
        ([], "input_empty"),
        ([""], "input_empty"),
        (["  \n"], "input_empty"),
        (["x" * 300_000], "input_too_large"),
        (["x"] * 5000, "input_too_large"),
        ([1], "input_type"),
        ({"a": 1}, "input_type"),
        (None, "input_type"),
        ([b"bytes"], "input_type"),
        (["\ud800"], "input_unicode"),
    ],
)
def test_texts(box: Path, texts: object, code: str) -> None:
    model = front.load(box / "minilm.bundle", box / "sealpress.toml")
    with pytest.raises(Fault) as caught:
        model.embed(texts, purpose="search")  # type: ignore[arg-type] # wrong types are the test
    assert caught.value.code == code
    assert caught.value.hint


@pytest.mark.parametrize(
    ("context", "code"),
    [
        ({"purpose": 1}, "input_type"),
        ({"subject": "x" * 300}, "input_too_large"),
        ({"basis": "\udc80"}, "input_unicode"),
    ],
)
def test_context(box: Path, context: dict[str, str], code: str) -> None:
    model = front.load(box / "minilm.bundle", box / "sealpress.toml")
    with pytest.raises(Fault) as caught:
        model.embed(["hello"], **context)
    assert caught.value.code == code


def test_text_that_is_not_utf8_on_the_command_line(box: Path, sealpress: Run) -> None:
    raw = os.fsdecode(b"caf\xe9")
    done = sealpress("run", "minilm.bundle", "--text", raw, "--purpose", "search", "--json", cwd=box)
    assert done.returncode == 2
    assert json.loads(done.stdout)["code"] == "input_unicode"


@pytest.mark.parametrize(
    ("arguments", "status", "code"),
    [
        (("run", "none.bundle", "--text", "x"), 2, "bundle_not_found"),
        (("show", "sealpress.toml"), 2, "bundle_not_found"),
        (("run", "minilm.bundle"), 2, "usage"),
        (("compress", "nowhere", "--out", "x.bundle"), 2, "source_not_found"),
        (("compress", ".", "--out", "minilm.bundle"), 1, "bundle_exists"),
        (("journal", "read", "--auditor-key", "none.key"), 2, "key_missing"),
        (("journal", "read", "--auditor-key", "keys/root.pub"), 2, "key_kind"),
        (("journal", "read", "--auditor-key", "sealpress.toml"), 2, "key_malformed"),
        (("trust", "add", "keys/root.pub"), 2, "key_kind"),
        (("init", "."), 2, "settings_exist"),
        (("show", "minilm.bundle", "--settings", "none.toml"), 2, "settings_not_found"),
    ],
)
def test_commands(box: Path, arguments: tuple[str, ...], status: int, code: str) -> None:
    done = within(box, *arguments, "--json")
    assert (done.returncode, json.loads(done.stdout)["code"]) == (status, code)
    for_people = within(box, *arguments)
    assert for_people.returncode == status
    assert "Traceback" not in for_people.stderr


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("format = 1", "format = 2", "settings_malformed"),
        ("format = 1", "format = 1\nformat = 1", "settings_malformed"),
        ("[box]", "[box]\ncolour = 1", "settings_malformed"),
        ('bases = ["consent"', 'bases = ["because"', "settings_malformed"),
        ('packs = ["base", "gdpr", "licence"]', 'packs = ["../base"]', "settings_pack"),
        ('packs = ["base", "gdpr", "licence"]', 'packs = ["nonsense"]', "settings_pack"),
        ("rules = []", 'rules = ["none.cedar"]', "settings_pack"),
        ("ed25519:", "rsa:", "key_malformed"),
    ],
)
def test_settings(box: Path, old: str, new: str, code: str) -> None:
    settings = box / "sealpress.toml"
    text = settings.read_text()
    assert old in text
    settings.write_text(text.replace(old, new, 1))
    with pytest.raises(Fault) as caught:
        front.load(box / "minilm.bundle", settings)
    assert caught.value.code == code


def test_every_file_of_a_bundle_is_checked_byte_for_byte(pressed_nc: Path, tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(pressed_nc / "nc.bundle", tmp_path / "nc.bundle"))
    trusted = read_settings(pressed_nc / "sealpress.toml").trust.of("models", 0)
    for file in sorted(bundle.iterdir()):
        original = file.read_bytes()
        places = range(len(original)) if len(original) < 3000 else range(0, len(original), len(original) // 40)
        for place in places:
            data = bytearray(original)
            data[place] ^= 1
            file.write_bytes(data)
            with pytest.raises(Fault) as caught:
                Bundle.read(bundle, trusted)
            assert caught.value.code in {"bundle_digest", "bundle_signature", "bundle_signer", "bundle_malformed"}
            assert file.name in str(caught.value) or caught.value.code == "bundle_signer"
        for cut in (0, 1, len(original) // 2, len(original) - 1):
            file.write_bytes(original[:cut])
            with pytest.raises(Fault):
                Bundle.read(bundle, trusted)
        file.write_bytes(original)
    Bundle.read(bundle, trusted)


@pytest.mark.parametrize("name", ["model.onnx", "LICENSE", "manifest.json", "signature.json", "measurements.json"])
def test_a_bundle_that_lacks_a_file(box: Path, name: str) -> None:
    (box / "minilm.bundle" / name).unlink()
    with pytest.raises(Fault) as caught:
        front.load(box / "minilm.bundle", box / "sealpress.toml")
    assert caught.value.code == "bundle_incomplete"


def test_a_bundle_with_a_file_too_many_or_a_link(box: Path) -> None:
    bundle = box / "minilm.bundle"
    (bundle / "more.bin").write_bytes(b"x")
    with pytest.raises(Fault) as caught:
        front.load(bundle, box / "sealpress.toml")
    assert caught.value.code == "bundle_incomplete"
    (bundle / "more.bin").unlink()
    shutil.copy(bundle / "LICENSE", box / "elsewhere")
    (bundle / "LICENSE").unlink()
    (bundle / "LICENSE").symlink_to(box / "elsewhere")
    with pytest.raises(Fault) as caught:
        front.load(bundle, box / "sealpress.toml")
    assert caught.value.code == "bundle_incomplete"


def test_a_signature_of_the_right_signer_over_another_model(box: Path) -> None:
    bundle = box / "minilm.bundle"
    statement = json.loads((bundle / "signature.json").read_text())
    payload = json.loads(base64.b64decode(statement["payload"]))
    payload["subject"][0]["digest"]["sha256"] = "0" * 64
    statement["payload"] = base64.b64encode(json.dumps(payload).encode()).decode()
    (bundle / "signature.json").write_text(json.dumps(statement))
    with pytest.raises(Fault) as caught:
        front.load(bundle, box / "sealpress.toml")
    assert caught.value.code in {"bundle_signature", "bundle_malformed"}


def test_external_data_is_refused_even_when_a_trusted_signer_signed_it(box: Path, tmp_path: Path) -> None:
    trusted = read_settings(box / "sealpress.toml").trust.of("models", 0)
    found = Bundle.read(box / "minilm.bundle", trusted)
    model = onnx.load_from_string(found.model)
    stolen = model.graph.initializer[0]
    stolen.ClearField("raw_data")
    stolen.data_location = onnx.TensorProto.EXTERNAL
    stolen.external_data.add(key="location", value="../../../../etc/passwd")
    signer = Signer(read_key(box / "keys" / "bundle.key", "bundle-signing"))
    files = {"model.onnx": model.SerializeToString(), "tokenizer.json": found.tokenizer, "LICENSE": b"x"}
    write_bundle(tmp_path / "bad.bundle", found.manifest, files, found.measurements, signer)
    with pytest.raises(Fault) as caught:
        front.load(tmp_path / "bad.bundle", box / "sealpress.toml")
    assert caught.value.code == "model_external_data"


def test_nothing_of_a_payload_is_found_anywhere(box: Path, sealpress: Run) -> None:
    text = f"{CANARY} lives at jane.doe@example.org"
    runs = [
        ("--purpose", "search", "--basis", "consent", "--subject", f"{CANARY}-subject"),  # allowed
        ("--purpose", "search"),  # refused
        (),  # refused
    ]
    subject = ("--subject", f"{CANARY}-subject", "--purpose", "search")
    done = sealpress("consent", "record", *subject, cwd=box)
    said = done.stdout + done.stderr
    for arguments in runs:
        for mode in ((), ("--json",)):
            done = sealpress("run", "minilm.bundle", "--text", text, *arguments, *mode, cwd=box)
            said += done.stdout + done.stderr
    said += (done := sealpress("run", "minilm.bundle", "--text", text + "x" * 10**5, "--text", "", cwd=box)).stderr
    assert done.returncode == 2
    needles = [CANARY.encode(), base64.b64encode(CANARY.encode())[:-4], CANARY.encode().hex().encode(), b"jane.doe"]
    for path in box.parent.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert not any(needle in data for needle in needles), path
    assert CANARY not in said
    assert "jane.doe" not in said


def test_embeddings_are_those_of_the_original_model(box: Path, minilm: Path) -> None:
    import torch
    from transformers import AutoModel, AutoTokenizer

    texts = ["The patient was moved to ward three.", "Machine 7 stopped twice last night."]
    tokenizer = AutoTokenizer.from_pretrained(minilm)
    model = AutoModel.from_pretrained(minilm).eval()
    expected = []
    for text in texts:
        batch = tokenizer([text], return_tensors="pt")
        with torch.no_grad():
            hidden = model(**batch).last_hidden_state[0]
        mean = hidden.mean(0)
        expected.append((mean / mean.norm()).numpy())
    got = front.load(box / "minilm.bundle", box / "sealpress.toml").embed(texts, purpose="search")
    cosine = (got * np.stack(expected)).sum(axis=1)
    assert (cosine > 0.98).all()
