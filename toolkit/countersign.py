"""A further signature of a bundle, for tools that check models by the OpenSSF Model Signing specification (OMS 1.0).

It lies beside the bundle, names every file of it, that with our own signature included, and is made with a key on a
curve of NIST: the tools know no Ed25519. What this box accepts is decided by our own signature, as before (ADR 5).
Source: https://github.com/sigstore/model-transparency, docs/model_signing_format.md; the envelope is DSSE 1.0 in a
Sigstore bundle 0.3.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping

from compliance.crypto import CurveSigner, sha256
from toolkit.signed import pre_authentication

__all__ = ["countersigned"]

_MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"


def countersigned(name: str, digests: Mapping[str, str], signer: CurveSigner) -> bytes:
    """The signature of a model with this name, whose files have these SHA-256 (hexadecimal), as the file that
    `model_signing verify key` reads. The same files and key give the same bytes."""
    statement = json.dumps(_statement(name, digests)).encode()
    document = {
        "mediaType": _MEDIA_TYPE,
        # the hint is the SHA-256 of the public key as PEM, and the tool compares it
        "verificationMaterial": {"publicKey": {"hint": sha256(signer.public).hex()}, "tlogEntries": []},
        "dsseEnvelope": {
            "payload": base64.b64encode(statement).decode(),
            "payloadType": "application/vnd.in-toto+json",
            "signatures": [{"sig": base64.b64encode(signer.sign(pre_authentication(statement))).decode(), "keyid": ""}],
        },
    }
    return json.dumps(document, indent=2).encode() + b"\n"


def _statement(name: str, digests: Mapping[str, str]) -> dict[str, object]:
    """One subject for the whole, whose digest is over those of the files in the order of their names."""
    files = sorted(digests.items())
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": name, "digest": {"sha256": sha256(*(bytes.fromhex(one) for _, one in files)).hex()}}],
        "predicateType": "https://model_signing/signature/v1.0",
        "predicate": {
            # nothing is left out: a file more in the folder is found
            "serialization": {"method": "files", "hash_type": "sha256", "allow_symlinks": False},
            "resources": [{"name": file, "algorithm": "sha256", "digest": digest} for file, digest in files],
        },
    }
