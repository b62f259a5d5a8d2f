"""A further signature for tools that know the OpenSSF Model Signing format: what it names, what it is made with, and
what `model_signing` makes of it, from its own environment."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from compliance.crypto import CurveSigner, Signer, sha256
from tests.bundles import put_bundle, trusting_box
from tests.commands import within
from tests.vectors.make_bundles import HERE, SIGNER
from tests.vectors.make_sealed import GOLDEN as SEALED
from toolkit.box import Box
from toolkit.signed import pre_authentication

GOLDEN = HERE / "golden-v1"
CURVES: dict[str, tuple[ec.EllipticCurve, hashes.HashAlgorithm]] = {
    "P-256": (ec.SECP256R1(), hashes.SHA256()),
    "P-384": (ec.SECP384R1(), hashes.SHA384()),
    "P-521": (ec.SECP521R1(), hashes.SHA512()),
}
CHECKER = Path(__file__).resolve().parents[3] / ".venv-oms" / "bin" / "model_signing"
CHECK = """
import sys
from model_signing import verifying

for model, signature, key in zip(*[iter(sys.argv[1:])] * 3):
    try:
        verifying.Config().use_elliptic_key_verifier(public_key=key).verify(model, signature)
        print("verified")
    except Exception as error:
        print(type(error).__name__)
