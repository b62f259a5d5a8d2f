"""Evidence that was changed in any way is refused, each with its own reason; what nobody changed holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from compliance.verify.errors import NotVerified
from compliance.verify.evidence import verify_evidence
from tests.periods import WITNESS, zipped
from tests.vectors.attacks_on_evidence import Mutation, evidence_case, mutations

ALL = list(mutations())


def test_there_are_at_least_two_hundred() -> None:
    assert len({mutation.name for mutation in ALL}) == len(ALL) >= 200


@pytest.mark.parametrize("mutation", ALL, ids=lambda mutation: mutation.name.replace(" ", "-"))
def test_a_mutation_is_refused_with_its_reason(tmp_path: Path, mutation: Mutation) -> None:
    case, (head, witness, period) = evidence_case(), mutation.given
    file = zipped(tmp_path / "e.zip", mutation.parts)
    # the fingerprint of the other journal's root is the same, so that more than the root is looked at
    with pytest.raises(NotVerified) as refusal:
        verify_evidence(
            file,
            case.forge.root.public,
            head=None if head is None else case.kept[head],
            witness=witness,
            period=period,
            nonce="seven blue cups",
        )
    [failure] = refusal.value.failures
    assert " ".join(failure) == mutation.found


@pytest.mark.parametrize("name", ["before", "joint before", "within", "joint within", "after", "joint after"])
def test_what_nobody_changed_holds_under_each_head_that_was_kept(tmp_path: Path, name: str) -> None:
    case = evidence_case()
    file = zipped(tmp_path / "e.zip", case.parts)
    found = verify_evidence(
        file,
        case.forge.root.public,
        head=case.kept[name],
        witness=WITNESS.public,
        period=(case.since, case.until),
        nonce="seven blue cups",
    )
    assert found.given
    assert found.witnessed is not None
    assert found.sample
