"""A sealed model served as its operator does it: sealed to a grant on one box, carried to another, served, refused."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import pytest

from tests.bundles import put_bundle, trusting_box
from tests.commands import within
from tests.e2e.served import COMMAND, Served, command, verified
from tests.granted import granted_box


@pytest.mark.slow
def test_sealed_to_a_grant_served_and_refused_elsewhere(tmp_path: Path) -> None:
    vendor, clinic = trusting_box(tmp_path / "vendor"), granted_box(tmp_path / "clinic")
    other = trusting_box(tmp_path / "other")
    for box in (vendor, clinic, other):
        box.journal.close()
    # the clinic shows its key and its identity, the vendor issues a grant and seals the model to it
    holder, here = tmp_path / "clinic.pub", vendor.folder
    command(clinic.folder, "keys", "sealing", "show", "--out", holder)
    command(here, "grant", "key", "issuer.key")
    named = ("--issuer", "Works", "--holder", "St. Mary", "--box", clinic.journal.id, "--model", "golden")
    more = ("--ends", "2099-01-01", "--sealing-key", holder, "--out", "g.grant")
    issued = json.loads(command(here, "grant", "issue", "--key", "issuer.key", *named, *more))
    put_bundle(here / "m.bundle")
    sealed = json.loads(command(here, "seal", "m.bundle", "--to", "g.grant", "--out", "m.sealed"))
    assert sealed["recipients"] == [f"grant:{issued['id']}"]
    # carried over
    (clinic.folder / "a.bundle").rename(tmp_path / "plain.gone")
    (clinic.folder / "m.sealed").write_bytes((here / "m.sealed").read_bytes())
    command(clinic.folder, "trust", "add", here / "issuer.key.pub", "--scope", "grants", "--name", "Works")
    command(clinic.folder, "grant", "import", here / "g.grant")
    with Served(clinic.folder) as server:
        assert "unsealing" in server.announced["opened"]["golden"]
        key = server.key()
        answer = server.embed(key, ["where is the ward"], "golden", x_purpose="search")
        assert (answer.status_code, len(answer.json()["data"][0]["embedding"])) == (200, 4)
        command(clinic.folder, "grant", "revoke", issued["id"])
        refusals = set()
        until = time.monotonic() + 20
        while "model_refused" not in refusals and time.monotonic() < until:
            refused = server.embed(key, ["where is the ward"], "golden", x_purpose="search")
            assert refused.status_code in (403, 503)
            refusals.add(refused.json()["code"])
            time.sleep(0.1)
        assert refusals <= {"denied", "model_refused"}
        assert "model_refused" in refusals  # it is out of memory
        assert server.end() == 0
    assert any("sealed_grant_revoked" in line for line in server.log)
    assert verified(clinic.folder)["records"] > 0
    for folder in (clinic.folder, other.folder):
        told = within(folder, "run", here / "m.sealed", "--text", "where", "--purpose", "search", "--json")
        code = "sealed_grant_revoked" if folder == clinic.folder else "sealed_foreign"
        assert (told.returncode, json.loads(told.stdout)["code"]) == (1, code)
    serve = [str(COMMAND), "serve", str(here / "m.sealed"), "--port", "0", "--json"]
    ended = subprocess.run(serve, cwd=other.folder, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, json.loads(ended.stdout)["code"]) == (1, "sealed_foreign")
