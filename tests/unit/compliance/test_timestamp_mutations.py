"""Tokens of time that were changed in any way are refused, each with its own reason; what is merely unusual holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from compliance.verify.authority import roots_in
from compliance.verify.errors import NotVerified
from compliance.verify.evidence import verify_evidence
from tests.periods import zipped
from tests.vectors.attacks_on_timestamps import Attack, attacks, stamps_case

ALL = attacks()


def test_there_are_as_many_as_are_named() -> None:
    assert len({attack.name for attack in ALL}) == len(ALL) >= 200


@pytest.mark.parametrize("attack", ALL, ids=lambda attack: attack.name.replace(" ", "-"))
def test_an_attack_on_tokens_is_refused_with_its_reason(tmp_path: Path, attack: Attack) -> None:
    file = zipped(tmp_path / "e.zip", attack.parts)
    roots = None if attack.roots is None else roots_in(attack.roots)
    found = None
    try:
        held = verify_evidence(file, stamps_case().period.root, tsa_roots=roots)
        assert all(one.chained == (roots is not None) for one in held.timestamps)
    except NotVerified as refusal:
        [failure] = refusal.failures
        found = " ".join(failure)
    assert found == attack.found
