"""Boxes whose models run under usage grants, and an issuer whom they trust."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any

from compliance.crypto import Signer
from compliance.keys import to_text
from compliance.state.grants.terms import Signed, Terms, issued, new_id
from compliance.trust import Trusted
from tests.bundles import put_bundle, trusting_box
from toolkit.box import Box
from toolkit.settings import trusting

__all__ = ["END", "ISSUER", "KEY", "NOW", "grant", "granted_box", "took"]

ISSUER = Signer(sha256(b"the issuer of usage grants").digest())
KEY = to_text(ISSUER.public)
NOW = 1_800_000_000 * 10**9
# far enough for the clock of any machine that runs the tests
END = 4_000_000_000 * 10**9


def grant(box: str, by: Signer = ISSUER, **terms: Any) -> Signed:
    """A grant to a box, from long ago until far away, unless the terms say otherwise."""
    usual: dict[str, Any] = {"issuer": "Model Works", "holder": "St. Mary", "models": ("*",), "starts": 0, "ends": END}
    return issued(Terms(**{"id": new_id(), **usual, "box": box, **terms}), by)


def granted_box(folder: Path, serve: str = "", **settings: Any) -> Box:
    """A box with the golden bundle as `a.bundle`, whose models run under grants of the issuer only."""
    box = trusting_box(folder, serve)
    put_bundle(box.folder / "a.bundle")
    text = trusting(box.path.read_text("utf-8"), Trusted(key=KEY, scopes=("grants",)))
    text = text.replace('packs = ["base", ', 'packs = ["base", "grants", ')
    more = "".join(f"{name} = {value}\n" for name, value in settings.items())
    box.path.write_text(f'{text}\n[grants]\nmodels = ["*"]\n{more}', "utf-8")
    box.journal.close()
    return Box(box.path)


def took(box: Box, **terms: Any) -> Signed:
    """A grant that was imported, as the command does it."""
    signed = grant(box.journal.id, **terms)
    box.meter.must_take(signed, box.journal.now(), box.trusted("grants"))
    box.journal.counted("usage_grant_imported", {"id": signed.terms.id}, "local", signed.terms.id, {"imported": 1})
    box.journal.checkpoint()
    box.meter.take(signed, box.journal.now())
    return signed
