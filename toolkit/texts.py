"""The papers in a bundle: which texts it carries, and whether these are all that its licences ask for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from msgspec import Struct

from policies import licences
from policies.licences import OWN, LicenceError
from toolkit.bundle import BundleManifest

__all__ = ["Paper", "must_carry", "papers_in"]


class Paper(Struct, frozen=True, kw_only=True):
    """A text in a bundle: the file that it stands in, the licence or the acceptable-use policy that it is, None where
    it is unknown or altered, and the digest over its words. A NOTICE file is no text that could be known."""

    file: str
    text: str | None
    words: str


def papers_in(content: Mapping[str, bytes]) -> Iterator[Paper]:
    """The texts in the files of a bundle, in order."""
    for file, identified in (("LICENSE", licences.identify), ("USE_POLICY", licences.identify_use_policy)):
        for page in licences.pages(content.get(file, b"").decode(errors="replace")):
            yield Paper(file=file, text=identified(page), words=licences.digest(page))
    if "NOTICE" in content:
        notice = content["NOTICE"].decode(errors="replace")
        yield Paper(file="NOTICE", text=None, words=licences.digest(notice))


def must_carry(manifest: BundleManifest, content: Mapping[str, bytes]) -> None:
    """Return where a bundle holds the texts of all of its licences, those that its lineage names, and their
    acceptable-use policies, each unaltered. Raises LicenceError: licence_texts."""
    papers = list(papers_in(content))
    held = {(one.file, one.text) for one in papers}
    asked = [("LICENSE", spdx) for spdx in licences.members(manifest.licence) if spdx != OWN]
    policies = [licences.known(spdx).use_policy for _, spdx in asked]
    asked += [("USE_POLICY", name) for name in policies if name is not None]
    for file, text in asked:
        if (file, text) not in held:
            raise LicenceError("licence_texts", f"the {file} file of {manifest.name} lacks the text of {text}")
    words = {one.words for one in papers if one.file == "LICENSE"}
    for one in manifest.lineage:
        if one.text and one.text not in words:
            raise LicenceError("licence_texts", f"the LICENSE file lacks the text that {one.name[:80]} came under")
