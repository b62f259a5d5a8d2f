"""A small journal, forged, for the tests of the verifier, and what is found in one that does not hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from compliance.crypto import Signer
from compliance.verify.journal import NotVerified, Verified, verify_journal
from compliance.verify.note import Note, cosigned
from tests.forge import SECOND, Forge, signer

__all__ = ["WITNESS", "failures", "made", "seen", "verified"]

WITNESS = signer("a witness")


def made() -> Forge:
    """Two shards. The first has an epoch, a call, a refusal, a note, the outcome, a head, a call, a head."""
    forge = Forge()
    first = forge.shard()
    first.epoch()
    call = first.allowed()
    first.refused()
    first.noted(of=call)
    first.closed(call)
    first.head()
    first.allowed()
    first.head()
    second = forge.shard()
    second.epoch()
    second.closed(second.allowed())
    second.head()
    forge.joint()
    return forge


def verified(forge: Forge, folder: Path, **given: Any) -> Verified:
    forge.write(folder)
    return verify_journal(folder, forge.root.public, **given)


def failures(folder: Path, root: bytes | str, **given: Any) -> list[str]:
    """What is found, as place and code in one text."""
    with pytest.raises(NotVerified) as refusal:
        verify_journal(folder, root, **given)
    return [" ".join(failure) for failure in refusal.value.failures]


def seen(forge: Forge, number: int, witness: Signer = WITNESS) -> str:
    """A joint head as the witness has co-signed it."""
    return cosigned(Note.parsed(forge.joints[number]), forge.at // SECOND, witness).written()
