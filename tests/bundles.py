"""Small bundles that hold, and boxes that trust them: for tests of what is done with models, not of the models."""

from __future__ import annotations

from pathlib import Path

from msgspec import structs

from compliance.crypto import Signer
from compliance.keys import to_text
from policies import licences
from tests.vectors.make_bundles import HERE, SIGNER
from toolkit.box import Box
from toolkit.bundle import Bundle, write_bundle
from toolkit.new_box import create_box
from toolkit.settings import trusting

__all__ = ["put_bundle", "texts", "trusting_box"]

GOLDEN = HERE / "golden-v1"


def trusting_box(folder: Path, serve: str = "") -> Box:
    """A new box that accepts the bundles of this module; `serve` are lines for [serve]."""
    create_box(folder / "box")
    path = folder / "box" / "sealpress.toml"
    text = trusting(path.read_text("utf-8"), to_text(SIGNER.public))
    path.write_text(f"{text}\n[serve]\n{serve}\n" if serve else text, "utf-8")
    return Box(path)


def put_bundle(
    folder: Path, *, name: str = "golden", version: str = "1", licence: str = "MIT", signer: Signer = SIGNER
) -> Bundle:
    """The golden bundle under another name, version or licence, with the texts of that, signed anew."""
    golden = Bundle.read(GOLDEN, (to_text(SIGNER.public),))
    (parent,) = golden.manifest.lineage
    lineage = (structs.replace(parent, licence=licence),)
    draft = structs.replace(golden.manifest, name=name, version=version, licence=licence, lineage=lineage)
    files = {file: (GOLDEN / file).read_bytes() for file in golden.manifest.files} | texts(licence)
    return write_bundle(folder, draft, files, golden.measurements, signer)


def texts(licence: str) -> dict[str, bytes]:
    """The files with the texts of an SPDX expression, as far as they are in the table, but for notices."""
    known = [one for spdx in licences.members(licence) if (one := licences.entries().get(spdx)) is not None]
    policies = [one.use_policy for one in known if one.use_policy is not None]
    held = [licences.use_policy_text(name) for name in policies if licences.use_policies()[name].wordings]
    found = {
        "LICENSE": licences.bound(licences.text(one.spdx) for one in known) or licence,
        "USE_POLICY": licences.bound(held),
    }
    return {name: text.encode() for name, text in found.items() if text}
