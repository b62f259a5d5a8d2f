"""A bundle as one archive to hand on, where the licences of all that it was made from let it be passed on."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

from compliance.disk import put
from policies import licences
from policies.gate import Grant, gate
from policies.licences import LicenceError
from policies.payload import Payload
from toolkit.box import Box, Context
from toolkit.bundle import Bundle, BundleError, BundleManifest
from toolkit.sealed import must_be_plain
from toolkit.texts import must_carry

__all__ = ["export", "must_keep"]


def export(box: Box, path: Path, out: Path, context: Context) -> Bundle:
    """Write the bundle at `path` to the archive `out`: the same bytes for the same bundle, every file of it as signed.

    That it was asked for is on record, and so is a refusal. Raises Denied where a derivative may not be shared,
    LicenceError where the licences ask for a text, a notice or a name that the bundle does not have, BundleError,
    BundleMissing, SealedError, JournalError, Failed.
    """
    if out.exists():
        raise BundleError("bundle_exists", f"{out} exists already")
    must_be_plain(path, "exported")
    bundle, content = Bundle.with_content(path, box.trusted())
    manifest = bundle.manifest

    def work(_: Grant) -> Bundle:
        must_keep(manifest, content)
        put(out, _archive(path.name, content))
        return bundle

    call = box.call("export", manifest.digest, context, bundle.signer, noticed=bundle.noticed)
    return gate(box.policy, manifest, call, Payload.checked({"archive": out.name}), box.journal, work)


def must_keep(manifest: BundleManifest, papers: Mapping[str, bytes]) -> None:
    """What a copy has to carry, by the licences of all ancestors.

    Raises LicenceError: licence_texts, licence_notices, licence_name.
    """
    must_carry(manifest, papers)
    notice = papers.get("NOTICE", b"").decode(errors="replace")
    facts = licences.facts(manifest.licence)
    for words in facts.notices:
        if words not in notice:
            raise LicenceError("licence_notices", f"the NOTICE file of {manifest.name} lacks: {words}")
    for prefix in facts.prefixes:
        if not manifest.name.startswith(prefix):
            raise LicenceError("licence_name", f"the name {manifest.name} has to begin with {prefix}")


def _archive(name: str, content: Mapping[str, bytes]) -> bytes:
    """A POSIX archive (ustar) with the files in order, of no owner and no time."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for file in sorted(content):
            entry = tarfile.TarInfo(f"{name}/{file}")
            entry.size, entry.mode = len(content[file]), 0o644
            archive.addfile(entry, io.BytesIO(content[file]))
    return made.getvalue()
