"""Evidence that was changed in any way is refused, each with its own reason; what nobody changed holds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from compliance.journal.records import Closed, Noted, Opened
from compliance.verify.errors import NotVerified
from compliance.verify.evidence import verify_evidence
from policies.facts import Call, Outcome
from tests.forge import ForgedShard
from tests.periods import POLICY, WITNESS, Period, zipped
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


def _other_call(shard: ForgedShard) -> None:
    outcome = Outcome(ok=True)
    shard.sealed(5, Closed(at=shard.forge.tick(), call="0" * 16, outcome=outcome), of=shard.allowed())


def _other_model(shard: ForgedShard) -> None:
    call = Call(id="7", at=shard.forge.tick(), actor="a", tenant="t", action="infer", model="ab" * 32)
    shard.sealed(2, Opened(call=call, model={"digest": "cd" * 32}, policy=POLICY, allowed=True, rules=(), against=()))


def _other_rules(shard: ForgedShard) -> None:
    shard.rules = dict(shard.rules) | {"base.other": 5}


@pytest.mark.parametrize(
    ("odd", "found"),
    [
        (_other_call, "shard-000/32 evidence_call"),
        (_other_model, "shard-000/31 evidence_model"),
        (lambda shard: shard.sealed(2, Noted(at=1, kind="read", data={})), "shard-000/31 evidence_metadata"),
        (lambda shard: shard.sealed(3, Noted(at=1, kind="read", data={})), "shard-000/31 evidence_metadata"),
        (_other_rules, "evidence.json evidence_rules"),
    ],
)
def test_no_evidence_is_made_of_what_does_not_fit_together(
    tmp_path: Path, odd: Callable[[ForgedShard], object], found: str
) -> None:
    period = Period.forged(tmp_path / "journal", odd=odd)
    with pytest.raises(NotVerified) as refusal:
        period.make(tmp_path / "e.zip")
    assert [" ".join(failure) for failure in refusal.value.failures] == [found]
    assert not list(tmp_path.glob("*e.zip*"))


def test_usage_that_no_outcome_shows_is_found_where_all_of_it_can_be_counted(tmp_path: Path) -> None:
    def odd(shard: ForgedShard) -> None:
        shard.usage = dict(shard.usage) | {"-/tokens": 5}

    period = Period.forged(tmp_path / "journal", odd=odd)
    with pytest.raises(NotVerified) as refusal:
        period.make(tmp_path / "e.zip", whole=True)
    assert [" ".join(failure) for failure in refusal.value.failures] == ["evidence.json evidence_usage"]
