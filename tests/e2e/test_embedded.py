"""`import sealpress` in a process of its own, in which torch and its kin cannot be imported."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

BLOCKED = ("torch", "onnx", "transformers", "optimum", "litestar", "huggingface_hub", "jinja2")

SCRIPT = f"""
import json, sys
for name in {BLOCKED!r}:
    sys.modules[name] = None
import sealpress
model = sealpress.load("minilm.bundle")
out = {{"shape": list(model.embed(["where is the ward?", "third floor"], purpose="search").shape)}}
out["dtype"] = str(model.embed(["where is the ward?"], purpose="search").dtype)
out["with basis"] = model.embed(
    ["write to jane.doe@example.org"], purpose="search", basis="contract", subject="patient-17"
).shape[0]
for name, text, context in (
    ("personal", "write to jane.doe@example.org", {{"purpose": "search"}}),
    ("purpose", "where is the ward?", {{}}),
    ("undeclared", "where is the ward?", {{"purpose": "amusement"}}),
):
    try:
        model.embed([text], **context)
    except sealpress.Denied as denied:
        out[name] = [denied.code, denied.hint, [f.rule for f in denied.findings if not f.ok]]
print(json.dumps(out))
"""


def embedded(script: str, cwd: Path, **env: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=cwd, env={"PATH": "/usr/bin:/bin", **env},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


def test_the_same_gate_without_torch(box: Path) -> None:
    out, _ = embedded(SCRIPT, box)
    assert out["shape"] == [2, 384]
    assert out["dtype"] == "float32"
    assert out["with basis"] == 1
    assert out["personal"][0] == "denied"
    assert out["personal"][2] == ["privacy.basis"]
    assert out["purpose"][2] == ["purpose.stated"]
    assert out["undeclared"][2] == ["purpose.declared"]


def test_the_answer_does_not_depend_on_batch_mates(box: Path) -> None:
    script = """
import json, sealpress
model = sealpress.load("minilm.bundle")
alone = model.embed(["where is the ward?"], purpose="search")[0]
long = "a much longer text about something else entirely, " * 20
together = model.embed(["where is the ward?", long], purpose="search")[0]
print(json.dumps(bool((alone == together).all())))
"""
    out, _ = embedded(script, box)
    assert out is True


PRIVATE = """
import json, os, sealpress
try:
    sealpress.load(os.environ["BUNDLE"])
    print(json.dumps("loaded"))
except sealpress.Fault as fault:
    print(json.dumps(fault.code))
"""


def test_without_settings_a_private_box_is_made_once(box: Path, tmp_path: Path) -> None:
    home, work = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    work.mkdir()
    where = {"HOME": str(home), "BUNDLE": str(box / "minilm.bundle")}
    code, said = embedded(PRIVATE, work, **where)
    made = home / ".local" / "share" / "sealpress"
    assert code == "bundle_signer"  # a private box trusts nobody but itself
    assert str(made / "box") in said
    assert (made / "box" / "sealpress.toml").is_file()
    assert (made / "box-auditor" / "auditor.key").is_file()
    settings = made / "box" / "sealpress.toml"
    command = Path(sys.executable).with_name("sealpress")
    trust: list[str | Path] = [command, "trust", "add", box / "keys" / "bundle.pub", "--settings", settings]
    subprocess.run(trust, check=True, capture_output=True)
    code, said = embedded(PRIVATE, work, **where)
    assert (code, said) == ("loaded", "")
    (made / "box").rename(tmp_path / "gone")
    code, _ = embedded(PRIVATE, work, **where)
    assert code == "settings_lost"
    assert not (made / "box").exists()