"""


def private(key: PrivateKeyTypes, password: bytes | None = None) -> bytes:
    under = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, under)


def public(key: PrivateKeyTypes) -> bytes:
    return key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Box:
    box = trusting_box(tmp_path_factory.mktemp("countersign"))
    with closing(box.journal):
        return box


def signed(box: Box, key: Path, out: Path) -> dict[str, Any]:
    done = within(box.folder, "countersign", GOLDEN, "--key", key, "--out", out, "--json")
    assert done.returncode == 0, done.stdout
    found: dict[str, Any] = json.loads(out.read_bytes())
    return found


def refused(box: Box, *arguments: str | Path) -> str:
    done = within(box.folder, "countersign", *arguments, "--out", "model.sig", "--json")
    assert done.returncode in (1, 2)
    assert not (box.folder / "model.sig").exists()
    code: str = json.loads(done.stdout)["code"]
    return code


@pytest.mark.parametrize("name", CURVES)
def test_it_names_every_file_and_is_made_with_the_hash_of_the_curve(box: Box, tmp_path: Path, name: str) -> None:
    curve, algorithm = CURVES[name]
    key = ec.generate_private_key(curve)
    (tmp_path / "release.pem").write_bytes(private(key))
    found = signed(box, tmp_path / "release.pem", tmp_path / "model.sig")
    assert found["mediaType"] == "application/vnd.dev.sigstore.bundle.v0.3+json"
    assert found["verificationMaterial"] == {"publicKey": {"hint": sha256(public(key)).hex()}, "tlogEntries": []}
    payload = base64.b64decode(found["dsseEnvelope"]["payload"])
    (one,) = found["dsseEnvelope"]["signatures"]
    signature = base64.b64decode(one["sig"])
    key.public_key().verify(signature, pre_authentication(payload), ec.ECDSA(algorithm))
    with pytest.raises(InvalidSignature):
        key.public_key().verify(signature, pre_authentication(payload + b" "), ec.ECDSA(algorithm))
    statement = json.loads(payload)
    told = [(one["name"], one["digest"]) for one in statement["predicate"]["resources"]]
    assert told == [(path.name, sha256(path.read_bytes()).hex()) for path in sorted(GOLDEN.iterdir())]
    (subject,) = statement["subject"]
    assert subject["digest"]["sha256"] == sha256(b"".join(bytes.fromhex(digest) for _, digest in told)).hex()
    signed(box, tmp_path / "release.pem", tmp_path / "again.sig")
    assert (tmp_path / "again.sig").read_bytes() == (tmp_path / "model.sig").read_bytes()


@pytest.mark.parametrize(
    "text",
    [
        private(ec.generate_private_key(ec.SECP256K1())),
        private(ed25519.Ed25519PrivateKey.generate()),
        private(rsa.generate_private_key(65537, 2048)),
        private(ec.generate_private_key(ec.SECP256R1()), b"a password"),
        public(ec.generate_private_key(ec.SECP256R1())),
        b"-----BEGIN PRIVATE KEY-----\n",
        b"",
    ],
    ids=["another curve", "Ed25519", "RSA", "under a password", "public", "cut off", "empty"],
)
def test_a_key_of_another_kind_signs_nothing(box: Box, tmp_path: Path, text: bytes) -> None:
    (tmp_path / "other.pem").write_bytes(text)
    assert refused(box, GOLDEN, "--key", tmp_path / "other.pem") == "key_invalid"


def test_the_key_comes_from_where_keys_come_from(box: Box, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = tmp_path / "release.pem"
    key.write_bytes(private(ec.generate_private_key(ec.SECP256R1())))
    monkeypatch.setenv("RELEASE_KEY", key.read_text("ascii"))
    sources = (f"file:{key}", "env:RELEASE_KEY", f"command:cat {key}")
    for number, one in enumerate(sources):
        out = tmp_path / f"{number}.sig"
        assert within(box.folder, "countersign", GOLDEN, "--key", one, "--out", out).returncode == 0
    assert len({(tmp_path / f"{number}.sig").read_bytes() for number in range(3)}) == 1
    assert refused(box, GOLDEN, "--key", "nothing.pem") == "key_missing"
    assert refused(box, GOLDEN, "--key", "env:NOTHING") == "key_missing"
    assert refused(box, GOLDEN, "--key", "command:false") == "key_command"


def test_what_does_not_hold_is_not_signed_again(box: Box, tmp_path: Path) -> None:
    key = tmp_path / "release.pem"
    key.write_bytes(private(ec.generate_private_key(ec.SECP256R1())))
    put_bundle(tmp_path / "strange.bundle", signer=Signer.generate())
    assert refused(box, tmp_path / "strange.bundle", "--key", key) == "bundle_signer"
    assert refused(box, HERE / "attacks" / "file-added", "--key", key) == "bundle_incomplete"
    assert refused(box, SEALED, "--key", key) == "sealed_closed"
    assert refused(box, tmp_path / "nothing.bundle", "--key", key) == "bundle_not_found"


def test_it_lies_beside_the_bundle_and_over_nothing(box: Box, tmp_path: Path) -> None:
    key = tmp_path / "release.pem"
    key.write_bytes(private(ec.generate_private_key(ec.SECP256R1())))
    put_bundle(tmp_path / "m.bundle")
    inside = within(tmp_path, "countersign", "m.bundle", "--key", key, "--out", "m.bundle/model.sig", "--json")
    assert (inside.returncode, json.loads(inside.stdout)["code"]) == (2, "usage")
    there = tmp_path / "there.sig"
    there.write_bytes(b"kept")
    over = within(box.folder, "countersign", tmp_path / "m.bundle", "--key", key, "--out", there, "--json")
    assert json.loads(over.stdout)["code"] == "bundle_exists"
    assert there.read_bytes() == b"kept"


@pytest.mark.skipif(not CHECKER.exists(), reason="`make oms-checker` was not run: there is no .venv-oms")
def test_model_signing_takes_it_and_refuses_what_was_changed(box: Box, tmp_path: Path) -> None:
    cases: list[tuple[Path, Path, Path]] = []
    keys: dict[str, Path] = {}
    for name, (curve, _) in CURVES.items():
        key = ec.generate_private_key(curve)
        keys[name] = tmp_path / f"{name}.pub"
        keys[name].write_bytes(public(key))
        (tmp_path / f"{name}.pem").write_bytes(private(key))
        signed(box, tmp_path / f"{name}.pem", tmp_path / f"{name}.sig")
        cases.append((GOLDEN, tmp_path / f"{name}.sig", keys[name]))
    signature = tmp_path / "P-256.sig"
    copies = {name: Path(shutil.copytree(GOLDEN, tmp_path / name)) for name in ("moved", "more", "less", "changed")}
    (copies["more"] / "more.txt").write_bytes(b"")
    (copies["less"] / "LICENSE").unlink()
    (copies["changed"] / "measurements.json").write_bytes(b"{}")
    cases += [(copy, signature, keys["P-256"]) for copy in copies.values()]
    other = tmp_path / "other.pub"
    other.write_bytes(public(ec.generate_private_key(ec.SECP256R1())))
    cases.append((GOLDEN, signature, other))
    # our own signature: it is no Sigstore bundle, and made with a key that the tool does not take
    own = tmp_path / "own.pub"
    own.write_bytes(public(ed25519.Ed25519PrivateKey.from_private_bytes(SIGNER.private_bytes())))
    cases += [(GOLDEN, GOLDEN / "signature.json", own), (GOLDEN, GOLDEN / "signature.json", keys["P-256"])]
    ran = subprocess.run(
        [CHECKER.with_name("python"), "-c", CHECK, *(path for case in cases for path in case)],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert ran.stdout.split() == ["verified"] * 4 + ["ValueError"] * 4 + ["AttributeError", "KeyError"]


@pytest.mark.skipif(not CHECKER.exists(), reason="`make oms-checker` was not run: there is no .venv-oms")
def test_its_command_says_so(box: Box, tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    (tmp_path / "release.pem").write_bytes(private(key))
    (tmp_path / "release.pub").write_bytes(public(key))
    signed(box, tmp_path / "release.pem", tmp_path / "model.sig")
    arguments = ["verify", "key", str(GOLDEN), "--signature", "model.sig", "--public_key", "release.pub"]
    ran = subprocess.run([CHECKER, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
    assert (ran.returncode, ran.stdout.strip()) == (0, "Verification succeeded")


def test_the_signer_gives_its_public_half() -> None:
    key = ec.generate_private_key(ec.SECP384R1())
    assert CurveSigner(private(key)).public == public(key)
