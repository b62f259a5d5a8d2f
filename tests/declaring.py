"""Boxes whose models are under licences that ask who runs them, and a signer whom they trust with declarations."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any

from compliance.crypto import Signer
from compliance.keys import to_text
from compliance.state.declarations import Declaration, Signed, declared
from compliance.trust import Trusted
from tests.bundles import put_bundle, trusting_box
from toolkit.box import Box
from toolkit.settings import trusting

__all__ = ["DECLARANT", "KEY", "YEAR", "declaration", "declaring_box", "took"]

DECLARANT = Signer(sha256(b"who declares").digest())
KEY = to_text(DECLARANT.public)
YEAR = 365 * 86_400 * 10**9


def declaration(box: str, at: int, by: Signer = DECLARANT, **terms: Any) -> Signed:
    """A declaration for a box that was made at the time `at` (ns), for a year, unless the terms say otherwise."""
    usual: dict[str, Any] = {"id": "07" * 16, "by": "St. Mary", "made": at, "starts": at, "ends": at + YEAR}
    return declared(Declaration(**{**usual, "box": box, **terms}), by)


def declaring_box(folder: Path, licence: str, uses: str | None = "[]") -> Box:
    """A box in the US with the golden bundle as `a.bundle` under a licence; `uses` are those of the purpose search."""
    box = trusting_box(folder)
    put_bundle(box.folder / "a.bundle", name="golden", licence=licence)
    text = trusting(box.path.read_text("utf-8"), Trusted(key=KEY, scopes=("declarations",)))
    text = text.replace("# region = ", 'region = "US"  # ')
    if uses is not None:
        text = text.replace("[purposes.search]\n", f"[purposes.search]\nuses = {uses}\n")
    box.path.write_text(text, "utf-8")
    box.journal.close()
    return Box(box.path)


def took(box: Box, at: int | None = None, **terms: Any) -> Signed:
    """A declaration that was imported, as the command does it, and begins now or at the time `at` (ns)."""
    now = box.journal.now()
    signed = declaration(box.journal.id, now if at is None else at, **terms)
    box.declarations.must_take(signed, now, box.trusted("declarations"))
    box.declarations.take(signed)
    return signed
